package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	var report *Change
	err := k.change(ctx, func() (err error) {
		if u.leaving, err = k.leaving(r.Modules); err != nil {
			return err
		}
		if report, err = u.describe(); err != nil || r.DryRun {
			return err
		}
		if err := k.live.lost(); err != nil {
			return bootAgain(err)
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
		case errors.As(err, &no):
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
	err := k.change(context.Background(), func() error {
		c, err := k.stacks.PlanReturn(ids(u.leaving))
		if err != nil {
			return err
		}
		return k.follow(c, faultPutBack, nil)
	})
	if lost := k.live.lost(); lost != nil {
		return bootAgain(lost)
	}
	if err != nil { // text that is not as klink wrote it: out of use is better than half of it
		k.mu.Lock()
		k.drain(u.leaving, fmt.Sprintf("it cannot be put back: %v", err))
		k.mu.Unlock()
		return errors.Join(why, err)
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

// end finishes the modules, dependents first, and reclaims those that nobody is inside
// of. The first FINI that refuses puts its module and those after it back.
func (u *unloading) end() (*Change, error) {
	k := u.k
	var ended []*module
	stuck := map[*module]error{}
	var failed error
	for _, m := range u.order {
		if failed = k.fault(faultFini); failed != nil {
			break
		}
		err := k.fini(m, u.wait)
		var no *errnoError
		if errors.As(err, &no) {
			failed = err
			break
		}
		ended = append(ended, m)
		if err == nil {
			// Nobody may be on the way from here into the one whose FINI is next.
			for _, why := range k.prove([]*module{m}, u.wait) {
				err = errors.New(why)
			}
		}
		if err != nil {
			stuck[m] = err
			failed = fmt.Errorf("%s is out of use, and did not end", diag.Escape(m.name))
			break
		}
	}
	if len(ended) == len(u.leaving) {
		failed = nil // nothing is left to put back
	}
	if failed != nil {
		if len(ended) == 0 {
			return nil, u.putBack(failed)
		}
		var some bool
		if some, failed = u.putSomeBack(ended, failed); !some {
			return nil, failed
		}
	}
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	if err := k.fault(faultProof); err != nil {
		for _, m := range ended {
			stuck[m] = cmp.Or(stuck[m], err)
		}
	}
	for m, why := range k.prove(ended, u.wait) {
		if stuck[m] == nil {
			stuck[m] = errors.New(why)
		}
	}
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	var errs diag.List
	errs.Add(failed)
	u.settle(ended, stuck, &errs)
	return u.report, errs.Err()
}

// settle reclaims the ended modules, and leaves those that are stuck draining.
func (u *unloading) settle(ended []*module, stuck map[*module]error, errs *diag.List) {
	k := u.k
	var clean []*module
	for _, m := range ended {
		if stuck[m] == nil {
			clean = append(clean, m)
		}
	}
	_ = k.change(context.Background(), func() error { // a Background never ends
		if err := k.reclaim(clean); err != nil { // somebody who stays needs them: so do they
			for _, m := range clean {
				stuck[m] = err
			}
		}
		for m, why := range stuck {
			text := strings.TrimPrefix(why.Error(), diag.Escape(m.name)+": ")
			k.drain([]*module{m}, text)
			var err error = diag.New(diag.ErrDraining, "", "%s: out of use, but its memory stays until nobody is inside: %s", diag.Escape(m.name), text)
			var f *Faulted
			if errors.As(why, &f) {
				err = &Faulted{err, f.Info}
			}
			errs.Add(err)
		}
		return nil
	})
	for i := range u.report.Unloaded {
		for m := range stuck {
			if u.report.Unloaded[i].Name == m.name {
				u.report.Unloaded[i].State = stateDraining
			}
		}
	}
}

// fini ends a module: modcmd(FINI), then its destructors. Waits of FINI that can time
// out do so at the limit, so that it can refuse; it is given up a little later.
func (k *Kernel) fini(m *module, limit time.Duration) error {
	limits := callLimits{waits: limit, limit: limit + min(limit, finiSlack)}
	if err := k.modcmd(m, cmdFini, limits); err != nil {
		return err
	}
	for _, fn := range k.pointers(m, m.lm.FiniArray(m.at)) {
		if _, err := k.callIn(m, "destructor", limits, fn); err != nil {
			return err
		}
	}
	return nil
}

// finiSlack is how long a FINI whose waits have timed out may take to put its module in
// order again.
const finiSlack = time.Second

// putSomeBack makes the modules that have not ended current again, because of why; those
// that have, stay out. If it returns false the ended ones may not be reclaimed: in a circle
// the others need them, and they have been put back, too. The error is why, with what
// became of each module.
func (u *unloading) putSomeBack(ended []*module, why error) (some bool, err error) {
	k := u.k
	var needed error
	rest := slices.DeleteFunc(slices.Clone(u.leaving), func(m *module) bool { return slices.Contains(ended, m) })
	u.caught = slices.DeleteFunc(u.caught, func(m *module) bool { return slices.Contains(ended, m) })
	err = k.change(context.Background(), func() error {
		c, err := k.stacks.PlanReturn(ids(rest))
		if err != nil {
			return err
		}
		if err := k.follow(c, faultPutBack, nil); err != nil {
			return err
		}
		_, needed = k.stacks.PlanForget(ids(ended))
		return nil
	})
	if err != nil {
		return false, u.putBack(errors.Join(why, err))
	}
	if needed != nil {
		var errs diag.List
		errs.Add(why)
		for _, m := range ended {
			errs.Add(diag.New(diag.ErrNeeded, m.name, "stays, although its FINI is done: modules that have not ended need it"))
		}
		both := u.leaving
		u.leaving = ended
		err := u.putBack(errs.Err())
		u.leaving = both
		k.mu.Lock()
		u.setState(stateLive)
		k.mu.Unlock()
		return false, err
	}
	u.leaving = rest
	u.report.Unloaded = slices.DeleteFunc(u.report.Unloaded, func(i ModuleInfo) bool {
		return slices.ContainsFunc(rest, func(m *module) bool { return m.name == i.Name })
	})
	return true, u.uncatch(fmt.Errorf("%w; put back: %s; out of use: %s", why, nameList(rest), nameList(ended)))
}

// nameList names modules, with commas between them.
func nameList(list []*module) string {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = diag.Escape(m.name)
	}
	return strings.Join(names, ", ")
}

// reclaim takes kept modules out of every table and gives their memory back. The caller
// holds turn and lock, and has seen that nobody is inside. The error is diag.ErrNeeded:
// somebody who stays follows them still.
func (k *Kernel) reclaim(list []*module) error {
	if len(list) == 0 {
		return nil
	}
	if err := k.fault(faultReclaim); err != nil {
		return err
	}
	c, err := k.stacks.PlanForget(ids(list))
	if err != nil {
		return err
	}
	supers := map[*module][]aliasstack.SlotID{}
	for _, m := range list {
		supers[m] = k.stacks.Supers(m.id)
		k.dropSites(m)
	}
	// What moves is followed by nobody who stays, but by entries.
	moves := k.moves(c, k.batchOf(c).address, fromSomebody)
	if len(moves) > 0 {
		if t, err := k.doSwitch(moves); t == nil {
			return err
		}
	}
	c.Commit()
	for _, m := range list {
		for _, id := range m.offers {
			if slot, ok := k.stacks.Lookup(m.lm.Names[id].Name); ok && k.stacks.Current(slot).Module == 0 {
				k.entries.trap(slot)
			}
		}
		for _, s := range supers[m] {
			k.sites.Remove(0, uint32(s))
			k.entries.drop(s)
		}
		delete(k.modules, m.id)
		delete(k.byName, m.name)
		k.giveBack(m)
	}
	return nil
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
