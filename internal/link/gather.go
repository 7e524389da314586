package link

import (
	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
)

// maxNames bounds the non-local names of a module. The largest objects seen have
// some 10^5; without a bound a 64 MiB file could ask for gigabytes of tables.
const maxNames = 1 << 18

// gatherer holds what is needed while a Module is made.
type gatherer struct {
	*Module
	unit     *Unit
	private  map[string]bool
	exported []bool // by NameID: what a Linux module's __ksymtab lists
	refined  []bool // by NameID: S of every undefined super_S
	errs     diag.List
	tls      bool // thread-local storage was reported: one line a module

	stop       bool   // a table is over its bound: nothing more is scanned
	aliasBytes int    // of new names in alias records
	execNobits uint64 // bytes of text that are not in the files
	fileBytes  uint64 // of all objects
}

// Gather resolves a unit in itself by the ordinary linker's rules (strong beats
// weak, the first weak wins, COMMON merges, the first COMDAT group of a signature is
// kept), decides what the unit provides and refers to, and lays its sections out.
//
// All root causes found are in the error, a *diag.Errors; the Module is nil then.
func Gather(u Unit) (*Module, error) {
	g := &gatherer{
		Module:  &Module{Name: u.Name, Machine: u.Objects[0].Machine, byName: make(map[string]NameID, globals(u.Objects)), Names: make([]Name, 0, globals(u.Objects))},
		unit:    &u,
		private: map[string]bool{},
	}
	for _, name := range u.Private {
		g.private[name] = true
	}
	g.keepSections(u.Objects)
	g.nameSections()
	g.define()
	if g.errs.Len() > 0 {
		return nil, g.errs.Err()
	}
	g.readAliasRecords()
	g.readModInfo()
	g.checkArrays()
	g.readKsymtab()
	g.findLayers()
	g.bind()
	g.scan()
	g.layout()
	if err := g.errs.Err(); err != nil {
		return nil, err
	}
	return g.Module, nil
}

// globals counts the non-local symbols of objects, at most maxNames: room to make.
func globals(objects []*elfload.Object) (n int) {
	for _, o := range objects {
		n += len(o.Symbols) - o.Locals
	}
	return min(n, maxNames)
}

// keepSections makes the objects' place tables: which sections are loaded at all.
func (g *gatherer) keepSections(objects []*elfload.Object) {
	comdat := map[string]bool{}
	for _, o := range objects {
		if o.Machine != g.Machine {
			g.errs.Add(diag.New(diag.ErrMachine, o.Name(), "is for %v, but %s is for %v", o.Machine, diag.Escape(objects[0].Name()), g.Machine))
			continue
		}
		g.fileBytes += uint64(o.Size)
		ob := object{Object: o, places: make([]place, len(o.Sections)), functions: new(functions)}
		dropped := make([]bool, len(o.Groups))
		for i, grp := range o.Groups {
			if grp.Comdat {
				dropped[i] = comdat[grp.Signature]
				comdat[grp.Signature] = true
			}
		}
		for i := range o.Sections {
			s := &o.Sections[i]
			if s.Flags&elfload.Alloc == 0 || s.Type == elfload.Null || s.Flags&elfload.Exclude != 0 {
				continue
			}
			if s.Group >= 0 && dropped[s.Group] {
				continue
			}
			if s.Flags&elfload.TLS != 0 {
				g.refuseTLS(o, "section "+diag.Quote(s.Name))
				continue
			}
			if s.Name == linuxModuleSection {
				g.Linux = true
			}
			ob.places[i].kept = true
		}
		g.objs = append(g.objs, ob)
	}
}

// discarded says that section i of the object would be loaded, but is a dropped COMDAT
// member, or is for the linker's eyes only (SHF_EXCLUDE): what is there is not defined.
func (o *object) discarded(i uint32) bool {
	s := &o.Sections[i]
	return s.Flags&elfload.Alloc != 0 && (s.Group >= 0 || s.Flags&elfload.Exclude != 0) && !o.places[i].kept
}

