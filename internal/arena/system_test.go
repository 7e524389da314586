package arena

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/diag"
)

// What the arena asks of the system: seals, mappings, memory that comes and goes.

// TestSeals: what Walls says is what the system does.
func TestSeals(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Size: small})
	text, data := a.Fds()
	up := map[string]bool{}
	for _, w := range a.Walls() {
		up[w.Name] = w.Up
		if w.Why == "" {
			t.Errorf("wall %s does not say why", w.Name)
		}
	}
	refused := func(what string, err error, wall string) {
		t.Helper()
		if !up[wall] {
			if errors.Is(err, unix.EPERM) {
				t.Errorf("%s is refused, but wall %s is said to be missing", what, wall)
			}
		} else if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v, want EPERM: wall %s is said to be up", what, err, wall)
		}
	}
	mmap := func(fd, prot int) error {
		b, err := unix.Mmap(fd, 0, Align, prot, unix.MAP_SHARED)
		if err == nil {
			unix.Munmap(b)
		}
		return err
	}
	refused("a second writable view of text", mmap(text, unix.PROT_READ|unix.PROT_WRITE), "text-sealed")
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", text), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	refused("a writable view of text, opened again", mmap(again, unix.PROT_READ|unix.PROT_WRITE), "text-sealed")
	unix.Close(again)
	_, err = unix.Pwrite(text, []byte{0xcc}, 0)
	refused("write to text", err, "text-sealed")
	refused("a hole in text", unix.Fallocate(text, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, Align), "text-sealed")
	refused("growing data", unix.Ftruncate(data, small*2), "size-sealed")
	for _, fd := range []int{text, data} {
		refused("shrinking", unix.Ftruncate(fd, Align), "size-sealed")
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
		refused("one more seal", err, "size-sealed")
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		if exec := st.Mode&0o111 != 0; exec == up["noexec-file"] {
			t.Errorf("mode %o, but noexec-file is %v", st.Mode, up["noexec-file"])
		}
	}
	// What the runner has to do is not walled off, and shows the host's writes.
	off, _ := a.Offsets()
	view, err := unix.Mmap(text, int64(off), small/4, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mapping text R-X: %v", err)
	}
	at := mustAlloc(t, a, Text, 8, 8)
	a.Bytes(at, 8)[3] = 0x5a
	if view[at-a.Base()+3] != 0x5a {
		t.Error("the R-X view does not show what the host wrote")
	}
	unix.Munmap(view)
	if err := mmap(data, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Errorf("mapping data RW-: %v", err)
	}
}

// TestMissingWalls: on a kernel that refuses the newer calls the arena works, and
// says which walls it has.
func TestMissingWalls(t *testing.T) {
	old := linux
	old.create = func(name string, flags int) (int, error) {
		if flags&unix.MFD_NOEXEC_SEAL != 0 {
			return -1, unix.EINVAL
		}
		return linux.create(name, flags)
	}
	old.seal = func(fd, seals int) error {
		if seals&unix.F_SEAL_FUTURE_WRITE != 0 {
			return unix.EINVAL
		}
		return linux.seal(fd, seals)
	}
	a, err := newArena(Config{Machine: arch.AMD64, Size: small}, &old)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var got []string
	for _, w := range a.Walls() {
		got = append(got, fmt.Sprintf("%s %v %s", w.Name, w.Up, w.Why))
	}
	want := `text-sealed false F_SEAL_FUTURE_WRITE: invalid argument
size-sealed true nobody can shorten the arena's files, lengthen data, or take a seal away
noexec-file false MFD_NOEXEC_SEAL: invalid argument`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got:\n%s\nwant:\n%s", s, want)
	}
	text, _ := a.Fds()
	b, err := unix.Mmap(text, 0, Align, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Errorf("the wall is up although Walls says it is missing: %v", err)
	} else {
		unix.Munmap(b)
	}
	mustAlloc(t, a, Text, 100, 16)
}

