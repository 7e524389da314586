package runner

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
)

// Where the tests' memory lies. The sealed file is tables, then one page of text; the
// rest of the text does not exist.
const (
	textAddr, textSize     = 0x10000000, 1 << 20
	tablesAddr, tablesSize = 0x20000000, granule
	dataAddr, dataSize     = 0x30000000, 1 << 20
)

// world is a runner with the functions of testdata/objs/runner/code.c.
type world struct {
	*Runner
	t      testing.TB
	fn     map[string]uint64 // addresses by name
	data   memory            // the host's view
	sealed memory
}

// code returns the functions' bytes and their offsets.
func code(t testing.TB) ([]byte, map[string]uint64) {
	t.Helper()
	f, err := elf.Open("../../testdata/objs/runner/code." + runtime.GOARCH + ".o")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Section(".rela.text") != nil {
		t.Fatal("the code has relocations")
	}
	text, err := f.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]uint64{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			at[s.Name] = s.Value
		}
	}
	return text, at
}

// file makes a memfd with a view of it.
func file(t testing.TB, size uint64) (int, memory) {
	t.Helper()
	fd, err := memfd("klink-test", size)
	if err != nil {
		t.Fatal(err)
	}
	view, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Munmap(view), unix.Close(fd)); err != nil {
			t.Error(err)
		}
	})
	return fd, view
}

// prepare makes what a runner runs in.
func prepare(t testing.TB) (*world, Config) {
	t.Helper()
	w := &world{t: t, fn: map[string]uint64{}}
	cfg := Config{
		Text: Span{textAddr, textSize}, Tables: Span{tablesAddr, tablesSize}, Data: Span{dataAddr, dataSize},
		TextOff: tablesSize, Table: tablesAddr, Threads: 8,
	}
	cfg.SealedFd, w.sealed = file(t, tablesSize+granule)
	cfg.DataFd, w.data = file(t, dataSize)
	binary.LittleEndian.PutUint64(w.sealed[16:], tablesAddr+64) // the switch's rows, of which there are none
	text, at := code(t)
	copy(w.sealed[cfg.TextOff:], text)
	for name, off := range at {
		w.fn[name] = textAddr + off
	}
	return w, cfg
}

// begin starts a runner, as change wants it, that ends with the test.
func begin(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w, cfg := prepare(t)
	for _, c := range change {
		c(&cfg)
	}
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Runner = r
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// call has the function called, and gives its job.
func (w *world) call(name string, limit time.Duration, args ...uint64) *Job {
	w.t.Helper()
	fn, ok := w.fn[name]
	if !ok {
		w.t.Fatalf("no function %s", name)
	}
	j, err := w.Begin(Call{Fn: fn, Args: args, Limit: limit})
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// end waits for a job.
func (w *world) end(j *Job) *Result {
	w.t.Helper()
	select {
	case <-j.Done():
		return j.Result()
	case <-time.After(time.Minute):
		w.t.Fatal("a job does not end")
		return nil
	}
}

// does calls the function, which must return.
func (w *world) does(name string, args ...uint64) uint64 {
	w.t.Helper()
	res := w.end(w.call(name, 0, args...))
	if res.Fault != nil || res.Err != nil {
		w.t.Fatalf("%s: %v %v", name, res.Fault, res.Err)
	}
	return res.Value
}

// well says that the runner does all that it did before.
func (w *world) well() {
	w.t.Helper()
	for i := range w.Threads() { // more than there are threads that may be broken
		if got := w.does("weigh", 1, 2, 3, 4, 5, 6, 7, uint64(i)); got != 140+8*uint64(i) {
			w.t.Fatalf("weigh is %d", got)
		}
	}
	if err := w.Barrier(true); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Err(); err != nil {
		w.t.Fatal(err)
	}
	if s, err := w.Strangers(); err != nil || len(s) != 0 {
		w.t.Fatalf("strangers %v %v", s, err)
	}
}

// word is a word of data, at an address that calls can be given.
func (w *world) word(i int) (addr uint64, set func(v uint64), get func() uint64) {
	off := uint64(i) * 64
	return dataAddr + off, func(v uint64) { w.poke(off, v) }, func() uint64 { return w.peek(off) }
}

// wantLost checks an error.
func wantLost(t testing.TB, err error, part string) {
	t.Helper()
	if !errors.Is(err, diag.ErrLost) || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want a lost runner: %s", err, part)
	}
}

// eventually waits for a condition that comes about by itself.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// maps returns the lines of a process's maps.
func maps(t testing.TB, pid string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(bytes.TrimSpace(b)), "\n")
}
