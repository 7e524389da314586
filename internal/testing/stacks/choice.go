package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"klink/internal/testing/oracle"
)

// choices says whom klink and GNU ld chose, all members there, in the archive's order.
type choices struct {
	symbols, equal    int
	pairs, pairsEqual int // symbols with a weak and a strong definition
	weaks, weaksEqual int // symbols with several weak definitions
	kernelFirst       int // weak ones where the kernel's objects, which push first, come later in the archive
	different         []string
}

// compareChoices loads all and asks ld.
func compareChoices(d *deck) (_ *choices, err error) {
	dir, err := os.MkdirTemp("", "klink-stacks.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	h, err := newHost(d.machine, dir, arenaSize)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.k.Close()) }()
	batch, err := d.wholeArchive()
	if err != nil {
		return nil, err
	}
	if err := h.load(batch, false); err != nil {
		return nil, fmt.Errorf("all in the archive's order: %w", err)
	}
	ld, err := d.askLinker(dir)
	if err != nil {
		return nil, err
	}
	return compareWith(d, stacks(h.mods), ld), nil
}

// wholeArchive returns all members as modules of one command: first what nobody gives, and
// those that define data as one module; then each of the others.
func (d *deck) wholeArchive() ([]*module, error) {
	functions, data := d.outside()
	weak, err := defaults(d.machine, functions, data)
	if err != nil {
		return nil, err
	}
	outside, err := newModule("outside", weak)
	if err != nil {
		return nil, err
	}
	objs, mods, err := d.split()
	if err != nil {
		return nil, err
	}
	kernel, err := newModule("data", objs...)
	if err != nil {
		return nil, err
	}
	return append([]*module{outside, kernel}, mods...), nil
}

// askLinker returns the member that GNU ld takes for each symbol: the file that its cross
// reference table names first. It links the members as they were, in the archive's order.
func (d *deck) askLinker(dir string) (map[string]string, error) {
	ld, err := oracle.FindLinker(d.machine)
	if err != nil {
		return nil, err
	}
	var members strings.Builder
	for i := range d.members {
		path := filepath.Join(dir, fmt.Sprintf("plain%05d.o", i))
		if err := os.WriteFile(path, d.plain[i], 0o644); err != nil {
			return nil, err
		}
		fmt.Fprintf(&members, "%s\n", path)
	}
	args := filepath.Join(dir, "members")
	if err := os.WriteFile(args, []byte(members.String()), 0o644); err != nil {
		return nil, err
	}
	table := filepath.Join(dir, "map")
	out, err := exec.Command(ld.Path, "-m", ld.Emulation, "-r", "-o", filepath.Join(dir, "all.o"), "-Map="+table, "--cref", "@"+args).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", ld.Path, err, out)
	}
	return d.readCrossReference(table)
}

// crossLine is the first line of a symbol in ld's cross reference table.
var crossLine = regexp.MustCompile(`^(\S+)\s+\S*plain(\d+)\.o$`)

// readCrossReference reads the table at the end of ld's map.
func (d *deck) readCrossReference(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	first := map[string]string{}
	in := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if lines.Text() == "Cross Reference Table" {
			in = true
		}
		if m := crossLine.FindStringSubmatch(lines.Text()); in && m != nil {
			n, err := strconv.Atoi(m[2])
			if err != nil || n >= len(d.members) {
				return nil, fmt.Errorf("%s: %q names no member", path, lines.Text())
			}
			first[m[1]] = d.members[n].file
		}
	}
	if len(first) == 0 {
		return nil, fmt.Errorf("%s: no cross reference table", path)
	}
	return first, lines.Err()
}

// compareWith compares the tops of the stacks with ld's choice.
func compareWith(d *deck, all map[string][]place, ld map[string]string) *choices {
	c := &choices{}
	defs := map[string][]definition{}
	by := map[string][]string{}
	for _, o := range d.members {
		for _, def := range o.defs {
			defs[def.name] = append(defs[def.name], def)
			by[def.name] = append(by[def.name], o.file)
		}
	}
	for s, list := range defs {
		p := top(all[s])
		got := p.by.objs[p.obj].file
		same := got == ld[s]
		strong := slices.ContainsFunc(list, func(d definition) bool { return !d.weak })
		c.symbols++
		add(&c.equal, same)
		weak := 0
		for _, def := range list {
			add(&weak, def.weak)
		}
		if strong && weak > 0 {
			c.pairs++
			add(&c.pairsEqual, same)
		}
		if weak > 1 {
			c.weaks++
			add(&c.weaksEqual, same)
		}
		switch {
		case same:
		case len(list) > 1 && !strong && p.by.name == "data" && by[s][0] == ld[s]:
			c.kernelFirst++
		default:
			c.different = append(c.different, fmt.Sprintf("%s: klink takes %s, ld %s of %s", s, got, ld[s], strings.Join(by[s], ", ")))
		}
	}
	slices.Sort(c.different)
	return c
}

func add(n *int, is bool) {
	if is {
		*n++
	}
}

func (c *choices) print(name string, d *deck) {
	fmt.Printf("%s: whole archive, %d members: of %d symbols %d as GNU ld takes them; of %d with a weak and a strong definition %d, of %d with several weak ones %d; %d otherwise because the kernel's objects push first\n",
		name, len(d.members), c.symbols, c.equal, c.pairs, c.pairsEqual, c.weaks, c.weaksEqual, c.kernelFirst)
	for _, l := range d.left {
		fmt.Printf("  left out: %s\n", l)
	}
	for _, l := range c.different {
		fmt.Printf("  %s\n", l)
	}
}

func (c *choices) err() error {
	if len(c.different) > 0 {
		return fmt.Errorf("%d symbols are chosen otherwise than by GNU ld", len(c.different))
	}
	return nil
}
