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
)

// The second half of an unload: FINI, proof, reclaim. From here on the end of the
// command's context changes nothing any more.

// ending is what has become of the modules of an unload whose FINI was called.
type ending struct {
	done  []*module         // FINI will never be called again
	stuck map[*module]error // of these, those that may not be reclaimed, and why
	errs  diag.List
}

// clean returns the modules that have ended and may be reclaimed.
func (e *ending) clean() []*module {
	return slices.DeleteFunc(slices.Clone(e.done), func(m *module) bool { return e.stuck[m] != nil })
}

// end finishes the modules, dependents first, and reclaims those that nobody is inside
// of. The first FINI that refuses puts its module and those after it back.
func (u *unloading) end() (*Change, error) {
	k := u.k
	e := &ending{stuck: map[*module]error{}}
	failed := u.finish(e)
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	switch {
	case len(e.done) == 0:
		return nil, u.putBack(failed)
	case len(e.done) < len(u.leaving):
		if u.putSomeBack(e, failed); len(e.done) == 0 {
			return nil, e.errs.Err()
		}
	}
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	if err := k.fault(faultProof); err != nil {
		for _, m := range e.done {
			e.stuck[m] = cmp.Or(e.stuck[m], err)
		}
	}
	for m, why := range k.prove(e.clean(), u.wait) {
		e.stuck[m] = errors.New(why)
	}
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	u.settle(e)
	if err := k.live.lost(); err != nil { // what was reclaimed is; but nothing runs any more
		e.errs.Add(bootAgain(err))
	}
	return u.report, e.errs.Err()
}

// finish calls the FINIs, and returns why it stopped before the last.
func (u *unloading) finish(e *ending) error {
	k := u.k
	for _, m := range u.order {
		if err := k.fault(faultFini); err != nil {
			return err
		}
		err := k.fini(m, u.wait)
		var no *errnoError
		switch {
		case errors.As(err, &no):
			return k.inTheWay(m, err)
		case errors.Is(err, diag.ErrBusy): // it was not called
			return err
		}
		e.done = append(e.done, m)
		if err == nil {
			// Nobody may be on the way from here into the one whose FINI is next.
			for _, why := range k.prove([]*module{m}, u.wait) {
				err = errors.New(why)
			}
		}
		if err != nil {
			e.stuck[m] = err
			return diag.New(diag.ErrDraining, "", "%s is out of use, and did not end", diag.Escape(m.name))
		}
	}
	return nil
}

// inTheWay returns err with those who are inside of m.
func (k *Kernel) inTheWay(m *module, err error) error {
	for _, who := range k.outside(context.Background(), k.areas([]*module{m}), 0, nil) {
		err = fmt.Errorf("%w; %s", err, who)
	}
	return err
}

// fini ends a module: modcmd(FINI), then its destructors. Waits of FINI that can time
// out do so at the limit, so that it can refuse; it is given up a little later. It is
// diag.ErrBusy only if nothing was called.
func (k *Kernel) fini(m *module, limit time.Duration) error {
	limits := callLimits{waits: limit, limit: limit + finiSlack}
	if err := k.modcmd(m, cmdFini, limits); err != nil {
		return err
	}
	if k.live == nil {
		return nil
	}
	for _, fn := range k.pointers(m, m.lm.FiniArray(m.at)) {
		if _, err := k.callIn(m, "destructor", limits, fn); errors.Is(err, diag.ErrBusy) {
			return errors.New(err.Error())
		} else if err != nil {
			return err
		}
	}
	return nil
}

// finiSlack is how long a FINI whose waits have timed out may take to put its module in
// order again.
const finiSlack = time.Second

