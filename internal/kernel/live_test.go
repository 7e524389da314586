package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/runner"
)

// liveBench is a host that runs modules, of this computer's machine.
type liveBench struct {
	tb testing.TB
	*Kernel
}

func newLive(t testing.TB) *liveBench {
	t.Helper()
	if err := runner.Available(HostMachine()); err != nil {
		t.Fatal(err)
	}
	k, err := New(Config{Threads: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return &liveBench{t, k}
}

// liveFixture names an object of testdata/objs without its machine: "fault/fault.kmod".
func liveFixture(t testing.TB, name string) Source {
	t.Helper()
	word := map[arch.Machine]string{arch.AMD64: "amd64", arch.ARM64: "arm64"}[HostMachine()]
	ext := filepath.Ext(name)
	path, err := filepath.Abs(filepath.Join("../../testdata/objs", strings.TrimSuffix(name, ext)+"."+word+ext))
	if err != nil {
		t.Fatal(err)
	}
	return Source{Name: filepath.Base(name), Path: path}
}

func (b *liveBench) bring(names ...string) (*Change, error) {
	b.tb.Helper()
	var r LoadRequest
	for _, n := range names {
		r.Modules = append(r.Modules, ModuleSpec{Files: []Source{liveFixture(b.tb, n)}})
	}
	return b.Load(b.tb.Context(), r)
}

func (b *liveBench) mustBring(names ...string) *Change {
	b.tb.Helper()
	c, err := b.bring(names...)
	if err != nil {
		b.tb.Fatal(err)
	}
	return c
}

// call calls a function once and returns its report.
func (b *liveBench) call(function string, args ...uint64) *CallReport {
	b.tb.Helper()
	r := CallRequest{Function: function}
	for _, a := range args {
		r.Args = append(r.Args, Arg{Word: a})
	}
	report, err := b.Call(b.tb.Context(), r)
	if err != nil {
		b.tb.Fatalf("%s: %v", function, err)
	}
	return report
}

// value calls a function that must return.
func (b *liveBench) value(function string, args ...uint64) int64 {
	b.tb.Helper()
	r := b.call(function, args...)
	if r.State != JobDone || len(r.Values) != 1 {
		b.tb.Fatalf("%s: %+v", function, r)
	}
	return r.Values[0].Value
}

// printed returns the texts of the log.
func (b *liveBench) printed() []string {
	b.tb.Helper()
	r, err := b.Log(b.tb.Context(), LogRequest{})
	if err != nil {
		b.tb.Fatal(err)
	}
	var texts []string
	for _, l := range r.Lines {
		texts = append(texts, l.Text)
	}
	return texts
}

// TestFaults: each fault ends its call alone and is described; the next call works.
func TestFaults(t *testing.T) {
	b := newLive(t)
	b.mustBring("fault/fault.kmod")
	writes, trap := "writing address 0x0", "SIGTRAP"
	text, _ := b.arena.Span(0)
	faults := []struct {
		function string
		arg      uint64
		what, in string
		only     arch.Machine
	}{
		{"write_null", 0, "SIGSEGV: " + writes, "write_null", 0},
		{"read_null", 0, "SIGSEGV: reading address 0x0", "read_null", 0},
		{"undefined", 0, "", "undefined", 0},
		{"breakpoint", 0, trap, "breakpoint", 0},
		{"divide", 0, "SIGFPE", "divide", arch.AMD64},
		{"recurse", 0, "stack overflow", "recurse", 0},
		{"big_frame", 0, "stack overflow", "big_frame", 0},
		{"open_file", 0, "(openat)", "open_file", 0},
		{"outer", 0, "SIGSEGV: " + writes, "inner", 0},
		{"call_at", 0, "running code at address 0x0", "", 0},
		{"call_at", text + 100<<20, "SIGBUS: running code", "", 0},
	}
	for _, f := range faults {
		if f.only != 0 && f.only != HostMachine() {
			continue
		}
		r := b.call(f.function, f.arg)
		if r.State != JobFaulted || len(r.Faults) != 1 {
			t.Fatalf("%s: %+v", f.function, r)
		}
		got := r.Faults[0]
		if !strings.Contains(got.What, f.what) || got.At.Func != f.in || len(got.Regs) < 17 {
			t.Errorf("%s: %q in %q (%d registers), want %q in %q", f.function, got.What, got.At.Func, len(got.Regs), f.what, f.in)
		}
		if f.in != "" && (got.At.Module != "fault" || !strings.HasSuffix(got.At.File, "fault.c") || got.At.Line == 0) {
			t.Errorf("%s: at %+v, want a line of fault.c", f.function, got.At)
		}
		if v := b.value("add", 3, 4); v != 7 {
			t.Fatalf("after %s: 3 + 4 = %d", f.function, v)
		}
	}
}

// TestRunnerCode: a place in the runner's own code is told as one.
func TestRunnerCode(t *testing.T) {
	b := newLive(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	lo, hi := runner.Code()
	for addr, want := range map[uint64]string{lo + 0x10: "klink's runner+0x10", hi - 1: fmt.Sprintf("klink's runner+%#x", hi-1-lo), hi: fmt.Sprintf("%#x", hi), lo - 1: fmt.Sprintf("%#x", lo-1)} {
		if got := b.frame(b.names(), addr).String(); got != want {
			t.Errorf("%#x is %q, want %q", addr, got, want)
		}
	}
}

// TestBacktrace: callers are found by unwind tables, and by scanning without them.
func TestBacktrace(t *testing.T) {
	for _, c := range []struct {
		file  string
		guess bool
	}{{"fault/fault.kmod", false}, {"fault/bare.kmod", true}} {
		b := newLive(t)
		b.mustBring(c.file)
		f := b.call("outer").Faults[0]
		var got []string
		for _, fr := range f.Trace {
			if fr.Guess != c.guess {
				t.Errorf("%s: %s: guess %v", c.file, fr, fr.Guess)
			}
			got = append(got, fr.Func)
		}
		if len(got) < 2 || got[0] != "middle" || got[1] != "outer" || !c.guess && len(got) != 2 {
			t.Errorf("%s: %v, want middle and outer", c.file, got)
		}
		if f := b.call("call_at").Faults[0]; len(f.Trace) == 0 || f.Trace[0].Func != "call_at" {
			t.Errorf("%s: a call to 0 comes from %+v", c.file, f.Trace)
		}
	}
}

// TestLimit: an endless loop ends at its limit, alone.
func TestLimit(t *testing.T) {
	b := newLive(t)
	b.mustBring("fault/fault.kmod")
	r, err := b.Call(t.Context(), CallRequest{Function: "loop", Limit: int64(50 * time.Millisecond), Threads: 2})
	if err != nil || len(r.Faults) != 2 || !strings.Contains(r.Faults[0].What, "time limit") || r.Faults[0].At.Func != "loop" {
		t.Fatalf("%+v, %v", r, err)
	}
	if v := b.value("add", 1, 1); v != 2 {
		t.Error(v)
	}
}

// TestStale: text of a module that is gone traps, and the report names the module.
func TestStale(t *testing.T) {
	b := newLive(t)
	b.mustBring("fault/fault.kmod")
	b.mustBring("call/callee.kmod")
	syms, err := b.Symbols([]string{"callee"}, "callee")
	if err != nil || len(syms) != 1 {
		t.Fatal(syms, err)
	}
	if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"callee"}}); err != nil {
		t.Fatal(err)
	}
	r := b.call("call_at", uint64(syms[0].Addr))
	if len(r.Faults) != 1 || r.Faults[0].What != "SIGTRAP" || r.Faults[0].Note != "unloaded module callee" {
		t.Fatalf("%+v", r.Faults)
	}
}

