package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// Sockets are the hosts that are processes of their own.
type Sockets struct {
	// Dir is the directory of their sockets, see RuntimeDir.
	Dir string
	// Command returns the program and arguments that run RunHost for a host of that name.
	Command func(name string) (path string, args []string, err error)
}

// Dial implements Hosts. The connection is made here and now, so that a host that
// is not there is known before anything is asked.
func (s *Sockets) Dial(ctx context.Context, name string) (*Client, error) {
	d, err := openDir(s.Dir, false)
	if err != nil {
		return nil, named(err, name)
	}
	defer d.close()
	c, err := d.dial(ctx, name)
	if err != nil {
		return nil, named(err, name)
	}
	return s.client(c, name), nil
}

// named gives a bare ErrNoHost the host's name.
func named(err error, name string) error {
	if errors.Is(err, diag.ErrNoHost) {
		return noHost(name)
	}
	return err
}

// client returns a client that begins with the connection c.
func (s *Sockets) client(c net.Conn, name string) *Client {
	var first atomic.Pointer[net.Conn]
	first.Store(&c)
	t := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if c := first.Swap(nil); c != nil {
				return *c, nil
			}
			d, err := openDir(s.Dir, false)
			if err != nil {
				return nil, err
			}
			defer d.close()
			return d.dial(ctx, name)
		},
	}
	return NewClient(&closer{t, &first}, hostName(name))
}

// closer is a transport that also closes a first connection that nothing was sent over.
type closer struct {
	*http.Transport
	first *atomic.Pointer[net.Conn]
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (t *closer) CloseIdleConnections() {
	if c := t.first.Swap(nil); c != nil {
		_ = (*c).Close()
	}
	t.Transport.CloseIdleConnections()
}

// Start implements Hosts. It returns when the host listens, or has ended because it
// could not begin. Of several starts at once, one makes the host.
func (s *Sockets) Start(ctx context.Context, name string, r StartRequest) (*kernel.Change, error) {
	if d := filepath.Dir(s.Dir); !isDir(d) {
		return nil, diag.New(diag.ErrIO, d, "no such directory; klink keeps its sockets there (XDG_RUNTIME_DIR)")
	}
	d, err := openDir(s.Dir, true)
	if err != nil {
		return nil, err
	}
	defer d.close()
	starting, err := d.open(startFile(name), unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer func() { _ = starting.Close() }()
	if err := lock(ctx, starting); err != nil {
		return nil, err
	}
	switch c, err := d.dial(ctx, name); {
	case err == nil:
		_ = c.Close()
		return nil, hostRuns(name)
	case !errors.Is(err, diag.ErrNoHost):
		return nil, err
	}
	return s.spawn(ctx, d, starting, name, r)
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// startAnswer is what a new host says about its start: one of the two.
type startAnswer struct {
	Change *kernel.Change `json:"change,omitempty"`
	Error  *Fault         `json:"error,omitempty"`
}

// The descriptors that a host process finds, from 3 on.
const (
	fdRequest  = 3 + iota // pipe: a StartRequest comes, then the end
	fdAnswer              // pipe: a startAnswer goes, once it listens or fails
	fdDir                 // the runtime directory
	fdStarting            // the start lock, held until it listens
)

// spawn runs the host process and gives it r; it returns the host's answer.
func (s *Sockets) spawn(ctx context.Context, d *dir, starting *os.File, name string, r StartRequest) (*kernel.Change, error) {
	path, args, err := s.Command(name)
	if err != nil {
		return nil, err
	}
	request, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	reqR, reqW, err := os.Pipe()
	if err != nil {
		return nil, ioError("", "make a pipe", err)
	}
	ansR, ansW, err := os.Pipe()
	if err != nil {
		_, _ = reqR.Close(), reqW.Close()
		return nil, ioError("", "make a pipe", err)
	}
	defer func() { _ = ansR.Close() }()
	cmd := exec.Cmd{
		Path: path, Args: append([]string{path}, args...), Dir: "/",
		ExtraFiles:  []*os.File{reqR, ansW, d.f, starting},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	_, _ = reqR.Close(), ansW.Close() // the host has its own
	if err != nil {
		_ = reqW.Close()
		return nil, ioError(path, "run", err)
	}
	exited := make(chan struct{})
	go func() { // no zombie, if this process lives on
		_ = cmd.Wait()
		close(exited)
	}()
	go func() {
		_, _ = reqW.Write(request) // a host that ended says so by its answer
		_ = reqW.Close()
	}()
	stop := context.AfterFunc(ctx, func() { _ = ansR.Close() })
	defer stop()
	answer, err := io.ReadAll(ansR)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var a startAnswer
	defer func() {
		if a.Change == nil { // a start that failed leaves no process when it returns
			select {
			case <-exited:
			case <-ctx.Done():
			}
		}
	}()
	if err != nil || json.NewDecoder(bytes.NewReader(answer)).Decode(&a) != nil || (a.Change == nil) == (a.Error == nil) || a.Error != nil && !a.Error.sound() {
		return nil, diag.New(diag.ErrIO, "", "%s ended before it was ready; see %s", hostName(name),
			diag.Escape(filepath.Join(d.path, logFile(name))))
	}
	if a.Error != nil {
		return nil, a.Error
	}
	return a.Change, nil
}

// Halt implements Hosts: the socket is removed and the process has exited when it
// returns.
func (s *Sockets) Halt(ctx context.Context, name string) error {
	d, err := openDir(s.Dir, false)
	if err != nil {
		return named(err, name)
	}
	defer d.close()
	c, err := d.dial(ctx, name)
	if err != nil {
		return named(err, name)
	}
	gone, err := onExit(ctx, c, d, name)
	client := s.client(c, name)
	defer client.Close()
	if err != nil {
		return err
	}
	if err := client.Halt(ctx); err != nil {
		return errors.Join(err, gone(false))
	}
	return gone(true)
}

// onExit returns a function that waits (or not) for the process at the other end
// of c to exit, and then gives back what it held to do so.
func onExit(ctx context.Context, c net.Conn, d *dir, name string) (func(wait bool) error, error) {
	cred, err := peer(c)
	if err != nil {
		return nil, ioError("", "ask for the host's process", err)
	}
	if pidfd, err := unix.PidfdOpen(int(cred.Pid), 0); err == nil {
		return func(wait bool) error {
			defer func() { _ = unix.Close(pidfd) }()
			if !wait {
				return nil
			}
			return pollIn(ctx, pidfd)
		}, nil
	}
	// No pidfd (an old system, another pid namespace): the host holds its lock while it lives.
	f, err := d.open(lockFile(name), unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return func(wait bool) error {
		defer func() { _ = f.Close() }()
		if !wait {
			return nil
		}
		return lock(ctx, f)
	}, nil
}

// pollIn waits until fd is readable or ctx ends.
func pollIn(ctx context.Context, fd int) error {
	ready := make(chan error, 1)
	go func() {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				ready <- err
				return
			}
		}
	}()
	select {
	case err := <-ready:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
