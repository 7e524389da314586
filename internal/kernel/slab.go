package kernel

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// slab hands out memory for the files of one large link. The files lie side by side
// in a few large allocations that ask for huge pages: a fault in a small page takes
// longer than linking what lies in it (ADR 3 has the figures). An allocation lives as
// long as any object in it, so a host, whose modules come and go, reads each file
// into memory of its own instead.
//
// Safe for concurrent use.
type slab struct {
	mu   sync.Mutex
	free []byte
}

// slabSize is how much is allocated at once, bytes: many huge pages (2 MiB).
const slabSize = 32 << 20

// reserveMin is what makes it worth it to prepare memory for all files, bytes.
const reserveMin = 8 << 20

// reserve prepares memory for files of so many bytes together, and for the tables that
// a link makes of them. The heap takes small pages from the system, except where it
// finds memory that was there before: so a block of the tables' size asks for huge
// pages, and is given back to the heap at once, untouched.
func (s *slab) reserve(files int64) {
	if files < reserveMin || files > maxFile {
		return
	}
	// First: the heap would find the tables' memory for the files too, and clear it.
	s.free = hugePages(int(files + files/64)) // files start at multiples of 64
	hugePages(int(files / 4 * 3))             // 1,121 kernel modules: 71 MB of tables for 91 MB of files
	runtime.GC()
}

// hugePages returns n zeroed bytes that ask for huge pages.
func hugePages(n int) []byte {
	b := make([]byte, n)
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // a wish: without it, it is only slower
	return b
}

// take returns n bytes, zeroed.
func (s *slab) take(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < n {
		if n > slabSize/4 {
			return make([]byte, n)
		}
		s.free = hugePages(slabSize)
	}
	b := s.free[:n:n]
	s.free = s.free[min(len(s.free), (n+63)&^63):]
	return b
}
