package arena

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"klink/internal/arch"
)

// TestDataChurn: returning idle pages never takes a page that a block has again.
func TestDataChurn(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Size: 32 << 20})
	type block struct {
		at, size uint64
		mark     byte
	}
	var live []block
	seed, returned, before := uint64(1), 0, 0
	for i := range 6000 {
		seed = seed*6364136223846793005 + 1442695040888963407
		// Rises and falls, so that much is free at times.
		if n := uint64(len(live)); n > 0 && seed>>60 < 4+8*uint64(i/1000%2) {
			k := seed >> 33 % n
			b := live[k]
			live[k] = live[n-1]
			live = live[:n-1]
			if v := a.Bytes(b.at, b.size); v[0] != b.mark || v[b.size/2] != b.mark || v[b.size-1] != b.mark {
				t.Fatalf("block %#x+%d lost its bytes", b.at, b.size)
			}
			a.Free(Data, b.at, b.size)
		} else {
			b := block{size: 1 + seed>>40%9000, mark: byte(i) | 1}
			b.at = mustAlloc(t, a, Data, b.size, 8)
			v := a.Bytes(b.at, b.size)
			for j := range v {
				if v[j] != 0 {
					t.Fatalf("block %#x+%d is not fresh at %d", b.at, b.size, j)
				}
				v[j] = b.mark
			}
			live = append(live, b)
		}
		if a.idle.count < before/2 {
			returned++
		}
		before = a.idle.count
	}
	if returned < 3 {
		t.Errorf("idle pages were returned %d times only: the test does not test", returned)
	}
}

// TestIdle: the set of pages against a plain one.
func TestIdle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const pages = 300
		s, model := newIdle(pages), [pages + 1]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			from := rapid.IntRange(0, pages).Draw(t, "from")
			to := rapid.IntRange(from, pages).Draw(t, "to")
			in := rapid.Bool().Draw(t, "in")
			s.set(uint64(from), uint64(to), in)
			for i := from; i < to; i++ {
				model[i] = in
			}
		}
		var want, got []string
		count, start := 0, -1
		for i, in := range model { // the last one is never in
			switch {
			case in && start < 0:
				start = i
			case !in && start >= 0:
				want = append(want, fmt.Sprintf("%d-%d", start, i))
				count += i - start
				start = -1
			}
		}
		if s.count != count {
			t.Fatalf("count %d, want %d", s.count, count)
		}
		s.each(func(from, to uint64) { got = append(got, fmt.Sprintf("%d-%d", from, to)) })
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("runs %v, want %v", got, want)
		}
		s.each(func(from, to uint64) { t.Fatalf("%d-%d is still in the set", from, to) })
		if s.count != 0 {
			t.Fatalf("count %d of an empty set", s.count)
		}
	})
}
