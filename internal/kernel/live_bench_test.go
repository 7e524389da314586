package kernel

import "testing"

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
