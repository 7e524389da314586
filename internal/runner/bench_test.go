package runner

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// median reports the median and the 99th percentile of n operations, in ns.
func median(b *testing.B, op func()) {
	took := make([]time.Duration, 0, b.N)
	for range b.N {
		start := time.Now()
		op()
		took = append(took, time.Since(start))
	}
	report(b, took)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "ns/median")
	b.ReportMetric(float64(took[len(took)*99/100]), "ns/p99")
}

// BenchmarkStart is from Start to a runner that is up, with the usual pool; its end is
// not measured.
func BenchmarkStart(b *testing.B) {
	_, cfg := prepare(b)
	cfg.Threads = DefaultThreads
	took := make([]time.Duration, 0, b.N)
	for range b.N {
		start := time.Now()
		r, err := Start(cfg)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, took)
}

// BenchmarkCall is from Begin to Done of an empty call.
func BenchmarkCall(b *testing.B) {
	w := begin(b, func(c *Config) { c.Threads = DefaultThreads })
	median(b, func() {
		j, err := w.Begin(Call{Fn: w.fn["weigh"]})
		if err != nil {
			b.Fatal(err)
		}
		<-j.Done()
	})
}

// BenchmarkBarrier is one, with so many threads in calls that use their processors.
func BenchmarkBarrier(b *testing.B) {
	for n := range 3 {
		b.Run(fmt.Sprintf("running=%d", n), func(b *testing.B) {
			w := begin(b)
			for range n {
				w.call("spin", 0)
			}
			median(b, func() {
				if err := w.Barrier(true); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkInspect is one look at a running thread.
func BenchmarkInspect(b *testing.B) {
	w := begin(b)
	j := w.call("spin", 0)
	median(b, func() {
		if _, err := w.Inspect(j.Thread()); err != nil {
			b.Fatal(err)
		}
	})
}
