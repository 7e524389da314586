// Package kernel owns the modules: it loads and unloads them as transactions, keeps
// the alias stacks and the sites, runs what modules bring to be run, and answers
// questions about all that. It also links without a host (Link) and checks objects
// (Check).
//
// A load goes through the layers once: files → elfload.Object → link.Module →
// arena → runner (INIT) → patch. Until its switch runs, nothing that others can
// reach has changed, and an error anywhere gives back all that was taken.
//
// Layer 4. Concurrency: all methods of Kernel may be called from any goroutine.
//
// Lock order: Kernel.turn, then Kernel.mu, then Kernel.jobsMu, then the locks of
// package runner.
//
//	turn    who holds it changes stacks and modules, so that changes come one after the
//	        other. A load holds it while its INIT runs; an unload gives it up while it
//	        waits for threads or for module code
//	mu      guards the tables; never held while module code is waited for. Only the
//	        holder of turn changes the stacks and the modules; a call may add an entry
//	jobsMu  guards the jobs
package kernel

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/patch"
	"klink/internal/runner"
	"klink/internal/unwind"
)

// Config is what a host is made with.
type Config struct {
	Machine   arch.Machine // 0: that of the first object, else of this computer
	ArenaBase uint64       // 0: chosen at random below 2 GiB
	ArenaSize uint64       // 0: arena.DefaultSize
	Bare      bool         // neither klink's own kernel object nor a runner: it links, and runs nothing
	Threads   int          // of the runner; 0: runner.DefaultThreads

	fault func(faultPoint) error // lets tests go wrong; nil
}

// Kernel is one host's state.
type Kernel struct {
	cfg  Config
	turn chan struct{} // holds one token: who has it may change modules

	mu      sync.Mutex
	machine arch.Machine      // 0 until the first object decides
	arena   *arena.Arena      // nil until machine is known
	stacks  *aliasstack.Table // who provides what
	sites   patch.Index       // who leads where; entries belong to module 0
	entries entryPool         // canonical addresses
	modules map[aliasstack.ModuleID]*module
	byName  map[string]*module
	initing []*module // being loaded: their code may run already
	reaping bool      // somebody looks after draining modules
	lined   int       // bytes of line tables that modules keep, and kept
	gone    history   // whose text was where
	nextID  aliasstack.ModuleID
	live    *live // nil: nothing runs here

	looked map[fileID]*glance // what the last search saw in its directories

	jobs jobs

	// Changes under way, and who looks after draining modules: Close waits for them.
	closed chan struct{} // closed, with mu held, when no more may begin
	under  sync.WaitGroup
}

// module is one loaded module, or one being loaded.
type module struct {
	id      aliasstack.ModuleID
	name    string
	state   string
	files   []Source
	spec    ModuleSpec
	lm      *link.Module
	objects []*elfload.Object // of lm
	at      [link.Regions]uint64
	taken   [link.Regions]uint64 // bytes of each block
	offers  []link.NameID        // by aliasstack.Provider.Offer
	slots   []aliasstack.SlotID  // in which it has sites
	absent  []string             // weak names that nobody provided
	result  *link.Result         // while loading
	follows []aliasstack.SlotID  // while loading, by link.NameID: the slot that the name follows
	nsites  int
	why     string          // of one that is draining: who was inside when it was last looked at
	lines   []*lineTable    // by object: source lines, read when somebody asks; nil while not read
	unwind  []*unwind.Table // of its .eh_frame sections
	unwound bool            // they were looked for
}

// Module states as users see them.
const (
	stateLoading  = "loading"
	stateLive     = "live"
	stateCatching = "catching"
	stateDraining = "draining"
	stateLost     = "lost"
)

// KernelName is the name of the module that the host boots with.
const KernelName = "kernel"

