package fakekernel

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// What runs nothing, and answers as if it had.

// Call answers by the function's name:
//
//	sum      the sum of the words and of the lengths of the texts
//	boom     a fault; beside it other threads, and other calls, return
//	twin     two places' faults, about which little is known; a detached one has ended at once
//	lost     the runner dies
//	count    each result 1, 2, … as often as there are threads; 300 of them are listed
//	forever  returns when ctx ends, with its error
//
// There is no other function. A detached job runs until it is waited for.
func (k *Kernel) Call(ctx context.Context, r kernel.CallRequest) (*kernel.CallReport, error) {
	if r.Threads > 1024 {
		return nil, diag.New(diag.ErrUsage, "", "%d threads are more than the runner has, 128", r.Threads)
	}
	leave := k.enter("call")
	rep := &kernel.CallReport{Function: r.Function, Module: "kernel", State: kernel.JobDone,
		Threads: max(r.Threads, 1), Times: max(r.Times, 1), Time: int64(1500 * time.Millisecond)}
	if err := k.results(rep, r); err != nil {
		leave()
		return nil, err
	}
	k.begun++
	rep.Job = k.begun
	ever := r.Function == "forever"
	if r.Detach || ever {
		if r.Function != "twin" {
			rep.State = kernel.JobRunning
		}
		k.jobs = append(k.jobs, *rep)
	}
	leave()
	if r.Detach || !ever {
		return rep, nil
	}
	<-ctx.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(rep.Job)
	return nil, ctx.Err()
}

// forget ends a job. The caller holds the lock.
func (k *Kernel) forget(job int) {
	k.jobs = slices.DeleteFunc(k.jobs, func(j kernel.CallReport) bool { return j.Job == job })
}

// results fills in what r's calls come to.
func (k *Kernel) results(rep *kernel.CallReport, r kernel.CallRequest) error {
	rep.Calls = uint64(rep.Threads) * rep.Times
	switch r.Function {
	case "sum":
		var sum uint64
		for _, a := range r.Args {
			sum += a.Word + uint64(len(a.Text))
		}
		rep.Values = []kernel.ValueInfo{{Value: int64(sum), Count: rep.Calls}}
	case "count":
		n := min(rep.Times, 300)
		for v := range n {
			rep.Values = append(rep.Values, kernel.ValueInfo{Value: int64(v) + 1, Count: uint64(rep.Threads)})
		}
		rep.Unlisted, rep.Falls, rep.Traps = rep.Calls-n*uint64(rep.Threads), 3, 17
	case "boom", "twin":
		rep.State, rep.Module = kernel.JobFaulted, "bpf"
		rep.Calls /= 2
		if rep.Calls > 0 {
			rep.Values = []kernel.ValueInfo{{Value: -22, Count: rep.Calls}}
		}
		for i := range rep.Threads {
			rep.Faults = append(rep.Faults, fault(r.Function, i))
		}
	case "lost":
		rep.State, rep.Calls, rep.Lost = kernel.JobLost, 0, "the runner was killed by signal 9"
	case "forever":
		rep.Calls = 0
	default:
		return diag.New(diag.ErrNotFound, "", "no function %s", diag.Quote(r.Function))
	}
	return nil
}

// fault is the fault of a thread in boom or twin.
func fault(function string, thread int) kernel.FaultInfo {
	if function == "twin" {
		return kernel.FaultInfo{Thread: thread, What: "time limit of 10s", At: kernel.FrameInfo{Addr: 0x10001000 + kernel.Addr(thread)*0x1000, Module: "bpf"},
			Regs: []kernel.RegInfo{{Name: "pc", Value: 0x10001000}}}
	}
	return kernel.FaultInfo{
		Thread: thread, What: "SIGSEGV: writing address 0x0", Note: "the address belonged to module xh, unloaded since",
		At: kernel.FrameInfo{Addr: 0x1000105a, Module: "bpf", Func: "bpf_mtap", Offset: 0x1a, File: "bpf.c", Line: 42},
		Regs: []kernel.RegInfo{{Name: "rax", Value: 0}, {Name: "rbx", Value: 0xffffffffffffffff}, {Name: "rcx", Value: 1}, {Name: "rdx", Value: 2},
			{Name: "rip", Value: 0x1000105a}, {Name: "rflags", Value: 0x202}},
		Trace: []kernel.FrameInfo{
			{Addr: 0x1000005f, Module: "kernel", Func: "if_input", Offset: 0x1f, File: "kernel.c", Line: 31},
			{Addr: 0x10000090, Module: "kernel", Func: "evil\x1b[31m", Offset: 0, Guess: true},
			{Addr: 0x7f0000001000},
		},
	}
}

