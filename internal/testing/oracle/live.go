package oracle

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// The live form. klink links a module so that its calls can move: a branch leads to the
// definition, an address is that of the symbol's entry, a call through the GOT becomes a
// direct one, a short branch of aarch64 goes through a veneer. GNU ld knows nothing of
// that, so it is given an object in which each reference says where it leads: a copy in
// which references to an address are to a symbol at the entry, and calls through the GOT
// are direct calls. Which reference is what is decided here anew, by the rules that the
// README has; where the entries and veneers are, the dump says, and each must lead to its
// symbol's definition.

// liveObject is the copy under way.
type liveObject struct {
	data    []byte
	obj     *object
	machine elf.Machine
	layout  *Layout
	dir     string
	entries map[string]Jump
	veneers map[string][]Jump
	added   map[uint64]int // index of the new symbol at an address
	syms    []byte         // new symbols
	names   []byte         // and their names
	first   int            // index of the first of them
}

// liveForm returns the object that says where its references lead when it is linked as
// layout says, and adds to layout's externals the symbols that are new in it.
func liveForm(ld Linker, data []byte, layout *Layout, dir string) ([]byte, error) {
	data = append([]byte(nil), data...)
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	obj, err := parse(f)
	if err != nil {
		return nil, err
	}
	l := &liveObject{data: data, obj: obj, machine: ld.machine, layout: layout, dir: dir,
		entries: map[string]Jump{}, veneers: map[string][]Jump{}, added: map[uint64]int{}, first: len(obj.symbols)}
	for _, e := range layout.Entries {
		l.entries[e.Name] = e
	}
	for _, v := range layout.Veneers {
		l.veneers[v.Name] = append(l.veneers[v.Name], v)
	}
	for index, relocs := range obj.relocs {
		text, err := l.placed(index)
		if err != nil {
			return nil, err
		}
		for _, r := range relocs {
			l.refer(f.Sections[index], text, r)
		}
	}
	return l.extended(f)
}

// placed returns the dumped bytes of a section, nil if the dump has none.
func (l *liveObject) placed(index int) ([]byte, error) {
	for _, s := range l.layout.Objects[0].Sections {
		if s.Index == index && s.File != "" {
			return contents(l.dir, s.File, uint64(s.Size))
		}
	}
	return nil, nil
}

// refer makes one relocation say where klink's reference leads; placed are the dumped
// bytes of its section.
func (l *liveObject) refer(s *elf.Section, placed []byte, r reloc) {
	if s.Type == elf.SHT_NOBITS || r.offset >= s.Size {
		return
	}
	sym := l.obj.symbols[r.symbol]
	text := l.data[s.Offset : s.Offset+s.Size]
	exec := s.Flags&elf.SHF_EXECINSTR != 0
	switch {
	case exec && l.machine == elf.EM_X86_64 && gotCall(text, r):
		if !l.missing(sym) {
			l.direct(text, r)
		}
		return
	case elf.ST_BIND(sym.Info) == elf.STB_LOCAL:
		return // nobody else can provide it
	case exec && l.machine == elf.EM_AARCH64 && (r.typ == uint32(elf.R_AARCH64_CONDBR19) || r.typ == uint32(elf.R_AARCH64_TSTBR14)):
		l.short(placed, r, l.veneers[sym.Name])
		return
	case exec && directBranch(l.machine, text, r):
		return // to the definition, as in a static link
	}
	e, ok := l.entries[sym.Name]
	if !ok || ownOnly(s) || !meansStart(l.machine, exec, r) {
		return
	}
	l.lead(r, uint64(e.Addr))
}

// short makes a branch of short reach lead to the veneer that klink took, which is to be
// one of its symbol's if that has some; if it is none, to any, so that ld's bytes differ.
func (l *liveObject) short(placed []byte, r reloc, veneers []Jump) {
	if len(veneers) == 0 || r.addend != 0 {
		return // to the definition, or somewhere inside of it
	}
	to := shortTarget(placed, r.offset, l.at(r), r.typ)
	for _, v := range veneers {
		if uint64(v.Addr) == to {
			l.lead(r, to)
			return
		}
	}
	l.lead(r, uint64(veneers[0].Addr))
}

// at is the address of a relocation's place.
func (l *liveObject) at(r reloc) uint64 {
	for _, s := range l.layout.Objects[0].Sections {
		if s.Index == r.section {
			return uint64(s.Addr) + r.offset
		}
	}
	return 0
}

// missing says that nobody provides a symbol: its calls through the GOT stay, and find 0.
func (l *liveObject) missing(sym elf.Symbol) bool {
	if sym.Section != elf.SHN_UNDEF {
		return false
	}
	for _, e := range l.layout.Externals {
		if e.Name == sym.Name {
			return false
		}
	}
	return true
}