// TestRefusedBySystem: an error of the system leaves nothing behind.
func TestRefusedBySystem(t *testing.T) {
	before := len(ourMappings(t))
	calls := 0
	none := linux
	none.create = func(name string, flags int) (int, error) {
		if calls++; calls > 1 {
			return -1, unix.EMFILE
		}
		return linux.create(name, flags)
	}
	if _, err := newArena(Config{Machine: arch.AMD64, Size: small}, &none); !errors.Is(err, diag.ErrIO) ||
		err.Error() != "arena: memfd_create: too many open files" {
		t.Error(err)
	}
	if n := len(ourMappings(t)); n != before {
		t.Errorf("%d mappings left", n-before)
	}
}

// ourMappings returns the lines of this process's map that belong to arenas, and
// fails for any mapping that is writable and executable.
func ourMappings(t *testing.T) []string {
	t.Helper()
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var ours []string
	for in := bufio.NewScanner(f); in.Scan(); {
		fields := strings.Fields(in.Text())
		if strings.Contains(fields[1], "w") && strings.Contains(fields[1], "x") {
			t.Errorf("writable and executable: %s", in.Text())
		}
		if strings.Contains(in.Text(), "memfd:klink-") {
			ours = append(ours, in.Text())
		}
	}
	return ours
}

// TestMappings: one permanent view of each memfd, never executable, and gone after Close.
func TestMappings(t *testing.T) {
	before := len(ourMappings(t))
	a, err := New(Config{Machine: arch.AMD64, Size: small})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		at := mustAlloc(t, a, Region(i%Regions), uint64(i)*100+1, 8)
		a.Bytes(at, 1)[0] = 1
	}
	now := ourMappings(t)
	if len(now) != before+2 {
		t.Errorf("%d mappings, want 2:\n%s", len(now)-before, strings.Join(now, "\n"))
	}
	for _, line := range now {
		if !strings.Contains(line, " rw-s ") {
			t.Errorf("not rw-s: %s", line)
		}
	}
	text, data := a.Fds()
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(ourMappings(t)); n != before {
		t.Errorf("%d mappings after Close", n-before)
	}
	if lo, _ := a.Span(Text); a.Bytes(lo, 1) != nil {
		t.Error("Bytes after Close")
	}
	for _, fd := range []int{text, data} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("fd %d is still open after Close: %v", fd, err)
		}
	}
}

// blocks returns how much memory the file holds, bytes.
func blocks(t testing.TB, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return uint64(st.Blocks) * 512
}

// TestMemoryGoesBack: untouched memory costs nothing, and freed data is returned,
// also where small blocks shared pages.
func TestMemoryGoesBack(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64})
	text, data := a.Fds()
	if n := blocks(t, text) + blocks(t, data); n != 0 {
		t.Errorf("a new arena holds %d bytes", n)
	}
	big := mustAlloc(t, a, Data, 64<<20, 8)
	if n := blocks(t, data); n != 0 {
		t.Errorf("data that nobody touched holds %d bytes", n)
	}
	a.Bytes(big, 64<<20)[1<<20] = 1
	type block struct{ at, size uint64 }
	var all []block
	for i := range 2000 {
		size := uint64(8 + i*37%5000)
		at := mustAlloc(t, a, Data, size, 16)
		a.Bytes(at, size)[size-1] = 1
		all = append(all, block{at, size})
	}
	full := blocks(t, data)
	if full < 4<<20 {
		t.Errorf("%d bytes held by 2000 blocks", full)
	}
	for k := range all { // in an order that frees neighbours at different times
		b := all[k*1003%len(all)]
		a.Free(Data, b.at, b.size)
	}
	a.Free(Data, big, 64<<20)
	if n := blocks(t, data); n > maxIdle || n != uint64(a.idle.count)*a.page {
		t.Errorf("%d bytes held after everything was freed (%d before), %d pages known to be idle", n, full, a.idle.count)
	}
	mustAlloc(t, a, Text, 100, 16)
	if n := blocks(t, text); n != chunk {
		t.Errorf("%d bytes of text for one small block", n)
	}
	mustAlloc(t, a, Tables, 1<<20, 16)
	if n := blocks(t, text); n != chunk {
		t.Errorf("tables that nobody touched hold %d bytes", n-chunk)
	}
}

