package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// refused fails unless err is of the kind and contains every text.
func refused(t *testing.T, err error, kind error, texts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%v is not %v", err, kind)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %s", err, text)
		}
	}
}

func TestInfo(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := populated(t, m)
		user, err := b.Info("user")
		if err != nil {
			t.Fatal(err)
		}
		if d := diff([]string{"absent", "d", "e", "f", "h"}, user.Needs); d != "" {
			t.Errorf("needs:\n%s", d)
		}
		if d := diff([]string{"absent"}, user.Absent); d != "" {
			t.Errorf("absent:\n%s", d)
		}
		if user.Count.Needs != 5 || len(user.Provides) != 0 || len(user.Sections) != 2 || user.Sections[0].Addr != user.Text.Addr || user.Sections[0].Name != ".text" {
			t.Errorf("%+v", user)
		}
		layer, err := b.Info("layer")
		if err != nil {
			t.Fatal(err)
		}
		want := []ProvideInfo{
			{"f", "refinement", "func", layer.Text.Addr + funcSize, true},
			{"k", "refinement", "func", layer.Text.Addr, true},
		}
		if d := diff(want, layer.Provides); d != "" {
			t.Errorf("provides:\n%s", d)
		}
		if d := diff([]string{"super_f", "super_k"}, layer.Needs); d != "" || layer.Count.Needs != 2 {
			t.Errorf("needs %d:\n%s", layer.Count.Needs, d)
		}
		if d := diff([]string{KernelName, "user"}, layer.UsedBy); d != "" {
			t.Errorf("used by:\n%s", d)
		}
		if over, err := b.Info("over"); err != nil || over.Provides[0].Current || len(over.UsedBy) != 0 {
			t.Errorf("%+v, %v", over, err)
		}

		// A module is known by its files, too.
		file := b.modules[b.byName["base"].id].files[0]
		for _, name := range []string{file.Name, file.Path} {
			if got, err := b.Info(name); err != nil || got.Name != "base" {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		_, err = b.Info("nobody")
		refused(t, err, diag.ErrNotFound, `no module "nobody" is loaded`)
		spec := ModuleSpec{As: "again", Files: []Source{b.file("same.o", (&toy{}).build(m))}}
		for _, spec.As = range []string{"one", "two"} {
			if _, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = b.Info("same.o")
		refused(t, err, diag.ErrUsage, `"same.o" is a file of one and of two`)
	})
}

func TestAlias(t *testing.T) {
	b := populated(t, arch.AMD64)
	names := func(list []AliasInfo, err error) (s []string) {
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			s = append(s, a.Symbol)
		}
		return s
	}
	if d := diff([]string{"e", "f", "k"}, names(b.Alias(nil, false))); d != "" {
		t.Errorf("with several providers:\n%s", d)
	}
	if d := diff([]string{"d", "e", "f", "g", "h", "k"}, names(b.Alias(nil, true))); d != "" {
		t.Errorf("all:\n%s", d)
	}
	if d := diff([]string{"h", "d"}, names(b.Alias([]string{"h", "d"}, false))); d != "" {
		t.Errorf("named:\n%s", d)
	}
	list, err := b.Alias([]string{"nobody", "h", "absent", "super_f"}, false)
	refused(t, err, diag.ErrNotFound, `nobody provides "nobody"`, `nobody provides "absent"`, `nobody provides "super_f"`)
	if list != nil {
		t.Errorf("an answer beside the error: %v", list)
	}
}

func TestSites(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := populated(t, m)
		count := func(want int, module string, symbols ...string) {
			t.Helper()
			list, err := b.Sites(SitesRequest{Symbols: symbols, Module: module})
			if err != nil || len(list) != want {
				t.Errorf("%d sites, %v; want %d: %+v", len(list), err, want, list)
			}
			if !slices.IsSortedFunc(list, func(a, b SiteInfo) int { return int(a.Addr) - int(b.Addr) }) {
				t.Errorf("unsorted: %+v", list)
			}
		}
		count(5, "", "f")                    // one in the kernel, three in user, the entry
		count(3, "user", "f")                //
		count(2, "", "super_f")              // a call and an entry
		count(4, "user", "f", "h", "f", "g") // g: nobody calls it; f twice is once
		count(0, "", "g")
		count(2, "layer")
		count(9, "")
		_, err := b.Sites(SitesRequest{Symbols: []string{"nobody", "f", "super_g"}})
		refused(t, err, diag.ErrNotFound, `nobody provides or calls "nobody"`, `nobody provides or calls "super_g"`)
		_, err = b.Sites(SitesRequest{Module: "nobody"})
		refused(t, err, diag.ErrNotFound, `no module "nobody" is loaded`)

		b.mustLoad(&toy{name: "brief", gives: []give{{symbol: "brief"}}})
		b.mustUnload("brief")
		_, err = b.Sites(SitesRequest{Symbols: []string{"brief"}})
		refused(t, err, diag.ErrNotFound, `nobody provides or calls "brief"`)
	})
}

