package link

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/reloc"
)

// The MODULE record, which NetBSD's MODULE(class, name, required) makes. The section
// link_set_modules holds the address of each (a relocation) of a module's records:
//
//	0   u32 version
//	4   u32 class
//	8   the address of the function that INIT, FINI and so on are sent to (a relocation)
//	16  the address of the name, NUL-terminated (a relocation)
//	24  the address of the names of required modules, with commas between (a relocation), or 0
//
// All of it must be known before addresses are, so it is read through the relocations.
const (
	modulesSection = "link_set_modules"
	modInfoSize    = 32
)

// maxModuleName bounds a module's name, bytes: it stands in messages and in file names.
const maxModuleName = 64

// ModInfo is what a module's MODULE record says.
type ModInfo struct {
	Name     string
	Class    uint32   // NetBSD's MODULE_CLASS_ numbers
	Version  uint32   // of the kernel that it was compiled for
	Required []string // modules that must be loaded with it, each once, in the record's order

	modcmd spot
}

// spot is a place in a section of the module; obj < 0 is none.
type spot struct {
	obj int32
	sec uint32
	off uint64
}

// Info returns the module's MODULE record, nil if it has none. It is shared and must
// not be changed.
func (m *Module) Info() *ModInfo { return m.info }

// Modcmd returns the address of the module's modcmd, which is its own whoever else
// defines the name. ok is false if it has no MODULE record, or one without a modcmd.
func (m *Module) Modcmd(at [Regions]uint64) (addr uint64, ok bool) {
	if m.info == nil || m.info.modcmd.obj < 0 {
		return 0, false
	}
	s := m.info.modcmd
	p := &m.objs[s.obj].places[s.sec]
	return at[p.region] + p.off + s.off, true
}

// refuseRecord reports something wrong in what says how to run the module.
func (g *gatherer) refuseRecord(oi int, s *elfload.Section, off uint64, symbol, text string) {
	if !full(&g.errs) {
		g.errs.Add(&diag.Error{Kind: diag.ErrMalformed, File: g.objs[oi].Name(), Section: s.Name, Offset: off, Symbol: symbol, Text: text})
	}
}

// readModInfo finds the module's record.
func (g *gatherer) readModInfo() {
	count := uint64(0)
	for oi := range g.objs {
		o := &g.objs[oi]
		for si := range o.Sections {
			s := &o.Sections[si]
			if s.Name != modulesSection || s.Type != elfload.Progbits || s.Size == 0 || o.discarded(uint32(si)) {
				continue
			}
			bad := func(off uint64, text string) { g.refuseRecord(oi, s, off, "", text) }
			if s.Size%pointerSize != 0 {
				bad(0, "the size is no multiple of a pointer's")
				return
			}
			if count += s.Size / pointerSize; count > 1 {
				bad(s.Size-pointerSize, "more than one MODULE record in one module")
				return
			}
			p, text := g.pointers(s, 0, pointerSize)
			switch {
			case text != "":
				bad(0, text)
			case p[0] == 0:
				bad(0, "no MODULE record is there")
			default:
				g.readRecord(oi, s, g.reloc(s, p[0]))
			}
		}
	}
}

// pointers finds the relocations of the words of a range of a section, size bytes from
// offset off: by word, their number plus 1, 0 for none. text says what is wrong: one
// that is no 64-bit address of a word, or a second one for a word.
func (g *gatherer) pointers(s *elfload.Section, off, size uint64) (found [modInfoSize / pointerSize]int32, text string) {
	for i := range s.Relocs.Len() {
		r := s.Relocs.At(i)
		row := reloc.Lookup(g.Machine, r.Type)
		if row == nil || row.Width == 0 || r.Offset+uint64(row.Width) <= off || r.Offset >= off+size {
			continue // what klink does not apply is refused where it would be
		}
		if row.Formula != reloc.Abs || row.Field != reloc.Word64 || r.Offset < off || (r.Offset-off)%pointerSize != 0 {
			return found, "a relocation in a MODULE record that is no 64-bit address"
		}
		word := &found[(r.Offset-off)/pointerSize]
		if *word != 0 {
			return found, "two relocations for one field of a MODULE record"
		}
		*word = int32(i) + 1
	}
	return found, ""
}

