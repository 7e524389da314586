package oracle

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes and offsets in ELF64 (gABI, "ELF Header", "Sections").
const (
	ehdrShoff    = 40
	ehdrShnum    = 60
	ehdrShstrndx = 62
	ehdrSize     = 64
	shdrSize     = 64

	shName, shType, shFlags, shOffset, shSize, shLink = 0, 4, 8, 24, 32, 40
	shAddralign                                       = 48

	symSize                               = 24
	symInfo, symOther, symShndx, symValue = 4, 5, 6, 8
	relaSize, relaInfo                    = 24, 8
)

// shfExclude marks a section that no linker puts into a program (gABI; debug/elf lacks it).
const shfExclude = elf.SectionFlag(1 << 31)

// clearedFlags make a linker do more with a section than place and relocate it.
const clearedFlags = uint64(elf.SHF_MERGE | elf.SHF_STRINGS | elf.SHF_GROUP | elf.SHF_LINK_ORDER |
	1<<21 | // SHF_GNU_RETAIN
	shfExclude)

// plainTypes are sections that a linker treats by their type; they become
// SHT_PROGBITS.
var plainTypes = map[elf.SectionType]bool{
	elf.SHT_GROUP: true, elf.SHT_NOTE: true,
	elf.SHT_INIT_ARRAY: true, elf.SHT_FINI_ARRAY: true, elf.SHT_PREINIT_ARRAY: true,
	0x70000001: true, // SHT_X86_64_UNWIND
}

// sectionName is what neutralise calls the section with this index.
func sectionName(index int) string { return fmt.Sprintf(".s%05d", index) }

var errShape = errors.New("not an ELF64 little-endian relocatable object of the usual shape")

// neutralise returns a copy of object whose sections a linker only places and
// relocates: each has a name of its own (sectionName) and none of the flags and
// types that make it merge, drop, group, sort or rewrite. Contents, symbols and
// relocations are the same bytes at the same offsets; a new section header
// table and its names stand behind them.
func neutralise(object []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(object) < ehdrSize || string(object[:6]) != "\x7fELF\x02\x01" {
		return nil, errShape
	}
	shoff := le.Uint64(object[ehdrShoff:])
	if shoff < ehdrSize || shoff > uint64(len(object)) || uint64(len(object))-shoff < shdrSize {
		return nil, errShape
	}
	count := uint64(le.Uint16(object[ehdrShnum:]))
	if count == 0 { // 65,280 sections and more: the number stands in section 0
		count = le.Uint64(object[shoff+shSize:])
	}
	if count == 0 || count > (uint64(len(object))-shoff)/shdrSize {
		return nil, errShape
	}

	names := []byte{0}
	headers := append([]byte(nil), object[shoff:shoff+count*shdrSize]...)
	for i := uint64(1); i < count; i++ {
		h := headers[i*shdrSize : (i+1)*shdrSize]
		le.PutUint32(h[shName:], uint32(len(names)))
		names = append(append(names, sectionName(int(i))...), 0)
		le.PutUint64(h[shFlags:], le.Uint64(h[shFlags:])&^clearedFlags)
		if plainTypes[elf.SectionType(le.Uint32(h[shType:]))] {
			le.PutUint32(h[shType:], uint32(elf.SHT_PROGBITS))
		}
	}

	out := append([]byte(nil), object...)
	own := make([]byte, shdrSize) // the new section of names
	le.PutUint32(own[shType:], uint32(elf.SHT_STRTAB))
	le.PutUint64(own[shOffset:], uint64(len(out)))
	le.PutUint64(own[shSize:], uint64(len(names)))
	le.PutUint64(own[shAddralign:], 1)
	out = append(out, names...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	le.PutUint64(out[ehdrShoff:], uint64(len(out)))
	// Each of the two numbers moves to section 0 only if it does not fit.
	if count+1 < uint64(elf.SHN_LORESERVE) {
		le.PutUint16(out[ehdrShnum:], uint16(count+1))
	} else {
		le.PutUint16(out[ehdrShnum:], 0)
		le.PutUint64(headers[shSize:], count+1)
	}
	if count < uint64(elf.SHN_LORESERVE) {
		le.PutUint16(out[ehdrShstrndx:], uint16(count))
	} else {
		le.PutUint16(out[ehdrShstrndx:], uint16(elf.SHN_XINDEX))
		le.PutUint32(headers[shLink:], uint32(count))
	}
	return append(append(out, headers...), own...), nil
}