// TestUnloadInside: a module that a thread will not leave is put back, and its symbols
// lead to it again; when the thread has left, it goes.
func TestUnloadInside(t *testing.T) {
	b := newLive(t)
	b.mustBring("fault/fault.kmod")
	job, err := b.Call(t.Context(), CallRequest{Function: "loop", Limit: -1, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	for { // until it is in the loop
		if r, err := b.Read(ReadRequest{What: "counter"}); err != nil || !slices.Equal(r.Bytes, make([]byte, 8)) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, err = b.Unload(t.Context(), UnloadRequest{Modules: []string{"fault"}, Wait: int64(20 * time.Millisecond)})
	if !errors.Is(err, diag.ErrBusy) || !strings.Contains(err.Error(), "loop") {
		t.Fatalf("%v, want busy in loop", err)
	}
	if list := b.List(); list[len(list)-1].State != stateLive {
		t.Errorf("%+v", list)
	}
	if v := b.value("add", 5, 6); v != 11 {
		t.Error(v)
	}
	if r, err := b.Wait(t.Context(), WaitRequest{Jobs: []int{job.Job}, Stop: true}); err != nil || len(r) != 1 || r[0].State != JobFaulted {
		t.Fatal(r, err)
	}
	if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"fault"}}); err != nil {
		t.Fatal(err)
	}
}

