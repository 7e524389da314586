// Package runner executes module code. It starts a small native program (src), the
// runner, in a process of its own, which shares four memfds with this one: text and
// tables (sealed; only the host writes), data, thread stacks, and control, through
// which the two talk. src/control.h describes that memory; layout.go is the same in
// Go.
//
// A Runner is one such process and all that the host keeps for it. Module code can
// write all of data, stacks and control, at any moment. So whatever is read from
// there is read once, into a local, and never used as an index or a length; every
// wait has an end that does not depend on it (the process's death, a time limit, or
// Close); and what decides (which call is under way on which thread, its number,
// thread ids, stack bounds) is kept in Go memory.
//
// All methods may be called from any goroutine. The locks, outermost first:
// Runner.service (one command at a time), worker.look (one inspector a thread),
// Runner.mu (jobs and threads), process.mu, messages.mu. The waiter's goroutine takes
// Runner.mu and those behind it, never the first two.
//
// Layer 3. Imports: arch, diag.
package runner

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"klink/internal/arch"
	"klink/internal/diag"
)

// Span is a range of addresses.
type Span struct{ Addr, Size uint64 }

// Config says what a runner runs in. Addresses and sizes are multiples of 64 KiB.
type Config struct {
	Text, Tables, Data Span         // where the runner maps them: R-X, R--, RW-
	SealedFd, DataFd   int          // memfds of text and tables, and of data; stay open, and the caller's, until Close
	TextOff, TablesOff uint64       // where text and tables begin in the sealed file
	Table              uint64       // address of struct klink_table, in Tables, a multiple of 64
	Threads            int          // the fixed pool; 0: DefaultThreads; at most MaxThreads
	Spawned            func(j *Job) // told of each kernel thread that module code starts, before it starts; must not block: no news of any thread is heard until it returns
}

// Threads of the pool.
const (
	DefaultThreads = 128
	MaxThreads     = 1024
)

// Limits of time on what a runner must do for the host. Variables, so that tests
// need not wait for them.
var (
	startLimit   = 20 * time.Second      // from fork to ready
	commandLimit = 10 * time.Second      // Barrier, Flush
	parkLimit    = 5 * time.Second       // Inspect of a running thread
	stopLimit    = 10 * time.Second      // from a call's time limit to its end
	stopEvery    = 10 * time.Millisecond // how often a call past its limit is told so
	settleLimit  = 5 * time.Second       // from a fault until its thread is idle again
)

// Wall is one protection that the system may or may not give.
type Wall struct {
	Name string
	Up   bool
	Why  string // what it keeps out; if it is not up, that it is missing
}

// Runner is one process that executes module code.
type Runner struct {
	cfg    Config
	proc   *process
	ctl    memory // control
	mail   *ctlMail
	stacks memory
	log    messages
	walls  []Wall
	born   time.Duration // CLOCK_MONOTONIC at Start
	gone   chan struct{}

	windows []window // never changes; their files under mu

	service sync.Mutex
	cmdSeq  uint32 // of the last command; under service

	workers []*worker // never changes

	mu      sync.Mutex
	cause   error // why the runner is lost; nil: it is not
	dead    bool  // its process has ended
	closed  bool  // shared memory must not be used by anybody not counted in users
	users   sync.WaitGroup
	idle    []*worker // the one used last at the end
	busy    []*worker // those with a job, in no order
	watched []*worker // those that an Inspect waits for
	births  []birth   // to be delivered by the waiter
	settle  uint64
	where   int    // 1 + the thread of the kernel panic; 0: there was none
	what    *Fault // that it was, if it was one
}

// Available returns nil if this computer can run code for m, else a diag.ErrMachine
// that says why not.
func Available(m arch.Machine) error {
	if m != machine {
		return diag.New(diag.ErrMachine, "", "this computer cannot run %s code", m)
	}
	if len(program) == 0 {
		return diag.New(diag.ErrMachine, "", "klink was built without a runner for %s", m)
	}
	return nil
}

// Code returns the bounds of the runner's own code in its process, which are the same in
// each: hi is the first address behind it. Both are 0 where there is no runner.
var Code = sync.OnceValues(func() (lo, hi uint64) {
	const phoff, phnum, phdr = 0x20, 0x38, 56 // of Elf64_Ehdr; the size of an Elf64_Phdr
	le := binary.LittleEndian
	if len(program) == 0 {
		return 0, 0
	}
	for i := range int(le.Uint16(program[phnum:])) {
		p := program[int(le.Uint64(program[phoff:]))+i*phdr:]
		const load, executable = 1, 1 // p_type PT_LOAD, p_flags PF_X
		if vaddr := le.Uint64(p[16:]); le.Uint32(p) == load && le.Uint32(p[4:])&executable != 0 {
			return vaddr, vaddr + le.Uint64(p[40:])
		}
	}
	return 0, 0
})

