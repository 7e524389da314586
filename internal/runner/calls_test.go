package runner

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"klink/internal/diag"
)

func TestArguments(t *testing.T) {
	w := begin(t)
	var args []uint64
	want := uint64(0)
	for n := range MaxArgs + 1 {
		if got := w.does("weigh", args...); got != want {
			t.Errorf("%d arguments: %d, want %d", n, got, want)
		}
		v := 1000003 * uint64(n+1)
		args = append(args, v)
		want += uint64(n+1) * v
	}
	if _, err := w.Begin(Call{Fn: w.fn["weigh"], Args: args}); !errors.Is(err, diag.ErrUsage) {
		t.Errorf("nine arguments: %v", err)
	}
}

func TestJobKeepsItsCall(t *testing.T) {
	w := begin(t)
	args := []uint64{1}
	j, err := w.Begin(Call{Fn: w.fn["weigh"], Args: args, Tag: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	args[0] = 2
	w.end(j)
	c := j.Call()
	if c.Args[0] != 1 || c.Times != 1 || c.Tag != "mine" || j.Parent() != -1 || j.Name() != "" || j.Thread() != 0 || j.Progress() != 1 {
		t.Errorf("%+v, parent %d, thread %d, progress %d", c, j.Parent(), j.Thread(), j.Progress())
	}
	if got := j.Result(); got.Value != 1 || got.Calls != 1 || got.Took <= 0 || got != j.Result() {
		t.Errorf("%+v", got)
	}
}

func TestTimes(t *testing.T) {
	w := begin(t)
	p, set, get := w.word(0)
	times := func(fn string, n uint64, args ...uint64) *Result {
		j, err := w.Begin(Call{Fn: w.fn[fn], Args: args, Times: n})
		if err != nil {
			t.Fatal(err)
		}
		return w.end(j)
	}
	res := times("weigh", 1000, 7)
	if want := (Result{Value: 7, Calls: 1000, Values: []ValueCount{{7, 1000}}, Took: res.Took}); !reflect.DeepEqual(*res, want) {
		t.Errorf("equal values: %+v", res)
	}
	// 0 1 2 3 0 1 2 3 …: it falls behind each 3 but the last.
	res = times("cycle", 400, p, 4)
	if want := (Result{Value: 3, Calls: 400, Falls: 99, Values: []ValueCount{{0, 100}, {1, 100}, {2, 100}, {3, 100}}, Took: res.Took}); !reflect.DeepEqual(*res, want) {
		t.Errorf("four values: %+v", res)
	}
	set(0)
	res = times("take", 1000, p)
	if len(res.Values) != nValues || res.Unlisted != 1000-nValues || res.Values[254] != (ValueCount{255, 1}) || res.Falls != 0 || get() != 1000 {
		t.Errorf("many values: %d listed, %d not, %+v", len(res.Values), res.Unlisted, res.Values[254])
	}
	// What the call before left is gone.
	if res = times("weigh", 1, 1); len(res.Values) != 1 || res.Unlisted != 0 || res.Calls != 1 {
		t.Errorf("afterwards: %+v", res)
	}
}

func TestAllThreadsThenBusy(t *testing.T) {
	w := begin(t)
	p, set, _ := w.word(0)
	var jobs []*Job
	seen := map[int]bool{}
	for range w.Threads() {
		j := w.call("spin_until", 0, p)
		jobs = append(jobs, j)
		seen[j.Thread()] = true
		if j.Result() != nil {
			t.Fatal("a result before the end")
		}
	}
	if len(seen) != w.Threads() {
		t.Errorf("%d threads", len(seen))
	}
	if _, err := w.Begin(Call{Fn: w.fn["weigh"]}); !errors.Is(err, diag.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	set(9)
	for _, j := range jobs {
		if res := w.end(j); res.Value != 9 {
			t.Errorf("%+v", res)
		}
	}
	w.well()
	// The thread used last is used again.
	last := w.call("weigh", 0)
	w.end(last)
	if next := w.call("weigh", 0); next.Thread() != last.Thread() {
		t.Errorf("thread %d after %d", next.Thread(), last.Thread())
	}
}

func TestProgress(t *testing.T) {
	w := begin(t)
	p, set, _ := w.word(0)
	q, _, _ := w.word(1)
	set(1)
	j, err := w.Begin(Call{Fn: w.fn["spin_until"], Args: []uint64{p}, Times: 1 << 62})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "progress", func() bool { return j.Progress() > 1000 })
	_ = q
	set(0)
	at := uint64(0)
	eventually(t, "a halt", func() bool {
		before := at
		at = j.Progress()
		return at == before
	})
	j.Stop()
	res := w.end(j)
	if res.Fault == nil || !res.Fault.Limit || res.Calls < at || res.Calls > at+1 || j.Progress() != res.Calls {
		t.Errorf("stopped: %+v, progress was %d", res, at)
	}
	w.well()
}

func TestSpawn(t *testing.T) {
	var mu sync.Mutex
	var told []string
	w := begin(t, func(c *Config) {
		c.Spawned = func(j *Job) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s %#x %d of %d", j.Name(), j.Call().Args[0], j.Thread(), j.Parent()))
			if j.Result() != nil || j.Progress() != 0 {
				t.Error("it runs before it was told of")
			}
		}
	})
	copy(w.data[4096:], "reader\x1b[2J\x00")
	p, set, _ := w.word(0)
	if got := int64(w.does("give", w.fn["spin_until"], p, dataAddr+4096)); got != 1 {
		t.Errorf("the new thread is %d", got)
	}
	mu.Lock()
	if want := []string{fmt.Sprintf("reader\\x1b[2J %#x 1 of 0", p)}; !reflect.DeepEqual(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	mu.Unlock()
	// All but one are taken: the one that asks has it.
	for i := 2; i < w.Threads(); i++ {
		if got := int64(w.does("give", w.fn["spin_until"], p, 0)); got < 1 {
			t.Fatalf("thread %d is %d", i, got)
		}
	}
	if got := int64(w.does("give", w.fn["spin_until"], p, 0)); got != -eagain {
		t.Errorf("none is idle: %d", got)
	}
	set(1)
	eventually(t, "they end", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.idle) == w.Threads()
	})
	w.well()
}

