package kpi_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/kpi"
	"klink/internal/link"
	"klink/internal/runner"
)

// Where the tests' memory lies: the sealed file is tables, then text; data is the
// module's, then what calls are given by address, then the heap.
const (
	granule    = 64 << 10
	textAddr   = 0x10000000
	tablesAddr = 0x20000000
	dataAddr   = 0x30000000
	switchSize = granule // the switch's table
	scratch    = 4 << 20
	heapLo     = 8 << 20
	heapHi     = 16 << 20
	threads    = 16
)

// world is a runner with the kernel object and one object of testdata/objs/kpi.
type world struct {
	*runner.Runner
	t      testing.TB
	m      *link.Module
	at     [link.Regions]uint64
	data   []byte // the host's view
	sealed []byte
	wrote  uint64 // of the scratch memory
	lines  uint64 // number of the next line of the log
}

func roundUp(n uint64) uint64 { return (n + granule - 1) &^ (granule - 1) }

// gather links the kernel object and a fixture as one module.
func gather(t testing.TB, fixture string) *link.Module {
	t.Helper()
	m, _ := arch.Parse(runtime.GOARCH)
	name, ext, _ := strings.Cut(fixture, ".")
	file := "../../testdata/objs/kpi/" + name + "." + runtime.GOARCH + "." + ext
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	u := link.Unit{Name: "kernel", Static: true}
	for _, o := range []struct {
		name string
		raw  []byte
	}{{file, raw}, {"klink.o", kpi.Object(m)}} {
		parsed, err := elfload.Parse(o.name, "", o.raw)
		if err != nil {
			t.Fatal(err)
		}
		u.Objects = append(u.Objects, parsed)
	}
	lm, err := link.Gather(u)
	if err != nil {
		t.Fatal(err)
	}
	return lm
}

