package patch

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"klink/internal/insn"
)

func TestSort(t *testing.T) {
	var r sorter
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 2, radixFrom - 1, radixFrom, radixFrom + 1, 3000}).Draw(t, "n")
		shift := rapid.IntRange(0, 32).Draw(t, "shift")
		base := rapid.Uint32().Draw(t, "base")
		seed := rapid.Uint64().Draw(t, "seed")
		edits := make([]Edit, n)
		keys := make([]key, n)
		for i := range edits {
			seed = seed*6364136223846793005 + 1442695040888963407
			edits[i].Addr = uint32(min(uint64(base)+seed>>32>>shift, 1<<32-1))
			edits[i].Old = uint32(i)
			keys[i] = keyOf(uint64(edits[i].Addr), i)
		}
		want := slices.Clone(edits)
		slices.SortStableFunc(want, func(a, b Edit) int { return cmp.Compare(a.Addr, b.Addr) })
		r.sort(edits)
		if !slices.Equal(edits, want) {
			t.Fatalf("%d edits over %d bits are out of order", n, 32-shift)
		}
		var spare []key
		for i, k := range sortKeys(keys, &spare) {
			if k.addr() != uint64(want[i].Addr) || k.index() != int(want[i].Old) {
				t.Fatalf("%d keys over %d bits are out of order", n, 32-shift)
			}
		}
	})
}

// TestIndexAgainstMap: any order of calls, compared with a plain map.
func TestIndexAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type id struct{ module, slot uint32 }
		var x Index
		model := map[id][]Site{}
		next := uint64(0x1000)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			k := id{rapid.Uint32Range(0, 6).Draw(t, "module"), rapid.Uint32Range(0, 3).Draw(t, "slot")}
			if rapid.Bool().Draw(t, "remove") {
				x.Remove(k.module, k.slot)
				delete(model, k)
			} else {
				var sites []Site
				for range rapid.IntRange(0, 3).Draw(t, "sites") {
					sites = append(sites, Site{Addr: next, Form: insn.Call32})
					next += 16
				}
				x.Add(k.module, k.slot, sites)
				model[k] = sites
			}
		}
		for module := range uint32(8) {
			for slot := range uint32(5) {
				if got, want := x.Sites(module, slot), model[id{module, slot}]; !slices.Equal(got, want) {
					t.Fatalf("slot %d in module %d: %v, want %v", slot, module, got, want)
				}
			}
		}
		for slot := range uint32(5) {
			var want, got []string
			var modules []id
			for k, sites := range model {
				if k.slot == slot && len(sites) > 0 {
					modules = append(modules, k)
				}
			}
			slices.SortFunc(modules, func(a, b id) int { return cmp.Compare(model[a][0].Addr, model[b][0].Addr) })
			count := 0
			for _, k := range modules {
				want = append(want, fmt.Sprint(k.module, model[k]))
				count += len(model[k])
				if !slices.Equal(x.Sites(k.module, slot), model[k]) {
					t.Fatalf("module %d, slot %d: sites %v, want %v", k.module, slot, x.Sites(k.module, slot), model[k])
				}
			}
			x.Each(slot, func(m uint32, s []Site) { got = append(got, fmt.Sprint(m, s)) })
			if !slices.Equal(got, want) || x.Count(slot) != count {
				t.Fatalf("slot %d: %d sites %v, want %d %v", slot, x.Count(slot), got, count, want)
			}
		}
		for k := range model {
			x.Remove(k.module, k.slot)
		}
		if len(x.slots) != 0 || len(x.place) != 0 {
			t.Fatalf("%d slots and %d places left in an empty index", len(x.slots), len(x.place))
		}
	})
}

func TestLeads(t *testing.T) {
	const at = 0x20000000
	for _, c := range []struct {
		site   Site
		target uint64
		to     uint64
		ok     bool
	}{
		{Site{Addr: at, Form: insn.BL}, at + 1<<27 - 4, at + 1<<27 - 4, true},
		{Site{Addr: at, Form: insn.BL}, at + 1<<27, 0, false},
		{Site{Addr: at, Form: insn.BL, Veneer: at + 64}, at + 1<<27, at + 64, true},
		{Site{Addr: at, Form: insn.BL, Veneer: at - 1<<27 - 4}, at + 1<<27, at - 1<<27 - 4, false},
		{Site{Addr: at, Form: insn.FarJump}, at + 1<<40, at + 1<<40, true},
		{Site{Addr: at, Form: insn.BL, Veneer: at + 64}, 0, 0, true},
		{Site{Addr: at, Form: insn.Call32}, at + 1<<31, at + 1<<31, true},
		{Site{Addr: at, Form: insn.Call32}, at + 1<<31 + 5, 0, false},
	} {
		to, ok := c.site.Leads(c.target)
		if ok != c.ok || ok && to != c.to {
			t.Errorf("%v at %#x to %#x, veneer %#x: %#x %v, want %#x %v", c.site.Form, c.site.Addr, c.target, c.site.Veneer, to, ok, c.to, c.ok)
		}
	}
}
