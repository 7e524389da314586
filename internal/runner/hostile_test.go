package runner

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"klink/internal/diag"
)

// slack is what an operation may take beside its limit, on a machine that is busy.
const slack = 20 * time.Second

// A runner whose threads write garbage over all that they can, as fast as they can,
// while the host does everything that it does: nothing panics, nothing hangs, each
// operation has its end. Parts of the memory are spared in some rounds, for a runner
// that gets through to more of the host's code before it is lost.
func TestHostileRunner(t *testing.T) {
	shorten(t, 40*time.Millisecond)
	before := runtime.NumGoroutine()
	for _, c := range []struct {
		name   string
		off    uint64 // in control
		words  uint64 // power of two
		often  uint64 // every that many words it raises events
		rounds int
	}{
		{"all of control", 0, 1 << 17, 1<<10 - 1, 5},
		{"threads and log", threadsOff, 1 << 13, 1<<6 - 1, 6},
		{"commands and answers", mailOff + 0x40, 1 << 4, 0, 6},
		{"one thread's words", threadsOff + 0x40, 1 << 5, 1<<8 - 1, 6},
		{"the log", threadsOff + 8*threadSize, 1 << 15, 1<<4 - 1, 6},
		{"log and its head", mailOff + 0xc0, 1, 1<<8 - 1, 3},
		{"nothing but events", dataOnly, 0, 0, 3},
	} {
		for round := range c.rounds {
			hostileRound(t, c.off, c.words, c.often, uint64(round))
		}
		if t.Failed() {
			t.Fatalf("in %s", c.name)
		}
	}
	eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// dataOnly as an offset spares control.
const dataOnly = ^uint64(0)

func hostileRound(t *testing.T, off, words, often, seed uint64) {
	w, cfg := prepare(t)
	cfg.Spawned = func(j *Job) { j.Stop() }
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Runner = r
	w.SetSettle(w.fn["settle"])
	base := r.ctl.config().control.Load()
	to, mask := base+off, words-1
	if off == dataOnly {
		to, mask = dataAddr, dataSize/8-1
	}
	for i := range uint64(2) {
		stack := w.workers[3+i].stackLo
		_, err := r.Begin(Call{Fn: w.fn["scribble"], Args: []uint64{to, mask, stack, stackSize/8 - 1, seed<<8 + i + 1, often, base + mailOff}})
		if err != nil && !errors.Is(err, diag.ErrLost) {
			t.Error(err)
		}
	}
	var stop atomic.Bool
	var group sync.WaitGroup
	do := func(what string, limit time.Duration, op func(n int) error) {
		group.Go(func() {
			for n := 0; !stop.Load(); n++ {
				start := time.Now()
				err := op(n)
				if took := time.Since(start); took > limit+slack {
					t.Errorf("%s took %v", what, took)
				}
				if errors.Is(err, diag.ErrLost) {
					return
				}
				if err != nil && !errors.Is(err, diag.ErrBusy) && !errors.Is(err, diag.ErrIO) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	do("a call", 4*stopLimit, func(n int) error {
		j, err := r.Begin(Call{Fn: w.fn[[]string{"weigh", "trap", "spin", "get"}[n%4]], Times: 3, Limit: 5 * time.Millisecond})
		if err != nil {
			runtime.Gosched()
			return err
		}
		<-j.Done()
		if res := j.Result(); len(res.Values) > nValues || res.Calls > 3 || res.Fault != nil && len(res.Fault.Stack) > maxFaultStack {
			t.Errorf("%+v", res)
		}
		return j.Result().Err
	})
	do("a look", parkLimit, func(n int) error {
		v, err := r.Inspect(n % r.Threads())
		if len(v.Stack) > stackSize || len(v.SleepWhy) > 4*maxText {
			t.Errorf("%+v", v)
		}
		return err
	})
	do("a barrier", commandLimit, func(n int) error {
		if n%2 == 0 {
			return r.Flush(textAddr, textAddr+64)
		}
		return r.Barrier(true)
	})
	do("the log", 0, func(n int) error {
		if lines, _ := r.Lines(uint64(n), 100); len(lines) > 100 {
			t.Errorf("%d lines", len(lines))
		}
		time.Sleep(time.Millisecond)
		_, err := r.Strangers()
		return err
	})
	time.Sleep(50 * time.Millisecond)
	stop.Store(true)
	start := time.Now()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
	if took := time.Since(start); took > slack {
		t.Errorf("the end took %v", took)
	}
	if n := len(r.idle); n != r.Threads() || len(r.busy) != 0 || len(r.watched) != 0 {
		t.Errorf("%d idle, %d busy, %d watched", n, len(r.busy), len(r.watched))
	}
}

// A runner that raises events all the time costs the host a part of one processor.
func TestFloodIsThrottled(t *testing.T) {
	w := begin(t)
	j := w.call("flood", 0)
	eventually(t, "the flood", func() bool { return w.mail.events.Load() > 100000 })
	w.well()
	j.Stop()
	w.end(j)

	var calm throttle
	start := time.Now()
	for range 10 * burst {
		calm.pause()
	}
	if took := time.Since(start); took < 9*time.Millisecond {
		t.Errorf("%d wake-ups took %v", 10*burst, took)
	}
}

// still is a runner without a process, whose words the test writes.
func still() *Runner {
	r := paper()
	r.cause = nil
	r.gone = make(chan struct{})
	r.proc = &process{buried: true, ended: make(chan struct{})}
	r.stacks = make(memory, r.cfg.stacksSize())
	r.workers = nil
	r.fill(places[0])
	return r
}

// FuzzMailbox writes any word anywhere in control, between any steps of the host.
// Every three bytes of script are a step.
func FuzzMailbox(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x10\x01\x00\x20\x02\x00"), uint64(1))
	seed := make([]byte, 300)
	for i := range seed {
		seed[i] = byte(i * 7)
	}
	f.Add(seed, uint64(2))
	f.Fuzz(func(t *testing.T, script []byte, seed uint64) {
		r := still()
		rnd := rand.New(rand.NewPCG(seed, 1))
		var jobs []*Job
		for len(script) >= 3 && r.cause == nil {
			op, at := script[0], binary.LittleEndian.Uint16(script[1:])
			script = script[3:]
			switch op % 8 {
			case 0:
				if j, err := r.Begin(Call{Fn: uint64(at), Times: uint64(at)}); err == nil {
					jobs = append(jobs, j)
				}
			case 1, 2: // what a thread would say
				w := r.workers[int(at)%len(r.workers)]
				[]*atomic.Uint32{&w.ctl.done, &w.ctl.fault, &w.ctl.parked}[int(at>>8)%3].Store(w.post)
			case 3:
				for _, j := range jobs {
					j.expired = at%2 == 0
					j.Progress()
				}
			case 4:
				r.settle = uint64(at)
			case 5: // a number that is small, or one off what was there
				word := r.ctl.wordAt(uint64(at) % (r.cfg.controlSize() / 8))
				word.Store(word.Load() + uint64(int64(rnd.IntN(5)-2)))
			default:
				r.ctl.wordAt(uint64(at) % (threadsOff/8 + 2*threadSize/8)).Store(rnd.Uint64() >> rnd.IntN(64))
			}
			r.scan()
			sound(t, r, jobs)
		}
		r.log.collect(r, true)
		r.log.rest()
		for _, w := range append([]*worker(nil), r.busy...) {
			r.finish(w)
		}
		sound(t, r, jobs)
	})
}

// sound checks what must hold whatever shared memory says.
func sound(t *testing.T, r *Runner, jobs []*Job) {
	t.Helper()
	if len(r.idle)+len(r.busy) != len(r.workers) || len(r.births) != 0 {
		t.Fatalf("%d idle, %d busy, %d births", len(r.idle), len(r.busy), len(r.births))
	}
	for _, w := range r.idle {
		if w.job != nil || w.stage != idle {
			t.Fatalf("idle, with %+v", w.job)
		}
	}
	for _, j := range jobs {
		res := j.Result()
		if res == nil {
			continue
		}
		if res.Calls > j.call.Times || len(res.Values) > nValues {
			t.Fatalf("%+v", res)
		}
		if f := res.Fault; f != nil && (len(f.Stack) > maxFaultStack || f.StackHi-f.StackLo != stackSize) {
			t.Fatalf("%+v", f)
		}
	}
	if n := len(r.log.lines); n > 2*keptLines {
		t.Fatalf("%d lines", n)
	}
}
