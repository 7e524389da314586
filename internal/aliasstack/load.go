package aliasstack

import (
	"cmp"
	"slices"
	"strings"

	"klink/internal/diag"
)

// PlanLoad plans the loading of the modules, which push in the order given, refer
// to one another freely, and succeed or fail as one.
//
// Strong needs without provider are no error here: the Change lists them in
// Missing, for the caller, who knows the places, to report.
//
// If the rules refuse the load, the error is a *diag.Errors with every reason: of
// kind diag.ErrConflict where a stack forbids an offer, diag.ErrDuplicate for a
// name offered twice by one module or a module that is loaded already,
// diag.ErrUndefined for a super_S without own S, diag.ErrNotFound for an unknown
// required module or the id 0, diag.ErrBusy for a kept required module. The Change beside it answers Missing and Absent, so
// that everything can be reported together, and nothing else.
func (t *Table) PlanLoad(reqs []Request, opts LoadOptions) (*Change, error) {
	c := newChange(t)
	c.added = make([]*module, 0, len(reqs))
	c.addedByID = make(map[ModuleID]*module, len(reqs))
	names := 0
	for i := range reqs {
		names += len(reqs[i].Offers)
	}
	c.names = make(map[string]*slot, names)
	c.reused = make(map[SlotID]*slot)
	l := loader{c: c, opts: opts, refused: make(map[string]bool)}
	for i := range reqs {
		l.admit(&reqs[i])
	}
	for _, m := range c.added {
		l.push(m)
	}
	for _, n := range l.early {
		l.errs.Add(nothingToRefine(n, c))
	}
	for _, m := range c.added {
		l.require(m)
		l.bind(m)
	}
	c.missing = sorted(c.missing)
	c.absent = sorted(c.absent)
	if err := l.errs.Err(); err != nil {
		return &Change{t: t, state: refused, missing: c.missing, absent: c.absent}, err
	}
	for _, m := range c.added {
		for _, s := range m.supers {
			c.number(s)
		}
	}
	slices.SortFunc(c.hidden, func(a, b Hidden) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

// sorted sorts by module, then name, and removes repetitions.
func sorted(ms []Missing) []Missing {
	slices.SortFunc(ms, func(a, b Missing) int {
		if r := cmp.Compare(a.Module, b.Module); r != 0 {
			return r
		}
		return strings.Compare(a.Name, b.Name)
	})
	return slices.Compact(ms)
}

// loader is PlanLoad at work.
type loader struct {
	c       *Change
	opts    LoadOptions
	errs    diag.List
	refused map[string]bool // names with a refused offer: a need of one is no second error
	early   []*node         // refinements that found nobody live to refine
}

// admit checks what a request says by itself and makes its module.
func (l *loader) admit(r *Request) {
	switch {
	case r.ID == 0:
		l.errs.Add(diag.New(diag.ErrNotFound, r.file(), "0 is no module id"))
		return
	case l.c.module(r.ID) != nil:
		l.errs.Add(diag.New(diag.ErrDuplicate, r.file(), "module %s is there already (id %d)", diag.Escape(r.Name), r.ID))
		return
	}
	m := &module{
		req:     *r,
		offerAt: make(map[string]int32, len(r.Offers)),
		nodes:   make([]node, len(r.Offers)),
		needs:   make([]need, 0, len(r.Needs)),
	}
	for i, o := range r.Offers {
		if _, twice := m.offerAt[o.Name]; twice {
			l.errs.Add(diag.New(diag.ErrDuplicate, r.file(), "%s is provided twice by one module", diag.Quote(o.Name)))
			continue
		}
		m.offerAt[o.Name] = int32(i)
		m.nodes[i].p = Provider{Module: r.ID, Offer: int32(i), Kind: o.Kind, Class: o.Class}
		m.nodes[i].mod = m
	}
	for _, name := range r.Supers {
		n := m.node(name)
		if n == nil {
			l.errs.Add(diag.New(diag.ErrUndefined, r.file(), "%s is referred to, but the module does not provide %s",
				diag.Quote("super_"+name), diag.Quote(name)))
			continue
		}
		if n.super == nil {
			n.p.Kind = Refinement
			n.super = &slot{name: name, owner: n}
			m.supers = append(m.supers, n.super)
		}
	}
	l.c.added = append(l.c.added, m)
	l.c.addedByID[r.ID] = m
}

// push puts every offer of m into its stack, or notes why not.
func (l *loader) push(m *module) {
	for i, o := range m.req.Offers {
		n := &m.nodes[i]
		if n.mod == nil {
			continue // the second of a name; admit has refused it
		}
		s := l.c.find(o.Name)
		e := &ends{} // an empty stack, unless there is one
		if s != nil {
			e = l.c.ends(s)
		}
		if !e.cur.live() && n.p.Kind == Refinement {
			l.early = append(l.early, n)
			l.refused[o.Name] = true
			continue
		}
		if err := refuse(n, e); err != nil {
			l.errs.Add(err)
			l.refused[o.Name] = true
			continue
		}
		if s == nil {
			s = l.c.ensure(o.Name)
		}
		n.slot = s
		l.place(n)
	}
}

// refuse returns why n may not join the stack whose ends are given, nil if it may.
// A refinement of nothing is not its business.
func refuse(n *node, e *ends) error {
	top, override := e.top, e.override
	if top == nil {
		return nil
	}
	r, name := &n.mod.req, n.mod.req.Offers[n.p.Offer].Name
	switch q := diag.Quote(name); {
	case n.p.Class != e.class:
		return diag.New(diag.ErrConflict, r.file(), "%s is %s, but %s in module %s%s",
			q, classWords[n.p.Class], classWords[e.class], top.mod.called(), private(name))
	case e.class == Data && n.p.Kind != Default:
		return diag.New(diag.ErrConflict, r.file(), "%s is data of module %s, which no %s can replace%s",
			q, top.mod.called(), n.p.Kind, private(name))
	case n.p.Kind == Override && override != nil:
		return diag.New(diag.ErrConflict, r.file(), "%s already has an override, from module %s%s",
			q, override.mod.called(), private(name))
	}
	return nil
}

// classWords are indexed by Class.
var classWords = [...]string{Func: "a function", Data: "data"}

// private is the end of a message that a module can avoid by keeping a name to
// itself.
func private(name string) string {
	return "; --private " + diag.Escape(name) + " keeps this one to its own module"
}

// nothingToRefine is the refusal of a refinement that found nobody live to refine.
func nothingToRefine(n *node, c *Change) error {
	r, name := &n.mod.req, n.mod.req.Offers[n.p.Offer].Name
	if s := c.find(name); s != nil {
		if cur := c.ends(s).cur; cur != nil {
			why := "nothing to refine yet: module %s, which provides it, comes later in the command"
			if cur.mod.kept {
				why = "nothing to refine: module %s, which provides it, is being unloaded"
			}
			return diag.New(diag.ErrConflict, r.file(), "%s: "+why, diag.Quote(name), diag.Escape(cur.mod.req.Name))
		}
	}
	return diag.New(diag.ErrConflict, r.file(), "%s: nothing to refine: no module provides it", diag.Quote(name))
}

// place puts n, which may, into its stack as it will be: a default at the very
// bottom, any other on top. Nodes of the table keep their links until Commit; the
// edit notes what they will be.
func (l *loader) place(n *node) {
	s := n.slot
	at, over, under := &s.ends, (**node)(nil), (**node)(nil)
	if !s.fresh {
		e := l.c.touch(s)
		at = &e.ends
		if at.top == s.top {
			over = &e.over
		}
		if at.bottom == s.bottom {
			under = &e.under
		}
	}
	if n.p.Kind == Refinement {
		n.layer = &layer{node: n, to: at.cur}
	}
	if n.p.Kind == Default && at.top != nil && under != nil {
		l.adopt(n)
	}
	if n.p.Kind != Default || !at.cur.live() {
		at.cur = n
	}
	switch {
	case at.top == nil:
		at.top, at.bottom, at.class = n, n, n.p.Class
	case n.p.Kind == Default:
		if under == nil {
			under = &at.bottom.below
		}
		*under, n.above, at.bottom = n, at.bottom, n
	default:
		if over == nil {
			over = &at.top.above
		}
		*over, n.below, at.top = n, at.top, n
	}
	if n.p.Kind == Override {
		at.override = n
		l.hides(n)
	}
}

// adopt binds the lowest live provider of the table to the default n, which will be
// below it, if it is a refinement that had only kept ones below.
func (l *loader) adopt(n *node) {
	for a := n.slot.bottom; a != nil; a = a.above {
		if a.live() {
			if a.layer != nil && !a.layer.to.live() {
				l.c.rebind(a.layer, n)
			}
			return
		}
	}
}

// hides notes the refinements below the override n: they are just below it, since
// defaults are at the bottom and there is no second override.
func (l *loader) hides(n *node) {
	var ids []ModuleID
	for b := n.below; b != nil && b.p.Kind == Refinement; b = b.below {
		ids = append(ids, b.p.Module)
	}
	if ids != nil {
		l.c.hidden = append(l.c.hidden, Hidden{Name: n.slot.name, By: n.p.Module, Refinements: ids})
	}
}

// require looks up the modules that m requires.
func (l *loader) require(m *module) {
	for _, id := range m.req.Requires {
		r := l.c.module(id)
		if r == nil {
			l.errs.Add(diag.New(diag.ErrNotFound, m.req.file(), "the required module with id %d is not there", id))
			continue
		}
		if r.kept {
			l.errs.Add(diag.New(diag.ErrBusy, m.req.file(), "the required module %s is being unloaded", diag.Escape(r.req.Name)))
			continue
		}
		m.requires = append(m.requires, r)
	}
}

// bind looks up the needs of m in the stacks as they will be.
func (l *loader) bind(m *module) {
	id, firstAbsent := m.req.ID, len(l.c.absent)
	var kept map[string]bool
	for _, nd := range m.req.Needs {
		s := l.c.find(nd.Name)
		var e *ends
		if s != nil {
			e = &s.ends
			if !e.cur.live() { // else a load changes neither class nor who is current on data
				e = l.c.ends(s)
			}
		}
		switch {
		case e != nil && e.cur.live() && e.class == Data:
			m.needs = append(m.needs, need{slot: s, data: e.cur})
		case e != nil && e.cur.live():
			m.needs = append(m.needs, need{slot: s})
		case l.refused[nd.Name]:
		case nd.Weak:
			l.c.absent = append(l.c.absent, Missing{id, nd.Name})
		case l.opts.KeepMissing && (e == nil || e.cur == nil):
			m.needs = append(m.needs, need{slot: l.c.ensure(nd.Name)})
			if kept == nil {
				kept = make(map[string]bool)
			}
			kept[nd.Name] = true
		default:
			l.c.missing = append(l.c.missing, Missing{id, nd.Name})
		}
	}
	if kept != nil && len(l.c.absent) > firstAbsent { // a name both weak and strong is strong
		own := slices.DeleteFunc(l.c.absent[firstAbsent:], func(a Missing) bool { return kept[a.Name] })
		l.c.absent = l.c.absent[:firstAbsent+len(own)]
	}
}

// file returns what messages about the request begin with.
func (r *Request) file() string {
	if r.File != "" {
		return r.File
	}
	return r.Name
}

// called returns the module's name, fit for a terminal, and whether it is kept.
func (m *module) called() string {
	if m.kept {
		return diag.Escape(m.req.Name) + " (being unloaded)"
	}
	return diag.Escape(m.req.Name)
}
