package oracle

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"klink/internal/arch"
)

// reloc is one RELA record, with the section that it applies to.
type reloc struct {
	section int // index of the section that holds the field
	offset  uint64
	symbol  int // index in the symbol table, 0 for none
	typ     uint32
	addend  int64
	record  uint64 // where the record stands in the file
}

// slotRule says how a field leads to a GOT slot: the part of its word that
// holds the answer, and the slot's address from it. The formulas are those of
// the x86-64 psABI, table 4.10, and of aaelf64, "Static Data relocations" and
// "GOT-relative"; P is the place, G the GOT's address, A the addend.
type slotRule struct {
	size int    // of the field, bytes
	mask uint64 // the bits that differ from linker to linker
	part part   // what the field gives
	addr func(v int64, r reloc, p, g uint64) uint64
	lane uint // of a group: which of the four
}

// part is how much of a slot's address one field gives.
type part int

const (
	whole part = iota // all of it
	page              // bits 12 and up; the rest is another field's
	low               // bits 0 to 11
	group             // 16 bits of its distance from the GOT
)

const all32, all64 = 0xffffffff, 0xffffffffffffffff

var amd64Slots = map[uint32]slotRule{
	uint32(elf.R_X86_64_GOT32):         {size: 4, mask: all32, part: whole, addr: fromGOT},
	uint32(elf.R_X86_64_GOT64):         {size: 8, mask: all64, part: whole, addr: fromGOT},
	uint32(elf.R_X86_64_GOTPLT64):      {size: 8, mask: all64, part: whole, addr: fromGOT},
	uint32(elf.R_X86_64_GOTPCREL):      {size: 4, mask: all32, part: whole, addr: fromPlace},
	uint32(elf.R_X86_64_GOTPCRELX):     {size: 4, mask: all32, part: whole, addr: fromPlace},
	uint32(elf.R_X86_64_REX_GOTPCRELX): {size: 4, mask: all32, part: whole, addr: fromPlace},
	uint32(elf.R_X86_64_GOTPCREL64):    {size: 8, mask: all64, part: whole, addr: fromPlace},
}

var arm64Slots = map[uint32]slotRule{
	uint32(elf.R_AARCH64_GOT_LD_PREL19): {size: 4, mask: 0x00ffffe0, part: whole, addr: func(v int64, _ reloc, p, _ uint64) uint64 {
		return p + uint64(int64(int32(uint32(v)<<8)>>13)<<2)
	}},
	uint32(elf.R_AARCH64_ADR_GOT_PAGE): {size: 4, mask: 0x60ffffe0, part: page, addr: func(v int64, _ reloc, p, _ uint64) uint64 {
		w := uint32(v)
		imm := int64(int32((w>>5&0x7ffff<<2|w>>29&3)<<11)) >> 11
		return p&^0xfff + uint64(imm<<12)
	}},
	uint32(elf.R_AARCH64_LD64_GOT_LO12_NC): {size: 4, mask: 0x003ffc00, part: low, addr: func(v int64, _ reloc, _, _ uint64) uint64 {
		return uint64(v) >> 10 & 0xfff << 3
	}},
	uint32(elf.R_AARCH64_LD64_GOTPAGE_LO15): {size: 4, mask: 0x003ffc00, part: whole, addr: func(v int64, _ reloc, _, g uint64) uint64 {
		return g&^0xfff + uint64(v)>>10&0xfff<<3
	}},
	uint32(elf.R_AARCH64_LD64_GOTOFF_LO15): {size: 4, mask: 0x003ffc00, part: whole, addr: func(v int64, _ reloc, _, g uint64) uint64 {
		return g + uint64(v)>>10&0xfff<<3
	}},
}

// The types of aarch64 without a name in debug/elf: MOVW_GOTOFF_G0 to G3, each but the last
// also as _NC (aaelf64, "GOT-relative").
const movwGOTOff, movwGOTOffLast = 300, 306

func init() {
	for typ := uint32(movwGOTOff); typ <= movwGOTOffLast; typ++ {
		arm64Slots[typ] = slotRule{
			size: 4, mask: 0x401fffe0, part: group, lane: uint(typ-movwGOTOff) / 2,
			addr: func(v int64, _ reloc, _, _ uint64) uint64 { return uint64(v) >> 5 & 0xffff },
		}
	}
}

// fits says that a word is a MOVZ, MOVN or MOVK of a distance's part.
func (rule slotRule) fits(word int64, distance uint64) bool {
	const opcode, movn = 0x60000000, 0
	imm := uint64(word) >> 5 & 0xffff
	if word&opcode == movn {
		imm ^= 0xffff
	}
	return imm == distance>>(16*rule.lane)&0xffff
}

