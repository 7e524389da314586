package kernel

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/patch"
	"klink/internal/runner"
)

// live is the running half of a host: the runner, and the switch's table that its
// threads look into when they meet a trap. A nil live is a host that runs nothing.
type live struct {
	fault func(faultPoint) error
	run   *runner.Runner
	arena *arena.Arena
	table []byte // the host's view of the table's head
	at    uint64 // its address
	rows  block  // room for the rows of most switches
	large block  // room for those of the switch under way, if it has more
	start time.Time

	starts sync.Map      // *runner.Job of a kernel thread: the function that it was made for, uint64
	spawns atomic.Uint64 // how many kernel threads were ever started

	// barriers is how long the switch under way has waited for threads.
	barriers, publish time.Duration
}

// block is a piece of the arena's tables.
type block struct {
	addr, size uint64
}

// rowsKept is how many rows the room that is kept has: a switch of so many sites
// allocates nothing.
const rowsKept = 1024

// startLive makes the runner of an arena that holds nothing yet.
func startLive(k *Kernel, threads int, a *arena.Arena) (*live, error) {
	l := &live{fault: k.fault, arena: a, start: time.Now()}
	var err error
	if l.at, err = a.Alloc(arena.Tables, patch.TableSize, 64); err != nil {
		return nil, err
	}
	l.table = a.Bytes(l.at, patch.TableSize)
	l.rows.size = rowsKept * patch.RowSize
	if l.rows.addr, err = a.Alloc(arena.Tables, l.rows.size, 64); err != nil {
		return nil, err
	}
	cfg := runner.Config{Table: l.at, Threads: threads, Spawned: func(t *runner.Job) { l.spawned(k, t) }}
	for r, span := range []*runner.Span{&cfg.Text, &cfg.Tables, &cfg.Data} {
		lo, hi := a.Span(arena.Region(r))
		*span = runner.Span{Addr: lo, Size: hi - lo}
	}
	cfg.SealedFd, cfg.DataFd = a.Fds()
	cfg.TextOff, cfg.TablesOff = a.Offsets()
	l.run, err = runner.Start(cfg)
	return l, err
}

// close ends the runner.
func (l *live) close() error {
	if l == nil || l.run == nil {
		return nil
	}
	return l.run.Close()
}

// lost returns why nothing runs any more, nil if it does, or never did.
func (l *live) lost() error {
	if l == nil {
		return nil
	}
	select {
	case <-l.run.Gone():
		return l.run.Err()
	default:
		return nil
	}
}

// info describes the runner.
func (l *live) info() RunnerInfo {
	if l == nil {
		return RunnerInfo{State: RunnerNone}
	}
	info := RunnerInfo{State: RunnerRunning, Pid: l.run.Pid(), Threads: l.run.Threads()}
	if err := l.lost(); err != nil {
		info = RunnerInfo{State: RunnerLost, Why: err.Error()}
	}
	return info
}

// walls returns the runner's protections.
func (l *live) walls() []WallInfo {
	if l == nil {
		return nil
	}
	var list []WallInfo
	for _, w := range l.run.Walls() {
		list = append(list, WallInfo{w.Name, w.Up, w.Why})
	}
	return list
}

// flush makes sure that threads that come to the text [lo, hi) see what was written there.
func (l *live) flush(lo, hi uint64) error {
	if l == nil || lo == hi {
		return nil
	}
	return l.run.Flush(lo, hi)
}

// steps returns the runner's half of a switch.
func (l *live) steps() patch.Steps {
	if l == nil {
		return patch.Alone()
	}
	l.barriers, l.publish = 0, 0
	return (*liveSteps)(l)
}

// liveSteps is patch.Steps where threads run. The trap handler reads the table without
// a lock (internal/runner/src/trap.c): it looks at the generation before and after, so
// everything else is written while the generation is 0.
type liveSteps live

// Publish implements patch.Steps.
func (l *liveSteps) Publish(gen uint64, rows []patch.Edit) error {
	if err := l.fault(faultPublish); err != nil {
		return err
	}
	began := time.Now()
	room := l.rows
	if need := uint64(len(rows)) * patch.RowSize; need > room.size {
		addr, err := l.arena.Alloc(arena.Tables, need, 64)
		if err != nil {
			return diag.New(diag.ErrNoSpace, "", "no room for the table of a switch: %v", err)
		}
		l.large = block{addr, need}
		room = l.large
	}
	patch.PutRows(l.arena.Bytes(room.addr, room.size), rows)
	store64(l.table[tableRows:], room.addr)
	store64(l.table[tableCount:], uint64(len(rows)))
	store64(l.table[tableGen:], gen)
	l.publish += time.Since(began)
	return nil
}

// Where the words of the table's head are (struct klink_table), bytes.
const (
	tableGen   = 0
	tableTurn  = 8
	tableRows  = 16
	tableCount = 24
)

// Sync implements patch.Steps.
func (l *liveSteps) Sync() error {
	if err := l.fault(faultBarrier); err != nil {
		return err
	}
	began := time.Now()
	err := l.run.Barrier(true)
	l.barriers += time.Since(began)
	return err
}

// Turn implements patch.Steps.
func (l *liveSteps) Turn(gen uint64) error {
	if err := l.fault(faultTurn); err != nil {
		return err
	}
	store64(l.table[tableTurn:], gen)
	return nil
}

// Withdraw implements patch.Steps.
func (l *liveSteps) Withdraw(uint64) error {
	if err := l.fault(faultWithdraw); err != nil {
		return err
	}
	store64(l.table[tableGen:], 0)
	if l.large.size > 0 { // a handler that still reads there finds another generation, and looks again
		l.arena.Free(arena.Tables, l.large.addr, l.large.size)
		l.large = block{}
	}
	return nil
}

// planSwitch plans the switch for moves and returns how long that took. The caller holds
// the lock.
func (k *Kernel) planSwitch(moves []patch.Move) (*patch.Switch, time.Duration, error) {
	began := time.Now()
	sw, err := patch.Plan(k.arena, k.machine, &k.sites, moves)
	return sw, time.Since(began), err
}

// doSwitch plans and runs the switch for moves. The caller holds the lock. The switch
// has happened if timing is not nil, whatever the error: then the runner is lost.
func (k *Kernel) doSwitch(moves []patch.Move) (timing *SwitchTiming, err error) {
	sw, took, err := k.planSwitch(moves)
	if err != nil {
		return nil, err
	}
	return k.runSwitch(sw, took)
}

// runSwitch runs a planned switch; see doSwitch.
func (k *Kernel) runSwitch(sw *patch.Switch, plan time.Duration) (*SwitchTiming, error) {
	steps := k.live.steps()
	began := time.Now()
	err := sw.Run(steps)
	if !sw.Turned() {
		return nil, err
	}
	t := &SwitchTiming{Sites: sw.Len(), Plan: int64(plan), Total: int64(time.Since(began))}
	if l := k.live; l != nil {
		t.Barriers, t.Publish = int64(l.barriers), int64(l.publish)
	}
	t.Write = t.Total - t.Barriers - t.Publish
	if err != nil { // threads may have seen half of it: they are ended
		err = errors.Join(fmt.Errorf("the change was made, but the runner is lost: %w", err), k.live.close())
	}
	return t, err
}
