package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/fakekernel"
)

// TestMain lets the test binary be a host process.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "host" {
		signal.Reset()
		err := RunHost(os.Args[2], func(c HostConfig) (Service, error) {
			switch c.Machine {
			case "crash":
				os.Exit(9)
			case "pdp-11":
				return nil, diag.New(diag.ErrUsage, "", "no machine %q", c.Machine)
			}
			return &fakekernel.Kernel{Lost: c.Machine == "lost"}, nil
		})
		os.Exit(Exit(err))
	}
	os.Exit(m.Run())
}

// sockets returns hosts in a directory of their own, which end with the test.
func sockets(t *testing.T) *Sockets {
	t.Helper()
	s := &Sockets{Dir: filepath.Join(t.TempDir(), "klink"), Command: func(name string) (string, []string, error) {
		exe, err := os.Executable()
		return exe, []string{"host", name}, err
	}}
	t.Cleanup(func() {
		socks, _ := filepath.Glob(filepath.Join(s.Dir, "*.sock"))
		for _, f := range socks {
			name := strings.TrimSuffix(filepath.Base(f), ".sock")
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			if err := s.Halt(ctx, name); err != nil && !errors.Is(err, diag.ErrNoHost) {
				t.Errorf("halt: %v", err)
				_ = syscall.Kill(pid(t, s, name), syscall.SIGKILL) // it would outlive the test
			}
			cancel()
		}
	})
	return s
}

// limited returns a context that ends a wait for a host that hangs.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pid returns the process id that the host wrote down.
func pid(t *testing.T, s *Sockets, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir, name+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestHostLife(t *testing.T) {
	ctx := limited(t)
	s := sockets(t)
	if _, err := s.Dial(ctx, "default"); !errors.Is(err, diag.ErrNoHost) || Exit(err) != ExitNoHost {
		t.Errorf("dial: %v", err)
	}
	if err := s.Halt(ctx, "default"); !errors.Is(err, diag.ErrNoHost) {
		t.Errorf("halt: %v", err)
	}
	boot := StartRequest{Boot: []kernel.ModuleSpec{{As: "kernel", Files: []kernel.Source{{Name: "k.o", Path: "/k.o"}}}}}
	change, err := s.Start(ctx, "default", boot)
	if err != nil || len(change.Loaded) != 1 || change.Loaded[0].Name != "kernel" {
		t.Fatalf("start: %+v %v", change, err)
	}
	if _, err := s.Start(ctx, "default", boot); !errors.Is(err, diag.ErrBusy) {
		t.Errorf("second start: %v", err)
	}
	c, err := s.Dial(ctx, "default")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Load(ctx, load("bpf.kmod")); err != nil {
		t.Errorf("load: %v", err)
	}
	if l, err := c.List(ctx); err != nil || len(l) != 2 {
		t.Errorf("list: %v %v", l, err)
	}
	for file, mode := range map[string]os.FileMode{"": 0o700 | os.ModeDir, "default.sock": 0o600 | os.ModeSocket, "default.lock": 0o600, "default.log": 0o600} {
		if fi, err := os.Lstat(filepath.Join(s.Dir, file)); err != nil || fi.Mode() != mode {
			t.Errorf("%s: %v %v", file, fi.Mode(), err)
		}
	}
	n := pid(t, s, "default")
	if sid, err := unix.Getsid(n); err != nil || sid != n {
		t.Errorf("session of %d: %d %v", n, sid, err)
	}
	for fd, want := range map[string]string{"0": "/dev/null", "1": "/dev/null", "2": filepath.Join(s.Dir, "default.log")} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", n, fd)); err != nil || got != want {
			t.Errorf("fd %s: %s %v", fd, got, err)
		}
	}
	if err := s.Halt(ctx, "default"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(s.Dir, "default.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if running(n) {
		t.Errorf("process %d still runs", n)
	}
	if _, err := c.List(ctx); !errors.Is(err, diag.ErrNoHost) && !errors.Is(err, diag.ErrIO) {
		t.Errorf("list after halt: %v", err)
	}
}

