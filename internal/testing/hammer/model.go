package main

import (
	"math/rand/v2"
	"slices"
)

// symbols is how many functions the hammer calls: hammer_0 … hammer_7.
const symbols = 8

// hmod is one of the modules: which functions it gives, and how.
type hmod struct {
	name     string
	set      uint8 // of the functions, a bit each
	override bool  // else refinements, which hide what is below
}

// modules are the fixtures; the index is the one that they were compiled with. Two
// overrides of one symbol are never asked for, because no two have a bit in common.
var modules = []hmod{
	{name: "hammer_a", set: 0x0f, override: true},
	{name: "hammer_b", set: 0xf0, override: true},
	{name: "hammer_c", set: 0x3c},
	{name: "hammer_d", set: 0xc3},
	{name: "hammer_e", set: 0xff},
	{name: "hammer_f", set: 0x11},
}

// model says which generation of each function is current. A module's functions get a
// new one each time it is loaded; 0 is the kernel's own. The rules are those of the
// alias stacks as far as the hammer uses them: whatever is loaded goes on top, and
// leaves from wherever it stands.
type model struct {
	rng    *rand.Rand
	loaded []int // modules, in the order in which they were pushed
	gen    []uint32
	next   uint32 // the generation of the next module that is loaded
}

func newModel(seed uint64) *model {
	return &model{rng: rand.New(rand.NewPCG(seed, 1)), gen: make([]uint32, len(modules)), next: 1}
}

// command is a load or an unload of some modules, in that order.
type command struct {
	load    bool
	modules []int
}

// maxBatch is how many modules one command concerns at most.
const maxBatch = 3

// choose makes up a command that will be possible, and does it to the model.
func (m *model) choose() command {
	var out []int
	for i := range modules {
		if !slices.Contains(m.loaded, i) {
			out = append(out, i)
		}
	}
	c := command{load: len(m.loaded) == 0 || len(out) > 0 && m.rng.IntN(2) == 0}
	from := slices.Clone(m.loaded)
	if c.load {
		from = out
	}
	m.rng.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	c.modules = from[:1+m.rng.IntN(min(maxBatch, len(from)))]
	if c.load {
		for _, i := range c.modules {
			m.gen[i] = m.next
			m.next++
			m.loaded = append(m.loaded, i)
		}
	} else {
		m.loaded = slices.DeleteFunc(m.loaded, func(i int) bool { return slices.Contains(c.modules, i) })
	}
	return c
}

// empty makes up the command that unloads all that is loaded, if anything is, and does
// it to the model.
func (m *model) empty() (c command, some bool) {
	c = command{modules: m.loaded}
	m.loaded = nil
	return c, len(c.modules) > 0
}

// current returns the generation of every function.
func (m *model) current() (g [symbols]uint32) {
	for _, i := range m.loaded {
		for s := range g {
			if modules[i].set>>s&1 != 0 {
				g[s] = m.gen[i]
			}
		}
	}
	return g
}
