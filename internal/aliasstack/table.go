package aliasstack

// Table is all stacks and all loaded modules. See the package comment for who may
// use it when.
type Table struct {
	modules map[ModuleID]*module
	names   map[string]*slot
	slots   []*slot  // by SlotID; nil at 0 and where the id is free
	free    []SlotID // ids of super slots whose module left
	version uint64   // counts commits, so that a stale Change is noticed
}

// New returns an empty Table.
func New() *Table {
	return &Table{
		modules: make(map[ModuleID]*module),
		names:   make(map[string]*slot),
		slots:   make([]*slot, 1),
	}
}

// slot is what sites follow. A name's slot has a stack and users; a super slot has
// an owner, and leads to what that is bound to.
type slot struct {
	id   SlotID
	name string // for a super slot: S

	ends         // of the stack
	users []user // in no order

	owner *node // super slots only: the refinement that refers to super_S
	fresh bool  // made by a Change that is not committed
}

// ends are where a stack is taken hold of. All but cur are of live and kept places.
type ends struct {
	top, bottom *node
	cur         *node // whom sites follow: the topmost live provider, else a kept one
	override    *node // the one override, wherever it stands
	class       Class // of all providers; of no meaning in an empty stack
}

// node is one provider in its stack: stacks are lists, so that a provider leaves
// from any place, and its neighbours are found, in constant time.
type node struct {
	p            Provider
	slot         *slot
	mod          *module
	above, below *node
	super        *slot  // the slot of super_S, if the module refers to it
	layer        *layer // of a refinement
	bound        *layer // the first of the refinements that are bound to this provider
	named        int    // modules whose relocations name this data
}

// layer is how a refinement is bound to a provider below it, where its super_S, if
// it has one, leads. Who is bound to a provider is a list, so that the provider
// leaves without a search for them.
type layer struct {
	node       *node // the refinement
	to         *node
	next, prev *layer // the others that are bound to the same provider, in no order
}

// bind makes y, which is bound to nothing, known to the provider that it is bound to.
func (y *layer) bind(to *node) {
	y.to, y.next = to, to.bound
	if y.next != nil {
		y.next.prev = y
	}
	to.bound = y
}

// unbind undoes bind.
func (y *layer) unbind() {
	if y.prev != nil {
		y.prev.next = y.next
	} else {
		y.to.bound = y.next
	}
	if y.next != nil {
		y.next.prev = y.prev
	}
	y.to, y.next, y.prev = nil, nil, nil
}

// provider returns the provider of n, none for nil.
func (n *node) provider() Provider {
	if n == nil {
		return Provider{}
	}
	return n.p
}

// module is one loaded module, or one that a Change would load.
type module struct {
	req        Request
	offerAt    map[string]int32 // index into req.Offers and nodes
	nodes      []node           // parallel to req.Offers
	needs      []need           // those that are references
	supers     []*slot
	requires   []*module
	requiredBy map[*module]struct{}
	kept       bool // has left, but keeps its places
}

// node returns the module's own provider of the name, nil if it is none.
func (m *module) node(name string) *node {
	if m == nil {
		return nil
	}
	i, ok := m.offerAt[name]
	if !ok {
		return nil
	}
	return &m.nodes[i]
}

// need is one reference of a module to a name. It and its entry in slot.users
// point at each other, so that a module leaves a symbol that thousands refer to
// without a search.
type need struct {
	slot *slot
	data *node // the provider whose object the relocations name; nil for functions
	pos  int   // index into slot.users
}

// user is one module that refers to a name.
type user struct {
	mod  *module
	need int // index into mod.needs
}

// addUsers enters the needs of m, which is newly loaded, into their slots.
func (m *module) addUsers() {
	kept := m.needs[:0]
	for _, nd := range m.needs {
		s := nd.slot
		if n := len(s.users); n > 0 && s.users[n-1].mod == m {
			continue // the request has the name twice; all needs of m come in one go
		}
		nd.pos = len(s.users)
		s.users = append(s.users, user{mod: m, need: len(kept)})
		if nd.data != nil {
			nd.data.named++
		}
		kept = append(kept, nd)
	}
	m.needs = kept
}

// dropUsers takes the needs of m, which leaves, out of their slots.
func (m *module) dropUsers() {
	for _, nd := range m.needs {
		s, last := nd.slot, len(nd.slot.users)-1
		moved := s.users[last]
		s.users[nd.pos] = moved
		moved.mod.needs[moved.need].pos = nd.pos
		s.users[last] = user{}
		s.users = s.users[:last]
		if nd.data != nil {
			nd.data.named--
		}
	}
}

// unlink takes n out of its stack.
func (n *node) unlink() {
	s := n.slot
	if n.above != nil {
		n.above.below = n.below
	} else {
		s.top = n.below
	}
	if n.below != nil {
		n.below.above = n.above
	} else {
		s.bottom = n.above
	}
	if s.override == n {
		s.override = nil
	}
	n.above, n.below = nil, nil
}

// live reports whether n is a provider whose module has not left.
func (n *node) live() bool { return n != nil && !n.mod.kept }

// slot returns the slot with the id, nil if there is none.
func (t *Table) slot(id SlotID) *slot {
	if int64(id) >= int64(len(t.slots)) {
		return nil
	}
	return t.slots[id]
}