// New makes an empty host. Its arena is made at once if cfg names the machine, else
// by the first object.
func New(cfg Config) (*Kernel, error) {
	k := &Kernel{
		cfg:     cfg,
		turn:    make(chan struct{}, 1),
		stacks:  aliasstack.New(),
		modules: map[aliasstack.ModuleID]*module{},
		byName:  map[string]*module{},
		nextID:  1,
		closed:  make(chan struct{}),
	}
	k.turn <- struct{}{}
	if cfg.Machine != 0 {
		if err := k.adopt(cfg.Machine, true); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// HostMachine returns the machine of this computer, AMD64 for one that klink does
// not link for.
func HostMachine() arch.Machine {
	if m, ok := arch.Parse(runtime.GOARCH); ok {
		return m
	}
	return arch.AMD64
}

// take waits for the turn to change modules. The caller gives it back with pass.
func (k *Kernel) take(ctx context.Context) error {
	select {
	case <-k.turn:
		return nil
	default:
	}
	select {
	case <-k.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Kernel) pass() { k.turn <- struct{}{} }

// adopt makes the arena for a machine and, if code shall run and this computer can run
// it, the runner. The caller holds the lock.
func (k *Kernel) adopt(m arch.Machine, run bool) error {
	if m.Facts() == nil {
		return diag.New(diag.ErrUsage, "", "%v is no machine that klink links for", m)
	}
	a, err := arena.New(arena.Config{Machine: m, Base: k.cfg.ArenaBase, Size: k.cfg.ArenaSize})
	if err != nil {
		return err
	}
	k.machine, k.arena = m, a
	k.entries = newEntryPool(m, a)
	if !run || k.cfg.Bare || runner.Available(m) != nil {
		return nil
	}
	if k.live, err = startLive(k, k.cfg.Threads, a); err != nil {
		return errors.Join(err, k.disown())
	}
	return nil
}

// disown undoes adopt: no module is loaded.
func (k *Kernel) disown() error {
	a, l := k.arena, k.live
	k.machine, k.arena, k.live, k.entries = 0, nil, nil, entryPool{}
	return errors.Join(l.close(), a.Close())
}

// beginChange counts a change, which ends with k.under.Done; the error says that the kernel
// is being closed. The caller holds the lock.
func (k *Kernel) beginChange() error {
	select {
	case <-k.closed:
		return diag.New(diag.ErrLost, "", "the host ends")
	default:
		k.under.Add(1)
		return nil
	}
}

// changes is beginChange for who does not hold the lock.
func (k *Kernel) changes() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.beginChange()
}

// Close ends the runner and gives the arena back. What runs is given up; changes under
// way end as they do when the runner is lost. The Kernel must not be used afterwards.
func (k *Kernel) Close() error {
	k.mu.Lock()
	l := k.live
	select {
	case <-k.closed:
	default:
		close(k.closed)
	}
	k.mu.Unlock()
	err := l.close() // first: a change under way waits for module code, and ends then
	k.under.Wait()
	k.jobs.wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.arena == nil {
		return err
	}
	a := k.arena
	k.arena, k.live = nil, nil
	return errors.Join(err, a.Close())
}

// Boot loads the kernel's objects, and klink's own, as the one module named "kernel",
// which stays until the host halts. It fails if anything is loaded.
func (k *Kernel) Boot(ctx context.Context, specs []ModuleSpec) (*Change, error) {
	kernel := k.kernelSpec(cmp.Or(k.cfg.Machine, HostMachine()))
	for _, s := range specs {
		kernel.WholeArchive = kernel.WholeArchive || s.WholeArchive
		kernel.Files = append(kernel.Files, s.Files...)
		kernel.Private = append(kernel.Private, s.Private...)
	}
	var fresh []*module
	r := LoadRequest{Modules: []ModuleSpec{kernel}}
	if len(specs) > 0 || !k.cfg.Bare {
		var err error
		if fresh, err = k.read(r); err != nil {
			return nil, err
		}
	}
	if err := k.changes(); err != nil {
		return nil, err
	}
	defer k.under.Done()
	if err := k.take(ctx); err != nil {
		return nil, err
	}
	defer k.pass()
	switch {
	case k.count() > 0:
		return nil, diag.New(diag.ErrBusy, "", "already booted")
	case len(fresh) == 0:
		return &Change{}, k.adoptFor(HostMachine())
	}
	return k.load(ctx, fresh, r)
}

// count returns how many modules there are.
func (k *Kernel) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.modules)
}

// adoptFor adopts a machine if none was yet.
func (k *Kernel) adoptFor(m arch.Machine) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.arena != nil {
		return nil
	}
	return k.adopt(m, true)
}

// Status describes the host.
func (k *Kernel) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := Status{Modules: len(k.modules), Runner: k.live.info()}
	if k.arena == nil {
		return st
	}
	st.Machine = k.machine.String()
	for r := arena.Region(0); r < link.Regions; r++ {
		lo, hi := k.arena.Span(r)
		if r == 0 {
			st.ArenaBase = Addr(lo)
		}
		st.ArenaSize += hi - lo
	}
	for i, s := range k.arena.Stats() {
		lo, hi := k.arena.Span(arena.Region(i))
		st.Regions = append(st.Regions, RegionInfo{link.Region(i).String(), Addr(lo), hi - lo, s.Used})
	}
	for _, w := range k.arena.Walls() {
		st.Walls = append(st.Walls, WallInfo{w.Name, w.Up, w.Why})
	}
	st.Walls = append(st.Walls, k.live.walls()...)
	return st
}

// find returns a module by its name, or by a file that it was loaded from.
func (k *Kernel) find(name string) (*module, error) {
	if m := k.byName[name]; m != nil {
		return m, nil
	}
	var found []*module
	for _, m := range k.modules {
		if slices.ContainsFunc(m.files, func(f Source) bool { return f.Path == name || f.Name == name }) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return nil, diag.New(diag.ErrNotFound, "", "no module %s is loaded", diag.Quote(name))
	case 1:
		return found[0], nil
	}
	slices.SortFunc(found, func(a, b *module) int { return cmp.Compare(a.id, b.id) })
	return nil, diag.New(diag.ErrUsage, "", "%s is a file of %s and of %s", diag.Quote(name), diag.Escape(found[0].name), diag.Escape(found[1].name))
}

// inOrder returns the modules in the order in which they were loaded.
func (k *Kernel) inOrder() []*module {
	list := make([]*module, 0, len(k.modules))
	for _, m := range k.modules {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *module) int { return cmp.Compare(a.id, b.id) })
	return list
}
