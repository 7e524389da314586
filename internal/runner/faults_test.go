package runner

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFaults(t *testing.T) {
	w := begin(t)
	amd64 := runtime.GOARCH == "amd64"
	const unmapped = 0x7654321000
	settled := func() uint64 { return w.does("settled") }
	w.SetSettle(w.fn["settle"])
	for _, c := range []struct {
		name   string
		fn     uint64
		args   []uint64
		signal unix.Signal
		addr   uint64 // of the fault; 0: not compared
		pc     uint64 // 0: somewhere in fn's first 256 bytes
	}{
		{name: "read", fn: w.fn["get"], args: []uint64{unmapped}, signal: unix.SIGSEGV, addr: unmapped},
		{name: "write", fn: w.fn["set"], args: []uint64{unmapped, 1}, signal: unix.SIGSEGV, addr: unmapped},
		{name: "null call", fn: w.fn["follow"], args: []uint64{0}, signal: unix.SIGSEGV, pc: ^uint64(0)},
		{name: "call to nowhere", fn: unmapped, signal: unix.SIGSEGV, addr: unmapped, pc: unmapped},
		{name: "call into data", fn: dataAddr, signal: unix.SIGSEGV, addr: dataAddr, pc: dataAddr},
		{name: "call into tables", fn: tablesAddr, signal: unix.SIGSEGV, addr: tablesAddr, pc: tablesAddr},
		{name: "write to text", fn: w.fn["set"], args: []uint64{textAddr, 1}, signal: unix.SIGSEGV, addr: textAddr},
		{name: "write to tables", fn: w.fn["set"], args: []uint64{tablesAddr, 1}, signal: unix.SIGSEGV, addr: tablesAddr},
		{name: "write to the runner", fn: w.fn["set"], args: []uint64{0x200000, 1}, signal: unix.SIGSEGV},
		{name: "text that does not exist", fn: textAddr + granule, signal: unix.SIGBUS, addr: textAddr + granule, pc: textAddr + granule},
		{name: "undefined instruction", fn: w.fn["undefined"], signal: unix.SIGILL, pc: w.fn["undefined"]},
		{name: "trap", fn: w.fn["trap"], signal: unix.SIGTRAP, pc: w.fn["trap"]},
		{name: "division", fn: w.fn["divide"], args: []uint64{1, 0}, signal: unix.SIGFPE},
		{name: "system call", fn: w.fn["ask"], args: []uint64{unix.SYS_GETPID}, signal: unix.SIGSYS},
		{name: "deep recursion", fn: w.fn["deeper"], signal: unix.SIGSEGV, pc: ^uint64(0)},
		{name: "one large frame", fn: w.fn["big"], signal: unix.SIGSEGV},
		{name: "a stranger's stack", fn: w.fn["get"], args: []uint64{w.workers[3].stackLo - 8}, signal: unix.SIGSEGV, addr: w.workers[3].stackLo - 8},
	} {
		if c.signal == unix.SIGFPE && !amd64 {
			continue // aarch64's division by zero is zero
		}
		before := settled()
		j, err := w.Begin(Call{Fn: c.fn, Args: c.args, Times: 3, Limit: time.Minute})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		res := w.end(j)
		f := res.Fault
		if f == nil {
			t.Errorf("%s: no fault: %+v", c.name, res)
			continue
		}
		if f.Signal != int(c.signal) || f.Limit || res.Calls != 0 || res.Err != nil || len(res.Values) != 0 {
			t.Errorf("%s: %v, %+v", c.name, f, res)
		}
		if c.addr != 0 && f.Addr != c.addr {
			t.Errorf("%s: address %#x, want %#x", c.name, f.Addr, c.addr)
		}
		switch {
		case c.pc == 0 && (f.Regs.PC < c.fn || f.Regs.PC >= c.fn+256),
			c.pc != 0 && c.pc != ^uint64(0) && f.Regs.PC != c.pc:
			t.Errorf("%s: PC %#x, called %#x", c.name, f.Regs.PC, c.fn)
		}
		if c.name == "null call" && f.Regs.PC != 0 {
			t.Errorf("%s: PC %#x", c.name, f.Regs.PC)
		}
		if c.signal == unix.SIGSYS && f.Nr != unix.SYS_GETPID {
			t.Errorf("%s: number %d", c.name, f.Nr)
		}
		if got := settled(); got != before+1 {
			t.Errorf("%s: settled %d times, before %d", c.name, got, before)
		}
		w.well()
	}
}

