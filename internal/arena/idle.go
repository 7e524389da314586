package arena

import "math/bits"

const (
	// returnNow is the size from which a block's pages go back to the system at
	// once, bytes: making a hole costs about as much as zeroing this much.
	returnNow = 64 << 10
	// maxIdle is how much free memory smaller blocks may leave behind before it is
	// returned, bytes. It is there so that a small module that comes and goes does
	// not pay for a hole, and then a page fault, each time.
	maxIdle = 1 << 20
)

// idle is the set of pages of data that hold no block any more, are zeroed, and
// still cost memory: one bit a page, counted from the start of the region.
type idle struct {
	word  []uint64
	count int // bits set
}

func newIdle(pages uint64) idle { return idle{word: make([]uint64, (pages+63)/64)} }

// set puts the pages [from, to) into the set, or takes them out.
func (s *idle) set(from, to uint64, in bool) {
	for from < to {
		w, bit := from/64, from%64
		n := min(64-bit, to-from)
		mask := (^uint64(0) >> (64 - n)) << bit
		s.count -= bits.OnesCount64(s.word[w] & mask)
		if in {
			s.word[w] |= mask
			s.count += int(n)
		} else {
			s.word[w] &^= mask
		}
		from += n
	}
}

// each empties the set and calls f for every run [from, to) of pages that was in it.
func (s *idle) each(f func(from, to uint64)) {
	from, to := uint64(0), uint64(0)
	for w, word := range s.word {
		for word != 0 {
			bit := uint64(bits.TrailingZeros64(word))
			n := uint64(bits.TrailingZeros64(^(word >> bit)))
			if start := uint64(w)*64 + bit; start != to {
				if from < to {
					f(from, to)
				}
				from, to = start, start
			}
			to += n
			word &^= (^uint64(0) >> (64 - n)) << bit
		}
		s.word[w] = 0
	}
	if from < to {
		f(from, to)
	}
	s.count = 0
}