// notLoaded says why section i, which has no place, has none: nobody can refer to it.
func (o *object) notLoaded(i uint32) string {
	switch s := &o.Sections[i]; {
	case !o.discarded(i):
		return "its section " + diag.Quote(s.Name) + " is not loaded: it is none of the program's memory (no SHF_ALLOC)"
	case s.Flags&elfload.Exclude != 0:
		return "its section was discarded: it is not to be loaded (SHF_EXCLUDE)"
	}
	return "its section was discarded: another object of the module has the same COMDAT group"
}

// intern returns the id of a name, making it if it is new.
func (g *gatherer) intern(name string) NameID {
	if id, ok := g.byName[name]; ok {
		return id
	}
	id := NameID(len(g.Names))
	g.byName[name] = id
	g.Names = append(g.Names, Name{Name: name, Weak: true, def: def{symRef: symRef{obj: -1}}, first: ref{obj: -1}})
	return id
}

// define enters every non-local symbol into Names, merging definitions.
func (g *gatherer) define() {
	for oi := range g.objs {
		o := &g.objs[oi]
		globals := o.Symbols[o.Locals:]
		if len(globals)+len(g.Names) > maxNames {
			g.errs.Add(diag.New(diag.ErrUnsupported, o.Name(), "more than %d global symbols", maxNames))
			return
		}
		o.names = make([]NameID, len(globals))
		for i := range globals {
			s := &globals[i]
			id := g.intern(s.Name)
			o.names[i] = id
			n := &g.Names[id]
			n.Vis = stricter(n.Vis, s.Vis)
			if s.Where == elfload.Undefined || s.Where == elfload.InSection && o.discarded(s.Section) {
				n.Weak = n.Weak && s.Bind == elfload.Weak
				continue
			}
			g.merge(id, symRef{int32(oi), uint32(o.Locals + i)}, s)
		}
	}
}

