package objbuild

import (
	"encoding/binary"
	"fmt"
)

var le = binary.LittleEndian

// strtab is a string table in the making.
type strtab struct {
	bytes []byte
	at    map[string]uint32
}

func newStrtab() *strtab { return &strtab{bytes: []byte{0}, at: map[string]uint32{"": 0}} }

func (t *strtab) add(s string) uint32 {
	if at, ok := t.at[s]; ok {
		return at
	}
	at := uint32(len(t.bytes))
	t.at[s] = at
	t.bytes = append(append(t.bytes, s...), 0)
	return at
}

// writer is one layout of a Builder.
type writer struct {
	*Builder
	im       *Image
	all      []*section     // by header index; 0 is the null section
	byName   map[string]int // section name → header index, the first
	symbols  []*Symbol      // by symbol index; 0 is the null symbol
	symIndex map[string]int
	strings  *strtab
}

// Image lays the file out and returns it with the places of its parts.
func (b *Builder) Image() *Image {
	w := &writer{
		Builder: b, im: &Image{relocs: map[string][2]int{}}, strings: newStrtab(),
		all: []*section{{}}, byName: map[string]int{}, symIndex: map[string]int{},
	}
	for _, s := range b.sections {
		c := *s
		w.add(&c)
	}
	user := len(w.all)
	w.sortSymbols()
	// The symbol table follows the relocation sections and groups.
	symtab := user + len(b.groups)
	for _, s := range w.all[:user] {
		if len(s.relocs) > 0 {
			symtab++
		}
	}
	for i := 1; i < user; i++ {
		if s := w.all[i]; len(s.relocs) > 0 {
			w.addRelocs(i, s, symtab)
		}
	}
	for _, g := range b.groups {
		w.addGroup(g, symtab)
	}
	if !b.noSyms {
		w.addSymtab(symtab)
	}
	w.finish()
	for _, p := range b.patches {
		w.im.apply(p)
	}
	for _, edit := range b.edits {
		edit(w.im)
	}
	return w.im
}

// add appends a section and returns its header index.
func (w *writer) add(s *section) int {
	i := len(w.all)
	if _, ok := w.byName[s.Name]; !ok {
		w.byName[s.Name] = i
	}
	w.all = append(w.all, s)
	return i
}

// sectionIndex returns the header index of a section by name.
func (w *writer) sectionIndex(name string) int {
	i, ok := w.byName[name]
	if !ok {
		panic(fmt.Sprintf("objbuild: no section %q", name))
	}
	return i
}

// sortSymbols puts local symbols before the others, and adds the section symbols that
// relocations and groups name.
func (w *writer) sortSymbols() {
	have := map[string]bool{"": true}
	for _, s := range w.Builder.symbols {
		have[symbolName(s)] = true
	}
	w.symbols = []*Symbol{{}}
	need := func(name string) {
		if !have[name] {
			have[name] = true
			w.sectionIndex(name)
			w.symbols = append(w.symbols, &Symbol{Section: name, Type: SectionSym})
		}
	}
	for _, s := range w.all {
		for _, r := range s.relocs {
			need(r.symbol)
		}
	}
	for _, g := range w.groups {
		need(g.signature)
	}
	for _, local := range []bool{true, false} {
		for _, s := range w.Builder.symbols {
			if (s.Bind == Local) == local {
				w.symbols = append(w.symbols, s)
			}
		}
	}
	for i, s := range w.symbols {
		name := symbolName(s)
		if _, ok := w.symIndex[name]; !ok {
			w.symIndex[name] = i
		}
		w.im.Symbols = append(w.im.Symbols, name)
	}
}

// symbolName is the name by which calls refer to a symbol.
func symbolName(s *Symbol) string {
	if s.Type == SectionSym && s.Name == "" {
		return s.Section
	}
	return s.Name
}

// addRelocs adds the relocation section of section i.
func (w *writer) addRelocs(i int, s *section, symtab int) {
	r := Section{Name: ".rela" + s.Name, Type: RelaType, Entsize: 24, Align: 8, Link: uint32(symtab), Info: uint32(i)}
	if s.rel {
		r.Name, r.Type, r.Entsize = ".rel"+s.Name, RelType, 16
	}
	for _, e := range s.relocs {
		r.Data = le.AppendUint64(r.Data, e.offset)
		r.Data = le.AppendUint64(r.Data, uint64(w.symIndex[e.symbol])<<32|uint64(e.typ))
		if !s.rel {
			r.Data = le.AppendUint64(r.Data, uint64(e.addend))
		}
	}
	w.im.relocs[s.Name] = [2]int{w.add(&section{Section: r}), int(r.Entsize)}
}

