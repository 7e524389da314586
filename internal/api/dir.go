package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
)

// maxHostName keeps "/proc/self/fd/N/NAME.sock" far below the 108 bytes that a
// socket's address may have.
const maxHostName = 64

// CheckName returns nil if name may name a host: it becomes a file's name, so it
// is 1 to 64 letters, digits, ".", "_" and "-", and begins with a letter or digit.
func CheckName(name string) error {
	ok := len(name) > 0 && len(name) <= maxHostName
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = letter || i > 0 && (c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return diag.New(diag.ErrUsage, "", "%s cannot name a host: use 1 to %d letters, digits and ._-",
			diag.Quote(name), maxHostName)
	}
	return nil
}

// hostName is how messages name a host.
func hostName(name string) string { return "host " + diag.Quote(name) }

// noHost is the error for a host that does not run.
func noHost(name string) error {
	return diag.New(diag.ErrNoHost, "", "%s is not running; klink boot or klink load starts it", hostName(name))
}

// errHostRuns tells this way of being busy from a host's own refusals.
var errHostRuns = fmt.Errorf("host runs: %w", diag.ErrBusy)

// hostRuns is the error for a host that runs already.
func hostRuns(name string) error {
	return diag.New(errHostRuns, "", "%s is booted already; klink halt ends it", hostName(name))
}

// RuntimeDir returns the path of the directory for hosts' sockets:
// $XDG_RUNTIME_DIR/klink, else /run/user/UID/klink, else klink-UID in the
// directory for temporary files.
func RuntimeDir(getenv func(string) string) (string, error) {
	if d := getenv("XDG_RUNTIME_DIR"); d != "" {
		if !filepath.IsAbs(d) {
			return "", diag.New(diag.ErrUsage, "", "XDG_RUNTIME_DIR is %s, not an absolute path", diag.Quote(d))
		}
		return filepath.Join(d, "klink"), nil
	}
	uid := os.Geteuid()
	d := filepath.Join("/run/user", strconv.Itoa(uid))
	var st unix.Stat_t
	if unix.Lstat(d, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == uid {
		return filepath.Join(d, "klink"), nil
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("klink-%d", uid)), nil
}

// dir is an open runtime directory. All that is done in it goes through the
// descriptor, so nobody can put another directory in its place meanwhile.
type dir struct {
	f    *os.File
	path string
}

// openDir opens the runtime directory at path, and makes it if create says so.
// Only a real directory of our own, closed to others, will do. Without create the
// error is diag.ErrNoHost if there is none.
func openDir(path string, create bool) (*dir, error) {
	if create {
		if err := unix.Mkdir(path, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, ioError(path, "make the directory", err)
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT) && !create:
		return nil, diag.ErrNoHost
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, diag.New(diag.ErrIO, path, "not a directory, or reached through a symbolic link; klink keeps its sockets there")
	case err != nil:
		return nil, ioError(path, "open", err)
	}
	d := &dir{f: os.NewFile(uintptr(fd), path), path: path}
	if err := d.check(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// check refuses a directory that others own or may enter.
func (d *dir) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return ioError(d.path, "stat", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return diag.New(diag.ErrIO, d.path, "not a directory")
	case int(st.Uid) != os.Geteuid():
		return diag.New(diag.ErrIO, d.path, "belongs to user %d, not to user %d", st.Uid, os.Geteuid())
	case st.Mode&0o077 != 0:
		return diag.New(diag.ErrIO, d.path, "open to other users (mode %#o); it must have mode 0700", st.Mode&0o777)
	}
	return nil
}

func (d *dir) fd() int { return int(d.f.Fd()) }
func (d *dir) close()  { _ = d.f.Close() }

// open opens, and makes if need be, a file of the directory, 0600, never through a link.
func (d *dir) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(d.fd(), name, flags|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, ioError(filepath.Join(d.path, name), "open", err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// remove unlinks a file of the directory; one that is not there is fine.
func (d *dir) remove(name string) error {
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return ioError(filepath.Join(d.path, name), "remove", err)
	}
	return nil
}

// The files of a host called NAME.
func sockFile(name string) string  { return name + ".sock" }     // where it listens
func lockFile(name string) string  { return name + ".lock" }     // locked while it lives; holds its process id
func startFile(name string) string { return name + ".starting" } // locked while somebody starts it
func logFile(name string) string   { return name + ".log" }      // its standard error

// sockPath is an address of the host's socket that is short wherever the directory lies.
func (d *dir) sockPath(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.fd(), sockFile(name))
}

// listen binds the host's socket. The caller holds the host's lock, so a socket
// that is there belongs to a dead host.
func (d *dir) listen(name string) (net.Listener, error) {
	if err := d.remove(sockFile(name)); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.sockPath(name), Net: "unix"})
	if err != nil {
		return nil, ioError(filepath.Join(d.path, sockFile(name)), "listen", err)
	}
	l.SetUnlinkOnClose(false) // whoever holds the lock removes it
	// The directory keeps others out; the mode says so once more.
	if err := unix.Fchmodat(d.fd(), sockFile(name), 0o600, 0); err != nil {
		_ = l.Close()
		return nil, ioError(filepath.Join(d.path, sockFile(name)), "chmod", err)
	}
	return guard(l, os.Geteuid()), nil
}

