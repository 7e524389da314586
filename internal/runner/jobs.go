package runner

import (
	"fmt"
	"sync"
	"time"

	"klink/internal/diag"
)

// MaxArgs is how many arguments a call can have.
const MaxArgs = 8

// Call says what a thread shall do.
type Call struct {
	Fn    uint64        // address of the function, in the text
	Args  []uint64      // at most MaxArgs; in the registers that the psABI passes integers in, the last on the stack where it has too few
	Times uint64        // how often, one call after the other with the same arguments; 0 is 1
	Limit time.Duration // of time, for all of them; 0: none
	Waits time.Duration // when waits of the call that can time out do so at the latest; 0: when they like
	Tag   any           // the caller's, kept
}

// ValueCount is how often calls returned a value.
type ValueCount struct{ Value, Count uint64 }

// Result is how a Job ended. Either of Fault and Err may be set; what was counted
// until then is there all the same, unless Err is. Numbers and values are what the
// runner's memory said.
type Result struct {
	Value    uint64       // of the last call that returned
	Calls    uint64       // that returned; at most Times
	Falls    uint64       // how often a value was lower than the one before, unsigned
	Unlisted uint64       // values that Values had no room for
	Traps    uint64       // how often the thread met a switch
	Values   []ValueCount // each distinct value, in the order in which they came first; at most 255
	Fault    *Fault       // what ended the calls before their time
	Err      error        // diag.ErrLost: the runner was lost before they ended
	Took     time.Duration
}

// Job is a call under way, or one that has ended.
type Job struct {
	r       *Runner
	w       *worker
	call    Call
	name    string
	parent  int
	started time.Time
	done    chan struct{}
	result  Result // complete once done is closed

	// Under Runner.mu:
	timer   *time.Timer // of the next tick; nil: none yet
	expired bool        // its limit is over, or Stop was called
	due     time.Time   // when the runner is lost if the thread has not come further
}

// worker is a thread of the pool.
type worker struct {
	index            int
	tid              int
	ctl              *ctlThread
	stackLo, stackHi uint64
	stackOff         uint64 // of stackLo in the stacks' memory

	look sync.Mutex // held by its one inspector

	// Under Runner.mu:
	post    uint32 // number of the last call posted
	stage   stage
	job     *Job   // nil if idle
	asked   uint32 // number of the last request for a thread that was answered
	parkSeq uint32
	answer  chan struct{} // the inspector's, told when the thread is parked or its job ends; capacity 1
}

func (w *worker) name() string { return fmt.Sprintf("thread %d", w.index) }

// stage is how far a worker is with its job.
type stage int

const (
	idle     stage = iota
	assigned       // it has a job, which is not posted yet
	running        // the call is posted
	released       // it faulted, the record is copied, and the thread was told to give it up
	settling       // the settle function is posted
)

// Thread returns the number of the thread that the call runs on, from 0.
func (j *Job) Thread() int { return j.w.index }

// Call returns what was asked for, Times at least 1; Args is the job's own.
func (j *Job) Call() Call { return j.call }

// Name returns what the kernel thread that module code started is called, escaped; ""
// if it has no name, or if Begin began the job.
func (j *Job) Name() string { return j.name }

// Parent returns the thread whose code started this one; -1 if Begin did.
func (j *Job) Parent() int { return j.parent }

// Started returns when the call was posted.
func (j *Job) Started() time.Time { return j.started }

// Done is closed when the job has ended: its thread is idle again or the runner gone.
func (j *Job) Done() <-chan struct{} { return j.done }

// Result returns how the job ended; nil before Done is closed. It is shared and must
// not be changed.
func (j *Job) Result() *Result {
	select {
	case <-j.done:
		return &j.result
	default:
		return nil
	}
}

// Progress returns how many of the call's times have returned so far.
func (j *Job) Progress() uint64 {
	select {
	case <-j.done:
		return j.result.Calls
	default:
	}
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	if j.w.job != j || j.w.stage != running {
		return j.result.Calls
	}
	return min(j.w.ctl.calls.Load(), j.call.Times)
}

