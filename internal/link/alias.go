package link

import (
	"bytes"
	"encoding/binary"

	"klink/internal/aliasstack"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/reloc"
)

// The records of __refine_alias and its kin. Each is 24 bytes in the section
// .klink.alias, little-endian:
//
//	0   the address of the name, NUL-terminated (a relocation)
//	8   the implementation (a relocation; another object of the module may define it)
//	16  the kind: 1 default, 2 override, 3 refinement
const (
	aliasSection = ".klink.alias"
	aliasRecSize = 24
)

// Bounds of what a file may ask for; the names of records may overlap in it, so that
// its size is none.
const (
	maxAliasName  = 1 << 12 // one name in a record, bytes
	maxAliasNames = 1 << 24 // all of one module together, bytes
)

// aliasRecord is one record, resolved.
type aliasRecord struct {
	name NameID
	kind aliasstack.Kind
}

// aliasKinds are the kinds by their number in a record.
var aliasKinds = map[uint64]aliasstack.Kind{1: aliasstack.Default, 2: aliasstack.Override, 3: aliasstack.Refinement}

// codePoint is an offset in a section.
type codePoint struct {
	sec uint32
	off uint64
}

// aliasReader reads the records of one object.
type aliasReader struct {
	*gatherer
	oi    int
	o     *object
	recs  []aliasFields
	funcs map[codePoint]uint32 // function symbols at the places that records point to
}

// aliasFields are where one record is and its relocations, by number plus 1; 0 is none.
type aliasFields struct {
	s          *elfload.Section
	off        uint64
	name, impl int32
}

// readAliasRecords makes a name of every record.
func (g *gatherer) readAliasRecords() {
	for oi := range g.objs {
		a := aliasReader{gatherer: g, oi: oi, o: &g.objs[oi]}
		for si := range a.o.Sections {
			s := &a.o.Sections[si]
			if s.Name == aliasSection && s.Type == elfload.Progbits && !a.o.discarded(uint32(si)) && !a.split(s) {
				return
			}
		}
		a.findFunctions()
		a.enter()
	}
}

// bad reports something wrong at an offset of a section.
func (a *aliasReader) bad(s *elfload.Section, off uint64, kind error, symbol, text string) {
	if !full(&a.errs) {
		a.errs.Add(&diag.Error{Kind: kind, File: a.o.Name(), Section: s.Name, Offset: off, Symbol: symbol, Text: text})
	}
}

// split appends the records of a section, each with its relocations. It returns false
// after an error that makes the others meaningless.
func (a *aliasReader) split(s *elfload.Section) bool {
	count := s.Size / aliasRecSize
	switch {
	case s.Size%aliasRecSize != 0:
		a.bad(s, 0, diag.ErrMalformed, "", "the size is no multiple of an alias record's")
		return false
	case count > uint64(maxNames-len(a.recs)):
		a.bad(s, 0, diag.ErrUnsupported, "", "too many alias records")
		return false
	}
	first := len(a.recs)
	for i := range count {
		a.recs = append(a.recs, aliasFields{s: s, off: i * aliasRecSize})
	}
	recs := a.recs[first:]
	for i := range s.Relocs.Len() {
		r := s.Relocs.At(i)
		row := reloc.Lookup(a.Machine, r.Type)
		rec := &recs[r.Offset/aliasRecSize]
		field := &rec.name
		switch r.Offset % aliasRecSize {
		case 0:
		case 8:
			field = &rec.impl
		default:
			a.bad(s, r.Offset, diag.ErrMalformed, "", "a relocation that is neither an alias record's name nor its implementation")
			return false
		}
		if row == nil || row.Formula != reloc.Abs || row.Field != reloc.Word64 {
			a.bad(s, r.Offset, diag.ErrMalformed, "", "a relocation in an alias record that is no 64-bit address")
			return false
		}
		if *field != 0 {
			a.bad(s, r.Offset, diag.ErrMalformed, "", "two relocations for one field of an alias record")
			return false
		}
		*field = int32(i) + 1
	}
	return true
}

// reloc returns a relocation of a section, by its number plus 1, with its addend,
// wherever that stands.
func (g *gatherer) reloc(s *elfload.Section, number int32) elfload.Reloc {
	r := s.Relocs.At(int(number) - 1)
	readImplicit(g.Machine, reloc.Lookup(g.Machine, r.Type), s, &r)
	return r
}

