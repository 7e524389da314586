package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

// machines are the two that every test here runs on: nothing of what is loaded runs.
var machines = []arch.Machine{arch.AMD64, arch.ARM64}

func eachMachine(t *testing.T, f func(t *testing.T, m arch.Machine)) {
	for _, m := range machines {
		t.Run(m.Facts().GOARCH, func(t *testing.T) {
			t.Parallel()
			f(t, m)
		})
	}
}

// library makes members of an archive like those of a C library: functions, many of them
// weak beside a strong one elsewhere, many hidden; some with data; and every kind of
// reference among them.
func library(m arch.Machine, rng *rand.Rand) (members []objbuild.Member) {
	var functions []string
	for i := range 30 {
		functions = append(functions, fmt.Sprintf("f%d", i))
	}
	data := []string{"x0", "x1", "x2", "x3", "x4", "x5"}
	strong := map[string]bool{}
	vis := []uint8{objbuild.Default, objbuild.Default, objbuild.Hidden}
	symbol := func(s string) objbuild.Symbol {
		sym := objbuild.Symbol{Name: s, Bind: objbuild.Weak, Other: vis[rng.IntN(len(vis))]}
		if !strong[s] && rng.IntN(2) == 0 {
			sym.Bind, strong[s] = objbuild.Global, true
		}
		return sym
	}
	for i := range 40 {
		k := newMaker(m)
		given := map[string]bool{}
		for range 1 + rng.IntN(3) {
			s := functions[rng.IntN(len(functions))]
			if i < len(functions) && len(given) == 0 {
				s = functions[i] // somebody gives each
			}
			if given[s] {
				continue
			}
			given[s] = true
			sym := symbol(s)
			k.function(s, sym.Bind, sym.Other)
			for range rng.IntN(4) {
				c := useCodes[m][rng.IntN(len(useCodes[m]))]
				if k.use(c, functions[rng.IntN(len(functions))]); !c.callable(m) {
					k.use(c, data[rng.IntN(len(data))])
				}
			}
		}
		var own []objbuild.Symbol
		if i%8 == 0 {
			own = append(own, symbol(data[i/8]), symbol(data[(i/8+1)%len(data)]))
		}
		raw := k.done([]string{functions[rng.IntN(len(functions))], data[rng.IntN(len(data))]}, own, map[string]bool{"f3": true})
		members = append(members, objbuild.Member{Name: fmt.Sprintf("member%d.lo", i%35), Data: raw})
	}
	return members
}

// TestRandom drives a host at random, and the model agrees all the way. It must have been
// refused for every reason that there is.
func TestRandom(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		why := map[string]int{}
		for seed := range uint64(2) {
			rng := rand.New(rand.NewPCG(seed, 1))
			d, err := newDeck(library(m, rng))
			if err != nil {
				t.Fatal(err)
			}
			if len(d.left) > 0 {
				t.Fatalf("left out: %v", d.left)
			}
			if err := d.deal(rng, 75); err != nil {
				t.Fatal(err)
			}
			h, err := newHost(d.machine, t.TempDir(), 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			err = (&driver{h, d, rng}).run(200)
			if err := errors.Join(err, h.k.Close()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for what, n := range h.seen.why {
				why[what] += n
			}
			s := h.seen
			if s.loaded < 100 || s.unloaded < 100 || s.deepest < 4 || s.moves == 0 || s.sites == 0 || s.addresses == 0 || s.entries == 0 {
				t.Errorf("seed %d has not seen enough: %+v", seed, s)
			}
		}
		for _, l := range lines {
			if why[l.what] == 0 {
				t.Errorf("no command was refused for %q: %v", l.what, why)
			}
		}
	})
}

// TestChoices: all members there, klink and GNU ld choose alike.
func TestChoices(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		d, err := newDeck(library(m, rand.New(rand.NewPCG(7, 7))))
		if err != nil {
			t.Fatal(err)
		}
		c, err := compareChoices(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.err(); err != nil {
			t.Errorf("%v: %v", err, c.different)
		}
		if c.pairs < 5 || c.weaks < 5 || c.equal < 30 || c.equal+c.kernelFirst != c.symbols {
			t.Errorf("%+v", c)
		}
	})
}

// TestModel: the rules of pushing, by hand.
func TestModel(t *testing.T) {
	give := func(name string, k kind, data bool) *module {
		return &module{name: name, offers: map[string]offer{"s": {kind: k, data: data}}}
	}
	for _, c := range []struct {
		there []*module
		fresh *module
		want  string // modules of the stack, bottom to top, or why not
	}{
		{nil, give("a", isDefault, false), "a"},
		{nil, give("a", isOverride, false), "a"},
		{nil, give("a", isRefinement, false), "alone|a|s|"},
		{[]*module{give("a", isDefault, false)}, give("b", isDefault, false), "b a"},
		{[]*module{give("a", isOverride, false)}, give("b", isDefault, false), "b a"},
		{[]*module{give("a", isDefault, false)}, give("b", isOverride, false), "a b"},
		{[]*module{give("a", isDefault, false), give("b", isRefinement, false)}, give("c", isOverride, false), "a b c"},
		{[]*module{give("a", isDefault, false), give("b", isRefinement, false)}, give("c", isDefault, false), "c a b"},
		{[]*module{give("a", isOverride, false)}, give("b", isOverride, false), "override|b|s|a"},
		{[]*module{give("a", isOverride, false), give("b", isRefinement, false)}, give("c", isOverride, false), "override|c|s|a"},
		{[]*module{give("a", isDefault, true)}, give("b", isDefault, true), "b a"},
		{[]*module{give("a", isDefault, true)}, give("b", isOverride, true), "data|b|s|a"},
		{[]*module{give("a", isDefault, true)}, give("b", isDefault, false), "class|b|s|a"},
	} {
		w := world{mods: c.there}
		got := ""
		if v := w.load([]*module{c.fresh}); len(v) > 0 {
			got = v[0]
		} else {
			for i, p := range stack(append(slices.Clone(c.there), c.fresh), "s") {
				if i > 0 {
					got += " "
				}
				got += p.by.name
			}
		}
		if got != c.want {
			t.Errorf("%v: got %q, want %q", c, got, c.want)
		}
	}
}
