package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"

	"klink/internal/arch"
)

// object is what the model knows of one object file: read here with debug/elf, so that a
// mistake of klink's own reader cannot hide.
type object struct {
	file    string
	machine arch.Machine
	raw     []byte // with visibility cleared
	secs    []section
	defs    []definition
	undefs  []undefined
	refs    []reference
}

// section is one allocated section.
type section struct {
	name string
	elf  elf.SectionIndex
	size uint64
	data []byte // nil: NOBITS
	exec bool
	own  bool // its references mean the module's own definitions

	relocated bool // it has relocations
}

// definition is one global symbol that the object defines.
type definition struct {
	name  string
	weak  bool
	data  bool
	sec   int // index into secs; -1: SHN_ABS
	value uint64
}

// undefined is one global symbol that it does not.
type undefined struct {
	name string
	weak bool
}

// reference is one relocation against a global symbol, in an allocated section.
type reference struct {
	sec    int
	off    uint64
	typ    uint32
	name   string
	addend int64
	shape  shape
}

// ELF64 symbol table entries: st_other is byte 5 of 24 (gABI, chapter 4).
const (
	symbolSize = 24
	symbolVis  = 5
	visibility = 3
)

// clearVisibility returns a copy of an object with every symbol's visibility STV_DEFAULT.
func clearVisibility(raw []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	out := bytes.Clone(raw)
	for _, s := range f.Sections {
		if s.Type != elf.SHT_SYMTAB {
			continue
		}
		for at := s.Offset; at+symbolSize <= s.Offset+s.Size; at += symbolSize {
			out[at+symbolVis] &^= visibility
		}
	}
	return out, nil
}

// readObject reads an object whose symbols all have default visibility.
func readObject(file string, raw []byte) (*object, error) {
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	o := &object{file: file, machine: arch.Machine(f.Machine), raw: raw}
	index := map[elf.SectionIndex]int{}
	seen := map[string]bool{}
	for i, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if s.Flags&elf.SHF_TLS != 0 {
			return nil, fmt.Errorf("%s: %w", file, errTLS)
		}
		sec := section{name: s.Name, elf: elf.SectionIndex(i), size: s.Size, exec: s.Flags&elf.SHF_EXECINSTR != 0, own: meansOwn(s)}
		if s.Type != elf.SHT_NOBITS {
			if sec.data, err = s.Data(); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", file, s.Name, err)
			}
		}
		if seen[s.Name] && s.Size > 0 {
			return nil, fmt.Errorf("%s: two sections %s", file, s.Name)
		}
		seen[s.Name] = true
		index[sec.elf] = len(o.secs)
		o.secs = append(o.secs, sec)
	}
	syms, err := f.Symbols()
	if err != nil && len(o.secs) > 0 {
		return o, nil // an object without symbols gives and needs nothing
	}
	for _, s := range syms {
		if err := o.symbol(s, index); err != nil {
			return nil, err
		}
	}
	for _, s := range f.Sections {
		target, ok := index[elf.SectionIndex(s.Info)]
		if s.Type == elf.SHT_RELA && ok {
			if err := o.relocations(f, s, target, syms); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

// meansOwn says that gcc names global symbols in a section and means its own.
func meansOwn(s *elf.Section) bool {
	return s.Name == ".eh_frame" || s.Type == elf.SHT_INIT_ARRAY || s.Type == elf.SHT_FINI_ARRAY || strings.HasPrefix(s.Name, ".gcc_except_table")
}

// symbol notes one symbol.
func (o *object) symbol(s elf.Symbol, index map[elf.SectionIndex]int) error {
	bind, typ := elf.ST_BIND(s.Info), elf.ST_TYPE(s.Info)
	if bind == elf.STB_LOCAL {
		return nil
	}
	if typ == elf.STT_TLS {
		return fmt.Errorf("%s: %w", o.file, errTLS)
	}
	switch {
	case bind != elf.STB_GLOBAL && bind != elf.STB_WEAK, typ == elf.STT_GNU_IFUNC, s.Section == elf.SHN_COMMON, elf.ST_VISIBILITY(s.Other) != elf.STV_DEFAULT:
		return fmt.Errorf("%s: %s: %w", o.file, s.Name, errSymbol)
	case s.Section == elf.SHN_UNDEF:
		o.undefs = append(o.undefs, undefined{s.Name, bind == elf.STB_WEAK})
		return nil
	}
	d := definition{name: s.Name, weak: bind == elf.STB_WEAK, data: true, sec: -1, value: s.Value}
	if at, ok := index[s.Section]; ok {
		d.sec = at
		d.data = !o.secs[at].exec || typ == elf.STT_OBJECT
	} else if s.Section != elf.SHN_ABS {
		return nil // not loaded
	}
	o.defs = append(o.defs, d)
	return nil
}

// relocations reads one SHT_RELA section.
func (o *object) relocations(f *elf.File, s *elf.Section, target int, syms []elf.Symbol) error {
	data, err := s.Data()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", o.file, s.Name, err)
	}
	o.secs[target].relocated = true
	for ; len(data) >= 24; data = data[24:] {
		info := f.ByteOrder.Uint64(data[8:])
		n := elf.R_SYM64(info)
		if n == 0 || elf.ST_BIND(syms[n-1].Info) == elf.STB_LOCAL {
			continue
		}
		r := reference{sec: target, off: f.ByteOrder.Uint64(data), typ: elf.R_TYPE64(info), name: syms[n-1].Name, addend: int64(f.ByteOrder.Uint64(data[16:]))}
		if r.shape, err = shapeOf(o.machine, &o.secs[target], &r); err != nil {
			return fmt.Errorf("%s: %s+%#x: %w", o.file, o.secs[target].name, r.off, err)
		}
		o.refs = append(o.refs, r)
	}
	return nil
}