// bySection says that a relocation names a local function by its place in a section,
// as assemblers write it, and which.
func (o *object) bySection(r *elfload.Reloc) (codePoint, bool) {
	s := &o.Symbols[r.Sym]
	if s.Where != elfload.InSection || int(r.Sym) >= o.Locals || s.Type != elfload.SectionSym && r.Addend == 0 {
		return codePoint{}, false
	}
	return codePoint{s.Section, s.Value + uint64(r.Addend)}, true
}

// findFunctions looks up the functions that records name by their place; where several
// start, the first that is typed as one.
func (a *aliasReader) findFunctions() {
	a.funcs = map[codePoint]uint32{}
	for _, rec := range a.recs {
		if rec.impl != 0 {
			r := a.reloc(rec.s, rec.impl)
			if at, ok := a.o.bySection(&r); ok {
				a.funcs[at] = 0
			}
		}
	}
	if len(a.funcs) == 0 {
		return
	}
	for i := range a.o.Symbols {
		s := &a.o.Symbols[i]
		if s.Where != elfload.InSection || s.Type != elfload.Func && (s.Type != elfload.NoType || s.Name == "") {
			continue
		}
		p := codePoint{s.Section, s.Value}
		if old, wanted := a.funcs[p]; wanted && (old == 0 || s.Type == elfload.Func && a.o.Symbols[old].Type != elfload.Func) {
			a.funcs[p] = uint32(i)
		}
	}
}

// enter checks the records and enters their names.
func (a *aliasReader) enter() {
	for _, rec := range a.recs {
		bad := func(kind error, symbol, text string) { a.bad(rec.s, rec.off, kind, symbol, text) }
		kind, ok := aliasKinds[binary.LittleEndian.Uint64(rec.s.Data[rec.off+16:])]
		if rec.name == 0 || rec.impl == 0 || !ok {
			bad(diag.ErrMalformed, "", "an alias record needs a name, an implementation and a kind of 1, 2 or 3")
			continue
		}
		r := a.reloc(rec.s, rec.name)
		name := a.o.stringAt(&r)
		if len(name) == 0 {
			bad(diag.ErrMalformed, "", "the name of an alias record is no string")
			continue
		}
		r = a.reloc(rec.s, rec.impl)
		d, ok := a.implementation(&r)
		if !ok {
			bad(diag.ErrUndefined, string(name), "its implementation "+diag.Quote(a.o.symbolName(r.Sym))+" is not a function of this module")
			continue
		}
		id, ok := a.byName[string(name)] // no copy of what is there already
		if !ok {
			a.aliasBytes += len(name)
			if len(a.Names) >= maxNames || a.aliasBytes > maxAliasNames {
				bad(diag.ErrUnsupported, "", "too many alias records")
				return
			}
			id = a.intern(string(name))
		}
		n := &a.Names[id]
		if n.Defined() {
			bad(diag.ErrDuplicate, n.Name, "already defined in this module")
			continue
		}
		n.def, n.Class = d, aliasstack.Func
		a.records = append(a.records, aliasRecord{id, kind})
	}
}

// implementation resolves the second field of an alias record: a function of the
// module, by its name or by its place.
func (a *aliasReader) implementation(r *elfload.Reloc) (d def, ok bool) {
	d = def{symRef{int32(a.oi), r.Sym}, defSymbol, false}
	if id := a.o.nameOf(r.Sym); id != noName {
		d = a.Names[id].def
		if r.Addend != 0 {
			return d, false // a name and a distance mean no function
		}
	} else if at, bySection := a.o.bySection(r); bySection {
		if d.sym = a.funcs[at]; d.sym == 0 {
			return d, false
		}
	}
	d.weak = false
	return d, d.kind == defSymbol && a.classOf(d) == aliasstack.Func && a.placed(d)
}

// stringAt returns the NUL-terminated string that a relocation points at, nil if there
// is none or it is too long for a name. The bytes are the file's.
func (o *object) stringAt(r *elfload.Reloc) []byte {
	s := &o.Symbols[r.Sym]
	if s.Where != elfload.InSection {
		return nil
	}
	name, _ := cString(o.Sections[s.Section].Data, s.Value+uint64(r.Addend))
	return name
}

// cString returns the NUL-terminated string at an offset of data. ok is false if there
// is none, or it is longer than maxAliasName.
func cString(data []byte, off uint64) (name []byte, ok bool) {
	if off >= uint64(len(data)) {
		return nil, false
	}
	data = data[off:min(off+maxAliasName, uint64(len(data)))]
	end := bytes.IndexByte(data, 0)
	if end < 0 {
		return nil, false
	}
	return data[:end], true
}
