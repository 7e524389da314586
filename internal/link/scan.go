package link

import (
	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/insn"
	"klink/internal/reloc"
)

// shape is what one relocation asks for, seen with the instruction it stands in.
type shape struct {
	use   Uses      // UsedByBranch, UsedByShort or UsedByAddress
	form  insn.Form // of a branch of long reach, or the relaxed form of a GOT call
	start uint64    // offset of that branch's first byte
	into  int64     // how far into the symbol the reference points, the branch's or operand's bias taken off
}

// shapeOf tells branches from addresses. The opcode decides (psABI types do not:
// PC32 stands under calls as well as under lea), and the addend confirms. Branches
// exist only in executable sections; in others the same types take an address.
func shapeOf(m arch.Machine, row *reloc.Row, s *elfload.Section, r *elfload.Reloc) shape {
	exec := s.Flags&elfload.Exec != 0
	switch row.Kind {
	case reloc.KindBranch, reloc.KindMaybeBranch:
		if !exec {
			break
		}
		form, start := insn.At(m, s.Data, r.Offset)
		switch {
		case form == insn.NoForm:
			return shape{use: UsedByAddress, into: operandInto(r.Addend)}
		case m == arch.AMD64:
			return shape{UsedByBranch, form, start, r.Addend + ripBias}
		}
		return shape{UsedByBranch, form, start, r.Addend}
	case reloc.KindShortBranch:
		if exec {
			return shape{UsedByShort, insn.NoForm, r.Offset, r.Addend}
		}
	case reloc.KindRelaxable:
		form, start := insn.Relax(s.Data, r.Offset)
		if form == insn.NoForm || r.Addend != -ripBias || !exec {
			return shape{use: UsedByAddress}
		}
		return shape{UsedByBranch, form, start, 0}
	case reloc.KindGOT:
		if !row.Formula.AddendInSlot() {
			return shape{use: UsedByAddress}
		}
	case reloc.KindSize:
		return shape{use: UsedByAddress}
	}
	if !exec && (row.Formula == reloc.PCRel || row.Formula == reloc.PLTRel) && r.Addend >= 0 && uint64(r.Addend) <= r.Offset {
		// A word of a table of distances, `.long f - table`: the addend is how far the
		// place is from the start of the table, which lies in the same section.
		return shape{use: UsedByAddress}
	}
	return shape{use: UsedByAddress, into: r.Addend}
}

// ripBias is the distance from a rel32 field to the end of its instruction.
const ripBias = 4

// operandInto takes the bias off the addend of a RIP-relative operand: the field
// is followed by an immediate of 0, 1, 2 or 4 bytes.
func operandInto(addend int64) int64 {
	switch addend {
	case -4, -5, -6, -8:
		return 0
	}
	return addend + ripBias
}

// maxTable bounds the GOT slots, the veneers and the stubs of a module each; a
// relocation or a symbol of 24 bytes would else buy several times its size in tables.
const maxTable = 1 << 18

// tooMany reports a table over its bound, and ends the scan.
func (g *gatherer) tooMany(what string) {
	if !g.stop {
		g.stop = true
		g.errs.Add(diag.New(diag.ErrUnsupported, g.objs[0].Name(), "its module needs more than %d %s", maxTable, what))
	}
}

// scan reads every relocation of the placed sections once: which names are used
// how, which need GOT slots, veneers or stubs, and which types klink does not apply.
func (g *gatherer) scan() {
	g.slots = map[gotSlot]int32{}
	g.vindex = map[veneerKey]int32{}
	if g.unit.Far || len(g.unit.Distant) > 0 {
		g.far = make([]int32, len(g.Names))
	}
	g.stubs = map[symRef]int{}
	for oi := range g.objs {
		o := &g.objs[oi]
		g.scanIFuncs(oi)
		for si := range o.Sections {
			s := &o.Sections[si]
			if !o.places[si].kept {
				continue
			}
			if s.Type == elfload.Nobits && s.Flags&elfload.Exec != 0 {
				g.scanNobits(o, s)
			}
			g.scanSection(oi, si)
			if g.stop {
				return
			}
		}
	}
}

// maxExecNobits bounds the text of a module that has no bytes in the files: it would be
// written as zeros.
const maxExecNobits = 1 << 20

// scanNobits adds up text without bytes.
func (g *gatherer) scanNobits(o *object, s *elfload.Section) {
	g.execNobits += min(s.Size, maxExecNobits+1)
	if g.execNobits > maxExecNobits && !full(&g.errs) {
		g.errs.Add(diag.New(diag.ErrUnsupported, o.Name(), "section %s: %d bytes of executable NOBITS", diag.Quote(s.Name), s.Size))
	}
}

// scanIFuncs gives every IFUNC symbol that the object defines its stub.
func (g *gatherer) scanIFuncs(oi int) {
	o := &g.objs[oi]
	for i := range o.Symbols {
		s := &o.Symbols[i]
		if s.Type != elfload.IFunc {
			continue
		}
		switch {
		case len(g.stubs) == maxTable:
			g.tooMany("IFUNC symbols")
			return
		case s.Where == elfload.Absolute && !full(&g.errs):
			g.errs.Add(&diag.Error{Kind: diag.ErrUnsupported, File: o.Name(), Symbol: s.Name,
				Text: "an IFUNC at an absolute address: its resolver must be a function of the module"})
		case s.Where == elfload.InSection && o.places[s.Section].kept:
			g.stubs[symRef{int32(oi), uint32(i)}] = len(g.stubs)
		}
	}
}

