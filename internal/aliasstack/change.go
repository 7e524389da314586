package aliasstack

import (
	"cmp"
	"slices"
	"strings"
)

// Change is a planned load, or a planned step of an unload. Until Commit it answers from an overlay and
// the Table is as it was; a Change that is not wanted is just dropped. After its
// Commit it still answers Moves, Missing, Absent and Hidden; the other questions
// are then answered from the Table as it stands. Slices that it returns are shared
// and must not be changed.
type Change struct {
	t       *Table
	version uint64 // of the table that was planned on
	state   state

	edits   map[*slot]*edit
	touched []*slot // the keys of edits, in the order of the command

	added     []*module // to be loaded, in push order
	addedByID map[ModuleID]*module
	names     map[string]*slot // slots of names that the table does not know
	grown     []*slot          // new slots whose ids follow the table's
	reused    map[SlotID]*slot // new slots whose ids were free
	fresh     []*slot          // the slots in names
	chunk     []slot           // memory for the next new names; they stay for ever

	step     step      // what happens to the subjects
	subjects []*module // loaded modules that the command names
	subject  map[ModuleID]*module

	rebound map[*layer]*node // layers of the table that will be bound to another provider

	missing, absent []Missing
	hidden          []Hidden
	rows            []row  // nil: not compared yet
	moves           []Move // nil: not asked for yet
}

// state is where a Change is in its life.
type state uint8

const (
	planned state = iota
	refused
	committed
)

// edit is one stack as it will be. A load only adds at both ends, a step of an unload
// only takes away, so the ends are enough: the middle is the table's.
type edit struct {
	ends
	over, under *node     // load only: new neighbours of the table's own top and bottom
	subjects    []*node   // the places of the subjects
	lost        []*module // whose refinements would be bound to nobody
}

func newChange(t *Table) *Change {
	return &Change{t: t, version: t.version, edits: make(map[*slot]*edit)}
}

// touch returns the edit of s, a slot of the table, a new one if there is none yet.
func (c *Change) touch(s *slot) *edit {
	e := c.edits[s]
	if e == nil {
		e = &edit{ends: s.ends}
		c.edits[s] = e
		c.touched = append(c.touched, s)
	}
	return e
}

// ends returns the ends of the stack of s as it will be. A fresh slot has no edit:
// it belongs to the Change as it is.
func (c *Change) ends(s *slot) *ends {
	if !s.fresh {
		if e := c.edits[s]; e != nil {
			return &e.ends
		}
	}
	return &s.ends
}

// find returns the slot of the name, nil if there is none.
func (c *Change) find(name string) *slot {
	if s := c.t.names[name]; s != nil {
		return s
	}
	return c.names[name]
}

// ensure returns the slot of the name, a new one if there is none.
func (c *Change) ensure(name string) *slot {
	s := c.find(name)
	if s == nil {
		if len(c.chunk) == 0 {
			c.chunk = make([]slot, min(max(4, len(c.fresh)), 64))
		}
		s = &c.chunk[0]
		c.chunk = c.chunk[1:]
		s.name, s.fresh = name, true
		c.number(s)
		c.names[name] = s
		c.fresh = append(c.fresh, s)
	}
	return s
}

// number gives a new slot its id: a free one, else the next. An abandoned Change
// leaves no trace, so the next Change takes the same ids.
func (c *Change) number(s *slot) {
	if n := len(c.t.free) - len(c.reused); n > 0 {
		s.id = c.t.free[n-1]
		c.reused[s.id] = s
		return
	}
	s.id = SlotID(len(c.t.slots) + len(c.grown))
	c.grown = append(c.grown, s)
}

// slot returns the slot with the id, nil if there is none.
func (c *Change) slot(id SlotID) *slot {
	if s := c.t.slot(id); s != nil {
		return s
	}
	if s := c.reused[id]; s != nil {
		return s
	}
	if i := int64(id) - int64(len(c.t.slots)); i >= 0 && i < int64(len(c.grown)) {
		return c.grown[i]
	}
	return nil
}

// module returns the module that will be there under the id, nil if none.
func (c *Change) module(id ModuleID) *module {
	if m := c.subject[id]; m != nil && c.goes(m) {
		return nil
	}
	if m := c.addedByID[id]; m != nil {
		return m
	}
	return c.t.modules[id]
}

// named reports whether m is a subject.
func (c *Change) named(m *module) bool { return c.subject[m.req.ID] != nil }

