package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/aliasstack"
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
	if t, err := k.runSwitch(sw, 0); t == nil {
		return err
	}
	for _, mv := range l.change.Moves() {
		if fromNobody(mv) && k.sites.Count(uint32(mv.Slot)) > 0 {
			l.pushed = append(l.pushed, mv.Slot)
		}
	}
	return nil
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
		if err := l.k.resolve(m, l.limit); err != nil {
			return err
		}
		for _, fn := range l.k.pointers(m, m.lm.InitArray(m.at)) {
			if _, err := l.k.callIn(m, "constructor", l.limit, fn); err != nil {
				return err
			}
		}
		l.ready = append(l.ready, m)
		if err := l.k.modcmd(m, cmdInit, l.limit); err != nil {
			l.ready = l.ready[:len(l.ready)-1]
			return err
		}
	}
	return nil
}

// resolve asks a module's IFUNC resolvers and puts their answers into the stubs.
func (k *Kernel) resolve(m *module, limit time.Duration) error {
	for _, f := range m.lm.IFuncs(m.at) {
		to, err := k.callIn(m, "resolver", limit, f.Resolver)
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
func (k *Kernel) modcmd(m *module, cmd uint64, limit time.Duration) error {
	fn, ok := m.lm.Modcmd(m.at)
	if !ok || k.live == nil {
		return nil
	}
	v, err := k.callIn(m, cmdNames[cmd], limit, fn, cmd, 0)
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

// callIn calls fn, which belongs to m, on a thread of the runner and waits for it. An
// error is diag.ErrFault, ErrLost or ErrBusy; what a fault left behind is in the log.
// The lock must not be held.
func (k *Kernel) callIn(m *module, what string, limit time.Duration, fn uint64, args ...uint64) (uint64, error) {
	j, err := k.live.run.Begin(runner.Call{Fn: fn, Args: args, Limit: limit, Tag: m})
	if err != nil {
		return 0, err
	}
	<-j.Done()
	res := j.Result()
	switch {
	case res.Err != nil:
		return 0, bootAgain(res.Err)
	case res.Fault != nil:
		info := k.faultInfo(j.Thread(), res.Fault, limit)
		k.logFault(info)
		return 0, diag.New(diag.ErrFault, "", "%s: %s: %s in %s", diag.Escape(m.name), what, info.What, info.At)
	}
	return res.Value, nil
}

// finish takes fresh modules that ran out of use: FINI of those whose INIT was done, in
// reverse; then proof that nobody is inside. Modules that a thread will not leave are
// set aside and are fresh no more. The lock is given up meanwhile.
func (l *loading) finish() {
	k := l.k
	if k.live == nil {
		return
	}
	k.mu.Unlock()
	for i := len(l.ready) - 1; i >= 0; i-- {
		m := l.ready[i]
		err := k.modcmd(m, cmdFini, l.limit)
		for _, fn := range k.pointers(m, m.lm.FiniArray(m.at)) {
			if err == nil {
				_, err = k.callIn(m, "destructor", l.limit, fn)
			}
		}
		if err != nil {
			k.live.run.Print(fmt.Sprintf("klink: %v", err))
		}
	}
	left := k.prove(l.fresh, DefaultUnloadWait)
	k.mu.Lock()
	var clean []*module
	for _, m := range l.fresh {
		if why, in := left[m]; in {
			if l.sited {
				k.dropSites(m)
			}
			k.drain(m, l.held(m), why)
			continue
		}
		clean = append(clean, m)
	}
	if l.sited {
		for _, m := range clean {
			k.dropSites(m)
		}
		for _, s := range l.entries {
			k.sites.Remove(0, uint32(s))
		}
		l.sited = false
	}
	l.fresh = clean
}

// held returns the loaded modules that a fresh one refers to: they stay as long as
// somebody is inside of it.
func (l *loading) held(m *module) map[aliasstack.ModuleID]bool {
	held := map[aliasstack.ModuleID]bool{}
	for _, s := range m.follows {
		if s == 0 {
			continue
		}
		if p := l.before(s); p.Module != 0 {
			held[p.Module] = true
		}
	}
	return held
}