// exists says that reading a byte of a view does not fault: the file goes on there.
func exists(view []byte, off uint64) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	return view[off] != 0
}

// TestTextGrows: text exists as far as it was ever handed out and the rest of the chunk,
// for the host and for whoever maps the file; all of it traps.
func TestTextGrows(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		a := open(t, Config{Machine: m, Base: 0x20000000, Size: 64 << 20}) // 16 MiB of text
		fd, _ := a.Fds()
		lo, hi := a.Span(Text)
		off, tables := a.Offsets()
		runner, err := unix.Mmap(fd, int64(off), int(hi-lo), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		if off != 16<<20 || tables != 0 {
			t.Errorf("text at %#x, tables at %#x", off, tables)
		}
		blank := bytes.Repeat(m.Facts().TrapBytes, 16<<20/len(m.Facts().TrapBytes))
		check := func(want uint64) {
			t.Helper()
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil || uint64(st.Size) != off+want {
				t.Fatalf("%v: the file has %#x bytes, want %#x: %v", m, st.Size, off+want, err)
			}
			if b := a.Bytes(lo, want); b == nil || !bytes.Equal(b, blank[:want]) || !bytes.Equal(runner[:want], blank[:want]) {
				t.Errorf("%v: the first %#x bytes are not all traps", m, want)
			}
			if want == 16<<20 {
				return
			}
			if exists(runner, want) || exists(runner, hi-lo-1) {
				t.Errorf("%v: something lies beyond %#x", m, want)
			}
			if a.Bytes(lo, want+1) != nil || a.Bytes(lo+want, 1) != nil || a.Bytes(hi-1, 1) != nil {
				t.Errorf("%v: the host gets a view beyond %#x", m, want)
			}
			if b := a.Bytes(hi-1, 0); b == nil || len(b) != 0 {
				t.Errorf("%v: no bytes are no trouble: %v", m, b)
			}
		}
		check(0)
		mustAlloc(t, a, Text, 0, 8)
		check(0)
		first := mustAlloc(t, a, Text, 100, 16)
		check(chunk)
		second := mustAlloc(t, a, Text, chunk-104, 8) // to the last byte
		check(chunk)
		mustAlloc(t, a, Text, 8, 8)
		check(2 * chunk)
		mustAlloc(t, a, Text, 3<<20, 8)
		check(3<<20 + 2*chunk)
		mustAlloc(t, a, Text, 8, 8<<20) // with what alignment skips
		check(8<<20 + chunk)
		a.Free(Text, first, 100)
		a.Free(Text, second, chunk-104)
		check(8<<20 + chunk) // what existed stays
		mustAlloc(t, a, Text, 8<<20-8, 8)
		check(16 << 20)
		if _, err := a.Alloc(Text, 8<<20, 8); !errors.Is(err, diag.ErrNoSpace) {
			t.Errorf("%v: %v", m, err)
		}
		unix.Munmap(runner)
	}
}

// TestTextCannotGrow: a system that refuses is a refused request, and no more.
func TestTextCannotGrow(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Size: 64 << 20})
	first := mustAlloc(t, a, Text, 100, 16)
	fd, _ := a.Fds()
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	a.mem.sealedFd = int(closed.Fd())
	_, err = a.Alloc(Text, 2<<20, 16)
	a.mem.sealedFd = fd
	if !errors.Is(err, diag.ErrNoSpace) || !strings.HasPrefix(err.Error(), "text: no memory for 2097152 bytes more: ") {
		t.Errorf("%v", err)
	}
	if s := a.Stats()[Text]; s.Used != 104 || s.Blocks != 1 {
		t.Errorf("%+v", s)
	}
	a.Free(Text, first, 100)
	if at := mustAlloc(t, a, Text, 2<<20, 16); a.Bytes(at, 2<<20) == nil {
		t.Error("no text after a refusal")
	}
}

// BenchmarkTextGrows is what a module pays for that is the first to reach a chunk.