// goes reports whether m will not be in the table any more.
func (c *Change) goes(m *module) bool { return c.step.to == gone && c.named(m) }

// live reports whether n will be a provider whose module has not left.
func (c *Change) live(n *node) bool {
	if c.named(n.mod) {
		return c.step.to == live
	}
	return !n.mod.kept
}

// down returns the place just below n, be it one that goes, but with those that a load
// pushes.
func (c *Change) down(n *node) *node {
	if n == n.slot.bottom {
		if e := c.edits[n.slot]; e != nil {
			return e.under
		}
	}
	return n.below
}

// liveBelow returns the nearest live provider that will be below n, nil if none.
func (c *Change) liveBelow(n *node) *node {
	for n = c.down(n); n != nil && !c.live(n); {
		n = c.down(n)
	}
	return n
}

// below returns what n will be bound to, or if it is no refinement would be; nil if
// nobody, or if n goes.
func (c *Change) below(n *node) *node {
	switch {
	case c.goes(n.mod):
		return nil
	case n.layer == nil:
		return c.liveBelow(n)
	}
	if to := c.rebound[n.layer]; to != nil {
		return to
	}
	return n.layer.to
}

// rebind notes that y, a layer of the table, will be bound to the provider to.
func (c *Change) rebind(y *layer, to *node) {
	if c.rebound == nil {
		c.rebound = make(map[*layer]*node)
	}
	c.rebound[y] = to
}

func (n *node) up() *node   { return n.above }
func (n *node) down() *node { return n.below }

// staying returns the first node from n on, in the direction of next, that does not go.
func (c *Change) staying(n *node, next func(*node) *node) *node {
	for n != nil && c.goes(n.mod) {
		n = next(n)
	}
	return n
}

// Moves returns every slot whose current provider differs, sorted by the slot's
// name, a name before the super slots of that name, those by module. The super
// slots of a module that goes are among them and lead to nobody: their sites go
// too.
func (c *Change) Moves() []Move {
	if c.moves != nil {
		return c.moves
	}
	c.compare()
	slices.SortFunc(c.rows, func(a, b row) int {
		if r := strings.Compare(a.slot.name, b.slot.name); r != 0 {
			return r
		}
		return cmp.Compare(a.slot.super(), b.slot.super())
	})
	c.moves = make([]Move, len(c.rows))
	for i, r := range c.rows {
		c.moves[i] = r.move
	}
	return c.moves
}

// row is a Move before it is sorted.
type row struct {
	slot *slot
	move Move
}

// compare finds the moves, once: they tell from the Table as it is before Commit.
func (c *Change) compare() {
	if c.rows != nil {
		return
	}
	c.rows = make([]row, 0, len(c.touched)+len(c.fresh))
	add := func(s *slot, from, to *node) {
		if from != to {
			c.rows = append(c.rows, row{s, Move{s.id, from.provider(), to.provider()}})
		}
	}
	for _, s := range c.touched {
		add(s, s.cur, c.edits[s].cur)
	}
	for y, to := range c.rebound {
		if s := y.node.super; s != nil {
			add(s, y.to, to)
		}
	}
	if c.step.to == gone {
		for _, m := range c.subjects {
			for _, s := range m.supers {
				add(s, s.current(), nil)
			}
		}
	}
	for _, s := range c.fresh {
		add(s, nil, s.cur)
	}
	for _, m := range c.added {
		for _, s := range m.supers {
			add(s, nil, s.current())
		}
	}
}

// Missing returns the strong needs without provider, sorted by module, then name.
// If there is one, the Change cannot be committed.
func (c *Change) Missing() []Missing { return c.missing }

// Absent returns the weak needs without provider, sorted by module, then name:
// they stay 0 for that module and are no references.
func (c *Change) Absent() []Missing { return c.absent }

// Hidden returns the overrides that are pushed over refinements, sorted by name.
func (c *Change) Hidden() []Hidden { return c.hidden }

// Slot returns the slot of the name, as Table.Lookup will after Commit.
func (c *Change) Slot(name string) (SlotID, bool) {
	if s := c.find(name); s != nil {
		return s.id, true
	}
	return 0, false
}

// Super returns the slot of super_S for the module that provides and refers to it
// (name is S); false if there is none, or the module goes.
func (c *Change) Super(m ModuleID, name string) (SlotID, bool) {
	if n := c.module(m).node(name); n != nil && n.super != nil {
		return n.super.id, true
	}
	return 0, false
}

