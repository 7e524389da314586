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
	"klink/internal/patch"
	"klink/internal/runner"
)

// Unload unloads modules: all of them, or none and nothing changed. It goes the mail's
// way: CATCH tells each module that threads will still come in; one switch takes its
// names out of the stacks; when every thread has been seen outside once, nobody can
// come in any more; FINI sends those away who are inside, and ends the module; klink
// looks whether anybody is inside; and only then the memory is reclaimed. Until FINI
// has begun, whatever goes wrong puts everything back.
//
// A module that a thread will not leave, or whose FINI failed to end, is left draining:
// that is diag.ErrDraining, beside the Change.
func (k *Kernel) Unload(ctx context.Context, r UnloadRequest) (*Change, error) {
	if err := k.take(ctx); err != nil {
		return nil, err
	}
	defer k.pass()
	if len(k.draining) > 0 {
		k.reapOnce()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	u := &unloading{k: k, wait: time.Duration(r.Wait)}
	if r.Wait <= 0 {
		u.wait = DefaultUnloadWait
	}
	report, err := u.plan(r)
	if err != nil || r.DryRun {
		return report, err
	}
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	return u.run(ctx, report)
}

// unloading is one unload under way.
type unloading struct {
	k       *Kernel
	wait    time.Duration
	leaving []*module
	*batch
	caught []*module // whose CATCH has returned, in that order
	moves  []patch.Move
}

// plan says what the unload would do. The caller holds the lock.
func (u *unloading) plan(r UnloadRequest) (*Change, error) {
	k := u.k
	var err error
	if u.leaving, err = k.leaving(r.Modules); err != nil {
		return nil, err
	}
	ids := make([]aliasstack.ModuleID, len(u.leaving))
	gone := map[aliasstack.ModuleID]bool{}
	for i, m := range u.leaving {
		ids[i], gone[m.id] = m.id, true
	}
	c, err := k.stacks.PlanUnload(ids)
	if err = errors.Join(err, k.neededByDraining(u.leaving)); err != nil {
		return nil, err
	}
	u.batch = &batch{machine: k.machine, stacks: k.stacks, loaded: k.modules, change: c}
	u.moves = k.moves(c, u.address, fromSomebody)
	sw, err := patch.Plan(k.arena, k.machine, &k.sites, u.moves)
	if err != nil {
		return nil, err
	}
	report := k.unloadReport(u.batch, u.leaving, gone)
	report.Bytes = changedBytes(k.machine, sw, func(uint64) bool { return false })
	report.DryRun = r.DryRun
	return report, nil
}

// run does it. The caller holds the lock, which is given up while others are waited for.
func (u *unloading) run(ctx context.Context, report *Change) (*Change, error) {
	k := u.k
	u.setState(stateCatching)
	if err := u.unlocked(func() error { return u.catch(ctx) }); err != nil {
		return nil, u.uncatch(err)
	}
	timing, err := k.doSwitch(k.moves(u.change, u.address, fromSomebody)) // calls may have made entries since the plan
	if timing == nil {
		return nil, u.uncatch(err)
	}
	report.Switch = timing
	k.flight = u.change
	defer func() { k.flight = nil }()
	if k.live == nil {
		u.reclaim(u.leaving)
		return report, nil
	}
	if err := u.unlocked(func() error { return u.grace() }); err != nil {
		return nil, u.putBack(err)
	}
	return u.end(report)
}

// unlocked runs f without the lock.
func (u *unloading) unlocked(f func() error) error {
	u.k.mu.Unlock()
	defer u.k.mu.Lock()
	return f()
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
		err := u.k.modcmd(m, cmdCatch, u.wait)
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
// went wrong on the way. The caller holds the lock.
func (u *unloading) uncatch(why error) error {
	var errs diag.List
	errs.Add(why)
	_ = u.unlocked(func() error {
		for _, m := range slices.Backward(u.caught) {
			var no *errnoError
			if err := u.k.modcmd(m, cmdUncatch, u.wait); err != nil && (!errors.As(err, &no) || no.errno != enotty) {
				errs.Add(fmt.Errorf("%w: it is live again all the same", err))
			}
		}
		return nil
	})
	u.setState(stateLive)
	return errs.Err()
}

// putBack lets every symbol lead to the leaving modules again. No change was made since
// (the turn is ours), so their places are as they were.
func (u *unloading) putBack(why error) error {
	k := u.k
	moves := k.moves(u.change, u.address, fromSomebody)
	for i := range moves {
		moves[i].Old, moves[i].New = moves[i].New, moves[i].Old
	}
	k.flight = nil
	timing, err := k.doSwitch(moves)
	if err != nil {
		why = errors.Join(why, err)
	}
	if timing == nil { // only memory that is not as klink wrote it can do that
		return why
	}
	return u.uncatch(why)
}

// grace waits until every thread has been seen outside of the leaving modules, where no
// new one can come in; those that a module started itself are its FINI's affair.
func (u *unloading) grace() error {
	k := u.k
	k.mu.Lock()
	areas := make([]area, len(u.leaving))
	for i, m := range u.leaving {
		areas[i] = k.area(m)
	}
	k.mu.Unlock()
	left := k.outside(areas, u.wait, func(v *runner.View, a *area) bool { return v.Job.Call().Tag == nil && a.m.holds(v.Fn) })
	if err := k.live.lost(); err != nil {
		return bootAgain(err)
	}
	var errs diag.List
	for m, who := range left {
		errs.Add(diag.New(diag.ErrBusy, "", "%s: put back: after %v %s", diag.Escape(m.name), u.wait, who))
	}
	return errs.Err()
}

// end finishes the modules, dependents first, and reclaims those that nobody is inside
// of. The first FINI that refuses puts its module and those after it back.
func (u *unloading) end(report *Change) (*Change, error) {
	k := u.k
	order := slices.Clone(u.leaving)
	slices.SortFunc(order, func(a, b *module) int { return cmp.Compare(a.id, b.id) })
	order = initOrder(order)
	slices.Reverse(order)
	var ended []*module
	stuck := map[*module]string{}
	var failed error
	_ = u.unlocked(func() error {
		for _, m := range order {
			err := k.fini(m, u.wait)
			var no *errnoError
			if errors.As(err, &no) {
				failed = err
				break
			}
			ended = append(ended, m)
			if err != nil {
				stuck[m] = strings.TrimPrefix(err.Error(), diag.Escape(m.name)+": ")
			}
		}
		return nil
	})
	if failed != nil && len(ended) == 0 {
		return nil, u.putBack(failed)
	}
	if failed != nil {
		var some bool
		if some, failed = u.putSomeBack(ended, report, failed); !some {
			return nil, failed
		}
	}
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	var left map[*module]string
	_ = u.unlocked(func() error { left = k.prove(ended, u.wait); return nil })
	for m, why := range left {
		if stuck[m] == "" {
			stuck[m] = why
		}
	}
	u.reclaimBut(ended, stuck)
	var errs diag.List
	if failed != nil {
		errs.Add(failed)
	}
	for m, why := range stuck {
		errs.Add(diag.New(diag.ErrDraining, "", "%s: out of use, but its memory stays until nobody is inside: %s", diag.Escape(m.name), why))
	}
	return report, errs.Err()
}

// fini ends a module: modcmd(FINI), then its destructors.
func (k *Kernel) fini(m *module, limit time.Duration) error {
	if err := k.modcmd(m, cmdFini, limit); err != nil {
		return err
	}
	for _, fn := range k.pointers(m, m.lm.FiniArray(m.at)) {
		if _, err := k.callIn(m, "destructor", limit, fn); err != nil {
			return err
		}
	}
	return nil
}

// putSomeBack makes the modules that have not ended current again, because of why; those
// that have, stay out. It works like a put back of all followed by an unload of the ended
// ones, in one switch. If it returns false the ended ones may not be reclaimed: in a circle
// the others need them, and they have been put back, too. The error is why, with what
// became of each module.
func (u *unloading) putSomeBack(ended []*module, report *Change, why error) (some bool, err error) {
	k := u.k
	ids := make([]aliasstack.ModuleID, len(ended))
	for i, m := range ended {
		ids[i] = m.id
	}
	u.caught = slices.DeleteFunc(u.caught, func(m *module) bool { return slices.Contains(ended, m) })
	c, err := k.stacks.PlanUnload(ids)
	if err != nil {
		var errs diag.List
		errs.Add(why)
		for _, m := range ended {
			errs.Add(diag.New(diag.ErrNeeded, m.name, "stays, although its FINI is done: modules that have not ended need it"))
		}
		return false, u.putBack(errs.Err())
	}
	after := &batch{machine: k.machine, stacks: k.stacks, loaded: k.modules, change: c}
	var moves []patch.Move
	for _, mv := range u.change.Moves() {
		now, want := u.change.Current(mv.Slot), c.Current(mv.Slot)
		if !leads(now) || !leads(want) || now == want || k.sites.Count(uint32(mv.Slot)) == 0 {
			continue
		}
		from, _ := u.address(now)
		to, _ := after.address(want)
		moves = append(moves, patch.Move{Slot: uint32(mv.Slot), Old: from, New: to})
	}
	if _, err := k.doSwitch(moves); err != nil {
		return false, errors.Join(why, err)
	}
	k.flight = c
	u.batch = after
	u.leaving = slices.DeleteFunc(u.leaving, func(m *module) bool { return slices.Contains(ended, m) })
	report.Unloaded = slices.DeleteFunc(report.Unloaded, func(i ModuleInfo) bool {
		return slices.ContainsFunc(u.leaving, func(m *module) bool { return m.name == i.Name })
	})
	return true, u.uncatch(fmt.Errorf("%w; put back: %s; out of use: %s", why, nameList(u.leaving), nameList(ended)))
}

// nameList names modules, with commas between them.
func nameList(list []*module) string {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = diag.Escape(m.name)
	}
	return strings.Join(names, ", ")
}

// reclaim takes modules out of every table and gives their memory back.
func (u *unloading) reclaim(list []*module) { u.reclaimBut(list, nil) }

// reclaimBut is reclaim, but modules that somebody is inside of are left draining.
func (u *unloading) reclaimBut(list []*module, stuck map[*module]string) {
	k := u.k
	held := map[*module]map[aliasstack.ModuleID]bool{}
	for m := range stuck {
		held[m] = k.calledBy(m)
	}
	supers := map[*module][]aliasstack.SlotID{}
	for _, m := range list {
		supers[m] = k.stacks.Supers(m.id)
	}
	empty := emptied(u.change)
	u.change.Commit()
	for _, s := range empty {
		k.entries.trap(s)
	}
	for _, m := range list {
		delete(k.modules, m.id)
		delete(k.byName, m.name)
		why, in := stuck[m]
		for _, s := range supers[m] {
			k.sites.Remove(uint32(m.id), uint32(s))
			k.sites.Remove(0, uint32(s))
		}
		if !in {
			k.dropSites(m)
			for _, s := range supers[m] {
				k.entries.drop(s)
			}
			k.giveBack(m)
			continue
		}
		k.drain(m, held[m], why)
		for _, s := range empty { // these lead to itself, and stay so whoever provides the name next
			k.sites.Remove(uint32(m.id), uint32(s))
		}
		m.slots = slices.DeleteFunc(m.slots, func(s aliasstack.SlotID) bool {
			return slices.Contains(supers[m], s) || slices.Contains(empty, s)
		})
		for _, s := range supers[m] {
			if at, ok := k.entries.forget(s); ok {
				m.drain.entries = append(m.drain.entries, at)
			}
		}
	}
}

// calledBy returns the modules that m's sites lead to, or whose data it may know.
func (k *Kernel) calledBy(m *module) map[aliasstack.ModuleID]bool {
	held := map[aliasstack.ModuleID]bool{}
	for i := range m.lm.Names {
		n := &m.lm.Names[i]
		if slot, ok := k.stacks.Lookup(n.Name); ok && n.Uses != 0 {
			held[k.current(slot).Module] = true
		}
	}
	for _, s := range k.stacks.Supers(m.id) {
		held[k.stacks.Current(s).Module] = true
	}
	delete(held, 0)
	delete(held, m.id)
	return held
}

// current returns the provider that a slot's sites lead to: the stacks', but for those
// of an unload that may still be put back.
func (k *Kernel) current(s aliasstack.SlotID) aliasstack.Provider {
	if k.flight != nil {
		return k.flight.Current(s)
	}
	return k.stacks.Current(s)
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
		default:
			list = append(list, m)
		}
		seen[m] = true
	}
	return list, errs.Err()
}

// emptied returns the slots that nobody will provide after a change. Their sites are
// not moved by the switch: only modules that leave have any, and their text may run
// until it is reclaimed; what is left then is the entry, which traps.
func emptied(c *aliasstack.Change) []aliasstack.SlotID {
	var slots []aliasstack.SlotID
	for _, mv := range c.Moves() {
		if mv.To.Module == 0 {
			slots = append(slots, mv.Slot)
		}
	}
	return slots
}
