package kpi_test

import (
	"fmt"
	"testing"
	"time"

	"klink/internal/runner"
)

// together begins the same call on n threads, and waits for all.
func (w *world) together(n int, name string, args ...uint64) []*runner.Result {
	w.t.Helper()
	var jobs []*runner.Job
	for range n {
		jobs = append(jobs, w.call(name, 0, args...))
	}
	var results []*runner.Result
	for _, j := range jobs {
		w.value(j)
		results = append(results, j.Result())
	}
	return results
}

func TestMutexContention(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	const n = 20000
	w.together(8, "count", n)
	w.want(8*n, "count", 0)
	if got := w.get(w.fn("counter")); got != 8*n {
		t.Errorf("counter %d, want %d", got, 8*n)
	}
}

// TestMutexSleepers: holders that sleep, others that try, and those that wait asleep.
func TestMutexSleepers(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	const n = 1024
	var jobs []*runner.Job
	for i := range 8 {
		jobs = append(jobs, w.call([]string{"count_try", "count"}[i%2], 0, n))
	}
	for _, j := range jobs {
		w.value(j)
	}
	if got := w.get(w.fn("counter")); got != 8*n {
		t.Errorf("counter %d, want %d", got, 8*n)
	}
	w.want(1, "destroy")
}

func TestCondvarPingPong(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	const n = 2000
	a, b := w.call("take_turns", 0, 0, n), w.call("take_turns", 0, 1, n)
	w.value(a)
	if got := w.value(b); got != 2*n {
		t.Errorf("%d turns, want %d", got, 2*n)
	}
}

// TestSleepersAreSeen: who they wait for, why, and that a broadcast ends it for all.
func TestSleepersAreSeen(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	w.want(0, "has_waiters")
	var jobs []*runner.Job
	for range 5 {
		j := w.call("wait_here", 0)
		v := w.asleep(j.Thread(), "here")
		if v.SleepOn != w.fn("here") || v.Fn != w.fn("wait_here") || v.Regs.PC < textAddr || v.Regs.SP == 0 {
			t.Errorf("%+v", v)
		}
		if at := v.Regs.SP - v.StackAddr; at >= uint64(len(v.Stack)) {
			t.Errorf("the stack from %#x on lacks %#x", v.StackAddr, v.Regs.SP)
		}
		jobs = append(jobs, j)
	}
	w.want(1, "has_waiters")
	w.want(5, "go_on")
	for _, j := range jobs {
		if got := w.value(j); got != 7 {
			t.Errorf("woke up with %d", got)
		}
	}
	w.want(0, "has_waiters")
}

// TestCondvarGoesAway: behind the broadcast, under its waiters.
func TestCondvarGoesAway(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	for range 20 {
		w.does("passing_init")
		var jobs []*runner.Job
		for range 6 {
			jobs = append(jobs, w.call("pass", 0))
		}
		w.asleep(jobs[0].Thread(), "passing")
		w.does("pass_all")
		for _, j := range jobs {
			if res := w.end(j); res.Fault != nil || res.Value != 1 {
				t.Fatalf("%v; %q", res, w.said())
			}
		}
	}
}

func TestTimedWait(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	for _, ticks := range []uint64{1, 5, 30} {
		ns, _ := w.room(8)
		w.want(11, "timed", ticks, ns)
		if got := w.get(ns); got < ticks*1e6 {
			t.Errorf("%d ticks took %d ns", ticks, got)
		}
	}
}

// TestGivenUpWaiters: waiters that are stopped are not missed.
func TestGivenUpWaiters(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	for round := range 10 {
		var stopped, kept []*runner.Job
		for i := range 6 {
			j := w.call("wait_here", 0)
			w.asleep(j.Thread(), "here")
			if i%2 == 0 {
				stopped = append(stopped, j)
			} else {
				kept = append(kept, j)
			}
		}
		for _, j := range stopped {
			j.Stop()
			if f := w.end(j).Fault; f == nil || !f.Limit {
				t.Fatalf("a stopped waiter ended with %v", f)
			}
		}
		w.want(6, "go_on")
		for _, j := range kept {
			if got := w.value(j); got != 7 {
				t.Errorf("round %d: %d", round, got)
			}
		}
	}
	w.want(0, "has_waiters")
	w.want(3, "enter") // nobody held the mutex
}