func fromGOT(v int64, r reloc, _, g uint64) uint64   { return g + uint64(v-r.addend) }
func fromPlace(v int64, r reloc, p, _ uint64) uint64 { return p + uint64(v-r.addend) }

// slots returns the rules of m's relocations that lead to a GOT slot.
func slots(m elf.Machine) map[uint32]slotRule {
	if m == elf.EM_X86_64 {
		return amd64Slots
	}
	return arm64Slots
}

// fieldSizes are the widths of fields that are not 4 bytes.
var fieldSizes = map[elf.Machine]map[uint32]int{
	elf.EM_X86_64: {
		uint32(elf.R_X86_64_NONE): 0,
		uint32(elf.R_X86_64_64):   8, uint32(elf.R_X86_64_PC64): 8, uint32(elf.R_X86_64_GOTOFF64): 8,
		uint32(elf.R_X86_64_GOTPC64): 8, uint32(elf.R_X86_64_PLTOFF64): 8, uint32(elf.R_X86_64_SIZE64): 8,
		uint32(elf.R_X86_64_GOT64): 8, uint32(elf.R_X86_64_GOTPCREL64): 8, uint32(elf.R_X86_64_GOTPLT64): 8,
		uint32(elf.R_X86_64_16): 2, uint32(elf.R_X86_64_PC16): 2,
		uint32(elf.R_X86_64_8): 1, uint32(elf.R_X86_64_PC8): 1,
	},
	elf.EM_AARCH64: {
		uint32(elf.R_AARCH64_NONE): 0, uint32(elf.R_AARCH64_NULL): 0,
		uint32(elf.R_AARCH64_ABS64): 8, uint32(elf.R_AARCH64_PREL64): 8,
		uint32(elf.R_AARCH64_ABS16): 2, uint32(elf.R_AARCH64_PREL16): 2,
	},
}

// arm64Branches are the direct branches of aarch64.
var arm64Branches = map[uint32]bool{
	uint32(elf.R_AARCH64_CALL26): true, uint32(elf.R_AARCH64_JUMP26): true,
	uint32(elf.R_AARCH64_CONDBR19): true, uint32(elf.R_AARCH64_TSTBR14): true,
}

// nop is aarch64's.
const nop = 0xd503201f

// relocName returns a type's name for messages.
func relocName(m elf.Machine, typ uint32) string {
	if m == elf.EM_X86_64 {
		return elf.R_X86_64(typ).String()
	}
	return elf.R_AARCH64(typ).String()
}

// TypeName returns the name of a relocation type of m, as the psABIs spell it.
func TypeName(m arch.Machine, typ uint32) string { return relocName(elf.Machine(m), typ) }

// field reads a little-endian field, sign-extended.
func field(b []byte, size int) int64 {
	if size == 8 {
		return int64(binary.LittleEndian.Uint64(b))
	}
	return int64(int32(binary.LittleEndian.Uint32(b)))
}

// object is what Compare needs of an object file. The symbol at index i of the
// file's table is symbols[i]; symbols[0] is zero.
type object struct {
	file    *elf.File
	symbols []elf.Symbol
	symtab  uint64          // where the symbol table stands in the file
	relocs  map[int][]reloc // by the index of the section they apply to
}

// parse reads an object that a compiler or assembler made. Relocations are kept
// only for allocated sections.
func parse(f *elf.File) (*object, error) {
	if f.Type != elf.ET_REL || f.Class != elf.ELFCLASS64 {
		return nil, errShape
	}
	syms, err := f.Symbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, err
	}
	o := &object{file: f, symbols: append([]elf.Symbol{{}}, syms...), relocs: map[int][]reloc{}}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB {
			o.symtab = s.Offset
		}
		if s.Type != elf.SHT_RELA && s.Type != elf.SHT_REL || int(s.Info) >= len(f.Sections) {
			continue
		}
		target := int(s.Info)
		if f.Sections[target].Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if s.Type == elf.SHT_REL {
			return nil, fmt.Errorf("section %s: relocations without addends are not supported", s.Name)
		}
		data, err := s.Data()
		if err != nil {
			return nil, err
		}
		for at := s.Offset; len(data) >= relaSize; data, at = data[relaSize:], at+relaSize {
			info := binary.LittleEndian.Uint64(data[8:])
			r := reloc{
				section: target,
				offset:  binary.LittleEndian.Uint64(data),
				symbol:  int(info >> 32),
				typ:     uint32(info),
				addend:  int64(binary.LittleEndian.Uint64(data[16:])),
				record:  at,
			}
			if r.symbol >= len(o.symbols) {
				return nil, fmt.Errorf("section %s: symbol index %d out of range", s.Name, r.symbol)
			}
			o.relocs[target] = append(o.relocs[target], r)
		}
	}
	return o, nil
}