// Jobs returns the jobs that run.
func (k *Kernel) Jobs() []kernel.CallReport {
	defer k.enter("jobs")()
	out := slices.Clone(k.jobs)
	for i := range out {
		out[i].Values, out[i].Faults = nil, nil
	}
	return out
}

// Wait ends the jobs but those of forever, which it waits for until ctx ends or,
// with a limit, not at all.
func (k *Kernel) Wait(ctx context.Context, r kernel.WaitRequest) ([]kernel.CallReport, error) {
	leave := k.enter("wait")
	var out []kernel.CallReport
	if len(r.Jobs) == 0 {
		out = slices.Clone(k.jobs)
	}
	for _, n := range r.Jobs {
		i := slices.IndexFunc(k.jobs, func(j kernel.CallReport) bool { return j.Job == n })
		if i < 0 {
			leave()
			return nil, diag.New(diag.ErrNotFound, "", "no job %d", n)
		}
		out = append(out, k.jobs[i])
	}
	ever := false
	for i, j := range out {
		if j.Function == "forever" {
			ever = true
			continue
		}
		out[i].State = kernel.JobDone
		switch {
		case len(j.Faults) > 0:
			out[i].State = kernel.JobFaulted
		case j.Lost != "":
			out[i].State = kernel.JobLost
		}
		k.forget(j.Job)
	}
	leave()
	if ever && r.Limit == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return out, nil
}

// Threads describes made-up threads and gates; of a fake that nothing was loaded into,
// no thread that does anything.
func (k *Kernel) Threads() (*kernel.ThreadsReport, error) {
	defer k.enter("threads")()
	rep := &kernel.ThreadsReport{Threads: []kernel.ThreadInfo{}, Idle: 128, Gates: []kernel.GateInfo{}}
	switch {
	case k.Lost:
		return nil, diag.New(diag.ErrLost, "", "the runner was killed by signal 9; klink boot starts afresh")
	case len(k.modules) == 0:
		return rep, nil
	}
	rep.Idle = 123
	rep.Threads = []kernel.ThreadInfo{
		{Thread: 0, State: kernel.ThreadAsleep, Since: int64(1500 * time.Millisecond), Job: 1, Function: "bpf_read", Module: "bpf",
			Modules: []kernel.ThreadIn{{Module: "kernel"}, {Module: "bpf"}, {Module: "kernel", Guess: true}},
			At:      &kernel.FrameInfo{Addr: 0x1000105a, Module: "bpf", Func: "bpf_read", Offset: 0x1a, File: "bpf.c", Line: 42},
			Sleep:   &kernel.ThreadSleep{Why: "bpfcv", On: 0x10001840}, Gates: []string{"bpf readers", "0x10001900"}},
		{Thread: 3, State: kernel.ThreadAsleep, Since: int64(20 * time.Microsecond), Kernel: true, Name: "reaper\\x1b[2J", Function: "bpf_reaper", Module: "bpf",
			Modules: []kernel.ThreadIn{{Module: "kernel"}, {Module: "bpf"}},
			At:      &kernel.FrameInfo{Addr: 0x10001090, Module: "bpf", Func: "bpf_reaper", Offset: 0x10, Guess: true},
			Sleep:   &kernel.ThreadSleep{On: 0x10001848}},
		{Thread: 20, State: kernel.ThreadRunning, Since: int64(90 * time.Second), Job: 12, Function: "kernel:evil\x1b[31m", Module: "kernel",
			Modules: []kernel.ThreadIn{{Module: "kernel"}}, At: &kernel.FrameInfo{Addr: 0x10000040, Module: "kernel", Func: "evil\x1b[31m"}},
		{Thread: 21, State: kernel.ThreadFaulted, Function: "bpf_modcmd", Module: "bpf",
			Modules: []kernel.ThreadIn{{Module: "bpf"}}, At: &kernel.FrameInfo{Addr: 0x10001000, Module: "bpf"}},
		{Thread: 22, State: kernel.ThreadUnseen, Note: "thread 22 did not stop within 5s to be looked at"},
	}
	rep.Gates = []kernel.GateInfo{
		{Name: "stray", Addr: 0x10001900, State: kernel.GateOpen},
		{Name: "bpf readers", Module: "bpf", Addr: 0x10001880, State: kernel.GateCatching, Inside: 1, Entrances: 4001, Exits: 4000, ByMutex: 7},
		{Name: "bpf writers", Module: "bpf", Addr: 0x10001888, State: kernel.GateOpen, Entrances: 12, Exits: 12},
	}
	return rep, nil
}

