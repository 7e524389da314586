package kernel

import (
	"cmp"
	"slices"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/insn"
	"klink/internal/patch"
)

// What a load or unload says it did: worked out from the plan before the switch, so
// that a dry run says the same.

// veneerLen is the length of a veneer, bytes.
var veneerLen = uint64(insn.FarJump.Len())

// farTarget decodes a veneer.
func farTarget(b []byte, at uint64) (uint64, bool) { return insn.FarJump.Target(b, at) }

// report describes a load, a dry run with what each module would push.
func (l *loading) report(dry bool) *Change {
	c := l.k.changeInfo(l.batch)
	c.DryRun = dry
	for _, m := range l.fresh {
		if m.spec.own && len(m.files) == 0 {
			continue // klink's own kernel object, which nobody asked for by name
		}
		info := m.brief()
		if dry {
			info.Provides = l.wouldProvide(m)
		}
		c.Loaded = append(c.Loaded, info)
	}
	for _, h := range l.change.Hidden() {
		info := HiddenInfo{Symbol: h.Name, By: l.module(h.By).name}
		for _, id := range h.Refinements {
			info.Refinements = append(info.Refinements, l.module(id).name)
		}
		c.Hidden = append(c.Hidden, info)
	}
	for _, m := range l.fresh {
		for _, name := range m.absent {
			c.Absent = append(c.Absent, AbsentInfo{m.name, name})
		}
	}
	return c
}

// wouldProvide lists what a fresh module pushes, and whether it would be current.
func (l *loading) wouldProvide(m *module) []ProvideInfo {
	var list []ProvideInfo
	for i, id := range m.offers {
		n := &m.lm.Names[id]
		addr, _, _ := m.lm.Own(id, m.at)
		slot, _ := l.change.Slot(n.Name)
		cur := l.change.Current(slot)
		list = append(list, ProvideInfo{n.Name, n.Kind.String(), n.Class.String(), Addr(addr), cur.Module == m.id && cur.Offer == int32(i)})
	}
	slices.SortFunc(list, func(a, b ProvideInfo) int { return cmp.Compare(a.Symbol, b.Symbol) })
	return list
}

// unloadReport describes an unload.
func (k *Kernel) unloadReport(b *batch, leaving []*module, gone map[aliasstack.ModuleID]bool) *Change {
	c := k.changeInfo(b)
	for _, m := range leaving {
		c.Unloaded = append(c.Unloaded, m.brief())
	}
	// What only the leaving modules' own sites notice is no news.
	c.Moves = slices.DeleteFunc(c.Moves, func(mv MoveInfo) bool {
		m := k.byName[mv.Of]
		return m != nil && gone[m.id]
	})
	return c
}

// changeInfo describes the moves of a change and what the switch rewrites for them.
// A symbol that is new, and so has no site yet, is no move.
func (k *Kernel) changeInfo(b *batch) *Change {
	c := &Change{}
	for _, mv := range b.change.Moves() {
		if mv.From.Module == 0 && k.sites.Count(uint32(mv.Slot)) == 0 {
			continue
		}
		name, super := b.slotName(mv.Slot)
		to, _ := b.address(mv.To)
		info := MoveInfo{Symbol: name, From: b.moduleName(mv.From), To: b.moduleName(mv.To), Target: Addr(to)}
		if super != 0 {
			m := b.module(super)
			if b.byID[super] != nil {
				continue // a fresh layer's own calls below
			}
			info.Symbol, info.Of = superPrefix+name, m.name
		}
		if leads(mv.To) {
			k.sites.Each(uint32(mv.Slot), func(owner uint32, sites []patch.Site) {
				if owner == 0 {
					c.Entries += len(sites)
					return
				}
				info.Sites += len(sites)
				info.In = append(info.In, k.owner(aliasstack.ModuleID(owner)).name)
			})
		}
		slices.Sort(info.In)
		c.Sites += info.Sites
		c.Moves = append(c.Moves, info)
	}
	return c
}

// slotName names a slot that the table or the change knows.
func (b *batch) slotName(s aliasstack.SlotID) (string, aliasstack.ModuleID) {
	return b.change.SlotName(s)
}

// moduleName names a provider's module, "" for none.
func (b *batch) moduleName(p aliasstack.Provider) string {
	if m := b.module(p.Module); m != nil {
		return m.name
	}
	return ""
}

// changedBytes returns how many bytes of text differ after the switch from before;
// what skip says is left out.
func changedBytes(machine arch.Machine, sw *patch.Switch, skip func(addr uint64) bool) int {
	trap := machine.Facts().TrapBytes
	var old, fresh [16]byte
	put := func(b []byte, e *patch.Edit, target uint32) []byte {
		b = b[:e.Form.Len()]
		if target == 0 {
			for i := range b {
				b[i] = trap[i%len(trap)]
			}
		} else {
			e.Form.Encode(b, uint64(e.Addr), uint64(target))
		}
		return b
	}
	n := 0
	edits := sw.Edits()
	for i := range edits {
		e := &edits[i]
		if skip(uint64(e.Addr)) {
			continue
		}
		a, b := put(old[:], e, e.Old), put(fresh[:], e, e.New)
		for k := range a {
			if a[k] != b[k] {
				n++
			}
		}
	}
	return n
}
