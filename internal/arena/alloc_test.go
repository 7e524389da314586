package arena

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// bitmap is the naive model of an allocator: one cell per granule.
type bitmap struct {
	lo     uint64
	policy policy
	owned  []bool
	stamp  []uint64 // of free cells: when the run they are part of last grew by a free
	next   int      // the tail's first cell
	clock  uint64
}

// run is a free run of cells, [from, to).
type run struct {
	from, to int
	stamp    uint64
}

// runs returns the free runs below the tail, lowest first.
func (m *bitmap) runs() []run {
	var all []run
	for i := 0; i < m.next; i++ {
		switch {
		case m.owned[i]:
		case i > 0 && !m.owned[i-1]:
			r := &all[len(all)-1]
			r.to, r.stamp = i+1, max(r.stamp, m.stamp[i])
		default:
			all = append(all, run{i, i + 1, m.stamp[i]})
		}
	}
	return all
}

// fit returns the first aligned cell of r from which n cells are free.
func (m *bitmap) fit(r run, n int, align uint64) (int, bool) {
	for i := r.from; i+n <= r.to; i++ {
		if (m.lo+uint64(i)*granule)%align == 0 {
			return i, true
		}
	}
	return 0, false
}

// expect returns where the allocator has to put n cells.
func (m *bitmap) expect(n int, align uint64) (int, bool) {
	var best *run
	var at int
	runs := m.runs()
	for i := range runs {
		if c, ok := m.fit(runs[i], n, align); ok && (best == nil || runs[i].stamp < best.stamp) {
			best, at = &runs[i], c
		}
	}
	if best != nil && best.stamp == 0 {
		return at, true
	}
	if c, ok := m.fit(run{m.next, len(m.owned), 0}, n, align); ok {
		return c, true
	}
	if best != nil {
		return at, true
	}
	if k := len(runs); k > 0 && runs[k-1].to == m.next {
		return m.fit(run{runs[k-1].from, len(m.owned), 0}, n, align)
	}
	return 0, false
}

func (m *bitmap) take(at, n int) {
	for i := at; i < at+n; i++ {
		if m.owned[i] {
			panic("model: overlap")
		}
		m.owned[i] = true
	}
	if old := m.next; at+n > old {
		m.next = at + n
		if at > old { // the gap joins the run before it
			m.age(old, 0)
		}
	}
}

func (m *bitmap) give(at, n int) {
	for i := at; i < at+n; i++ {
		m.owned[i] = false
	}
	if m.policy == reusedLast {
		m.clock++
		m.age(at, m.clock)
		return
	}
	for m.next > 0 && !m.owned[m.next-1] {
		m.next--
	}
}

// age makes the free run around cell i as young as its youngest cell, and at least now.
func (m *bitmap) age(i int, now uint64) {
	from, to := i, i
	for from > 0 && !m.owned[from-1] {
		from--
	}
	for to < m.next && !m.owned[to] {
		now = max(now, m.stamp[to])
		to++
	}
	for j := from; j < to; j++ {
		now = max(now, m.stamp[j])
	}
	for j := from; j < to; j++ {
		m.stamp[j] = now
	}
}

type block struct {
	at   uint64
	size uint64
}

func TestAllocatorAgainstBitmap(t *testing.T) {
	for _, p := range []policy{lowestFirst, reusedLast} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkAllocator(t, p) })
		})
	}
}

