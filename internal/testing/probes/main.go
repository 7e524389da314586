// Probes asks three linkers what they write for values at the edges of every relocation
// type's field: GNU ld, lld, and klink, the whole of it. The answers stand in
// testdata/probes.txt, which the package's test holds klink to.
//
//	probes [-update] [-ld-amd64 FILE] [-ld-arm64 FILE] [-lld FILE]
//
// It compares the table with what the linkers say now, and exits with 1 if they say
// something else; with -update it writes their answers into the table.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"klink/internal/arch"
	"klink/internal/testing/oracle"
)

// tablePath is the table, from the module's root.
const tablePath = "internal/testing/probes/testdata/probes.txt"

func main() {
	update := flag.Bool("update", false, "write the answers into the table")
	amd64 := flag.String("ld-amd64", "", "GNU ld for x86-64 (default: the one that the oracle finds)")
	arm64 := flag.String("ld-arm64", "", "GNU ld for aarch64 (likewise)")
	lld := flag.String("lld", "ld.lld-19", "lld")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *update, map[arch.Machine]string{arch.AMD64: *amd64, arch.ARM64: *arm64}, *lld); err != nil {
		fmt.Fprintln(os.Stderr, "probes:", err)
		os.Exit(1)
	}
}

// run asks about every row and compares or updates.
func run(ctx context.Context, update bool, ld map[arch.Machine]string, lld string) error {
	t, err := readTable(tablePath)
	if err != nil {
		return err
	}
	for m, path := range ld {
		if path == "" {
			l, err := oracle.FindLinker(m)
			if err != nil {
				return err
			}
			ld[m] = l.Path
		}
	}
	if lld, err = exec.LookPath(lld); err != nil {
		return fmt.Errorf("%w (scripts/tools.sh rare brings it)", err)
	}
	changed := 0
	for _, p := range t.probes {
		now := *p
		for _, ask := range []struct {
			who  string
			into *string
			ask  func() (string, error)
		}{
			{"GNU ld", &now.ld, func() (string, error) { return p.ask(ctx, ld[p.machine]) }},
			{"lld", &now.lld, func() (string, error) { return p.ask(ctx, lld) }},
			{"klink", &now.klink, func() (string, error) { return p.klinkSays(true) }},
		} {
			was := *ask.into
			if *ask.into, err = ask.ask(); err != nil {
				return fmt.Errorf("%s %#x: %s: %w", p.name, p.value, ask.who, err)
			}
			if *ask.into != was {
				changed++
				fmt.Printf("%s %s: %s says %s, the table %s\n", p.name, p.text, ask.who, *ask.into, was)
			}
		}
		if now.ld == now.lld && now.klink != now.ld {
			fmt.Printf("%s %s: GNU ld and lld say %s, klink %s\n", p.name, p.text, now.ld, now.klink)
		}
		p.ld, p.lld, p.klink = now.ld, now.lld, now.klink
	}
	agree, apart := t.count()
	fmt.Printf("%d probes: GNU ld, lld and klink agree on %d; GNU ld and lld disagree on %d\n", len(t.probes), agree, apart)
	if update {
		return t.write(tablePath)
	}
	if changed > 0 {
		return fmt.Errorf("%d answers are not those of the table", changed)
	}
	return nil
}
