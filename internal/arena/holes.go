package arena

// classes is how many alignments the holes are indexed by: granule<<0 up to
// granule<<(classes-1), that is 8 bytes to 4 KiB. Real sections ask for no more.
const classes = 10

// granule is the unit of the allocator, bytes: every block starts and ends at a
// multiple of it. It is the size of a GOT slot and of an x86-64 entry.
const granule = 8

// hole is one free run, and one node of the treap of holes.
type hole struct {
	lo, hi      uint64
	stamp       uint64          // when its youngest part was freed; 0: no part was ever used
	own         [classes]uint32 // bytes from the first address aligned to granule<<k up to hi
	best        [classes]uint32 // the maximum of own over the node's subtree
	left, right int32
	prio        uint32
}

// holes is the set of free runs, ordered by (stamp, lo): a treap whose nodes know,
// for each alignment, the longest run below them, so that the first hole in order
// that can take a request is found in O(log n). Runs never touch: the allocator
// joins neighbours, for which it looks them up by their ends.
//
// Nodes are indices into one slice; index 0 is the empty tree.
type holes struct {
	node   []hole
	spare  []int32 // unused indices
	root   int32
	count  int
	seed   uint32
	byLo   map[uint64]int32
	byHi   map[uint64]int32
	length uint64 // sum of the lengths
}

func newHoles() *holes {
	return &holes{
		node: make([]hole, 1),
		seed: 0x9e3779b9,
		byLo: make(map[uint64]int32),
		byHi: make(map[uint64]int32),
	}
}

// roomAt returns how many bytes of [lo, hi) lie behind its first multiple of align.
func roomAt(lo, hi, align uint64) uint64 {
	a := alignUp(lo, align)
	if a >= hi || a < lo {
		return 0
	}
	return hi - a
}

// alignUp rounds v up to a multiple of align, a power of two. It wraps at 2^64.
func alignUp(v, align uint64) uint64 { return (v + align - 1) &^ (align - 1) }

// add puts [lo, hi) into the set; an empty run is ignored.
func (h *holes) add(lo, hi, stamp uint64) {
	if lo >= hi {
		return
	}
	var n int32
	if k := len(h.spare); k > 0 {
		n, h.spare = h.spare[k-1], h.spare[:k-1]
	} else {
		n = int32(len(h.node))
		h.node = append(h.node, hole{})
	}
	h.seed ^= h.seed << 13
	h.seed ^= h.seed >> 17
	h.seed ^= h.seed << 5
	nd := &h.node[n]
	*nd = hole{lo: lo, hi: hi, stamp: stamp, prio: h.seed}
	for k := range nd.own {
		nd.own[k] = uint32(roomAt(lo, hi, granule<<k))
	}
	nd.best = nd.own
	h.root = h.insert(h.root, n)
	h.byLo[lo], h.byHi[hi] = n, n
	h.count++
	h.length += hi - lo
}

// remove takes hole n out of the set and returns it.
func (h *holes) remove(n int32) hole {
	gone := h.node[n]
	h.root = h.delete(h.root, n)
	delete(h.byLo, gone.lo)
	delete(h.byHi, gone.hi)
	h.spare = append(h.spare, n)
	h.count--
	h.length -= gone.hi - gone.lo
	return gone
}

// before orders nodes by (stamp, lo).
func (h *holes) before(a, b int32) bool {
	x, y := &h.node[a], &h.node[b]
	if x.stamp != y.stamp {
		return x.stamp < y.stamp
	}
	return x.lo < y.lo
}

// pull recomputes what n knows of its subtree.
func (h *holes) pull(n int32) {
	nd := &h.node[n]
	l, r := &h.node[nd.left].best, &h.node[nd.right].best
	for k := range nd.best {
		nd.best[k] = max(nd.own[k], l[k], r[k])
	}
}

// insert returns the root of t with n in it.
func (h *holes) insert(t, n int32) int32 {
	if t == 0 {
		return n
	}
	if h.node[n].prio > h.node[t].prio {
		h.node[n].left, h.node[n].right = h.split(t, n)
		h.pull(n)
		return n
	}
	if h.before(n, t) {
		h.node[t].left = h.insert(h.node[t].left, n)
	} else {
		h.node[t].right = h.insert(h.node[t].right, n)
	}
	h.pull(t)
	return t
}

// split parts t into what is before n and what is not.
func (h *holes) split(t, n int32) (l, r int32) {
	if t == 0 {
		return 0, 0
	}
	if h.before(t, n) {
		l, r = h.split(h.node[t].right, n)
		h.node[t].right = l
		h.pull(t)
		return t, r
	}
	l, r = h.split(h.node[t].left, n)
	h.node[t].left = r
	h.pull(t)
	return l, t
}

// delete returns the root of t without n, which is in it.
func (h *holes) delete(t, n int32) int32 {
	switch {
	case t == n:
		return h.join(h.node[t].left, h.node[t].right)
	case h.before(n, t):
		h.node[t].left = h.delete(h.node[t].left, n)
	default:
		h.node[t].right = h.delete(h.node[t].right, n)
	}
	h.pull(t)
	return t
}

// join returns the root of l and r together; all of l is before all of r.
func (h *holes) join(l, r int32) int32 {
	switch {
	case l == 0:
		return r
	case r == 0:
		return l
	case h.node[l].prio > h.node[r].prio:
		h.node[l].right = h.join(h.node[l].right, r)
		h.pull(l)
		return l
	default:
		h.node[r].left = h.join(l, h.node[r].left)
		h.pull(r)
		return r
	}
}

// first returns the first hole in order that takes size bytes at a multiple of
// align, or 0. For alignments above 4 KiB a hole is only seen if it takes them
// wherever it lies; search sees the others.
func (h *holes) first(size, align uint64) int32 {
	k := 0
	for k < classes-1 && granule<<k < align {
		k++
	}
	if have := uint64(granule) << k; align > have {
		size += align - have
	}
	t := h.root
	for t != 0 && uint64(h.node[t].best[k]) >= size {
		nd := &h.node[t]
		switch {
		case uint64(h.node[nd.left].best[k]) >= size:
			t = nd.left
		case uint64(nd.own[k]) >= size:
			return t
		default:
			t = nd.right
		}
	}
	return 0
}

// search is first for alignments above 4 KiB, exact: it looks at every hole of the
// size in turn, so it costs as many steps as there are such holes.
func (h *holes) search(t int32, size, align uint64) int32 {
	if t == 0 || uint64(h.node[t].best[classes-1]) < size {
		return 0
	}
	nd := &h.node[t]
	if n := h.search(nd.left, size, align); n != 0 {
		return n
	}
	if roomAt(nd.lo, nd.hi, align) >= size {
		return t
	}
	return h.search(nd.right, size, align)
}