// pointsAt returns the byte of the module that a relocation of an object means: of a
// name the module's own definition. It returns the symbol too. ok is false if that is
// elsewhere, or not loaded with the module's first COMDAT group of its signature.
func (g *gatherer) pointsAt(oi int, r *elfload.Reloc) (at spot, sym *elfload.Symbol, ok bool) {
	ref := symRef{int32(oi), r.Sym}
	if id := g.objs[oi].nameOf(r.Sym); id != noName {
		d := &g.Names[id].def
		if d.kind != defSymbol || r.Addend != 0 { // a distance from a name may be one in another object
			return at, nil, false
		}
		ref = d.symRef
	}
	o := &g.objs[ref.obj]
	sym = &o.Symbols[ref.sym]
	at = spot{ref.obj, sym.Section, sym.Value + uint64(r.Addend)}
	if sym.Where != elfload.InSection || o.discarded(sym.Section) {
		return at, sym, false
	}
	return at, sym, at.off < o.Sections[at.sec].Size
}

// readRecord reads the record that r, a relocation of section s, points at.
func (g *gatherer) readRecord(oi int, s *elfload.Section, r elfload.Reloc) {
	at, sym, ok := g.pointsAt(oi, &r)
	if !ok {
		g.refuseRecord(oi, s, 0, g.objs[oi].symbolName(r.Sym), "a MODULE record that is not in this module")
		return
	}
	o := &g.objs[at.obj]
	sec := &o.Sections[at.sec]
	bad := func(off uint64, symbol, text string) { g.refuseRecord(int(at.obj), sec, at.off+off, symbol, text) }
	if uint64(len(sec.Data)) < at.off+modInfoSize || sym.Type == elfload.ObjectType && r.Addend == 0 && sym.Size != 0 && sym.Size != modInfoSize {
		bad(0, "", "a MODULE record is 32 bytes long, this is not")
		return
	}
	p, text := g.pointers(sec, at.off, modInfoSize)
	if text != "" {
		bad(0, "", text)
		return
	}
	rec := sec.Data[at.off : at.off+modInfoSize]
	info := &ModInfo{Version: binary.LittleEndian.Uint32(rec), Class: binary.LittleEndian.Uint32(rec[4:]), modcmd: spot{obj: -1}}
	for word := 1; word < len(p); word++ {
		if p[word] == 0 && binary.LittleEndian.Uint64(rec[8*word:]) != 0 {
			bad(uint64(8*word), "", "an address without a relocation in a MODULE record")
			return
		}
	}
	if p[1] != 0 {
		r := g.reloc(sec, p[1])
		if info.modcmd, ok = g.function(int(at.obj), &r); !ok {
			bad(8, o.symbolName(r.Sym), "the modcmd of the MODULE record is not a function of this module")
			return
		}
	}
	if info.Name, ok = g.text(&at, sec, p[2]); !ok || info.Name == "" {
		bad(16, "", "the MODULE record has no name")
		return
	}
	if p[3] != 0 {
		list, ok := g.text(&at, sec, p[3])
		if !ok {
			bad(24, "", "what the MODULE record requires is no string")
			return
		}
		info.Required = namesIn(list)
	}
	for _, name := range append([]string{info.Name}, info.Required...) {
		if why := badModuleName(name); why != "" {
			bad(0, "", diag.Quote(name)+" in the MODULE record is no name for a module: it "+why)
			return
		}
	}
	g.info = info
}

// function resolves a relocation that has to mean a function of the module.
func (g *gatherer) function(oi int, r *elfload.Reloc) (spot, bool) {
	at, sym, ok := g.pointsAt(oi, r)
	if !ok || sym.Type == elfload.IFunc {
		return at, false
	}
	o := &g.objs[at.obj]
	s := &o.Sections[at.sec]
	return at, s.Flags&elfload.Exec != 0 && o.places[at.sec].kept && at.off&(g.Machine.Facts().InsnAlign-1) == 0
}

// text returns the string that a word of the record at at in section s points at, by the
// number of its relocation.
func (g *gatherer) text(at *spot, s *elfload.Section, number int32) (string, bool) {
	if number == 0 {
		return "", false
	}
	r := g.reloc(s, number)
	to, _, ok := g.pointsAt(int(at.obj), &r)
	if !ok {
		return "", false
	}
	name, ok := cString(g.objs[to.obj].Sections[to.sec].Data, to.off)
	return string(name), ok
}

// namesIn splits a list of required modules. Empty places in it are passed over.
func namesIn(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// badModuleName says what keeps a name from being a module's, "" if nothing does:
// commands tell modules from paths, and from MODULE:FUNCTION, by their names.
func badModuleName(name string) string {
	switch {
	case len(name) > maxModuleName:
		return "is longer than 64 bytes"
	case !utf8.ValidString(name):
		return "is not UTF-8"
	case strings.ContainsAny(name, "/:,"):
		return "must not have / or : or a comma in it"
	}
	return ""
}
