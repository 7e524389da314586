package aliasstack

import "slices"

// Lookup returns the slot of the name; false if the name was never provided or
// referred to.
func (t *Table) Lookup(name string) (SlotID, bool) {
	if s := t.names[name]; s != nil {
		return s.id, true
	}
	return 0, false
}

// Current returns the provider that the slot follows, none if nobody provides it
// or there is no such slot. It is a kept one only if no live one could be it.
func (t *Table) Current(id SlotID) Provider { return t.slot(id).current().provider() }

// current returns the node that s follows; s may be nil.
func (s *slot) current() *node {
	switch {
	case s == nil:
		return nil
	case s.owner != nil:
		return s.owner.layer.to
	}
	return s.cur
}

// Provided reports whether the slot follows a live provider: whether a need of its
// name would be bound if a module were loaded now.
func (t *Table) Provided(id SlotID) bool { return t.slot(id).current().live() }

// Kept reports whether the module has left and keeps its places.
func (t *Table) Kept(id ModuleID) bool {
	m := t.modules[id]
	return m != nil && m.kept
}

// Stack returns the places of the slot, kept ones too, top first: all of its name,
// or for a super slot those below its module. The slice is the caller's.
func (t *Table) Stack(id SlotID) []Provider {
	s := t.slot(id)
	if s == nil {
		return nil
	}
	n := s.top
	if s.owner != nil {
		n = s.owner.below
	}
	var stack []Provider
	for ; n != nil; n = n.below {
		stack = append(stack, n.p)
	}
	return stack
}

// SlotName returns the name of a slot and 0, or for the slot of super_S the name S
// and the module that it is private to; "" and 0 if there is no such slot.
func (t *Table) SlotName(id SlotID) (name string, super ModuleID) { return t.slot(id).names() }

// names returns what SlotName does; s may be nil.
func (s *slot) names() (name string, super ModuleID) {
	if s == nil {
		return "", 0
	}
	return s.name, s.super()
}

// super returns the module that a super slot is private to, 0 for a name's slot.
func (s *slot) super() ModuleID {
	if s.owner == nil {
		return 0
	}
	return s.owner.p.Module
}

// Users returns the modules that refer to the slot's symbol, sorted; for a super
// slot its module. The slice is the caller's.
func (t *Table) Users(id SlotID) []ModuleID {
	s := t.slot(id)
	if s == nil {
		return nil
	}
	if s.owner != nil {
		return []ModuleID{s.super()}
	}
	ids := make([]ModuleID, len(s.users))
	for i, u := range s.users {
		ids[i] = u.mod.req.ID
	}
	slices.Sort(ids)
	return ids
}

// Names returns the names that have a provider or a user, sorted. The slice is the
// caller's.
func (t *Table) Names() []string {
	names := make([]string, 0, len(t.names))
	for name, s := range t.names {
		if s.top != nil || len(s.users) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Module returns the request that the module was loaded with; false if it is not
// there. Its slices are the Table's and must not be changed.
func (t *Table) Module(id ModuleID) (Request, bool) {
	if m := t.modules[id]; m != nil {
		return m.req, true
	}
	return Request{}, false
}

// Supers returns the super slots of the module, in the order of its Request.Supers;
// nil if it has none or is not there. The slice is the caller's.
func (t *Table) Supers(id ModuleID) []SlotID {
	m := t.modules[id]
	if m == nil {
		return nil
	}
	var ids []SlotID
	for _, s := range m.supers {
		ids = append(ids, s.id)
	}
	return ids
}
