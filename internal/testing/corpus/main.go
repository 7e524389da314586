// Corpus links every object of folders alone, once for good and once so that its calls can
// move, and has GNU ld link it at the same addresses: every byte must be equal.
//
//	corpus [-types] NAME/GOARCH=FOLDER ...
//
// It looks for *.ko, *.o and *.kmod in the folders and below them, and prints a table, a
// line a folder, and below it a line for each object that differs or is refused. Refused
// may only be what has thread-local storage. It exits with 1 if anything else is.
//
// The columns: objects; relocations in sections that were compared; their bytes; objects
// that are equal, refused, different; followed: relocations that lead to a GOT slot, which
// was looked into; unhidden: objects that refer to hidden names of their neighbours, of
// which a copy without that attribute was linked, by both linkers.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

const format = "%-14s %-6s %8v %12v %12v %8v %8v %10v %9v %9v\n"

func main() {
	types := flag.Bool("types", false, "list the relocation types of each machine")
	flag.Parse()
	if err := run(flag.Args(), *types); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

// run compares all folders and prints the table.
func run(args []string, types bool) error {
	fmt.Printf(format, "corpus", "arch", "objects", "relocations", "bytes", "equal", "refused", "different", "followed", "unhidden")
	var total tally
	for _, arg := range args {
		name, dir, ok := strings.Cut(arg, "=")
		corpus, goarch, ok2 := strings.Cut(name, "/")
		if !ok || !ok2 {
			return fmt.Errorf("%s is no NAME/GOARCH=FOLDER", arg)
		}
		t, err := compareAll(dir, name)
		if err != nil {
			return err
		}
		if t.objects == 0 {
			return fmt.Errorf("%s: no objects", dir)
		}
		t.print(corpus, goarch)
		for _, l := range t.report() {
			fmt.Println("  " + l)
		}
		total.sum(t)
	}
	total.print("all", "")
	if types {
		total.printTypes()
	}
	if n := total.bad(); n > 0 {
		return fmt.Errorf("%d of %d objects differ, or are refused for other reasons than thread-local storage", n, total.objects)
	}
	return nil
}

// objects returns the objects in dir and below it, sorted.
func objects(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && slices.Contains([]string{".ko", ".o", ".kmod"}, filepath.Ext(path)) {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// compareAll compares the objects of a folder, on all processors.
func compareAll(dir, name string) (*tally, error) {
	files, err := objects(dir)
	if err != nil {
		return nil, err
	}
	work := make(chan string)
	t := newTally()
	bar := newProgress(name, len(files))
	defer bar.clear()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for f := range work {
				o := compare(f)
				mu.Lock()
				t.add(strings.TrimPrefix(f, dir+"/"), o)
				bar.show(t.objects)
				mu.Unlock()
			}
		})
	}
	for _, f := range files {
		work <- f
	}
	close(work)
	wg.Wait()
	return t, nil
}

// progress is a line on a terminal that says how far it is; elsewhere nothing.
type progress struct {
	name string
	of   int
	on   bool
}

func newProgress(name string, of int) *progress {
	st, err := os.Stderr.Stat()
	return &progress{name, of, err == nil && st.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) show(n int) {
	if p.on {
		fmt.Fprintf(os.Stderr, "\r%s: %d of %d\x1b[K", p.name, n, p.of)
	}
}

func (p *progress) clear() {
	if p.on {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
