package link

import (
	"bytes"
	"slices"

	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/reloc"
)

// maxDebug bounds the debug sections of one object that are taken together, bytes.
const maxDebug = 256 << 20

// debugSections are what a reader of DWARF 4 or 5 needs to describe functions and lines.
var debugSections = []string{
	".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_line_str",
	".debug_ranges", ".debug_rnglists", ".debug_addr", ".debug_str_offsets",
}

// Debug returns the bytes of debug sections of object obj, by name, relocated for the
// module's blocks at the given addresses: those with the given names, or without names
// all that describe functions and lines. A section that is not there is left out, and
// of several with one name (COMDAT groups have such) the first is given. Compressed
// sections are decompressed. The bytes may be the file's and must not be changed.
//
// References mean the definition that the module itself gives; what it does not define is 0,
// and so is what a discarded COMDAT section would have had. Debug sections
// themselves lie at 0, so that references among them are offsets.
//
// The error is the first root cause: by errors.Is diag.ErrUnsupported (more than
// 256 MiB, an algorithm or a relocation type that klink does not apply),
// diag.ErrMalformed or diag.ErrRange.
func (m *Module) Debug(obj int, at [Regions]uint64, names ...string) (map[string][]byte, error) {
	o := &m.objs[obj]
	debug := map[string][]byte{}
	room := uint64(maxDebug)
	if len(names) == 0 {
		names = debugSections
	}
	for i := range o.Sections {
		s := &o.Sections[i]
		if !slices.Contains(names, s.Name) || s.Flags&elfload.Alloc != 0 || s.Type == elfload.Null || s.Type == elfload.Nobits || debug[s.Name] != nil {
			continue
		}
		size := o.UnpackedSize(i)
		if size > room {
			return nil, diag.New(diag.ErrUnsupported, o.Name(), "section %s: with it the debug sections are larger than klink's limit of %d MiB",
				diag.Quote(s.Name), maxDebug>>20)
		}
		room -= size
		data, relocs, fresh, err := o.Unpack(i)
		if err != nil {
			return nil, err
		}
		if relocs.Len() > 0 && !fresh {
			data = bytes.Clone(data)
		}
		if err := m.relocateDebug(obj, s, data, relocs, at); err != nil {
			return nil, err
		}
		if data == nil {
			data = []byte{}
		}
		debug[s.Name] = data
	}
	return debug, nil
}

// relocateDebug applies the relocations of a section that is not allocated to its bytes.
func (m *Module) relocateDebug(obj int, s *elfload.Section, data []byte, relocs elfload.Relocs, at [Regions]uint64) error {
	o := &m.objs[obj]
	for i := range relocs.Len() {
		r := relocs.At(i)
		fail := func(kind error, text string) error {
			return &diag.Error{Kind: kind, File: o.Name(), Section: s.Name, Offset: r.Offset,
				Reloc: reloc.TypeName(m.Machine, r.Type), Symbol: o.symbolName(r.Sym), Text: text}
		}
		row := reloc.Lookup(m.Machine, r.Type)
		if row == nil || row.Formula.UsesGOT() || row.Formula.UsesSlot() {
			return fail(diag.ErrUnsupported, "klink does not apply it in debug sections")
		}
		if row.Kind == reloc.KindNone {
			continue
		}
		if row.Fits(m.Machine, data, r.Offset, false) != reloc.OK {
			return fail(diag.ErrMalformed, "the place is not what the type implies")
		}
		if relocs.Implicit() {
			r.Addend = row.Addend(data[r.Offset:])
		}
		addr, size, gone := m.debugSymbol(obj, r.Sym, at)
		if gone {
			clear(data[r.Offset:][:row.Width])
			continue
		}
		v := row.Value(&reloc.Inputs{S: addr, L: addr, Z: size, A: r.Addend, P: r.Offset})
		if row.Check(v) != reloc.OK {
			return fail(diag.ErrRange, "relocation out of range")
		}
		row.Put(data[r.Offset:], v)
	}
	return nil
}

// debugSymbol returns what a symbol means to a section that is not allocated: the value
// and size of the module's own definition. gone says that it was discarded.
func (m *Module) debugSymbol(obj int, sym uint32, at [Regions]uint64) (addr, size uint64, gone bool) {
	o := &m.objs[obj]
	s := &o.Symbols[sym]
	if id := o.nameOf(sym); id != noName {
		addr, size, _ = m.Own(id, at)
		return addr, size, false
	}
	if s.Where == elfload.InSection && o.discarded(s.Section) {
		return 0, 0, true
	}
	return m.symbolAddr(symRef{int32(obj), sym}, at), s.Size, false
}
