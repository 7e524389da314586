package link

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/insn"
	"klink/internal/reloc"
)

// target is what a name means, worked out once from its Answer and its definition.
type target struct {
	branch, addr uint64 // S of direct branches, S of everything else
	own          uint64 // address of the own definition
	size         uint64 // Z
	slot         aliasstack.SlotID
	defined      bool // own is valid
	absent       bool
	other        bool // a function of another module
	distant      bool // a branch goes through the veneer
	unloaded     bool // the own definition lies where nothing is loaded
}

// applier is one run of Apply.
type applier struct {
	*Module
	in      *Input
	out     [Regions][]byte
	targets []target // by NameID
	mask    uint64   // the bits that are 0 in an instruction's address
	res     Result
	errs    diag.List
}

// Apply writes the module's sections, GOT, veneers and stubs into out and returns
// its sites. out[r] is the memory of block r, at least Init[r] bytes, of which Text
// is overwritten and the others must be zero: gaps are not written. The Module is
// not changed.
//
// All root causes found are in the error, a *diag.Errors; out holds rubbish then.
func (m *Module) Apply(in *Input, out [Regions][]byte) (*Result, error) {
	facts := m.Machine.Facts()
	a := &applier{Module: m, in: in, out: out, mask: facts.InsnAlign - 1}
	if !in.Static {
		a.res.Sites = slices.Grow(in.Sites[:0], m.branches+len(m.veneers))
	}
	a.resolve()
	fill(out[Text][:m.Init[Text]], facts.TrapBytes)
	for oi := range m.objs {
		o := &m.objs[oi]
		for si := range o.Sections {
			if p := &o.places[si]; p.kept {
				a.section(oi, si)
			}
		}
	}
	a.fillGOT()
	a.fillVeneers()
	if err := a.errs.Err(); err != nil {
		return nil, err
	}
	return &a.res, nil
}

// fill repeats pattern over b.
func fill(b, pattern []byte) {
	n := copy(b, pattern)
	for n > 0 && n < len(b) {
		n += copy(b[n:], b[:n])
	}
}

// resolve makes the targets.
func (a *applier) resolve() {
	a.targets = make([]target, len(a.Names))
	for i := range a.Names {
		n, t := &a.Names[i], &a.targets[i]
		t.own, t.size, t.defined = a.Own(NameID(i), a.in.At)
		if n.Bind == Own || n.Bind == Special {
			t.branch, t.addr, t.absent = t.own, t.own, !t.defined
			t.unloaded = n.def.kind == defSymbol && !a.placed(n.def)
			continue
		}
		ans := &a.in.Answers[i]
		t.branch, t.addr, t.absent = ans.Branch, ans.Address, ans.Absent
		t.other = ans.Other
		if !t.defined {
			t.size = ans.Size
		}
		if !a.in.Static {
			t.slot = ans.Slot
		}
	}
}

// fixup is one relocation and its surroundings.
type fixup struct {
	ref
	o    *object
	s    *elfload.Section
	r    elfload.Reloc
	row  *reloc.Row
	base uint64 // address of the section
	dst  []byte // the section's bytes in out
}

