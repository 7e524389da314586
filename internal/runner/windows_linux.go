package runner

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
)

// Windows are memory that modules share with other programs: klink's kernel object gives
// them out (klink_share), the host gives descriptors of them to who asks. Each is a file
// of its own, so who has one has nothing else; and when the runner has mapped it, it is
// sealed such that nobody can map it for writing, or write it, ever again: only the
// mapping that exists by then, the runner's, goes on writing. The host keeps none.

const (
	windowSize   = 1 << 20
	windowStride = 1 << 24 // so 15 MiB behind each window are unmapped
)

// window is one window as the host has it.
type window struct {
	at Span
	fd int // -1: closed
}

// makeWindows makes the windows' files and has the runner map them from addr on. Those
// that it made before an error are there.
func (r *Runner) makeWindows(addr uint64) error {
	for i := range uint64(maxWindows) {
		fd, err := memfd("klink-window", windowSize)
		if err != nil {
			return err
		}
		r.windows = append(r.windows, window{Span{addr + i*windowStride, windowSize}, fd})
		if err := seal(fd, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
			return err
		}
	}
	c := r.ctl.config()
	c.windows.Store(addr)
	c.windowStride.Store(windowStride)
	c.windowSize.Store(windowSize)
	c.windowCount.Store(maxWindows)
	return nil
}

// sealWindows ends all writing of windows but the runner's, which has mapped them, and
// trades the descriptors for such as can only read.
func (r *Runner) sealWindows() error {
	wall := Wall{"windows-sealed", true, "who is given a module's shared memory can only read it"}
	for i := range r.windows {
		w := &r.windows[i]
		// Linux before 5.1 has no such seal: then a program of this user can open the
		// file again, for writing.
		if err := seal(w.fd, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SEAL); err != nil {
			wall.Up, wall.Why = false, err.Error()
		}
		read, err := reopen(w.fd)
		if err != nil {
			return err
		}
		if err := unix.Close(w.fd); err != nil {
			return errors.Join(err, unix.Close(read))
		}
		w.fd = read
	}
	r.walls = append(r.walls, wall)
	return nil
}

// reopen opens a descriptor's file once more, for reading: a description of its own, with
// an offset and flags that nobody else has.
func reopen(fd int) (int, error) {
	read, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a window for reading: %w", err)
	}
	return read, nil
}

// closeWindows gives the files back; windows that are mapped live on.
func (r *Runner) closeWindows() error {
	var errs []error
	for i := range r.windows {
		if w := &r.windows[i]; w.fd >= 0 {
			errs = append(errs, unix.Close(w.fd))
			w.fd = -1
		}
	}
	return errors.Join(errs...)
}

// Windows returns where the runner has mapped its windows, in order. The slice is the
// caller's.
func (r *Runner) Windows() []Span {
	spans := make([]Span, len(r.windows))
	for i := range r.windows {
		spans[i] = r.windows[i].at
	}
	return spans
}

// OpenWindow returns a new descriptor of window i, an index of Windows: a file of that
// size, which it can read and map for reading, and nothing else; see the wall
// "windows-sealed". It is the caller's, and may be given to anybody. A lost runner's
// windows hold what they held last; after Close the error is a diag.ErrLost.
func (r *Runner) OpenWindow(i int) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, r.cause
	}
	fd, err := reopen(r.windows[i].fd)
	if err != nil {
		return nil, diag.New(diag.ErrIO, "", "%v", err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("window %d", i)), nil
}