func checkAllocator(t *rapid.T, p policy) {
	cells := rapid.IntRange(1, 3000).Draw(t, "cells")
	lo := 0x10000000 + granule*rapid.Uint64Range(0, 1000).Draw(t, "lo")
	a := newAllocator(lo, lo+uint64(cells)*granule, p)
	m := &bitmap{lo: lo, policy: p, owned: make([]bool, cells), stamp: make([]uint64, cells)}
	var live []block
	for range rapid.IntRange(1, 150).Draw(t, "steps") {
		if len(live) > 0 && rapid.IntRange(0, 9).Draw(t, "op") < 4 {
			i := rapid.IntRange(0, len(live)-1).Draw(t, "which")
			b := live[i]
			live = append(live[:i], live[i+1:]...)
			a.free(b.at, b.size)
			m.give(int(b.at-lo)/granule, int(alignUp(b.size, granule)/granule))
		} else {
			size := rapid.OneOf(
				rapid.Uint64Range(1, 64), rapid.Uint64Range(1, uint64(cells)*granule+100),
			).Draw(t, "size")
			align := uint64(1) << rapid.IntRange(0, 15).Draw(t, "align")
			live = allocBoth(t, a, m, live, size, align)
		}
		checkState(t, a, m)
	}
	for _, b := range live {
		a.free(b.at, b.size)
		m.give(int(b.at-lo)/granule, int(alignUp(b.size, granule)/granule))
	}
	checkState(t, a, m)
	if a.used != 0 || a.runs() != 1 || a.largest() != a.hi-a.lo {
		t.Fatalf("everything was given back, but %d used, %d runs, largest %d of %d", a.used, a.runs(), a.largest(), a.hi-a.lo)
	}
}

func allocBoth(t *rapid.T, a *allocator, m *bitmap, live []block, size, align uint64) []block {
	n := int(alignUp(size, granule) / granule)
	want, wantOK := m.expect(n, align)
	at, ok := a.alloc(size, align)
	if ok != wantOK {
		t.Fatalf("alloc(%d, %d) = %v, the model says %v", size, align, ok, wantOK)
	}
	if !ok {
		return live
	}
	cell := int(at-m.lo) / granule
	if at%align != 0 || at%granule != 0 || at < a.lo || at+size > a.hi {
		t.Fatalf("alloc(%d, %d) = %#x: misaligned or outside", size, align, at)
	}
	// Beyond 4 KiB alignment a hole may be passed over; everything else holds.
	if align <= granule<<(classes-1) && cell != want {
		t.Fatalf("alloc(%d, %d) is at cell %d, want %d", size, align, cell, want)
	}
	m.take(cell, n)
	return append(live, block{at, size})
}

// checkState compares the totals, and checks the treap's own order.
func checkState(t *rapid.T, a *allocator, m *bitmap) {
	var used, largest uint64
	runs, length := 0, uint64(0)
	for i := range m.owned {
		switch {
		case m.owned[i]:
			used += granule
			length = 0
		default:
			if length == 0 {
				runs++
			}
			length += granule
			largest = max(largest, length)
		}
	}
	if a.used != used || a.largest() != largest || a.runs() != runs {
		t.Fatalf("used %d largest %d runs %d; the model has %d %d %d", a.used, a.largest(), a.runs(), used, largest, runs)
	}
	var last *hole
	count := 0
	var walk func(n int32) [classes]uint32
	walk = func(n int32) [classes]uint32 {
		if n == 0 {
			return [classes]uint32{}
		}
		nd := &a.holes.node[n]
		l := walk(nd.left)
		if last != nil && (last.stamp > nd.stamp || last.stamp == nd.stamp && last.lo >= nd.lo) {
			t.Fatalf("holes out of order: %#x after %#x", nd.lo, last.lo)
		}
		last = nd
		count++
		r := walk(nd.right)
		for k := range nd.best {
			if want := max(l[k], r[k], nd.own[k]); nd.best[k] != want {
				t.Fatalf("hole %#x knows of %d bytes aligned to %d below it, there are %d", nd.lo, nd.best[k], granule<<k, want)
			}
		}
		return nd.best
	}
	walk(a.holes.root)
	if count != a.holes.count || count != len(a.holes.byLo) || count != len(a.holes.byHi) {
		t.Fatalf("%d holes in the tree, %d counted, %d and %d by address", count, a.holes.count, len(a.holes.byLo), len(a.holes.byHi))
	}
}