func TestSpawnedThreadIsStoppedAsAny(t *testing.T) {
	children := make(chan *Job, 1)
	w := begin(t, func(c *Config) {
		c.Spawned = func(j *Job) {
			j.Stop() // before it runs: as soon as it does
			children <- j
		}
	})
	w.does("give", w.fn["spin"], 0, 0)
	if res := w.end(<-children); res.Fault == nil || !res.Fault.Limit {
		t.Errorf("%+v", res)
	}
	w.well()
}

func TestManyCallers(t *testing.T) {
	w := begin(t)
	p, _, get := w.word(0)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				j, err := w.Begin(Call{Fn: w.fn["take"], Args: []uint64{p}, Times: 10, Limit: time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				<-j.Done()
				if res := j.Result(); res.Calls != 10 || res.Fault != nil {
					t.Errorf("%+v", res)
				}
			}
		})
	}
	group.Go(func() {
		for range 200 {
			if err := w.Barrier(false); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	if get() != 8000 {
		t.Errorf("%d calls", get())
	}
}

// Numbers of calls wrap; 0 is what words say that were never written.
func TestNumbersWrap(t *testing.T) {
	w := begin(t, func(c *Config) { c.Threads = 1 })
	for i := range 4 {
		w.mu.Lock()
		if i == 0 {
			w.workers[0].post = 1<<32 - 2
		}
		if w.workers[0].post == 0 {
			t.Error("a call of number 0")
		}
		w.mu.Unlock()
		if got := w.does("weigh", uint64(i)); got != uint64(i) {
			t.Errorf("call %d: %d", i, got)
		}
	}
}

func TestBarriers(t *testing.T) {
	w := begin(t)
	p, set, _ := w.word(0)
	for running := range 3 {
		if running > 0 {
			w.call("spin_until", 0, p)
		}
		for range 350 {
			if err := w.Barrier(true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(textAddr, textAddr+granule); err != nil {
		t.Error(err)
	}
	set(1)
	w.well()
}
