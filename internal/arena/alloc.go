package arena

import "fmt"

// policy says which free space a request gets first.
type policy uint8

const (
	// lowestFirst fills the lowest hole that fits: pages stay shared and dense.
	lowestFirst policy = iota
	// reusedLast prefers space that was never used, then the hole whose youngest
	// byte was freed the longest ago: a stale pointer into freed text traps for as
	// long as possible before something else stands there.
	reusedLast
)

// allocator hands out blocks of the address range [lo, hi). It knows addresses
// only: all its tables lie outside of what it hands out, so that nobody who can
// write there can mislead it.
//
// Free space is the never-touched tail [next, hi) and, below it, the holes. With
// reusedLast, freed space that touches the tail stays a hole of its own, so that
// the tail keeps being never used; the two are joined only for a request that
// fits nowhere else. Under lowestFirst it goes back to the tail.
//
// Alloc and free cost O(log holes) for alignments up to 4 KiB. A larger
// alignment costs as much while the tail, or a hole that fits however it lies,
// takes the request; otherwise every hole of the size is looked at.
type allocator struct {
	lo, hi uint64
	policy policy
	next   uint64 // first byte of the tail
	high   uint64 // one past the highest byte ever handed out
	clock  uint64 // counts frees under reusedLast
	used   uint64 // bytes of all blocks
	blocks map[uint64]uint64
	holes  *holes
}

// newAllocator returns an allocator of [lo, hi), both multiples of granule and
// less than 4 GiB apart.
func newAllocator(lo, hi uint64, p policy) *allocator {
	return &allocator{
		lo: lo, hi: hi, policy: p, next: lo, high: lo,
		blocks: make(map[uint64]uint64), holes: newHoles(),
	}
}

// alloc returns the address of a new block of size bytes, rounded up to granule,
// at a multiple of align (a power of two). ok is false if no free run can take it.
// A size of 0 makes no block: the address is lo, aligned.
func (a *allocator) alloc(size, align uint64) (addr uint64, ok bool) {
	align = max(align, granule)
	if size > a.hi-a.lo {
		return 0, false
	}
	if size == 0 {
		addr = alignUp(a.lo, align)
		return addr, addr >= a.lo && addr <= a.hi
	}
	size = alignUp(size, granule)
	n := a.holes.first(size, align)
	switch {
	case n != 0 && a.holes.node[n].stamp == 0:
		return a.fromHole(n, size, align), true
	case roomAt(a.next, a.hi, align) >= size:
		return a.fromTail(a.next, 0, size, align), true
	case n != 0:
		return a.fromHole(n, size, align), true
	}
	if n = a.holes.search(a.holes.root, size, align); n != 0 {
		return a.fromHole(n, size, align), true
	}
	if n = a.holes.byHi[a.next]; n != 0 && roomAt(a.holes.node[n].lo, a.hi, align) >= size {
		h := a.holes.remove(n)
		return a.fromTail(h.lo, h.stamp, size, align), true
	}
	return 0, false
}

// fromHole makes a block at the start of hole n; what is left stays as old as it was.
func (a *allocator) fromHole(n int32, size, align uint64) uint64 {
	h := a.holes.remove(n)
	addr := alignUp(h.lo, align)
	a.holes.add(h.lo, addr, h.stamp)
	a.holes.add(addr+size, h.hi, h.stamp)
	a.made(addr, size)
	return addr
}

// fromTail makes a block in the tail, of which from is the start: a.next, or the
// start of a hole of that stamp just below it. What alignment skips becomes a hole.
func (a *allocator) fromTail(from, stamp, size, align uint64) uint64 {
	addr := alignUp(from, align)
	if addr > from {
		if n := a.holes.byHi[from]; n != 0 {
			h := a.holes.remove(n)
			from, stamp = h.lo, max(stamp, h.stamp)
		}
		a.holes.add(from, addr, stamp)
	}
	a.next = addr + size
	a.made(addr, size)
	return addr
}

func (a *allocator) made(addr, size uint64) {
	a.blocks[addr] = size
	a.used += size
	a.high = max(a.high, addr+size)
}

// free gives the block at addr back. size must be the one it was made with. The
// result is the free run that holds the block now: [lo, hi). It panics for
// anything that is no block: the caller's tables are wrong, and going on would
// hand the same bytes out twice.
func (a *allocator) free(addr, size uint64) (lo, hi uint64) {
	size = alignUp(size, granule)
	if have, ok := a.blocks[addr]; !ok || have != size {
		panic(fmt.Sprintf("arena: free of [%#x, %#x), which is no block", addr, addr+size))
	}
	delete(a.blocks, addr)
	a.used -= size
	if a.policy == reusedLast {
		a.clock++
	}
	lo, hi = addr, addr+size
	stamp := a.clock
	if n := a.holes.byHi[lo]; n != 0 {
		h := a.holes.remove(n)
		lo = h.lo
	}
	if n := a.holes.byLo[hi]; n != 0 {
		h := a.holes.remove(n)
		hi = h.hi
	}
	if hi == a.next && a.policy == lowestFirst {
		a.next = lo
		return lo, a.hi
	}
	a.holes.add(lo, hi, stamp)
	if hi == a.next {
		hi = a.hi
	}
	return lo, hi
}

// largest returns the length of the longest free run, the tail and a hole that
// touches it taken as one.
func (a *allocator) largest() uint64 {
	tail := a.hi - a.next
	if n := a.holes.byHi[a.next]; n != 0 {
		tail += a.holes.node[n].hi - a.holes.node[n].lo
	}
	return max(tail, uint64(a.holes.node[a.holes.root].best[0]))
}

// runs returns how many free runs there are, counted as in largest.
func (a *allocator) runs() int {
	n := a.holes.count
	if a.next < a.hi && a.holes.byHi[a.next] == 0 {
		n++
	}
	return n
}
