package oracle

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// Unhide returns a copy of an object in which every undefined symbol has default
// visibility, and how many had another; without any it returns the object itself. An
// object of a library may refer to hidden names of its neighbours: alone, no linker may
// link it. Only st_other of those symbols changes.
func Unhide(object []byte) (open []byte, hidden int, err error) {
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, 0, err
	}
	open = object
	for _, s := range f.Sections {
		if s.Type != elf.SHT_SYMTAB {
			continue
		}
		if s.Offset > uint64(len(object)) || uint64(len(object))-s.Offset < s.Size {
			return nil, 0, fmt.Errorf("%w: its symbol table is beyond its end", errShape)
		}
		for at := s.Offset; at+symSize <= s.Offset+s.Size; at += symSize {
			sym := object[at : at+symSize]
			if binary.LittleEndian.Uint16(sym[symShndx:]) != uint16(elf.SHN_UNDEF) || sym[symOther]&3 == 0 {
				continue
			}
			if hidden++; hidden == 1 {
				open = append([]byte(nil), object...)
			}
			open[at+symOther] &^= 3
		}
	}
	return open, hidden, nil
}
