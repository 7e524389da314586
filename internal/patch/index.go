// Package patch keeps the sites and makes the switch: all sites of all symbols
// that one command changes move to their new targets as one event, while threads
// run through them.
//
//	Index    which module's which instructions lead to a symbol
//	Plan     moves of symbols → the edits, compared with the text as it stands; nothing is written
//	Run      the edits, in the order that keeps running threads right
//
// What an edit may do to an instruction that somebody executes is decided by
// where it can be seen half-done. On x86-64 only one byte can be stored so that
// every thread sees it whole; on aarch64 one aligned word. So a site is first
// turned into a trap by such a store, then its tail is written, then the trap is
// taken away by such a store, with a barrier between each two; what a thread that
// meets the trap does is decided by one word, which turns in the middle:
//
//	             first unit   tail    who meets the site goes to
//	published    old          old     old
//	trapped      trap         old     old
//	- turned -   trap         old     new     the one instant
//	tails        trap         new     new
//	firsts       new          new     new
//	withdrawn    new          new     new
//
// Nothing here is safe for concurrent use: the kernel makes one change at a time.
//
// Layer 3. Imports: arch, diag, insn.
package patch

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"klink/internal/insn"
)

// Site is one direct branch in the arena that refers to a symbol: a call, a jump,
// an entry, or a veneer (which is listed as a site of its own, of a form that
// reaches everywhere).
type Site struct {
	Addr   uint64    // of the instruction's first byte
	Veneer uint64    // where the branch leads when the provider is out of its reach; 0: it has none
	Form   insn.Form // the instruction that klink writes there
}

// Leads returns where the instruction at the site leads when its symbol's provider
// is at target: there, or to the site's veneer if target is out of reach. 0 is no
// provider: the site is a trap, and 0 is returned. ok is false if neither is in reach.
func (s *Site) Leads(target uint64) (to uint64, ok bool) {
	if target == 0 || s.Form.InReach(s.Addr, target) {
		return target, true
	}
	return s.Veneer, s.Veneer != 0 && s.Form.InReach(s.Addr, s.Veneer)
}

// Index says which sites lead to which symbol. A slot is whatever sites move
// together: a symbol, or one module's super_ symbol; slots and modules are the
// caller's numbers. The zero value is empty. Add and Remove cost the same however
// many other modules have sites of the slot.
type Index struct {
	slots      map[uint32]*users
	place      map[place]int // where a list stands in its slot's
	generation uint64        // of the last switch planned
	room       room          // of the last switch planned
}

// place names a module's sites of a slot.
type place struct{ module, slot uint32 }

// users is the sites of one slot. The lists stand side by side, in no order, so
// that planning walks over memory instead of through a map.
type users struct {
	lists []list
	count int // of sites
}

// list is the sites of one slot in one module, at least one. The addresses of the first
// and the last stand beside them, so that lists can be sorted without a look into each.
type list struct {
	first  uint64
	last   uint64
	sites  []Site
	module uint32
}

// Add says that sites, sorted by address, are all the sites of slot in module,
// instead of what was said before. The slice is kept, not copied: it must not be
// changed from then on. It panics for sites that are out of order, or not
// below 4 GiB.
func (x *Index) Add(module, slot uint32, sites []Site) {
	if !slices.IsSortedFunc(sites, func(a, b Site) int { return cmp.Compare(a.Addr, b.Addr) }) {
		panic(fmt.Sprintf("patch: the sites of slot %d in module %d are out of order", slot, module))
	}
	x.Remove(module, slot)
	if len(sites) == 0 {
		return
	}
	last := sites[len(sites)-1].Addr
	if last > math.MaxUint32-maxLen {
		panic(fmt.Sprintf("patch: a site at %#x", last))
	}
	if x.slots == nil {
		x.slots, x.place = make(map[uint32]*users), make(map[place]int)
	}
	u := x.slots[slot]
	if u == nil {
		u = new(users)
		x.slots[slot] = u
	}
	x.place[place{module, slot}] = len(u.lists)
	u.lists = append(u.lists, list{sites[0].Addr, last, sites, module})
	u.count += len(sites)
}

// Remove says that module has no sites of slot any more.
func (x *Index) Remove(module, slot uint32) {
	i, ok := x.place[place{module, slot}]
	if !ok {
		return
	}
	delete(x.place, place{module, slot})
	u := x.slots[slot]
	u.count -= len(u.lists[i].sites)
	n := len(u.lists) - 1
	if i < n { // the last one takes the free place
		u.lists[i] = u.lists[n]
		x.place[place{u.lists[i].module, slot}] = i
	}
	u.lists[n] = list{}
	u.lists = u.lists[:n]
	if n == 0 {
		delete(x.slots, slot)
	}
}

// Count returns how many sites slot has.
func (x *Index) Count(slot uint32) int {
	if u := x.slots[slot]; u != nil {
		return u.count
	}
	return 0
}

// Sites returns the sites of slot in module, sorted by address. They must not be changed.
func (x *Index) Sites(module, slot uint32) []Site {
	i, ok := x.place[place{module, slot}]
	if !ok {
		return nil
	}
	return x.slots[slot].lists[i].sites
}

// Each calls f for every module that has sites of slot, in the order of the
// address of its first site. f must not change the sites, nor the index.
func (x *Index) Each(slot uint32, f func(module uint32, sites []Site)) {
	u := x.slots[slot]
	if u == nil {
		return
	}
	keys := make([]key, len(u.lists))
	for i := range u.lists {
		keys[i] = keyOf(u.lists[i].first, i)
	}
	var spare []key
	for _, k := range sortKeys(keys, &spare) {
		l := &u.lists[k.index()]
		f(l.module, l.sites)
	}
}
