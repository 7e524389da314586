package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klink/internal/api"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/fakekernel"
)

func TestCallArgs(t *testing.T) {
	word := func(v uint64) kernel.Arg { return kernel.Arg{Word: v} }
	for _, tt := range []struct {
		typed string
		want  kernel.Arg
		ok    bool
	}{
		{"0", word(0), true}, {"42", word(42), true}, {"-1", word(1<<64 - 1), true}, {"-0x10", word(1<<64 - 16), true},
		{"18446744073709551615", word(1<<64 - 1), true}, {"-9223372036854775808", word(1 << 63), true},
		{"0b101", word(5), true}, {"0o17", word(15), true}, {"1_000", word(1000), true}, {"+7", word(7), true},
		{"'a'", word('a'), true}, {`'\n'`, word('\n'), true}, {`'\''`, word('\''), true}, {`'\xff'`, word(0xff), true}, {"'ü'", word('ü'), true},
		{`""`, kernel.Arg{IsText: true}, true}, {`"a b"`, kernel.Arg{Text: "a b", IsText: true}, true},
		{`"\"\\\t\x00ü"`, kernel.Arg{Text: "\"\\\t\x00ü", IsText: true}, true},
		{"18446744073709551616", word(0), false}, {"-9223372036854775809", word(0), false}, {"abc", word(0), false}, {"", word(0), false},
		{"1.5", word(0), false}, {"''", word(0), false}, {"'", word(0), false}, {"'ab'", word(0), false}, {`"`, word(0), false}, {`"a"b"`, word(0), false},
		{`"\q"`, word(0), false}, {`"\xff"`, word(0), false}, {"0x", word(0), false}, {"--", word(0), false},
	} {
		got, err := callArg(tt.typed)
		if d := cmp.Diff(tt.want, got); d != "" || (err == nil) != tt.ok || err != nil && !errors.Is(err, diag.ErrUsage) {
			t.Errorf("%s: %v (-want +got):\n%s", tt.typed, err, d)
		}
	}
}

func TestCounts(t *testing.T) {
	for _, tt := range []struct {
		s    string
		want uint64
		ok   bool
	}{
		{"1", 1, true}, {"1e6", 1_000_000, true}, {"25e1", 250, true}, {"0x1e6", 0x1e6, true}, {"1_000", 1000, true}, {"0e255", 0, true},
		{"18446744073709551615e0", 1<<64 - 1, true}, {"1e19", 1e19, true},
		{"1e20", 0, false}, {"2e19", 0, false}, {"1e-1", 0, false}, {"e6", 0, false}, {"1e", 0, false}, {"1e1e1", 0, false}, {"1.5e3", 0, false}, {"1k", 0, false}, {"-1", 0, false},
	} {
		if got, err := parseCount(tt.s); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %d %v", tt.s, got, err)
		}
	}
}

func TestTook(t *testing.T) {
	for ns, want := range map[int64]string{0: "0s", 999: "999ns", 12_345_678: "12.35ms", 1_500_000_000: "1.5s", 61_234_567_890: "1m1.23s"} {
		if got := took(ns); got != want {
			t.Errorf("%d: %s, want %s", ns, got, want)
		}
	}
}

// Only a call's negative numbers are arguments.
func TestNegativeArguments(t *testing.T) {
	sys, _, _ := fake(t, nil)
	for _, tt := range []struct{ line, want string }{
		{"call f -1 -x -0x1 -1s -", "call f @-1 -x @-0x1 -1s -"},
		{"-H x --json call -j 4 f -1", "-H x --json call -j 4 f @-1"},
		{"wait -1", "wait -1"}, {"-1", "-1"}, {"", ""},
	} {
		words, err := split(tt.line)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(strings.Join(marked(New(sys), words), " "), mark, "@"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.line, got, tt.want)
		}
	}
}

// asked is a kernel that keeps what it was asked.
type asked struct {
	fakekernel.Kernel
	call   kernel.CallRequest
	wait   kernel.WaitRequest
	read   kernel.ReadRequest
	load   kernel.LoadRequest
	unload kernel.UnloadRequest
}

func (k *asked) Call(_ context.Context, r kernel.CallRequest) (*kernel.CallReport, error) {
	k.call = r
	return &kernel.CallReport{State: kernel.JobDone}, nil
}

func (k *asked) Wait(_ context.Context, r kernel.WaitRequest) ([]kernel.CallReport, error) {
	k.wait = r
	return nil, nil
}

func (k *asked) Read(r kernel.ReadRequest) (*kernel.ReadReport, error) {
	k.read = r
	return &kernel.ReadReport{}, nil
}

func (k *asked) Load(_ context.Context, r kernel.LoadRequest) (*kernel.Change, error) {
	k.load = r
	return &kernel.Change{}, nil
}

func (k *asked) Unload(_ context.Context, r kernel.UnloadRequest) (*kernel.Change, error) {
	k.unload = r
	return &kernel.Change{}, nil
}