// logLines is how many lines the log has; 3 to 5 are lost.
const logLines = 8

// Log returns lines of a made-up log. For one that is not there it waits, if r says
// so, until ctx ends.
func (k *Kernel) Log(ctx context.Context, r kernel.LogRequest) (*kernel.LogReport, error) {
	leave := k.enter("log")
	rep := &kernel.LogReport{Lines: []kernel.LogLine{}, Next: r.From}
	for rep.Next < logLines && (r.Max == 0 || len(rep.Lines) < r.Max) {
		n := rep.Next
		rep.Next++
		if n >= 3 && n <= 5 {
			rep.Lost++
			continue
		}
		l := kernel.LogLine{Number: n, Time: int64(n) * int64(1234567*time.Microsecond), Thread: int(n) * 20, Text: "bpf: attached"}
		if n == logLines-1 {
			l.Thread, l.Text = -1, "klink: \x1b[2Jbpf was unloaded"
		}
		rep.Lines = append(rep.Lines, l)
	}
	leave()
	if len(rep.Lines) == 0 && r.Wait > 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return rep, nil
}

// Read returns made-up memory of "counter", or of an address.
func (k *Kernel) Read(r kernel.ReadRequest) (*kernel.ReadReport, error) {
	defer k.enter("read")()
	rep := &kernel.ReadReport{Addr: 0x10000800, Symbol: "kernel:counter"}
	n := uint64(20)
	switch r.What {
	case "counter", "kernel:counter":
	case "0x10000808":
		rep.Addr, rep.Symbol, n = 0x10000808, "kernel:counter+0x8", 64
	case "0x1":
		return nil, diag.New(diag.ErrNotFound, "", "0x1 is in no module's memory")
	default:
		return nil, diag.New(diag.ErrNotFound, "", "no symbol %s", diag.Quote(r.What))
	}
	if r.Len > 0 {
		n = min(r.Len, 1<<16)
	}
	rep.Bytes = make([]byte, n)
	for i := range rep.Bytes {
		rep.Bytes[i] = byte(i*i + '0')
	}
	return rep, nil
}

// Map returns made-up memory of "ring", 40 bytes in a file of 100.
func (k *Kernel) Map(r kernel.MapRequest) (*kernel.MapReport, *os.File, error) {
	defer k.enter("map")()
	if r.What != "ring" && r.What != "trace:ring" {
		return nil, nil, diag.New(diag.ErrRange, "", "%s is no variable that holds an address", diag.Escape(r.What))
	}
	fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), "ring")
	b := make([]byte, 100)
	for i := range b {
		b[i] = byte(i + ' ')
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &kernel.MapReport{Symbol: "trace:ring", Name: "ring", Addr: 0x8000000010, Offset: 16, Size: 40}, f, nil
}
