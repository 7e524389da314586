package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// binutils' tests are pairs of a source and a .d file, whose head says with what options
// the source is assembled and linked, and whose rest is what objdump must print.

// dfile is the head of a .d file.
type dfile struct {
	sources  []source
	ld       []string // options of the linker; nil if nothing is linked
	error    bool     // the assembler or the linker must refuse
	notarget []string // machines for which it is not meant
	dump     []string // what follows the head
}

// source is a file to be assembled.
type source struct {
	path string
	as   []string
}

// key makes equal what is assembled in the same way.
func (s source) key() string { return s.path + "\x00" + strings.Join(s.as, "\x00") }

// readDFile reads a .d file.
func readDFile(path string) (*dfile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &dfile{}
	var as []string
	dir := filepath.Dir(path)
	head := true
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "#"), ":")
		if head = head && strings.HasPrefix(line, "#") && (ok || line == "#"); !head {
			d.dump = append(d.dump, line)
			continue
		}
		words := strings.Fields(value)
		switch strings.TrimSpace(key) {
		case "as":
			as = words
		case "source":
			if len(words) > 0 {
				d.sources = append(d.sources, source{filepath.Join(dir, words[0]), words[1:]})
			}
		case "ld":
			d.ld = append([]string{}, words...)
		case "error", "error_output":
			d.error = true
		case "notarget", "skip":
			d.notarget = append(d.notarget, words...)
		}
	}
	if len(d.sources) == 0 {
		d.sources = []source{{path: strings.TrimSuffix(path, ".d") + ".s"}}
	}
	for i := range d.sources {
		if len(d.sources[i].as) == 0 {
			d.sources[i].as = as
		}
	}
	return d, nil
}

// gasSources lists what the tests of a folder assemble: every source with each set of
// options that a .d file gives, or with none.
func gasSources(dir string) ([]source, error) {
	ds, err := filepath.Glob(filepath.Join(dir, "*.d"))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.s"))
	if err != nil {
		return nil, err
	}
	var list []source
	seen := map[string]bool{}
	named := map[string]bool{}
	add := func(s source) {
		if !seen[s.key()] {
			seen[s.key()] = true
			named[s.path] = true
			list = append(list, s)
		}
	}
	for _, path := range ds {
		d, err := readDFile(path)
		if err != nil {
			return nil, err
		}
		for _, s := range d.sources {
			if slices.Contains(files, s.path) {
				add(s)
			}
		}
	}
	for _, f := range files {
		if !named[f] {
			add(source{path: f})
		}
	}
	return list, nil
}