// addGroup adds a group's section and marks its members.
func (w *writer) addGroup(g group, symtab int) {
	s := Section{Name: ".group", Type: GroupType, Entsize: 4, Align: 4, Link: uint32(symtab), Info: uint32(w.symIndex[g.signature])}
	flags := uint32(0)
	if g.comdat {
		flags = comdatFlag
	}
	s.Data = le.AppendUint32(nil, flags)
	for _, name := range g.members {
		i := w.sectionIndex(name)
		w.all[i].Flags |= InGroup
		s.Data = le.AppendUint32(s.Data, uint32(i))
		if r, ok := w.im.relocs[name]; ok {
			w.all[r[0]].Flags |= InGroup
			s.Data = le.AppendUint32(s.Data, uint32(r[0]))
		}
	}
	w.add(&section{Section: s})
}

// addSymtab adds the symbol table and what belongs to it.
func (w *writer) addSymtab(symtab int) {
	tab := Section{Name: ".symtab", Type: Symtab, Entsize: 24, Align: 8}
	var shndx []byte
	extended := w.xindex
	for _, s := range w.symbols {
		index := uint32(0)
		short := s.Shndx
		if s.Section != "" {
			index = uint32(w.sectionIndex(s.Section))
			short = uint16(index)
			if w.xindex || index >= firstReserve {
				short, extended = ShnXindex, true
			} else {
				index = 0
			}
		}
		if s.Bind == Local {
			tab.Info++
		}
		tab.Data = le.AppendUint32(tab.Data, w.strings.add(s.Name))
		tab.Data = append(tab.Data, s.Bind<<4|s.Type, s.Other)
		tab.Data = le.AppendUint16(tab.Data, short)
		tab.Data = le.AppendUint64(tab.Data, s.Value)
		tab.Data = le.AppendUint64(tab.Data, s.Size)
		shndx = le.AppendUint32(shndx, index)
	}
	tab.Link = uint32(symtab + 1)
	if extended {
		tab.Link++
	}
	if i := w.add(&section{Section: tab}); i != symtab {
		panic(fmt.Sprintf("BUG: symbol table is section %d, not %d", i, symtab))
	}
	if extended {
		w.add(&section{Section: Section{Name: ".symtab_shndx", Type: SymtabShndx, Entsize: 4, Align: 4, Link: uint32(symtab), Data: shndx}})
	}
	w.add(&section{Section: Section{Name: ".strtab", Type: Strtab, Data: w.strings.bytes}})
}

// finish adds the section names and writes everything.
func (w *writer) finish() {
	names := newStrtab()
	last := &section{Section: Section{Name: ".shstrtab", Type: Strtab}}
	w.add(last)
	for _, s := range w.all {
		names.add(s.Name)
	}
	last.Data = names.bytes

	im := w.im
	im.Bytes = make([]byte, 64)
	for _, s := range w.all {
		im.Sections = append(im.Sections, s.Name)
		if s.Data != nil {
			im.Bytes = append(im.Bytes, make([]byte, -len(im.Bytes)&15)...)
		}
		im.offsets = append(im.offsets, len(im.Bytes))
		im.Bytes = append(im.Bytes, s.Data...)
	}
	im.Bytes = append(im.Bytes, make([]byte, -len(im.Bytes)&15)...)
	im.shoff = len(im.Bytes)

	w.header(len(w.all))
	for i, s := range w.all {
		if i == 0 {
			im.Bytes = append(im.Bytes, w.nullHeader(len(w.all))...)
			continue
		}
		size, align := s.Size, s.Align
		if size == 0 {
			size = uint64(len(s.Data))
		}
		if align == 0 {
			align = 1
		}
		h := le.AppendUint32(nil, names.add(s.Name))
		h = le.AppendUint32(h, s.Type)
		for _, v := range []uint64{s.Flags, 0, uint64(im.offsets[i]), size} {
			h = le.AppendUint64(h, v)
		}
		h = le.AppendUint32(h, s.Link)
		h = le.AppendUint32(h, s.Info)
		h = le.AppendUint64(h, align)
		h = le.AppendUint64(h, s.Entsize)
		im.Bytes = append(im.Bytes, h...)
	}
}

// header writes the ELF header.
func (w *writer) header(count int) {
	im := w.im
	copy(im.Bytes, "\x7fELF\x02\x01\x01")
	put := func(name string, v uint64) { im.Put(0, Lookup(HeaderFields, name), v) }
	put("e_type", 1)
	put("e_machine", uint64(w.machine))
	put("e_version", 1)
	put("e_shoff", uint64(im.shoff))
	put("e_ehsize", 64)
	put("e_shentsize", 64)
	put("e_shnum", uint64(count))
	put("e_shstrndx", uint64(count-1))
	if count >= firstReserve {
		put("e_shnum", 0)
		put("e_shstrndx", uint64(ShnXindex))
	}
}

// nullHeader returns section header 0, which holds the numbers that do not fit the ELF
// header.
func (w *writer) nullHeader(count int) []byte {
	h := make([]byte, 64)
	if count >= firstReserve {
		le.PutUint64(h[32:], uint64(count))
		le.PutUint32(h[40:], uint32(count-1))
	}
	return h
}