func TestSymbols(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := populated(t, m)
		show := func(module string, patterns ...string) string {
			t.Helper()
			list, err := b.Symbols(patterns, module)
			if err != nil {
				t.Fatal(err)
			}
			s := ""
			for _, y := range list {
				s += fmt.Sprintf(" %s:%s(%s %s %s %d)", y.Module, y.Name, y.Type, y.Bind, y.Section, y.Size)
				if y.Current {
					s += "!"
				}
			}
			return s
		}
		layer, err := b.Info("layer")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			want, module string
			patterns     []string
		}{
			{" layer:f(func refinement .text 8)!", "layer", []string{"f"}},
			{" kernel:f(func default .text 8) over:f(func override .text 8) layer:f(func refinement .text 8)!", "", []string{"f"}},
			{" layer:impl_k(func local .text 8) layer:k(func refinement .text 8)!", "", []string{(layer.Text.Addr + 3).String()}},
			// What two patterns match is listed once.
			{" layer:impl_k(func local .text 8) layer:k(func refinement .text 8)! layer:impl_f(func local .text 8) layer:f(func refinement .text 8)!",
				"layer", []string{"*f", "*k", "impl_*"}},
			{" kernel:d(data override .data 8)!", "", []string{"[d]"}},
			{"", "base", []string{"*", "*"}[:0]},
		} {
			got := show(c.module, c.patterns...)
			if c.want == "" {
				c.want = " base:impl_h(func local .text 8) base:h(func override .text 8)! base:run(func local .text 8)"
			}
			if got != c.want {
				t.Errorf("%s %v:\n%s\nwant\n%s", c.module, c.patterns, got, c.want)
			}
		}
		list, err := b.Symbols([]string{"nobody*", "f", "0x1"}, "")
		refused(t, err, diag.ErrNotFound, `no symbol "nobody*"`, `no symbol "0x1"`)
		if list != nil {
			t.Errorf("an answer beside the error: %v", list)
		}
		_, err = b.Symbols([]string{"[", "0xyz"}, "")
		refused(t, err, diag.ErrUsage, `"[" is no pattern`, `"0xyz" is no address`)
		_, err = b.Symbols(nil, "nobody")
		refused(t, err, diag.ErrNotFound, `no module "nobody"`)
	})
}

func TestDisassemble(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := populated(t, m)
		listing := func(what string) *Listing {
			t.Helper()
			l, err := b.Disassemble(what)
			if err != nil {
				t.Fatal(err)
			}
			n := uint64(0)
			for _, in := range l.Lines {
				if in.Addr != l.Addr+Addr(n) {
					t.Errorf("%s: a line at %v, want +%#x", what, in.Addr, n)
				}
				n += uint64(len(in.Bytes) / 2)
			}
			if n != l.Size {
				t.Errorf("%s: %d of %d bytes", what, n, l.Size)
			}
			return l
		}
		if l := listing("f"); l.Module != "layer" || l.Func != "impl_f" || l.Size != funcSize {
			t.Errorf("the current provider: %+v", l)
		}
		if l := listing("over:f"); l.Module != "over" || l.Func != "f" {
			t.Errorf("a module's own: %+v", l)
		}
		run := listing("user:run")
		calls := map[string]string{}
		for _, in := range run.Lines {
			if in.Symbol != "" {
				calls[in.Symbol] = in.Module + ":" + in.Target
			}
		}
		if d := diff(map[string]string{"h": "base:impl_h", "f": "layer:impl_f"}, calls); d != "" {
			t.Errorf("sites:\n%s\n%+v", d, run.Lines)
		}
		if l := listing((run.Addr + 5).String()); l.Func != "run" || l.Module != "user" || l.Addr != run.Addr {
			t.Errorf("by address: %+v", l)
		}
		e := listing("f@entry")
		if l := e.Lines[0]; len(e.Lines) != 1 || l.Symbol != "f" || l.Module != "layer" || l.Target != "impl_f" || e.Module != "" {
			t.Errorf("entry: %+v", e)
		}
		_, err := b.Disassemble("run")
		refused(t, err, diag.ErrUsage, `"run" is in kernel and in base: say which as MODULE:FUNCTION`)
		for what, text := range map[string]string{
			"nobody": `no function "nobody"`, "user:f": `no function "f" in user`, "nobody:f": `no function "nobody:f"`,
			"d": `no function "d"`, "g@entry": `"g" has no entry: nobody takes its address`, "0x10": "no function at 0x10",
		} {
			_, err := b.Disassemble(what)
			refused(t, err, diag.ErrNotFound, text)
		}
		_, err = b.Disassemble("0xyz")
		refused(t, err, diag.ErrUsage, `"0xyz" is no address`)
	})
}

