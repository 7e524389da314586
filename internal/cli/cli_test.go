package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/fakekernel"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fake returns a system whose kernels link nothing, and what its commands print.
func fake(t *testing.T, env map[string]string) (sys System, out, errs *bytes.Buffer) {
	t.Helper()
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	fresh := func(api.HostConfig) (api.Service, error) { return &fakekernel.Kernel{}, nil }
	hosts := api.NewLocal(fresh, t.Output())
	t.Cleanup(func() { _ = hosts.Close() })
	return System{
		In: strings.NewReader(""), Out: out, Err: errs, Build: Build{"v0.0.0", "go1.0", "linux/pdp11"},
		Getenv:  func(k string) string { return env[k] },
		Getwd:   func() (string, error) { return "/work", nil },
		Hosts:   func() (api.Hosts, error) { return hosts, nil },
		Local:   func() *api.Local { return api.NewLocal(fresh, t.Output()) },
		RunHost: func(name string) error { return diag.New(diag.ErrUsage, "", "host %s by hand", name) },
		Check:   fakeCheck,
		Link: func(r kernel.LinkRequest) (*kernel.LinkReport, error) {
			return &kernel.LinkReport{Machine: "x86-64", Modules: len(r.Modules), Objects: 2, Sections: 7, Relocs: 14, Sites: 5, Entries: 1,
				Externals: len(r.Define), Text: kernel.SpanInfo{Addr: kernel.Addr(r.Base), Size: 412},
				Absent: []kernel.AbsentInfo{{Module: "bpf", Symbol: "netisr_hook"}}}, nil
		},
		LookPath: func(name string) (string, error) {
			if strings.Contains(name, "missing") {
				return "", errors.New("not in $PATH")
			}
			return "/usr/bin/" + name, nil
		},
		Execute: func(_ context.Context, argv []string, out io.Writer) error {
			file := argv[len(argv)-3]
			if !strings.Contains(file, "bad") {
				return nil
			}
			fmt.Fprintf(out, "%s:1:1: error: expected ';'\n", file)
			return errors.New("exit status 1")
		},
		Spawn: func(_ context.Context, argv, env []string, file *os.File) (int, error) {
			b := make([]byte, 5)
			if _, err := file.ReadAt(b, 16); err != nil {
				return 0, err
			}
			fmt.Fprintf(out, "%q %q %q\n", argv, env, b)
			if strings.Contains(argv[0], "bad") {
				return 0, errors.New("exec format error")
			}
			return len(argv) - 1, nil
		},
	}, out, errs
}

// fakeCheck finds an error in files called bad, a warning in those called warn.
func fakeCheck(srcs []kernel.Source) ([]kernel.CheckReport, error) {
	var out []kernel.CheckReport
	for _, s := range srcs {
		r := kernel.CheckReport{File: s.Name, Machine: "x86-64", Needs: []string{"bar"}, Findings: []kernel.Finding{}}
		switch {
		case strings.Contains(s.Name, "missing"):
			return nil, diag.New(diag.ErrNotFound, s.Name, "no such file")
		case strings.Contains(s.Name, "bad"):
			r.Findings = append(r.Findings, kernel.Finding{Level: "error", Place: s.Name + ":(.text+0x1a)", Text: "R_X86_64_TPOFF32 against \"tls\": thread-local"})
		case strings.Contains(s.Name, "warn"):
			r.Findings = append(r.Findings, kernel.Finding{Level: "warning", Place: s.Name + ":(.text+0x4)",
				Text: "jmp to \"foo\" is bound", Hint: "assemble with -Wa,-mshared"}, kernel.Finding{Level: "note", Text: "about the file"})
		}
		out = append(out, r)
	}
	return out, nil
}

