package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/kpi"
	"klink/internal/runner"
)

// Who runs what, and who is inside of which gate.

// Threads looks at every thread, and at the gates. Threads that run are stopped for an
// instant each, sleepers are read and not woken. Errors: those of Call where nothing
// runs; diag.ErrLost.
func (k *Kernel) Threads() (*ThreadsReport, error) {
	k.mu.Lock()
	l, err := k.live, k.runs()
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	report := &ThreadsReport{Threads: []ThreadInfo{}, Gates: []GateInfo{}}
	var in [][]uint64 // gates, by thread reported
	for i := range l.run.Threads() {
		v, err := l.run.Inspect(i)
		switch {
		case errors.Is(err, diag.ErrLost):
			return nil, bootAgain(err)
		case err != nil:
			report.Threads = append(report.Threads, ThreadInfo{Thread: i, State: ThreadUnseen, Note: err.Error()})
		case v.State == runner.Idle:
			report.Idle++
			continue
		default: // one after the other: a view holds a whole stack
			report.Threads = append(report.Threads, k.threadInfo(l, i, &v))
		}
		in = append(in, v.Gates)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.runs(); err != nil {
		return nil, err
	}
	gates, note := k.gates(k.names().mods)
	named := map[uint64]string{}
	for _, g := range gates {
		named[g.state] = g.Name
		report.Gates = append(report.Gates, g.GateInfo)
	}
	for i := range report.Threads {
		report.Threads[i].Gates = gateNames(in[i], named)
	}
	report.Note = note
	slices.SortFunc(report.Gates, func(a, b GateInfo) int {
		return cmp.Or(cmp.Compare(a.Module, b.Module), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Addr, b.Addr))
	})
	return report, nil
}

// gateNames names the gates that a thread's record has: a gate that it entered twice
// stands there twice.
func gateNames(states []uint64, named map[uint64]string) []string {
	var list []string
	for i, s := range states {
		if slices.Contains(states[:i], s) {
			continue
		}
		list = append(list, cmp.Or(named[s], Addr(s).String()))
	}
	return list
}

// threadStates are the states of threads in words.
var threadStates = map[runner.State]string{runner.Running: ThreadRunning, runner.Sleeping: ThreadAsleep, runner.Faulted: ThreadFaulted}

// threadInfo describes thread i, which is not idle. The lock must not be held.
func (k *Kernel) threadInfo(l *live, i int, v *runner.View) ThreadInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	info := ThreadInfo{Thread: i, State: threadStates[v.State], Since: int64(v.Since)}
	if v.State == runner.Sleeping {
		info.Sleep = &ThreadSleep{v.SleepWhy, Addr(v.SleepOn)}
	}
	if k.arena == nil { // closed meanwhile
		return info
	}
	names := k.names()
	info.runs(names, v, l.startOf(v))
	k.whereIn(names, v, &info)
	return info
}

// runs fills in what a thread was given to do; fn is what it began with.
func (t *ThreadInfo) runs(names *names, v *runner.View, fn uint64) {
	if m := names.module(fn); m != nil {
		t.Module, t.Function = m.name, names.in(m, fn)
	}
	if v.Job == nil {
		return
	}
	if j, ok := v.Job.Call().Tag.(*job); ok {
		t.Job, t.Function, t.Module = j.num, j.r.Function, j.module
	}
	t.Kernel, t.Name = v.Job.Parent() >= 0, v.Job.Name()
}

// maxWalk is how many frames of a thread are looked at, so that a recursion, or a stack
// that was made to be endless, has an end.
const maxWalk = 1024

// whereIn fills in the modules in which a thread has frames, and the innermost frame.
func (k *Kernel) whereIn(names *names, v *runner.View, t *ThreadInfo) {
	var at, own *FrameInfo // own: the innermost in klink's own object
	n := 0
	visit := func(pc, lookup uint64, guess bool) bool {
		m := names.module(lookup)
		if m == nil {
			return true
		}
		if last := len(t.Modules) - 1; last < 0 || t.Modules[last].Module != m.name {
			t.Modules = append(t.Modules, ThreadIn{m.name, guess})
		}
		if place := &at; at == nil {
			if m.isOwn(lookup) {
				place = &own
			}
			if *place == nil {
				f := k.frame(names, lookup)
				f.Addr, f.Offset, f.Guess = Addr(pc), f.Offset+pc-lookup, guess
				*place = &f
			}
		}
		n++
		return n < maxWalk
	}
	if !visit(v.Regs.PC, v.Regs.PC, false) {
		return
	}
	stack := runner.Fault{Stack: v.Stack, StackAddr: v.StackAddr}
	k.callers(names, &v.Regs, func(addr uint64) (uint64, bool) { return stackWord(&stack, addr) },
		func(pc uint64, guess bool) bool { return visit(pc, pc-1, guess) })
	t.At = cmp.Or(at, own)
}

// isOwn says that an address in the module's text lies in klink's own kernel object: a
// place there says what is waited for, not who waits.
func (m *module) isOwn(addr uint64) bool {
	if !m.spec.own {
		return false
	}
	last := len(m.objects) - 1 // of objects of that name it comes last
	for last >= 0 && m.objects[last].Name() != ownName {
		last--
	}
	return last >= 0 && m.covers(last, addr)
}