// gotCall says that an instruction calls or jumps through the GOT in a form that may be
// made direct (x86-64 psABI B.2): call *f@GOTPCREL(%rip), ff 15, or jmp, ff 25.
func gotCall(text []byte, r reloc) bool {
	return (r.typ == uint32(elf.R_X86_64_GOTPCRELX) || r.typ == uint32(elf.R_X86_64_REX_GOTPCRELX)) && r.addend == -4 &&
		r.offset >= 2 && uint64(len(text))-r.offset >= 4 && text[r.offset-2] == 0xff && (text[r.offset-1] == 0x15 || text[r.offset-1] == 0x25)
}

// direct makes a call through the GOT a direct one.
//
//	ff 15 disp32  →  67 e8 rel32     addr32 call f
//	ff 25 disp32  →  e9 rel32; 90    jmp f; nop
func (l *liveObject) direct(text []byte, r reloc) {
	le := binary.LittleEndian
	insn := text[r.offset-2 : r.offset+4]
	if insn[1] == 0x15 {
		copy(insn, []byte{0x67, 0xe8})
	} else {
		copy(insn, []byte{0xe9, 0, 0, 0, 0, 0x90})
		le.PutUint64(l.data[r.record:], r.offset-1)
	}
	le.PutUint64(l.data[r.record+relaInfo:], uint64(r.symbol)<<32|uint64(elf.R_X86_64_PC32))
}

// directBranch says that a relocation is that of a direct branch with a long reach.
func directBranch(m elf.Machine, text []byte, r reloc) bool {
	if m == elf.EM_AARCH64 {
		return r.typ == uint32(elf.R_AARCH64_CALL26) || r.typ == uint32(elf.R_AARCH64_JUMP26)
	}
	if r.typ != uint32(elf.R_X86_64_PLT32) && r.typ != uint32(elf.R_X86_64_PC32) || r.offset < 1 {
		return false
	}
	op := text[r.offset-1]
	return op == 0xe8 || op == 0xe9 || r.offset >= 2 && text[r.offset-2] == 0x0f && op>>4 == 8
}

// shortTarget returns where a conditional branch of short reach leads: imm19, or imm14 of
// TBZ and TBNZ, in words.
func shortTarget(text []byte, off, at uint64, typ uint32) uint64 {
	if off+4 > uint64(len(text)) {
		return 0
	}
	word := int32(binary.LittleEndian.Uint32(text[off:]))
	if typ == uint32(elf.R_AARCH64_TSTBR14) {
		return at + uint64(int64(word<<13>>18)<<2)
	}
	return at + uint64(int64(word<<8>>13)<<2)
}

// ownOnly says that references of a section mean the module's own definitions:
// constructors and destructors, unwind tables, the list of NetBSD's modules.
func ownOnly(s *elf.Section) bool {
	switch s.Type {
	case elf.SHT_INIT_ARRAY, elf.SHT_FINI_ARRAY, elf.SHT_PREINIT_ARRAY, 0x70000001: // SHT_X86_64_UNWIND
		return true
	}
	for _, prefix := range []string{".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors", "link_set_modules", ".gcc_except_table"} {
		if strings.HasPrefix(s.Name, prefix) {
			return true
		}
	}
	return s.Name == ".eh_frame" || strings.Contains(s.Name, ".DW.ref.")
}

// distances are the types that say how far a symbol is, whose addend in data may be the
// place's own distance from the start of a table.
var distances = map[elf.Machine][]uint32{
	elf.EM_X86_64: {uint32(elf.R_X86_64_PC64), uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_PC16), uint32(elf.R_X86_64_PC8), uint32(elf.R_X86_64_PLT32)},
	elf.EM_AARCH64: {uint32(elf.R_AARCH64_PREL64), uint32(elf.R_AARCH64_PREL32), uint32(elf.R_AARCH64_PREL16), 314, // PLT32
		uint32(elf.R_AARCH64_LD_PREL_LO19), uint32(elf.R_AARCH64_ADR_PREL_LO21), 287, 288, 289, 290, 291, 292, 293}, // MOVW_PREL
}

// meansStart says that a reference to the address of a function means the function, and
// not a place inside of it, which can only be the module's own function's.
func meansStart(m elf.Machine, exec bool, r reloc) bool {
	if m == elf.EM_X86_64 {
		switch elf.R_X86_64(r.typ) {
		case elf.R_X86_64_SIZE32, elf.R_X86_64_SIZE64, elf.R_X86_64_NONE, elf.R_X86_64_GOTPC32, elf.R_X86_64_GOTPC64:
			return false // no address
		case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
			if exec { // an operand: behind the field stands nothing, or an immediate of 1, 2 or 4 bytes
				return r.addend == -4 || r.addend == -5 || r.addend == -6 || r.addend == -8
			}
		}
		if _, slot := amd64Slots[r.typ]; slot {
			return true
		}
	}
	if m == elf.EM_AARCH64 && r.typ == 315 { // GOTPCREL32: the addend moves the field, not the slot
		return true
	}
	if r.addend == 0 {
		return r.typ != 0
	}
	for _, typ := range distances[m] {
		if !exec && r.typ == typ {
			return r.addend > 0 && uint64(r.addend) <= r.offset
		}
	}
	return false
}

