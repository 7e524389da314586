// Stacks loads the members of an archive, each as a module of its own, into a real host in
// random orders with random unloads, and compares the host after every command with a model
// that knows the rules and nothing else. Then it loads all of them in the archive's order,
// and compares whom klink chose for each symbol with GNU ld's choice with --whole-archive.
//
//	stacks [-steps 400] [-seed 1] NAME=ARCHIVE ...
//
// Visibility is cleared on copies. Members that define data make the kernel, with an object
// that has a weak default of every function; a second run leaves out one default in three.
// It prints a table, and exits with 1 if anything differs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// holes are how many of 100 functions have no default, by run.
var holes = []int{0, 35}

// The table: of each run the modules it plays with, the symbols that have a stack after a
// step, commands, modules loaded and unloaded, commands refused and their reasons; and of
// all steps together the deepest stack, moves compared, places of stacks, the most sites
// at once, sites decoded, addresses and entries followed.
const (
	head = "%-12s %5s %7s %7s %5s %6s %8s %7s %7s %7s %6s %8s %7s %9s %9s %7s %7s\n"
	row  = "%-12s %5d %7d %7d %5d %6d %8d %7d %7d %7d %6d %8d %7d %9d %9d %7d %7.1f\n"
)

func main() {
	steps := flag.Int("steps", 400, "commands of a run")
	seed := flag.Uint64("seed", 1, "of the order")
	flag.Parse()
	fmt.Printf(head, "corpus", "holes", "modules", "symbols", "steps", "loaded", "unloaded", "refused", "reasons", "deepest", "moves", "places", "at once", "sites", "addresses", "entries", "seconds")
	for _, arg := range flag.Args() {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			fmt.Fprintf(os.Stderr, "stacks: %s is no NAME=ARCHIVE\n", arg)
			os.Exit(2)
		}
		if err := play(name, path, *steps, *seed); err != nil {
			fmt.Fprintf(os.Stderr, "stacks: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

// play runs all there is to run on one archive.
func play(name, path string, steps int, seed uint64) error {
	for _, h := range holes {
		d, err := readArchive(path)
		if err != nil {
			return err
		}
		if err := playRandom(name, d, h, steps, seed); err != nil {
			return fmt.Errorf("%d of 100 without default: %w", h, err)
		}
	}
	d, err := readArchive(path)
	if err != nil {
		return err
	}
	c, err := compareChoices(d)
	if err != nil {
		return err
	}
	c.print(name, d)
	return c.err()
}

// playRandom drives one host.
func playRandom(name string, d *deck, holes, steps int, seed uint64) (err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "klink-stacks.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rng := rand.New(rand.NewPCG(seed, uint64(holes)))
	if err := d.deal(rng, holes); err != nil {
		return err
	}
	h, err := newHost(d.machine, dir, arenaSize)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.k.Close()) }()
	if err := (&driver{h, d, rng}).run(steps); err != nil {
		return err
	}
	t := &h.seen
	fmt.Printf(row, name, holes, 1+len(d.mods)+len(d.extra), t.symbols/t.steps, t.steps+t.refused, t.loaded, t.unloaded, t.refused, t.reasons,
		t.deepest, t.moves, t.places, t.most, t.sites, t.addresses, t.entries, time.Since(began).Seconds())
	fmt.Printf("  refused for:")
	for _, what := range slices.Sorted(maps.Keys(t.why)) {
		fmt.Printf(" %s %d", what, t.why[what])
	}
	fmt.Println()
	return nil
}