// A record has what a backtrace needs: the return address is on the stack, or in x30.
func TestFaultStack(t *testing.T) {
	w := begin(t)
	f := w.end(w.call("get", 0, 8)).Fault
	if f.StackHi-f.StackLo != stackSize || f.StackAddr != f.Regs.SP || f.StackAddr+uint64(len(f.Stack)) != f.StackHi || f.Spilled {
		t.Errorf("stack %#x-%#x: %d bytes from %#x, SP %#x", f.StackLo, f.StackHi, len(f.Stack), f.StackAddr, f.Regs.SP)
	}
	f = w.end(w.call("follow", 0, 0)).Fault
	back := f.Regs.R[30]
	if runtime.GOARCH == "amd64" {
		back = binary.LittleEndian.Uint64(f.Stack)
	}
	if back < w.fn["follow"] || back > w.fn["follow"]+64 {
		t.Errorf("return address %#x, follow is at %#x", back, w.fn["follow"])
	}
	// A deep one is cut, one that was left is empty.
	f = w.end(w.call("deeper", 0)).Fault
	if len(f.Stack) != 0 && len(f.Stack) != maxFaultStack || f.Addr>>20 != (f.StackLo-1)>>20 {
		t.Errorf("overflow: %d bytes of stack, address %#x, stack %#x", len(f.Stack), f.Addr, f.StackLo)
	}
	if f = w.end(w.call("big", 0)).Fault; len(f.Stack) != 0 || f.Regs.SP >= f.StackLo {
		t.Errorf("a large frame: %d bytes of stack, SP %#x", len(f.Stack), f.Regs.SP)
	}
}

func TestLimits(t *testing.T) {
	w := begin(t)
	p, _, _ := w.word(0)
	for fn, args := range map[string][]uint64{"spin": nil, "doze": {p}, "nap": {p, 0, 1}} {
		j := w.call(fn, 20*time.Millisecond, args...)
		res := w.end(j)
		if f := res.Fault; f == nil || !f.Limit || res.Took < 20*time.Millisecond || f.Regs.PC < textAddr || f.Regs.PC >= textAddr+granule {
			t.Errorf("%s: %+v, %v", fn, res, f)
		}
		j.Stop() // too late, and harmless
		w.well()
		// A sleeper that was given up sleeps no more.
		if v, err := w.Inspect(j.Thread()); err != nil || v.State != Idle {
			t.Errorf("%s: %v %v", fn, v.State, err)
		}
	}
	// A call that ends in time does not hear of its limit.
	if res := w.end(w.call("weigh", time.Minute, 5)); res.Fault != nil || res.Value != 5 {
		t.Errorf("%+v", res)
	}
	// A fault past the limit is a fault.
	if f := w.end(w.call("undefined", time.Minute)).Fault; f == nil || f.Limit {
		t.Errorf("%+v", f)
	}
}

// A limit waits for the end of a critical section.
func TestLimitIsDeferred(t *testing.T) {
	w := begin(t)
	p, set, _ := w.word(0)
	j := w.call("guarded", time.Millisecond, p)
	eventually(t, "it is told of its limit", func() bool { return w.workers[j.Thread()].ctl.limit.Load() != 0 })
	time.Sleep(5 * stopEvery)
	if j.Result() != nil {
		t.Fatal("it was ended in its critical section")
	}
	set(1)
	if f := w.end(j).Fault; f == nil || !f.Limit {
		t.Errorf("%+v", f)
	}
	w.well()
}

