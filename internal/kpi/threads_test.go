package kpi_test

import (
	"testing"
	"time"

	"klink/internal/runner"
)

// TestKernelThreads: made and joined, however they end.
func TestKernelThreads(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	for how, name := range []string{"return", "exit from deep inside", "exit after a nap"} {
		for _, n := range []uint64{1, threads - 1} {
			if got := w.does("create_join", n, uint64(how)); got != n {
				t.Errorf("%s: %d of %d ran", name, got, n)
			}
		}
	}
	w.want(1, "self")
	before := w.does("ran")
	w.want(5, "create", 5, 2)
	w.eventually("five threads ran", func() bool { return w.does("ran") == before+5 })
}

// TestKernelThreadFaults: it is joined all the same, and the log says so.
func TestKernelThreadFaults(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	w.want(3, "create_join", 3, 3)
	w.says("kernel thread body")
	w.want(threads-1, "create_join", threads-1, 1)
}

// TestThreadsRunOut: the one that there is no thread for gets EAGAIN.
func TestThreadsRunOut(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	for range 3 {
		w.does("threads_init")
		if got := w.does("exhaust"); got != (threads-1)<<8|11 {
			t.Errorf("%d threads, error %d", got>>8, got&0xff)
		}
	}
}

// TestMsleep: it lets go of the mutex, is seen asleep, and is woken by its address.
func TestMsleep(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	var jobs []*runner.Job
	for range 4 {
		j := w.call("sleep_flag", 0)
		if v := w.asleep(j.Thread(), "flag"); v.Job != j {
			t.Errorf("%+v", v)
		}
		jobs = append(jobs, j)
	}
	jobs[0].Stop()
	w.end(jobs[0])
	w.does("set_flag")
	for _, j := range jobs[1:] {
		if got := w.value(j); got != 9 {
			t.Errorf("%d", got)
		}
	}
}

// TestNaps: tsleep ends by its timeout, not before it.
func TestNaps(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	start := time.Now()
	w.want(11, "nap", 20)
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("20 ticks took %v", took)
	}
	w.want(11, "nap", uint64(1<<32-5)) // negative: over at once
}

// TestExitOutside: kthread_exit in a call that is no kernel thread.
func TestExitOutside(t *testing.T) {
	t.Parallel()
	begin(t, "threads.o", "threads_init").panics("is no kernel thread", "exit_call")
}

func (w *world) gate(which uint64) (in, out, byMutex uint64) {
	to, _ := w.room(24)
	w.does("counts", which, to)
	return w.get(to), w.get(to + 8), w.get(to + 16)
}

// TestGatesCount: entrances and exits of many threads, caught or not.
func TestGatesCount(t *testing.T) {
	t.Parallel()
	w := begin(t, "gates.o", "gates_init")
	const n, workers = 3000, 8
	var jobs []*runner.Job
	for range workers {
		jobs = append(jobs, w.call("in_and_out", 0, n))
	}
	for range 50 {
		w.does("catch")
		w.does("open")
	}
	for _, j := range jobs {
		w.value(j)
	}
	for which := range uint64(2) {
		if in, out, _ := w.gate(which); in != n*workers || out != in {
			t.Errorf("gate %d: %d in, %d out, want %d", which, in, out, n*workers)
		}
	}
	_, _, before := w.gate(0)
	w.does("catch")
	w.does("in_and_out", 10)
	if _, _, by := w.gate(0); by != before+20 {
		t.Errorf("%d went by the mutex, want %d", by-before, 20)
	}
	w.does("open")
	w.does("in_and_out", 10)
	if _, _, by := w.gate(0); by != before+20 {
		t.Error("the mutex was taken at an open gate")
	}
	w.want(0, "drain", 0)
	w.does("destroy")
	if f := w.faults("once"); f.Signal != 4 {
		t.Errorf("%v", f)
	}
	w.says("is no gate, or not any more")
}

// TestGateDrains: it waits for sleepers, with a limit and without.
func TestGateDrains(t *testing.T) {
	t.Parallel()
	w := begin(t, "gates.o", "gates_init")
	var jobs []*runner.Job
	for range 5 {
		j := w.call("sleep_inside", 0)
		w.asleep(j.Thread(), "inside")
		jobs = append(jobs, j)
	}
	w.want(11, "drain", 5)
	if got := w.does("counts", 0, dataAddr+scratch); got != 0 {
		t.Error("a drain that failed left the gate caught")
	}
	w.want(35, "drain_inside")
	if f := w.faults("destroy"); f.Signal != 4 {
		t.Errorf("%v", f)
	}
	w.says("5 are inside gate first gate")
	w.does("catch")
	drain := w.call("drain", 0, 0)
	v := w.asleep(drain.Thread(), "gate_drain")
	if v.SleepOn != w.fn("gate") {
		t.Errorf("it sleeps on %#x", v.SleepOn)
	}
	w.does("wake_all")
	if got := w.value(drain); got != 0 {
		t.Errorf("drain: %d", got)
	}
	for _, j := range jobs {
		if got := w.value(j); got != 4 {
			t.Errorf("%d", got)
		}
	}
	w.does("destroy")
}

// TestGateSettles: calls that end inside are taken out, and who waits for them goes on.
func TestGateSettles(t *testing.T) {
	t.Parallel()
	w := begin(t, "gates.o", "gates_init")
	w.faults("fault_inside")
	if in, out, _ := w.gate(0); in != 2 || out != 2 {
		t.Errorf("%d in, %d out", in, out)
	}
	if in, out, _ := w.gate(1); in != 1 || out != 1 {
		t.Errorf("%d in, %d out", in, out)
	}
	j := w.call("sleep_inside", 0)
	w.asleep(j.Thread(), "inside")
	w.does("catch")
	drain := w.call("drain", 0, 0)
	w.asleep(drain.Thread(), "gate_drain")
	j.Stop()
	if got := w.value(drain); got != 0 {
		t.Errorf("drain: %d", got)
	}
	w.end(j)
	if f := w.faults("exit_outside"); f.Signal != 4 {
		t.Errorf("%v", f)
	}
	w.says("is not inside gate first gate")
}

// TestGateRounds: no exit is lost by who drains, at any moment.
func TestGateRounds(t *testing.T) {
	t.Parallel()
	w := begin(t, "gates.o", "gates_init")
	const rounds, workers = 100, 3
	var jobs []*runner.Job
	for range workers {
		jobs = append(jobs, w.call("work", 0, rounds, 200))
	}
	drain := w.call("drain_rounds", 0, rounds, workers)
	if got := w.value(drain); got == ^uint64(0) {
		t.Error("a drain without a limit ended")
	}
	for _, j := range jobs {
		w.value(j)
	}
}

// TestGateStorm: calls are stopped at any moment on their way in and out; afterwards
// nobody is inside.
func TestGateStorm(t *testing.T) {
	t.Parallel()
	w := begin(t, "gates.o", "gates_init")
	for i := range 20 {
		var jobs []*runner.Job
		for range 4 {
			jobs = append(jobs, w.call("in_and_out", 0, 1<<40))
		}
		if i%2 == 1 {
			w.does("catch")
		}
		time.Sleep(time.Duration(i%5) * 100 * time.Microsecond)
		for _, j := range jobs {
			j.Stop()
		}
		w.want(0, "drain", 0)
		for _, j := range jobs {
			w.end(j)
		}
		w.does("open")
		for which := range uint64(2) {
			if in, out, _ := w.gate(which); in != out {
				t.Fatalf("gate %d: %d in, %d out", which, in, out)
			}
		}
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
	w.does("destroy")
}