// section copies a section and applies its relocations.
func (a *applier) section(oi, si int) {
	o := &a.objs[oi]
	s := &o.Sections[si]
	p := &o.places[si]
	if p.off >= a.Init[p.region] || s.Size == 0 {
		return // the NOBITS tail
	}
	f := fixup{ref: ref{int32(oi), uint32(si), 0}, o: o, s: s, base: a.in.At[p.region] + p.off, dst: a.out[p.region][p.off : p.off+s.Size]}
	if s.Type == elfload.Nobits {
		clear(f.dst)
		return
	}
	copy(f.dst, s.Data)
	exec, own := s.Flags&elfload.Exec != 0, ownSection(s)
	gotAddr := a.in.At[Tables] + a.gotOff
	first := len(a.res.Sites)
	for i, n := 0, s.Relocs.Len(); i < n; i++ {
		f.idx, f.r = int32(i), s.Relocs.At(i)
		f.row = reloc.Lookup(a.Machine, f.r.Type)
		if f.row.Kind == reloc.KindNone {
			continue
		}
		if v := f.row.Fits(a.Machine, s.Data, f.r.Offset, exec); v != reloc.OK {
			a.misfit(&f, v)
			continue
		}
		readImplicit(a.Machine, f.row, s, &f.r)
		in := reloc.Inputs{A: f.r.Addend, P: f.base + f.r.Offset, GOT: gotAddr}
		id := o.nameOf(f.r.Sym)
		switch f.row.Kind {
		case reloc.KindGOTBase:
			a.put(&f, &in)
			continue
		case reloc.KindGOT, reloc.KindRelaxable:
			in.G = gotAddr + 8*uint64(a.slots[a.slotOf(oi, id, f.row, &f.r)])
		}
		if id == noName {
			a.local(&f, &in)
		} else {
			a.named(&f, &in, id, own)
		}
	}
	if sites := a.res.Sites[first:]; len(sites) > 0 && a.errs.Len() == 0 {
		a.verify(&f, sites)
	}
}

// local applies a relocation against a local symbol, or none.
func (a *applier) local(f *fixup, in *reloc.Inputs) {
	if f.r.Sym != 0 {
		sym := &f.o.Symbols[f.r.Sym]
		if sym.Where == elfload.InSection && !f.o.places[sym.Section].kept {
			a.unloaded(f, f.o, sym.Section)
			return
		}
		in.S = a.symbolAddr(symRef{f.obj, f.r.Sym}, a.in.At)
		in.Z = sym.Size
	}
	in.L = in.S
	if f.row.Kind == reloc.KindRelaxable && !a.in.Static {
		if sh := shapeOf(a.Machine, f.row, f.s, &f.r); sh.use == UsedByBranch && a.relax(f, &sh, in.S, 0, noName) {
			return
		}
	}
	if (f.row.Kind == reloc.KindBranch || f.row.Kind == reloc.KindShortBranch) && !a.aligned(f, in.S+uint64(in.A)) {
		return
	}
	a.put(f, in)
}

// unloaded applies a relocation against what lies in a section that has no place. An
// unwind table is left with a 0, as one about code that is not there; anything else would
// use an address that means nothing.
func (a *applier) unloaded(f *fixup, o *object, section uint32) {
	if !unwindSection(f.s) {
		a.fail(f, diag.ErrUndefined, "%s", o.notLoaded(section))
	}
	clear(f.dst[f.r.Offset:][:f.row.Width])
}

// named applies a relocation against a name of the module.
func (a *applier) named(f *fixup, in *reloc.Inputs, id NameID, own bool) {
	t := &a.targets[id]
	if t.unloaded {
		d := a.Names[id].def
		o := &a.objs[d.obj]
		a.unloaded(f, o, o.Symbols[d.sym].Section)
		return
	}
	in.S, in.L, in.Z = t.addr, t.addr, t.size
	if t.absent && a.Machine == arch.ARM64 && f.row.Formula.FromPlace() {
		in.S, in.L = in.P, in.P // aaelf64 5.6.1 on undefined weak symbols: the place itself
	}
	sh := shapeOf(a.Machine, f.row, f.s, &f.r)
	slot := t.slot
	switch {
	case t.defined && meansOwn(own, sh.into, &a.Names[id]):
		in.S, in.L, slot, t = t.own, t.own, 0, &target{own: t.own, branch: t.own, addr: t.own, defined: true}
	case sh.into != 0 && t.other:
		a.fail(f, diag.ErrUnsupported, "points %d bytes into a function of another module: only a module's own function can be meant", sh.into)
		return
	case sh.into != 0:
		slot = 0 // a site leads to a function's start
	}
	switch {
	case sh.use&(UsedByBranch|UsedByShort) == 0:
		a.put(f, in)
	case t.absent && a.Machine == arch.ARM64:
		binary.LittleEndian.PutUint32(f.dst[f.r.Offset:], nopARM64) // aaelf64 on undefined weak symbols: to the next instruction
	case sh.use&UsedByShort != 0:
		a.shortBranch(f, in, id, t, slot)
	case f.row.Kind == reloc.KindRelaxable:
		a.throughGOT(f, in, id, &sh, t, slot)
	default:
		a.branch(f, in, id, &sh, t, slot)
	}
}