// file makes a memfd with a view of it.
func file(t testing.TB, size uint64) (int, []byte) {
	t.Helper()
	fd, err := unix.MemfdCreate("klink-test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		err = unix.Ftruncate(fd, int64(size))
	}
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

// begin starts a runner with a fixture, and runs the fixture's init.
func begin(t testing.TB, fixture, init string) *world {
	t.Helper()
	w := &world{t: t, m: gather(t, fixture)}
	text, tables := roundUp(w.m.Size[link.Text]), switchSize+roundUp(w.m.Size[link.Tables])
	w.at = [link.Regions]uint64{textAddr, tablesAddr + switchSize, dataAddr}
	cfg := runner.Config{
		Text: runner.Span{Addr: textAddr, Size: text}, Tables: runner.Span{Addr: tablesAddr, Size: tables},
		Data: runner.Span{Addr: dataAddr, Size: heapHi}, TextOff: tables, Table: tablesAddr, Threads: threads,
	}
	cfg.SealedFd, w.sealed = file(t, tables+text)
	cfg.DataFd, w.data = file(t, heapHi)
	w.link(tables)
	r, err := runner.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Runner = r
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	w.construct()
	r.SetSettle(w.fn(kpi.Settle))
	if init != "" {
		w.does(init)
	}
	return w
}

// link writes the module into the memory, and what the host tells it.
func (w *world) link(textOff uint64) {
	in := &link.Input{At: w.at, Static: true, Answers: make([]link.Answer, len(w.m.Names))}
	for i := range w.m.Names {
		addr, size, ok := w.m.Own(link.NameID(i), w.at)
		if !ok && w.m.Names[i].Bind == link.Stack {
			w.t.Fatalf("nobody provides %s", w.m.Names[i].Name)
		}
		in.Answers[i] = link.Answer{Branch: addr, Address: addr, Size: size}
	}
	out := [link.Regions][]byte{w.sealed[textOff:], w.sealed[switchSize:textOff], w.data[:scratch]}
	if _, err := w.m.Apply(in, out); err != nil {
		w.t.Fatal(err)
	}
	w.put(w.fn(kpi.HeapLo), dataAddr+heapLo)
	w.put(w.fn(kpi.HeapHi), dataAddr+heapHi)
}

// construct runs the init_array.
func (w *world) construct() {
	ran := 0
	for oi, o := range w.m.Objects() {
		for si := range o.Sections {
			r, off, kept := w.m.Section(oi, si)
			if s := &o.Sections[si]; kept && s.Type == elfload.InitArray {
				for i := uint64(0); i < s.Size; i += 8 {
					if r != link.Data {
						w.t.Fatalf("init_array lies in %v", r)
					}
					w.calls(w.get(w.at[r]+off+i), "constructor")
					ran++
				}
			}
		}
	}
	if ran != 1 {
		w.t.Fatalf("%d constructors, not one", ran)
	}
}

// fn returns the address of a name.
func (w *world) fn(name string) uint64 {
	w.t.Helper()
	id, ok := w.m.Lookup(name)
	if ok {
		if addr, _, ok := w.m.Own(id, w.at); ok {
			return addr
		}
	}
	w.t.Fatalf("no %s", name)
	return 0
}

// get and put read and write a word of data at an address; no thread must be at it.
func (w *world) get(addr uint64) uint64 { return binary.LittleEndian.Uint64(w.data[addr-dataAddr:]) }
func (w *world) put(addr, v uint64)     { binary.LittleEndian.PutUint64(w.data[addr-dataAddr:], v) }

// room returns the address of n bytes, zeroed, that nobody uses, and the bytes.
func (w *world) room(n int) (uint64, []byte) {
	off := scratch + w.wrote
	w.wrote += uint64(n+63) &^ 63
	if off+uint64(n) > heapLo {
		w.t.Fatal("no more scratch memory")
	}
	return dataAddr + off, w.data[off:][:n]
}

// text returns the address of a string.
func (w *world) text(s string) uint64 {
	addr, b := w.room(len(s) + 1)
	copy(b, s)
	return addr
}

// call has a function called.
func (w *world) call(name string, limit time.Duration, args ...uint64) *runner.Job {
	w.t.Helper()
	j, err := w.Begin(runner.Call{Fn: w.fn(name), Args: args, Limit: limit})
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// end waits for a job.
func (w *world) end(j *runner.Job) *runner.Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	select {
	case <-j.Done():
		return j.Result()
	case <-ctx.Done():
		for i := range w.Threads() {
			if v, err := w.Inspect(i); err == nil && v.State != runner.Idle {
				w.t.Logf("thread %d is %v: %s %#x pc %#x", i, v.State, v.SleepWhy, v.SleepOn, v.Regs.PC)
			}
		}
		w.t.Fatal("a job does not end")
		return nil
	}
}

// value is what a job returned, which must have returned.
func (w *world) value(j *runner.Job) uint64 {
	w.t.Helper()
	res := w.end(j)
	if res.Fault != nil || res.Err != nil {
		w.t.Fatalf("%v %v; the log says %q", res.Fault, res.Err, w.said())
	}
	return res.Value
}

func (w *world) calls(fn uint64, what string) {
	w.t.Helper()
	j, err := w.Begin(runner.Call{Fn: fn})
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	w.value(j)
}

// does calls a function, which must return.
func (w *world) does(name string, args ...uint64) uint64 {
	w.t.Helper()
	return w.value(w.call(name, 0, args...))
}

// want calls a function and compares what it returns.
func (w *world) want(want uint64, name string, args ...uint64) {
	w.t.Helper()
	if got := w.does(name, args...); got != want {
		w.t.Errorf("%s(%v) is %d, want %d", name, args, got, want)
	}
}

// faults calls a function, which must not return, and gives its fault.
func (w *world) faults(name string, args ...uint64) *runner.Fault {
	w.t.Helper()
	res := w.end(w.call(name, 0, args...))
	if res.Fault == nil || res.Err != nil {
		w.t.Fatalf("%s: value %d, fault %v, %v", name, res.Value, res.Fault, res.Err)
	}
	return res.Fault
}

// said returns the lines of the log since the last time.
func (w *world) said() []string {
	lines, lost := w.Lines(w.lines, 1<<20)
	w.lines += uint64(len(lines)) + lost
	var s []string
	for _, l := range lines {
		s = append(s, l.Text)
	}
	return s
}

// says waits for a line that contains text.
func (w *world) says(text string) {
	w.t.Helper()
	var all []string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		more := w.More(w.lines)
		said := w.said()
		all = append(all, said...)
		if strings.Contains(strings.Join(said, "\n"), text) {
			return
		}
		if len(said) == 0 {
			select {
			case <-more:
			case <-time.After(time.Minute):
			}
		}
	}
	w.t.Fatalf("%q was not said, but %q", text, all)
}

// panics calls a function that is the end of the runner, with this reason.
func (w *world) panics(why, name string, args ...uint64) {
	w.t.Helper()
	res := w.end(w.call(name, 0, args...))
	if res.Err == nil {
		w.t.Fatalf("%s: value %d, fault %v", name, res.Value, res.Fault)
	}
	<-w.Gone()
	if err := w.Err(); !errors.Is(err, diag.ErrLost) || !strings.Contains(err.Error(), why) {
		w.t.Errorf("%s: the runner is lost: %v; want %q", name, err, why)
	}
	w.says("panic: ")
}

// asleep waits until thread i sleeps for a reason.
func (w *world) asleep(i int, why string) runner.View {
	w.t.Helper()
	var v runner.View
	w.eventually("thread asleep for "+why, func() bool {
		var err error
		if v, err = w.Inspect(i); err != nil {
			w.t.Fatal(err)
		}
		return v.State == runner.Sleeping && v.SleepWhy == why
	})
	return v
}

// eventually waits for a condition that comes about by itself.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			w.t.Fatalf("never: %s", what)
		}
	}
}
