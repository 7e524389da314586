package runner

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/diag"
)

// redZone is how far below SP a function may keep data, bytes: x86-64 psABI 3.2.2.
var redZone = map[arch.Machine]uint64{arch.AMD64: 128}[machine]

// Inspect says where thread i was at one moment during the call: idle, asleep (it is
// read, not woken), or running (a signal stops it for the look; its sleep, if it just
// began one, goes on after it). A thread that does not stop within five seconds gives
// diag.ErrBusy: where it is cannot be said then. Else the error is diag.ErrLost.
//
// A thread whose call is posted and has not begun is running, in the runner's own
// code; Fn is where it will start. One that is looked at again and again without a
// pause hardly gets on: each look stops it before it has gone far.
func (r *Runner) Inspect(i int) (View, error) {
	if i < 0 || i >= len(r.workers) {
		return View{}, diag.New(diag.ErrNotFound, "", "no thread %d", i)
	}
	if err := r.enter(); err != nil {
		return View{}, err
	}
	defer r.users.Done()
	w := r.workers[i]
	w.look.Lock()
	defer w.look.Unlock()

	r.mu.Lock()
	at := r.moment(w)
	if r.cause == nil && at.job == nil && w.ctl.done.Load() == w.post {
		r.mu.Unlock()
		return View{State: Idle}, nil
	}
	r.mu.Unlock()

	for _, look := range []func(*worker, moment) (View, bool){r.seeFault, r.seeSleep} {
		if v, ok := look(w, at); ok {
			return v, nil
		}
	}
	return r.seePark(w, at)
}

// moment is what a worker was doing when an inspector came.
type moment struct {
	job   *Job
	post  uint32
	stage stage
}

// moment returns that of now; mu is held.
func (r *Runner) moment(w *worker) moment { return moment{w.job, w.post, w.stage} }

// still says whether nothing has changed since at, and the call has not ended.
func (r *Runner) still(w *worker, at moment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause == nil && r.moment(w) == at && w.ctl.done.Load() != at.post
}

// view returns a View with what all states have.
func (at moment) view(s State) View {
	v := View{State: s, Job: at.job}
	if at.job != nil {
		v.Fn = at.job.call.Fn
		v.Since = time.Since(at.job.started)
	}
	return v
}

// seeFault reads a thread that waits in its fault handler.
func (r *Runner) seeFault(w *worker, at moment) (View, bool) {
	if at.stage != running || w.ctl.fault.Load() != at.post {
		return View{}, false
	}
	v := at.view(Faulted)
	v.Regs = w.ctl.faultRegs.read()
	v.StackAddr, v.Stack = w.deep(r.stacks, v.Regs.SP)
	v.Gates = w.ctl.gates()
	return v, r.still(w, at)
}

// seeSleep reads a thread that is asleep in the kernel object. Its word is odd and the
// same before and after: it slept all the while, so what was copied was still. (The
// copies are atomic loads, so they are done before the word is read again.)
func (r *Runner) seeSleep(w *worker, at moment) (View, bool) {
	c := w.ctl
	asleep := c.sleep.Load()
	if at.stage != running || asleep&1 == 0 {
		return View{}, false
	}
	v := at.view(Sleeping)
	v.Regs = c.sleepRegs.read()
	v.StackAddr, v.Stack = w.deep(r.stacks, v.Regs.SP)
	v.Gates = w.ctl.gates()
	v.SleepOn = c.sleepOn.Load()
	why, since := c.sleepWhy.Load(), c.sleepSince.Load()
	if c.sleep.Load() != asleep || !r.still(w, at) {
		return View{}, false
	}
	v.SleepWhy = r.text(why)
	now := monotonic()
	v.Since = min(max(now-time.Duration(since), 0), now-r.born)
	return v, true
}

// seePark stops the thread by a signal, reads it, and lets it go on.
func (r *Runner) seePark(w *worker, at moment) (View, error) {
	c := w.ctl
	r.mu.Lock()
	if r.cause != nil {
		defer r.mu.Unlock()
		return View{}, r.cause
	}
	if w.parkSeq++; w.parkSeq == 0 {
		w.parkSeq++
	}
	seq := w.parkSeq
	answer := make(chan struct{}, 1)
	w.answer = answer
	r.watched = append(r.watched, w)
	c.park.Store(seq)
	r.proc.signal(w.tid, sigPark)
	r.mu.Unlock()

	limit := time.NewTimer(parkLimit)
	defer limit.Stop()
	select {
	case <-answer:
	case <-r.gone:
	case <-limit.C:
	}
	var v View
	parked := c.parked.Load() == seq
	if parked {
		v = at.view(Running)
		if at.stage != running && at.job != nil {
			v.State = Faulted
		}
		v.Regs = c.parkRegs.read()
		v.StackAddr, v.Stack = w.deep(r.stacks, v.Regs.SP)
		v.Gates = w.ctl.gates()
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	w.answer = nil
	r.watched = slices.DeleteFunc(r.watched, func(o *worker) bool { return o == w })
	// Also if it was not seen parked: it may come to its handler later.
	c.unpark.Store(seq)
	wakeWord(&c.unpark)
	switch {
	case r.cause != nil:
		return View{}, r.cause
	case w.job != at.job:
		// Its call has ended meanwhile, and at that moment it was idle.
		return View{State: Idle}, nil
	case !parked:
		return View{}, diag.New(diag.ErrBusy, "", "%s did not stop within %v to be looked at", w.name(), parkLimit)
	}
	return v, nil
}

// deep copies all of w's stack that a thread with this SP can use.
func (w *worker) deep(stacks memory, sp uint64) (addr uint64, b []byte) {
	if low := sp - redZone; low <= sp && low >= w.stackLo {
		sp = low
	}
	return w.stack(stacks, sp, stackSize)
}

// Strangers returns the tids of the process that are neither of the pool nor the
// service thread. There can be none; if there are, nobody can say where they are.
func (r *Runner) Strangers() ([]int, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer r.users.Done()
	listed, err := tasks(r.proc.pid)
	select {
	case <-r.proc.ended: // the list may be another process's
		<-r.gone
		return nil, r.Err()
	default:
	}
	if err != nil {
		return nil, err
	}
	known := map[int]bool{r.proc.pid: true}
	for _, w := range r.workers {
		known[w.tid] = true
	}
	return slices.DeleteFunc(listed, func(tid int) bool { return known[tid] }), nil
}

// maxText is how much of a name in module memory is shown, bytes.
const maxText = 64

// text returns the NUL-terminated text at addr in tables or data, escaped; "" if addr
// is 0 or lies elsewhere. It reads through the file: memory that does not exist is an
// error there, not a fault.
func (r *Runner) text(addr uint64) string {
	for _, part := range []struct {
		span Span
		fd   int
		off  uint64
	}{{r.cfg.Tables, r.cfg.SealedFd, r.cfg.TablesOff}, {r.cfg.Data, r.cfg.DataFd, 0}} {
		if in := addr - part.span.Addr; addr >= part.span.Addr && in < part.span.Size {
			b := make([]byte, min(maxText, part.span.Size-in))
			n, _ := unix.Pread(part.fd, b, int64(part.off+in)) // nothing read: no text
			return printable(cString(b[:max(n, 0)]))
		}
	}
	return ""
}

// gates returns the gates that the thread is in by its own record.
func (c *ctlThread) gates() []uint64 {
	var list []uint64
	for i := range c.gate {
		if g := c.gate[i].gate.Load(); g != 0 {
			list = append(list, g)
		}
	}
	return list
}
