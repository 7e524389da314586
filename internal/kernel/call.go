package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"klink/internal/aliasstack"
	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/runner"
)

// Calls into modules, on threads of the runner.

// jobs are the calls that were asked for. The lock is the innermost of package kernel.
type jobs struct {
	mu   sync.Mutex
	list []*job // in the order of their numbers; finished ones that somebody saw are dropped
	last int
	wg   sync.WaitGroup // of those whose end is awaited
}

// job is one CallRequest under way or finished.
type job struct {
	k      *Kernel
	r      CallRequest
	limit  time.Duration
	module string
	run    []*runner.Job // a thread each
	texts  []block       // arguments' memory, in data
	start  time.Time
	done   chan struct{} // closed when every call has ended and the report is made

	report CallReport // set before done is closed
	num    int
}

// maxFinished is how many finished jobs that nobody waited for are remembered.
const maxFinished = 256

// wait waits for the end of all jobs; the runner is being closed, so they do end.
func (js *jobs) wait() { js.wg.Wait() }

// add gives a job its number.
func (js *jobs) add(j *job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.last++
	j.num = js.last
	finished := 0
	for _, o := range js.list {
		if o.ended() {
			finished++
		}
	}
	js.list = slices.DeleteFunc(js.list, func(o *job) bool {
		if finished > maxFinished && o.ended() {
			finished--
			return true
		}
		return false
	})
	js.list = append(js.list, j)
}

// ended says that the job's report is made.
func (j *job) ended() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// forget drops a finished job that was seen.
func (js *jobs) forget(j *job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.list = slices.DeleteFunc(js.list, func(o *job) bool { return o == j })
}

// all returns the jobs in the order of their numbers.
func (js *jobs) all() []*job {
	js.mu.Lock()
	defer js.mu.Unlock()
	return slices.Clone(js.list)
}

// Call calls a function on as many threads and as often as r says, and reports when
// all have ended; with Detach, when they have begun. Calls of a symbol go through its
// entry, so each goes to the provider then current. If ctx ends the calls are stopped.
// A call that faults is no error: the report says so. Errors: diag.ErrNotFound,
// ErrUsage, ErrMachine (nothing runs here), ErrBusy (no thread is idle), ErrLost.
func (k *Kernel) Call(ctx context.Context, r CallRequest) (*CallReport, error) {
	if err := checkCall(&r); err != nil {
		return nil, err
	}
	j, err := k.begin(r)
	if err != nil {
		return nil, err
	}
	if r.Detach {
		report := j.progress()
		return &report, nil
	}
	defer k.jobs.forget(j)
	select {
	case <-j.done:
	case <-ctx.Done():
		j.stop()
		return nil, ctx.Err()
	}
	return &j.report, nil
}

// checkCall fills in what a request leaves out, and checks the rest.
func checkCall(r *CallRequest) error {
	r.Threads, r.Times = max(r.Threads, 1), max(r.Times, 1)
	if len(r.Args) > MaxArgs {
		return diag.New(diag.ErrUsage, "", "%d arguments; a call takes at most %d", len(r.Args), MaxArgs)
	}
	if r.Threads > runner.MaxThreads {
		return diag.New(diag.ErrUsage, "", "%d threads; a runner has at most %d", r.Threads, runner.MaxThreads)
	}
	return nil
}

// begin starts the calls of a request.
func (k *Kernel) begin(r CallRequest) (_ *job, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.runs(); err != nil {
		return nil, err
	}
	if n := k.live.run.Threads(); r.Threads > n {
		return nil, diag.New(diag.ErrBusy, "", "%d calls at the same time take as many threads; the runner has %d", r.Threads, n)
	}
	fn, module, err := k.callee(r.Function)
	if err != nil {
		return nil, err
	}
	j := &job{k: k, r: r, limit: limitOf(r.Limit), module: module, start: time.Now(), done: make(chan struct{})}
	args, err := j.place()
	if err != nil {
		j.free()
		return nil, err
	}
	for range r.Threads {
		t, err := k.live.run.Begin(runner.Call{Fn: fn, Args: args, Times: r.Times, Limit: j.limit, Tag: j})
		if err != nil {
			j.stop()
			if len(j.run) == 0 {
				j.free()
			} else {
				k.await(j)
			}
			return nil, err
		}
		j.run = append(j.run, t)
	}
	k.jobs.add(j)
	k.await(j)
	return j, nil
}

// runs says why nothing can be called, nil if it can.
func (k *Kernel) runs() error {
	switch {
	case k.live != nil:
		if err := k.live.lost(); err != nil {
			return bootAgain(err)
		}
		return nil
	case k.cfg.Bare:
		return diag.New(diag.ErrMachine, "", "the host was booted bare: it links, and runs nothing")
	case k.machine == 0:
		return diag.New(diag.ErrNotFound, "", "nothing is loaded")
	}
	if err := runner.Available(k.machine); err != nil {
		return err
	}
	return diag.New(diag.ErrMachine, "", "the host has no runner")
}

