package kernel

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/patch"
)

// Load loads modules: all of them, or none and nothing changed. With DryRun it goes
// through everything up to INIT and the switch, and then gives back what it took. The
// first load of a host that was not booted boots it.
//
// Files are read before the turn is taken: a slow file system delays nobody else. Those
// that a search looks into are read in turn, for what is missing must not change.
func (k *Kernel) Load(ctx context.Context, r LoadRequest) (*Change, error) {
	fresh, err := k.read(r)
	if err != nil {
		return nil, err
	}
	if err := k.changes(); err != nil {
		return nil, err
	}
	defer k.under.Done()
	if err := k.take(ctx); err != nil {
		return nil, err
	}
	defer k.pass()
	if k.count() == 0 && !k.cfg.Bare {
		own, err := k.read(LoadRequest{Modules: []ModuleSpec{k.kernelSpec(fresh[0].lm.Machine)}})
		if err != nil {
			return nil, err
		}
		fresh = append(own, fresh...)
	}
	return k.load(ctx, fresh, r)
}

// loading is one load under way; abandon undoes whatever was done so far.
type loading struct {
	*batch
	k       *Kernel
	limit   time.Duration       // of each call into a fresh module
	entries []aliasstack.SlotID // slots that got their entry for this load
	pushed  []aliasstack.SlotID // slots without a provider whose entries lead to a fresh module already
	ready   []*module           // whose INIT has returned, in that order
	sited   bool                // the fresh modules' sites are in the index
}

// load loads modules that were read. The caller has the turn.
func (k *Kernel) load(ctx context.Context, fresh []*module, r LoadRequest) (_ *Change, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.live.lost(); err != nil {
		return nil, bootAgain(err)
	}
	if fresh, err = k.searchMissing(fresh, r.Search); err != nil {
		return nil, err
	}
	if err := k.admissible(fresh); err != nil {
		return nil, err
	}
	adopted := k.arena == nil
	if adopted {
		if err := k.adopt(fresh[0].lm.Machine, !r.DryRun); err != nil {
			return nil, err
		}
	}
	l := &loading{k: k, limit: limitOf(r.Limit), batch: &batch{machine: k.machine, stacks: k.stacks, loaded: k.modules, fresh: fresh}}
	l.entry = func(s aliasstack.SlotID) uint64 { return k.entries.at[s] }
	l.number(k.nextID)
	change, err := l.run(ctx, r.DryRun)
	if change == nil || r.DryRun {
		l.abandon()
		if adopted && len(k.modules) == 0 { // or the host would insist on the machine of what it did not load
			err = errors.Join(err, k.disown())
		}
	}
	return change, err
}

// bootAgain says what the user can do about a lost runner.
func bootAgain(err error) error {
	return diag.New(diag.ErrLost, "", "%v; klink boot starts afresh", err)
}

// limitOf returns the time limit of calls that a request asks for: 0 is the default,
// below 0 none.
func limitOf(ns int64) time.Duration {
	switch {
	case ns == 0:
		return DefaultCallLimit
	case ns < 0:
		return 0
	}
	return time.Duration(ns)
}

// read reads and gathers the modules of a request. It needs no lock.
func (k *Kernel) read(r LoadRequest) ([]*module, error) {
	if len(r.Modules) == 0 {
		return nil, diag.New(diag.ErrUsage, "", "nothing to load")
	}
	return read(r.Modules, newMemory, false, k.far, nil)
}

// kernelSpec describes the kernel of a host for a machine, without files.
func (k *Kernel) kernelSpec(m arch.Machine) ModuleSpec {
	return ModuleSpec{As: KernelName, boot: true, own: !k.cfg.Bare, machine: m}
}

// far says whether a branch may have to reach further than it can: text is a quarter
// of the arena, and of the default one it is as long as a branch reaches.
func (k *Kernel) far(m arch.Machine, _ uint64) bool {
	return k.cfg.ArenaSize/4 > m.Facts().BranchReach
}

// admissible checks machines and names of modules before they take anything.
func (k *Kernel) admissible(fresh []*module) error {
	var errs diag.List
	machine := k.machine
	if machine == 0 {
		machine = fresh[0].lm.Machine
	}
	for _, m := range fresh {
		file := m.file()
		switch {
		case m.lm.Machine != machine:
			errs.Add(diag.New(diag.ErrMachine, file, "is for %v, the host for %v", m.lm.Machine, machine))
		case m.name == KernelName && !m.spec.boot:
			errs.Add(diag.New(diag.ErrConflict, file, "the name %s belongs to what the host boots with; --as gives another", diag.Quote(m.name)))
		case k.byName[m.name] != nil:
			errs.Add(diag.New(diag.ErrConflict, file, "a module named %s is already loaded", diag.Quote(m.name)))
		}
	}
	errs.Add(sound(fresh))
	return errs.Err()
}