// nopARM64 is the word that a branch to an absent weak symbol becomes.
const nopARM64 = 0xd503201f // nop

// branch applies a direct branch of long reach: a site, if it follows a slot.
func (a *applier) branch(f *fixup, in *reloc.Inputs, id NameID, sh *shape, t *target, slot aliasstack.SlotID) {
	in.S, in.L = t.branch, t.branch
	if !a.aligned(f, t.branch+uint64(sh.into)) {
		return
	}
	at := f.base + sh.start
	site := Site{Addr: at, Slot: slot, Name: id, Form: sh.form}
	// A veneer leads to what the name means, so not to somewhere inside of it.
	if a.far != nil && a.far[id] != 0 && t == &a.targets[id] && sh.into == 0 && t.branch&a.mask == 0 {
		site.Veneer = a.in.At[Text] + a.veneers[a.far[id]-1].off
		if !sh.form.InReach(at, t.branch) {
			in.S, in.L, t.distant = site.Veneer, site.Veneer, true
		}
	}
	if a.put(f, in) && slot != 0 {
		a.res.Sites = append(a.res.Sites, site)
	}
}

// shortBranch applies CONDBR19 and TSTBR14: what can switch goes through a veneer.
func (a *applier) shortBranch(f *fixup, in *reloc.Inputs, id NameID, t *target, slot aliasstack.SlotID) {
	in.S = t.branch
	if !a.aligned(f, t.branch+uint64(f.r.Addend)) {
		return
	}
	if slot != 0 {
		in.S = a.in.At[Text] + a.veneers[a.vindex[veneerKey{f.obj, f.sec, id}]].off
	}
	a.put(f, in)
}

// throughGOT applies a call or jump through the GOT: a direct one, if it is in reach.
func (a *applier) throughGOT(f *fixup, in *reloc.Inputs, id NameID, sh *shape, t *target, slot aliasstack.SlotID) {
	switch {
	case !t.absent && !a.in.Static && a.relax(f, sh, t.branch, slot, id):
	case t.addr == 0 && !t.absent: // nobody asked for an address to put into the slot
		a.outOfRange(f, int64(t.branch-in.P)-ripBias)
	default:
		a.put(f, in)
	}
}

// relax turns a call or jump through the GOT into a direct one (x86-64 psABI B.2):
//
//	ff 15 disp32  call *f@GOTPCREL(%rip)  →  67 e8 rel32     addr32 call f
//	ff 25 disp32  jmp  *f@GOTPCREL(%rip)  →  e9 rel32; 90    jmp f; nop
//
// It returns false, with nothing written, if the target is out of reach.
func (a *applier) relax(f *fixup, sh *shape, to uint64, slot aliasstack.SlotID, id NameID) bool {
	at := f.base + sh.start
	if !sh.form.Encode(f.dst[sh.start:], at, to) {
		return false
	}
	if slot == 0 {
		return true
	}
	a.res.Sites = append(a.res.Sites, Site{Addr: at, Slot: slot, Name: id, Form: sh.form})
	return true
}

// put computes a fix-up's value, checks it, and writes its field.
func (a *applier) put(f *fixup, in *reloc.Inputs) bool {
	v := f.row.Value(in)
	switch f.row.Check(v) {
	case reloc.OK:
		f.row.Put(f.dst[f.r.Offset:], v)
		return true
	case reloc.Misaligned:
		a.fail(f, diag.ErrAlign, "value %#x is not a multiple of %d", v, f.row.Align)
	default:
		a.outOfRange(f, v)
	}
	return false
}

// outOfRange reports a value that does not fit its field.
func (a *applier) outOfRange(f *fixup, v int64) {
	a.fail(f, diag.ErrRange, "relocation out of range: %#x is not in %s", v, reloc.RangeText(f.row))
}

