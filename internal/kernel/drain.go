package kernel

import (
	"context"
	"fmt"
	"slices"
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
	if !k.reaping && len(list) > 0 {
		k.reaping = true
		go k.reap()
	}
}

// draining returns the modules that are.
func (k *Kernel) draining() []*module {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(k.inOrder(), func(m *module) bool { return m.state != stateDraining })
}

// reapEvery is how often draining modules are looked at.
const reapEvery = 20 * time.Millisecond

// reap reclaims draining modules once nobody is inside, until there is none any more, or
// the runner is gone.
func (k *Kernel) reap() {
	for {
		select {
		case <-time.After(reapEvery):
		case <-k.live.run.Gone():
		}
		k.reapOnce()
		k.mu.Lock()
		left := slices.ContainsFunc(k.inOrder(), func(m *module) bool { return m.state == stateDraining })
		if !left || k.arena == nil || k.live.lost() != nil {
			k.reaping = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
	}
}

// reapOnce reclaims the draining modules that nobody is inside of: all together, for
// they may follow one another in a circle; else each that no other one follows.
func (k *Kernel) reapOnce() {
	list := k.draining()
	left := map[*module]string{}
	for _, m := range list {
		for _, why := range k.outside(context.Background(), k.areas([]*module{m}), 0, nil) {
			left[m] = why
		}
	}
	if k.live.lost() != nil {
		return
	}
	_ = k.change(context.Background(), func() error { // a Background never ends
		var clean []*module
		for _, m := range list {
			if why, in := left[m]; in {
				m.why = why
			} else if m.state == stateDraining {
				clean = append(clean, m)
			}
		}
		if k.reclaim(clean) == nil {
			k.sayDrained(clean)
			return nil
		}
		for _, m := range clean {
			if err := k.reclaim([]*module{m}); err != nil {
				m.why = err.Error()
				continue
			}
			k.sayDrained([]*module{m})
		}
		return nil
	})
}

// sayDrained tells the log.
func (k *Kernel) sayDrained(list []*module) {
	for _, m := range list {
		k.live.run.Print(fmt.Sprintf("klink: %s has drained and is reclaimed", diag.Escape(m.name)))
	}
}
