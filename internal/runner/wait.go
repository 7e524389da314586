package runner

import "time"

// never is how long the waiter sleeps if nobody wakes it. (It has nothing to do then:
// a futex wait wants a number.)
const never = 24 * time.Hour

// wait is the waiter: it sleeps until the runner, or this process, raises mail.events,
// and looks at everything then. It ends with the runner; what waits for the runner
// ends with it.
func (r *Runner) wait() {
	m := r.mail
	var calm throttle
	for {
		seen := m.events.Load()
		if r.scan() {
			break
		}
		// Whoever raises events after this store wakes; who did before changed seen.
		m.hostWaits.Store(1)
		waitWord(&m.events, seen, never)
		m.hostWaits.Store(0)
		calm.pause()
	}
	r.log.collect(r, true)
	r.log.rest()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range append([]*worker(nil), r.busy...) {
		w.job.result.Err = r.cause
		r.finish(w)
	}
	close(r.gone)
}

// scan looks at all that the runner may have news of, once; it says whether the
// process has ended.
func (r *Runner) scan() (dead bool) {
	r.log.collect(r, false)
	r.mu.Lock()
	if r.dead {
		r.mu.Unlock()
		return true
	}
	if p := r.mail.panic.Load(); p != 0 && r.cause == nil {
		r.panicked(p)
	}
	for i := len(r.busy) - 1; i >= 0; i-- { // backwards: finish moves the last one to i
		r.advance(r.busy[i])
	}
	for _, w := range r.watched {
		if w.ctl.parked.Load() == w.parkSeq {
			w.tell()
		}
	}
	births := r.births
	r.births = nil
	r.mu.Unlock()
	r.deliver(births)
	return false
}

// panicked loses the runner because mail.panic was p.
func (r *Runner) panicked(p uint32) {
	why := printable(cString(loadWords(r.mail.panicText[:])))
	who := "a thread that is not of the pool"
	switch n := uint32(len(r.workers)); {
	case p == n+1:
		who = "the service thread"
		r.where = int(p)
	case p <= n:
		w := r.workers[p-1]
		r.where = int(p)
		who = w.name()
		if w.ctl.fault.Load() == w.post && w.ctl.signo.Load() != 0 {
			r.what = w.fault(r.stacks)
			if why == "" {
				why = r.what.String()
			}
		}
	}
	if why == "" {
		why = "no reason given"
	}
	r.loseLocked(lost("kernel panic: %s: %s", who, why))
}

// tell wakes w's inspector, if it has one.
func (w *worker) tell() {
	if w.answer == nil {
		return
	}
	select {
	case w.answer <- struct{}{}:
	default: // it has been told
	}
}
