package kernel

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// populated is a host in which everything that can be refused has a reason to be.
func populated(t testing.TB, m arch.Machine) *bench {
	b := newBench(t, m)
	b.populate()
	return b
}

// populate loads what populated promises.
func (b *bench) populate() {
	kernel := &toy{name: KernelName,
		gives: []give{{symbol: "f", weak: true}, {symbol: "g", weak: true}, {symbol: "d", data: true}},
		uses:  []use{{symbol: "f", how: call}, {symbol: "f", how: pointer}}}
	if _, err := b.Boot(b.Context(), []ModuleSpec{b.spec(kernel)}); err != nil {
		b.Fatal(err)
	}
	b.mustLoad(&toy{name: "base", gives: []give{{symbol: "h"}}})
	b.mustLoad(&toy{name: "floor", gives: []give{{symbol: "k", weak: true}}})
	b.mustLoad(&toy{name: "numbers", gives: []give{{symbol: "e", weak: true, data: true}}})
	b.mustLoad(&toy{name: "more", gives: []give{{symbol: "e", weak: true, data: true}}})
	b.mustLoad(&toy{name: "user", uses: []use{
		{symbol: "h", how: call}, {symbol: "f", how: call}, {symbol: "f", how: cond}, {symbol: "f", how: gotCall},
		{symbol: "f", how: pointer}, {symbol: "d", how: pointer}, {symbol: "e", how: lea}, {symbol: "absent", how: call, weak: true}}})
	b.mustLoad(&toy{name: "over", gives: []give{{symbol: "f"}}})
	b.mustLoad(&toy{name: "layer", gives: []give{{symbol: "k"}, {symbol: "f"}},
		uses: []use{{symbol: "super_k", how: call}, {symbol: "super_f", how: call}, {symbol: "super_f", how: pointer}}})
}

// refusal is a command that must be refused, and change nothing.
type refusal struct {
	name   string
	before func(*bench) (undo func())
	load   func(*bench) []ModuleSpec
	unload []string
	kind   error
	text   string // part of the message
}

// toys makes the request of a refusal.
func toys(list ...*toy) func(*bench) []ModuleSpec {
	return func(b *bench) (specs []ModuleSpec) {
		for _, y := range list {
			specs = append(specs, b.spec(y))
		}
		return specs
	}
}

// other is the machine that m is not.
func other(m arch.Machine) arch.Machine { return arch.AMD64 + arch.ARM64 - m }

// narrow is an address in a field of 8 or 16 bits, which none fits.
var narrow = map[arch.Machine]uint32{arch.AMD64: 14, arch.ARM64: 259} // R_X86_64_8, R_AARCH64_ABS16

// tamper overwrites the call of f in module user.
func tamper(b *bench) func() {
	sites, err := b.Sites(SitesRequest{Symbols: []string{"f"}, Module: "user"})
	if err != nil {
		b.Fatal(err)
	}
	text := b.bytes(uint64(sites[0].Addr), 4)
	text[0] ^= 0xff
	return func() { text[0] ^= 0xff }
}

