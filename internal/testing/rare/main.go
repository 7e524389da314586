// Rare assembles what assemblers and linkers are tested with, links every object with
// klink, and has GNU ld link it at the same addresses: every byte must be equal.
//
//	rare [-v] [-sets NAME,NAME] CORPUS
//
// CORPUS is the folder that scripts/rare.sh fills. Objects are made once, and kept
// beside it in rare-NAME/GOARCH, NAME being a set's. It prints a line for each set and machine, and
// below one for each object that differs, or was refused for a reason that is none of
// klink's rules; it exits with 1 if there is one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// workers is how many objects are under way at a time.
var workers = runtime.GOMAXPROCS(0)

func main() {
	verbose := flag.Bool("v", false, "name the objects that were refused, by reason, and what could not be assembled")
	only := flag.String("sets", "", "take these sets only")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: rare [-v] [-sets NAME,NAME] CORPUS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), *only, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "rare:", err)
		os.Exit(1)
	}
}

// emitRelocs is what -sets calls the tests with expected words.
const emitRelocs = "emit-relocs"

const format = "%-14s %-6s %8v %12v %8v %8v %10v  %s\n"

func run(ctx context.Context, corpus, only string, verbose bool) error {
	corpus, err := filepath.Abs(corpus) // assemblers run in folders of their own
	if err != nil {
		return err
	}
	fmt.Printf(format, "set", "machine", "objects", "relocations", "equal", "refused", "different", "refused because of")
	bad := false
	var report []string
	for _, s := range sets {
		if only != "" && !slices.Contains(strings.Split(only, ","), s.name) {
			continue
		}
		to := filepath.Join(filepath.Dir(corpus), "rare-"+s.name)
		failed, err := prepared(ctx, s, corpus, to)
		if err != nil {
			return err
		}
		if verbose {
			report = append(report, failed...)
		}
		for _, goarch := range []string{"amd64", "arm64"} {
			t, err := judge(ctx, filepath.Join(to, goarch))
			if err != nil {
				return err
			}
			if t.objects == 0 {
				continue
			}
			fmt.Printf(format, s.name, goarch, t.objects, t.relocations, t.equal, t.refused, t.different, t.because())
			bad = bad || t.bad()
			for _, l := range t.lines {
				report = append(report, s.name+" "+goarch+": "+l)
			}
			if verbose {
				for reason, names := range t.reasons {
					report = append(report, fmt.Sprintf("%s %s: %s: %s", s.name, goarch, reason, strings.Join(names, " ")))
				}
			}
		}
	}
	if only == "" || slices.Contains(strings.Split(only, ","), emitRelocs) {
		e, err := expect(ctx, filepath.Join(corpus, "binutils/ld/testsuite/ld-aarch64"))
		if err != nil {
			return err
		}
		e.print()
		report = append(report, e.lines...)
		bad = bad || len(e.lines) > 0 || e.words == 0
	}
	for _, l := range report {
		fmt.Println(l)
	}
	if bad {
		return errBad
	}
	return nil
}

// prepared assembles a set unless that was done, and returns what could not be assembled.
func prepared(ctx context.Context, s set, corpus, to string) ([]string, error) {
	stamp := filepath.Join(to, "made")
	if data, err := os.ReadFile(stamp); err == nil {
		return strings.Split(strings.TrimSpace(string(data)), "\n"), nil
	}
	if err := os.RemoveAll(to); err != nil {
		return nil, err
	}
	m, err := assemble(ctx, s, corpus, to)
	if err != nil {
		return nil, err
	}
	lines := append([]string{fmt.Sprintf("%s: %d tests made %d objects, and %d for other machines; %d commands failed", s.name, m.tests, m.objects, m.others, len(m.failed))}, m.failed...)
	return lines, os.WriteFile(stamp, []byte(strings.Join(lines, "\n")+"\n"), 0o666)
}
