package runner

import (
	"time"

	"klink/internal/diag"
)

// Barrier returns when every thread of the runner sees the text as it stands now. If
// sites, the rows of the switch's table are places whose code changed, and machines
// whose instruction caches do not follow memory have them maintained there.
//
// It takes one wake-up of the runner's service thread and one back. Barriers and
// flushes run one after the other. The error is the runner's: diag.ErrLost.
func (r *Runner) Barrier(sites bool) error {
	var arg uint64
	if sites {
		arg = 1
	}
	return r.command(cmdBarrier, arg, 0)
}

// Flush is Barrier for new code at [lo, hi).
func (r *Runner) Flush(lo, hi uint64) error { return r.command(cmdFlush, lo, hi) }

// command has the service thread do one command. It sleeps in the answer's own futex,
// without the waiter's help: each step of a switch waits for it.
func (r *Runner) command(cmd uint32, arg0, arg1 uint64) error {
	r.service.Lock()
	defer r.service.Unlock()
	if err := r.enter(); err != nil {
		return err
	}
	defer r.users.Done()
	m := r.mail
	r.cmdSeq++
	m.cmd.Store(cmd)
	m.cmdArg[0].Store(arg0)
	m.cmdArg[1].Store(arg1)
	m.cmdSeq.Store(r.cmdSeq)
	wakeWord(&m.cmdSeq)

	var calm throttle
	deadline := time.Now().Add(commandLimit)
	left := commandLimit
	for {
		ack := m.ackSeq.Load()
		select {
		case <-r.proc.ended: // what the word says no longer counts
			<-r.gone
			return r.Err()
		default:
		}
		if ack == r.cmdSeq {
			break
		}
		if left <= 0 {
			r.lose(lost("the runner's service thread gave no answer within %v", commandLimit))
			<-r.gone
			return r.Err()
		}
		waitWord(&m.ackSeq, ack, left)
		calm.pause()
		left = time.Until(deadline)
	}
	if errno := m.ackError.Load(); errno != 0 {
		return diag.New(diag.ErrIO, "", "the runner's barrier: %s", errnoText(errno))
	}
	return nil
}

// throttle slows a loop that somebody else wakes again and again: a millisecond's rest
// after every burst wake-ups that took less than ten.
type throttle struct {
	n     int
	since time.Time
}

const burst = 1000

func (t *throttle) pause() {
	if t.n++; t.n < burst {
		return
	}
	now := time.Now()
	if now.Sub(t.since) < 10*time.Millisecond {
		time.Sleep(time.Millisecond)
		now = time.Now()
	}
	t.n, t.since = 0, now
}
