package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/fakekernel"
)

var mapRing = kernel.MapRequest{What: "ring"}

// openFds counts this process's descriptors.
func openFds(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A descriptor reaches the client, over a socket and in this process, with the report that
// the kernel gave, and nothing else stays open.
func TestMapCrosses(t *testing.T) {
	s := sockets(t)
	if _, err := s.Start(limited(t), "m", StartRequest{}); err != nil {
		t.Fatal(err)
	}
	overSocket, err := s.Dial(limited(t), "m")
	if err != nil {
		t.Fatal(err)
	}
	defer overSocket.Close()
	here, _, _ := inProcess(t, &fakekernel.Kernel{})
	for name, c := range map[string]*Client{"socket": overSocket, "process": here} {
		if _, err := c.List(limited(t)); err != nil { // the connection that was made first is used
			t.Fatal(err)
		}
		before := openFds(t)
		for range 3 {
			rep, f, err := c.Map(limited(t), mapRing)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if d := cmp.Diff(&kernel.MapReport{Symbol: "trace:ring", Name: "ring", Addr: 0x8000000010, Offset: 16, Size: 40}, rep); d != "" {
				t.Errorf("%s: %s", name, d)
			}
			b := make([]byte, 3)
			if _, err := f.ReadAt(b, 16); err != nil || string(b) != "012" {
				t.Errorf("%s: %q %v", name, b, err)
			}
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: flags %#x %v", name, flags, err)
			}
			if n := openFds(t); n != before+1 {
				t.Errorf("%s: %d descriptors, %d before", name, n, before)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		rep, f, err := c.Map(limited(t), kernel.MapRequest{What: "other"})
		if !errors.Is(err, diag.ErrRange) || rep != nil || f != nil || Exit(err) != ExitRefused {
			t.Errorf("%s: %v %v %v", name, rep, f, err)
		}
		if n := openFds(t); n != before {
			t.Errorf("%s: %d descriptors, %d before", name, n, before)
		}
		if _, err := c.List(limited(t)); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
	if err := s.Halt(limited(t), "m"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := overSocket.Map(limited(t), mapRing); !errors.Is(err, diag.ErrNoHost) {
		t.Errorf("no host: %v", err)
	}
}

// Over what is no unix socket there is no descriptor, and an error says so.
func TestMapNeedsSocket(t *testing.T) {
	c := NewClient(http.DefaultTransport, `host "x"`)
	if _, _, err := c.Map(limited(t), mapRing); !errors.Is(err, diag.ErrIO) {
		t.Error(err)
	}
}

// A host that answers otherwise than it should: the client says so, and keeps nothing.
func TestMapBadHosts(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
	const good = `{"symbol":"a:ring","name":"ring","addr":"0x8000000000","offset":16,"size":84}`
	whole := func(body string) string { return head + strconv.Itoa(len(body)) + "\r\n\r\n" + body }
	file, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(file) }()
	if err := unix.Ftruncate(file, 100); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, answer string
		fds          int
		want         string // "" is a success
	}{
		{"as it should", whole(good), 1, ""},
		{"several descriptors", whole(good), 5, ""},
		{"more than there is room for", whole(good), 40, ""},
		{"none", whole(good), 0, "no descriptor came with the answer"},
		{"nothing at all", "", 0, "EOF"},
		{"garbage", "\x00\x01 garbage\r\n\r\n", 2, "malformed HTTP"},
		{"half an answer", whole(good)[:120], 1, "EOF"},
		{"behind the file", whole(strings.Replace(good, "16", "17", 1)), 1, "84 bytes at 17 do not lie in the file of 100"},
		{"far behind the file", whole(strings.Replace(good, "16", "18446744073709551600", 1)), 1, "do not lie in the file"},
		{"no bytes", whole(strings.Replace(good, "84", "0", 1)), 1, "0 bytes at 16"},
		{"null", whole("null"), 1, "its answer is null"},
		{"not JSON", whole("{"), 1, "ended before it answered"},
		{"a refusal that ends well", "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: application/json\r\n\r\n" +
			`{"error":{"kind":"range","exit":256,"lines":["no"]}}`, 1, "its refusal cannot be read"},
		{"a refusal with a descriptor", "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: application/json\r\n\r\n" +
			`{"error":{"kind":"range","exit":1,"lines":["no"]}}`, 1, "no"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := openFds(t)
			c := NewClient(&closer{&http.Transport{DialContext: badHost(t, file, tt.answer, tt.fds)}, nil}, `host "x"`)
			_, f, err := c.Map(limited(t), mapRing)
			switch {
			case tt.want == "" && (err != nil || f == nil):
				t.Errorf("%v %v", f, err)
			case tt.want != "" && (f != nil || err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v %v", f, err)
			}
			if f != nil {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			for end := time.Now().Add(time.Minute); openFds(t) > before; time.Sleep(time.Millisecond) { // the other side's, too
				if time.Now().After(end) {
					t.Fatalf("%d descriptors, %d before", openFds(t), before)
				}
			}
		})
	}
}

// badHost dials a peer that reads a request and answers, with so many copies of a
// descriptor.
func badHost(t *testing.T, file int, answer string, fds int) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		var conns [2]*net.UnixConn
		for i, fd := range pair {
			f := os.NewFile(uintptr(fd), "pair")
			c, err := net.FileConn(f)
			if err != nil {
				return nil, err
			}
			if err := f.Close(); err != nil {
				return nil, err
			}
			conns[i] = c.(*net.UnixConn)
		}
		go func() {
			defer func() { _ = conns[1].Close() }()
			r, err := http.ReadRequest(bufio.NewReader(conns[1]))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
			rights := make([]int, fds)
			for i := range rights {
				rights[i] = file
			}
			if answer == "" {
				return
			}
			if _, _, err := conns[1].WriteMsgUnix([]byte(answer), unix.UnixRights(rights...), nil); err != nil {
				t.Error(err)
			}
		}()
		return conns[0], nil
	}
}

// A host that never answers is given up when the context ends.
func TestMapCanceled(t *testing.T) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	var d net.Dialer
	c := NewClient(&closer{&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", ln.Addr().String())
	}}, nil}, `host "x"`)
	ctx, cancel := context.WithCancel(limited(t))
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, _, err := c.Map(ctx, mapRing); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
