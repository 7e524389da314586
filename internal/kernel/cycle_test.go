package kernel

import (
	"os"
	"runtime"
	"sync"
	"testing"

	"klink/internal/arch"
)

// books are the sizes of everything that loads and unloads take from and give back to.
type books struct {
	used       [3]uint64
	blocks     [3]int
	free       int // entries that belong to nobody
	entries    int
	modules    int
	sites      int
	slots      int
	fds        int
	goroutines int
}

func (b *bench) books() (s books) {
	for i, r := range b.arena.Stats() {
		s.used[i], s.blocks[i] = r.Used, r.Blocks
	}
	s.free, s.entries, s.modules = len(b.entries.free), len(b.entries.at), len(b.modules)+len(b.byName)
	for _, name := range b.stacks.Names() {
		slot, _ := b.stacks.Lookup(name)
		s.sites += b.sites.Count(uint32(slot))
		s.slots = max(s.slots, int(slot))
	}
	for id := range b.modules {
		for _, slot := range b.stacks.Supers(id) {
			s.sites += b.sites.Count(uint32(slot))
			s.slots = max(s.slots, int(slot))
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Fatal(err)
	}
	s.fds, s.goroutines = len(fds), runtime.NumGoroutine()
	return s
}

// TestCycles: a thousand loads and unloads leave nothing behind, refused ones and dry
// runs among them.
func TestCycles(t *testing.T) {
	b := populated(t, arch.ARM64)
	good := LoadRequest{Modules: toys(
		&toy{name: "a", gives: []give{{symbol: "f"}, {symbol: "own"}, {symbol: "k"}},
			uses: []use{{symbol: "super_f", how: call}, {symbol: "super_f", how: pointer}, {symbol: "f", how: bit}, {symbol: "super_k", how: lea}, {symbol: "own", how: pointer}, {symbol: "mine", how: pointer}}},
		&toy{name: "b", gives: []give{{symbol: "mine", data: true}}, uses: []use{{symbol: "own", how: call}, {symbol: "g", how: pointer}}})(b)}
	bad := LoadRequest{Modules: append(toys(&toy{name: "c", gives: []give{{symbol: "new"}}, uses: []use{{symbol: "new", how: pointer}, {symbol: "g", how: lea}}})(b),
		toys(&toy{name: "d", uses: []use{{symbol: "nobody", how: call}}})(b)...)}
	cycle := func() {
		if _, err := b.Load(t.Context(), bad); err == nil {
			t.Fatal("a missing name was not refused")
		}
		plan := good
		plan.DryRun = true
		if _, err := b.Load(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Load(t.Context(), good); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"b"}}); err != nil {
			// a names b's data
			b.mustUnload("a", "b")
			return
		}
		t.Fatal("data that is named was let go")
	}
	cycle()
	before, old := b.books(), b.snapshot()
	for range 1000 {
		cycle()
	}
	after := b.books()
	for n := 0; after.goroutines > before.goroutines && n < 1e6; n++ { // the last worker may still be on its way out
		runtime.Gosched()
		after.goroutines = runtime.NumGoroutine()
	}
	if after.goroutines = max(after.goroutines, before.goroutines); after != before {
		t.Errorf("1000 cycles left something behind: before %+v, after %+v", before, after)
	}
	if d := diff(old, b.snapshot()); d != "" {
		t.Errorf("1000 cycles changed something:\n%s", d)
	}
}

// TestSideBySide has everything asked while modules come and go; what it shows, it
// shows under the race detector.
func TestSideBySide(t *testing.T) {
	b := populated(t, arch.AMD64)
	r := LoadRequest{Modules: toys(&toy{name: "a", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "super_f", how: call}, {symbol: "g", how: pointer}}},
		&toy{name: "b", uses: []use{{symbol: "f", how: call}}})(b)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				b.List()
				b.Status()
				for _, ask := range []func() error{
					func() error { _, err := b.Alias(nil, true); return err },
					func() error { _, err := b.Sites(SitesRequest{}); return err },
					func() error { _, err := b.Symbols([]string{"f"}, ""); return err },
					func() error { _, err := b.Disassemble("user:run"); return err },
					func() error { _, err := b.Info("user"); return err },
				} {
					if err := ask(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 100 {
		if _, err := b.Load(t.Context(), r); err != nil {
			t.Error(err)
		}
		if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"a", "b"}}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}
