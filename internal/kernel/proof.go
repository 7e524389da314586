package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/runner"
)

// Who is inside of a module: klink looks at every thread itself, at its program
// counter, its registers, the words of its stack, and the function that it is still to
// start. A word counts whatever it is there for: a stale one delays an unload, a missed
// one would reclaim text under a thread.

// area is what a module's text covers: its block, and the entries that lead nowhere else:
// those of its super_ symbols, which go with it, and of symbols that it alone provides.
type area struct {
	m       *module
	lo, hi  uint64
	entries []uint64
	mask    uint64 // of the bits of a word that are an address
	k       *Kernel
}

// addressBits are the bits of a word that are compared with text: aarch64 signs return
// addresses in the others.
var addressBits = map[arch.Machine]uint64{arch.AMD64: ^uint64(0), arch.ARM64: 1<<48 - 1}

// area returns what m covers. The caller holds the lock.
func (k *Kernel) area(m *module) area {
	a := area{m: m, lo: m.at[link.Text], hi: m.at[link.Text] + m.lm.Size[link.Text], mask: addressBits[k.machine], k: k}
	for _, s := range k.stacks.Supers(m.id) {
		if at, ok := k.entries.at[s]; ok {
			a.entries = append(a.entries, at)
		}
	}
	for _, id := range m.offers {
		slot, _ := k.stacks.Lookup(m.lm.Names[id].Name)
		if at, ok := k.entries.at[slot]; ok && slices.Contains([]aliasstack.ModuleID{0, m.id}, k.stacks.Current(slot).Module) {
			a.entries = append(a.entries, at)
		}
	}
	return a
}

// has says that a word is an address in the area. The end counts: it is where a call
// that is a function's last instruction returns to.
func (a *area) has(word uint64) bool {
	word &= a.mask
	if word-a.lo <= a.hi-a.lo && a.hi > a.lo {
		return true
	}
	for _, e := range a.entries {
		if word-e < a.k.entries.size {
			return true
		}
	}
	return false
}

// inside says whether a thread is inside of the area, and by which address.
func (a *area) inside(v *runner.View) (addr uint64, in bool) {
	if v.State == runner.Idle {
		return 0, false
	}
	if a.has(v.Regs.PC) {
		return v.Regs.PC & a.mask, true
	}
	for at, stack := v.StackAddr, v.Stack; len(stack) >= 8; at, stack = at+8, stack[8:] {
		w := binary.LittleEndian.Uint64(stack)
		if a.has(w) && (at >= v.Regs.SP || !a.dead(v, w)) {
			return w & a.mask, true
		}
	}
	for _, r := range v.Regs.R {
		if a.has(r) {
			return r & a.mask, true
		}
	}
	if a.has(v.Fn) || len(v.Stack) == 0 { // without a stack to look at, it may be anywhere
		return v.Fn, true
	}
	return 0, false
}

// look is how often a thread that is inside is looked at again: often enough that an
// unload does not wait for klink, seldom enough that the thread gets on.
const look = 500 * time.Microsecond

// outside waits until each thread, but those that are excused from an area, has been seen
// outside of all areas, and returns who has not after limit, by module. It ends when ctx
// does. Strangers, threads that are not the runner's own, are inside of everything.
func (k *Kernel) outside(ctx context.Context, areas []area, limit time.Duration, excused func(*runner.View, *area) bool) map[*module]string {
	if k.live == nil || len(areas) == 0 {
		return nil
	}
	deadline := time.Now().Add(limit)
	var waiting []int                  // nil: nobody has been looked at yet
	spawns := k.live.spawns.Load() - 1 // not what it is: everybody is looked at
	for {
		// A thread that is still inside can have another one started there, on which klink
		// has looked already. So as long as one was started, all are looked at anew. (For
		// grace that is nothing: the threads that a module starts are its FINI's affair.)
		if now := k.live.spawns.Load(); now != spawns && (excused == nil || waiting == nil) {
			spawns, waiting = now, everybody(k.live.run.Threads())
		}
		left := insiders{}
		again := []int{}
		for _, i := range waiting {
			if k.insideAny(areas, i, excused, left) {
				again = append(again, i)
			}
		}
		waiting = again
		if tids, err := k.live.run.Strangers(); err != nil || len(tids) > 0 {
			for i := range areas {
				left.add(areas[i].m, insider{what: fmt.Sprintf("the runner has threads that klink did not make: %v %v", tids, err)})
			}
		} else if len(waiting) == 0 && (excused != nil || k.live.spawns.Load() == spawns) {
			return nil
		}
		if time.Now().After(deadline) || k.live.lost() != nil || ctx.Err() != nil {
			if len(left) == 0 {
				for i := range areas {
					left.add(areas[i].m, insider{what: "kernel threads were started while klink looked at the others"})
				}
			}
			return k.tell(left)
		}
		time.Sleep(look)
	}
}

