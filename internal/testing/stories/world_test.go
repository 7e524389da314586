// Package stories tells the two stories that must always work, on a kernel in the test's
// own process: modules of testdata/objs come and go while threads run through them, and
// every call is accounted for.
package stories

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"klink/internal/kernel"
	"klink/internal/testing/words"
)

// world is a kernel with the modules of one folder of testdata/objs.
type world struct {
	t *testing.T
	*kernel.Kernel
	folder string
}

// boot starts a kernel of folder/kernel.o, which is closed when the test ends.
func boot(t *testing.T, folder string) *world {
	t.Helper()
	k, err := kernel.New(kernel.Config{Machine: kernel.HostMachine()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, k, folder}
	t.Cleanup(func() {
		if t.Failed() {
			w.showLog()
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := k.Boot(t.Context(), []kernel.ModuleSpec{w.spec("kernel.o")}); err != nil {
		t.Fatal(err)
	}
	return w
}

// showLog adds what the modules printed, and what klink said of faults, to the test's output.
func (w *world) showLog() {
	report, err := w.Log(context.Background(), kernel.LogRequest{})
	if err != nil {
		w.t.Log(err)
		return
	}
	for _, l := range report.Lines {
		w.t.Logf("%d: %s", l.Thread, l.Text)
	}
}

// spec names fixtures of the folder, which make one module of the first one's name.
func (w *world) spec(files ...string) (s kernel.ModuleSpec) {
	s.As = strings.TrimSuffix(files[0], filepath.Ext(files[0]))
	for _, f := range files {
		ext := filepath.Ext(f)
		name := strings.TrimSuffix(f, ext) + "." + kernel.HostMachine().Facts().GOARCH + ext
		s.Files = append(s.Files, kernel.Source{Name: name, Path: filepath.Join("../../../testdata/objs", w.folder, name)})
	}
	return s
}

// load loads one module.
func (w *world) load(files ...string) {
	w.t.Helper()
	if _, err := w.Load(w.t.Context(), kernel.LoadRequest{Modules: []kernel.ModuleSpec{w.spec(files...)}}); err != nil {
		w.t.Fatal(err)
	}
}

// patience is how long the steps of unloads may take here, ns: the tests do not fail
// because the machine is busy.
const patience = 60_000_000_000

// unload unloads one module.
func (w *world) unload(name string) {
	w.t.Helper()
	if err := w.tryUnload(name); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryUnload(name string) error {
	_, err := w.Unload(w.t.Context(), kernel.UnloadRequest{Modules: []string{name}, Wait: patience})
	return err
}

// start has threads call a function until it returns, and returns the job.
func (w *world) start(threads int, function string, args ...uint64) int {
	w.t.Helper()
	r := kernel.CallRequest{Function: function, Threads: threads, Limit: -1, Detach: true}
	for _, a := range args {
		r.Args = append(r.Args, kernel.Arg{Word: a})
	}
	report, err := w.Call(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return report.Job
}

// wait waits for a job and checks that each of its threads returned value.
func (w *world) wait(job int, value int64) {
	w.t.Helper()
	reports, err := w.Wait(w.t.Context(), kernel.WaitRequest{Jobs: []int{job}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.returned(&reports[0], value)
}

// call calls a function and checks what it returns.
func (w *world) call(value int64, function string, args ...uint64) {
	w.t.Helper()
	w.wait(w.start(1, function, args...), value)
}

func (w *world) returned(r *kernel.CallReport, value int64) {
	w.t.Helper()
	for _, f := range r.Faults {
		w.t.Errorf("%s: %s at %s: %s+%#x (%v) %s", r.Function, f.What, f.At.Module, f.At.Func, f.At.Offset, f.At.Addr, f.Note)
	}
	if r.State != kernel.JobDone || len(r.Values) != 1 || r.Values[0].Value != value {
		w.t.Fatalf("%s is %s %s and returned %v, not %d", r.Function, r.State, r.Lost, r.Values, value)
	}
}

// shared returns the live bytes of a variable of the kernel.
func (w *world) shared(name string) words.Words {
	w.t.Helper()
	syms, err := w.Symbols([]string{name}, kernel.KernelName)
	if err != nil {
		w.t.Fatal(err)
	}
	b := w.Data(syms[0].Addr, syms[0].Size)
	if b == nil {
		w.t.Fatalf("%s does not lie in data", name)
	}
	return b
}

// until waits until done says so, as long as no job has ended by a fault.
func (w *world) until(done func() bool) {
	w.t.Helper()
	for !done() {
		for _, j := range w.Jobs() {
			if j.State != kernel.JobRunning && j.State != kernel.JobDone {
				w.returned(&j, 0)
			}
		}
		time.Sleep(20 * time.Microsecond) // the threads need the processors
	}
}

// threads is how many threads run through the modules.
const threads = 2
