package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"klink/internal/aliasstack"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/reloc"
)

// binutils' emit-relocs tests say which words must stand at which addresses after a link
// with a script of theirs. Here klink links at those addresses.

// Where that script, relocs.ld, puts things. GNU ld's GOT begins with a slot of its own.
const (
	scriptText = 0x10000
	scriptGOT  = 0x20000
	scriptData = 0x12340000
	ownSlot    = 8
)

// expected is what the tests came to.
type expected struct {
	tests, words, equal int
	order               int // words that differ, and that follow from which slot of the GOT is whose
	errors              int // tests that want an error, and got one
	refused             map[string]int
	lines               []string // what is not as it must be
}

// expect runs the emit-relocs tests of a folder.
func expect(ctx context.Context, dir string) (*expected, error) {
	m := &maker{ctx: ctx, set: set{machine: "arm64"}, from: dir}
	if err := m.findTools(); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "emit-relocs-*.d"))
	if err != nil {
		return nil, err
	}
	e := &expected{refused: map[string]int{}}
	for _, f := range files {
		d, err := readDFile(f)
		if err != nil {
			return nil, err
		}
		if why := unfit(d); why != "" {
			e.refused[why]++
			continue
		}
		if err := e.test(m, filepath.Base(f), d); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
	}
	return e, ctx.Err()
}

// unfit says why a test is none for klink, "" if it is one.
func unfit(d *dfile) string {
	all := strings.Join(slices.Concat(d.ld, d.sources[0].as), " ")
	switch {
	case slices.Contains(d.notarget, "aarch64-*-*"):
		return "big-endian"
	case strings.Contains(all, "ilp32"):
		return "32-bit"
	case strings.Contains(all, "-shared") || strings.Contains(all, "-pie"):
		return "shared object"
	case !strings.Contains(all, "-T relocs.ld") || len(d.sources) > 1:
		return "another script"
	}
	return ""
}

// test links one test's object and compares the words, or the verdicts.
func (e *expected) test(m *maker, name string, d *dfile) error {
	tmp, err := os.MkdirTemp("", "klink-rare.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "a.o")
	l := &lit{ctx: m.ctx, dir: tmp, cwd: tmp}
	if _, ok, err := l.tool(m.tools["as"], append(slices.Clone(d.sources[0].as), "-o", out, d.sources[0].path), nil); err != nil || !ok {
		return fmt.Errorf("not assembled: %s %v", fmt.Sprint(err), l.failed)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	text, free, err := linkAt(raw, defsyms(d.ld))
	switch rule := ""; {
	case err != nil && d.error:
		e.tests++
		e.errors++
		return nil
	case err != nil:
		if rule = ruleOf(err); rule != "" {
			e.refused[rule]++
			return nil
		}
		e.tests++
		e.lines = append(e.lines, fmt.Sprintf("%s: refused: %v", name, err))
		return nil
	case d.error:
		e.tests++
		e.lines = append(e.lines, name+": linked, but GNU ld refuses it")
		return nil
	}
	e.tests++
	e.compare(name, d.dump, text, free)
	return nil
}

// dumped matches a line of objdump: an address and a word of an instruction.
var dumped = regexp.MustCompile(`^ *\\?\+?([0-9a-f]+):\s+([0-9a-f]{8})\s`)

// compare compares the words of a dump with text at scriptText. Those at the offsets of
// free need not be equal: every linker gives the slots of its GOT an order of its own. That they lead to
// the right slots is what the comparison of the same objects in set ld-aarch64 shows.
func (e *expected) compare(name string, dump []string, text []byte, free map[uint64]bool) {
	for _, line := range dump {
		f := dumped.FindStringSubmatch(line)
		if f == nil {
			continue
		}
		addr, err1 := strconv.ParseUint(f[1], 16, 64)
		word, err2 := strconv.ParseUint(f[2], 16, 32)
		if err1 != nil || err2 != nil || addr < scriptText || addr-scriptText+4 > uint64(len(text)) {
			continue
		}
		e.words++
		got := binary.LittleEndian.Uint32(text[addr-scriptText:])
		if uint64(got) != word && free[addr-scriptText] {
			e.order++
			continue
		}
		if uint64(got) != word {
			e.lines = append(e.lines, fmt.Sprintf("%s: at %#x: want %08x, got %08x", name, addr, word, got))
			continue
		}
		e.equal++
	}
}

// defsyms returns the values that --defsym gives, in any of its spellings.
func defsyms(args []string) map[string]uint64 {
	l := &lit{define: map[string]uint64{}}
	l.defines("ld.lld", args)
	return l.define
}

// linkAt links an object as the script has it and returns its text, and the offsets in
// it of the words that depend on the order of the GOT.
func linkAt(raw []byte, define map[string]uint64) (text []byte, free map[uint64]bool, err error) {
	o, err := elfload.Parse("a.o", "", raw)
	if err != nil {
		return nil, nil, err
	}
	m, err := link.Gather(link.Unit{Name: "m", Objects: []*elfload.Object{o}, Static: true})
	if err != nil {
		return nil, nil, err
	}
	off, _ := m.GOT()
	at := [link.Regions]uint64{link.Text: scriptText, link.Tables: scriptGOT + ownSlot - off, link.Data: scriptData}
	in := &link.Input{At: at, Static: true, Answers: make([]link.Answer, len(m.Names))}
	for i := range m.Names {
		n := &m.Names[i]
		addr, size, own := m.Own(link.NameID(i), at)
		if v, ok := define[n.Name]; ok && !own {
			addr, own = v, true
		}
		in.Answers[i] = link.Answer{Branch: addr, Address: addr, Size: size, Absent: !own && n.Weak, Slot: aliasstack.SlotID(0)}
	}
	var out [link.Regions][]byte
	for r := range out {
		out[r] = make([]byte, m.Init[r])
	}
	_, err = m.Apply(in, out)
	return out[link.Text], gotPlaces(m, o), err
}

// gotPlaces returns the offsets in the text block of words that lead to slots of the GOT, or
// measure from its start.
func gotPlaces(m *link.Module, o *elfload.Object) map[uint64]bool {
	places := map[uint64]bool{}
	for si := range o.Sections {
		region, off, kept := m.Section(0, si)
		relocs := &o.Sections[si].Relocs
		for i := 0; kept && region == link.Text && i < relocs.Len(); i++ {
			r := relocs.At(i)
			row := reloc.Lookup(m.Machine, r.Type)
			if row.Formula.UsesSlot() || row.Formula.UsesGOT() || o.Symbols[r.Sym].Name == "_GLOBAL_OFFSET_TABLE_" {
				places[(off+r.Offset)&^3] = true
			}
		}
	}
	return places
}

// print prints what the tests came to.
func (e *expected) print() {
	var because []string
	for why, n := range e.refused {
		because = append(because, fmt.Sprintf("%s %d", why, n))
	}
	slices.Sort(because)
	fmt.Printf("emit-relocs: %d tests; of %d words %d are what binutils expects, %d follow the GOT's order; %d errors as expected; left out: %s\n",
		e.tests, e.words, e.equal, e.order, e.errors, strings.Join(because, ", "))
}