// running reports whether the process exists and is no zombie.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, ok := strings.Cut(string(b), ") ")
	return err == nil && ok && !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

// A start that is refused leaves no host and says why.
func TestStartRefused(t *testing.T) {
	ctx := limited(t)
	s := sockets(t)
	r := load("undefined.o")
	for _, tt := range []struct {
		name string
		r    StartRequest
		want error
		text string
	}{
		{"load", StartRequest{Load: &r}, diag.ErrUndefined, `undefined.o:(.text+0x1a): R_X86_64_PLT32 against "bar": no provider`},
		{"config", StartRequest{Config: HostConfig{Machine: "pdp-11"}}, diag.ErrUsage, `no machine "pdp-11"`},
		{"crash", StartRequest{Config: HostConfig{Machine: "crash"}}, diag.ErrIO, `host "default" ended before it was ready; see `},
	} {
		if _, err := s.Start(ctx, "default", tt.r); !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := s.Dial(ctx, "default"); !errors.Is(err, diag.ErrNoHost) {
			t.Errorf("%s: a host runs: %v", tt.name, err)
		}
	}
}

// Loads at once, and no host yet: one host comes, and has all modules. Also after
// the host before them was killed and left its socket.
func TestConcurrentStarts(t *testing.T) {
	ctx := limited(t)
	s := sockets(t)
	for round := range 2 {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := Load(ctx, s, "default", load(fmt.Sprintf("m%d.o", i))); err != nil {
					t.Errorf("round %d: load %d: %v", round, i, err)
				}
			})
		}
		wg.Wait()
		c, err := s.Dial(ctx, "default")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := c.List(ctx); err != nil || len(l) != 8 {
			t.Errorf("round %d: %d modules, %v", round, len(l), err)
		}
		if round == 0 { // the second round finds the socket of a dead host
			signalAndWait(t, pid(t, s, "default"), syscall.SIGKILL)
			if _, err := os.Lstat(filepath.Join(s.Dir, "default.sock")); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
	}
}

// signalAndWait sends the process a signal and returns when it has exited.
func signalAndWait(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	if err := pollIn(limited(t), fd); err != nil {
		t.Fatal(err)
	}
}