var refusedLoads = []refusal{
	{name: "no provider", kind: diag.ErrUndefined, text: `against "nobody": no provider`,
		load: toys(&toy{name: "new", uses: []use{{symbol: "nobody", how: call}}})},
	{name: "all reasons together", kind: diag.ErrConflict, text: `against "nobody": no provider`,
		load: toys(&toy{name: "new", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "nobody", how: call}}})},
	{name: "second override", kind: diag.ErrConflict, text: `"f" already has an override, from module over`,
		load: toys(&toy{name: "new", gives: []give{{symbol: "f"}}})},
	{name: "two overrides in one command", kind: diag.ErrConflict, text: `"new" already has an override, from module a`,
		load: toys(&toy{name: "a", gives: []give{{symbol: "new"}}}, &toy{name: "b", gives: []give{{symbol: "new"}}})},
	{name: "nothing to refine", kind: diag.ErrConflict, text: `"new": nothing to refine`,
		load: toys(&toy{name: "new", gives: []give{{symbol: "new"}}, uses: []use{{symbol: "super_new", how: call}}})},
	{name: "data defined again", kind: diag.ErrConflict, text: `"d" is data of module kernel`,
		load: toys(&toy{name: "new", gives: []give{{symbol: "d", data: true}}})},
	{name: "a function over data", kind: diag.ErrConflict, text: `"d" is a function, but data in module kernel`,
		load: toys(&toy{name: "new", gives: []give{{symbol: "d"}}})},
	{name: "data over a function", kind: diag.ErrConflict, text: `"g" is data, but a function in module kernel`,
		load: toys(&toy{name: "new", gives: []give{{symbol: "g", data: true, weak: true}}})},
	{name: "same name", kind: diag.ErrConflict, text: `a module named "user" is already loaded`,
		load: toys(&toy{name: "user"})},
	{name: "same name in one command", kind: diag.ErrConflict, text: `two modules of one command are named "new"`,
		load: toys(&toy{name: "new"}, &toy{name: "new"})},
	{name: "wrong machine", kind: diag.ErrMachine, text: "the host for", load: func(b *bench) []ModuleSpec {
		return []ModuleSpec{{As: "new", Files: []Source{b.file("new.o", (&toy{name: "new"}).build(other(b.machine)))}}}
	}},
	{name: "no space", kind: diag.ErrNoSpace, text: "data: no room for 67108864 bytes", load: func(b *bench) []ModuleSpec {
		return []ModuleSpec{b.spec(&toy{name: "a", uses: []use{{symbol: "g", how: pointer}}}),
			b.object("big", objbuild.New(b.machine).Bss(".bss", 64<<20).Global("big", 0, 8))}
	}},
	{name: "range", kind: diag.ErrRange, text: "out of range", load: func(b *bench) []ModuleSpec {
		return []ModuleSpec{b.object("narrow", objbuild.New(b.machine).Data(".data", make([]byte, 8)).Reloc(0, narrow[b.machine], "g", 0).Undef("g"))}
	}},
	{name: "text changed", kind: diag.ErrTextChanged, text: "nothing was changed", before: tamper,
		load: toys(&toy{name: "new", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "super_f", how: call}, {symbol: "g", how: lea}}})},
	{name: "third of three malformed", kind: diag.ErrMalformed, text: "third.o: ", load: func(b *bench) []ModuleSpec {
		return []ModuleSpec{b.spec(&toy{name: "a", gives: []give{{symbol: "a"}}}), b.spec(&toy{name: "b", uses: []use{{symbol: "a", how: pointer}}}),
			b.object("third", objbuild.New(b.machine).Text(".text", function[b.machine]).SetSection(".text", "sh_size", 1<<40))}
	}},
	{name: "not an object", kind: diag.ErrMalformed, text: "junk.o: ", load: func(b *bench) []ModuleSpec {
		return []ModuleSpec{{Files: []Source{b.file("junk.o", []byte("#!/bin/sh\n"))}}}
	}},
	{name: "missing file", kind: diag.ErrNotFound, text: "gone.o: no such file", load: func(b *bench) []ModuleSpec {
		return []ModuleSpec{b.spec(&toy{name: "a"}), {Files: []Source{{Name: "gone.o", Path: filepath.Join(b.dir, "gone.o")}}}}
	}},
	{name: "a directory", kind: diag.ErrIO, text: "dir.o: not a regular file", load: func(b *bench) []ModuleSpec {
		return []ModuleSpec{{Files: []Source{{Name: "dir.o", Path: b.dir}}}}
	}},
	{name: "the kernel's name", kind: diag.ErrConflict, text: `"kernel"`, load: toys(&toy{name: KernelName})},
	{name: "no module", kind: diag.ErrUsage, text: "nothing to load", load: toys()},
	{name: "no file", kind: diag.ErrUsage, text: "a module without a file", load: func(*bench) []ModuleSpec { return []ModuleSpec{{As: "new"}} }},
	{name: "an archive that nobody needs", kind: diag.ErrUsage, text: "--whole-archive", load: func(b *bench) []ModuleSpec {
		lib := objbuild.Archive(objbuild.Member{Name: "a.o", Data: (&toy{gives: []give{{symbol: "a"}}}).build(b.machine)})
		return []ModuleSpec{{Files: []Source{b.file("lib.a", lib)}}}
	}},
}

