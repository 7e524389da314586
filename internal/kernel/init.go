package kernel

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/kpi"
	"klink/internal/link"
	"klink/internal/patch"
	"klink/internal/runner"
)

// What modules bring to be run when they come and go: IFUNC resolvers, init_array,
// modcmd, fini_array. None of it runs in a host without a runner.

// Commands of modcmd (internal/kpi/include/sys/module.h).
const (
	cmdInit    = 0
	cmdFini    = 1
	cmdCatch   = 4
	cmdUncatch = 5
)

// cmdNames are the commands as messages name them.
var cmdNames = map[uint64]string{cmdInit: "INIT", cmdFini: "FINI", cmdCatch: "CATCH", cmdUncatch: "UNCATCH"}

// push shows the fresh text to the threads, and lets the symbols that nobody provided
// lead to the fresh modules by the switch sw: who is to run calls itself by them.
func (l *loading) push(sw *patch.Switch) error {
	k := l.k
	if err := k.fault(faultPush); err != nil {
		return err
	}
	for _, m := range l.fresh {
		if err := k.live.flush(m.at[link.Text], m.at[link.Text]+m.lm.Size[link.Text]); err != nil {
			return err
		}
	}
	for _, s := range l.entries { // entries are text as well
		if err := k.live.flush(k.entries.at[s], k.entries.at[s]+k.entries.size); err != nil {
			return err
		}
	}
	t, err := k.runSwitch(sw, 0)
	if t == nil {
		return err
	}
	for _, mv := range l.change.Moves() {
		if fromNobody(mv) && k.sites.Count(uint32(mv.Slot)) > 0 {
			l.pushed = append(l.pushed, mv.Slot)
		}
	}
	return err // it was made, and the runner is lost
}

// getReady runs the fresh modules' code up to the end of INIT. After an error what they
// did is undone. The lock is given up meanwhile.
func (l *loading) getReady(ctx context.Context) error {
	k := l.k
	if k.live == nil {
		return nil
	}
	if err := l.giveHeap(); err != nil {
		return err
	}
	k.initing = l.fresh
	k.mu.Unlock()
	err := l.initAll(ctx)
	k.mu.Lock()
	k.initing = nil
	if err != nil {
		l.finish()
	}
	return err
}

// heapMax is how much memory the kernel object's allocator gets at most, bytes; of a
// small arena it is a quarter of the data.
const heapMax = 64 << 20

// giveHeap gives klink's own kernel object, if it is being loaded, its memory.
func (l *loading) giveHeap() error {
	k := l.k
	for _, m := range l.fresh {
		if !m.spec.own {
			continue
		}
		lo, ok := m.own(kpi.HeapLo)
		hi, ok2 := m.own(kpi.HeapHi)
		if settle, ok := m.own(kpi.Settle); ok {
			k.live.run.SetSettle(settle)
		}
		if !ok || !ok2 {
			continue
		}
		from, to := k.arena.Span(arena.Data)
		size := min(heapMax, (to-from)/4)
		heap, err := k.arena.Alloc(arena.Data, size, arena.Align)
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(k.arena.Bytes(lo, 8), heap)
		binary.LittleEndian.PutUint64(k.arena.Bytes(hi, 8), heap+size)
	}
	return nil
}

// own returns the address of a module's own definition of a name.
func (m *module) own(name string) (uint64, bool) {
	id, ok := m.lm.Lookup(name)
	if !ok {
		return 0, false
	}
	addr, _, ok := m.lm.Own(id, m.at)
	return addr, ok
}

// initAll runs the fresh modules' resolvers, constructors and INITs, required modules
// first. The lock is not held.
func (l *loading) initAll(ctx context.Context) error {
	for _, m := range initOrder(l.fresh) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.k.fault(faultInit); err != nil {
			return err
		}
		if err := l.k.resolve(m, l.limit); err != nil {
			return err
		}
		for _, fn := range l.k.pointers(m, m.lm.InitArray(m.at)) {
			if _, err := l.k.callIn(m, "constructor", callLimits{limit: l.limit}, fn); err != nil {
				return err
			}
		}
		l.ready = append(l.ready, m)
		if err := l.k.modcmd(m, cmdInit, callLimits{limit: l.limit}); err != nil {
			l.ready = l.ready[:len(l.ready)-1]
			return err
		}
	}
	return nil
}

