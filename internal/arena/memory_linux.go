package arena

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
)

// Wall is one protection that the system may or may not give.
type Wall struct {
	Name string // "text-sealed", "size-sealed", "noexec-file"
	Up   bool
	Why  string // what it keeps out; if it is not up, what the system said
}

// system is the system calls that an older kernel may refuse, so that tests can
// refuse them too.
type system struct {
	create func(name string, flags int) (fd int, err error)
	seal   func(fd, seals int) error
	page   uint64 // bytes of a page
}

var linux = system{
	create: unix.MemfdCreate,
	seal: func(fd, seals int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		return err
	},
	page: uint64(unix.Getpagesize()),
}

// memory is the two memfds and the host's views of them.
type memory struct {
	sealedFd, dataFd int
	sealed, data     []byte
}

// open makes the memfds and maps each once, read-write and never executable; then
// it seals them. The order matters: F_SEAL_FUTURE_WRITE spares the view that exists.
// The view of the sealed one has room for tables and text; its file has only the
// tables, and grow, which no seal keeps from it, makes it longer.
func (s *system) open(tablesSize, textSize, dataSize uint64) (m memory, walls []Wall, err error) {
	m = memory{sealedFd: -1, dataFd: -1}
	defer func() {
		if err != nil {
			err = diag.New(diag.ErrIO, "", "arena: %v", errors.Join(err, m.close()))
			m = memory{}
		}
	}()
	var noexec errs
	if m.sealedFd, m.sealed, err = s.memfd("klink-text", tablesSize, tablesSize+textSize, &noexec); err != nil {
		return m, nil, err
	}
	if m.dataFd, m.data, err = s.memfd("klink-data", dataSize, dataSize, &noexec); err != nil {
		return m, nil, err
	}
	var text, size errs
	text.add("F_SEAL_FUTURE_WRITE", s.seal(m.sealedFd, unix.F_SEAL_FUTURE_WRITE))
	size.add("F_SEAL_GROW", s.seal(m.dataFd, unix.F_SEAL_GROW))
	for _, fd := range []int{m.sealedFd, m.dataFd} {
		size.add("F_SEAL_SHRINK", s.seal(fd, unix.F_SEAL_SHRINK))
		size.add("F_SEAL_SEAL", s.seal(fd, unix.F_SEAL_SEAL))
	}
	return m, []Wall{
		text.wall("text-sealed", "nobody can map text or tables writable, or write to them, but through the host's view"),
		size.wall("size-sealed", "nobody can shorten the arena's files, lengthen data, or take a seal away"),
		noexec.wall("noexec-file", "the arena's files cannot be executed as programs"),
	}, nil
}

// memfd makes one memfd of size bytes and maps room bytes of it. A kernel before 6.3 does
// not know MFD_NOEXEC_SEAL and says EINVAL: that wall is then missing. (The flag
// is about execve; it leaves PROT_EXEC mappings, which the runner needs, alone.)
func (s *system) memfd(name string, size, room uint64, noexec *errs) (fd int, view []byte, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = s.create(name, flags|unix.MFD_NOEXEC_SEAL)
	if err != nil {
		noexec.add("MFD_NOEXEC_SEAL", err)
		if fd, err = s.create(name, flags); err != nil {
			return -1, nil, errors.New("memfd_create: " + err.Error())
		}
	}
	if err = unix.Ftruncate(fd, int64(size)); err != nil {
		return fd, nil, errors.New("ftruncate: " + err.Error())
	}
	view, err = unix.Mmap(fd, 0, int(room), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return fd, nil, errors.New("mmap: " + err.Error())
	}
	return fd, view, nil
}

// grow makes the sealed memfd n bytes longer, from its end at off on. The pages are
// taken at once, so that a system without memory says so here and not, with SIGBUS,
// where they are first touched.
func (m *memory) grow(off, n uint64) error {
	for {
		if err := unix.Fallocate(m.sealedFd, 0, int64(off), int64(n)); err != unix.EINTR {
			return err
		}
	}
}

// punch gives n bytes at off of the data memfd, both multiples of a page, back to
// the system; they read as zeros from then on.
func (m *memory) punch(off, n uint64) error {
	return unix.Fallocate(m.dataFd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
}

// close gives up what open made, as far as it came.
func (m *memory) close() error {
	var all []error
	for _, view := range [][]byte{m.sealed, m.data} {
		if view != nil {
			all = append(all, unix.Munmap(view))
		}
	}
	for _, fd := range []int{m.sealedFd, m.dataFd} {
		if fd >= 0 {
			all = append(all, unix.Close(fd))
		}
	}
	*m = memory{sealedFd: -1, dataFd: -1}
	return errors.Join(all...)
}

// errs gathers what the system said to the calls that raise one wall.
type errs []string

func (e *errs) add(call string, err error) {
	if err == nil {
		return
	}
	if s := call + ": " + err.Error(); len(*e) == 0 || (*e)[len(*e)-1] != s {
		*e = append(*e, s)
	}
}

// wall returns the wall, up if nothing was refused.
func (e errs) wall(name, what string) Wall {
	if len(e) > 0 {
		return Wall{Name: name, Why: strings.Join(e, "; ")}
	}
	return Wall{Name: name, Up: true, Why: what}
}