// TestStoppedWaitersForAMutex: the wake-up that a stopped thread had goes to another.
func TestStoppedWaitersForAMutex(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	for range 100 {
		w.put(w.fn("let_go"), 0)
		w.put(w.fn("counter"), 0)
		hold := w.call("hold_until", 0)
		w.eventually("it holds", func() bool { return w.get(w.fn("counter")) == 2 })
		var jobs []*runner.Job
		for range 3 {
			j := w.call("enter", 0)
			w.asleep(j.Thread(), "mutex")
			jobs = append(jobs, j)
		}
		w.put(w.fn("let_go"), 1)
		jobs[0].Stop() // the first that slept is the first to be woken
		w.value(hold)
		abandoned := false
		for _, j := range jobs {
			res := w.end(j)
			abandoned = abandoned || res.Fault != nil && !res.Fault.Limit
		}
		if !abandoned {
			w.want(3, "enter")
			continue
		}
		w.says("so this call of thread") // it was stopped while it held it
		w.want(1, "destroy")
	}
}

// TestAbandoned: what a call held that faulted, or was stopped.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"fault", "limit"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := begin(t, "locks.o", "locks_init")
			var thread int
			if how == "fault" {
				j := w.call("hold_and_fault", 0)
				thread = j.Thread()
				waits := w.call("enter", 0) // may find it held, or abandoned
				if f := w.end(j).Fault; f == nil || f.Signal != 11 || f.Addr != 8 {
					t.Fatalf("%v", f)
				}
				if f := w.end(waits).Fault; f != nil && f.Signal != 4 {
					t.Fatalf("the waiter: %v", f)
				}
			} else {
				j := w.call("hold_for_ever", 0)
				thread = j.Thread()
				w.eventually("it holds", func() bool { return w.get(w.fn("counter")) == 1 })
				waits := w.call("enter", 0)
				w.asleep(waits.Thread(), "mutex")
				j.Stop()
				if f := w.end(j).Fault; f == nil || !f.Limit {
					t.Fatalf("%v", f)
				}
				if f := w.end(waits).Fault; f == nil || f.Signal != 4 {
					t.Fatalf("the waiter: %v", f)
				}
			}
			w.says(fmt.Sprintf("mutex %#x is abandoned: a call of thread %d ended while it held it", w.fn("lock"), thread))
			for _, name := range []string{"enter", "try_enter"} {
				if f := w.faults(name); f.Signal != 4 {
					t.Errorf("%s: %v", name, f)
				}
			}
			w.says("so this call of thread")
			w.want(1, "destroy")
			w.want(3, "enter")
			w.want(1, "try_enter")
		})
	}
}

// TestBadPointer: in the kernel object, outside of its critical sections: the call's fault.
func TestBadPointer(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	if f := w.faults("enter_nothing"); f.Signal != 11 {
		t.Errorf("%v", f)
	}
	w.want(3, "enter")
}

func TestManyMutexes(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	w.want(24, "hold_many", 24)
	if f := w.faults("hold_many", 25); f.Signal != 4 {
		t.Errorf("%v", f)
	}
	w.says("holds 24 mutexes already")
	w.want(24, "hold_many", 24) // its places are free again
}

// TestLockPanics: mistakes that are the end of the runner, as in NetBSD.
func TestLockPanics(t *testing.T) {
	t.Parallel()
	for name, why := range map[string]string{
		"enter_twice":  "locking against myself",
		"exit_other":   "is held by nobody",
		"enter_raw":    "it was never initialised",
		"wait_without": "does not hold mutex",
		"assertion":    `kernel diagnostic assertion "v == 3" failed: file "kpi/locks.c", line `,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin(t, "locks.o", "locks_init").panics(why, name)
		})
	}
}

// TestStopStorm: calls that take a mutex are stopped at any moment. Whatever was cut
// short, the mutex is free, or abandoned.
func TestStopStorm(t *testing.T) {
	t.Parallel()
	w := begin(t, "locks.o", "locks_init")
	for i := range 15 {
		var jobs []*runner.Job
		for range 4 {
			jobs = append(jobs, w.call("count", 0, 1<<40))
		}
		time.Sleep(time.Duration(i%7) * 100 * time.Microsecond)
		for _, j := range jobs {
			j.Stop()
		}
		for _, j := range jobs {
			w.end(j)
		}
		res := w.end(w.call("enter", 0))
		if res.Fault == nil {
			continue
		}
		if res.Fault.Signal != 4 {
			t.Fatalf("%v", res.Fault)
		}
		w.says("so this call of thread")
		w.want(1, "destroy")
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}
