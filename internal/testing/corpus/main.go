// Corpus links every object of folders alone and has GNU ld link it at the same
// addresses: every byte must be equal.
//
//	corpus NAME=FOLDER ...
//
// It prints a line a folder and one for each object that is refused or differs, and
// exits with 1 if any does.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"klink/internal/arch"
	"klink/internal/kernel"
	"klink/internal/testing/oracle"
)

// tally is what a folder came to.
type tally struct {
	objects, equal, refused, different int
	relocations, bytes                 int64
	lines                              []string
}

func main() {
	fmt.Printf("%-24s %8s %12s %14s %8s %8s %10s\n", "corpus", "objects", "relocations", "bytes", "equal", "refused", "different")
	bad := false
	for _, arg := range os.Args[1:] {
		name, dir, ok := strings.Cut(arg, "=")
		if !ok {
			fmt.Fprintf(os.Stderr, "corpus: %s is no NAME=FOLDER\n", arg)
			os.Exit(2)
		}
		t, err := compareAll(dir)
		if err != nil {
			fmt.Fprintf(os.Stderr, "corpus: %s: %v\n", name, err)
			os.Exit(1)
		}
		fmt.Printf("%-24s %8d %12d %14d %8d %8d %10d\n", name, t.objects, t.relocations, t.bytes, t.equal, t.refused, t.different)
		for _, l := range t.lines {
			fmt.Println(l)
		}
		bad = bad || t.equal != t.objects || t.objects == 0
	}
	if bad {
		os.Exit(1)
	}
}

// compareAll compares the objects of a folder, on all processors.
func compareAll(dir string) (*tally, error) {
	var files []string
	for _, pattern := range []string{"*.ko", "*.o", "*.kmod"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	work := make(chan string)
	var t tally
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for f := range work {
				r, refusal, err := compare(f)
				mu.Lock()
				t.add(f, r, refusal, err)
				mu.Unlock()
			}
		})
	}
	for _, f := range files {
		work <- f
	}
	close(work)
	wg.Wait()
	return &t, nil
}

// add counts one object.
func (t *tally) add(file string, r *oracle.Result, refusal, err error) {
	t.objects++
	switch {
	case refusal != nil:
		t.refused++
		t.lines = append(t.lines, "  refused: "+refusal.Error())
	case err != nil:
		t.different++
		t.lines = append(t.lines, fmt.Sprintf("  %s: %v", file, err))
	case !r.Equal():
		t.different++
		t.lines = append(t.lines, fmt.Sprintf("  %s: %v", file, r))
	default:
		t.equal++
	}
	if r != nil {
		t.relocations += int64(r.Relocations)
		t.bytes += r.Bytes
	}
}

// compare links one object with klink and has GNU ld link it at the same addresses.
// refusal is klink's, err the comparison's.
func compare(file string) (r *oracle.Result, refusal, err error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "klink-corpus.")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	report, refusal := kernel.Link(kernel.LinkRequest{
		Modules: []kernel.ModuleSpec{{Files: []kernel.Source{{Name: filepath.Base(file), Path: path}}}},
		Static:  true, TrapExternals: true, DumpDir: filepath.Join(dir, "dump"),
	})
	if refusal != nil {
		return nil, refusal, nil
	}
	machine, _ := arch.Parse(report.Machine)
	ld, err := oracle.FindLinker(machine)
	if err != nil {
		return nil, nil, err
	}
	r, err = oracle.Compare(context.Background(), ld, path, filepath.Join(dir, "dump"))
	return r, nil, err
}
