package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// lockTime is how long a new host waits for one that is still ending.
const lockTime = 20 * time.Second

// onceFlag is true once.
type onceFlag struct{ done atomic.Bool }

func (o *onceFlag) first() bool { return !o.done.Swap(true) }

// RunHost is a host process: it takes the descriptors that Sockets.Start gave it,
// makes the kernel with fresh, serves it until a client or a signal halts it, and
// returns. It may be called once a process. What goes wrong before the host
// listens is told to the client that started it, and returned.
func RunHost(name string, fresh NewService) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if !isKind(fdRequest, unix.S_IFIFO) || !isKind(fdAnswer, unix.S_IFIFO) || !isKind(fdDir, unix.S_IFDIR) || !isKind(fdStarting, unix.S_IFREG) {
		return diag.New(diag.ErrUsage, "", "a host is started by klink boot or klink load")
	}
	for fd := fdRequest; fd <= fdStarting; fd++ {
		unix.CloseOnExec(fd) // nobody whom the host starts may hold them
	}
	h := &host{
		name: name, request: os.NewFile(fdRequest, "request"), answer: os.NewFile(fdAnswer, "answer"),
		dir:      &dir{f: os.NewFile(fdDir, "runtime directory"), path: "runtime directory"},
		starting: os.NewFile(fdStarting, "start lock"),
	}
	if path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fdDir)); err == nil {
		h.dir.path = path // for messages
	}
	return h.run(fresh)
}

// isKind reports whether fd is open and a file of the kind (unix.S_IF…).
func isKind(fd int, kind uint32) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == kind
}

// host is a host process while it starts.
type host struct {
	name            string
	request, answer *os.File
	dir             *dir
	starting        *os.File // the start lock
}

// run does RunHost's work.
func (h *host) run(fresh NewService) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	signal.Ignore(unix.SIGPIPE) // the client that started us may be gone
	alive, err := h.own(ctx)
	if err != nil {
		return h.tell(nil, err)
	}
	defer func() { _ = alive.Close() }() // and with it the lock
	body, err := io.ReadAll(h.request)
	_ = h.request.Close()
	if err != nil {
		return h.tell(nil, ioError("", "read the start request", err))
	}
	var r StartRequest
	if err := decode(body, &r); err != nil {
		return h.tell(nil, err)
	}
	svc, change, err := r.begin(ctx, fresh)
	if err != nil {
		return h.tell(nil, err)
	}
	defer func() { _ = svc.Close() }() // the process ends
	l, err := h.dir.listen(h.name)
	if err != nil {
		return h.tell(nil, err)
	}
	// Only the holder of the lock touches the socket, so this one is ours.
	defer func() { _ = h.dir.remove(sockFile(h.name)) }()
	server := NewServer(svc, os.Stderr)
	_ = h.tell(change, nil) // a client that went away has its host all the same
	return server.Serve(ctx, l)
}

// own makes this process the host of that name: the lock, its process id in it,
// and the log in place of the standard error.
func (h *host) own(ctx context.Context) (*os.File, error) {
	alive, err := h.dir.open(lockFile(h.name), unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	// Nobody listens, or we would not have been started: if the lock is held, its
	// holder is about to end. A wedged one is not waited for for ever.
	limit, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	if err := lock(limit, alive); err != nil {
		return nil, diag.New(diag.ErrBusy, "", "%s holds %s but does not answer; end its process (the number is in that file)",
			hostName(h.name), diag.Escape(filepath.Join(h.dir.path, lockFile(h.name))))
	}
	if err := alive.Truncate(0); err != nil {
		return nil, ioError(alive.Name(), "write", err)
	}
	if _, err := fmt.Fprintf(alive, "%d\n", os.Getpid()); err != nil {
		return nil, ioError(alive.Name(), "write", err)
	}
	log, err := h.dir.open(logFile(h.name), unix.O_WRONLY|unix.O_TRUNC|unix.O_APPEND)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	if err := unix.Dup3(int(log.Fd()), 2, 0); err != nil {
		return nil, ioError(log.Name(), "take as standard error", err)
	}
	return alive, nil
}

// tell answers the client that started the host, lets others start hosts, and
// returns err.
func (h *host) tell(change *kernel.Change, err error) error {
	a := startAnswer{Change: change}
	if err != nil {
		a = startAnswer{Error: NewFault(err)}
	}
	_ = h.starting.Close()
	_ = json.NewEncoder(h.answer).Encode(a) // the client may be gone
	_ = h.answer.Close()
	return err
}