// shorten has the limits of a test's runner end soon.
func shorten(t *testing.T, limit time.Duration) {
	all := []*time.Duration{&commandLimit, &parkLimit, &stopLimit, &settleLimit}
	for _, d := range all {
		was := *d
		*d = limit
		t.Cleanup(func() { *d = was })
	}
}

// lostBy makes a runner, has do done to it, and checks what becomes of everything.
func lostBy(t *testing.T, why string, do func(w *world) *Job) (*world, *Job) {
	t.Helper()
	w := begin(t)
	p, _, _ := w.word(0)
	waiting := w.call("doze", 0, p)
	j := do(w)
	select {
	case <-w.Gone():
	case <-time.After(time.Minute):
		t.Fatal("the runner is not lost")
	}
	for _, job := range []*Job{waiting, j} {
		if job != nil {
			wantLost(t, w.end(job).Err, why)
		}
	}
	wantLost(t, w.Err(), why)
	wantLost(t, w.Barrier(true), why)
	wantLost(t, w.Flush(textAddr, textAddr+64), why)
	_, err := w.Begin(Call{Fn: w.fn["weigh"]})
	wantLost(t, err, why)
	_, err = w.Inspect(0)
	wantLost(t, err, why)
	_, err = w.Strangers()
	wantLost(t, err, why)
	waiting.Stop()
	waiting.Progress()
	return w, j
}

func TestFaultInCriticalSection(t *testing.T) {
	w, j := lostBy(t, "kernel panic: thread 1: signal 4 at", func(w *world) *Job { return w.call("crash_guarded", 0) })
	if i, f := w.Panic(); i != j.Thread() || f == nil || f.Signal != int(unix.SIGILL) || f.Regs.PC < w.fn["crash_guarded"] || len(f.Stack) == 0 {
		t.Errorf("panic of %d: %v", i, f)
	}
}

func TestPanic(t *testing.T) {
	w, j := lostBy(t, `kernel panic: thread 1: lock "\x1b[31m" is broken`, func(w *world) *Job {
		text := "lock \"\x1b[31m\" is broken\x00and no more"
		for i := range w.mail.panicText {
			var word [8]byte
			copy(word[:], text[min(8*i, len(text)):])
			w.mail.panicText[i].Store(binary.LittleEndian.Uint64(word[:]))
		}
		return w.call("panic", 0)
	})
	if i, f := w.Panic(); i != j.Thread() || f != nil {
		t.Errorf("panic of %d: %v", i, f)
	}
}

func TestSettleThatFaults(t *testing.T) {
	lostBy(t, "kernel panic: a fault while thread 1 cleared up after a call: signal 4", func(w *world) *Job {
		w.SetSettle(w.fn["undefined"])
		return w.call("trap", 0)
	})
}

func TestSettleThatDoesNotEnd(t *testing.T) {
	shorten(t, 50*time.Millisecond)
	lostBy(t, "thread 1 did not give up a call within 50ms", func(w *world) *Job {
		w.SetSettle(w.fn["spin"])
		return w.call("trap", 0)
	})
}

func TestCallThatCannotBeEnded(t *testing.T) {
	shorten(t, 50*time.Millisecond)
	lostBy(t, "thread 1 did not end a call within 50ms of its time limit", func(w *world) *Job {
		p, _, _ := w.word(1)
		return w.call("guarded", time.Millisecond, p)
	})
}

