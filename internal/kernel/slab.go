package kernel

import (
	"sync"

	"golang.org/x/sys/unix"
)

// slab hands out memory for the files of one large link. The files lie side by side
// in a few large allocations that ask for huge pages, which saves faulting in small
// ones (ADR 3 has the figures). An allocation lives as long as any object in it, so a host, whose modules come and go, reads each file
// into memory of its own instead.
//
// Safe for concurrent use.
type slab struct {
	mu   sync.Mutex
	free []byte
}

// slabSize is how much is allocated at once, bytes: many huge pages (2 MiB).
const slabSize = 32 << 20

// take returns n bytes, zeroed.
func (s *slab) take(n int) []byte {
	if n > slabSize/4 {
		return make([]byte, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < n {
		s.free = make([]byte, slabSize)
		_ = unix.Madvise(s.free, unix.MADV_HUGEPAGE) // a wish: without it, it is only slower
	}
	b := s.free[:n:n]
	s.free = s.free[min(len(s.free), (n+63)&^63):]
	return b
}