// lead makes a relocation refer to a new symbol at an address.
func (l *liveObject) lead(r reloc, to uint64) {
	i, ok := l.added[to]
	if !ok {
		i = l.first + len(l.added)
		l.added[to] = i
		name := fmt.Sprintf("klink:%#x", to)
		sym := make([]byte, symSize)
		binary.LittleEndian.PutUint32(sym, uint32(len(l.names))) // from the end of the old names
		sym[symInfo] = byte(elf.STB_GLOBAL) << 4
		l.syms, l.names = append(l.syms, sym...), append(append(l.names, name...), 0)
		l.layout.Externals = append(l.layout.Externals, External{Name: name, Addr: Number(to)})
	}
	binary.LittleEndian.PutUint64(l.data[r.record+relaInfo:], uint64(i)<<32|uint64(r.typ))
}

// extended appends the symbol table with the new symbols, its names, and the table of its
// extended section indices.
func (l *liveObject) extended(f *elf.File) ([]byte, error) {
	if len(l.added) == 0 {
		return l.data, nil
	}
	le := binary.LittleEndian
	headers := le.Uint64(l.data[ehdrShoff:])
	move := func(index int, more []byte) (at uint64) {
		s := f.Sections[index]
		for len(l.data)%8 != 0 {
			l.data = append(l.data, 0)
		}
		at = uint64(len(l.data))
		l.data = append(append(l.data, l.data[s.Offset:s.Offset+s.FileSize]...), more...)
		h := l.data[headers+uint64(index)*shdrSize:]
		le.PutUint64(h[shOffset:], at)
		le.PutUint64(h[shSize:], s.FileSize+uint64(len(more)))
		return at
	}
	for i, s := range f.Sections {
		switch s.Type {
		case elf.SHT_SYMTAB:
			names := f.Sections[s.Link]
			for at := 0; at < len(l.syms); at += symSize {
				le.PutUint32(l.syms[at:], le.Uint32(l.syms[at:])+uint32(names.FileSize))
			}
			move(int(s.Link), l.names)
			move(i, l.syms)
		case elf.SHT_SYMTAB_SHNDX:
			move(i, make([]byte, 4*len(l.added)))
		}
	}
	return l.data, nil
}

// jumps requires that each entry and each veneer leads to the definition of its symbol.
func (c *comparison) jumps(l *Layout) error {
	defined := map[string]int{}
	for i, s := range c.obj.symbols {
		if i > 0 && elf.ST_BIND(s.Info) != elf.STB_LOCAL {
			defined[s.Name] = i
		}
	}
	for _, j := range append(append([]Jump(nil), l.Entries...), l.Veneers...) {
		want, ok := c.names[j.Name]
		if i, own := defined[j.Name]; own && !c.elsewhere(c.obj.symbols[i]) {
			addr, err := c.address(slotKey{symbol: i})
			if err != nil {
				return err
			}
			want, ok = addr, true
		}
		if !ok {
			return fmt.Errorf("layout.json: an entry or veneer of %s, which nobody defines", j.Name)
		}
		got, err := jumpTarget(c.ld.machine, j)
		if err != nil {
			return err
		}
		if got != want {
			c.differ(Difference{Section: "the jump to " + j.Name, What: "target", Want: fmt.Sprintf("%#x", want), Got: fmt.Sprintf("%#x", got)})
		}
	}
	return nil
}

// jumpTarget decodes the code of an entry or a veneer.
//
//	e9 rel32                                   jmp      (x86-64)
//	14000000 | imm26                           b        (aarch64)
//	58000050 d61f0200 and 8 bytes of address   ldr x16, #8; br x16
func jumpTarget(m elf.Machine, j Jump) (uint64, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(j.Code, " ", ""))
	if err != nil {
		return 0, fmt.Errorf("layout.json: code of %s: %w", j.Name, err)
	}
	le, at := binary.LittleEndian, uint64(j.Addr)
	switch {
	case m == elf.EM_X86_64 && len(b) == 5 && b[0] == 0xe9:
		return at + 5 + uint64(int64(int32(le.Uint32(b[1:])))), nil
	case m == elf.EM_AARCH64 && len(b) == 4 && le.Uint32(b)>>26 == 5:
		return at + uint64(int64(int32(le.Uint32(b)<<6)>>6)<<2), nil
	case m == elf.EM_AARCH64 && len(b) == 16 && le.Uint64(b) == 0xd61f020058000050:
		return le.Uint64(b[8:]), nil
	}
	return 0, fmt.Errorf("layout.json: the code of %s, %s, is no jump", j.Name, j.Code)
}