var refusedUnloads = []refusal{
	{name: "needed", unload: []string{"base"}, kind: diag.ErrNeeded, text: `base: "h" would have no provider left, but is needed by module user`},
	{name: "one of two needed", unload: []string{"over", "base"}, kind: diag.ErrNeeded, text: `needed by module user`},
	{name: "named data", unload: []string{"numbers"}, kind: diag.ErrNeeded, text: `numbers: "e" is data that the relocations of module user name`},
	{name: "refinement above", unload: []string{"floor"}, kind: diag.ErrNeeded, text: `floor: "k" would have nothing left below the refinement of module layer`},
	{name: "the kernel", unload: []string{KernelName}, kind: diag.ErrConflict, text: "stays until the host halts"},
	{name: "unknown", unload: []string{"over", "nobody"}, kind: diag.ErrNotFound, text: `no module "nobody" is loaded`},
	{name: "twice", unload: []string{"over", "over"}, kind: diag.ErrUsage, text: `"over" is named twice`},
	{name: "none", kind: diag.ErrUsage, text: "nothing to unload"},
	{name: "text changed", unload: []string{"layer"}, kind: diag.ErrTextChanged, text: "nothing was changed", before: tamper},
}

// TestRefused: whatever the reason, dry or not, a refused command leaves everything as
// it was, and the next one works.
func TestRefused(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		for _, r := range append(refusedLoads, refusedUnloads...) {
			what := "load/"
			if r.load == nil {
				what = "unload/"
			}
			t.Run(what+r.name, func(t *testing.T) { r.test(t, populated(t, m)) })
		}
	})
}

func (r *refusal) test(t *testing.T, b *bench) {
	undo := func() {}
	if r.before != nil {
		undo = r.before(b)
	}
	var specs []ModuleSpec
	if r.load != nil {
		specs = r.load(b)
	}
	before, used := b.snapshot(), b.Status()
	for _, dry := range []bool{true, false} {
		var c *Change
		var err error
		if r.load != nil {
			c, err = b.Load(t.Context(), LoadRequest{Modules: specs, DryRun: dry})
		} else {
			c, err = b.Unload(t.Context(), UnloadRequest{Modules: r.unload, DryRun: dry})
		}
		if c != nil || !errors.Is(err, r.kind) || !strings.Contains(err.Error(), r.text) {
			t.Errorf("dry %v: %+v, %v; want %v with %q", dry, c, err, r.kind, r.text)
		}
		if d := diff(before, b.snapshot()); d != "" {
			t.Errorf("dry %v changed something:\n%s", dry, d)
		}
		if d := diff(used, b.Status()); d != "" {
			t.Errorf("dry %v left something in the arena:\n%s", dry, d)
		}
	}
	undo()
	late := &toy{name: "late", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "super_f", how: tail}, {symbol: "g", how: lea}}}
	if c := b.mustLoad(late); c.Sites == 0 {
		t.Error("the load after it moved nothing")
	}
	b.mustUnload("late")
}

// TestFirstLoadRefused: a host that was started for an object it then refused has no
// machine yet.
func TestFirstLoadRefused(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := newBenchOf(t, m, Config{Bare: true, ArenaSize: 1 << 20})
		foreign := (&toy{uses: []use{{symbol: "nobody", how: call}}}).build(other(m))
		spec := ModuleSpec{As: "foreign", Files: []Source{b.file("foreign.o", foreign)}}
		if _, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}}); !errors.Is(err, diag.ErrUndefined) {
			t.Fatal(err)
		}
		if st := b.Status(); st.Machine != "" || len(st.Regions) != 0 {
			t.Errorf("the host still has a machine: %+v", st)
		}
		plan := LoadRequest{Modules: []ModuleSpec{{As: "foreign", Files: []Source{b.file("f.o", (&toy{}).build(other(m)))}}}, DryRun: true}
		if _, err := b.Load(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		b.mustLoad(&toy{name: "own"})
		if st := b.Status(); st.Machine != m.String() {
			t.Errorf("machine %s", st.Machine)
		}
	})
}

