package kpi_test

import (
	"fmt"
	"testing"

	"klink/internal/runner"
)

// TestMemoryStress: eight threads allocate and free at random, and find their blocks as
// they left them. Afterwards nothing is in use but a slab a class.
func TestMemoryStress(t *testing.T) {
	t.Parallel()
	w := begin(t, "memory.o", "")
	var jobs []*runner.Job
	for i := range uint64(8) {
		jobs = append(jobs, w.call("stress", 0, i+1, 2000))
	}
	for _, j := range jobs {
		if got := w.value(j); got != 0 {
			t.Errorf("stress says %d", got)
		}
	}
	const classes = 20
	if got := w.does("inuse"); got > classes*4096 {
		t.Errorf("%d bytes are still in use", got)
	}
	for _, size := range []uint64{1, 31, 32, 33, 100, 2047, 2048, 2049, 4096, 4097, 100000} {
		w.want(0, "zeroed", size)
	}
	w.want(1, "strings")
}

// TestMemoryComesBack: all of the heap can be had in one size, given back, and had in
// another.
func TestMemoryComesBack(t *testing.T) {
	t.Parallel()
	w := begin(t, "memory.o", "")
	const heap = heapHi - heapLo
	first := map[uint64]uint64{}
	for round := range 3 {
		for _, size := range []uint64{4096, 16, 2048, 100, 65536, 1360, 3 << 20, 5000} {
			n := w.does("take_all", size)
			// 7 % are for kmem itself; a page holds three blocks of 1360 bytes, two pages one of 5000.
			if have := n * max(size, 32); size < 1<<20 && have < heap/2 || size >= 1<<20 && n != 2 {
				t.Errorf("%d blocks of %d bytes, %d of %d", n, size, have, heap)
			}
			if round == 1 { // each class keeps a slab from the first round on
				first[size] = n
			}
			if round == 2 && n != first[size] {
				t.Errorf("%d blocks of %d bytes, and %d before", n, size, first[size])
			}
		}
	}
	if got := w.does("inuse"); got > 20*4096 {
		t.Errorf("%d bytes are still in use", got)
	}
}

// TestMemoryIsWaitedFor: KM_SLEEP waits until another thread frees.
func TestMemoryIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := begin(t, "memory.o", "")
	n := w.does("keep_all")
	if n < 100 {
		t.Fatalf("%d blocks", n)
	}
	w.want(0, "too_much", 65536, 2)
	var jobs []*runner.Job
	for range 4 {
		jobs = append(jobs, w.call("patient", 0))
	}
	for _, j := range jobs {
		w.asleep(j.Thread(), "kmem")
	}
	w.want(n, "give_back")
	for _, j := range jobs {
		if got := w.value(j); got != 5 {
			t.Errorf("%d", got)
		}
	}
	if f := w.faults("too_much", 1<<30, 1); f.Signal != 4 {
		t.Errorf("%v", f)
	}
	w.says("kmem_alloc: 1073741824 bytes are more than the kernel's memory has")
	w.want(0, "too_much", 1<<62, 2)
}

// TestMemoryPanics: what was freed wrongly is named.
func TestMemoryPanics(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		why, name string
		args      []uint64
	}{
		{"100 bytes: it is free already", "free_twice", []uint64{100}},
		{"10000 bytes: it is free already", "free_twice", []uint64{10000}},
		{"was allocated with 100 bytes and is freed with 101", "free_other", []uint64{100, 101}},
		{"was allocated with 100 bytes and is freed with 5000", "free_other", []uint64{100, 5000}},
		{"was allocated with 5000 bytes and is freed with 5001", "free_other", []uint64{5000, 5001}},
		{"was never allocated", "free_inside", []uint64{100}},
		{"was never allocated", "free_inside", []uint64{5000}},
		{"was never allocated", "free_foreign", nil},
		{"kmem_alloc: a size of 0", "too_much", []uint64{0, 1}},
	} {
		t.Run(fmt.Sprint(i, c.name), func(t *testing.T) {
			t.Parallel()
			begin(t, "memory.o", "").panics(c.why, c.name, c.args...)
		})
	}
}