// A host that still ends is waited for by the next start.
func TestStartWhileHalting(t *testing.T) {
	ctx := limited(t)
	s := sockets(t)
	for range 5 {
		if _, err := s.Start(ctx, "a", StartRequest{}); err != nil {
			t.Fatal(err)
		}
		c, err := s.Dial(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Halt(ctx); err != nil { // asked, not waited for
			t.Fatal(err)
		}
		c.Close()
		for { // until its listener is closed; it may still hold its lock
			if _, err := Load(ctx, s, "a", load("x.o")); err == nil {
				break
			} else if !errors.Is(err, diag.ErrBusy) && !errors.Is(err, diag.ErrIO) {
				t.Fatal(err)
			}
		}
		if err := s.Halt(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSignalHalts(t *testing.T) {
	ctx := limited(t)
	s := sockets(t)
	if _, err := s.Start(ctx, "sig", StartRequest{}); err != nil {
		t.Fatal(err)
	}
	signalAndWait(t, pid(t, s, "sig"), syscall.SIGTERM)
	if _, err := os.Lstat(filepath.Join(s.Dir, "sig.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// The directory may lie deeper than a socket's address is long.
func TestLongDirectory(t *testing.T) {
	s := sockets(t)
	s.Dir = filepath.Join(filepath.Dir(s.Dir), strings.Repeat("d", 200), "klink")
	if err := os.MkdirAll(filepath.Dir(s.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("n", maxHostName)
	if _, err := s.Start(limited(t), name, StartRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Halt(limited(t), name); err != nil {
		t.Fatal(err)
	}
}

// A directory that others could have prepared is refused.
func TestDirectoryChecks(t *testing.T) {
	base := t.TempDir()
	mk := func(name string, mode os.FileMode) string {
		p := filepath.Join(base, name)
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link, file := filepath.Join(base, "link"), filepath.Join(base, "file")
	if err := os.Symlink(mk("real", 0o700), link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link:                                "symbolic link",
		file:                                "not a directory",
		mk("open", 0o755):                   "open to other users (mode 0755)",
		filepath.Join(base, "no", "klink"):  "no such directory",
		filepath.Join(base, "file", "deep"): "no such directory",
	} {
		s := &Sockets{Dir: path}
		_, err := s.Start(context.Background(), "x", StartRequest{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := openDir(filepath.Join(base, "none"), false); !errors.Is(err, diag.ErrNoHost) {
		t.Errorf("no directory: %v", err)
	}
}

func TestRuntimeDir(t *testing.T) {
	env := func(v string) func(string) string { return func(string) string { return v } }
	if d, err := RuntimeDir(env("/run/x")); err != nil || d != "/run/x/klink" {
		t.Errorf("%s %v", d, err)
	}
	if _, err := RuntimeDir(env("x")); !errors.Is(err, diag.ErrUsage) {
		t.Errorf("relative: %v", err)
	}
	if d, err := RuntimeDir(env("")); err != nil || !filepath.IsAbs(d) {
		t.Errorf("%s %v", d, err)
	}
}

func TestCheckName(t *testing.T) {
	for _, s := range []string{"default", "a", "A.b_c-9", strings.Repeat("x", 64)} {
		if err := CheckName(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", ".", "..", "-x", "a/b", "a b", "ä", "a\x00", strings.Repeat("x", 65)} {
		if err := CheckName(s); !errors.Is(err, diag.ErrUsage) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// listen serves k on a socket in this process until the test ends.
func listen(t *testing.T, k Service, tm times) string {
	t.Helper()
	d, err := openDir(filepath.Join(t.TempDir(), "k"), true)
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.listen("x")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(k, t.Output())
	s.times = tm
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		s.Halt()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		d.close()
	})
	return filepath.Join(d.path, "x.sock")
}

// Peers that send rubbish or stall are cut off; the host answers others meanwhile
// and afterwards.
func TestHostileSocket(t *testing.T) {
	// Short is only the limit that is to be hit: a busy machine must not hit another.
	patient := times{header: time.Minute, request: time.Minute, answer: time.Minute, idle: 50 * time.Millisecond, halt: time.Minute}
	header, body := patient, patient
	header.header, body.request = 50*time.Millisecond, 50*time.Millisecond
	sock := listen(t, &fakekernel.Kernel{}, patient)
	inHeader, inBody := listen(t, &fakekernel.Kernel{}, header), listen(t, &fakekernel.Kernel{}, body)
	for _, tt := range []struct{ sock, name, send, want string }{
		{inHeader, "nothing", "", ""},
		{inHeader, "half a header", "POST /v1/list HT", ""},
		{inBody, "half a body", "POST /v1/list HTTP/1.1\r\nHost: k\r\nContent-Length: 10\r\n\r\n{", "the request broke off"},
		{inBody, "huge length", "POST /v1/list HTTP/1.1\r\nHost: k\r\nContent-Length: 99999999999\r\n\r\n{", "the request broke off"},
		{sock, "rubbish", "\x00\xff\x16\x03\x01 rubbish\r\n\r\n", "400 Bad Request"},
		{sock, "huge header", "POST /v1/list HTTP/1.1\r\nHost: k\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", "431 Request Header Fields Too Large"},
		{sock, "bad chunk", "POST /v1/list HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the request broke off"},
	} {
		c, err := net.Dial("unix", tt.sock)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(tt.send)); err != nil && tt.name != "huge header" {
			t.Errorf("%s: %v", tt.name, err)
		}
		var got strings.Builder
		if _, err := bufio.NewReader(c).WriteTo(&got); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !strings.Contains(got.String(), tt.want) {
			t.Errorf("%s: answer %q", tt.name, got.String())
		}
		_ = c.Close()
	}
	c := (&Sockets{Dir: filepath.Dir(sock)})
	client, err := c.Dial(context.Background(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.List(context.Background()); err != nil {
		t.Errorf("list: %v", err)
	}
}

// A request whose turn comes later than a request may take to arrive is done all
// the same: the limit is for its arrival.
func TestSlowKernel(t *testing.T) {
	const limit = 500 * time.Millisecond // in which a request arrives even on a busy emulated machine
	short := times{header: limit, request: limit, answer: time.Minute, idle: time.Minute, halt: time.Minute}
	inside, leave := make(chan bool), make(chan bool)
	sock := listen(t, &fakekernel.Kernel{Hook: func(call string) {
		if call == "load" {
			inside <- true
			<-leave
		}
	}}, short)
	hosts := &Sockets{Dir: filepath.Dir(sock)}
	results := make(chan error, 2)
	for _, f := range []string{"a.o", "b.o"} {
		go func() {
			_, err := Load(limited(t), hosts, "x", load(f))
			results <- err
		}()
	}
	for range 2 {
		<-inside
		time.Sleep(limit + limit/2) // beyond the limit, for the one that waits
		leave <- true
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

// A call lasts longer than a request may take to arrive, and ends when its client
// closes the connection. The limits grow until a request arrives in time.
func TestLongCall(t *testing.T) {
	for limit := 20 * time.Millisecond; ; limit *= 4 {
		short := times{header: limit, request: limit, answer: limit, idle: time.Minute, halt: time.Minute}
		hosts := &Sockets{Dir: filepath.Dir(listen(t, &fakekernel.Kernel{}, short))}
		c, err := hosts.Dial(limited(t), "x")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*limit)
		_, err = c.Call(ctx, kernel.CallRequest{Function: "forever"})
		cancel()
		if errors.Is(err, diag.ErrIO) && limit < time.Second {
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call: %v", err) // what ended first was not the client's patience
		}
		awaitJobs(t, c, 0)
		return
	}
}

// awaitJobs returns when the host has so many jobs. A question that was too slow for the
// host's limits, where they are short and the machine is busy, is asked again.
func awaitJobs(t *testing.T, c *Client, want int) {
	t.Helper()
	for ctx := limited(t); ; {
		jobs, err := c.Jobs(ctx)
		if errors.Is(err, diag.ErrIO) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatalf("waiting for %d jobs: %v", want, err)
		}
		if len(jobs) == want {
			return
		}
	}
}

// A host process halts although a call is under way, and tells it.
func TestHaltEndsCalls(t *testing.T) {
	ctx := limited(t)
	s := sockets(t)
	if _, err := s.Start(ctx, "x", StartRequest{}); err != nil {
		t.Fatal(err)
	}
	c, err := s.Dial(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, kernel.CallRequest{Function: "forever"})
		ended <- err
	}()
	other, err := s.Dial(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	awaitJobs(t, other, 1)
	if err := s.Halt(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, diag.ErrNoHost) {
		t.Errorf("call: %v", err)
	}
}

// Boot takes the place of a host whose runner is lost, and of no other.
func TestBootAfterLoss(t *testing.T) {
	ctx := limited(t)
	s := sockets(t)
	if _, err := Boot(ctx, s, "x", StartRequest{Config: HostConfig{Machine: "lost"}}); err != nil {
		t.Fatal(err)
	}
	lost := pid(t, s, "x")
	if _, err := Boot(ctx, s, "x", StartRequest{}); err != nil {
		t.Fatal(err)
	}
	fresh := pid(t, s, "x")
	if fresh == lost || running(lost) {
		t.Errorf("the lost host %d still runs", lost)
	}
	if _, err := Boot(ctx, s, "x", StartRequest{}); !errors.Is(err, diag.ErrBusy) || pid(t, s, "x") != fresh {
		t.Errorf("a host that works: %v", err)
	}
}

// Another user's process is turned away before it can say anything.
func TestPeerCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l := guard(inner, os.Geteuid()+1) // as if we were the other user
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second)) // if it is not turned away
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %d %v", n, err)
	}
	_ = l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}

// RunHost by hand says how hosts are started.
func TestRunHostByHand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(exe, []string{exe, "host", "x"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := p.Wait(); err != nil || st.ExitCode() != ExitUsage {
		t.Errorf("%v %v", st, err)
	}
}
