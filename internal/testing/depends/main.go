// Depends loads every Linux module of a folder alone into a real host, with -L of that
// folder, and compares what klink found and loaded with it with what the module's .modinfo
// says: the modules of `depends=`, theirs, and so on, each after those that it depends on.
// Then it unloads all of them. What modules export must be what Module.symvers says.
//
//	depends NAME=FOLDER,SYMVERS ...
//
// The kernel's own names are those that Module.symvers gives to vmlinux: an object made here
// provides them. It prints a line a folder, and one for each module that differs, and exits
// with 1 if any does.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	fmt.Printf("%-20s %8s %8s %10s %8s %8s %8s %8s %8s %10s %8s\n", "corpus", "modules", "equal", "different", "refused", "depends", "closure", "loaded", "most", "exports", "seconds")
	bad := false
	for _, arg := range os.Args[1:] {
		name, paths, ok := strings.Cut(arg, "=")
		dir, symvers, ok2 := strings.Cut(paths, ",")
		if !ok || !ok2 {
			fmt.Fprintf(os.Stderr, "depends: %s is no NAME=FOLDER,SYMVERS\n", arg)
			os.Exit(2)
		}
		began := time.Now()
		r, err := run(dir, symvers)
		if err != nil {
			fmt.Fprintf(os.Stderr, "depends: %s: %v\n", name, err)
			os.Exit(1)
		}
		fmt.Printf("%-20s %8d %8d %10d %8d %8d %8d %8d %8d %10d %8.1f\n", name, r.modules, r.equal, r.different, r.refused, r.depends, r.closure, r.loaded, r.most, r.exports, time.Since(began).Seconds())
		for _, l := range r.lines {
			fmt.Println("  " + l)
		}
		bad = bad || r.equal != r.modules || r.modules == 0 || len(r.lines) > 0
	}
	if bad {
		os.Exit(1)
	}
}
