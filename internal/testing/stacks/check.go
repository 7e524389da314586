package main

import (
	"fmt"
	"slices"
	"strings"

	"klink/internal/arch"
	"klink/internal/kernel"
)

// What is compared after every command: the stack of every symbol as klink lists it, where
// every branch leads as it stands in memory, every address that was taken, and every entry.

// check compares everything.
func (h *host) check() error {
	all := stacks(h.mods)
	if err := h.checkStacks(all); err != nil {
		return err
	}
	c := checker{host: h, all: all, mem: h.mem.at, halves: map[halfKey]half{}}
	c.eachAddress(c.learn)
	c.pair()
	c.eachAddress(c.checkAddress)
	before := h.seen.sites
	c.eachBranch()
	h.seen.most = max(h.seen.most, h.seen.sites-before)
	c.checkEntries()
	return c.err
}

// address returns where a provider is.
func (h *host) address(p place) uint64 {
	switch {
	case p.by == nil:
		return 0
	case p.sec < 0:
		return p.value
	}
	return h.placed[p.by][p.obj][p.sec] + p.value
}

// checkStacks compares klink's list of stacks with the model's.
func (h *host) checkStacks(all map[string][]place) error {
	list, err := h.k.Alias(nil, true)
	if err != nil {
		return err
	}
	if len(list) != len(all) {
		return fmt.Errorf("klink lists %d symbols, the model has %d", len(list), len(all))
	}
	for _, a := range list {
		want := slices.Clone(all[a.Symbol])
		slices.Reverse(want)
		if len(want) != len(a.Providers) {
			return fmt.Errorf("%s: klink's stack is %v, the model's %s", a.Symbol, a.Providers, describe(want))
		}
		for i, p := range a.Providers {
			w := want[i]
			if p.Module != w.by.name || p.Kind != string(w.kind) || uint64(p.Addr) != h.address(w) || p.Current != (i == 0) || (a.Class == "data") != w.data {
				return fmt.Errorf("%s: place %d from the top is %+v, in the model %s of %s at %#x", a.Symbol, i, p, w.kind, w.by.name, h.address(w))
			}
		}
		h.seen.places += len(want)
		h.seen.deepest = max(h.seen.deepest, len(want))
	}
	h.seen.symbols += len(list)
	return nil
}

func describe(list []place) string {
	var names []string
	for _, p := range list {
		names = append(names, string(p.kind)+" "+p.by.name)
	}
	return strings.Join(names, ", ")
}

// checkMoves compares the symbols that a command says have moved with the model before and
// after it. A symbol that nobody had called yet may be left out.
func (h *host) checkMoves(c *kernel.Change, before, after []*module) error {
	old, now := stacks(before), stacks(after)
	said := map[string]bool{}
	for _, mv := range c.Moves {
		if mv.Of != "" {
			continue
		}
		said[mv.Symbol] = true
		h.seen.moves++
		from, to := top(old[mv.Symbol]), top(now[mv.Symbol])
		if mv.From != nameOf(from) || mv.To != nameOf(to) || mv.From == mv.To {
			return fmt.Errorf("%s: klink says %q → %q, the model %q → %q", mv.Symbol, mv.From, mv.To, nameOf(from), nameOf(to))
		}
	}
	for s, list := range old {
		if from, to := top(list), top(now[s]); from.by != to.by && !said[s] {
			return fmt.Errorf("%s: moved from %s to %q, but klink does not say so", s, from.by.name, nameOf(to))
		}
	}
	return nil
}

func nameOf(p place) string {
	if p.by == nil {
		return ""
	}
	return p.by.name
}

// half is an address of which ADRP and the instruction behind it hold a part each.
type half struct {
	page, low       uint64
	hasPage, hasLow bool
}

// halfKey names one such address: of a symbol, or of its GOT slot, in a module.
type halfKey struct {
	m    *module
	name string
	got  bool
}

// checker is one comparison of memory.
type checker struct {
	*host
	all    map[string][]place
	mem    memory
	halves map[halfKey]half
	err    error
}

func (c *checker) fail(m *module, r *reference, at uint64, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s at %#x: %s", m.name, r.name, at, fmt.Sprintf(format, args...))
	}
}

// provider returns whom a reference of a module leads to, and under which name its entry
// goes.
func (c *checker) provider(m *module, name string) (p place, entry string) {
	n := m.needs[name]
	switch {
	case n.super != "":
		return below(c.all[n.super], m), m.name + ":" + name
	case m.absent[name]:
		return place{}, ""
	}
	return top(c.all[name]), name
}

// each calls f with every reference that follows a symbol, and where it is.
func (c *checker) each(f func(m *module, r *reference, at uint64)) {
	for _, m := range c.mods {
		for i, o := range m.objs {
			for k := range o.refs {
				if r := &o.refs[k]; m.follows(o, r) {
					f(m, r, c.placed[m][i][r.sec]+r.off)
				}
			}
		}
	}
}

func (c *checker) eachAddress(f func(m *module, r *reference, at uint64)) {
	c.each(func(m *module, r *reference, at uint64) {
		if !r.shape.branches() {
			f(m, r, at)
		}
	})
}

// learn notes the entry of a function whose address is taken, if nothing has named it yet:
// from then on all must name that one.
func (c *checker) learn(m *module, r *reference, at uint64) {
	p, entry := c.provider(m, r.name)
	if p.by == nil || p.data && !r.shape.throughGOT() {
		return
	}
	v, mask, err := c.mem.field(r, c.machine, at)
	if err != nil {
		c.fail(m, r, at, "%v", err)
		return
	}
	key := halfKey{m, r.name, r.shape.throughGOT()}
	h := c.halves[key]
	switch r.shape {
	case page, gotPage:
		h.page, h.hasPage = v, true
	case low, gotLow:
		h.low, h.hasLow = v, true
	default:
		if _, known := c.entries[entry]; !known && mask == ^uint64(0) {
			c.entries[entry] = v
		}
		return
	}
	c.halves[key] = h
}

