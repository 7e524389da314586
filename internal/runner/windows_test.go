package runner

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// openWindow opens window i for the time of a test.
func (w *world) openWindow(i int) *os.File {
	w.t.Helper()
	f, err := w.OpenWindow(i)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.Close() }) // a test may have closed it
	return f
}

// mapped maps a window for reading.
func mapped(t testing.TB, f *os.File) []byte {
	t.Helper()
	view, err := unix.Mmap(int(f.Fd()), 0, windowSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(view); err != nil {
			t.Error(err)
		}
	})
	return view
}

// Who has a window's descriptor sees what modules write there, at once; each window is
// memory of its own, and nothing is mapped behind it.
func TestWindows(t *testing.T) {
	w := begin(t)
	spans := w.Windows()
	if len(spans) != maxWindows {
		t.Fatalf("%d windows", len(spans))
	}
	for i, s := range spans {
		view := mapped(t, w.openWindow(i))
		for _, off := range []uint64{0, s.Size - 8} {
			for v := range uint64(3) {
				w.does("set", s.Addr+off, 1000*uint64(i)+v)
				if got := binary.LittleEndian.Uint64(view[off:]); got != 1000*uint64(i)+v {
					t.Errorf("window %d+%#x is %d", i, off, got)
				}
			}
		}
		for _, addr := range []uint64{s.Addr - 8, s.Addr + s.Size} {
			if res := w.end(w.call("get", 0, addr)); res.Fault == nil || res.Fault.Addr != addr {
				t.Errorf("beside window %d: %+v", i, res)
			}
		}
	}
	for i, s := range spans { // none was another's
		if got := w.does("get", s.Addr); got != 1000*uint64(i)+2 {
			t.Errorf("window %d is %d", i, got)
		}
	}
	w.well()
}

// sealedWindows says whether this system has the seal that spares the runner's mapping.
func (w *world) sealedWindows() bool {
	for _, wall := range w.Walls() {
		if wall.Name == "windows-sealed" {
			return wall.Up
		}
	}
	w.t.Fatal("no such wall")
	return false
}

// tamper does all that could change a file to one, and returns what was not refused.
func tamper(fd int) (did []string) {
	try := func(what string, err error) {
		if err == nil {
			did = append(did, what)
		}
	}
	_, err := unix.Pwrite(fd, []byte{1}, 0)
	try("write", err)
	try("cut", unix.Ftruncate(fd, 0))
	try("cut by a page", unix.Ftruncate(fd, windowSize-granule))
	try("lengthen", unix.Ftruncate(fd, 2*windowSize))
	try("allocate", unix.Fallocate(fd, 0, 0, 2*windowSize))
	try("punch a hole", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, granule))
	try("zero", unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, 0, granule))
	for _, seal := range []int{unix.F_SEAL_WRITE, unix.F_SEAL_GROW, unix.F_SEAL_SEAL} {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal)
		try(fmt.Sprintf("add the seal %#x", seal), err)
	}
	view, err := unix.Mmap(fd, 0, granule, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	try("map for writing", err)
	if err == nil {
		try("unmap", unix.Munmap(view))
	}
	if view, err = unix.Mmap(fd, 0, granule, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return append(did, "not even reading: "+err.Error())
	}
	try("make writable", unix.Mprotect(view, unix.PROT_READ|unix.PROT_WRITE))
	try("remove pages", unix.Madvise(view, unix.MADV_REMOVE))
	if err := unix.Munmap(view); err != nil {
		did = append(did, err.Error())
	}
	return did
}

// The receiver of a window cannot change it: neither by the descriptor that it got, nor
// by one that it makes of it through /proc, whatever its rights. The runner still can.
func TestWindowsAreReadOnly(t *testing.T) {
	w := begin(t)
	at := w.Windows()[3]
	w.does("set", at.Addr, 77)
	f := w.openWindow(3)
	if did := tamper(int(f.Fd())); len(did) != 0 {
		t.Errorf("by the descriptor: %v", did)
	}
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x %v", flags, err)
	}
	if w.sealedWindows() {
		for _, flags := range []int{unix.O_RDWR, unix.O_RDWR | unix.O_TRUNC, unix.O_RDWR | unix.O_APPEND} {
			again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags|unix.O_CLOEXEC, 0)
			if err != nil {
				continue // as well
			}
			if did := tamper(again); len(did) != 0 {
				t.Errorf("opened again with %#x: %v", flags, did)
			}
			if err := unix.Close(again); err != nil {
				t.Error(err)
			}
		}
	}
	st, err := f.Stat()
	if err != nil || st.Size() != windowSize {
		t.Errorf("%v %v", st, err)
	}
	// Two receivers have nothing in common but the memory.
	other := w.openWindow(3)
	if _, err := f.Seek(100, 0); err != nil {
		t.Fatal(err)
	}
	if off, err := other.Seek(0, 1); err != nil || off != 0 {
		t.Errorf("offset %d %v", off, err)
	}
	if got := binary.LittleEndian.Uint64(mapped(t, f)); got != 77 {
		t.Errorf("it is %d", got)
	}
	w.does("set", at.Addr, 78)
	if got := binary.LittleEndian.Uint64(mapped(t, other)); got != 78 {
		t.Errorf("it is %d", got)
	}
	w.well()
}

// A window outlives its runner: what it held last can be read until Close, and by who
// has it for as long as he likes.
func TestWindowsAfterwards(t *testing.T) {
	w := begin(t)
	w.does("set", w.Windows()[0].Addr, 5)
	before := w.openWindow(0)
	if err := unix.Kill(w.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-w.Gone()
	after := w.openWindow(0)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.OpenWindow(0); err == nil {
		t.Error("opened after Close")
	} else {
		wantLost(t, err, "killed by signal 9")
	}
	for _, f := range []*os.File{before, after} {
		if got := binary.LittleEndian.Uint64(mapped(t, f)); got != 5 {
			t.Errorf("it is %d", got)
		}
	}
}
