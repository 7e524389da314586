package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klink/internal/api"
	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/fakekernel"
)

// odd is a kernel whose answers are at the edges of what commands print, and which
// knows modules by absolute paths.
type odd struct{ fakekernel.Kernel }

func (o *odd) module(name string) (*kernel.ModuleInfo, error) {
	switch name {
	case "m", "/work/m.kmod":
	case "/work/two.o":
		return nil, diag.New(diag.ErrUsage, "", "%s is a file of a and of b", diag.Quote(name))
	default:
		return nil, diag.New(diag.ErrNotFound, "", "no module %s is loaded", diag.Quote(name))
	}
	return &kernel.ModuleInfo{
		Name: "m", State: "live", Files: []string{"m.kmod"},
		Text: kernel.SpanInfo{Addr: 0x1000, Size: 1}, Data: kernel.SpanInfo{Addr: 0x3000, Size: 16},
		Provides: []kernel.ProvideInfo{{Symbol: "a", Kind: "default", Class: "func", Addr: 0x1000},
			{Symbol: "bb", Kind: "override", Class: "data", Addr: 0x3000, Current: true}},
		Sections: []kernel.SectionInfo{{File: "m.kmod", Name: ".text", Addr: 0x1000, Size: 1},
			{File: "m.kmod", Name: ".bss", Addr: 0x3000, Size: 0},
			{File: "m.kmod", Name: ".data.rel.ro.of_a_long_name", Addr: 0x3000, Size: 16}},
		Count: kernel.ModuleCounts{Provides: 2, Sites: 1},
	}, nil
}

func (o *odd) Info(name string) (*kernel.ModuleInfo, error) { return o.module(name) }

func (o *odd) List() []kernel.ModuleInfo {
	m, _ := o.module("m")
	return []kernel.ModuleInfo{*m, {Name: "data", State: "live", Text: kernel.SpanInfo{Addr: 0x1040}, Data: m.Data}}
}

func (o *odd) Load(_ context.Context, r kernel.LoadRequest) (*kernel.Change, error) {
	m, _ := o.module("m")
	return &kernel.Change{DryRun: r.DryRun, Loaded: []kernel.ModuleInfo{*m}, Sites: 1, Entries: 1, Bytes: 1,
		Moves: []kernel.MoveInfo{{Symbol: "a", From: "kernel", To: "m", Sites: 1, In: []string{"kernel"}, Target: 0x1000}}}, nil
}

func (o *odd) Unload(_ context.Context, r kernel.UnloadRequest) (*kernel.Change, error) {
	var errs diag.List
	for _, name := range r.Modules {
		_, err := o.module(name)
		errs.Add(err)
	}
	return &kernel.Change{Unloaded: []kernel.ModuleInfo{{Name: "m", Text: kernel.SpanInfo{Size: 1}}}}, errs.Err()
}

func (o *odd) Sites(r kernel.SitesRequest) ([]kernel.SiteInfo, error) {
	_, err := o.module(r.Module)
	return nil, err
}

func (o *odd) Symbols(_ []string, of string) ([]kernel.SymInfo, error) {
	_, err := o.module(of)
	return nil, err
}

func (o *odd) Alias([]string, bool) ([]kernel.AliasInfo, error) {
	return []kernel.AliasInfo{
		{Symbol: "plain", Class: "func", Sites: 1, Providers: []kernel.AliasProvider{
			{Module: "m", Kind: "override", Addr: 0x1000, Current: true, Sites: 1}, {Module: "kernel", Kind: "default", Addr: 0x800}}},
		{Symbol: "named", Class: "func", Sites: 1, Providers: []kernel.AliasProvider{
			{Module: "m", Kind: "override", Addr: 0x1000, Current: true, Sites: 1}, {Module: "kernel", Kind: "default", Addr: 0x800, Name: "voidop"}}},
	}, nil
}

func (o *odd) Disassemble(what string) (*kernel.Listing, error) {
	return &kernel.Listing{Func: what, Addr: 0x98, Size: 1, Lines: []kernel.InstInfo{{Addr: 0x98, Bytes: "cc", Text: "int3"}}}, nil
}

// oddly returns a function that runs a command line against an odd kernel and returns
// its output, what went wrong and the exit code.
func oddly(t *testing.T) func(line string) (string, string, int) {
	t.Helper()
	sys, out, errs := fake(t, nil)
	fresh := func(api.HostConfig) (api.Service, error) { return &odd{}, nil }
	hosts := api.NewLocal(fresh, t.Output())
	t.Cleanup(func() { _ = hosts.Close() })
	sys.Hosts = func() (api.Hosts, error) { return hosts, nil }
	sys.Link = func(r kernel.LinkRequest) (*kernel.LinkReport, error) {
		var l diag.List
		l.Add(diag.New(diag.ErrIO, r.Output, "is a directory"))
		l.Add(diag.New(diag.ErrIO, r.DumpDir+"/layout.json", "disk full"))
		return nil, errors.Join(l.Err(), diag.New(diag.ErrIO, r.DumpDir, "not a directory"))
	}
	run := func(line string) (string, string, int) {
		t.Helper()
		words, err := split(line)
		if err != nil {
			t.Fatal(err)
		}
		code := Main(context.Background(), sys, words)
		defer func(bs ...*bytes.Buffer) {
			for _, b := range bs {
				b.Reset()
			}
		}(out, errs)
		return out.String(), errs.String(), code
	}
	if _, errs, code := run("boot"); code != 0 {
		t.Fatal(errs)
	}
	return run
}