// Stop ends the job as if its time limit were over. It does not wait.
func (j *Job) Stop() {
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	if j.w.job == j && !j.expired {
		j.arm(0)
	}
}

// Begin has an idle thread do c. It refuses more arguments than MaxArgs with
// diag.ErrUsage, gives diag.ErrBusy when no thread is idle, and diag.ErrLost.
func (r *Runner) Begin(c Call) (*Job, error) {
	if len(c.Args) > MaxArgs {
		return nil, diag.New(diag.ErrUsage, "", "a call can have %d arguments, not %d", MaxArgs, len(c.Args))
	}
	c.Args = append([]uint64(nil), c.Args...)
	c.Times = max(c.Times, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return nil, r.cause
	}
	w := r.take()
	if w == nil {
		if len(r.workers) == 1 {
			return nil, diag.New(diag.ErrBusy, "", "the only thread is in a call")
		}
		return nil, diag.New(diag.ErrBusy, "", "all %d threads are in calls", len(r.workers))
	}
	j := r.assign(w, c)
	r.start(j)
	return j, nil
}

// SetSettle names the function, without arguments, that is called on the thread of
// every call that was given up, before the thread is idle again; 0: none. A fault in
// it, or no end of it, loses the runner.
func (r *Runner) SetSettle(fn uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settle = fn
}

// take returns the idle thread that was used last: its stack is in the caches, and
// pages of stacks that were never needed are never made. nil if none is idle.
func (r *Runner) take() *worker {
	n := len(r.idle)
	if n == 0 {
		return nil
	}
	w := r.idle[n-1]
	r.idle = r.idle[:n-1]
	return w
}

// assign makes the job of w, which is idle and taken. It runs from start on.
func (r *Runner) assign(w *worker, c Call) *Job {
	j := &Job{r: r, w: w, call: c, parent: -1, started: time.Now(), done: make(chan struct{})}
	w.job = j
	w.stage = assigned
	r.busy = append(r.busy, w)
	return j
}

// start posts the call of a job.
func (r *Runner) start(j *Job) {
	w := j.w
	w.asked = w.ctl.spawn.Load()
	if j.call.Limit > 0 {
		j.arm(j.call.Limit)
	}
	w.stage = running
	w.ctl.deadline.Store(0)
	if j.call.Waits > 0 {
		w.ctl.deadline.Store(uint64(monotonic() + j.call.Waits))
	}
	w.call(j.call.Fn, j.call.Args, j.call.Times)
}

// call posts one call to a thread that is idle.
func (w *worker) call(fn uint64, args []uint64, times uint64) {
	c := w.ctl
	c.calls.Store(0)
	c.fn.Store(fn)
	for i := range c.arg {
		var v uint64
		if i < len(args) {
			v = args[i]
		}
		c.arg[i].Store(v)
	}
	c.times.Store(times)
	if w.post++; w.post == 0 { // 0 is what words say that were never written
		w.post++
	}
	c.post.Store(w.post)
	wakeWord(&c.post)
}

// arm has tick run in d.
func (j *Job) arm(d time.Duration) {
	if j.timer == nil {
		j.timer = time.AfterFunc(d, j.tick)
	} else {
		j.timer.Reset(d)
	}
}

// tick runs when the time of a job's present stage is over.
func (j *Job) tick() {
	r, w := j.r, j.w
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return
	}
	r.advance(w)
	if len(r.births) > 0 {
		r.nudge()
	}
	if w.job != j {
		return
	}
	now := time.Now()
	switch {
	case w.stage == assigned:
		j.arm(stopEvery)
	case w.stage != running:
		if now.Before(j.due) {
			j.arm(j.due.Sub(now))
			return
		}
		r.loseLocked(lost("%s did not give up a call within %v", w.name(), settleLimit))
	case !j.expired:
		j.expired = true
		j.due = now.Add(stopLimit)
		fallthrough
	case now.Before(j.due):
		w.ctl.limit.Store(w.post)
		r.proc.signal(w.tid, sigLimit)
		j.arm(stopEvery)
	default:
		r.loseLocked(lost("%s did not end a call within %v of its time limit", w.name(), stopLimit))
	}
}