// dial connects to the host's socket; the error is diag.ErrNoHost if nobody listens.
func (d *dir) dial(ctx context.Context, name string) (net.Conn, error) {
	var nd net.Dialer
	c, err := nd.DialContext(ctx, "unix", d.sockPath(name))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, diag.ErrNoHost
	}
	if err != nil {
		return nil, ioError(filepath.Join(d.path, sockFile(name)), "connect", err)
	}
	cred, err := peer(c)
	if err != nil || int(cred.Uid) != os.Geteuid() {
		_ = c.Close()
		return nil, diag.New(diag.ErrIO, filepath.Join(d.path, sockFile(name)), "the host belongs to another user")
	}
	return c, nil
}

// peer returns the credentials of the process at the other end.
func peer(c net.Conn) (*unix.Ucred, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%T is no unix socket", c)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, credErr
}

// maxPeers is how many connections a host serves at once; more wait in the socket's queue.
const maxPeers = 256

// guarded is a listener that turns other users' peers away and bounds their number.
type guarded struct {
	net.Listener
	uid  int
	free chan struct{} // one token for each connection that may still come
	done chan struct{} // closed by Close
}

// guard wraps l for peers of the user uid only.
func guard(l net.Listener, uid int) net.Listener {
	g := &guarded{Listener: l, uid: uid, free: make(chan struct{}, maxPeers), done: make(chan struct{})}
	for range maxPeers {
		g.free <- struct{}{}
	}
	return g
}

// Accept implements net.Listener.
func (g *guarded) Accept() (net.Conn, error) {
	select {
	case <-g.free:
	case <-g.done:
		return nil, net.ErrClosed
	}
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			g.free <- struct{}{}
			return nil, err
		}
		if cred, err := peer(c); err == nil && int(cred.Uid) == g.uid {
			return &guardedConn{Conn: c, g: g}, nil
		}
		_ = c.Close()
	}
}

// Close implements net.Listener.
func (g *guarded) Close() error {
	select {
	case <-g.done:
		return net.ErrClosed
	default:
		close(g.done)
	}
	return g.Listener.Close()
}

// guardedConn gives its token back when it is closed.
type guardedConn struct {
	net.Conn
	g    *guarded
	once onceFlag
}

// Close implements net.Conn.
func (c *guardedConn) Close() error {
	if c.once.first() {
		c.g.free <- struct{}{}
	}
	return c.Conn.Close()
}

// lock takes the lock of f, waiting for it until ctx ends.
func lock(ctx context.Context, f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	// The goroutine waits on a descriptor of its own for the same lock: f may be
	// closed, and its number used again, before it comes back.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	got := make(chan error, 1)
	go func() {
		defer func() { _ = unix.Close(fd) }()
		var err error
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Flock(fd, unix.LOCK_EX)
		}
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return ctx.Err() // the goroutine stays until the lock's holder is gone, or we are
	}
}

// ioError is the error for something that the system refused about path.
func ioError(path, what string, err error) error {
	kind := diag.ErrIO
	if errors.Is(err, fs.ErrNotExist) {
		kind = diag.ErrNotFound
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return diag.New(kind, path, "cannot %s: %v", what, err)
}
