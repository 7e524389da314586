package kernel

import (
	"testing"
	"time"
)

// BenchmarkLiveLoad loads and unloads a small module in a host whose runner is idle.
func BenchmarkLiveLoad(b *testing.B) {
	k := newLive(b)
	k.mustBring("call/weak.kmod", "call/call.o")
	r := LoadRequest{Modules: []ModuleSpec{{Files: []Source{liveFixture(b, "call/callee.kmod")}}}}
	u := UnloadRequest{Modules: []string{"callee"}}
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if _, err := k.Load(b.Context(), r); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if _, err := k.Unload(b.Context(), u); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("unload", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			if _, err := k.Load(b.Context(), r); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if _, err := k.Unload(b.Context(), u); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLiveCall calls a function that adds two numbers, once at a time.
func BenchmarkLiveCall(b *testing.B) {
	k := newLive(b)
	k.mustBring("fault/fault.kmod")
	for b.Loop() {
		if v := k.value("add", 20, 22); v != 42 {
			b.Fatal(v)
		}
	}
}

// BenchmarkLiveUnload unloads a module of CATCH, FINI and a gate: one that nobody is in,
// and one in whose gate 64 threads sleep, which FINI wakes. FINI-ns is from FINI's start
// to its end, proof-ns from there until klink has seen that nobody is inside.
func BenchmarkLiveUnload(b *testing.B) {
	for _, c := range []struct {
		name     string
		sleepers int
	}{{"quiet", 0}, {"sleepers=64", 64}} {
		b.Run(c.name, func(b *testing.B) {
			var began, ended, reclaims time.Time
			tr := newTrial(b, 80, func(p faultPoint) error {
				switch p {
				case faultFini:
					began = time.Now()
				case faultProof:
					ended = time.Now()
				case faultReclaim:
					reclaims = time.Now()
				}
				return nil
			})
			var fini, proof time.Duration
			for b.Loop() {
				b.StopTimer()
				tr.mustLoad("over")
				job := 0
				if c.sleepers > 0 {
					before := tr.mem.Load64(trialInside)
					r, err := tr.Call(b.Context(), CallRequest{Function: "trial_f", Args: []Arg{{Word: 2<<16 | gated<<8}}, Threads: c.sleepers, Limit: -1, Detach: true})
					if err != nil {
						b.Fatal(err)
					}
					job = r.Job
					tr.until("asleep", func() bool { return tr.mem.Load64(trialInside) == before+uint64(c.sleepers) })
				}
				b.StartTimer()
				if err := tr.unload(trialWait, "over"); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				fini += ended.Sub(began)
				proof += reclaims.Sub(ended)
				if job != 0 {
					tr.join(longCall{job: job})
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(fini)/float64(b.N), "FINI-ns")
			b.ReportMetric(float64(proof)/float64(b.N), "proof-ns")
		})
	}
}