// Start starts a runner and returns when it is up, behind all the walls that this system
// has. It refuses a bad cfg with diag.ErrUsage, and gives diag.ErrIO, naming the step,
// when the system refuses something. The caller must Close it.
func Start(cfg Config) (*Runner, error) {
	if cfg.Threads == 0 {
		cfg.Threads = DefaultThreads
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := Available(machine); err != nil {
		return nil, err
	}
	var err error
	for _, where := range places {
		var r *Runner
		if r, err = startAt(cfg, where); err == nil {
			return r, nil
		}
		var refused *startError
		if !errors.As(err, &refused) || refused.step < stepControl || refused.step > stepWindows {
			break // the places are not to blame
		}
	}
	return nil, diag.New(diag.ErrIO, "", "the runner cannot start: %v", err)
}

// startAt starts a runner with control, stacks and windows in the ranges of where.
func startAt(cfg Config, where place) (*Runner, error) {
	r := &Runner{cfg: cfg, gone: make(chan struct{}), born: monotonic()}
	if err := r.open(where); err != nil {
		return nil, err
	}
	r.users.Add(1)
	go r.bury()
	go r.wait()
	if err := r.await(); err != nil {
		r.lose(lost("the runner did not start"))
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// startError is a step of the start that failed.
type startError struct {
	step uint32
	why  string
}

func (e *startError) Error() string { return stepName(e.step) + ": " + e.why }

// check says what is wrong with a config.
func (c *Config) check() error {
	switch {
	case c.Threads < 1 || c.Threads > MaxThreads:
		return diag.New(diag.ErrUsage, "", "a runner has 1 to %d threads, not %d", MaxThreads, c.Threads)
	case c.Table%64 != 0 || c.Table < c.Tables.Addr || c.Table-c.Tables.Addr >= c.Tables.Size:
		return diag.New(diag.ErrUsage, "", "the switch's table, %#x, is misaligned or lies outside of the tables", c.Table)
	}
	return nil
}

// place is where the runner maps what is not in the arena: ranges of addresses, above
// the arena and away from one another, from each of which an address is chosen at random.
type place struct{ controlLo, controlHi, stacksLo, stacksHi, windowsLo, windowsHi uint64 }

// places are tried in this order: below 2^46, which fits any x86-64 and aarch64 with
// 48 bits of address, and stays away from what Linux maps by itself near the end; then
// below 2^38, for aarch64 with 39 bits.
var places = []place{
	{1 << 40, 1 << 44, 1 << 44, 1 << 46, 1 << 39, 1 << 40},
	{1 << 34, 1 << 35, 1 << 35, 1 << 38, 1 << 33, 1 << 34},
}

const (
	granule = 64 << 10 // the largest page of any machine

	stackSize   = 1 << 20
	altSize     = 64 << 10
	stackStride = 64 << 20
	stackSkip   = 16 << 20 // so 46 MiB below each stack are unmapped
	logSlots    = 4096
)

// within returns a random address in [lo, hi-size), a multiple of granule.
func within(lo, hi, size uint64) uint64 {
	return lo + random()%((hi-lo-size)/granule)*granule
}

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// logOff returns where the log's slots begin in control, controlSize its bytes.
func (c *Config) logOff() uint64 { return threadsOff + uint64(c.Threads)*threadSize }

func (c *Config) controlSize() uint64 {
	n, _ := arch.AlignUp(c.logOff()+logSlots*lineSize, granule)
	return n
}

func (c *Config) stacksSize() uint64 { return uint64(c.Threads) * (stackSize + altSize) }

// fill writes the config that the runner reads, and makes the workers.
func (r *Runner) fill(where place) {
	cfg, c := &r.cfg, r.ctl.config()
	c.magic.Store(magic)
	c.layout.Store(layout)
	c.control.Store(within(where.controlLo, where.controlHi, cfg.controlSize()))
	c.controlSize.Store(cfg.controlSize())
	c.text.Store(cfg.Text.Addr)
	c.textSize.Store(cfg.Text.Size)
	c.textOff.Store(cfg.TextOff)
	c.tables.Store(cfg.Tables.Addr)
	c.tablesSize.Store(cfg.Tables.Size)
	c.tablesOff.Store(cfg.TablesOff)
	c.data.Store(cfg.Data.Addr)
	c.dataSize.Store(cfg.Data.Size)
	stacks := within(where.stacksLo, where.stacksHi, uint64(cfg.Threads)*stackStride)
	c.stacks.Store(stacks)
	c.stackStride.Store(stackStride)
	c.stackSkip.Store(stackSkip)
	c.stackSize.Store(stackSize)
	c.altSize.Store(altSize)
	c.table.Store(cfg.Table)
	c.canary.Store(random() &^ 0xff) // a zero byte, which no string function writes over
	c.threads.Store(uint32(cfg.Threads))
	c.logSlots.Store(logSlots)
	c.log.Store(cfg.logOff())

	for i := range cfg.Threads {
		hi := stacks + uint64(i+1)*stackStride
		r.workers = append(r.workers, &worker{
			index: i, ctl: r.ctl.thread(i),
			stackLo: hi - stackSize, stackHi: hi, stackOff: uint64(i) * (stackSize + altSize),
		})
	}
	for i := len(r.workers) - 1; i >= 0; i-- { // the first to be used is thread 0
		r.idle = append(r.idle, r.workers[i])
	}
}

// await waits until the runner is up, then learns which thread is which.
func (r *Runner) await() error {
	c := r.ctl.config()
	deadline := time.Now().Add(startLimit)
	for c.ready.Load() == 0 {
		left := time.Until(deadline)
		if left <= 0 {
			return &startError{c.step.Load(), fmt.Sprintf("no end after %v", startLimit)}
		}
		waitWord(&c.ready, 0, left)
	}
	if c.ready.Load() != readyUp {
		why := "it has ended"
		if errno := c.error.Load(); errno != 0 {
			why = errnoText(errno)
		} else if err := r.Err(); err != nil {
			why = err.Error()
		}
		return &startError{c.step.Load(), why}
	}
	for _, w := range runnerWalls {
		up := c.walls.Load()&w.bit != 0
		why := w.why
		if !up {
			why = "this system does not have it"
		}
		r.walls = append(r.walls, Wall{w.name, up, why})
	}
	if err := r.sealWindows(); err != nil {
		return err
	}
	return r.meet()
}

var runnerWalls = []struct {
	bit       uint32
	name, why string
}{
	{wallMdwe, "no-exec-gain", "no page of the runner can become executable"},
	{wallSeccomp, "system-calls", "module code can make a handful of system calls, arguments checked"},
	{wallLimits, "resource-limits", "the runner can make no core, file, process or locked page"},
	{wallFds, "no-descriptors", "the runner has no open file"},
}

// meet learns the tids of the pool: no module code has run yet, so the threads that
// the system lists and those that the blocks name must be the same.
func (r *Runner) meet() error {
	listed, err := tasks(r.proc.pid)
	if err != nil {
		return err
	}
	seen := map[int]bool{r.proc.pid: true}
	for _, w := range r.workers {
		w.tid = int(w.ctl.tid.Load())
		if seen[w.tid] {
			return fmt.Errorf("two threads say they are %d", w.tid)
		}
		seen[w.tid] = true
	}
	for _, tid := range listed {
		if !seen[tid] {
			return fmt.Errorf("thread %d is nobody's", tid)
		}
	}
	if len(listed) != len(seen) {
		return fmt.Errorf("%d of %d threads exist", len(listed), len(seen))
	}
	return nil
}

// Pid returns the runner's process id.
func (r *Runner) Pid() int { return r.proc.pid }

// Threads returns how many threads the pool has.
func (r *Runner) Threads() int { return len(r.workers) }

// Walls returns what protects the host from this runner; the caller may keep it.
func (r *Runner) Walls() []Wall { return append([]Wall(nil), r.walls...) }

// Gone is closed when the runner has ended, for whatever reason, and all its jobs have.
func (r *Runner) Gone() <-chan struct{} { return r.gone }

// Err returns nil while the runner is well, else a diag.ErrLost that says why it is
// not: "the runner was killed by signal 9", "kernel panic: …".
func (r *Runner) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

// Panic returns which thread lost the runner by a fault in the kernel object's own
// state, and that fault; -1 and nil if none did. Valid once Gone is closed. The
// service thread's number is Threads(). A panic that the code asked for has no fault.
func (r *Runner) Panic() (thread int, f *Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.where - 1, r.what
}

// lose kills the runner because of err, unless it is lost already.
func (r *Runner) lose(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loseLocked(err)
}

// loseLocked is lose for those that hold mu.
func (r *Runner) loseLocked(err error) {
	if r.cause == nil {
		r.cause = err
		r.proc.kill()
	}
}

// lost returns a diag.ErrLost with the formatted text.
func lost(format string, args ...any) error {
	return diag.New(diag.ErrLost, "", "%s", fmt.Sprintf(format, args...))
}

// enter counts the caller as a user of shared memory, which must call r.users.Done;
// it gives the cause when the runner is lost.
func (r *Runner) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return r.cause
	}
	r.users.Add(1)
	return nil
}

// bury waits for the process's end, then ends all waits for it. It is a user of
// shared memory.
func (r *Runner) bury() {
	defer r.users.Done()
	<-r.proc.ended
	r.mu.Lock()
	if r.cause == nil {
		r.cause = lost("the runner %s", r.proc.obituary())
	}
	r.dead = true
	r.mu.Unlock()
	// Nobody else writes these any more: who is about to wait finds them changed.
	c := r.ctl.config()
	c.ready.CompareAndSwap(0, readyFailed)
	wakeWord(&c.ready)
	r.mail.ackSeq.Add(1)
	wakeWord(&r.mail.ackSeq)
	r.nudge()
}

// nudge makes the waiter look.
func (r *Runner) nudge() {
	r.mail.events.Add(1)
	wakeWord(&r.mail.events)
}

// Close kills the runner, waits until its process, its jobs and this package's
// goroutines have ended, and gives its memory back. It may be called more than once,
// each of which waits.
func (r *Runner) Close() error {
	r.lose(lost("the runner was closed"))
	<-r.gone
	r.users.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return errors.Join(unmap(r.ctl), unmap(r.stacks), r.closeWindows())
}
