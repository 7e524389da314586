package kernel

import (
	"fmt"
	"slices"
	"time"

	"klink/internal/aliasstack"
	"klink/internal/diag"
	"klink/internal/link"
)

// Modules that are out of every stack while a thread is still inside: their memory is
// untouched until klink has seen every thread outside.

// draining is what such a module holds.
type draining struct {
	held    map[aliasstack.ModuleID]bool // modules that its code calls, which stay as long
	entries []uint64                     // of its super_ symbols
	why     string                       // who was inside when it was last looked at
}

// drain sets a module aside. The caller holds the lock, has taken it out of the stacks
// and has given its super_ slots up.
func (k *Kernel) drain(m *module, held map[aliasstack.ModuleID]bool, why string) {
	m.state = stateDraining
	m.drain = &draining{held: held, why: why}
	k.draining = append(k.draining, m)
	k.nextID = max(k.nextID, m.id+1)
	if len(k.draining) == 1 {
		go k.reap()
	}
}

// reapEvery is how often a draining module is looked at, when nothing else tells.
const reapEvery = 50 * time.Millisecond

// reap reclaims draining modules once nobody is inside, until there is none any more.
func (k *Kernel) reap() {
	for {
		time.Sleep(reapEvery)
		<-k.turn
		k.reapOnce()
		k.mu.Lock()
		done := len(k.draining) == 0 || k.arena == nil || k.live.lost() != nil
		k.mu.Unlock()
		k.pass()
		if done {
			return
		}
	}
}

// reapOnce reclaims the draining modules that nobody is inside of. The caller has the turn.
func (k *Kernel) reapOnce() {
	k.mu.Lock()
	mods := slices.Clone(k.draining)
	alive := k.arena != nil && k.live.lost() == nil
	k.mu.Unlock()
	if !alive {
		return
	}
	for _, m := range mods {
		a := area{m: m, lo: m.at[link.Text], hi: m.at[link.Text] + m.lm.Size[link.Text], entries: m.drain.entries, mask: addressBits[k.machine]}
		left := k.outside([]area{a}, 0, nil)
		k.mu.Lock()
		if why, in := left[m]; in {
			m.drain.why = why
			k.mu.Unlock()
			continue
		}
		k.draining = slices.DeleteFunc(k.draining, func(o *module) bool { return o == m })
		for _, at := range m.drain.entries {
			k.entries.giveBack(at)
		}
		k.dropSites(m)
		k.giveBack(m)
		k.mu.Unlock()
		k.live.run.Print(fmt.Sprintf("klink: %s has drained and is reclaimed", diag.Escape(m.name)))
	}
}

// neededByDraining refuses the leaving of a module that a draining one calls.
func (k *Kernel) neededByDraining(leaving []*module) error {
	var errs diag.List
	for _, m := range leaving {
		for _, d := range k.draining {
			if d.drain.held[m.id] {
				errs.Add(diag.New(diag.ErrNeeded, m.name, "the module is needed by %s, which is draining: %s", diag.Escape(d.name), d.drain.why))
			}
		}
	}
	return errs.Err()
}