// advance takes what w's thread said since the last look, as far as it came. The
// thread may have come further than its last stage in the meantime, and says so only
// once; hence the loop, which ends because stages only rise.
func (r *Runner) advance(w *worker) {
	for w.job != nil && w.stage != assigned {
		c, at := w.ctl, w.stage
		// done first: a thread that has ended was, if at all, in its handler before.
		done, fault := c.done.Load() == w.post, c.fault.Load() == w.post
		switch {
		case at == running && fault:
			r.faulted(w)
		case at == settling && fault:
			r.loseLocked(lost("kernel panic: a fault while %s cleared up after a call: %s", w.name(), w.fault(r.stacks)))
			return
		case !done:
			if at == running {
				r.request(w)
			}
			return
		case at == running:
			r.collect(w)
			r.finish(w)
		case at == released && r.settle != 0:
			w.stage = settling
			w.call(r.settle, nil, 1)
		default:
			r.finish(w)
		}
	}
}

// faulted copies the record of w's fault, and has the thread give the call up.
func (r *Runner) faulted(w *worker) {
	j := w.job
	f := w.fault(r.stacks)
	f.Limit = j.expired && f.Signal == sigLimit
	if f.Limit && w.ctl.sleep.Load()&1 != 0 {
		f.Asleep, f.Why = true, r.text(w.ctl.sleepWhy.Load())
	}
	j.result.Fault = f
	r.collect(w)
	w.stage = released
	j.due = time.Now().Add(settleLimit)
	j.arm(settleLimit)
	w.ctl.release.Store(w.post)
	wakeWord(&w.ctl.release)
}

// collect reads what w's calls returned.
func (r *Runner) collect(w *worker) {
	c, res := w.ctl, &w.job.result
	res.Value = c.result.Load()
	res.Calls = min(c.calls.Load(), w.job.call.Times)
	res.Falls = c.falls.Load()
	res.Unlisted = c.unlisted.Load()
	res.Traps = c.traps.Load()
	table := r.ctl.values(w.index)
	for i := range min(table.used.Load(), nValues) {
		v := &table.v[i]
		res.Values = append(res.Values, ValueCount{v.value.Load(), v.count.Load()})
	}
}

// finish ends w's job: the thread is idle, or the runner gone.
func (r *Runner) finish(w *worker) {
	j := w.job
	j.result.Took = time.Since(j.started)
	if j.timer != nil {
		j.timer.Stop()
	}
	w.job, w.stage = nil, idle
	for i, b := range r.busy {
		if b == w {
			last := len(r.busy) - 1
			r.busy[i] = r.busy[last]
			r.busy[last] = nil
			r.busy = r.busy[:last]
			break
		}
	}
	r.idle = append(r.idle, w)
	w.tell()
	close(j.done)
}

// eagain is what a request for a thread is answered with when none is idle.
const eagain = 11

// birth is a request for a thread: parent asked with the number, child is the job
// that it gets, nil if no thread is idle.
type birth struct {
	parent *worker
	asked  uint32
	child  *Job
}

// request notes that module code on w asks for a thread of its own. The waiter serves
// it, without mu.
func (r *Runner) request(w *worker) {
	c := w.ctl
	asked := c.spawn.Load()
	if asked == w.asked {
		return
	}
	w.asked = asked
	b := birth{parent: w, asked: asked}
	if child := r.take(); child != nil {
		b.child = r.assign(child, Call{Fn: c.spawnFn.Load(), Args: []uint64{c.spawnArg.Load()}, Times: 1})
		b.child.name = r.text(c.spawnName.Load())
		b.child.parent = w.index
	}
	r.births = append(r.births, b)
}

// deliver serves the requests that were noted, without mu.
func (r *Runner) deliver(births []birth) {
	for _, b := range births {
		answer := int32(-eagain)
		if b.child != nil {
			if r.cfg.Spawned != nil {
				r.cfg.Spawned(b.child)
			}
			r.mu.Lock()
			r.start(b.child)
			r.mu.Unlock()
			answer = int32(b.child.w.index)
		}
		c := b.parent.ctl
		c.spawnAnswer.Store(answer)
		c.spawned.Store(b.asked)
		wakeWord(&c.spawned)
	}
}