// SlotName is as Table.SlotName, for the slots that the Change makes too. After
// the Commit the super slots of modules that went have no name any more.
func (c *Change) SlotName(id SlotID) (name string, super ModuleID) { return c.slot(id).names() }

// Current returns the provider that the slot will follow, as Table.Current will
// after Commit.
func (c *Change) Current(id SlotID) Provider { return c.current(id).provider() }

// Provided reports whether the slot will follow a live provider. A need of the
// loaded modules that is not provided is absent or missing, whatever Current says.
func (c *Change) Provided(id SlotID) bool {
	n := c.current(id)
	return n != nil && c.live(n)
}

// current returns the node that the slot will follow.
func (c *Change) current(id SlotID) *node {
	s := c.slot(id)
	switch {
	case s == nil:
		return nil
	case s.owner != nil:
		return c.below(s.owner)
	}
	return c.ends(s).cur
}

// Below returns the provider that super_S of the module will lead to (name is S), or
// would if the module referred to it: a refinement's is the one that it is bound to,
// any other's the nearest live one below its own. It is none if there is none, or
// the module does not provide the name.
func (c *Change) Below(m ModuleID, name string) Provider {
	n := c.module(m).node(name)
	if n == nil {
		return Provider{}
	}
	return c.below(n).provider()
}

// Commit makes the Table what the Change planned. It panics if a need is missing,
// if the Change was refused or committed before, or if the Table is not the one
// that was planned on any more.
func (c *Change) Commit() {
	switch {
	case c.state == refused:
		panic("BUG: aliasstack: commit of a refused change")
	case c.state == committed:
		panic("BUG: aliasstack: change committed twice")
	case c.version != c.t.version:
		panic("BUG: aliasstack: the table changed since this change was planned")
	case len(c.missing) > 0:
		panic("BUG: aliasstack: commit of a change with missing names")
	}
	c.compare()
	c.commitLoad()
	c.commitStep()
	for y, to := range c.rebound {
		y.unbind()
		y.bind(to)
	}
	c.t.version++
	*c = Change{
		t: c.t, state: committed,
		missing: c.missing, absent: c.absent, hidden: c.hidden, rows: c.rows, moves: c.moves,
	}
}

// commitLoad enters what PlanLoad planned.
func (c *Change) commitLoad() {
	t := c.t
	first := len(t.names) == 0 && c.names != nil
	if first {
		t.names = c.names
	}
	for _, s := range c.fresh {
		s.fresh = false
		if !first {
			t.names[s.name] = s
		}
	}
	t.free = t.free[:len(t.free)-len(c.reused)]
	for id, s := range c.reused {
		t.slots[id] = s
	}
	t.slots = append(t.slots, c.grown...)
	if len(c.added) == 0 {
		return
	}
	for _, s := range c.touched {
		e := c.edits[s]
		if s.top != nil {
			s.top.above, s.bottom.below = e.over, e.under
		}
		s.ends = e.ends
	}
	for _, m := range c.added {
		t.modules[m.req.ID] = m
		m.addUsers()
		for i := range m.nodes {
			if y := m.nodes[i].layer; y != nil {
				y.bind(y.to)
			}
		}
		for _, r := range m.requires {
			if r.requiredBy == nil {
				r.requiredBy = make(map[*module]struct{})
			}
			r.requiredBy[m] = struct{}{}
		}
	}
}

// commitStep carries out what a step of an unload planned.
func (c *Change) commitStep() {
	for _, m := range c.subjects {
		if c.step.to == gone {
			c.t.drop(m)
		} else {
			m.kept = c.step.to == kept
		}
	}
	if len(c.subjects) > 0 {
		for _, s := range c.touched {
			s.cur = c.edits[s].cur
		}
	}
}

// drop takes m out of the table. Who is current then, and whom others are bound to,
// the caller knows.
func (t *Table) drop(m *module) {
	for i := range m.nodes {
		n := &m.nodes[i]
		n.unlink()
		if n.layer != nil {
			n.layer.unbind()
		}
	}
	m.dropUsers()
	for _, s := range m.supers {
		t.slots[s.id] = nil
		t.free = append(t.free, s.id)
	}
	for _, r := range m.requires {
		delete(r.requiredBy, m)
	}
	delete(t.modules, m.req.ID)
}