// A runner that does not answer is waited for no longer than the limit.
func TestNoAnswer(t *testing.T) {
	shorten(t, 50*time.Millisecond)
	lostBy(t, "the runner's service thread gave no answer within 50ms", func(w *world) *Job {
		if err := unix.Kill(w.Pid(), unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		wantLost(t, w.Barrier(true), "gave no answer")
		return nil
	})
}

// One that dies meanwhile is not waited for at all.
func TestKilledWhileItIsWaitedFor(t *testing.T) {
	shorten(t, time.Hour)
	lostBy(t, "the runner was killed by signal 9", func(w *world) *Job {
		if err := unix.Kill(w.Pid(), unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		ends := make(chan error, 2)
		go func() { ends <- w.Flush(textAddr, textAddr+64) }()
		go func() { _, err := w.Inspect(0); ends <- err }() // busy, and held
		eventually(t, "the command and the signal are there", func() bool {
			return w.mail.cmdSeq.Load() == 1 && w.workers[0].ctl.park.Load() == 1
		})
		if err := unix.Kill(w.Pid(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			select {
			case err := <-ends:
				wantLost(t, err, "the runner was killed by signal 9")
			case <-time.After(time.Minute):
				t.Fatal("a wait for a dead runner does not end")
			}
		}
		return nil
	})
}

func TestKilled(t *testing.T) {
	w, _ := lostBy(t, "the runner was killed by signal 9", func(w *world) *Job {
		if err := unix.Kill(w.Pid(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return nil
	})
	if i, f := w.Panic(); i != -1 || f != nil {
		t.Errorf("panic of %d: %v", i, f)
	}
}

func TestFaultInWords(t *testing.T) {
	f := &Fault{Signal: 11, Addr: 8, Regs: Regs{PC: 0x1234}}
	if got := fmt.Sprint(f); !strings.Contains(got, "signal 11 at 0x1234") {
		t.Error(got)
	}
	if got := fmt.Sprint(Sleeping, State(9)); got != "sleeping state 9" {
		t.Error(got)
	}
}

// What the words of a thread are taken for, without one.
func TestStages(t *testing.T) {
	r := still()
	j, err := r.Begin(Call{Fn: 1, Limit: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	// A fault of its own, past the limit, is not the limit's doing.
	c := j.w.ctl
	j.expired = true
	c.signo.Store(uint32(unix.SIGILL))
	c.fault.Store(j.w.post)
	r.scan()
	if f := j.result.Fault; f == nil || f.Limit || j.w.stage != released || c.release.Load() != j.w.post || j.Result() != nil {
		t.Errorf("%v in stage %d", f, j.w.stage)
	}
	r.settle = 5
	c.done.Store(j.w.post)
	r.scan()
	if j.w.stage != settling || c.fn.Load() != 5 || j.Result() != nil {
		t.Errorf("stage %d, fn %d", j.w.stage, c.fn.Load())
	}
	// A thread that is not told of its job yet has not ended it.
	next := r.assign(r.take(), Call{Fn: 2})
	r.scan()
	if next.Result() != nil || next.w.stage != assigned {
		t.Errorf("ended before it began: %+v", next.Result())
	}
	r.start(next)
	for _, j := range []*Job{j, next} {
		j.w.ctl.done.Store(j.w.post)
	}
	r.scan()
	if j.Result() == nil || next.Result() == nil || len(r.idle) != 2 {
		t.Errorf("%d idle", len(r.idle))
	}
}

// A record is no larger than it may be, wherever SP points.
func TestFaultRecordIsBounded(t *testing.T) {
	r := still()
	w := r.workers[1]
	for _, c := range []struct {
		sp   uint64
		size int
	}{
		{w.stackLo, maxFaultStack},
		{w.stackHi - 100, 104},
		{w.stackHi - 8, 8},
		{w.stackHi, 0}, {w.stackLo - 1, 0}, {0, 0}, {^uint64(0), 0},
	} {
		w.ctl.faultRegs.sp.Store(c.sp)
		f := w.fault(r.stacks)
		if len(f.Stack) != c.size || f.Spilled != (c.sp == w.stackLo) || f.StackAddr != c.sp&^7 {
			t.Errorf("SP %#x: %d bytes from %#x, more: %v", c.sp, len(f.Stack), f.StackAddr, f.Spilled)
		}
		if _, all := w.deep(r.stacks, c.sp); len(all) > stackSize {
			t.Errorf("SP %#x: %d bytes", c.sp, len(all))
		}
	}
}