// What the host is asked is what was typed.
func TestCodeRequests(t *testing.T) {
	sys, _, errs := fake(t, nil)
	k := &asked{}
	var config api.HostConfig
	hosts := api.NewLocal(func(c api.HostConfig) (api.Service, error) {
		config = c
		return k, nil
	}, t.Output())
	t.Cleanup(func() { _ = hosts.Close() })
	sys.Hosts = func() (api.Hosts, error) { return hosts, nil }
	run := func(line string) {
		t.Helper()
		words, err := split(line)
		if err != nil {
			t.Fatal(err)
		}
		if code := Main(context.Background(), sys, words); code != 0 {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
	}
	same := func(what string, want, got any) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	run("boot --bare --threads 16 --machine aarch64")
	same("boot", api.HostConfig{Machine: "aarch64", Bare: true, Threads: 16}, config)
	run("call f")
	same("call", kernel.CallRequest{Function: "f", Limit: kernel.DefaultCallLimit}, k.call)
	run(`call -j 4 m:f -1 -n 1e3 '"-1"' --limit 0 --detach`)
	same("call", kernel.CallRequest{Function: "m:f", Args: []kernel.Arg{{Word: 1<<64 - 1}, {Text: "-1", IsText: true}},
		Threads: 4, Times: 1000, Limit: -1, Detach: true}, k.call)
	run("wait")
	same("wait", kernel.WaitRequest{}, k.wait)
	run("wait 3 1 3 --limit 1s")
	same("wait", kernel.WaitRequest{Jobs: []int{3, 1}, Limit: 1e9}, k.wait)
	run("read 0x10 4K")
	same("read", kernel.ReadRequest{What: "0x10", Len: 4096}, k.read)
	run("load --limit 1m a.o")
	same("load", int64(60e9), k.load.Limit)
	run("unload -w 1ms a")
	same("unload", int64(1e6), k.unload.Wait)
}

// A runner that is lost is seen wherever the host is looked at, and boot ends that.
func TestLostRunner(t *testing.T) {
	sys, out, errs := fake(t, nil)
	lost := true
	hosts := api.NewLocal(func(api.HostConfig) (api.Service, error) { return &fakekernel.Kernel{Lost: lost}, nil }, t.Output())
	t.Cleanup(func() { _ = hosts.Close() })
	sys.Hosts = func() (api.Hosts, error) { return hosts, nil }
	run := func(want int, args ...string) string {
		t.Helper()
		out.Reset()
		errs.Reset()
		if code := Main(context.Background(), sys, args); code != want {
			t.Errorf("%q: exit %d, %s", args, code, errs)
		}
		return out.String()
	}
	run(0, "boot", "k.o")
	if s := run(0, "ls"); !strings.HasSuffix(s, "k.o\nthe runner was killed by signal 9; klink boot starts afresh\n") {
		t.Error(s)
	}
	if s := run(0, "version"); !strings.Contains(s, "  runner  lost  the runner was killed by signal 9\n") {
		t.Error(s)
	}
	lost = false
	run(0, "boot", "k.o")
	if s := run(0, "ls"); strings.Contains(s, "lost") {
		t.Error(s)
	}
	run(4, "boot", "k.o")
}

// A recursion without end is no page without end.
func TestLongTrace(t *testing.T) {
	f := kernel.FaultInfo{Trace: make([]kernel.FrameInfo, 1000)}
	var w strings.Builder
	faultText(&w, f)
	if s := w.String(); strings.Count(s, "\n") != maxTrace+1 || !strings.HasSuffix(s, "  and 968 more\n") {
		t.Error(s)
	}
}

// syncWriter says what is written to it.
type syncWriter chan string

func (w syncWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// log -f writes at once, goes on, and ends when the host halts, or when it may.
func TestFollowLog(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		first string
		end   string
	}{
		{[]string{"log", "-f", "-n", "1"}, "[    8.641969]    -  klink: \\x1b[2Jbpf was unloaded\n", "halt"},
		{[]string{"log", "-f", "-n", "1", "--json"}, `{"lines":[{"number":7,"time":8641969000,"thread":-1,"text":"klink: \u001b[2Jbpf was unloaded"}],"next":8,"lost":0}` + "\n", "halt"},
		{[]string{"log", "-f", "-n", "0"}, "", "interrupt"},
	} {
		sys, _, errs := fake(t, nil)
		polled := make(chan bool, 10)
		hosts := api.NewLocal(func(api.HostConfig) (api.Service, error) {
			return &fakekernel.Kernel{Hook: func(call string) {
				if call == "log" {
					polled <- true
				}
			}}, nil
		}, t.Output())
		t.Cleanup(func() { _ = hosts.Close() })
		sys.Hosts = func() (api.Hosts, error) { return hosts, nil }
		written := make(syncWriter, 10)
		sys.Out = written
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if _, err := hosts.Start(ctx, "default", api.StartRequest{}); err != nil {
			t.Fatal(err)
		}
		ended := make(chan int, 1)
		go func() { ended <- Main(ctx, sys, tt.args) }()
		<-polled
		if tt.first != "" {
			if got := <-written; got != tt.first {
				t.Errorf("%q: %q, want %q", tt.args, got, tt.first)
			}
		}
		<-polled // it waits for more now
		if tt.end == "halt" {
			if err := hosts.Halt(ctx, "default"); err != nil {
				t.Fatal(err)
			}
		}
		if tt.end == "interrupt" {
			cancel()
		}
		if code := <-ended; code != 0 || errs.Len() > 0 {
			t.Errorf("%q: exit %d, %s", tt.args, code, errs)
		}
	}
	sys, _, errs := fake(t, nil)
	sys.In = strings.NewReader("boot\nlog -f")
	if code := Main(context.Background(), sys, []string{"run", "-"}); code != api.ExitUsage {
		t.Errorf("in a file: exit %d, %s", code, errs)
	}
}

// The compiler gets klink's options, then the user's, and headers that are there
// while it runs and gone afterwards.
func TestCompile(t *testing.T) {
	env := map[string]string{}
	sys, _, errs := fake(t, env)
	var ran [][]string
	sys.Execute = func(_ context.Context, argv []string, out io.Writer) error {
		if out != sys.Err {
			t.Error("the messages do not go to the standard error")
		}
		dir := includeDir(argv)
		if files, err := os.ReadDir(dir); err != nil || len(files) == 0 {
			t.Errorf("headers in %s: %v %v", dir, files, err)
		}
		ran = append(ran, argv)
		return nil
	}
	compile := func(want int, line string) [][]string {
		t.Helper()
		ran = nil
		errs.Reset()
		words, err := split(line)
		if err != nil {
			t.Fatal(err)
		}
		if code := Main(context.Background(), sys, words); code != want {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
		for _, argv := range ran {
			if _, err := os.Stat(includeDir(argv)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: the headers are still there: %v", line, err)
			}
		}
		return ran
	}
	expect := func(argv []string, compiler string, tail ...string) {
		t.Helper()
		if argv[0] != compiler || len(argv) < len(tail) || !slices.Equal(argv[len(argv)-len(tail):], tail) {
			t.Errorf("%q, want %s … %q", argv, compiler, tail)
		}
	}
	got := compile(0, "cc src/bpf.c xh.c -DA=1 -D B -I inc -O3 -Wall -g -- -std=c11 -D")
	if len(got) != 2 {
		t.Fatalf("%q", got)
	}
	user := []string{"-DA=1", "-DB", "-Iinc", "-Wall", "-O3", "-g", "-std=c11", "-D"}
	expect(got[0], "/usr/bin/cc", append(slices.Clone(user), "-c", "src/bpf.c", "-o", "src/bpf.kmod")...)
	expect(got[1], "/usr/bin/cc", append(slices.Clone(user), "-c", "xh.c", "-o", "xh.kmod")...)
	expect(compile(0, "cc bpf.c -o ../m.kmod")[0], "/usr/bin/cc", "-c", "bpf.c", "-o", "../m.kmod")
	cross := map[arch.Machine]string{arch.AMD64: "aarch64 /usr/bin/aarch64-linux-gnu-gcc", arch.ARM64: "x86-64 /usr/bin/x86_64-linux-gnu-gcc"}
	machine, program, _ := strings.Cut(cross[kernel.HostMachine()], " ")
	expect(compile(0, "cc a.c --machine "+machine)[0], program, "-c", "a.c", "-o", "a.kmod")
	env["KLINK_CC"] = "ccache 'my cc' -x"
	argv := compile(0, "cc a.c")[0]
	if !slices.Equal(argv[:3], []string{"/usr/bin/ccache", "my cc", "-x"}) {
		t.Errorf("%q", argv)
	}
	env["KLINK_CC"] = "missing-cc"
	compile(3, "cc a.c")
	if want := "klink: no C compiler for " + kernel.HostMachine().String() + ": there is no missing-cc; KLINK_CC names another\n"; errs.String() != want {
		t.Errorf("%s, want %s", errs, want)
	}
	env["KLINK_CC"] = "'"
	compile(2, "cc a.c")
}

// includeDir returns the directory of the headers among a compiler's arguments: the
// one in the directory for temporary files.
func includeDir(argv []string) string {
	for _, w := range argv {
		if i := strings.Index(w, os.TempDir()); i >= 0 {
			return w[i:]
		}
	}
	return ""
}

// A real program's output and end arrive.
func TestExecute(t *testing.T) {
	sys := OS()
	sh, err := sys.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := sys.Execute(context.Background(), []string{sh, "-c", "echo a; echo b >&2; exit 3"}, &out); err == nil || err.Error() != "exit status 3" || out.String() != "a\nb\n" {
		t.Errorf("%v %q", err, out.String())
	}
}

// Values cross as strings: JSON's numbers have 53 bits.
func TestValuesInJSON(t *testing.T) {
	sys, out, _ := fake(t, nil)
	for _, args := range [][]string{{"boot", "k.o"}, {"call", "sum", "-9223372036854775808", "--json"}} {
		out.Reset()
		if code := Main(context.Background(), sys, args); code != 0 {
			t.Fatal(args)
		}
	}
	var r kernel.CallReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Values) != 1 || r.Values[0].Value != -1<<63 || !strings.Contains(out.String(), `"-9223372036854775808"`) {
		t.Errorf("%s %v", out, err)
	}
}