// The layout of struct gate_state (internal/kpi/src/gate.c, which asserts it), bytes.
const (
	gateMagic    = 0  // u32; u32 slots behind it
	gateNext     = 8  // the next state, 0: none
	gateGate     = 16 // the module's struct gate
	gateHome     = 24 // an address in the module
	gateCaught   = 32 // u32
	gateByMutex  = 40
	gateName     = 72 // NUL-terminated
	gateNameSize = 32
	gateSlots    = 128 // a slot a thread: entrances, exits
	gateSlotSize = 64
	gateIsMagic  = 0x47617465
	maxGates     = 4096
	gateTries    = 3
)

// gateState is a gate and where its state lies.
type gateState struct {
	GateInfo
	state, home uint64
}

// gates reads the list of gates, and says why it ends early, if it does. mods are all
// modules that there are. The caller holds the lock.
func (k *Kernel) gates(mods []*module) ([]gateState, string) {
	lo, hi := k.arena.Span(arena.Data)
	data := dataView{lo, k.arena.Bytes(lo, hi-lo)}
	i := slices.IndexFunc(mods, func(m *module) bool { return m.spec.own })
	if i < 0 {
		return nil, ""
	}
	head, ok := mods[i].own(kpi.Gates)
	if !ok {
		return nil, ""
	}
	list, note := data.gates(head, k.live.run.Threads())
	for g := range list {
		for _, m := range mods {
			if m.occupies(list[g].home) {
				list[g].Module = m.name
			}
		}
	}
	return list, note
}

// occupies says that an address lies in one of the module's blocks.
func (m *module) occupies(addr uint64) bool {
	for r, at := range m.at {
		if addr-at < m.lm.Size[r] {
			return true
		}
	}
	return false
}

// dataView is memory that modules write: what is read there is hostile, and may change
// from one word to the next.
type dataView struct {
	lo uint64 // address of b[0]
	b  []byte // 8-aligned, as is lo
}

// has says that n bytes at addr, an aligned address, lie in the view.
func (d dataView) has(addr, n uint64) bool {
	size := uint64(len(d.b))
	return addr%8 == 0 && addr >= d.lo && addr-d.lo <= size && n <= size-(addr-d.lo)
}

// word reads a word that has says to be there.
func (d dataView) word(addr uint64) uint64 { return load64(d.b[addr-d.lo:]) }

// gates follows the list whose head is the word at head. Gates come and go meanwhile, so
// a list that breaks off is read again. Modules may have written anything into it: every
// word is read once and checked before it is used, and the walk has an end.
func (d dataView) gates(head uint64, threads int) (list []gateState, note string) {
	for range gateTries {
		var ok bool
		if list, note, ok = d.gatesOnce(head, threads); ok {
			break
		}
	}
	return list, note
}

func (d dataView) gatesOnce(head uint64, threads int) (list []gateState, note string, ok bool) {
	if !d.has(head, 8) {
		return nil, "the head of the list of gates is not in data", false
	}
	seen := map[uint64]bool{}
	for at := d.word(head); at != 0; {
		switch {
		case seen[at]:
			return list, "the list of gates runs in a circle", false
		case len(list) == maxGates:
			return list, fmt.Sprintf("there are more than %d gates", maxGates), true
		}
		seen[at] = true
		g, next, ok := d.gate(at, threads)
		if !ok {
			return list, "the list of gates leads to " + Addr(at).String() + ", where no gate is", false
		}
		list = append(list, g)
		at = next
	}
	return list, "", true
}

// gate reads one gate's state, and where the next one is.
func (d dataView) gate(at uint64, threads int) (g gateState, next uint64, ok bool) {
	if !d.has(at, gateSlots) {
		return g, 0, false
	}
	first := d.word(at + gateMagic)
	slots := first >> 32
	if uint32(first) != gateIsMagic || slots > uint64(threads) || !d.has(at, gateSlots+slots*gateSlotSize) {
		return g, 0, false
	}
	g.state, g.home = at, d.word(at+gateHome)
	g.Addr, g.State = Addr(d.word(at+gateGate)), GateOpen
	if uint32(d.word(at+gateCaught)) != 0 {
		g.State = GateCatching
	}
	g.ByMutex = d.word(at + gateByMutex)
	var name [gateNameSize]byte
	for i := uint64(0); i < gateNameSize; i += 8 {
		binary.LittleEndian.PutUint64(name[i:], d.word(at+gateName+i))
	}
	text, _, _ := bytes.Cut(name[:], []byte{0})
	g.Name = diag.Escape(string(text))
	// The exits first: who comes and goes in between is then seen inside, not out.
	for i := range slots {
		g.Exits += d.word(at + gateSlots + i*gateSlotSize + 8)
	}
	for i := range slots {
		g.Entrances += d.word(at + gateSlots + i*gateSlotSize)
	}
	g.Inside = int64(g.Entrances - g.Exits)
	next = d.word(at + gateNext)
	return g, next, d.word(at+gateMagic) == first // or it was destroyed meanwhile
}