// run does the load: room, stacks, entries, bytes; then what the modules do to get
// ready; then the switch, and the books. It returns a Change exactly if the load, or
// the plan, was done; an error beside it says that the runner was lost on the way.
// The lock is given up while module code runs.
func (l *loading) run(ctx context.Context, dry bool) (*Change, error) {
	k := l.k
	if err := l.place(); err != nil {
		return nil, err
	}
	report := l.report(dry)
	push, err := patch.Plan(k.arena, k.machine, &k.sites, k.moves(l.change, l.address, fromNobody))
	if err != nil {
		return nil, err
	}
	report.Bytes = changedBytes(k.machine, push, l.isFresh)
	if !dry {
		if err := l.push(push); err != nil {
			return nil, err
		}
	}
	l.enterSites()
	sw, _, err := k.planSwitch(k.moves(l.change, l.address, fromSomebody)) // before anything runs: text that changed refuses the load
	if err != nil {
		return nil, err
	}
	report.Bytes += changedBytes(k.machine, sw, l.isFresh)
	if dry {
		return report, nil
	}
	if err := l.getReady(ctx); err != nil {
		return nil, err
	}
	if err = k.fault(faultSwitch); err == nil {
		report.Switch, err = k.doSwitch(k.moves(l.change, l.address, fromSomebody)) // calls may have made entries since
	}
	if report.Switch == nil {
		l.finish()
		return nil, err
	}
	l.commit()
	for i := range report.Loaded {
		report.Loaded[i].State = stateLive
	}
	if lost := k.live.lost(); err == nil && lost != nil { // it may have died where nobody waited for it
		err = bootAgain(lost)
	}
	return report, err
}

// place gives the fresh modules room, plans the stacks, and links. Nothing that others
// can reach is changed.
func (l *loading) place() error {
	k := l.k
	for _, step := range []struct {
		at faultPoint
		do func() error
	}{{faultRoom, l.room}, {faultPlan, l.plan}, {faultEntries, l.takeEntries}} {
		if err := k.fault(step.at); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	if err := k.fault(faultLink); err != nil {
		return err
	}
	err := l.apply(func(m *module) (out [link.Regions][]byte) {
		for r := range out {
			out[r] = k.arena.Bytes(m.at[r], m.lm.Init[r])
		}
		return out
	})
	if err != nil {
		return err
	}
	l.sortSites()
	return nil
}

// isFresh says that an address lies in the text of a module that is being loaded.
func (l *loading) isFresh(addr uint64) bool {
	for _, m := range l.fresh {
		if addr-m.at[link.Text] < m.lm.Size[link.Text] {
			return true
		}
	}
	return false
}

// room allocates the blocks of every fresh module. The kernel's are whole pages of any
// machine: it stays, so it shares none with modules that come and go, and where the
// first module lies does not depend on how large the kernel is to the byte.
func (l *loading) room() error {
	for _, m := range l.fresh {
		for r := range m.at {
			size, align := m.lm.Size[r], m.lm.Align[r]
			if m.spec.own {
				size, align = (size+arena.Align-1)&^(arena.Align-1), max(align, arena.Align)
			}
			addr, err := l.k.arena.Alloc(arena.Region(r), size, align)
			if err != nil {
				return diag.New(diag.ErrNoSpace, m.file(), "%v", err)
			}
			m.at[r], m.taken[r] = addr, size
		}
	}
	return nil
}

// takeEntries gives an entry to every slot whose address is taken and has none. Its
// jump is written at once, to where the slot leads before the switch.
func (l *loading) takeEntries() error {
	k := l.k
	for _, s := range l.wantEntries() {
		if _, ok := k.entries.at[s]; ok {
			continue
		}
		at, err := k.entries.take(s)
		if err != nil {
			return err
		}
		l.entries = append(l.entries, s)
		to, _ := l.address(l.before(s))
		if !k.entries.form.Encode(k.arena.Bytes(at, k.entries.size), at, to) {
			return diag.New(diag.ErrAlign, "", "the entry at %#x cannot lead to %#x", at, to)
		}
	}
	return nil
}

// sortSites orders every fresh module's sites by slot and address, as the index
// keeps them.
func (l *loading) sortSites() {
	for _, m := range l.fresh {
		slices.SortFunc(m.result.Sites, func(a, b link.Site) int {
			return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Addr, b.Addr))
		})
	}
}