// resolve asks a module's IFUNC resolvers and puts their answers into the stubs.
func (k *Kernel) resolve(m *module, limit time.Duration) error {
	for _, f := range m.lm.IFuncs(m.at) {
		to, err := k.callIn(m, "resolver", callLimits{limit: limit}, f.Resolver)
		if err != nil {
			return err
		}
		if !m.holds(to) || !link.PutStub(k.machine, k.arena.Bytes(f.Stub, link.StubSize), f.Stub, to) {
			return diag.New(diag.ErrRange, m.file(), "the IFUNC resolver at %#x answered %#x, which is not in the module's text", f.Resolver, to)
		}
		if err := k.live.flush(f.Stub, f.Stub+link.StubSize); err != nil {
			return err
		}
	}
	return nil
}

// holds says that an address lies in the module's text.
func (m *module) holds(addr uint64) bool { return addr-m.at[link.Text] < m.lm.Size[link.Text] }

// pointers reads function pointers of a module from the addresses at. They lie where
// module code may write, so those that do not lead into the module's text are passed over.
func (k *Kernel) pointers(m *module, at []uint64) []uint64 {
	var fns []uint64
	for _, addr := range at {
		b := k.arena.Bytes(addr, 8)
		if b == nil {
			continue
		}
		if fn := binary.LittleEndian.Uint64(b); m.holds(fn) {
			fns = append(fns, fn)
		}
	}
	return fns
}

// modcmd calls a module's modcmd, if it has one and there is a runner. An errno that it
// returns is diag.ErrRefused, by name.
func (k *Kernel) modcmd(m *module, cmd uint64, limits callLimits) error {
	fn, ok := m.lm.Modcmd(m.at)
	if !ok || k.live == nil {
		return nil
	}
	v, err := k.callIn(m, cmdNames[cmd], limits, fn, cmd, 0)
	if err != nil {
		return err
	}
	if errno := int32(v); errno != 0 { // an int: the upper half of the register is anything
		return &errnoError{module: m.name, cmd: cmdNames[cmd], errno: errno}
	}
	return nil
}

// errnoError is a modcmd that returned an errno.
type errnoError struct {
	module, cmd string
	errno       int32
}

// Error implements error.
func (r *errnoError) Error() string {
	return fmt.Sprintf("%s: %s returned %s", diag.Escape(r.module), r.cmd, errnoName(r.errno))
}

// Is makes it a diag.ErrRefused.
func (r *errnoError) Is(target error) bool { return target == diag.ErrRefused }

// errnoName names an errno, a negative one too, as Linux numbers them.
func errnoName(errno int32) string {
	n := errno
	if n < 0 && n != -n {
		n = -n
	}
	name := unix.ErrnoName(syscall.Errno(n))
	if name == "" {
		return fmt.Sprint(errno)
	}
	return fmt.Sprintf("%s (%s)", name, syscall.Errno(n).Error())
}

// Faulted is an error because module code faulted while a command ran it: INIT, FINI, a
// constructor. It is a diag.ErrFault, or the diag.ErrDraining of a module whose FINI did.
type Faulted struct {
	error
	Info FaultInfo
}

// Unwrap makes it what the error is.
func (f *Faulted) Unwrap() error { return f.error }

// callLimits are how long a call of klink's own may take; 0 is without a limit.
type callLimits struct {
	waits time.Duration // when its waits that can time out do so at the latest
	limit time.Duration // when it is given up
}

