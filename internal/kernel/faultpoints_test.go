package kernel

import (
	"sync"
	"testing"
)

// TestFaultPoints: a load and an unload come by every fault point but that of a put back,
// so a test that goes through the list goes through all of them.
func TestFaultPoints(t *testing.T) {
	var mu sync.Mutex
	seen := map[faultPoint]bool{}
	k, err := New(Config{Threads: 4, fault: func(at faultPoint) error {
		mu.Lock()
		defer mu.Unlock()
		seen[at] = true
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	b := &liveBench{t, k}
	b.mustBring("call/weak.kmod", "call/call.o")
	b.mustBring("call/callee.kmod")
	if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"callee"}}); err != nil {
		t.Fatal(err)
	}
	for _, at := range faultPoints {
		if !seen[at] && at != faultPutBack {
			t.Errorf("nothing came by %q", at)
		}
		delete(seen, at)
	}
	if len(seen) > 0 {
		t.Errorf("not in the list: %v", seen)
	}
}
