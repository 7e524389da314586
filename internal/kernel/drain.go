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

// reapOnce reclaims the draining modules that nobody is inside of, each as soon as no
// other one follows it.
func (k *Kernel) reapOnce() {
	for _, m := range k.draining() {
		left := k.outside(context.Background(), k.areas([]*module{m}), 0, nil)
		if k.live.lost() != nil {
			return
		}
		_ = k.change(context.Background(), func() error { // a Background never ends
			if why, in := left[m]; in {
				m.why = why
				return nil
			}
			if err := k.reclaim([]*module{m}); err != nil {
				m.why = err.Error()
				return nil
			}
			k.live.run.Print(fmt.Sprintf("klink: %s has drained and is reclaimed", diag.Escape(m.name)))
			return nil
		})
	}
}
