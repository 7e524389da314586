package kpi_test

import (
	"testing"

	"klink/internal/runner"
)

// What a pair costs its thread, with the call around it: the runner calls b.N times.
// "call" is that call alone.
func BenchmarkPairs(b *testing.B) {
	for _, c := range []struct{ name, fixture, init, fn string }{
		{"call", "gates.o", "gates_init", "nothing"},
		{"gate", "gates.o", "gates_init", "once"},
		{"atomic", "gates.o", "gates_init", "atomic_pair"},
		{"mutex", "locks.o", "locks_init", "enter"},
		{"kmem", "memory.o", "", "pair"},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := begin(b, c.fixture, c.init)
			b.ResetTimer()
			j, err := w.Begin(runner.Call{Fn: w.fn(c.fn), Times: uint64(b.N)})
			if err != nil {
				b.Fatal(err)
			}
			w.value(j)
		})
	}
}
