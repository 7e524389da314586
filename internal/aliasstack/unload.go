package aliasstack

import (
	"cmp"
	"slices"
	"strings"

	"klink/internal/diag"
)

// PlanUnload plans the leaving of the modules, all or none. What they need of one
// another does not count.
//
// If that is refused, the error is a *diag.Errors with every reason: one of kind
// diag.ErrNeeded for each symbol, and for each module that others require, naming
// all modules that need it; diag.ErrNotFound for an id that is unknown or comes a
// second time. The Change is then nil.
func (t *Table) PlanUnload(ids []ModuleID) (*Change, error) {
	c := newChange(t)
	c.leaving = make([]*module, 0, len(ids))
	c.leavingByID = make(map[ModuleID]*module, len(ids))
	var errs diag.List
	for _, id := range ids {
		m := t.modules[id]
		switch {
		case m == nil:
			errs.Add(diag.New(diag.ErrNotFound, "", "there is no module with id %d", id))
		case c.leavingByID[id] != nil:
			errs.Add(diag.New(diag.ErrNotFound, m.req.Name, "the module is named twice in one command"))
		default:
			c.leaving = append(c.leaving, m)
			c.leavingByID[id] = m
		}
	}
	for _, m := range c.leaving {
		for i := range m.nodes {
			n := &m.nodes[i]
			e := c.touch(n.slot)
			e.gone = append(e.gone, n)
		}
	}
	for _, s := range c.touched {
		e := c.edits[s]
		e.top = c.staying(s.top, (*node).down)
		e.bottom = c.staying(s.bottom, (*node).up)
		c.holdStack(s, e, &errs)
	}
	for _, m := range c.leaving {
		c.holdRequired(m, &errs)
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// holdStack adds the reasons for which the providers that leave the stack of s
// must stay. Users are looked through only where each of them is either leaving
// or named in the answer.
func (c *Change) holdStack(s *slot, e *edit, errs *diag.List) {
	switch {
	case e.top == nil:
		if by := c.stayingUsers(s, nil); len(by) > 0 {
			errs.Add(diag.New(diag.ErrNeeded, nodeNames(e.gone), "%s would have no provider left, but is needed by %s",
				diag.Quote(s.name), moduleList(by)))
		}
		return // and every user of its data has been named
	case e.bottom.p.Kind == Refinement:
		errs.Add(diag.New(diag.ErrNeeded, nodeNames(e.gone), "%s would have nothing left below the refinement of %s",
			diag.Quote(s.name), moduleList([]*module{e.bottom.mod})))
	}
	for _, n := range e.gone {
		if n.named == 0 {
			continue
		}
		if by := c.stayingUsers(s, n); len(by) > 0 {
			errs.Add(diag.New(diag.ErrNeeded, n.mod.req.Name, "%s is data that the relocations of %s name",
				diag.Quote(s.name), moduleList(by)))
		}
	}
}

// stayingUsers returns the modules that stay and refer to s; with a provider of
// data only those whose relocations name it.
func (c *Change) stayingUsers(s *slot, data *node) []*module {
	var by []*module
	for _, u := range s.users {
		if !c.leaves(u.mod) && (data == nil || u.mod.needs[u.need].data == data) {
			by = append(by, u.mod)
		}
	}
	return by
}

// holdRequired adds the reason for which m must stay as a required module.
func (c *Change) holdRequired(m *module, errs *diag.List) {
	var by []*module
	for r := range m.requiredBy {
		if !c.leaves(r) {
			by = append(by, r)
		}
	}
	if len(by) > 0 {
		errs.Add(diag.New(diag.ErrNeeded, m.req.Name, "the module is required by %s", moduleList(by)))
	}
}

// nodeNames returns the names of the nodes' modules, sorted, as they are.
func nodeNames(nodes []*node) string {
	mods := make([]*module, len(nodes))
	for i, n := range nodes {
		mods[i] = n.mod
	}
	sortModules(mods)
	names := make([]string, len(mods))
	for i, m := range mods {
		names[i] = m.req.Name
	}
	return strings.Join(names, ", ")
}

// moduleList returns "module a" or "modules a, b", sorted, each name escaped. It
// sorts its argument.
func moduleList(mods []*module) string {
	sortModules(mods)
	var b strings.Builder
	b.WriteString("module")
	if len(mods) > 1 {
		b.WriteString("s")
	}
	for i, m := range mods {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(" " + m.escaped())
	}
	return b.String()
}

// sortModules sorts by name; modules of one name by id.
func sortModules(mods []*module) {
	slices.SortFunc(mods, func(a, b *module) int {
		if r := strings.Compare(a.req.Name, b.req.Name); r != 0 {
			return r
		}
		return cmp.Compare(a.req.ID, b.req.ID)
	})
}
