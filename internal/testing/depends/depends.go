package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// result is what a folder came to.
type result struct {
	modules, equal, different, refused int
	depends                            int // names in all depends= lines
	closure                            int // modules that others depend on, directly or not, over all modules
	loaded                             int // modules that klink loaded for that, the named ones left out
	most                               int // modules of the largest closure
	exports                            int // exported names compared
	lines                              []string
}

func (r *result) differs(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// run loads each module of a folder with what it depends on.
func run(dir, symvers string) (_ *result, err error) {
	mods, err := readModules(dir)
	if err != nil {
		return nil, err
	}
	if len(mods) == 0 {
		return nil, fmt.Errorf("%s has no modules", dir)
	}
	exports, err := readSymvers(symvers)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "klink-depends.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	k, err := bootHost(tmp, mods, exports)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	r := &result{modules: len(mods)}
	byName := map[string]*linuxModule{}
	for _, m := range mods {
		byName[m.name] = m
	}
	for _, m := range mods {
		r.depends += len(m.depends)
		if err := r.one(k, dir, m, byName, exports); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// bootHost boots a host without a runner whose kernel provides what vmlinux exports.
func bootHost(tmp string, mods []*linuxModule, exports map[string]string) (*kernel.Kernel, error) {
	called := map[string]bool{}
	for _, m := range mods {
		for s := range m.calls {
			called[s] = true
		}
	}
	machine := mods[0].machine
	path := filepath.Join(tmp, "vmlinux.o")
	if err := os.WriteFile(path, vmlinux(machine, exports, called), 0o644); err != nil {
		return nil, err
	}
	k, err := kernel.New(kernel.Config{Bare: true, Machine: machine, ArenaSize: arenaSize})
	if err != nil {
		return nil, err
	}
	_, err = k.Boot(context.Background(), []kernel.ModuleSpec{{As: kernel.KernelName, Files: []kernel.Source{{Name: "vmlinux.o", Path: path}}}})
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	return k, nil
}

// arenaSize has room for a module and all that it depends on, many times over, and every
// branch of aarch64 reaches all of its text.
const arenaSize = 256 << 20

// one loads a module, compares, and unloads.
func (r *result) one(k *kernel.Kernel, dir string, m *linuxModule, byName map[string]*linuxModule, exports map[string]string) error {
	file := m.name + ".ko"
	c, err := k.Load(context.Background(), kernel.LoadRequest{
		Modules: []kernel.ModuleSpec{{Files: []kernel.Source{{Name: file, Path: filepath.Join(dir, file)}}}},
		Search:  []kernel.Source{{Name: dir, Path: dir}},
	})
	if err != nil {
		r.refused++
		r.differs("%s: refused: %s", m.name, diag.Lines(err)[0])
		return nil
	}
	var order []string
	for _, l := range c.Loaded {
		order = append(order, l.Name)
	}
	want := closureOf(m, byName)
	said := len(r.lines)
	r.order(m, order, want, byName)
	r.exported(k, m, exports)
	r.closure += len(want)
	r.loaded += len(order) - 1
	r.most = max(r.most, len(want))
	if said == len(r.lines) {
		r.equal++
	} else {
		r.different++
	}
	if _, err := k.Unload(context.Background(), kernel.UnloadRequest{Modules: order}); err != nil {
		return fmt.Errorf("unload of %v: %w", order, err)
	}
	if left := k.List(); len(left) != 1 {
		return fmt.Errorf("%d modules are left after the unload of %v", len(left)-1, order)
	}
	return nil
}

// closureOf returns the modules that a module depends on, directly or not.
func closureOf(m *linuxModule, byName map[string]*linuxModule) map[string]bool {
	all := map[string]bool{}
	var visit func(m *linuxModule)
	visit = func(m *linuxModule) {
		for _, d := range m.depends {
			if !all[d] {
				all[d] = true
				if next := byName[d]; next != nil {
					visit(next)
				}
			}
		}
	}
	visit(m)
	return all
}

// order compares what was loaded, in that order, with what should have been.
func (r *result) order(m *linuxModule, order []string, want map[string]bool, byName map[string]*linuxModule) {
	for _, name := range order {
		if name != m.name && !want[name] {
			r.differs("%s: klink loads %s, which it does not depend on", m.name, name)
		}
	}
	for name := range want {
		if !slices.Contains(order, name) {
			r.differs("%s: depends on %s, which klink does not load", m.name, name)
		}
	}
	for i, name := range order {
		if l := byName[name]; l != nil {
			for _, d := range l.depends {
				if slices.Index(order, d) > i {
					r.differs("%s: %s comes before %s, on which it depends", m.name, name, d)
				}
			}
		}
	}
}

// exported compares what klink says a module provides with Module.symvers.
func (r *result) exported(k *kernel.Kernel, m *linuxModule, exports map[string]string) {
	info, err := k.Info(m.name)
	if err != nil {
		r.differs("%s: %v", m.name, err)
		return
	}
	given := map[string]bool{}
	for _, p := range info.Provides {
		given[p.Symbol] = true
		if by := exports[p.Symbol]; by != m.name {
			r.differs("%s: provides %s, which Module.symvers gives to %q", m.name, p.Symbol, by)
		}
	}
	for s, by := range exports {
		if by == m.name && !given[s] {
			r.differs("%s: does not provide %s", m.name, s)
		}
	}
	r.exports += len(given)
}

// readSymvers returns the module that exports each name, "vmlinux" for the kernel. Lines
// are: checksum, name, module's path, kind of export, namespace, with tabs between.
func readSymvers(path string) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 3 {
			return nil, fmt.Errorf("%s: %q is no line of Module.symvers", path, line)
		}
		exports[f[1]] = filepath.Base(f[2])
	}
	return exports, nil
}