// TestLost: when the runner dies everybody who waits is told, and the host goes on
// answering.
func TestLost(t *testing.T) {
	b := newLive(t)
	b.mustBring("fault/fault.kmod")
	var wg sync.WaitGroup
	var begun atomic.Int32
	for range 3 {
		wg.Go(func() {
			j, err := b.begin(CallRequest{Function: "loop", Threads: 1, Times: 1, Limit: -1})
			if err != nil {
				t.Error(err)
				return
			}
			begun.Add(1)
			<-j.done
			if j.report.State != JobLost || j.report.Lost == "" {
				t.Errorf("%+v", j.report)
			}
		})
	}
	for begun.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	if err := unix.Kill(b.Status().Runner.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, m := range b.List() {
		if m.State != stateLost {
			t.Errorf("%s is %s", m.Name, m.State)
		}
	}
	if st := b.Status().Runner; st.State != RunnerLost || !strings.Contains(st.Why, "signal 9") {
		t.Errorf("%+v", st)
	}
	for what, err := range map[string]error{
		"load":   func() error { _, err := b.bring("call/callee.kmod"); return err }(),
		"unload": func() error { _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"fault"}}); return err }(),
		"call":   func() error { _, err := b.Call(t.Context(), CallRequest{Function: "add"}); return err }(),
	} {
		if !errors.Is(err, diag.ErrLost) || !strings.Contains(err.Error(), "klink boot") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestLives: what modules print when they come and go, and how their refusals and
// faults are told; a load that failed left nothing behind.
func TestLives(t *testing.T) {
	b := newLive(t)
	b.mustBring("life/life.kmod")
	if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"life"}}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(b.printed(), "\n"); got != "life: INIT\nlife: CATCH\nlife: FINI" {
		t.Errorf("printed:\n%s", got)
	}
	limit := int64(50 * time.Millisecond)
	for _, c := range []struct {
		file string
		kind error
		says string
	}{
		{"init_errno", diag.ErrRefused, "init_errno: INIT returned ENOMEM"},
		{"init_fault", diag.ErrFault, "init_fault: INIT: SIGSEGV: writing address 0x0 in init_fault: init_fault_modcmd"},
		{"init_loop", diag.ErrFault, "init_loop: INIT: time limit of 50ms in init_loop: init_loop_modcmd"},
		{"init_sleep", diag.ErrFault, "init_sleep: INIT: time limit of 50ms"},
	} {
		_, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{{Files: []Source{liveFixture(t, "life/"+c.file+".kmod")}}}, Limit: limit})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.file, err)
		}
		if n := len(b.List()); n != 1 {
			t.Fatalf("%s: %d modules are left", c.file, n)
		}
	}
	for _, c := range []struct {
		file  string
		kind  error
		says  string
		state string // afterwards
	}{
		{"catch_errno", diag.ErrRefused, "CATCH returned ENOMEM", stateLive},
		{"catch_fault", diag.ErrFault, "CATCH: SIGSEGV", stateLive},
		{"catch_loop", diag.ErrFault, "CATCH: time limit", stateLive},
		{"fini_errno", diag.ErrRefused, "FINI returned ENOMEM", stateLive},
	} {
		b.mustBring("life/" + c.file + ".kmod")
		_, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{c.file}, Wait: limit})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.file, err)
		}
		list := b.List()
		if m := list[len(list)-1]; m.Name != c.file || m.State != c.state {
			t.Fatalf("%s: %s is %s", c.file, m.Name, m.State)
		}
	}
	for _, file := range []string{"fini_fault", "fini_loop"} {
		b.mustBring("life/" + file + ".kmod")
		_, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{file}, Wait: limit})
		if !errors.Is(err, diag.ErrDraining) || !strings.Contains(err.Error(), file+": out of use") {
			t.Errorf("%s: %v", file, err)
		}
	}
	for len(b.List()) > 5 { // the reaper sees that nobody is inside of the two
		time.Sleep(time.Millisecond)
	}
}

// TestRequired: a module that another lists as required stays.
func TestRequired(t *testing.T) {
	b := newLive(t)
	if _, err := b.bring("life/needs.kmod"); err == nil || !strings.Contains(err.Error(), "life") {
		t.Fatalf("loaded without what it requires: %v", err)
	}
	b.mustBring("life/needs.kmod", "life/life.kmod")
	if got := strings.Join(b.printed(), "\n"); got != "life: INIT\nneeds: INIT" {
		t.Errorf("printed:\n%s", got)
	}
	if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"life"}}); !errors.Is(err, diag.ErrNeeded) {
		t.Errorf("unload of what is required: %v", err)
	}
	if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"life", "needs"}}); err != nil {
		t.Error(err)
	}
}

// TestHop: a thread that hops from one of the pool to the next is found wherever the look
// at the others has come.
func TestHop(t *testing.T) {
	b := newLive(t)
	b.mustBring("life/hop.kmod")
	_, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"hop"}, Wait: int64(20 * time.Millisecond)})
	if !errors.Is(err, diag.ErrDraining) {
		t.Fatal(err)
	}
	for range 200 {
		b.reapOnce()
		if list := b.List(); len(list) != 2 || list[1].State != stateDraining {
			t.Fatalf("%+v\n%s", list, strings.Join(b.printed(), "\n"))
		}
	}
}