// settle reclaims the modules that have ended, and leaves those that are stuck draining.
func (u *unloading) settle(e *ending) {
	k := u.k
	_ = k.change(context.Background(), func() error { // a Background never ends
		free, held := k.forgettable(e.clean())
		for _, m := range held {
			e.stuck[m] = diag.New(diag.ErrNeeded, "", "modules that stay, or drain, need it")
		}
		if err := k.reclaim(free); err != nil {
			for _, m := range free {
				e.stuck[m] = err
			}
		}
		for m, why := range e.stuck {
			e.errs.Add(k.drained(m, why))
		}
		return nil
	})
	for i := range u.report.Unloaded {
		for m := range e.stuck {
			if u.report.Unloaded[i].Name == m.name {
				u.report.Unloaded[i].State = stateDraining
			}
		}
	}
}

// putSomeBack makes the modules that have not ended current again, because of why; those
// that have, stay out of use. In a circle the others may need them: then they are put
// back, too, unless they did not end well; what needs such a module drains with it. The
// ending says afterwards which modules are still to be settled, and has the errors.
func (u *unloading) putSomeBack(e *ending, why error) {
	k := u.k
	rest := slices.DeleteFunc(slices.Clone(u.leaving), func(m *module) bool { return slices.Contains(e.done, m) })
	u.caught = slices.DeleteFunc(u.caught, func(m *module) bool { return slices.Contains(e.done, m) })
	var needed, gone error                            // by the rest; for good, and why
	_ = k.change(context.Background(), func() error { // a Background never ends
		if gone = k.comeBack(rest); gone != nil {
			return nil
		}
		if _, needed = k.stacks.PlanForget(ids(e.done)); needed == nil {
			return nil
		}
		if len(e.stuck) == 0 {
			if err := k.comeBack(e.done); err != nil { // then they drain, as long as they are needed
				for _, m := range e.done {
					e.stuck[m] = fmt.Errorf("it cannot be put back: %w", err)
				}
			}
		} else if k.goAgain(rest) == nil {
			gone = diag.New(diag.ErrNeeded, "", "it needs what did not end")
		}
		return nil
	})
	switch {
	case k.live.lost() != nil: // the caller sees it, too
	case gone != nil:
		for _, m := range rest {
			e.stuck[m] = fmt.Errorf("it cannot be put back: %w", gone)
		}
		e.done = slices.Clone(u.leaving)
		e.errs.Add(why)
	case needed != nil && len(e.stuck) == 0:
		e.errs.Add(why)
		for _, m := range e.done {
			e.errs.Add(diag.New(diag.ErrNeeded, m.name, "stays, although its FINI is done: modules that have not ended need it"))
		}
		e.done = nil
		e.errs.Add(u.uncatch(nil))
	default:
		u.report.Unloaded = slices.DeleteFunc(u.report.Unloaded, func(i ModuleInfo) bool {
			return slices.ContainsFunc(rest, func(m *module) bool { return m.name == i.Name })
		})
		u.leaving = rest
		e.errs.Add(u.uncatch(fmt.Errorf("%w; put back: %s; out of use: %s", why, nameList(rest), nameList(e.done))))
	}
}

// comeBack makes kept modules current again. The caller holds turn and lock.
func (k *Kernel) comeBack(list []*module) error {
	c, err := k.stacks.PlanReturn(ids(list))
	if err != nil {
		return err
	}
	return k.follow(c, faultPutBack, nil)
}

// goAgain takes modules that came back out of use again. The caller holds turn and lock.
func (k *Kernel) goAgain(list []*module) error {
	c, err := k.stacks.PlanLeave(ids(list))
	if err != nil {
		return err
	}
	return k.follow(c, faultPutBack, nil)
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
// holds turn and lock, and has seen that nobody is inside. After an error nothing has
// changed: it is diag.ErrNeeded if somebody who stays follows them still.
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
	// What moves is followed by nobody who stays, but by entries, and by the modules' own
	// sites, which are about to go.
	moves := k.moves(c, k.batchOf(c).address, fromSomebody)
	if len(moves) > 0 {
		if t, err := k.doSwitch(moves); t == nil {
			return err
		}
	}
	supers := map[*module][]aliasstack.SlotID{}
	for _, m := range list {
		supers[m] = k.stacks.Supers(m.id)
		k.dropSites(m)
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