// TestDryRun: what a plan says is what then happens.
func TestDryRun(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := populated(t, m)
		before := b.snapshot()
		r := LoadRequest{DryRun: true, Modules: toys(
			&toy{name: "a", gives: []give{{symbol: "g"}, {symbol: "k"}}, uses: []use{{symbol: "b", how: call}, {symbol: "maybe", how: lea, weak: true}}},
			&toy{name: "b", gives: []give{{symbol: "b"}}, uses: []use{{symbol: "g", how: pointer}, {symbol: "f", how: call}}})(b)}
		plan, err := b.Load(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(before, b.snapshot()); d != "" {
			t.Errorf("the plan changed something:\n%s", d)
		}
		if !plan.DryRun || len(plan.Loaded) != 2 || len(plan.Moves) != 2 || len(plan.Hidden) != 1 || len(plan.Absent) != 1 ||
			plan.Hidden[0].By != "a" || plan.Hidden[0].Refinements[0] != "layer" || plan.Absent[0] != (AbsentInfo{"a", "maybe"}) {
			t.Errorf("plan %+v", plan)
		}
		r.DryRun = false
		done, err := b.Load(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range plan.Loaded {
			info, err := b.Info(m.Name)
			if err != nil || len(m.Provides) != len(info.Provides) {
				t.Fatalf("%s: %+v, %v; planned %+v", m.Name, info, err, m.Provides)
			}
			for i, p := range m.Provides {
				if p.Addr = info.Provides[i].Addr; p != info.Provides[i] {
					t.Errorf("%s provides %+v, planned %+v", m.Name, info.Provides[i], p)
				}
			}
		}
		if d := diff(unplaced(plan), unplaced(done)); d != "" || done.DryRun {
			t.Errorf("load %v:\n%s", done.DryRun, d)
		}

		before = b.snapshot()
		leave := UnloadRequest{Modules: []string{"b", "a"}, DryRun: true}
		if plan, err = b.Unload(t.Context(), leave); err != nil {
			t.Fatal(err)
		}
		if d := diff(before, b.snapshot()); d != "" {
			t.Errorf("the plan changed something:\n%s", d)
		}
		leave.DryRun = false
		if done, err = b.Unload(t.Context(), leave); err != nil {
			t.Fatal(err)
		}
		plan.DryRun = false
		if d := diff(unplaced(plan), unplaced(done)); d != "" || len(done.Unloaded) != 2 || plan.Bytes != done.Bytes {
			t.Errorf("unload:\n%s", d)
		}
	})
}

// TestClassAfterUnload: a name whose function left may come back as data. Its entry,
// which belongs to it for ever, stays a trap then.
func TestClassAfterUnload(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := newBench(t, m)
		b.mustLoad(&toy{name: "a", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "f", how: pointer}}})
		a, err := b.Alias([]string{"f"}, false)
		if err != nil || a[0].Entry == 0 {
			t.Fatal(a, err)
		}
		b.mustUnload("a")
		c := b.mustLoad(&toy{name: "b", gives: []give{{symbol: "f", data: true}}, uses: []use{{symbol: "f", how: pointer}}})
		if !traps(m, b.bytes(uint64(a[0].Entry), 8)) || c.Entries != 0 || c.Bytes != 0 {
			t.Errorf("the entry of data is no trap, %+v", c)
		}
		b.mustUnload("b")
		b.mustLoad(&toy{name: "c", gives: []give{{symbol: "f"}}})
		s, err := b.Sites(SitesRequest{Symbols: []string{"f"}})
		if err != nil || len(s) != 1 || s[0].Addr != a[0].Entry || s[0].Provider != "c" {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