// TestUnsized: assembly by hand gives its functions no sizes; each ends where the next
// symbol starts, or its section ends.
func TestUnsized(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := newBench(t, m)
		code := slices.Concat(function[m], function[m], function[m])
		o := objbuild.New(m).Text(".text", code).Global("a", 0, 0).Local("a_too", 0, 0).Global("b", 8, 0).Text(".text.c", code).Global("c", 0, 0)
		spec := b.object("hand", o)
		if _, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}}); err != nil {
			t.Fatal(err)
		}
		for what, size := range map[string]uint64{"a": 8, "hand:a_too": 8, "b": 16, "c": 24} {
			if l, err := b.Disassemble(what); err != nil || l.Size != size {
				t.Errorf("%s: %+v, %v; want %d bytes", what, l, err, size)
			}
		}
		syms, err := b.Symbols([]string{"b"}, "")
		if err != nil || syms[0].Size != 0 {
			t.Errorf("a listing shows the size that the file gives: %+v, %v", syms, err)
		}
		if l, err := b.Disassemble((syms[0].Addr + 9).String()); err != nil || l.Func != "b" {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func TestStatus(t *testing.T) {
	empty, err := New(Config{Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if st := empty.Status(); st.Modules != 0 || st.Machine != "" || st.Regions != nil {
		t.Errorf("%+v", st)
	}
	if _, err := empty.Boot(t.Context(), nil); err != nil || empty.Status().Machine != HostMachine().String() {
		t.Errorf("a host without a kernel: %v, %+v", err, empty.Status())
	}

	b := populated(t, arch.ARM64)
	st := b.Status()
	if st.Machine != "aarch64" || st.Modules != 8 || st.ArenaBase != 0x20000000 || st.ArenaSize != 16<<20 || len(st.Regions) != 3 || len(st.Walls) == 0 {
		t.Errorf("%+v", st)
	}
	end := st.ArenaBase
	for i, r := range st.Regions {
		if want := []string{"text", "tables", "data"}[i]; r.Name != want || r.Addr != end || r.Used > r.Size || (r.Used == 0) != (want == "tables") {
			t.Errorf("%+v", r)
		}
		end += Addr(r.Size)
	}
	if end != st.ArenaBase+16<<20 {
		t.Errorf("the regions end at %v", end)
	}
}

func TestBoot(t *testing.T) {
	b := newBench(t, arch.AMD64)
	archive := objbuild.Archive(
		objbuild.Member{Name: "needed.o", Data: (&toy{gives: []give{{symbol: "f", weak: true}}}).build(arch.AMD64)},
		objbuild.Member{Name: "not.o", Data: (&toy{gives: []give{{symbol: "g"}}}).build(arch.AMD64)})
	specs := []ModuleSpec{b.spec(&toy{name: "main", uses: []use{{symbol: "f", how: call}}}), {Files: []Source{b.file("lib.a", archive)}}}
	c, err := b.Boot(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	m := c.Loaded[0]
	if m.Name != KernelName || m.State != stateLive || len(m.Files) != 2 || path.Base(m.Files[1]) != "lib.a(needed.o)" {
		t.Errorf("%+v", m)
	}
	before := b.snapshot()
	_, err = b.Boot(t.Context(), specs)
	refused(t, err, diag.ErrBusy, "already booted")
	if d := diff(before, b.snapshot()); d != "" {
		t.Errorf("a refused boot changed something:\n%s", d)
	}
}

// TestLabelAtTheEnd: a label behind the last byte of text is its module's, whosever text
// begins there.
func TestLabelAtTheEnd(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := newBench(t, m)
		text := bytes.Repeat(function[m], 16) // so much that the next module's follows at once
		label := objbuild.New(m).Text(".text", text).Global("end", uint64(len(text)), 0).As(objbuild.NoType)
		for _, spec := range []ModuleSpec{b.object("a", label), b.spec(&toy{name: "next", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "end", how: call}}})} {
			if _, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}}); err != nil {
				t.Fatal(err)
			}
		}
		sites, err := b.Sites(SitesRequest{Symbols: []string{"end"}})
		next, e := b.Info("next")
		if err != nil || e != nil || len(sites) != 1 || sites[0].Target != next.Text.Addr || sites[0].Provider != "a" || sites[0].Name != "end" {
			t.Errorf("%+v, %v, next at %+v, %v", sites, err, next.Text, e)
		}
	})
}
