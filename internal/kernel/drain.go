package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"klink/internal/diag"
)

// Modules that are out of use while a thread is still inside: their places are kept and
// their memory is untouched until klink has seen every thread outside. Their code may
// still call others, which stay as long.

// drain sets kept modules aside. The caller holds the lock.
func (k *Kernel) drain(list []*module, why string) {
	for _, m := range list {
		m.state, m.why = stateDraining, why
	}
	if !k.reaping && len(list) > 0 && k.beginChange() == nil {
		k.reaping = true
		go k.reap()
	}
}

// drained is drain, and returns what a command says about it: diag.ErrDraining, and the
// Faulted that why may be.
func (k *Kernel) drained(m *module, why error) error {
	text := strings.TrimPrefix(why.Error(), diag.Escape(m.name)+": ")
	k.drain([]*module{m}, text)
	err := error(diag.New(diag.ErrDraining, "", "%s: out of use, but its memory stays until nobody is inside: %s", diag.Escape(m.name), text))
	var f *Faulted
	if errors.As(why, &f) {
		err = &Faulted{err, f.Info}
	}
	return err
}

// draining returns the modules that are.
func (k *Kernel) draining() []*module {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(k.inOrder(), func(m *module) bool { return m.state != stateDraining })
}

// forgettable returns those kept modules of the list whom nobody else follows, or
// requires, and the others. The caller holds the lock.
func (k *Kernel) forgettable(list []*module) (free, held []*module) {
	free = slices.Clone(list)
	for len(free) > 0 {
		_, err := k.stacks.PlanForget(ids(free))
		if err == nil {
			break
		}
		needed := map[string]bool{} // by somebody who is not in free
		var errs *diag.Errors
		if errors.As(err, &errs) {
			for _, err := range errs.Unwrap() {
				var e *diag.Error
				if errors.As(err, &e) {
					for name := range strings.SplitSeq(e.File, ", ") {
						needed[name] = true
					}
				}
			}
		}
		n := len(free)
		free = slices.DeleteFunc(free, func(m *module) bool { return needed[m.name] })
		if len(free) == n { // it was refused for another reason
			free = nil
		}
	}
	for _, m := range list {
		if !slices.Contains(free, m) {
			held = append(held, m)
		}
	}
	return free, held
}

// reapEvery is how often draining modules are looked at.
const reapEvery = 20 * time.Millisecond

// reap reclaims draining modules once nobody is inside, until there is none any more, or
// the runner is gone.
func (k *Kernel) reap() {
	defer k.under.Done()
	for {
		select {
		case <-time.After(reapEvery):
		case <-k.closed:
		}
		k.reapOnce()
		k.mu.Lock()
		left := slices.ContainsFunc(k.inOrder(), func(m *module) bool { return m.state == stateDraining })
		select {
		case <-k.closed:
			left = false
		default:
		}
		if !left || k.live.lost() != nil {
			k.reaping = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
	}
}

// reapOnce reclaims the draining modules that nobody is inside of, as soon as nobody else
// follows them: those that call one another in a circle go together.
func (k *Kernel) reapOnce() {
	list := k.draining()
	left := k.outside(context.Background(), k.areas(list), 0, nil)
	if k.live.lost() != nil {
		return
	}
	_ = k.change(context.Background(), func() error { // a Background never ends
		var clean []*module
		for _, m := range list {
			if why, in := left[m]; in {
				m.why = why
			} else {
				clean = append(clean, m)
			}
		}
		free, held := k.forgettable(clean)
		for _, m := range held {
			m.why = "modules that drain, or are being unloaded, need it"
		}
		if err := k.reclaim(free); err != nil {
			for _, m := range free {
				m.why = err.Error()
			}
			return nil
		}
		for _, m := range free {
			k.print(fmt.Sprintf("klink: %s has drained and is reclaimed", diag.Escape(m.name)))
		}
		return nil
	})
}

// print puts a line of klink's own into the log, if there is one.
func (k *Kernel) print(text string) {
	if k.live != nil {
		k.live.run.Print(text)
	}
}
