package kernel

import (
	"cmp"
	"errors"
	"slices"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/patch"
)

// Load loads modules: all of them, or none and nothing changed. With DryRun it goes
// through everything up to the switch and then gives back what it took.
//
// Files are read before the lock is taken: a slow file system delays nobody else. Those
// that a search looks into are read under it, for what is missing must not change.
func (k *Kernel) Load(r LoadRequest) (*Change, error) {
	fresh, err := k.read(r)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.load(fresh, r, false)
}

// loading is one load under way; abandon undoes whatever was done so far.
type loading struct {
	*batch
	k       *Kernel
	entries []aliasstack.SlotID // slots that got their entry for this load
}

// load loads modules that were read. The caller holds the lock.
func (k *Kernel) load(fresh []*module, r LoadRequest, boot bool) (_ *Change, err error) {
	if len(r.Search) > 0 {
		if fresh, err = k.searchMissing(fresh, r.Search); err != nil {
			return nil, err
		}
	}
	if err := k.admissible(fresh, boot); err != nil {
		return nil, err
	}
	adopted := k.arena == nil
	if adopted {
		if err := k.adopt(fresh[0].lm.Machine); err != nil {
			return nil, err
		}
	}
	l := &loading{k: k, batch: &batch{machine: k.machine, stacks: k.stacks, loaded: k.modules, fresh: fresh}}
	l.entry = func(s aliasstack.SlotID) uint64 { return k.entries.at[s] }
	l.number(k.nextID)
	change, err := l.run(r.DryRun)
	if err != nil || r.DryRun {
		l.abandon()
		if adopted { // or the host would insist on the machine of what it did not load
			err = errors.Join(err, k.disown())
		}
	}
	return change, err
}

// read reads and gathers the modules of a request. It needs no lock.
func (k *Kernel) read(r LoadRequest) ([]*module, error) {
	if len(r.Modules) == 0 {
		return nil, diag.New(diag.ErrUsage, "", "nothing to load")
	}
	return read(r.Modules, newMemory, false, k.far)
}

// far says whether a branch may have to reach further than it can: text is a quarter
// of the arena, and of the default one it is as long as a branch reaches.
func (k *Kernel) far(m arch.Machine, _ uint64) bool {
	return k.cfg.ArenaSize/4 > m.Facts().BranchReach
}

// admissible checks machines and names of modules before they take anything.
func (k *Kernel) admissible(fresh []*module, boot bool) error {
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
		case k.byName[m.name] != nil:
			errs.Add(diag.New(diag.ErrConflict, file, "a module named %s is already loaded", diag.Quote(m.name)))
		case m.name == KernelName && !boot:
			errs.Add(diag.New(diag.ErrConflict, file, "the name %s belongs to what the host boots with; --as gives another", diag.Quote(m.name)))
		}
	}
	errs.Add(sound(fresh))
	return errs.Err()
}

// run does the load: room, stacks, entries, bytes, switch, books.
func (l *loading) run(dry bool) (*Change, error) {
	k := l.k
	if err := l.room(); err != nil {
		return nil, err
	}
	if err := l.plan(); err != nil {
		return nil, err
	}
	if err := l.takeEntries(); err != nil {
		return nil, err
	}
	err := l.apply(func(m *module) (out [link.Regions][]byte) {
		for r := range out {
			out[r] = k.arena.Bytes(m.at[r], m.lm.Init[r])
		}
		return out
	})
	if err != nil {
		return nil, err
	}
	l.sortSites()
	sw, err := patch.Plan(k.arena, k.machine, &k.sites, k.moves(l.change, l.address))
	if err != nil {
		return nil, err
	}
	report := l.report(sw, dry)
	if dry {
		return report, nil
	}
	if err := sw.Run(patch.Alone()); err != nil && !sw.Turned() {
		return nil, err
	}
	l.commit()
	for i := range report.Loaded {
		report.Loaded[i].State = stateLive
	}
	return report, nil
}

// room allocates the blocks of every fresh module.
func (l *loading) room() error {
	for _, m := range l.fresh {
		for r := range m.at {
			addr, err := l.k.arena.Alloc(arena.Region(r), m.lm.Size[r], m.lm.Align[r])
			if err != nil {
				return diag.New(diag.ErrNoSpace, m.file(), "%v", err)
			}
			m.at[r] = addr
		}
	}
	return nil
}

// takeEntries gives an entry to every slot whose address is taken and has none.
// Its jump is written at once: nobody leads there yet.
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
		to, _ := l.address(l.change.Current(s))
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

// moves turns the stacks' moves into addresses. Data has no sites, but its name may
// have an entry from a time when it was a function: that stays a trap. A symbol that
// nobody provides any more keeps its sites (see emptied).
func (k *Kernel) moves(c *aliasstack.Change, address func(aliasstack.Provider) (uint64, uint64)) []patch.Move {
	var moves []patch.Move
	for _, mv := range c.Moves() {
		if !leads(mv.To) || k.sites.Count(uint32(mv.Slot)) == 0 {
			continue
		}
		from, _ := address(mv.From)
		to, _ := address(mv.To)
		moves = append(moves, patch.Move{Slot: uint32(mv.Slot), Old: from, New: to})
	}
	return moves
}

// leads says that sites can lead to a provider: there is one, and it is a function.
func leads(p aliasstack.Provider) bool { return p.Module != 0 && p.Class == aliasstack.Func }

// commit enters what was done into the books; it cannot fail.
func (l *loading) commit() {
	k := l.k
	l.change.Commit()
	for _, s := range l.entries {
		k.addEntrySite(s)
	}
	for _, m := range l.fresh {
		k.addSites(m)
		m.state = stateLive
		m.result, m.follows = nil, nil
		k.modules[m.id] = m
		k.byName[m.name] = m
	}
	k.nextID += aliasstack.ModuleID(len(l.fresh))
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

// abandon gives back what the load took. Live modules were not touched.
func (l *loading) abandon() {
	for _, s := range l.entries {
		l.k.entries.drop(s)
	}
	for _, m := range l.fresh {
		l.k.giveBack(m)
	}
}

// giveBack frees a module's blocks: the arena fills text with traps.
func (k *Kernel) giveBack(m *module) {
	for r, addr := range m.at {
		if addr != 0 {
			k.arena.Free(arena.Region(r), addr, m.lm.Size[r])
		}
	}
	m.at = [link.Regions]uint64{}
}
