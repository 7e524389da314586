package aliasstack

import (
	"cmp"
	"slices"
	"strings"

	"klink/internal/diag"
)

// standing is how a loaded module stands.
type standing uint8

const (
	live standing = iota
	kept          // it has left, but its places stay
	gone
)

// step is what an unload, or a part of one, does to the modules that it names, its
// subjects.
type step struct {
	from, to standing
	lost     string // why a refinement holds what it is bound to: a format of the symbol and the modules
}

// The steps. A load has the zero step, and no subjects.
var (
	unloadStep = step{live, gone, nothingBelow}
	leaveStep  = step{live, kept, nothingBelow}
	forgetStep = step{kept, gone, "the refinement of %s in %s still leads there"}
	returnStep = step{kept, live, ""}
)

const nothingBelow = "%s would have nothing left below the refinement of %s"

// PlanUnload plans the leaving of the modules for good, all or none: PlanLeave and
// PlanForget in one. What they need of one another does not count.
//
// If that is refused, the error is a *diag.Errors with every reason: one of kind
// diag.ErrNeeded for each symbol, and for each module that others require, naming
// all modules that need it; diag.ErrBusy for a module that has left already;
// diag.ErrNotFound for an id that is unknown or comes a second time. The Change is
// then nil.
func (t *Table) PlanUnload(ids []ModuleID) (*Change, error) { return t.plan(ids, unloadStep) }

// PlanLeave plans that the modules, all or none, are kept: nobody else will enter
// them, but their places stay. Refusals are as PlanUnload's.
func (t *Table) PlanLeave(ids []ModuleID) (*Change, error) { return t.plan(ids, leaveStep) }

// PlanReturn plans that kept modules are live again, wherever their places are by
// now. The error is a *diag.Errors of kind diag.ErrNotFound for every id that is
// unknown, not of a kept module, or comes a second time. The Change is then nil.
func (t *Table) PlanReturn(ids []ModuleID) (*Change, error) { return t.plan(ids, returnStep) }

// PlanForget plans that kept modules go for good. Errors are as PlanReturn's, and of
// kind diag.ErrNeeded, as PlanUnload's, if modules that left with them, and are not
// forgotten with them, still follow or require them. A slot moves only if nobody who
// stays follows it: super_S of those who go to nobody; a symbol that nobody live
// provides to another kept provider, or to nobody.
func (t *Table) PlanForget(ids []ModuleID) (*Change, error) { return t.plan(ids, forgetStep) }