// callIn calls fn, which belongs to m, on a thread of the runner and waits for it. An
// error is a Faulted, diag.ErrLost, or ErrBusy if no thread was idle within the limit;
// what a fault left behind is in the log, too. The lock must not be held.
func (k *Kernel) callIn(m *module, what string, limits callLimits, fn uint64, args ...uint64) (uint64, error) {
	c := runner.Call{Fn: fn, Args: args, Limit: limits.limit, Waits: limits.waits, Tag: m}
	began := time.Now()
	j, err := k.live.run.Begin(c)
	for errors.Is(err, diag.ErrBusy) && (limits.limit == 0 || time.Since(began) < limits.limit) {
		time.Sleep(look)
		j, err = k.live.run.Begin(c)
	}
	switch {
	case errors.Is(err, diag.ErrBusy):
		return 0, diag.New(diag.ErrBusy, "", "%s: %s was not called: %v; klink jobs lists what they do", diag.Escape(m.name), what, err)
	case err != nil:
		return 0, bootAgain(err)
	}
	<-j.Done()
	res := j.Result()
	switch {
	case res.Err != nil:
		return 0, bootAgain(res.Err)
	case res.Fault != nil:
		info := k.faultInfo(j.Thread(), res.Fault, cmp.Or(limits.waits, limits.limit))
		k.logFault(info)
		return 0, &Faulted{diag.New(diag.ErrFault, "", "%s: %s: %s in %s%s", diag.Escape(m.name), what, info.What, k.placeOf(res.Fault, &info), overtime(j.Thread(), res.Fault)), info}
	}
	return res.Value, nil
}

// placeOf returns where a fault was; of a call that ran out of time, the innermost place
// outside of klink's own kernel object, where it waits as all do.
func (k *Kernel) placeOf(f *runner.Fault, info *FaultInfo) FrameInfo {
	if !f.Limit {
		return info.At
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range append([]FrameInfo{info.At}, info.Trace...) {
		if m := k.textOwner(uint64(at.Addr)); m != nil && !m.isOwn(uint64(at.Addr)) {
			return at
		}
	}
	return info.At
}

// overtime says what a thread did whose call ran out of time.
func overtime(thread int, f *runner.Fault) string {
	switch {
	case !f.Limit:
		return ""
	case f.Asleep:
		return fmt.Sprintf(", asleep on %s on thread %d", diag.Quote(f.Why), thread)
	}
	return fmt.Sprintf(", running on thread %d", thread)
}

// finish takes fresh modules that ran out of use: FINI of those whose INIT was done, in
// reverse; then proof that nobody is inside. If a thread will not leave one, all are
// entered into the stacks as modules that have left, and those go that nobody is inside
// of; the rest drains. The lock is given up meanwhile.
func (l *loading) finish() {
	k := l.k
	if k.live == nil {
		return
	}
	k.initing = l.fresh
	defer func() { k.initing = nil }()
	k.mu.Unlock()
	// First those whose INIT did not come to an end: threads that they started may call
	// the others.
	begun := slices.DeleteFunc(slices.Clone(l.fresh), func(m *module) bool { return slices.Contains(l.ready, m) })
	k.prove(begun, DefaultUnloadWait)
	for _, m := range slices.Backward(l.ready) {
		if err := k.fini(m, l.limit); err != nil {
			k.live.run.Print(fmt.Sprintf("klink: %v", err))
		}
	}
	left := k.prove(l.fresh, DefaultUnloadWait)
	k.mu.Lock()
	if len(left) == 0 || k.live.lost() != nil {
		return
	}
	l.change.Commit()
	for _, m := range l.fresh {
		k.enter(m)
	}
	// Their sites, and those of others, lead where they would without them: nothing moves.
	// Nobody else has seen them, so they can leave.
	if c, err := k.stacks.PlanLeave(ids(l.fresh)); err == nil {
		c.Commit()
	}
	var clean []*module
	for _, m := range l.fresh {
		if why, in := left[m]; in {
			k.drain([]*module{m}, why)
		} else {
			clean = append(clean, m)
		}
	}
	free, held := k.forgettable(clean)
	if err := k.reclaim(free); err != nil {
		k.drain(free, err.Error())
	}
	k.drain(held, "modules that drain need it")
	l.fresh, l.entries, l.pushed = nil, nil, nil
}