// aligned reports a branch's target at which no instruction can start. A static link drops the
// low bits, as aaelf64 5.7.6 has it for these fields and GNU ld and lld do.
func (a *applier) aligned(f *fixup, to uint64) bool {
	if to&a.mask == 0 || a.in.Static {
		return true
	}
	a.fail(f, diag.ErrAlign, "its target is at %#x, no address of an instruction", to)
	return false
}

// misfit reports a place whose bytes are not what the relocation's type implies.
func (a *applier) misfit(f *fixup, v reloc.Verdict) {
	switch v {
	case reloc.OutOfSection:
		a.fail(f, diag.ErrMalformed, "a field of %d bytes runs over the end of the section, %d bytes long", f.row.Width, f.s.Size)
	default:
		if f.r.Offset&a.mask != 0 {
			a.fail(f, diag.ErrInsn, "no instruction can be at %#x, which is not a multiple of %d", f.r.Offset, a.mask+1)
			return
		}
		lo := f.r.Offset - min(f.r.Offset, 3)
		hi := min(f.r.Offset+uint64(f.row.Width), f.s.Size)
		a.fail(f, diag.ErrInsn, "unexpected instruction: % x at %#x", f.s.Data[lo:hi], lo)
	}
}

// fail reports something wrong at a fix-up.
func (a *applier) fail(f *fixup, kind error, format string, args ...any) {
	if !full(&a.errs) {
		a.errs.Add(a.errorAt(f.ref, kind, fmt.Sprintf(format, args...)))
	}
}

// fillGOT writes the slots: the address of each name or local symbol.
func (a *applier) fillGOT() {
	for i, k := range a.gots {
		var v uint64
		if k.obj >= 0 {
			v = a.symbolAddr(symRef{k.obj, k.sym}, a.in.At)
		} else {
			v = a.targets[k.sym].addr
		}
		binary.LittleEndian.PutUint64(a.out[Tables][a.gotOff+8*uint64(i):], v+uint64(k.addend))
	}
}

// fillVeneers writes the veneers of names that follow a slot; each is a site. Of the
// others it writes those that a branch goes through, the rest stay traps.
func (a *applier) fillVeneers() {
	for _, v := range a.veneers {
		t := &a.targets[v.name]
		if t.slot == 0 && (!t.distant || v.obj >= 0) || t.absent {
			continue
		}
		at := a.in.At[Text] + v.off
		if !insn.FarJump.Encode(a.out[Text][v.off:], at, t.branch) {
			continue // no address of an instruction, which whoever wanted to go there has reported
		}
		if t.slot == 0 {
			continue
		}
		a.res.Sites = append(a.res.Sites, Site{Addr: at, Slot: t.slot, Name: v.name, Form: insn.FarJump})
	}
}

// verify reads the sites of a section back: another relocation over a site's bytes
// would have made it something else, and a second site there would be switched apart.
func (a *applier) verify(f *fixup, sites []Site) {
	if !slices.IsSortedFunc(sites, byAddr) { // assemblers write relocations in order
		sites = slices.SortedFunc(slices.Values(sites), byAddr)
	}
	end := uint64(0)
	for i := range sites {
		s := &sites[i]
		off := s.Addr - f.base
		to, ok := s.Form.Target(f.dst[off:], s.Addr)
		ok = ok && (to == a.targets[s.Name].branch || to == s.Veneer && to != 0) && off >= end
		end = off + uint64(s.Form.Len())
		if !ok && !full(&a.errs) {
			a.errs.Add(&diag.Error{Kind: diag.ErrMalformed, File: f.o.Name(), Section: f.s.Name, Offset: off, Func: f.o.functionOver(f.sec, off),
				Symbol: a.Names[s.Name].Name, Text: "two relocations overlap in the branch"})
		}
	}
}

// byAddr orders sites by address.
func byAddr(a, b Site) int { return cmp.Compare(a.Addr, b.Addr) }