// scanSection reads the relocations of one section.
func (g *gatherer) scanSection(oi, si int) {
	o := &g.objs[oi]
	s := &o.Sections[si]
	own, unwind := ownSection(s), unwindSection(s)
	n := s.Relocs.Len()
	g.Relocs += n
	for i := 0; i < n && !g.stop; i++ {
		r := s.Relocs.At(i)
		row := reloc.Lookup(g.Machine, r.Type)
		if row == nil {
			g.refuseType(ref{int32(oi), uint32(si), int32(i)}, &r)
			continue
		}
		if row.Kind == reloc.KindNone || row.Kind == reloc.KindGOTBase {
			continue
		}
		readImplicit(g.Machine, row, s, &r)
		id := o.nameOf(r.Sym)
		if o.Symbols[r.Sym].Type == elfload.TLSType {
			g.refuseTLS(o.Object, "symbol "+diag.Quote(o.Symbols[r.Sym].Name))
			continue
		}
		if row.Kind == reloc.KindGOT || row.Kind == reloc.KindRelaxable {
			g.slot(g.slotOf(oi, id, row, &r))
		}
		if id == noName {
			continue
		}
		name := &g.Names[id]
		sh := shapeOf(g.Machine, row, s, &r)
		if name.Defined() && meansOwn(own, sh.into, name) && row.Kind != reloc.KindGOT && row.Kind != reloc.KindRelaxable {
			continue // no reference to the symbol
		}
		if sh.use == UsedByBranch {
			g.branches++
			if row.Kind == reloc.KindRelaxable && name.Weak {
				sh.use |= UsedByAddress // stays a GOT call if the name turns out absent
			}
		}
		name.Uses |= sh.use
		if !unwind && name.Uses&UsedStrictly == 0 {
			name.Uses |= UsedStrictly
			name.first = ref{int32(oi), uint32(si), int32(i)}
			if name.Bind == Own && !name.Defined() && !name.Weak {
				g.fail(name.first, diag.ErrUndefined, "a hidden symbol that its module does not define")
			}
		}
		if g.Machine == arch.ARM64 {
			g.wantVeneers(sh.use, veneerKey{int32(oi), uint32(si), id})
		}
	}
}

// meansOwn says that a reference to a name which the module defines means that very
// definition: from a section that says so, or into a function instead of at it.
func meansOwn(own bool, into int64, n *Name) bool {
	return own || into != 0 && n.Class == aliasstack.Func
}

// readImplicit sets the addend of a REL entry from its field. A place that does not
// fit is left for Apply to report.
func readImplicit(m arch.Machine, row *reloc.Row, s *elfload.Section, r *elfload.Reloc) {
	if s.Relocs.Implicit() && row.Fits(m, s.Data, r.Offset, s.Flags&elfload.Exec != 0) == reloc.OK {
		r.Addend = row.Addend(s.Data[r.Offset:])
	}
}

// wantVeneers reserves what a branch may need: a veneer near a short branch to a
// name that can switch, and one of the module's for any name that is called and may
// lie further away than a branch reaches.
func (g *gatherer) wantVeneers(use Uses, key veneerKey) {
	if b := g.Names[key.name].Bind; b != Stack && b != Super {
		return
	}
	switch {
	case use == UsedByShort:
		if _, ok := g.vindex[key]; !ok {
			g.vindex[key] = g.addVeneer(key)
		}
	case use == UsedByBranch && (g.unit.Far || g.unit.Distant[g.Names[key.name].Name]) && g.far[key.name] == 0:
		g.far[key.name] = g.addVeneer(veneerKey{-1, 0, key.name}) + 1
	}
}

// addVeneer makes room for a veneer and returns its index.
func (g *gatherer) addVeneer(key veneerKey) int32 {
	if len(g.veneers) == maxTable {
		g.tooMany("veneers")
		return 0
	}
	g.veneers = append(g.veneers, veneer{veneerKey: key})
	return int32(len(g.veneers) - 1)
}

// slotOf returns which GOT slot a relocation means. On aarch64 the addend belongs to
// the slot for most types, GDAT(S+A); on x86-64 it is the operand's bias.
func (m *Module) slotOf(oi int, id NameID, row *reloc.Row, r *elfload.Reloc) gotSlot {
	k := gotSlot{obj: -1, sym: uint32(id)}
	if id == noName {
		k = gotSlot{obj: int32(oi), sym: r.Sym}
	}
	if row.Formula.AddendInSlot() {
		k.addend = r.Addend
	}
	return k
}

// slot reserves a GOT slot.
func (g *gatherer) slot(k gotSlot) {
	if _, ok := g.slots[k]; ok {
		return
	}
	if len(g.gots) == maxTable {
		g.tooMany("GOT slots")
		return
	}
	g.slots[k] = int32(len(g.gots))
	g.gots = append(g.gots, k)
}