// callee finds the address to call and the module that provides the function now. Of a
// symbol it is the entry, made if nobody took its address so far. The caller holds the lock.
func (k *Kernel) callee(what string) (fn uint64, module string, err error) {
	slot, ok := k.stacks.Lookup(what)
	p := aliasstack.Provider{}
	if ok {
		p = k.stacks.Current(slot)
	}
	switch {
	case p.Module != 0 && !k.stacks.Provided(slot):
		return 0, "", callable(k.modules[p.Module]) // it alone provides it, and is being unloaded
	case p.Module != 0 && p.Class == aliasstack.Data:
		return 0, "", diag.New(diag.ErrUsage, "", "%s is data, not a function; klink read shows it", diag.Quote(what))
	case p.Module != 0:
		fn, err = k.entryOf(slot, p)
		return fn, k.modules[p.Module].name, err
	case strings.HasPrefix(what, "0x"):
		addr, err := strconv.ParseUint(what, 0, 64)
		if err != nil {
			return 0, "", diag.New(diag.ErrUsage, "", "%s is no address", diag.Quote(what))
		}
		m := k.textOwner(addr)
		if s, isEntry := k.entries.slotOf(addr); m == nil && isEntry {
			if m = k.modules[k.stacks.Current(s).Module]; m == nil {
				name, _ := k.stacks.SlotName(s)
				return 0, "", diag.New(diag.ErrNotFound, "", "nobody provides %s, whose entry is at %s", diag.Quote(name), what)
			}
			if !k.stacks.Provided(s) {
				return 0, "", callable(m)
			}
			return addr, m.name, nil
		}
		if m == nil {
			return 0, "", diag.New(diag.ErrNotFound, "", "no function at %s", what)
		}
		return addr, m.name, callable(m)
	}
	m, s, err := k.function(k.names(), what)
	if err != nil {
		return 0, "", err
	}
	return s.addr, m.name, callable(m)
}

// callable refuses calls straight into a module that comes or goes: its threads are
// being counted.
func callable(m *module) error {
	switch m.state {
	case stateLive:
		return nil
	case stateDraining:
		return diag.New(diag.ErrDraining, "", "%s is draining: %s", diag.Escape(m.name), m.why)
	default:
		return diag.New(diag.ErrBusy, "", "%s is %s", diag.Escape(m.name), m.state)
	}
}

// entryOf returns the entry of a slot that p provides, a new one if it has none.
func (k *Kernel) entryOf(slot aliasstack.SlotID, p aliasstack.Provider) (uint64, error) {
	if at, ok := k.entries.at[slot]; ok {
		return at, nil
	}
	at, err := k.entries.take(slot)
	if err != nil {
		return 0, err
	}
	to := k.providerAddr(p)
	if !k.entries.form.Encode(k.arena.Bytes(at, k.entries.size), at, to) {
		k.entries.drop(slot)
		return 0, diag.New(diag.ErrAlign, "", "the entry at %#x cannot lead to %#x", at, to)
	}
	if err := k.live.flush(at, at+k.entries.size); err != nil {
		return 0, err
	}
	k.addEntrySite(slot)
	return at, nil
}

// place puts the arguments that are texts into data, and returns all as words.
func (j *job) place() ([]uint64, error) {
	args := make([]uint64, len(j.r.Args))
	for i, a := range j.r.Args {
		args[i] = a.Word
		if !a.IsText {
			continue
		}
		size := uint64(len(a.Text)) + 1
		at, err := j.k.arena.Alloc(arena.Data, size, 8)
		if err != nil {
			return nil, err
		}
		j.texts = append(j.texts, block{at, size})
		copy(j.k.arena.Bytes(at, size), a.Text) // what follows is zero
		args[i] = at
	}
	return args, nil
}

// stop gives up the calls that still run.
func (j *job) stop() {
	for _, t := range j.run {
		t.Stop()
	}
}

// free gives the texts' memory back. The caller holds the lock.
func (j *job) free() {
	if j.k.arena == nil {
		return
	}
	for _, b := range j.texts {
		j.k.arena.Free(arena.Data, b.addr, b.size)
	}
	j.texts = nil
}

// await sees to a job's end.
func (k *Kernel) await(j *job) {
	k.jobs.wg.Add(1)
	go func() {
		defer k.jobs.wg.Done()
		for _, t := range j.run {
			<-t.Done()
		}
		j.report = j.sum()
		k.mu.Lock()
		j.free()
		k.mu.Unlock()
		close(j.done)
	}()
}