// moves turns those of the stacks' moves that pick says into addresses. Data has no
// sites, but its name may have an entry from a time when it was a function: that stays
// a trap. A symbol that nobody provides any more keeps its sites (see emptied).
func (k *Kernel) moves(c *aliasstack.Change, address func(aliasstack.Provider) (uint64, uint64), pick func(aliasstack.Move) bool) []patch.Move {
	var moves []patch.Move
	for _, mv := range c.Moves() {
		if !pick(mv) || !leads(mv.To) || k.sites.Count(uint32(mv.Slot)) == 0 {
			continue
		}
		from, _ := address(mv.From)
		to, _ := address(mv.To)
		moves = append(moves, patch.Move{Slot: uint32(mv.Slot), Old: from, New: to})
	}
	return moves
}

// A load moves the symbols that nobody provided before it runs the new modules' code,
// which calls itself by them, and the others after that. Of the first only entries can
// have sites, from a time when somebody provided them.
func fromNobody(mv aliasstack.Move) bool   { return mv.From.Module == 0 }
func fromSomebody(mv aliasstack.Move) bool { return mv.From.Module != 0 }

// leads says that sites can lead to a provider: there is one, and it is a function.
func leads(p aliasstack.Provider) bool { return p.Module != 0 && p.Class == aliasstack.Func }

// enterSites enters the fresh modules' sites and the new entries into the index, for
// the switch to move with the others.
func (l *loading) enterSites() {
	for _, s := range l.entries {
		l.k.addEntrySite(s)
	}
	for _, m := range l.fresh {
		l.k.addSites(m)
	}
	l.sited = true
}

// commit enters what was done into the books; it cannot fail.
func (l *loading) commit() {
	l.change.Commit()
	for _, m := range l.fresh {
		l.k.enter(m)
	}
}

// enter enters a module into the tables.
func (k *Kernel) enter(m *module) {
	m.state = stateLive
	m.result, m.follows = nil, nil
	k.modules[m.id] = m
	k.byName[m.name] = m
	k.nextID = max(k.nextID, m.id+1)
}

// addEntrySite makes an entry a site of its slot. Entries belong to module 0.
func (k *Kernel) addEntrySite(s aliasstack.SlotID) {
	k.sites.Add(0, uint32(s), []patch.Site{{Addr: k.entries.at[s], Form: k.entries.form}})
}

// addSites enters a module's sites, slot by slot.
func (k *Kernel) addSites(m *module) {
	all := make([]patch.Site, len(m.result.Sites))
	for i, s := range m.result.Sites {
		all[i] = patch.Site{Addr: s.Addr, Veneer: s.Veneer, Form: s.Form}
	}
	for lo := 0; lo < len(all); {
		slot := m.result.Sites[lo].Slot
		hi := lo + 1
		for hi < len(all) && m.result.Sites[hi].Slot == slot {
			hi++
		}
		k.sites.Add(uint32(m.id), uint32(slot), all[lo:hi:hi])
		m.slots = append(m.slots, slot)
		lo = hi
	}
}

// abandon gives back what the load took. Live modules were not touched. Modules whose
// threads would not leave have been set aside (see finish) and are not fresh any more.
func (l *loading) abandon() {
	k := l.k
	for _, s := range l.pushed {
		k.entries.trap(s)
	}
	for _, s := range l.entries {
		if l.sited {
			k.sites.Remove(0, uint32(s))
		}
		k.entries.drop(s)
	}
	for _, m := range l.fresh {
		if l.sited {
			k.dropSites(m)
		}
		k.giveBack(m)
	}
}

// dropSites takes a module's sites out of the index.
func (k *Kernel) dropSites(m *module) {
	for _, s := range m.slots {
		k.sites.Remove(uint32(m.id), uint32(s))
	}
	m.slots = nil
}

// giveBack frees a module's blocks: the arena fills text with traps.
func (k *Kernel) giveBack(m *module) {
	k.gone.add(m.name, m.at[link.Text], m.lm.Size[link.Text])
	k.unshare(m)
	for r, addr := range m.at {
		if addr != 0 {
			k.arena.Free(arena.Region(r), addr, m.taken[r])
		}
	}
	m.at = [link.Regions]uint64{}
}