// pair puts the halves of addresses together.
func (c *checker) pair() {
	for _, m := range c.mods {
		for name := range m.needs {
			p, entry := c.provider(m, name)
			for _, got := range []bool{false, true} {
				h := c.halves[halfKey{m, name, got}]
				if _, known := c.entries[entry]; known || !h.hasPage || !h.hasLow || p.data {
					continue
				}
				v := h.page | h.low
				if got {
					v = c.mem.u64(v)
				}
				c.entries[entry] = v
			}
		}
	}
}

// checkAddress compares one field that holds an address, or its part.
func (c *checker) checkAddress(m *module, r *reference, at uint64) {
	p, entry := c.provider(m, r.name)
	want := uint64(0)
	switch {
	case p.by == nil && !m.absent[r.name]:
		c.fail(m, r, at, "nobody provides it")
		return
	case p.by == nil && c.machine == arch.ARM64 && (r.shape == page || r.shape == rel32):
		want = at // aaelf64 5.6.1: a distance to what nobody defines is one to the place
	case p.by != nil && p.data:
		want = c.address(p)
	case p.by != nil:
		e, known := c.entries[entry]
		if !known {
			c.fail(m, r, at, "its entry is not known")
			return
		}
		want = e
	}
	c.seen.addresses++
	v, mask, err := c.mem.field(r, c.machine, at)
	if err == nil && r.shape.throughGOT() {
		h := c.halves[halfKey{m, r.name, true}]
		part := h.page
		if r.shape == gotLow {
			part = h.low
		}
		if m.absent[r.name] {
			return // no slot was looked for
		}
		if v != part {
			c.fail(m, r, at, "names two GOT slots")
		}
		v, mask = c.mem.u64(h.page|h.low), ^uint64(0)
		want += uint64(r.addend)
	} else if r.shape == page || r.shape == low {
		want += uint64(r.addend)
	}
	if err != nil {
		c.fail(m, r, at, "%v", err)
	} else if v&mask != want&mask {
		c.fail(m, r, at, "holds %#x of the address, want %#x", v, want&mask)
	}
}

// nop is what a branch to an absent weak symbol becomes on aarch64 (aaelf64).
const nop = 0xd503201f

// eachBranch decodes every branch.
func (c *checker) eachBranch() {
	c.each(func(m *module, r *reference, at uint64) {
		if !r.shape.branches() {
			return
		}
		p, _ := c.provider(m, r.name)
		c.seen.sites++
		if m.absent[r.name] && (c.machine == arch.ARM64 || r.shape == gotCall) {
			c.checkAbsent(m, r, at)
			return
		}
		if p.by == nil && !m.absent[r.name] {
			c.fail(m, r, at, "nobody provides it")
			return
		}
		to, err := c.branch(r, at)
		switch want := c.address(p); {
		case err != nil:
			c.fail(m, r, at, "%v", err)
		case to != want:
			c.fail(m, r, at, "leads to %#x, want %#x, %s", to, want, nameOf(p))
		}
	})
}

// branch decodes the branch of a reference, whose field is at an address.
func (c *checker) branch(r *reference, at uint64) (uint64, error) {
	if c.machine == arch.ARM64 {
		return c.mem.jump(c.machine, at, 0)
	}
	skip := uint64(1)
	if b := c.mem(at-2, 2); b != nil && (b[0] == 0x0f && b[1]&0xf0 == 0x80 || r.shape == gotCall && b[0] == 0x67) {
		skip = 2
	}
	if b := c.mem(at-2, 1); r.shape == gotCall && b != nil && b[0] == 0xe9 {
		at-- // jmp rel32; nop: one byte earlier
	}
	return c.mem.jump(c.machine, at-skip, skip)
}

// checkAbsent compares a branch to a weak symbol that was absent.
func (c *checker) checkAbsent(m *module, r *reference, at uint64) {
	if c.machine == arch.ARM64 && c.mem.u32(at) != nop {
		c.fail(m, r, at, "is absent, but there is no NOP")
	}
	if c.machine == arch.AMD64 && c.mem.u64(at+4+signed(uint64(c.mem.u32(at)), 32)) != 0 {
		c.fail(m, r, at, "is absent, but its GOT slot is not 0")
	}
}

// checkEntries follows the entries: they lead to the current provider, or trap.
func (c *checker) checkEntries() {
	super := map[string]place{}
	for _, m := range c.mods {
		for s, n := range m.needs {
			if n.super != "" {
				super[m.name+":"+s] = below(c.all[n.super], m)
			}
		}
	}
	for name, at := range c.entries {
		p, isSuper := super[name]
		if !isSuper {
			p = top(c.all[name])
		}
		c.seen.entries++
		skip := uint64(1)
		if c.machine == arch.ARM64 {
			skip = 0
		}
		if p.by == nil {
			if b := c.mem(at, 4); b == nil || !traps(c.machine, b) {
				c.err = fmt.Errorf("%s: nobody provides it, but its entry does not trap", name)
			}
			continue
		}
		if to, err := c.mem.jump(c.machine, at, skip); c.err == nil && (err != nil || to != c.address(p)) {
			c.err = fmt.Errorf("%s: its entry at %#x leads to %#x, want %#x, %s (%s)", name, at, to, c.address(p), nameOf(p), fmt.Sprint(err))
		}
	}
}
