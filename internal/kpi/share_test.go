package kpi_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"klink/internal/kpi"
	"klink/internal/link"
	"klink/internal/runner"
)

// entry is an entry of the kernel object's table of windows.
type entry struct {
	home, size uint64
	name       string
}

func (w *world) entry(i int) entry {
	at := w.fn(kpi.Windows) + uint64(i)*kpi.WindowEntry
	name := w.data[at+kpi.WindowName-dataAddr:][:32]
	return entry{w.get(at), w.get(at + 8), unix.ByteSliceToString(name)}
}

// TestShare: memory that is shared is the runner's windows, and the table says whose it is.
func TestShare(t *testing.T) {
	t.Parallel()
	w := begin(t, "share.o", "")
	spans := w.Windows()
	const largest = 1 << 20
	if got := w.does("all", largest); got != uint64(len(spans)) {
		t.Fatalf("%d of %d windows", int64(got), len(spans))
	}
	if got := w.does("all", 1); got != uint64(len(spans)) { // zeroed, though they were full
		t.Errorf("%d of %d windows", int64(got), len(spans))
	}
	first := w.does("one", w.text("ring"), 16384)
	second := w.does("one", w.text("a name of more than thirty-one bytes, cut"), 1)
	if first != spans[0].Addr || second != spans[1].Addr {
		t.Errorf("%#x and %#x of %v", first, second, spans)
	}
	for i, want := range []entry{{0, 16384, "ring"}, {0, 1, "a name of more than thirty-one "}} {
		got := w.entry(i)
		if got.home < w.at[link.Tables] || got.home >= w.at[link.Tables]+w.m.Size[link.Tables] { // a constant of the module's
			t.Errorf("%d is at home at %#x", i, got.home)
		}
		if got.home = 0; got != want {
			t.Errorf("%d is %+v", i, got)
		}
	}
	// It is memory that others see.
	f, err := w.OpenWindow(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [1]byte
	w.does("remember") // takes the third
	if w.does("back", second); w.entry(1).home != 0 {
		t.Error("it is not free")
	}
	if _, err := f.ReadAt(b[:], 0); err != nil || b[0] != 0 {
		t.Errorf("%v %v", b, err)
	}
	w.does("back", 0)
	w.does("back", first)
	if n := w.does("all", 100); n != uint64(len(spans)) {
		t.Errorf("%d windows are left", n)
	}
}

// TestShareRefuses: what cannot be had is NULL; what was not shared ends the call.
func TestShareRefuses(t *testing.T) {
	t.Parallel()
	w := begin(t, "share.o", "")
	name := w.text("x")
	for _, size := range []uint64{0, 1<<20 + 1, 1 << 40, ^uint64(0)} {
		w.want(0, "one", name, size)
	}
	if f := w.faults("badly_named"); f.Addr != 8 {
		t.Errorf("%+v", f)
	}
	for range w.Windows() {
		w.does("one", name, 1)
	}
	w.want(0, "one", name, 1)
	first := w.Windows()[0].Addr
	w.does("back", first)
	for _, p := range []uint64{first, first + 8, w.Windows()[1].Addr + 4096, dataAddr, 1} {
		w.faults("back", p)
		w.says("klink_unshare: 0x")
	}
	w.does("one", name, 1)
	w.want(0, "one", name, 1)
}

// TestShareContention: threads that take and give back never have the same window.
func TestShareContention(t *testing.T) {
	t.Parallel()
	w := begin(t, "share.o", "")
	w.does("remember")
	stride := w.Windows()[1].Addr - w.Windows()[0].Addr
	var jobs []*runner.Job
	for range 12 { // there are 8 windows
		jobs = append(jobs, w.call("contend", 0, 20, stride))
	}
	for _, j := range jobs {
		if got := w.value(j); got != 0 {
			t.Errorf("%d times a window was somebody else's, or not zeroed", got)
		}
	}
	for i := range w.Windows() {
		if e := w.entry(i); e.home != 0 || !strings.HasPrefix(e.name, "c") && i == 0 {
			t.Errorf("%d is %+v", i, e)
		}
	}
}