// everybody returns the numbers of n threads.
func everybody(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// insiders are who was found inside, by module.
type insiders map[*module][]insider

func (c insiders) add(m *module, i insider) { c[m] = append(c[m], i) }

// insider is a thread that was found inside of a module, or another reason for which the
// module is not known to be empty.
type insider struct {
	what   string // the other reason
	thread int
	addr   uint64 // by which it is inside
	asleep bool
	why    string        // it sleeps
	since  time.Duration // it sleeps, or runs
	job    *job          // whose call it is; nil: of none
}

// insideAny looks at thread i, and notes in left whom it is inside of.
func (k *Kernel) insideAny(areas []area, i int, excused func(*runner.View, *area) bool, left insiders) bool {
	v, err := k.live.run.Inspect(i)
	v.Fn = k.live.startOf(&v)
	in := false
	for a := range areas {
		area := &areas[a]
		if err != nil {
			left.add(area.m, insider{what: fmt.Sprintf("thread %d cannot be looked at: %v", i, err)})
			in = true
			continue
		}
		addr, is := area.inside(&v)
		if !is || excused != nil && excused(&v, area) {
			continue
		}
		in = true
		who := insider{thread: i, addr: addr, asleep: v.State == runner.Sleeping, why: v.SleepWhy, since: v.Since}
		if v.Job != nil {
			who.job, _ = v.Job.Call().Tag.(*job)
		}
		left.add(area.m, who)
	}
	return in
}

// excused says that a thread inside of a module does not hold up its grace: it is in one
// of the module's gates, which FINI waits for, or it is a kernel thread that the module
// started, which FINI ends.
func (k *Kernel) excused(v *runner.View, a *area) bool {
	if _, ends := a.m.lm.Modcmd(a.m.at); !ends {
		return false // there is no FINI to wait for
	}
	if v.Job != nil && v.Job.Call().Tag == nil && a.m.holds(v.Fn) {
		return true
	}
	for _, g := range v.Gates {
		if home, ok := k.gateHome(g); ok && a.m.owns(home) {
			return true
		}
	}
	return false
}

// gateHomeOff is where a gate's state says whose it is: an address in its module (struct
// gate_state in internal/kpi/src/gate.c).
const gateHomeOff = 24

// gateHome reads that of a gate whose state a thread says is at addr.
func (k *Kernel) gateHome(addr uint64) (uint64, bool) {
	lo, hi := k.arena.Span(arena.Data)
	if addr < lo || addr >= hi || addr%8 != 0 {
		return 0, false
	}
	b := k.arena.Bytes(addr+gateHomeOff, 8)
	if b == nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// owns says that an address lies in one of the module's blocks.
func (m *module) owns(addr uint64) bool {
	for r, at := range m.at {
		if addr-at < m.lm.Size[r] {
			return true
		}
	}
	return false
}

// maxNamed is how many threads a message names.
const maxNamed = 4

// tell puts into words who is inside: thread, function, how long, asleep where, and
// what can be done about it.
func (k *Kernel) tell(left insiders) map[*module]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := k.names()
	texts := map[*module]string{}
	for m, list := range left {
		var parts []string
		var jobs []int
		for i, who := range list {
			if i == maxNamed {
				parts = append(parts, fmt.Sprintf("%d more are, too", len(list)-i))
				break
			}
			parts = append(parts, k.whereabouts(names, &who))
			if who.job != nil && !slices.Contains(jobs, who.job.num) {
				jobs = append(jobs, who.job.num)
			}
		}
		for i, j := range jobs {
			if i == 0 {
				parts = append(parts, "to give up the calls: klink wait --stop")
			}
			parts[len(parts)-1] += fmt.Sprintf(" %d", j)
		}
		texts[m] = strings.Join(parts, "; ")
	}
	return texts
}

// dead says that a word in the area below a thread's stack pointer (on x86-64 functions
// may keep words there, Linux psABI 3.2.2) is of no use any more: of a sleeper, which is
// in a function that keeps none; or what a call left there that has returned. A return
// address that is still to be used lies above, and a function's address is none. Without
// this a thread that goes round in a loop and calls less deep than before would be inside
// for ever.
func (a *area) dead(v *runner.View, word uint64) bool {
	return v.State == runner.Sleeping || a.k.afterCall(a.m, word&a.mask)
}

// whereabouts says what a thread does that is inside. The caller holds the lock.
func (k *Kernel) whereabouts(names *names, who *insider) string {
	if who.what != "" {
		return who.what
	}
	does := "running"
	if who.asleep {
		does = "asleep on " + diag.Quote(who.why)
	}
	return fmt.Sprintf("thread %d is inside, at %s, %s for %v", who.thread, k.frame(names, who.addr), does, who.since.Round(time.Millisecond))
}

// areas returns what modules cover.
func (k *Kernel) areas(mods []*module) []area {
	k.mu.Lock()
	defer k.mu.Unlock()
	areas := make([]area, len(mods))
	for i, m := range mods {
		areas[i] = k.area(m)
	}
	return areas
}

// prove waits until nobody is inside of any of the modules and returns those whom
// somebody is inside of when the limit is over, with who it is. Nobody new can enter:
// the caller has made sure of that.
func (k *Kernel) prove(mods []*module, limit time.Duration) map[*module]string {
	return k.outside(context.Background(), k.areas(mods), limit, nil)
}
