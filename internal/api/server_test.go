package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/fakekernel"
)

// load is a request for the modules in the files.
func load(files ...string) kernel.LoadRequest {
	var r kernel.LoadRequest
	for _, f := range files {
		r.Modules = append(r.Modules, kernel.ModuleSpec{Files: []kernel.Source{{Name: f, Path: "/" + f}}})
	}
	return r
}

// inProcess returns a client of k without a socket, and the server's log.
func inProcess(t *testing.T, k *fakekernel.Kernel) (*Client, *Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s := NewServer(k, &log)
	return NewClient(handlerTransport{s}, `host "test"`), s, &log
}

// Every command's answer arrives as the kernel gave it.
func TestAnswersCross(t *testing.T) {
	ctx := context.Background()
	k, twin := &fakekernel.Kernel{}, &fakekernel.Kernel{}
	c, _, _ := inProcess(t, k)
	same := func(what string, got, want any, err, wantErr error) {
		t.Helper()
		if err != nil || wantErr != nil {
			t.Errorf("%s: %v, %v", what, err, wantErr)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	boot := []kernel.ModuleSpec{{As: "kernel", Files: []kernel.Source{{Name: "k.o", Path: "/k.o"}}}}
	for _, f := range []*fakekernel.Kernel{k, twin} {
		if _, err := f.Boot(ctx, boot); err != nil {
			t.Fatal(err)
		}
	}
	gotC, err := c.Load(ctx, load("bpf.kmod", "xh.kmod"))
	wantC, wantErr := twin.Load(ctx, load("bpf.kmod", "xh.kmod"))
	same("load", gotC, wantC, err, wantErr)
	gotL, err := c.List(ctx)
	same("list", gotL, twin.List(), err, nil)
	gotI, err := c.Info(ctx, "bpf")
	wantI, wantErr := twin.Info("bpf")
	same("info", gotI, wantI, err, wantErr)
	gotA, err := c.Alias(ctx, []string{"bpf_attach"}, false)
	wantA, wantErr := twin.Alias([]string{"bpf_attach"}, false)
	same("alias", gotA, wantA, err, wantErr)
	gotS, err := c.Sites(ctx, kernel.SitesRequest{Module: "bpf"})
	wantS, wantErr := twin.Sites(kernel.SitesRequest{Module: "bpf"})
	same("sites", gotS, wantS, err, wantErr)
	gotY, err := c.Symbols(ctx, []string{"b*"}, "")
	wantY, wantErr := twin.Symbols([]string{"b*"}, "")
	same("symbols", gotY, wantY, err, wantErr)
	gotD, err := c.Disassemble(ctx, "if_input")
	wantD, wantErr := twin.Disassemble("if_input")
	same("disassemble", gotD, wantD, err, wantErr)
	gotT, err := c.Status(ctx)
	same("status", gotT, twin.Status(), err, nil)
	gotU, err := c.Unload(ctx, kernel.UnloadRequest{Modules: []string{"bpf"}, DryRun: true})
	wantU, wantErr := twin.Unload(ctx, kernel.UnloadRequest{Modules: []string{"bpf"}, DryRun: true})
	same("unload", gotU, wantU, err, wantErr)
	for _, r := range []kernel.CallRequest{
		{Function: "sum", Args: []kernel.Arg{{Word: 1<<64 - 1}, {Text: "ä\x00\"", IsText: true}}, Limit: -1},
		{Function: "count", Threads: 2, Times: 400},
		{Function: "boom", Threads: 2, Times: 3, Detach: true},
		{Function: "lost"},
	} {
		got, err := c.Call(ctx, r)
		want, wantErr := twin.Call(ctx, r)
		same("call "+r.Function, got, want, err, wantErr)
	}
	gotJ, err := c.Jobs(ctx)
	same("jobs", gotJ, twin.Jobs(), err, nil)
	gotW, err := c.Wait(ctx, kernel.WaitRequest{Jobs: []int{3}, Limit: 1})
	wantW, wantErr := twin.Wait(ctx, kernel.WaitRequest{Jobs: []int{3}, Limit: 1})
	same("wait", gotW, wantW, err, wantErr)
	gotG, err := c.Log(ctx, kernel.LogRequest{From: 1, Max: 3})
	wantG, wantErr := twin.Log(ctx, kernel.LogRequest{From: 1, Max: 3})
	same("log", gotG, wantG, err, wantErr)
	gotP, err := c.Threads(ctx)
	wantP, wantErr := twin.Threads()
	same("threads", gotP, wantP, err, wantErr)
	gotR, err := c.Read(ctx, kernel.ReadRequest{What: "counter", Len: 300})
	wantR, wantErr := twin.Read(kernel.ReadRequest{What: "counter", Len: 300})
	same("read", gotR, wantR, err, wantErr)
}

// An error keeps kind, exit code and lines on its way.
func TestErrorsCross(t *testing.T) {
	ctx := context.Background()
	c, _, _ := inProcess(t, &fakekernel.Kernel{})
	_, err := c.Load(ctx, load("undefined.o", "a.o", "undefined2.o"))
	want := &Fault{Kind: "undefined", Exit: 1, Lines: []string{
		`undefined.o:(.text+0x1a): R_X86_64_PLT32 against "bar": no provider`,
		`undefined2.o:(.text+0x1a): R_X86_64_PLT32 against "bar": no provider`,
	}}
	if d := cmp.Diff(want, err); d != "" || !errors.Is(err, diag.ErrUndefined) || errors.Is(err, diag.ErrNotFound) {
		t.Errorf("load: %v\n%s", err, d)
	}
	if _, err := c.Info(ctx, "x"); !errors.Is(err, diag.ErrNotFound) || Exit(err) != ExitNotFound {
		t.Errorf("info: %v", err)
	}
	// Causes of different exit codes: refused.
	if _, err := c.Load(ctx, load("undefined.o", "missing.o")); Exit(err) != ExitRefused || len(diag.Lines(err)) != 2 {
		t.Errorf("mixed: %v exit %d", err, Exit(err))
	}
	if _, err := c.Load(ctx, load("missing1.o", "missing2.o")); Exit(err) != ExitNotFound {
		t.Errorf("all missing: %v exit %d", err, Exit(err))
	}
}

// Every sentinel has an exit code, and its own name comes back as itself.
func TestKinds(t *testing.T) {
	sentinels := []error{
		diag.ErrMalformed, diag.ErrUnsupported, diag.ErrUndefined, diag.ErrDuplicate, diag.ErrRange, diag.ErrAlign,
		diag.ErrInsn, diag.ErrTextChanged, diag.ErrConflict, diag.ErrNeeded, diag.ErrNoSpace, diag.ErrMachine,
		diag.ErrNotFound, diag.ErrBusy, diag.ErrNoHost, diag.ErrUsage, diag.ErrIO,
		diag.ErrRefused, diag.ErrFault, diag.ErrLost, diag.ErrDraining,
	}
	for err, want := range map[error]int{diag.ErrRefused: 1, diag.ErrFault: 6, diag.ErrLost: 6, diag.ErrDraining: 7} {
		if got := Exit(fmt.Errorf("x: %w", err)); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
	for _, s := range sentinels {
		f := NewFault(fmt.Errorf("wrapped: %w", diag.New(s, "f", "text")))
		if f.Kind == kindInternal || f.Exit == 0 {
			t.Errorf("%v has no row in kinds", s)
		}
		for _, o := range sentinels {
			if errors.Is(f, o) != errors.Is(s, o) {
				t.Errorf("a fault of %v: Is(%v) = %v", s, o, errors.Is(f, o))
			}
		}
	}
	if f := NewFault(errors.New("boom")); f.Kind != kindInternal || f.Exit != ExitRefused {
		t.Errorf("another error: %+v", f)
	}
	if f := NewFault(&os.PathError{Op: "open", Path: "x", Err: os.ErrNotExist}); f.Exit != ExitNotFound {
		t.Errorf("a missing file: %+v", f)
	}
}

// The errors of several requests become one, with every root cause; no line is lost,
// whatever they came in.
func TestFaultsJoin(t *testing.T) {
	fault := func(kind string, exit int, lines ...string) *Fault {
		return &Fault{Kind: kind, Exit: exit, Lines: lines}
	}
	list := func(errs ...error) error {
		var l diag.List
		for _, err := range errs {
			l.Add(err)
		}
		return l.Err()
	}
	many := func(prefix string, n int) (lines []string) {
		for i := range n {
			lines = append(lines, fmt.Sprintf("%s%02d: gone", prefix, i))
		}
		return lines
	}
	one := fault("not-found", ExitNotFound, "z: gone", "a: gone", "and 3 more")
	for _, tt := range []struct {
		what string
		err  error
		want *Fault
	}{
		{"one as it is", one, one},
		{"one wrapped", fmt.Errorf("around: %w", one), one},
		{"two", list(fault("not-found", ExitNotFound, "b: gone"), fault("not-found", ExitNotFound, "a: gone")),
			fault("not-found", ExitNotFound, "a: gone", "b: gone")},
		{"the same twice", list(fault("no-host", ExitNoHost, "not there"), fault("no-host", ExitNoHost, "not there")),
			fault("no-host", ExitNoHost, "not there")},
		{"joined", errors.Join(fault("busy", ExitBusy, "b: busy"), diag.New(diag.ErrNotFound, "a", "gone")),
			fault("not-found", ExitRefused, "a: gone", "b: busy")},
		{"a list and what came after it", errors.Join(list(diag.New(diag.ErrRange, "b.o", "far"), diag.New(diag.ErrRange, "a.o", "far")), diag.New(diag.ErrIO, "image", "disk full")),
			fault("range", ExitRefused, "a.o: far", "b.o: far", "image: disk full")},
		{"a kind of another klink's", list(fault("moon", 7, "b: full"), fault("moon", 7, "a: full")),
			fault("moon", 7, "a: full", "b: full")},
		{"too many", list(fault("range", ExitRefused, append(many("a", diag.MaxErrors), "and 5 more")...), fault("range", ExitRefused, many("b", 2)...)),
			fault("range", ExitRefused, append(many("a", diag.MaxErrors), "and 7 more")...)},
	} {
		if d := cmp.Diff(tt.want, NewFault(tt.err)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, d)
		}
	}
	// Words around errors that are no list are the message.
	f := NewFault(fmt.Errorf("the switch broke off: %w", errors.Join(diag.ErrTextChanged, diag.ErrRange)))
	if f.Kind != "range" || f.Lines[0] != "the switch broke off: text changed" {
		t.Errorf("%+v", f)
	}
}

// post sends a raw request to s.
func post(t *testing.T, s http.Handler, method, path string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://klink"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (handlerTransport{s}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Whatever comes in gets one clear line.
func TestBadRequests(t *testing.T) {
	_, s, _ := inProcess(t, &fakekernel.Kernel{})
	deep := `{"modules":` + strings.Repeat("[", 20000)
	for _, tt := range []struct {
		name, method, path, body, want string
	}{
		{"method", "GET", pathList, "", "/v1/list takes POST, not GET"},
		{"path", "POST", "/v1/fly", "{}", `the host has no command \"/v1/fly\"; it may be of another version: klink halt`},
		{"old version", "POST", "/v2/list", "{}", "of another version"},
		{"empty", "POST", pathList, "", "the request is not a JSON object"},
		{"array", "POST", pathLoad, "[]", "not a JSON object"},
		{"null", "POST", pathLoad, "null", "not a JSON object"},
		{"garbage", "POST", pathLoad, "{\x00\xff\x1b[31m}", "cannot be understood"},
		{"unknown field", "POST", pathLoad, `{"modulez":[]}`, `unknown field`},
		{"type", "POST", pathLoad, `{"modules":5}`, "cannot be understood"},
		{"long", "POST", pathLoad, `{"` + strings.Repeat("\U0001f600", 4000) + `":1}`, "cannot be understood"},
		{"twice", "POST", pathList, "{}{}", "goes on after its end"},
		{"deep", "POST", pathLoad, deep, "cannot be understood"},
		{"huge", "POST", pathLoad, `{"modules":"` + strings.Repeat("x", maxRequest) + `"}`, "larger than 16777216 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := post(t, s, tt.method, tt.path, strings.NewReader(tt.body))
			checkRefusal(t, status, body)
			if !strings.Contains(body, tt.want) {
				t.Errorf("%s\nlacks %s", body, tt.want)
			}
		})
	}
	if status, body := post(t, s, "POST", pathList, strings.NewReader(" {} \n")); status != 200 {
		t.Errorf("afterwards: %d %s", status, body)
	}
}

// checkRefusal fails unless the answer is an error of exactly one printable line.
func checkRefusal(t *testing.T, status int, body string) {
	t.Helper()
	var e struct{ Error *Fault }
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == nil {
		t.Fatalf("%d: no error in %q: %v", status, body, err)
	}
	if status < 400 || e.Error.Exit == 0 || len(e.Error.Lines) != 1 || len(e.Error.Lines[0]) > 1000 {
		t.Errorf("%d: %+v", status, e.Error)
	}
	for _, r := range e.Error.Lines[0] {
		if r < ' ' || r == 0x7f {
			t.Errorf("control character in %q", e.Error.Lines[0])
		}
	}
}

// A panic in the kernel is that request's error; the host goes on.
func TestPanic(t *testing.T) {
	k := &fakekernel.Kernel{Hook: func(call string) {
		if call == "load" {
			panic("index out of range")
		}
	}}
	c, _, log := inProcess(t, k)
	for range 2 { // the turn came back, too
		_, err := c.Load(context.Background(), load("a.o"))
		var f *Fault
		if !errors.As(err, &f) || f.Kind != kindInternal || !strings.Contains(err.Error(), "index out of range") {
			t.Errorf("load: %v", err)
		}
	}
	if _, err := c.List(context.Background()); err != nil {
		t.Errorf("list: %v", err)
	}
	if !strings.Contains(log.String(), "BUG:") {
		t.Errorf("log: %s", log)
	}
}

// A change whose client has gone before its turn is not done; looking goes on
// meanwhile, and after a halt no change begins.
func TestTurn(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	loads := 0
	k := &fakekernel.Kernel{}
	k.Hook = func(call string) {
		if call == "load" {
			loads++
			inside <- true
			<-leave
		}
	}
	c, s, _ := inProcess(t, k)
	first := make(chan error, 1)
	go func() {
		_, err := c.Load(context.Background(), load("a.o"))
		first <- err
	}()
	<-inside
	ctx, gone := context.WithCancel(context.Background())
	second := make(chan error, 1)
	go func() {
		_, err := c.Load(ctx, load("b.o"))
		second <- err
	}()
	if _, err := c.List(context.Background()); err != nil {
		t.Errorf("list during a load: %v", err)
	}
	gone()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("second load: %v", err)
	}
	s.Halt()
	leave <- true
	if err := <-first; err != nil {
		t.Errorf("first load: %v", err)
	}
	if _, err := c.Load(context.Background(), load("c.o")); !errors.Is(err, diag.ErrBusy) {
		t.Errorf("load after halt: %v", err)
	}
	if loads != 1 {
		t.Errorf("%d loads began", loads)
	}
}

// A call and a wait take no change's turn. They end when their client goes away, the
// job itself only if it is the call's own, and when the host halts.
func TestWaits(t *testing.T) {
	entered := make(chan string, 1)
	c, s, _ := inProcess(t, &fakekernel.Kernel{Hook: func(call string) {
		if call == "call" || call == "wait" || call == "log" {
			entered <- call
		}
	}})
	job, err := c.Call(context.Background(), kernel.CallRequest{Function: "forever", Detach: true})
	if err != nil || job.State != kernel.JobRunning {
		t.Fatalf("%+v %v", job, err)
	}
	<-entered
	long := map[string]func(context.Context) error{
		"call": func(ctx context.Context) error {
			_, err := c.Call(ctx, kernel.CallRequest{Function: "forever"})
			return err
		},
		"wait": func(ctx context.Context) error { _, err := c.Wait(ctx, kernel.WaitRequest{}); return err },
		"log": func(ctx context.Context) error {
			_, err := c.Log(ctx, kernel.LogRequest{From: 1 << 40, Wait: 1 << 60})
			return err
		},
	}
	results := map[string]chan error{}
	begin := func(ctx context.Context) {
		for name, f := range long {
			results[name] = make(chan error, 1)
			go func() { results[name] <- f(ctx) }()
			<-entered
		}
	}
	ctx, gone := context.WithCancel(context.Background())
	begin(ctx)
	if _, err := c.Load(context.Background(), load("a.o")); err != nil {
		t.Errorf("load meanwhile: %v", err)
	}
	gone()
	for name, r := range results {
		if err := <-r; !errors.Is(err, context.Canceled) {
			t.Errorf("%s whose client is gone: %v", name, err)
		}
	}
	if jobs, err := c.Jobs(context.Background()); err != nil || len(jobs) != 1 {
		t.Errorf("the job that was waited for: %+v %v", jobs, err)
	}
	begin(context.Background())
	s.Halt()
	for name, r := range results {
		if err := <-r; !errors.Is(err, diag.ErrNoHost) || err.Error() != "the host was halted before this was over" {
			t.Errorf("%s in a host that halts: %v", name, err)
		}
	}
	if err := long["call"](context.Background()); !errors.Is(err, diag.ErrNoHost) {
		t.Errorf("a call after the halt: %v", err)
	}
}

// Those that wait leave room for others.
func TestWaitingIsBounded(t *testing.T) {
	entered := make(chan string, 1)
	c, s, _ := inProcess(t, &fakekernel.Kernel{Hook: func(call string) {
		if call == "call" {
			entered <- call
		}
	}})
	forever := func() error {
		_, err := c.Call(context.Background(), kernel.CallRequest{Function: "forever"})
		return err
	}
	ended := make(chan error)
	for range maxWaiting {
		go func() { ended <- forever() }()
		<-entered
	}
	if err := forever(); !errors.Is(err, diag.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	if _, err := c.List(context.Background()); err != nil {
		t.Errorf("list: %v", err)
	}
	s.Halt()
	for range maxWaiting {
		if err := <-ended; !errors.Is(err, diag.ErrNoHost) {
			t.Fatal(err)
		}
	}
	if len(s.waiting) != 0 {
		t.Errorf("%d places are not given back", len(s.waiting))
	}
}

// FuzzDecode throws anything at every route: the answer is a success or one clear
// line.
func FuzzDecode(f *testing.F) {
	paths := append(slices.Clone(routes), pathHalt, "/", "/v1/\x7f")
	for i, body := range []string{
		`{"modules":[{"files":[{"name":"a.o","path":"/a.o"}]}],"dryRun":true}`, `{"modules":["bpf"]}`, `{}`,
		`{"function":"sum","args":[{"word":"18446744073709551615"}],"detach":true,"limit":-1}`, `{"jobs":[1,-1]}`, `{"from":7,"max":-1,"wait":1}`,
		`{"module":"x"}`, `{"symbols":["a"],"all":true}`, `{"symbols":null}`, `{"patterns":["[",""]}`, `{"what":"\u001b"}`, "",
		`{"` + strings.Repeat("\xfa", 2*maxWords) + `":1}`, // a line that grows as it is escaped
	} {
		f.Add(byte(i), []byte(body))
	}
	k := &fakekernel.Kernel{Hook: func(call string) {
		if call == "load" || call == "boot" {
			panic(quiet{}) // the fake's load trusts its request
		}
	}}
	f.Fuzz(func(t *testing.T, path byte, body []byte) {
		s := NewServer(k, io.Discard) // one of its own: it may be halted
		code, b, ok := ask(t, s, paths[int(path)%len(paths)], body, 10*time.Millisecond)
		if !ok {
			return
		}
		if code != http.StatusOK {
			checkRefusal(t, code, string(b))
		} else if !json.Valid(b) {
			t.Errorf("no JSON: %q", b)
		}
	})
}

// quiet is a panic whose text is short.
type quiet struct{}