// TestFreedIsReusedLast: what was never used goes first, then the longest freed.
func TestFreedIsReusedLast(t *testing.T) {
	a := newAllocator(0, 10*64, reusedLast)
	alloc := func() uint64 {
		t.Helper()
		at, ok := a.alloc(64, 64)
		if !ok {
			t.Fatal("no room")
		}
		return at
	}
	for range 8 {
		alloc()
	}
	for _, at := range []uint64{5 * 64, 1 * 64, 3 * 64, 7 * 64} {
		a.free(at, 64)
	}
	var got []uint64
	for range 6 {
		got = append(got, alloc()/64)
	}
	if want := "[8 9 5 1 3 7]"; fmt.Sprint(got) != want {
		t.Errorf("blocks came from %v, want %s", got, want)
	}
}

// TestLowestFirst: holes are filled from below before the tail is touched.
func TestLowestFirst(t *testing.T) {
	a := newAllocator(0, 1024, lowestFirst)
	for range 8 {
		a.alloc(64, 64)
	}
	a.free(5*64, 64)
	a.free(2*64, 64)
	var got []uint64
	for range 3 {
		at, _ := a.alloc(64, 64)
		got = append(got, at/64)
	}
	if want := "[2 5 8]"; fmt.Sprint(got) != want {
		t.Errorf("blocks came from %v, want %s", got, want)
	}
}

func TestAllocatorEdges(t *testing.T) {
	a := newAllocator(0x10000, 0x20000, reusedLast)
	if at, ok := a.alloc(0, 256); !ok || at != 0x10000 || a.used != 0 || len(a.blocks) != 0 {
		t.Errorf("alloc(0) = %#x %v, used %d", at, ok, a.used)
	}
	for _, c := range []struct{ size, align uint64 }{
		{0x10001, 8}, {1, 0x20000}, {^uint64(0), 8}, {^uint64(0) - 6, 1}, {8, 1 << 63},
	} {
		if at, ok := a.alloc(c.size, c.align); ok {
			t.Errorf("alloc(%#x, %#x) = %#x, want none", c.size, c.align, at)
		}
	}
	if at, ok := a.alloc(0x10000, 0x10000); !ok || at != 0x10000 {
		t.Errorf("the whole region, aligned to its size: %#x %v", at, ok)
	}
	a.free(0x10000, 0x10000)
	mustPanic := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", what)
			}
		}()
		f()
	}
	mustPanic("a second free", func() { a.free(0x10000, 0x10000) })
	at, _ := a.alloc(32, 8)
	mustPanic("free of a part", func() { a.free(at, 16) })
	mustPanic("free of the middle", func() { a.free(at+8, 24) })
}

// TestLargeAlignmentFindsTheOnlyPlace: the exhaustive search behind the index.
func TestLargeAlignmentFindsTheOnlyPlace(t *testing.T) {
	const big = 1 << 16
	a := newAllocator(big, 5*big, reusedLast)
	var at []uint64
	for range 4 {
		p, _ := a.alloc(big, 8)
		at = append(at, p)
	}
	a.free(at[2], big)
	if p, ok := a.alloc(big, big); !ok || p != at[2] {
		t.Errorf("a hole of just the size and alignment: %#x %v, want %#x", p, ok, at[2])
	}
}

// BenchmarkAllocFree: one small block more and less beside n others.
func BenchmarkAllocFree(b *testing.B) {
	for _, p := range []policy{lowestFirst, reusedLast} {
		for _, n := range []int{10, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%d/%d", p, n), func(b *testing.B) {
				a := newAllocator(0x10000000, 0x20000000, p)
				var at []uint64
				for i := range 2 * n {
					p, _ := a.alloc(uint64(100+i%400), 16)
					at = append(at, p)
				}
				for i := 0; i < 2*n; i += 2 { // n blocks, n holes between them
					a.free(at[i], uint64(100+i%400))
				}
				for b.Loop() {
					p, _ := a.alloc(96, 16)
					a.free(p, 96)
				}
			})
		}
	}
}