func TestPrinted(t *testing.T) {
	run := oddly(t)
	for _, tt := range []struct{ line, want string }{
		// A long section name leaves the providers alone; an empty section is no news.
		{"info m", `m: live
  files     m.kmod
  text      0x1000  1 byte
  data      0x3000  16 bytes
  counts    1 site, 0 relocations, 0 veneers, 0 GOT slots
  provides  0x1000  default   func  a
            0x3000  override  data  bb  current
  sections  0x1000  1 byte    .text                        m.kmod
            0x3000  16 bytes  .data.rel.ro.of_a_long_name  m.kmod
`},
		// A module without text has no address.
		{"ls", `MODULE  STATE  ADDRESS  TEXT  TABLES  DATA  SYMBOLS  SITES  FILE
m       live   0x1000      1       0    16        2      1  m.kmod
data    live   -           0       0    16        0      0
`},
		// A column is there if it has something to say.
		{"alias", `plain: func, 1 site
* override  m       0x1000  1 site
  default   kernel  0x800
named: func, 1 site
* override  m       0x1000          1 site
  default   kernel  0x800   voidop
`},
		// An entry is in no module.
		{"dis f@entry", "0x98 f@entry, 1 byte\n  0x98  cc  int3\n"},
		{"load m.kmod", "loaded m: 1 byte text, 2 symbols, 1 site\na: kernel → m, 1 site in kernel\nrewrote 1 site and 1 entry, 1 byte\n"},
		{"unload m", "unloaded m: 1 byte\n"},
	} {
		out, errs, code := run(tt.line)
		if d := cmp.Diff(tt.want, out); d != "" || code != 0 {
			t.Errorf("%s: exit %d, %s (-want +got):\n%s", tt.line, code, errs, d)
		}
	}
}

// A plan shows no addresses: the load after it may get others.
func TestPlanHasNoAddresses(t *testing.T) {
	run := oddly(t)
	out, errs, code := run("load -n m.kmod")
	if code != 0 || strings.Contains(out, "0x") || !strings.Contains(out, "would load m: 1 byte text") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

// A module is named by the path of its file as well, relative to here, and messages
// show the path as it was typed.
func TestPaths(t *testing.T) {
	run := oddly(t)
	for _, line := range []string{"info ./m.kmod", "unload ./m.kmod", "sites -m ./m.kmod", "sym -m x/../m.kmod"} {
		if _, errs, code := run(line); code != 0 {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
	}
	for _, tt := range []struct {
		line, want string
		exit       int
	}{
		{"info ./x.kmod", "klink: no module \"./x.kmod\" is loaded\n", 3},
		{"unload ./x.kmod", "klink: no module \"./x.kmod\" is loaded\n", 3},
		{"unload ./x.kmod ../work/y.kmod nobody", "klink: no module \"./x.kmod\" is loaded\nklink: no module \"../work/y.kmod\" is loaded\nklink: no module \"nobody\" is loaded\n", 3},
		{"unload ./two.o", "klink: \"./two.o\" is a file of a and of b\n", 2},
		{"sites -m ./x.kmod", "klink: no module \"./x.kmod\" is loaded\n", 3},
		{"sym -m ./x.kmod", "klink: no module \"./x.kmod\" is loaded\n", 3},
		{"unload /abs/x.kmod", "klink: no module \"/abs/x.kmod\" is loaded\n", 3},
		{"link -o sub/image --dump d/ m.o", "d/layout.json: disk full\nd/: not a directory\nsub/image: is a directory\n", 1},
		{"link -o d/layout.json --dump ./d m.o", "./d: not a directory\nd/layout.json: disk full\nd/layout.json: is a directory\n", 1},
		{"link -o /out/image --dump /out m.o", "/out/image: is a directory\n/out/layout.json: disk full\n/out: not a directory\n", 1},
	} {
		_, errs, code := run(tt.line)
		got, want := strings.SplitAfter(errs, "\n"), strings.SplitAfter(tt.want, "\n")
		slices.Sort(got)
		slices.Sort(want)
		if d := cmp.Diff(want, got); d != "" || code != tt.exit {
			t.Errorf("%s: exit %d (-want +got):\n%s", tt.line, code, d)
		}
	}
}

// Every root cause of one command is reported.
func TestEveryCause(t *testing.T) {
	run := oddly(t)
	for _, tt := range []struct {
		line, want string
		exit       int
	}{
		{"info bb m aa bb", "klink: no module \"aa\" is loaded\nklink: no module \"bb\" is loaded\n", 3},
		{"info ./two.o aa", "klink: \"./two.o\" is a file of a and of b\nklink: no module \"aa\" is loaded\n", 1},
		{"link --define x --define y=z m.o", "klink: \"x\" is not SYMBOL=ADDRESS\nklink: \"y=z\": not a number of 64 bits\n", 2},
	} {
		out, errs, code := run(tt.line)
		if d := cmp.Diff(tt.want, errs); d != "" || out != "" || code != tt.exit {
			t.Errorf("%s: exit %d, %s (-want +got):\n%s", tt.line, code, out, d)
		}
	}
}
