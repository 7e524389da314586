package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"klink/internal/kernel"
)

// size is what this process takes of memory, bytes.
type size struct{ heap, rss int64 }

func (a size) minus(b size) size { return size{a.heap - b.heap, a.rss - b.rss} }

// sizeNow measures after a full collection that gave free memory back to the system.
func sizeNow() (size, error) {
	runtime.GC() // twice: what finalizers and sweeping held goes in the second
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return size{}, err
	}
	var total, resident int64
	if _, err := fmt.Sscan(string(b), &total, &resident); err != nil {
		return size{}, err
	}
	return size{int64(m.HeapAlloc), resident * int64(os.Getpagesize())}, nil
}

// memory measures what the host takes for modules of one function and one call, and
// for functions and calls in addition, as differences to modules that lack them.
func memory(options) error {
	fmt.Printf("%-34s %14s %14s %14s %14s\n", "memory of the host's process", "heap, each", "RSS, each", "heap", "RSS")
	for _, n := range crowds {
		s, err := taken(n, 1, 1)
		if err != nil {
			return err
		}
		print(fmt.Sprintf("a module, of %d", n), s, n)
	}
	const modules, more = 100, 1_000
	plain, err := taken(modules, 1, 1)
	if err != nil {
		return err
	}
	for _, extra := range []struct {
		what             string
		functions, calls int
	}{{"a symbol", 1 + more, 1}, {"a site", 1, 1 + more}} {
		s, err := taken(modules, extra.functions, extra.calls)
		if err != nil {
			return err
		}
		print(fmt.Sprintf("%s, of %d in %d modules", extra.what, modules*more, modules), s.minus(plain), modules*more)
	}
	return nil
}

// taken returns what n modules take, the host without them left out.
func taken(n, functions, calls int) (s size, err error) {
	err = withHost(func(h *host) error {
		before, err := sizeNow()
		if err != nil {
			return err
		}
		if err := h.crowd(0, n, func(i int) (kernel.ModuleSpec, error) { return h.member(i, functions, calls) }); err != nil {
			return err
		}
		after, err := sizeNow()
		s = after.minus(before)
		return err
	})
	return s, err
}

func print(what string, s size, n int) {
	fmt.Printf("%-34s %8.0f bytes %8.0f bytes %10.2f MiB %10.2f MiB\n", what,
		float64(s.heap)/float64(n), float64(s.rss)/float64(n), float64(s.heap)/(1<<20), float64(s.rss)/(1<<20))
}
