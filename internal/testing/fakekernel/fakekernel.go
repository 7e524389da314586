// Package fakekernel is a kernel that links nothing: a Service with made-up but
// plausible answers, to test what lies above the kernel without it. A file's base
// name, less its suffix, is the module; a module called "bpf" overrides
// bpf_attach. Imported by tests only.
package fakekernel

import (
	"context"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// Kernel is the fake. The zero value is empty and usable from any goroutine; the
// fields are set before it is used.
type Kernel struct {
	Hook func(call string) // called first by every method, with its name; may panic or block
	Lost bool              // the runner is lost

	mu      sync.Mutex
	jobs    []kernel.CallReport // begun and not waited for
	begun   int                 // jobs, so far
	modules []kernel.ModuleInfo
	closed  bool
}

func (k *Kernel) enter(call string) func() {
	if k.Hook != nil {
		k.Hook(call)
	}
	k.mu.Lock()
	return k.mu.Unlock
}

// Closed reports whether Close was called.
func (k *Kernel) Closed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

func (k *Kernel) find(name string) int {
	return slices.IndexFunc(k.modules, func(m kernel.ModuleInfo) bool {
		return m.Name == name || slices.Contains(m.Files, name)
	})
}

// add makes a module of spec at the next place.
func (k *Kernel) add(spec kernel.ModuleSpec, dry bool) (kernel.ModuleInfo, error) {
	var files []string
	for _, f := range spec.Files {
		if strings.Contains(f.Name, "missing") {
			return kernel.ModuleInfo{}, diag.New(diag.ErrNotFound, f.Name, "no such file")
		}
		if strings.Contains(f.Name, "undefined") {
			return kernel.ModuleInfo{}, &diag.Error{Kind: diag.ErrUndefined, File: f.Name, Section: ".text", Offset: 0x1a,
				Reloc: "R_X86_64_PLT32", Symbol: "bar", Text: "no provider"}
		}
		files = append(files, f.Name)
	}
	name := spec.As
	if name == "" {
		base := filepath.Base(files[0])
		name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	if k.find(name) >= 0 {
		return kernel.ModuleInfo{}, diag.New(diag.ErrConflict, files[0], "a module %s is loaded already", diag.Quote(name))
	}
	base := kernel.Addr(0x10000000 + 0x1000*len(k.modules))
	m := kernel.ModuleInfo{
		Name: name, State: "live", Files: files,
		Text: kernel.SpanInfo{Addr: base, Size: 412}, Tables: kernel.SpanInfo{Addr: base + 0x400, Size: 64}, Data: kernel.SpanInfo{Addr: base + 0x800, Size: 123456},
		Provides: []kernel.ProvideInfo{
			{Symbol: "bpf_attach", Kind: "override", Class: "func", Addr: base + 0x10, Current: true},
			{Symbol: "bpf_mtap", Kind: "default", Class: "func", Addr: base + 0x40},
		},
		Needs: []string{"printf", "voidop"}, UsedBy: []string{"kernel"},
		Sections: []kernel.SectionInfo{{File: files[0], Name: ".text", Addr: base, Size: 412}},
		Count:    kernel.ModuleCounts{Provides: 2, Needs: 2, Sites: 5, Relocs: 14},
	}
	if !dry {
		k.modules = append(k.modules, m)
	}
	return m, nil
}

// Boot loads the module "kernel".
func (k *Kernel) Boot(_ context.Context, specs []kernel.ModuleSpec) (*kernel.Change, error) {
	defer k.enter("boot")()
	c := &kernel.Change{}
	for _, s := range specs {
		m, err := k.add(s, false)
		if err != nil {
			return nil, err
		}
		c.Loaded = append(c.Loaded, m)
	}
	return c, nil
}

// Load loads all modules or none.
func (k *Kernel) Load(_ context.Context, r kernel.LoadRequest) (*kernel.Change, error) {
	defer k.enter("load")()
	before := len(k.modules)
	c := &kernel.Change{DryRun: r.DryRun}
	var errs diag.List
	for _, s := range r.Modules {
		m, err := k.add(s, r.DryRun)
		errs.Add(err)
		if err != nil {
			continue
		}
		c.Loaded = append(c.Loaded, m)
		if m.Name == "bpf" {
			c.Moves = append(c.Moves, kernel.MoveInfo{Symbol: "bpf_attach", From: "kernel", To: "bpf", Sites: 3,
				In: []string{"kernel"}, Target: m.Text.Addr + 0x10})
			c.Hidden = append(c.Hidden, kernel.HiddenInfo{Symbol: "bpf_attach", By: "bpf", Refinements: []string{"trace"}})
			c.Absent = append(c.Absent, kernel.AbsentInfo{Module: "bpf", Symbol: "netisr_hook"})
			c.Sites, c.Entries, c.Bytes = 3, 1, 16
		}
	}
	if errs.Len() > 0 {
		k.modules = k.modules[:before]
		return nil, errs.Err()
	}
	return c, nil
}

// Unload unloads all modules or none; "kernel" stays.
func (k *Kernel) Unload(_ context.Context, r kernel.UnloadRequest) (*kernel.Change, error) {
	defer k.enter("unload")()
	c := &kernel.Change{DryRun: r.DryRun}
	left := slices.Clone(k.modules)
	for _, name := range r.Modules {
		i := k.find(name)
		switch {
		case i < 0:
			return nil, diag.New(diag.ErrNotFound, "", "no module %s", diag.Quote(name))
		case k.modules[i].Name == "kernel":
			return nil, diag.New(diag.ErrNeeded, "kernel", "stays until the host halts")
		}
		m := k.modules[i]
		c.Unloaded = append(c.Unloaded, m)
		left = slices.DeleteFunc(left, func(o kernel.ModuleInfo) bool { return o.Name == m.Name })
		if m.Name == "bpf" {
			c.Moves = append(c.Moves, kernel.MoveInfo{Symbol: "bpf_attach", From: "bpf", To: "kernel", Sites: 3,
				In: []string{"kernel"}, Target: 0x10000010},
				kernel.MoveInfo{Symbol: "super_bus_read", Of: "xh", From: "bpf", To: "kernel", Sites: 1, In: []string{"xh"}})
			c.Sites, c.Bytes = 4, 16
		}
	}
	if !r.DryRun {
		k.modules = left
	}
	return c, nil
}

// List returns the modules without their provides.
func (k *Kernel) List() []kernel.ModuleInfo {
	defer k.enter("list")()
	out := slices.Clone(k.modules)
	for i := range out {
		out[i].Provides = nil
	}
	return out
}

// Info describes a module.
func (k *Kernel) Info(name string) (*kernel.ModuleInfo, error) {
	defer k.enter("info")()
	i := k.find(name)
	if i < 0 {
		return nil, diag.New(diag.ErrNotFound, "", "no module %s", diag.Quote(name))
	}
	m := k.modules[i]
	return &m, nil
}

// Alias returns one made-up stack, of bpf_attach.
func (k *Kernel) Alias(symbols []string, _ bool) ([]kernel.AliasInfo, error) {
	defer k.enter("alias")()
	for _, s := range symbols {
		if s != "bpf_attach" {
			return nil, diag.New(diag.ErrNotFound, "", "no symbol %s", diag.Quote(s))
		}
	}
	return []kernel.AliasInfo{{
		Symbol: "bpf_attach", Class: "func", Entry: 0x10000008, Sites: 3, Users: []string{"if_ether", "kernel"},
		Providers: []kernel.AliasProvider{
			{Module: "trace", Kind: "refinement", Addr: 0x10002000, Name: "trace_attach", Current: true, Sites: 3},
			{Module: "bpf", Kind: "override", Addr: 0x10001010, Name: "bpf_attach_impl", Super: 1, Sites: 1},
			{Module: "kernel", Kind: "default", Addr: 0x10000010, Name: "voidop"},
		},
	}}, nil
}

// Sites returns made-up sites.
func (k *Kernel) Sites(r kernel.SitesRequest) ([]kernel.SiteInfo, error) {
	defer k.enter("sites")()
	if r.Module != "" && k.find(r.Module) < 0 {
		return nil, diag.New(diag.ErrNotFound, "", "no module %s", diag.Quote(r.Module))
	}
	return []kernel.SiteInfo{
		{Addr: 0x10000008, In: "entry", Form: "jmp", Symbol: "bpf_attach", Target: 0x10001010, Provider: "bpf", Name: "bpf_attach_impl"},
		{Addr: 0x10000054, Module: "kernel", In: "if_input+0x14", Form: "call", Symbol: "bpf_attach", Target: 0x10001010, Provider: "bpf", Name: "bpf_attach_impl"},
		{Addr: 0x10000060, Module: "kernel", In: "evil\x1b[31m+0x4", Form: "jne", Symbol: "gone", Target: 0x10000020},
	}, nil
}

// Symbols returns made-up symbols that match.
func (k *Kernel) Symbols(patterns []string, module string) ([]kernel.SymInfo, error) {
	defer k.enter("symbols")()
	all := []kernel.SymInfo{
		{Name: "bpf_attach", Addr: 0x10001010, Size: 48, Module: "bpf", Type: "func", Bind: "override", Section: ".text", Current: true},
		{Name: "if_input", Addr: 0x10000040, Size: 33, Module: "kernel", Type: "func", Bind: "override", Section: ".text", Current: true},
		{Name: "counter", Addr: 0x10000800, Size: 8, Module: "kernel", Type: "data", Bind: "local", Section: ".bss"},
	}
	var out []kernel.SymInfo
	for _, s := range all {
		hit := len(patterns) == 0
		for _, p := range patterns {
			ok, err := path.Match(p, s.Name)
			if err != nil {
				return nil, diag.New(diag.ErrUsage, "", "bad pattern %s", diag.Quote(p))
			}
			hit = hit || ok
		}
		if hit && (module == "" || s.Module == module) {
			out = append(out, s)
		}
	}
	return out, nil
}

// Disassemble returns a made-up function, if_input.
func (k *Kernel) Disassemble(what string) (*kernel.Listing, error) {
	defer k.enter("disassemble")()
	if what != "if_input" && what != "kernel:if_input" {
		return nil, diag.New(diag.ErrNotFound, "", "no function %s", diag.Quote(what))
	}
	return &kernel.Listing{Module: "kernel", Func: "if_input", Addr: 0x10000040, Size: 11, Lines: []kernel.InstInfo{
		{Addr: 0x10000040, Bytes: "f30f1efa", Text: "endbr64"},
		{Addr: 0x10000044, Bytes: "e8c70f0000", Text: "call 0x10001010", Symbol: "bpf_attach", Module: "bpf", Target: "bpf_attach_impl"},
		{Addr: 0x10000049, Bytes: "7402", Text: "je 0x1000004d", Module: "kernel", Target: "if_input+0xd"},
	}}, nil
}

// Status describes the fake.
func (k *Kernel) Status() kernel.Status {
	defer k.enter("status")()
	run := kernel.RunnerInfo{State: kernel.RunnerRunning, Pid: 4711, Threads: 128}
	if k.Lost {
		run = kernel.RunnerInfo{State: kernel.RunnerLost, Why: "the runner was killed by signal 9"}
	}
	return kernel.Status{
		Runner:  run,
		Machine: "x86-64", Modules: len(k.modules), ArenaBase: 0x10000000, ArenaSize: 64 << 20,
		Regions: []kernel.RegionInfo{{Name: "text", Addr: 0x10000000, Size: 32 << 20, Used: 412}},
		Walls:   []kernel.WallInfo{{Name: "seal", Up: true}, {Name: "mdwe", Why: "Linux 6.3 has it first"}},
	}
}

// Close marks the fake closed.
func (k *Kernel) Close() error {
	defer k.enter("close")()
	k.closed = true
	return nil
}
