package runner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"klink/internal/diag"
)

// inspect looks at a thread.
func (w *world) inspect(i int) View {
	w.t.Helper()
	v, err := w.Inspect(i)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func TestInspectIdle(t *testing.T) {
	w := begin(t)
	if v := w.inspect(0); v.State != Idle || v.Job != nil || v.Stack != nil || v.Regs != (Regs{}) {
		t.Errorf("never used: %+v", v)
	}
	j := w.call("trap", 0)
	w.end(j)
	if v := w.inspect(j.Thread()); v.State != Idle {
		t.Errorf("after a fault: %+v", v)
	}
	for _, i := range []int{-1, w.Threads()} {
		if _, err := w.Inspect(i); !errors.Is(err, diag.ErrNotFound) {
			t.Errorf("thread %d: %v", i, err)
		}
	}
}

func TestInspectRunning(t *testing.T) {
	w := begin(t)
	p, set, _ := w.word(0)
	j := w.call("spin_until", 0, p)
	loops := func(v View) bool { return v.Regs.PC >= v.Fn && v.Regs.PC < v.Fn+16 }
	eventually(t, "it spins", func() bool { return loops(w.inspect(j.Thread())) })
	for range 300 {
		v := w.inspect(j.Thread())
		if v.State != Running || v.Job != j || v.Fn != w.fn["spin_until"] || v.Since <= 0 || !loops(v) {
			t.Fatalf("%+v", v)
		}
		th := w.workers[j.Thread()]
		if v.StackAddr+uint64(len(v.Stack)) != th.stackHi || v.StackAddr != v.Regs.SP-redZone || v.Regs.SP <= th.stackLo {
			t.Fatalf("stack from %#x, %d bytes, SP %#x", v.StackAddr, len(v.Stack), v.Regs.SP)
		}
	}
	set(3)
	if res := w.end(j); res.Value != 3 {
		t.Errorf("%+v", res)
	}
	w.well()
}

func TestInspectSleeping(t *testing.T) {
	w := begin(t)
	p, set, _ := w.word(0)
	copy(w.data[4096:], "biowait\n\x00")
	const mark = 0x1122334455667788
	j := w.call("nap", 0, p, dataAddr+4096, mark)
	eventually(t, "it sleeps", func() bool { return w.workers[j.Thread()].ctl.sleep.Load()&1 == 1 })
	v := w.inspect(j.Thread())
	if v.State != Sleeping || v.Job != j || v.SleepOn != p || v.SleepWhy != `biowait\n` || v.Since <= 0 {
		t.Errorf("%v on %#x, %q, %v", v.State, v.SleepOn, v.SleepWhy, v.Since)
	}
	if !bytes.Contains(v.Stack, bytes.Repeat(binary.LittleEndian.AppendUint64(nil, mark), 4)) {
		t.Errorf("its frame is not in %d bytes of stack from %#x", len(v.Stack), v.StackAddr)
	}
	if got := w.workers[j.Thread()].ctl.parked.Load(); got != 0 {
		t.Error("it was woken for the look")
	}
	set(1)
	w.stir(0)
	if res := w.end(j); res.Value != mark {
		t.Errorf("%+v", res)
	}
	// One that sleeps without a word is stopped for the look, and sleeps on.
	set(0)
	j = w.call("doze", 0, p)
	for range 20 {
		if v := w.inspect(j.Thread()); v.State != Running || v.Job != j {
			t.Fatalf("%+v", v)
		}
	}
	set(1)
	w.stir(0)
	w.end(j)
	w.well()
}

func TestInspectManyThreads(t *testing.T) {
	w := begin(t, func(c *Config) { c.Threads = 64 })
	p, set, _ := w.word(0)
	var jobs []*Job
	for i := range w.Threads() - 2 {
		fn := "doze"
		if i%16 == 0 { // more would only wait for a processor
			fn = "spin_until"
		}
		jobs = append(jobs, w.call(fn, 0, p))
	}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			busy := 0
			for i := range w.Threads() {
				v, err := w.Inspect(i)
				if err != nil {
					t.Error(err)
				}
				if v.State != Idle {
					busy++
				}
			}
			if busy != len(jobs) {
				t.Errorf("%d are in calls, %d should be", busy, len(jobs))
			}
		})
	}
	group.Wait()
	set(1)
	w.stir(0)
	for _, j := range jobs {
		if res := w.end(j); res.Value != 1 {
			t.Errorf("%+v", res)
		}
	}
	w.well()
}

// Looks and ends of calls cross each other in all ways; none hangs or is wrong.
func TestInspectWhileCallsEnd(t *testing.T) {
	w := begin(t)
	p, _, _ := w.word(0)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				j, err := w.Begin(Call{Fn: w.fn["take"], Args: []uint64{p}, Times: 500})
				if err != nil {
					t.Error(err)
					return
				}
				<-j.Done()
			}
		})
	}
	seen := map[State]int{}
	eventually(t, "looks of both kinds", func() bool {
		for i := range 2 {
			v := w.inspect(i)
			seen[v.State]++
			if v.State == Running && (v.Job == nil || v.Fn != w.fn["take"]) {
				t.Fatalf("%+v", v)
			}
		}
		return seen[Idle] > 20 && seen[Running] > 20
	})
	close(stop)
	group.Wait()
	w.well()
}

// A thread that does not stop is an error; when it comes round it is not left standing.
func TestInspectOfOneThatDoesNotStop(t *testing.T) {
	w := begin(t)
	p, set, _ := w.word(0)
	j := w.call("spin_until", 0, p)
	w.inspect(j.Thread())
	was := parkLimit
	defer func() { parkLimit = was }()
	parkLimit = 50 * time.Millisecond
	tid := w.workers[j.Thread()].tid
	w.workers[j.Thread()].tid = w.Pid() // the signal goes to the service thread, which holds it back
	if _, err := w.Inspect(j.Thread()); !errors.Is(err, diag.ErrBusy) {
		t.Errorf("%v", err)
	}
	w.workers[j.Thread()].tid, parkLimit = tid, was
	if v := w.inspect(j.Thread()); v.State != Running {
		t.Errorf("%+v", v)
	}
	set(1)
	w.end(j)
}

func TestStrangers(t *testing.T) {
	w := begin(t)
	tid := w.workers[5].tid
	w.workers[5].tid = 1 // now nobody knows the thread
	got, err := w.Strangers()
	if err != nil || len(got) != 1 || got[0] != tid {
		t.Errorf("%v %v, want %d", got, err, tid)
	}
	w.workers[5].tid = tid
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(w.Pid()) + "/task")
	if err != nil || len(entries) != w.Threads()+1 {
		t.Errorf("%d threads, %v", len(entries), err)
	}
}