// stricter returns the most constraining of two visibilities (gABI 4.13: a
// reference's counts as much as the definition's).
func stricter(a, b elfload.Visibility) elfload.Visibility {
	rank := [...]uint8{elfload.Default: 0, elfload.Protected: 1, elfload.Hidden: 2, elfload.Internal: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// merge enters one definition of a name.
func (g *gatherer) merge(id NameID, at symRef, s *elfload.Symbol) {
	n := &g.Names[id]
	weak := s.Bind != elfload.Global
	old := n.def
	switch {
	case s.Where == elfload.Common:
		if old.kind == defCommon {
			c := &g.commons[old.sym]
			c.size, c.align = max(c.size, s.Size), max(c.align, s.Value)
			return
		}
		if old.kind == defSymbol && !old.weak {
			return
		}
		g.commons = append(g.commons, common{name: id, size: s.Size, align: s.Value})
		n.def = def{symRef{at.obj, uint32(len(g.commons) - 1)}, defCommon, false}
	case old.kind == defNone, old.kind == defCommon && !weak, old.kind == defSymbol && old.weak && !weak:
		n.def = def{at, defSymbol, weak}
	case old.kind == defSymbol && !old.weak && !weak && !full(&g.errs):
		g.errs.Add(&diag.Error{Kind: diag.ErrDuplicate, File: g.objs[at.obj].Name(), Symbol: s.Name,
			Text: "already defined in " + diag.Escape(g.objs[old.obj].Name())})
	}
}

// bind decides for every name how references to it bind and whether it is offered.
func (g *gatherer) bind() {
	for i := range g.Names {
		n := &g.Names[i]
		if n.def.kind == defNone {
			g.bindUndefined(n)
			continue
		}
		n.Weak = false
		g.bindDefined(NameID(i), n)
	}
	for _, r := range g.records {
		n := &g.Names[r.name]
		if g.private[n.Name] {
			continue
		}
		n.Bind, n.Offered, n.Kind = Stack, true, r.kind
		if g.unit.Static && r.kind == aliasstack.Refinement {
			n.Kind = aliasstack.Override
		}
	}
}

// findLayers notes which names the module refers to as super_S.
func (g *gatherer) findLayers() {
	if !g.layers() {
		return
	}
	for i := range g.Names {
		if s, ok := superOf(g.Names[i].Name); ok && !g.Names[i].Defined() {
			if id, ok := g.byName[s]; ok {
				if g.refined == nil {
					g.refined = make([]bool, len(g.Names))
				}
				g.refined[id] = true
			}
		}
	}
}

// layers says that super_S means the layer below: Linux modules have real symbols of
// such names, and a static link has no layers.
func (g *gatherer) layers() bool { return !g.Linux && !g.unit.Static }

// bindUndefined decides for a name without definition in the module.
func (g *gatherer) bindUndefined(n *Name) {
	n.Bind = Stack
	if g.special(n.Name) {
		n.Bind, n.def.kind = Special, defSpecial
		return
	}
	if s, ok := superOf(n.Name); ok && g.layers() {
		if id, ok := g.byName[s]; ok && g.Names[id].Defined() && g.Names[id].def.kind != defSpecial && g.offers(id, &g.Names[id]) {
			n.Bind, n.Of = Super, s
			return
		}
	}
	if n.Vis == elfload.Hidden || n.Vis == elfload.Internal {
		n.Bind = Own // scan reports it where it is referred to, unless it is weak
	}
}

// offers says whether the module provides a name that it defines.
func (g *gatherer) offers(id NameID, n *Name) bool {
	if n.Vis == elfload.Hidden || n.Vis == elfload.Internal || g.private[n.Name] || g.Linux && !g.exported[id] {
		return false
	}
	return n.def.kind == defCommon || g.placed(n.def)
}

// placed says that a symbol is loaded, or needs not be.
func (m *Module) placed(d def) bool {
	o := &m.objs[d.obj]
	s := &o.Symbols[d.sym]
	return s.Where == elfload.Absolute || o.places[s.Section].kept
}

// bindDefined decides for a name that the module defines.
func (g *gatherer) bindDefined(id NameID, n *Name) {
	n.Class = g.classOf(n.def)
	if !g.offers(id, n) {
		return // Own
	}
	n.Offered, n.Kind, n.Bind = true, aliasstack.Override, Stack
	inComdat, unique := false, false
	if n.def.kind == defSymbol {
		o := &g.objs[n.def.obj]
		s := &o.Symbols[n.def.sym]
		unique = s.Bind == elfload.Unique
		inComdat = s.Where == elfload.InSection && o.Sections[s.Section].Group >= 0 && o.Groups[o.Sections[s.Section].Group].Comdat
	}
	if n.def.weak || inComdat {
		n.Kind = aliasstack.Default
	}
	if g.refined != nil && g.refined[id] {
		n.Kind = aliasstack.Refinement
	}
	if n.Vis == elfload.Protected || inComdat && n.Class == aliasstack.Data && !unique {
		n.Bind = Own // between modules each keeps its own copy of COMDAT data
	}
}

// classOf says whether a definition is code or data (semantics: NOTYPE in
// executable text is a function, SHN_ABS is data).
func (g *gatherer) classOf(d def) aliasstack.Class {
	if d.kind != defSymbol {
		return aliasstack.Data
	}
	o := &g.objs[d.obj]
	s := &o.Symbols[d.sym]
	if s.Where != elfload.InSection || o.Sections[s.Section].Flags&elfload.Exec == 0 {
		return aliasstack.Data
	}
	switch s.Type {
	case elfload.Func, elfload.IFunc, elfload.NoType:
		return aliasstack.Func
	}
	return aliasstack.Data
}

// superPrefix is what a layer puts before S to call the layer below.
const superPrefix = "super_"

// superOf returns S of "super_S".
func superOf(name string) (string, bool) {
	if len(name) <= len(superPrefix) || name[:len(superPrefix)] != superPrefix {
		return "", false
	}
	return name[len(superPrefix):], true
}

// align rounds v up; every size here is far below 2^63 (see layout's limit).
func align(v, a uint64) uint64 {
	r, _ := arch.AlignUp(v, a)
	return r
}
