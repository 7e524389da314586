package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"klink/internal/arch"
	"klink/internal/kernel"
	"klink/internal/testing/oracle"
)

// outcome is what one object came to.
type outcome struct {
	machine arch.Machine
	hidden  int            // undefined symbols that were hidden
	result  *oracle.Result // of the comparison
	live    bool           // only the form whose calls can move differs
	refusal error          // klink's
	err     error          // why there was no comparison
}

// linkers finds each machine's GNU ld once.
var linkers = map[arch.Machine]func() (oracle.Linker, error){
	arch.AMD64: sync.OnceValues(func() (oracle.Linker, error) { return oracle.FindLinker(arch.AMD64) }),
	arch.ARM64: sync.OnceValues(func() (oracle.Linker, error) { return oracle.FindLinker(arch.ARM64) }),
}

// scratch is where the files of one comparison lie: memory, if the system has some.
var scratch = sync.OnceValue(func() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
})

// compare links one object with klink, for good and so that its calls can move, and has
// GNU ld link it at the same addresses. The result is that of the first, unless only the
// second differs.
func compare(file string) outcome {
	o := compareForm(file, true)
	if o.result == nil || !o.result.Equal() {
		return o
	}
	live := compareForm(file, false)
	switch {
	case live.refusal != nil:
		o.refusal = fmt.Errorf("only with --static: %w", live.refusal)
	case live.err != nil:
		o.err = fmt.Errorf("without --static: %w", live.err)
	case !live.result.Equal():
		o.result, o.live = live.result, true
	}
	return o
}

// compareForm compares one of the two forms.
func compareForm(file string, static bool) (o outcome) {
	dir, err := os.MkdirTemp(scratch(), "klink-corpus.")
	if err != nil {
		return outcome{err: err}
	}
	defer os.RemoveAll(dir)
	path, hidden, err := prepare(file, dir)
	if err != nil {
		return outcome{err: err}
	}
	o.hidden = hidden
	report, err := kernel.Link(kernel.LinkRequest{
		Modules: []kernel.ModuleSpec{{Files: []kernel.Source{{Name: filepath.Base(file), Path: path}}}},
		Static:  static, TrapExternals: true, DumpDir: filepath.Join(dir, "dump"),
	})
	if err != nil {
		o.refusal = err
		return o
	}
	o.machine, _ = arch.Parse(report.Machine)
	find := linkers[o.machine]
	if find == nil {
		o.err = fmt.Errorf("%w for %q", oracle.ErrNoLinker, report.Machine)
		return o
	}
	ld, err := find()
	if err != nil {
		o.err = err
		return o
	}
	o.result, o.err = oracle.Compare(context.Background(), ld, path, filepath.Join(dir, "dump"))
	return o
}

// prepare returns the file to link: the object itself or, if it refers to hidden names,
// a copy in dir that does not hide them.
func prepare(file, dir string) (path string, hidden int, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", 0, err
	}
	open, hidden, err := oracle.Unhide(data)
	if err != nil {
		return "", 0, err
	}
	if hidden == 0 {
		path, err = filepath.Abs(file)
		return path, 0, err
	}
	path = filepath.Join(dir, filepath.Base(file))
	return path, hidden, os.WriteFile(path, open, 0o600)
}