// Each transcript is commands, "$ klink …", and what they print: output, errors with
// "! " before them, and the exit code if it is not 0.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.transcript")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".transcript"), func(t *testing.T) {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sys, out, errs := fake(t, map[string]string{"TERM": "xterm"})
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				line = strings.TrimSuffix(line, "\n")
				if strings.HasPrefix(line, "#") || line == "" {
					got.WriteString(line + "\n")
					continue
				}
				cmd, ok := strings.CutPrefix(line, "$ klink")
				if !ok {
					continue // what it printed
				}
				args, err := split(cmd)
				if err != nil {
					t.Fatal(err)
				}
				code := Main(context.Background(), sys, args)
				got.WriteString(line + "\n" + prefixed("| ", out) + prefixed("! ", errs))
				if code != 0 {
					fmt.Fprintf(&got, "exit %d\n", code)
				}
			}
			if *update {
				if err := os.WriteFile(f, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// prefixed returns b's lines behind prefix, and empties it.
func prefixed(prefix string, b *bytes.Buffer) string {
	var s strings.Builder
	for line := range strings.Lines(b.String()) {
		s.WriteString(strings.TrimRight(prefix+line, "\n") + "\n")
	}
	b.Reset()
	return s.String()
}

// commands returns the tree's commands, those that users see.
func commands(root *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if !c.Hidden {
			out = append(out, c)
		}
	}
	return out
}

// Every example in the help is a command line that klink understands.
func TestExamples(t *testing.T) {
	sys, _, _ := fake(t, nil)
	for _, c := range commands(New(sys)) {
		if c.Example == "" || c.Long == "" || c.Short == "" {
			t.Errorf("%s: no example or no help", c.Name())
		}
		for line := range strings.Lines(c.Example) {
			words, err := split(strings.TrimSpace(line))
			if err != nil || len(words) < 2 || words[0] != "klink" {
				t.Errorf("%s: %q: %v", c.Name(), line, err)
				continue
			}
			root := New(sys) // flags keep their values
			found, rest, err := root.Traverse(words[1:])
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil || found == root || c.Name() != found.Name() && c.HasParent() {
				t.Errorf("%s: %q runs %s: %v", c.Name(), line, found.Name(), err)
			}
		}
	}
}

// With --json every answer is JSON, and every error too.
func TestJSON(t *testing.T) {
	sys, out, errs := fake(t, nil)
	for _, line := range []string{
		"boot k.o", "load bpf.kmod", "load -n x.o", "ls", "info bpf", "alias", "sites", "sites -m kernel", "sym b*", "sym nothing", "dis if_input",
		"call sum 1 -1", "call count -j 2 -n 400", "call boom", "call lost", "call nobody", "call sum abc", "call sum --detach", "call boom --detach",
		"jobs", "wait 99", "wait", "wait", "jobs", "log", "log -n 1", "read counter", "read nothing", "map ring", "map counter", "map ring x", "cc a.c", "cc bad.c a.c", "cc a.c b.c -o x",
		"check a.o bad.o", "link a.o", "version", "unload -n bpf", "unload bpf", "halt", "version", "ls", "load undefined.o", "load",
		"nonsense", "ls --bogus", "-H / ls", "run missing", "run -",
	} {
		words, err := split(line)
		if err != nil {
			t.Fatal(err)
		}
		code := Main(context.Background(), sys, append(words, "--json"))
		if out.Len() == 0 && errs.Len() == 0 && line != "run -" {
			t.Errorf("%s: printed nothing", line)
		}
		for _, b := range []*bytes.Buffer{out, errs} {
			if b.Len() > 0 && !json.Valid(b.Bytes()) {
				t.Errorf("%s: no JSON: %s", line, b)
			}
		}
		var e struct{ Error *api.Fault }
		if errs.Len() > 0 && (json.Unmarshal(errs.Bytes(), &e) != nil || e.Error == nil || e.Error.Exit != code || len(e.Error.Lines) == 0) {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
		if strings.HasPrefix(line, "sym nothing") && out.String() != "[]\n" {
			t.Errorf("%s: %s", line, out)
		}
		out.Reset()
		errs.Reset()
	}
}

// Nothing that a host or an object names reaches the terminal as it is.
func TestEscapes(t *testing.T) {
	sys, out, errs := fake(t, nil)
	for _, args := range [][]string{{"boot", "k\x1b[2J.o"}, {"ls"}, {"info", "k\x1b[2J"}, {"sites"}, {"unload", "\x1b]0;x\x07"}, {"call", "boom"}, {"call", "\u202ex"}, {"call", "sum", "\x1b[2J", "\"\u009b"}, {"log"}, {"wait", "\x1b"}, {"cc", "missing\x1b.kmod"}, {"dis", "\u202ex"}, {"\x1b[31m"}, {"check", "\u009b.o"}} {
		Main(context.Background(), sys, args)
		for _, r := range out.String() + errs.String() {
			if r != '\n' && !strings.ContainsRune("→…", r) && (r < ' ' || r >= 0x7f) {
				t.Errorf("%q: %q in %q", args, r, out.String()+errs.String())
				break
			}
		}
		out.Reset()
		errs.Reset()
	}
}

// Completion asks a running host, and starts none.
func TestCompletion(t *testing.T) {
	sys, out, _ := fake(t, nil)
	complete := func(args ...string) []string {
		t.Helper()
		out.Reset()
		if code := Main(context.Background(), sys, append([]string{"__complete"}, args...)); code != 0 {
			t.Errorf("%q: exit %d", args, code)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		return lines[:len(lines)-1] // the last one is the directive
	}
	expect := func(want []string, args ...string) {
		t.Helper()
		if got := complete(args...); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
	expect([]string{}, "unload", "")
	expect([]string{}, "alias", "b")
	if h, _ := sys.Hosts(); true {
		if _, err := h.Dial(context.Background(), "default"); !errors.Is(err, diag.ErrNoHost) {
			t.Fatalf("completion started a host: %v", err)
		}
	}
	if code := Main(context.Background(), sys, []string{"boot", "kernel.o"}); code != 0 {
		t.Fatal("boot")
	}
	if code := Main(context.Background(), sys, []string{"load", "bpf.kmod", "xh.kmod"}); code != 0 {
		t.Fatal("load")
	}
	expect([]string{"bpf", "xh"}, "unload", "")
	expect([]string{"kernel", "bpf", "xh"}, "info", "")
	expect([]string{"xh"}, "unload", "bpf", "")
	expect([]string{"bpf_attach"}, "alias", "b")
	expect([]string{"bpf_attach"}, "sites", "-m", "bpf", "")
	expect([]string{"kernel"}, "sites", "-m", "k")
	expect([]string{"if_input"}, "dis", "i")
	expect([]string{"kernel:if_input"}, "dis", "kernel:")
	expect([]string{}, "dis", "if_input", "")
	expect([]string{"bpf_attach"}, "call", "b")
	expect([]string{}, "call", "bpf_attach", "")
	expect([]string{"counter"}, "read", "c")
	expect([]string{"kernel:if_input", "kernel:counter"}, "read", "kernel:")
	expect([]string{}, "wait", "")
	for range 2 {
		if code := Main(context.Background(), sys, []string{"call", "--detach", "sum"}); code != 0 {
			t.Fatal("call")
		}
	}
	expect([]string{"1", "2"}, "wait", "")
	expect([]string{"2"}, "wait", "1", "")
	expect([]string{}, "-H", "other", "unload", "")
	expect([]string{"unload\tunload modules, and move the calls back"}, "un")
	expect([]string{"x86-64", "aarch64"}, "boot", "--machine", "")
	expect([]string{"bash", "fish", "powershell", "zsh"}, "completion", "")
	for _, sh := range []string{"bash", "zsh", "fish", "powershell"} {
		out.Reset()
		if code := Main(context.Background(), sys, []string{"completion", sh}); code != 0 || !strings.Contains(out.String(), "klink") {
			t.Errorf("%s: exit %d", sh, code)
		}
	}
}

// What the host gets are absolute paths beside the names as typed.
func TestRequests(t *testing.T) {
	sys, _, _ := fake(t, map[string]string{"KLINK_PATH": "/lib/k::rel"})
	var got kernel.LinkRequest
	sys.Link = func(r kernel.LinkRequest) (*kernel.LinkReport, error) {
		got = r
		return &kernel.LinkReport{}, nil
	}
	line := "link -o out.elf --dump d --base 0x20000000 --define f=0x10 --define g=16 --externals trap --static --as m --private p --whole-archive a.o ../b.a"
	words, err := split(line)
	if err != nil {
		t.Fatal(err)
	}
	if code := Main(context.Background(), sys, words); code != 0 {
		t.Fatalf("exit %d", code)
	}
	want := kernel.LinkRequest{
		Modules: []kernel.ModuleSpec{{
			As: "m", Private: []string{"p"}, WholeArchive: true,
			Files: []kernel.Source{{Name: "a.o", Path: "/work/a.o"}, {Name: "../b.a", Path: "/b.a"}},
		}},
		Base: 0x20000000, Define: map[string]uint64{"f": 16, "g": 16}, TrapExternals: true, Static: true,
		Output: "/work/out.elf", DumpDir: "/work/d",
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(kernel.ModuleSpec{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	a := newApp(sys)
	if dirs, err := a.searchPath([]string{"x", "/y"}); err != nil || !slices.Equal(dirs, []kernel.Source{{Name: "x", Path: "/work/x"}, {Name: "/y", Path: "/y"}, {Name: "/lib/k", Path: "/lib/k"}, {Name: "rel", Path: "/work/rel"}}) {
		t.Errorf("search path: %q %v", dirs, err)
	}
	if specs, err := a.specs([]string{"a.o", "b.o"}, "", nil, false); err != nil || len(specs) != 2 {
		t.Errorf("specs: %v %v", specs, err)
	}
}

// KLINK_HOST chooses the host, -H wins over it.
func TestHostChoice(t *testing.T) {
	env := map[string]string{"KLINK_HOST": "env"}
	sys, _, _ := fake(t, env)
	run := func(want int, args ...string) {
		t.Helper()
		if code := Main(context.Background(), sys, args); code != want {
			t.Errorf("%q: exit %d, want %d", args, code, want)
		}
	}
	run(0, "boot", "k.o")
	run(0, "-H", "env", "ls")
	run(5, "-H", "default", "ls")
	env["KLINK_HOST"] = ""
	run(5, "ls")
	env["KLINK_HOST"] = "../x"
	run(2, "ls")
}

// An output that cannot be written is an error.
func TestBrokenOutput(t *testing.T) {
	sys, _, errs := fake(t, nil)
	sys.Out = brokenWriter{}
	if code := Main(context.Background(), sys, []string{"version"}); code != api.ExitRefused || !strings.Contains(errs.String(), "cannot write the output: disk full") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"", nil}, {"  # all comment", nil}, {"a b\tc", []string{"a", "b", "c"}}, {"a#b #c", []string{"a#b"}},
		{`'a b' "c d"e`, []string{"a b", "c de"}}, {`a\ b \# \\`, []string{"a b", "#", `\`}}, {`"" ''`, []string{"", ""}},
		{`"a\"b\\c\d"`, []string{`a"b\c\d`}}, {`'a\'`, []string{`a\`}}, {"a\r", []string{"a"}},
	} {
		if got, err := split(tt.line); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q %v, want %q", tt.line, got, err, tt.want)
		}
		if again, err := split(join(tt.want)); err != nil || !slices.Equal(again, tt.want) {
			t.Errorf("%q joined: %q %v", tt.want, again, err)
		}
	}
	for _, bad := range []string{`'a`, `"a`, `a\`, `"a\`} {
		if got, err := split(bad); !errors.Is(err, diag.ErrUsage) {
			t.Errorf("%q: %q %v", bad, got, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		s    string
		size bool
		want uint64
		ok   bool
	}{
		{"0x10000000", false, 1 << 28, true}, {"4096", true, 4096, true}, {"64M", true, 64 << 20, true}, {"1g", true, 1 << 30, true},
		{"0x10k", true, 16 << 10, true}, {"0b11", true, 3, true}, {"0xffffffffffffffff", false, 1<<64 - 1, true}, {"0x3fffffffffffffK", true, 0xfffffffffffffc00, true},
		{"64M", false, 0, false}, {"", true, 0, false}, {"K", true, 0, false}, {"-1", true, 0, false}, {"0x40000000000000K", true, 0, false},
		{"18446744073709551616", false, 0, false}, {"1.5G", true, 0, false},
	} {
		got, err := parseNumber(tt.s, tt.size)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %#x %v", tt.s, got, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 99_999: "99999", 100_000: "97.7K", 512 << 20: "512M", 3 << 29: "1.5G"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// Emphasis is for terminals only, and never printed elsewhere.
func TestNoColourInFiles(t *testing.T) {
	sys, _, _ := fake(t, map[string]string{"TERM": "xterm"})
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	sys.Out = f
	if newApp(sys).colour() {
		t.Error("a file is no terminal")
	}
	var b bytes.Buffer
	tab := table{strong: map[int]bool{0: true}}
	tab.row("x", "y")
	tab.print(&b, true)
	if b.String() != "\x1b[1mx  y\x1b[0m\n" {
		t.Errorf("%q", b.String())
	}
}

// run's standard input is a script.
func TestRunStandardInput(t *testing.T) {
	sys, out, errs := fake(t, nil)
	sys.In = io.MultiReader(strings.NewReader("boot k.o\nls\n"), strings.NewReader("unload nobody"))
	code := Main(context.Background(), sys, []string{"run", "-"})
	if code != api.ExitNotFound || !strings.Contains(out.String(), "kernel  live") ||
		errs.String() != "klink: no module \"nobody\"\n-:3: stopped here\n" {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}
