package kernel

import (
	"klink/internal/aliasstack"
	"klink/internal/diag"
	"klink/internal/patch"
)

// Unload unloads modules: all of them, or none and nothing changed. Their names
// leave the stacks in one switch, then their memory is reclaimed.
func (k *Kernel) Unload(r UnloadRequest) (*Change, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	leaving, err := k.leaving(r.Modules)
	if err != nil {
		return nil, err
	}
	ids := make([]aliasstack.ModuleID, len(leaving))
	gone := map[aliasstack.ModuleID]bool{}
	for i, m := range leaving {
		ids[i], gone[m.id] = m.id, true
	}
	c, err := k.stacks.PlanUnload(ids)
	if err != nil {
		return nil, err
	}
	b := &batch{machine: k.machine, stacks: k.stacks, loaded: k.modules, change: c}
	sw, err := patch.Plan(k.arena, k.machine, &k.sites, k.moves(c, b.address))
	if err != nil {
		return nil, err
	}
	report := k.unloadReport(b, leaving, gone, sw)
	report.DryRun = r.DryRun
	if r.DryRun {
		return report, nil
	}
	if err := sw.Run(patch.Alone()); err != nil && !sw.Turned() {
		return nil, err
	}
	supers, empty := k.superSlots(leaving), emptied(c)
	c.Commit()
	for _, s := range empty {
		k.entries.trap(s)
	}
	for _, m := range leaving {
		k.forget(m)
	}
	for _, s := range supers {
		k.sites.Remove(0, uint32(s))
		k.entries.drop(s)
	}
	return report, nil
}

// leaving resolves the names of an unload; the kernel stays.
func (k *Kernel) leaving(names []string) ([]*module, error) {
	if len(names) == 0 {
		return nil, diag.New(diag.ErrUsage, "", "nothing to unload")
	}
	var list []*module
	var errs diag.List
	seen := map[*module]bool{}
	for _, name := range names {
		m, err := k.find(name)
		switch {
		case err != nil:
			errs.Add(err)
		case m.name == KernelName:
			errs.Add(diag.New(diag.ErrConflict, "", "%s: stays until the host halts", m.name))
		case seen[m]:
			errs.Add(diag.New(diag.ErrUsage, "", "%s is named twice", diag.Quote(m.name)))
		default:
			list = append(list, m)
		}
		seen[m] = true
	}
	return list, errs.Err()
}

// emptied returns the slots that nobody will provide after a change. Their sites are
// not moved by the switch: only modules that leave have any, and their text may run
// until it is reclaimed; what is left then is the entry, which traps.
func emptied(c *aliasstack.Change) []aliasstack.SlotID {
	var slots []aliasstack.SlotID
	for _, mv := range c.Moves() {
		if mv.To.Module == 0 {
			slots = append(slots, mv.Slot)
		}
	}
	return slots
}

// superSlots returns the slots of the modules' super_ symbols, whose entries go
// with them.
func (k *Kernel) superSlots(list []*module) []aliasstack.SlotID {
	var slots []aliasstack.SlotID
	for _, m := range list {
		slots = append(slots, k.stacks.Supers(m.id)...)
	}
	return slots
}

// forget removes a module from every table and gives its memory back.
func (k *Kernel) forget(m *module) {
	for _, s := range m.slots {
		k.sites.Remove(uint32(m.id), uint32(s))
	}
	delete(k.modules, m.id)
	delete(k.byName, m.name)
	k.giveBack(m)
}