// plan plans a step of the modules.
func (t *Table) plan(ids []ModuleID, st step) (*Change, error) {
	c := newChange(t)
	c.step = st
	c.subjects = make([]*module, 0, len(ids))
	c.subject = make(map[ModuleID]*module, len(ids))
	var errs diag.List
	for _, id := range ids {
		m := t.modules[id]
		if err := c.unfit(id, m); err != nil {
			errs.Add(err)
			continue
		}
		c.subjects = append(c.subjects, m)
		c.subject[id] = m
	}
	for _, m := range c.subjects {
		for i := range m.nodes {
			n := &m.nodes[i]
			e := c.touch(n.slot)
			e.subjects = append(e.subjects, n)
		}
	}
	for _, s := range c.touched {
		c.settle(s)
	}
	if st.to != live {
		for _, s := range c.touched {
			c.holdStack(s, &errs)
		}
		for _, m := range c.subjects {
			c.holdRequired(m, &errs)
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// unfit returns why m, which the command names by the id, can be no subject; nil if
// it can.
func (c *Change) unfit(id ModuleID, m *module) error {
	switch {
	case m == nil:
		return diag.New(diag.ErrNotFound, "", "there is no module with id %d", id)
	case c.named(m):
		return diag.New(diag.ErrNotFound, m.req.Name, "the module is named twice in one command")
	case m.kept && c.step.from == live:
		return diag.New(diag.ErrBusy, m.req.Name, "the module is being unloaded already")
	case !m.kept && c.step.from == kept:
		return diag.New(diag.ErrNotFound, m.req.Name, "the module is not being unloaded")
	}
	return nil
}

// settle works out the edit of s: the ends, who will be current, and what refinements
// will be bound to.
func (c *Change) settle(s *slot) {
	e := c.edits[s]
	e.top = c.staying(s.top, (*node).down)
	e.bottom = c.staying(s.bottom, (*node).up)
	e.cur = e.top
	for e.cur != nil && !c.live(e.cur) {
		e.cur = e.cur.below
	}
	if e.cur == nil && e.top != nil {
		e.cur = s.cur // sites that follow a kept provider must not be led into another one
		if c.goes(s.cur.mod) {
			e.cur = e.top // nobody who stays follows it
		}
	}
	for _, n := range e.subjects {
		if c.step.to == live {
			c.settleReturn(n)
		} else {
			c.settleBound(n, e)
		}
	}
}

// settleReturn binds a place that is live again, and the live one above it.
func (c *Change) settleReturn(n *node) {
	above := n.above
	for above != nil && !c.live(above) {
		above = above.above
	}
	for _, a := range []*node{n, above} {
		if a == nil || a.layer == nil {
			continue
		}
		if to := c.liveBelow(a); to != nil && to != a.layer.to {
			c.rebind(a.layer, to)
		}
	}
}

// settleBound binds the refinements of those who stay and are bound to n, which
// leaves or goes, to the next live provider. Who goes has left before: if somebody is
// bound to it still, it left with it, and may be inside of it.
func (c *Change) settleBound(n *node, e *edit) {
	for y := n.bound; y != nil; y = y.next {
		if c.named(y.node.mod) {
			continue
		}
		var to *node
		if c.step.from == live {
			to = c.liveBelow(y.node)
		}
		if to == nil {
			e.lost = append(e.lost, y.node.mod)
			continue
		}
		c.rebind(y, to)
	}
}

// holdStack adds the reasons for which the subjects' places in the stack of s must
// stay. Users are looked through only where each of them is a subject, named in the
// answer, or kept.
func (c *Change) holdStack(s *slot, errs *diag.List) {
	e := c.edits[s]
	if len(e.lost) > 0 {
		errs.Add(diag.New(diag.ErrNeeded, nodeNames(e.subjects), c.step.lost, diag.Quote(s.name), moduleList(e.lost)))
	}
	if e.cur == nil || !c.live(e.cur) && c.named(s.cur.mod) {
		by := c.stayingUsers(s, func(d *node) bool { return d == nil || c.named(d.mod) })
		if len(by) > 0 {
			errs.Add(diag.New(diag.ErrNeeded, nodeNames(e.subjects), "%s would have no provider left, but is needed by %s",
				diag.Quote(s.name), moduleList(by)))
		}
		return // and every user of its data has been named
	}
	for _, n := range e.subjects {
		if n.named == 0 {
			continue
		}
		if by := c.stayingUsers(s, func(d *node) bool { return d == n }); len(by) > 0 {
			errs.Add(diag.New(diag.ErrNeeded, n.mod.req.Name, "%s is data that the relocations of %s name",
				diag.Quote(s.name), moduleList(by)))
		}
	}
}

// stayingUsers returns the modules that are no subjects and refer to s, as far as of
// holds for the provider whose data their relocations name (nil: none).
func (c *Change) stayingUsers(s *slot, of func(*node) bool) []*module {
	var by []*module
	for _, u := range s.users {
		if !c.named(u.mod) && of(u.mod.needs[u.need].data) {
			by = append(by, u.mod)
		}
	}
	return by
}

// holdRequired adds the reason for which m must stay as a required module.
func (c *Change) holdRequired(m *module, errs *diag.List) {
	var by []*module
	for r := range m.requiredBy {
		if !c.named(r) {
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

// moduleList returns "module a" or "modules a, b (being unloaded)", sorted, each name
// escaped. It sorts its argument.
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
		b.WriteString(" " + m.called())
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
