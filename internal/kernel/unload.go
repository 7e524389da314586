package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"klink/internal/aliasstack"
	"klink/internal/diag"
	"klink/internal/link"
)

// Unload unloads modules: all of them, or none and nothing changed. It goes the mail's
// way: CATCH tells each module that threads will still come in; one switch takes its
// names out of the stacks, where its places are kept; when every thread has been seen
// outside once, nobody can come in any more; FINI sends those away who are inside, and
// ends the module; klink looks whether anybody is inside; and only then the memory is
// reclaimed. Until FINI has begun, whatever goes wrong puts everything back, the end of
// ctx too.
//
// Others may load and unload while this waits for threads or for module code.
//
// A module that a thread will not leave, or whose FINI failed to end, is left draining:
// that is diag.ErrDraining. Its modules' own refusals are diag.ErrRefused, what they
// broke is a Faulted, threads that are in the way diag.ErrBusy.
func (k *Kernel) Unload(ctx context.Context, r UnloadRequest) (*Change, error) {
	u := &unloading{k: k, wait: time.Duration(r.Wait)}
	if r.Wait <= 0 {
		u.wait = DefaultUnloadWait
	}
	if err := k.changes(); err != nil {
		return nil, err
	}
	defer k.under.Done()
	var report *Change
	err := k.change(ctx, func() (err error) {
		if err := k.live.lost(); err != nil && !r.DryRun {
			return bootAgain(err)
		}
		if u.leaving, err = k.leaving(r.Modules); err != nil {
			return err
		}
		if report, err = u.describe(); err != nil || r.DryRun {
			return err
		}
		u.setState(stateCatching)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.DryRun {
		report.DryRun = true
		return report, nil
	}
	return u.run(ctx)
}

// change takes the turn and the lock for f.
func (k *Kernel) change(ctx context.Context, f func() error) error {
	if err := k.take(ctx); err != nil {
		return err
	}
	defer k.pass()
	k.mu.Lock()
	defer k.mu.Unlock()
	return f()
}

// unloading is one unload under way. It holds neither the turn nor the lock but where it
// changes tables.
type unloading struct {
	k       *Kernel
	wait    time.Duration // limit of CATCH, of grace, and of FINI
	leaving []*module
	order   []*module // in which they end: dependents first
	caught  []*module // whose CATCH has returned, or may have begun, in that order
	report  *Change
}

// ids returns the modules' ids.
func ids(list []*module) []aliasstack.ModuleID {
	ids := make([]aliasstack.ModuleID, len(list))
	for i, m := range list {
		ids[i] = m.id
	}
	return ids
}

// batchOf returns what turns the providers of a change into addresses.
func (k *Kernel) batchOf(c *aliasstack.Change) *batch {
	return &batch{machine: k.machine, stacks: k.stacks, loaded: k.modules, change: c}
}

// describe reports what it means that the modules leave, or why they cannot. The caller
// holds the lock.
func (u *unloading) describe() (*Change, error) {
	k := u.k
	c, err := k.stacks.PlanUnload(ids(u.leaving))
	if err != nil {
		return nil, err
	}
	b := k.batchOf(c)
	sw, _, err := k.planSwitch(k.moves(c, b.address, fromSomebody))
	if err != nil {
		return nil, err
	}
	gone := map[aliasstack.ModuleID]bool{}
	for _, m := range u.leaving {
		gone[m.id] = true
	}
	report := k.unloadReport(b, u.leaving, gone)
	report.Bytes = changedBytes(k.machine, sw, func(uint64) bool { return false })
	for i := range report.Unloaded {
		report.Unloaded[i].State = stateLive
	}
	return report, nil
}

// run does it.
func (u *unloading) run(ctx context.Context) (*Change, error) {
	if err := u.catch(ctx); err != nil {
		return nil, u.uncatch(err)
	}
	if err := u.relink(ctx); err != nil {
		return nil, u.uncatch(err)
	}
	if err := u.grace(ctx); err != nil {
		return nil, u.putBack(err)
	}
	return u.end()
}

func (u *unloading) setState(state string) {
	for _, m := range u.leaving {
		m.state = state
	}
}

// catch sends CATCH to every module; one that has nothing to prepare says ENOTTY.
func (u *unloading) catch(ctx context.Context) error {
	for _, m := range u.leaving {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := u.k.fault(faultCatch); err != nil {
			return err
		}
		err := u.k.modcmd(m, cmdCatch, callLimits{limit: u.wait})
		var no *errnoError
		switch {
		case err == nil:
			u.caught = append(u.caught, m)
		case errors.As(err, &no) && no.errno == enotty:
		case errors.As(err, &no), errors.Is(err, diag.ErrBusy):
			return err
		default: // a fault or a time-out: how far it came is not known
			u.caught = append(u.caught, m)
			return err
		}
	}
	return nil
}

// enotty is the errno of a module that has nothing to prepare.
const enotty = 25

// uncatch tells the modules that were caught that they stay, and returns why with what
// went wrong on the way. Their names lead to them.
func (u *unloading) uncatch(why error) error {
	if err := u.k.live.lost(); err != nil {
		return bootAgain(err)
	}
	var errs diag.List
	errs.Add(why)
	for _, m := range slices.Backward(u.caught) {
		var no *errnoError
		err := u.k.modcmd(m, cmdUncatch, callLimits{limit: u.wait})
		if err != nil && (!errors.As(err, &no) || no.errno != enotty) {
			errs.Add(fmt.Errorf("%w: it is live again all the same", err))
		}
	}
	u.k.mu.Lock()
	u.setState(stateLive)
	u.k.mu.Unlock()
	return errs.Err()
}

// relink takes the modules' names out of the stacks, in one switch; their places are kept.
func (u *unloading) relink(ctx context.Context) error {
	k := u.k
	return k.change(ctx, func() error {
		var err error
		if u.report, err = u.describe(); err != nil { // others may have come to need it during CATCH
			return err
		}
		u.order = k.finiOrder(u.leaving)
		c, err := k.stacks.PlanLeave(ids(u.leaving))
		if err != nil {
			return err
		}
		return k.follow(c, faultRelink, &u.report.Switch)
	})
}

// finiOrder returns the modules in the order in which they can end: each before those
// that it requires, calls, or refines; apart from that the younger first. The caller holds
// the lock; they are live.
func (k *Kernel) finiOrder(list []*module) []*module {
	list = slices.SortedFunc(slices.Values(list), func(a, b *module) int { return cmp.Compare(a.id, b.id) })
	index := map[aliasstack.ModuleID]int{}
	for i, m := range list {
		index[m.id] = i
	}
	needs := make([][]int, len(list))
	need := func(i int, id aliasstack.ModuleID) {
		if j, ok := index[id]; ok && j != i {
			needs[i] = append(needs[i], j)
		}
	}
	for i, m := range list {
		for _, name := range m.required() {
			if o := k.byName[name]; o != nil {
				need(i, o.id)
			}
		}
		for n := range m.lm.Names {
			if name := &m.lm.Names[n]; name.Uses != 0 && name.Bind == link.Stack {
				slot, _ := k.stacks.Lookup(name.Name)
				need(i, k.stacks.Current(slot).Module)
			}
		}
		for _, s := range k.stacks.Supers(m.id) {
			need(i, k.stacks.Current(s).Module)
		}
	}
	var order []*module
	for _, circle := range circles(len(list), needs, nil) {
		for _, i := range circle {
			order = append(order, list[i])
		}
	}
	slices.Reverse(order)
	return order
}

// follow makes the sites follow a change of the stacks, and commits it. The caller holds
// turn and lock. An error means that nothing was changed, or that the runner is lost.
func (k *Kernel) follow(c *aliasstack.Change, at faultPoint, timing **SwitchTiming) error {
	if err := k.fault(at); err != nil {
		return err
	}
	t, err := k.doSwitch(k.moves(c, k.batchOf(c).address, fromSomebody))
	if t == nil {
		return err
	}
	if timing != nil {
		*timing = t
	}
	c.Commit()
	return err
}

// putBack lets every symbol lead to the leaving modules again, because of why.
func (u *unloading) putBack(why error) error {
	k := u.k
	err := k.change(context.Background(), func() error { return k.comeBack(u.leaving) })
	if lost := k.live.lost(); lost != nil {
		return bootAgain(lost)
	}
	if err != nil { // text that is not as klink wrote it: out of use is better than half of it
		var errs diag.List
		errs.Add(why)
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, m := range u.leaving {
			errs.Add(k.drained(m, fmt.Errorf("it cannot be put back: %w", err)))
		}
		return errs.Err()
	}
	return u.uncatch(why)
}

// grace waits until every thread has been seen outside of the leaving modules, or in one
// of their gates; from then on no new one can come in. Threads that a module started
// itself are its FINI's affair.
func (u *unloading) grace(ctx context.Context) error {
	k := u.k
	if k.live == nil {
		return nil
	}
	if err := k.fault(faultGrace); err != nil {
		return err
	}
	left := k.outside(ctx, k.areas(u.leaving), u.wait, k.excused)
	if err := k.live.lost(); err != nil {
		return bootAgain(err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs diag.List
	for m, who := range left {
		errs.Add(diag.New(diag.ErrBusy, "", "%s: put back: after %v %s", diag.Escape(m.name), u.wait, who))
	}
	return errs.Err()
}

// leaving resolves the names of an unload; the kernel stays.
func (k *Kernel) leaving(names []string) ([]*module, error) {
	if len(names) == 0 {
		return nil, diag.New(diag.ErrUsage, "", "nothing to unload")
	}
	var list []*module
	var errs diag.List
	seen := map[*module]bool{}
	for _, name := range names {
		m, err := k.find(name)
		switch {
		case err != nil:
			errs.Add(err)
		case m.name == KernelName:
			errs.Add(diag.New(diag.ErrConflict, "", "%s: stays until the host halts", m.name))
		case seen[m]:
			errs.Add(diag.New(diag.ErrUsage, "", "%s is named twice", diag.Quote(m.name)))
		case m.state == stateDraining:
			errs.Add(diag.New(diag.ErrDraining, "", "%s: out of use already, but its memory stays until nobody is inside: %s", diag.Escape(m.name), m.why))
		case m.state != stateLive:
			errs.Add(diag.New(diag.ErrBusy, "", "%s is %s", diag.Escape(m.name), m.state))
		default:
			list = append(list, m)
		}
		seen[m] = true
	}
	return list, errs.Err()
}
