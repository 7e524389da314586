// Package kernel owns the modules: it loads and unloads them as transactions, keeps
// the alias stacks and the sites, and answers questions about both. It also links
// without a host (Link) and checks objects (Check).
//
// A load goes through the layers once: files → elfload.Object → link.Module →
// arena → patch. Until its switch runs, nothing that is live has changed, and an
// error anywhere gives back all that was taken.
//
// Layer 4. Concurrency: all methods of Kernel may be called from any goroutine; one
// mutex makes commands run one after the other.
//
// Lock order: Kernel.mu is the only lock.
package kernel

import (
	"cmp"
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
)

// Config is what a host is made with.
type Config struct {
	Machine   arch.Machine // 0: that of the first object, else of this computer
	ArenaBase uint64       // 0: chosen at random below 2 GiB
	ArenaSize uint64       // 0: arena.DefaultSize
}

// Kernel is one host's state.
type Kernel struct {
	mu      sync.Mutex
	cfg     Config
	machine arch.Machine      // 0 until the first object decides
	arena   *arena.Arena      // nil until machine is known
	stacks  *aliasstack.Table // who provides what
	sites   patch.Index       // who leads where; entries belong to module 0
	entries entryPool         // canonical addresses
	modules map[aliasstack.ModuleID]*module
	byName  map[string]*module
	nextID  aliasstack.ModuleID
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
	offers  []link.NameID       // by aliasstack.Provider.Offer
	slots   []aliasstack.SlotID // in which it has sites
	absent  []string            // weak names that nobody provided
	result  *link.Result        // while loading
	follows []aliasstack.SlotID // while loading, by link.NameID: the slot that the name follows
	nsites  int
}

// Module states as users see them.
const (
	stateLoading = "loading"
	stateLive    = "live"
)

// KernelName is the name of the module that the host boots with.
const KernelName = "kernel"

// New makes an empty host. Its arena is made at once if cfg names the machine, else
// by the first object.
func New(cfg Config) (*Kernel, error) {
	k := &Kernel{
		cfg:     cfg,
		stacks:  aliasstack.New(),
		modules: map[aliasstack.ModuleID]*module{},
		byName:  map[string]*module{},
		nextID:  1,
	}
	if cfg.Machine != 0 {
		if err := k.adopt(cfg.Machine); err != nil {
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

// adopt makes the arena for a machine.
func (k *Kernel) adopt(m arch.Machine) error {
	if m.Facts() == nil {
		return diag.New(diag.ErrUsage, "", "%v is no machine that klink links for", m)
	}
	a, err := arena.New(arena.Config{Machine: m, Base: k.cfg.ArenaBase, Size: k.cfg.ArenaSize})
	if err != nil {
		return err
	}
	k.machine, k.arena = m, a
	k.entries = newEntryPool(m, a)
	return nil
}

// disown undoes adopt: no module is loaded.
func (k *Kernel) disown() error {
	a := k.arena
	k.machine, k.arena, k.entries = 0, nil, entryPool{}
	return a.Close()
}

// Close gives the arena back. The Kernel must not be used afterwards.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.arena == nil {
		return nil
	}
	a := k.arena
	k.arena = nil
	return a.Close()
}

// Boot loads the kernel's objects as the one module named "kernel", which stays
// until the host halts. It fails if anything is loaded.
func (k *Kernel) Boot(specs []ModuleSpec) (*Change, error) {
	var fresh []*module
	var r LoadRequest
	if len(specs) > 0 {
		kernel := ModuleSpec{As: KernelName, WholeArchive: specs[0].WholeArchive}
		for _, s := range specs {
			kernel.Files = append(kernel.Files, s.Files...)
			kernel.Private = append(kernel.Private, s.Private...)
		}
		r.Modules = []ModuleSpec{kernel}
		var err error
		if fresh, err = k.read(r); err != nil {
			return nil, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case len(k.modules) > 0:
		return nil, diag.New(diag.ErrBusy, "", "already booted")
	case len(fresh) > 0:
		return k.load(fresh, r, true)
	case k.arena == nil:
		return &Change{}, k.adopt(HostMachine())
	}
	return &Change{}, nil
}

// Status describes the host.
func (k *Kernel) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := Status{Modules: len(k.modules)}
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