// progress reports on a job as it stands.
func (j *job) progress() CallReport {
	if j.ended() {
		return j.report
	}
	c := j.head(JobRunning)
	for _, t := range j.run {
		c.Calls += t.Progress()
	}
	c.Time = int64(time.Since(j.start))
	return c
}

// head returns what a report begins with.
func (j *job) head(state string) CallReport {
	return CallReport{Job: j.num, Function: j.r.Function, Module: j.module, State: state, Threads: j.r.Threads, Times: j.r.Times}
}

// sum makes the report of a job whose calls have all ended.
func (j *job) sum() CallReport {
	c := j.head(JobDone)
	counts := map[int64]uint64{}
	for _, t := range j.run {
		res := t.Result()
		c.Calls += res.Calls
		c.Falls += res.Falls
		c.Traps += res.Traps
		c.Unlisted += res.Unlisted
		c.Time = max(c.Time, int64(res.Took))
		for _, v := range res.Values {
			counts[int64(v.Value)] += v.Count
		}
		switch {
		case res.Err != nil:
			c.State, c.Lost = JobLost, res.Err.Error()
		case res.Fault != nil:
			c.Faults = append(c.Faults, j.k.faultInfo(t.Thread(), res.Fault, j.limit))
			if c.State == JobDone {
				c.State = JobFaulted
			}
		}
	}
	for v, n := range counts {
		c.Values = append(c.Values, ValueInfo{v, n})
	}
	slices.SortFunc(c.Values, func(a, b ValueInfo) int {
		if a.Value < b.Value {
			return -1
		}
		return 1 // they are distinct
	})
	return c
}

// Jobs reports on the jobs that run, and on finished ones that nobody has waited for,
// in the order of their numbers.
func (k *Kernel) Jobs() []CallReport {
	list := []CallReport{}
	for _, j := range k.jobs.all() {
		list = append(list, j.progress())
	}
	return list
}

// Wait waits for the end of jobs, at most r.Limit, and reports on each. Those that have
// ended are forgotten then; a job that still runs is JobRunning. Errors: diag.ErrNotFound
// for a number that is no job's, and ctx's.
func (k *Kernel) Wait(ctx context.Context, r WaitRequest) ([]CallReport, error) {
	jobs := k.jobs.all()
	if len(r.Jobs) > 0 {
		picked := make([]*job, 0, len(r.Jobs))
		for _, n := range r.Jobs {
			i := slices.IndexFunc(jobs, func(j *job) bool { return j.num == n })
			if i < 0 {
				return nil, diag.New(diag.ErrNotFound, "", "no job %d; klink jobs lists them", n)
			}
			picked = append(picked, jobs[i])
		}
		jobs = picked
	}
	for _, j := range jobs {
		if r.Stop {
			j.stop()
		}
	}
	var over <-chan time.Time
	if r.Limit > 0 {
		timer := time.NewTimer(time.Duration(r.Limit))
		defer timer.Stop()
		over = timer.C
	}
	for _, j := range jobs {
		select {
		case <-j.done:
			continue
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-over:
		}
		break
	}
	list := []CallReport{}
	for _, j := range jobs {
		report := j.progress()
		list = append(list, report)
		if report.State != JobRunning {
			k.jobs.forget(j)
		}
	}
	return list, nil
}

// spawned follows a kernel thread that a module started: nobody waits for it, so a fault
// of its goes to the log.
func (l *live) spawned(k *Kernel, t *runner.Job) {
	l.starts.Store(t, l.madeFor(t.Call()))
	l.spawns.Add(1)
	k.jobs.wg.Add(1)
	go func() {
		defer k.jobs.wg.Done()
		<-t.Done()
		l.starts.Delete(t)
		if f := t.Result().Fault; f != nil {
			info := k.faultInfo(t.Thread(), f, 0)
			l.run.Print(fmt.Sprintf("klink: kernel thread %d was given up", t.Thread()))
			k.logFault(info)
		}
	}()
}

// madeFor returns the function that a kernel thread was made for. The kernel object has
// all of them begin in a function of its own (internal/kpi/src/kthread.c), and that
// argument's first word is the one that the module asked for.
func (l *live) madeFor(c runner.Call) uint64 {
	if lo, hi := l.arena.Span(arena.Data); len(c.Args) == 1 && c.Args[0] >= lo && c.Args[0] < hi {
		if b := l.arena.Bytes(c.Args[0], 8); b != nil {
			return binary.LittleEndian.Uint64(b)
		}
	}
	return c.Fn
}

// startOf returns the function that a job began with, or is still to begin with: of a
// kernel thread the one that it was made for.
func (l *live) startOf(v *runner.View) uint64 {
	if fn, ok := l.starts.Load(v.Job); ok {
		return fn.(uint64)
	}
	return v.Fn
}
