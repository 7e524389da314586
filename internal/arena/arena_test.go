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
	"pgregory.net/rapid"

	"klink/internal/arch"
	"klink/internal/diag"
)

const small = 16 * Align // 256 KiB of text, 256 of tables, 512 of data

func open(t testing.TB, cfg Config) *Arena {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func mustAlloc(t testing.TB, a *Arena, r Region, size, align uint64) uint64 {
	t.Helper()
	at, err := a.Alloc(r, size, align)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestPlace(t *testing.T) {
	seen := map[uint64]bool{}
	for range 50 {
		a := open(t, Config{Machine: arch.AMD64})
		if a.Size() != DefaultSize || a.Base()%Align != 0 || a.Base() < MinBase || a.Base()+a.Size() > Limit {
			t.Fatalf("base %#x size %#x", a.Base(), a.Size())
		}
		seen[a.Base()] = true
	}
	if len(seen) < 2 {
		t.Error("the base is not chosen at random")
	}

	a := open(t, Config{Machine: arch.ARM64, Base: 0x20000000})
	var spans []string
	for r := range Region(Regions) {
		lo, hi := a.Span(r)
		spans = append(spans, fmt.Sprintf("%s %#x-%#x", r, lo, hi))
	}
	if got, want := strings.Join(spans, ", "), "text 0x20000000-0x28000000, tables 0x28000000-0x30000000, data 0x30000000-0x40000000"; got != want {
		t.Errorf("spans %s, want %s", got, want)
	}
	if a.Machine() != arch.ARM64 {
		t.Error(a.Machine())
	}

	// A size that four does not divide: data takes the rest; the highest base there is.
	a = open(t, Config{Machine: arch.AMD64, Base: Limit - 7*Align, Size: 7 * Align})
	lo, hi := a.Span(Data)
	if lo != Limit-5*Align || hi != Limit {
		t.Errorf("data %#x-%#x", lo, hi)
	}
	open(t, Config{Machine: arch.AMD64, Base: MinBase, Size: Limit - MinBase}) // the largest
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		kind error
	}{
		{Config{}, diag.ErrMachine},
		{Config{Machine: 3}, diag.ErrMachine},
		{Config{Machine: arch.AMD64, Size: DefaultSize + 1}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Size: 3 * Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Size: Limit - MinBase + Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Size: ^uint64(Align - 1)}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: MinBase + 4096}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: MinBase - Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: Limit - DefaultSize + Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: ^uint64(Align - 1)}, diag.ErrUsage},
	} {
		a, err := New(c.cfg)
		if !errors.Is(err, c.kind) || a != nil {
			t.Errorf("%+v: %v, want %v", c.cfg, err, c.kind)
		}
	}
}

// TestNoSpaceSaysTheNumbers also sees that a refused request changes nothing.
func TestNoSpaceSaysTheNumbers(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Size: small})
	mustAlloc(t, a, Tables, 4*Align-96, 8)
	_, err := a.Alloc(Tables, 100, 16)
	if !errors.Is(err, diag.ErrNoSpace) {
		t.Fatal(err)
	}
	want := "tables: no room for 100 bytes aligned to 16: 96 of 262144 bytes are free, the largest hole has 96 (--arena-size sets the size at boot)"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, err := a.Alloc(Text, 8, 3); !errors.Is(err, diag.ErrUsage) {
		t.Error(err)
	}
	mustAlloc(t, a, Tables, 96, 0)
}

// TestContents: text reads as trap instructions, also in the gaps beside blocks;
// the others as zeros; after a free just the same.
func TestContents(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		a := open(t, Config{Machine: m, Size: small})
		trap := m.Facts().TrapBytes
		isTrap := func(what string, at, n uint64) {
			t.Helper()
			b := a.Bytes(at, n)
			if b == nil || !bytes.Equal(b, bytes.Repeat(trap, int(n)/len(trap))) {
				t.Errorf("%v: %s is not trap instructions: % x…", m, what, b[:min(len(b), 16)])
			}
		}
		first := mustAlloc(t, a, Text, 20, 4)
		second := mustAlloc(t, a, Text, Align+8, 4096)
		isTrap("a block", first, 24)
		isTrap("the gap", first+24, second-first-24)
		isTrap("a block over two chunks", second, Align+8)
		isTrap("what follows in its page", second+Align+8, 4096)
		copy(a.Bytes(first, 20), bytes.Repeat([]byte{0x90}, 20))
		third := mustAlloc(t, a, Text, 64, 16)
		isTrap("a block in a used page", third, 64)
		if a.Bytes(first, 20)[19] != 0x90 {
			t.Error("filling went over a live block")
		}
		for i := range a.Bytes(second, Align+8) {
			a.Bytes(second, Align+8)[i] = 0x90
		}
		a.Free(Text, second, Align+8)
		isTrap("freed text", second, Align+8)
		a.Free(Text, first, 20)
		isTrap("freed text", first, 24)

		for _, r := range []Region{Tables, Data} {
			at := mustAlloc(t, a, r, 3*Align, 8)
			b := a.Bytes(at, 3*Align)
			for i := range b {
				b[i] = 0xaa
			}
			a.Free(r, at, 3*Align)
			if b := a.Bytes(at, 3*Align); !bytes.Equal(b, make([]byte, len(b))) {
				t.Errorf("%v: freed %s is not zero", m, r)
			}
		}
		// What the runner scribbled into free data is gone when it is handed out.
		lo, hi := a.Span(Data)
		free := a.Bytes(lo, hi-lo)
		for i := range free {
			free[i] = 0xbb
		}
		at := mustAlloc(t, a, Data, 2*Align+24, 16)
		if b := a.Bytes(at, 2*Align+24); !bytes.Equal(b, make([]byte, len(b))) {
			t.Error("fresh data is not zero")
		}
		if a.Bytes(at+2*Align+24, 1)[0] != 0xbb {
			t.Error("zeroing went beyond the block")
		}
	}
}

// TestContentsRandom: whatever the order of calls, every block keeps the bytes its
// owner wrote, and comes fresh.
func TestContentsRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := New(Config{Machine: arch.ARM64, Size: minSize})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		fresh := [Regions][]byte{arch.ARM64.Facts().TrapBytes, {0}, {0}}
		type owned struct {
			r        Region
			at, size uint64
			mark     byte
		}
		var live []owned
		check := func(o owned) {
			if b := a.Bytes(o.at, o.size); !bytes.Equal(b, bytes.Repeat([]byte{o.mark}, int(o.size))) {
				t.Fatalf("%s block %#x+%d lost its bytes", o.r, o.at, o.size)
			}
		}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(live) > 0 && rapid.IntRange(0, 2).Draw(t, "op") == 0 {
				k := rapid.IntRange(0, len(live)-1).Draw(t, "which")
				check(live[k])
				a.Free(live[k].r, live[k].at, live[k].size)
				live = append(live[:k], live[k+1:]...)
				continue
			}
			o := owned{
				r:    Region(rapid.IntRange(0, Regions-1).Draw(t, "region")),
				size: rapid.Uint64Range(1, 20000).Draw(t, "size"),
				mark: byte(i + 1),
			}
			o.at, err = a.Alloc(o.r, o.size, 1<<rapid.IntRange(0, 13).Draw(t, "align"))
			if errors.Is(err, diag.ErrNoSpace) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			b := a.Bytes(o.at, o.size)
			for j := range b {
				if f := fresh[o.r]; b[j] != f[j%len(f)] {
					t.Fatalf("%s block %#x+%d is not fresh: %#x at %d", o.r, o.at, o.size, b[j], j)
				}
				b[j] = o.mark
			}
			live = append(live, o)
		}
		for _, o := range live {
			check(o)
		}
	})
}

func TestBytes(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Base: 0x20000000, Size: small})
	mustAlloc(t, a, Text, small/4, 0) // or it would not be there
	for r := range Region(Regions) {
		lo, hi := a.Span(r)
		if b := a.Bytes(lo, hi-lo); uint64(len(b)) != hi-lo || uint64(cap(b)) != hi-lo {
			t.Errorf("%s: %d bytes", r, len(b))
		}
		if b := a.Bytes(hi-1, 1); len(b) != 1 {
			t.Errorf("%s: no last byte", r)
		}
		if b := a.Bytes(lo, 0); b == nil || len(b) != 0 {
			t.Errorf("%s: %v for no bytes", r, b)
		}
		if a.Bytes(hi-1, 2) != nil || a.Bytes(lo, hi-lo+1) != nil || a.Bytes(hi-1, ^uint64(0)) != nil {
			t.Errorf("%s: a range that leaves the region", r)
		}
		// The regions' views are different memory.
		a.Bytes(lo, 1)[0] = byte(r) + 1
	}
	for r := range Region(Regions) {
		if lo, _ := a.Span(r); a.Bytes(lo, 1)[0] != byte(r)+1 {
			t.Errorf("%s: its first byte is another region's", r)
		}
	}
	if a.Bytes(0x20000000-1, 1) != nil || a.Bytes(0x20000000+small, 1) != nil || a.Bytes(^uint64(0), 1) != nil || a.Bytes(0, 1) != nil {
		t.Error("bytes outside of the arena")
	}
}

func TestStats(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Base: 0x20000000, Size: small})
	x := mustAlloc(t, a, Tables, 100, 8) // rounded up to 104
	y := mustAlloc(t, a, Tables, 8, 64)
	a.Free(Tables, x, 100)
	const size = 4 * Align
	want := RegionStats{
		Region: Tables, Lo: 0x20000000 + size, Hi: 0x20000000 + 2*size,
		Used: 8, Free: size - 8, Largest: size - 136, High: 136, Blocks: 1, Holes: 2,
	}
	if got := a.Stats()[Tables]; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	a.Free(Tables, y, 8)
	want.Used, want.Free, want.Largest, want.Blocks, want.Holes = 0, size, size, 0, 1
	if got := a.Stats()[Tables]; got != want {
		t.Errorf("after all was freed:\ngot  %+v\nwant %+v", got, want)
	}
}

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
func BenchmarkTextGrows(b *testing.B) {
	var a *Arena
	for b.Loop() {
		if a == nil || a.region[Text].end == a.region[Text].hi {
			b.StopTimer()
			a = open(b, Config{Machine: arch.AMD64, Size: 256 << 20})
			b.StartTimer()
		}
		if err := a.growText(a.region[Text].end + 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkModule is the arena's part of loading and unloading a small module.
func BenchmarkModule(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := open(b, Config{Machine: arch.AMD64})
			load := func() (at [Regions]uint64) {
				at[Text] = mustAlloc(b, a, Text, 3000, 16)
				at[Tables] = mustAlloc(b, a, Tables, 900, 16)
				at[Data] = mustAlloc(b, a, Data, 500, 16)
				return at
			}
			for range n {
				load()
			}
			for b.Loop() {
				at := load()
				a.Free(Text, at[Text], 3000)
				a.Free(Tables, at[Tables], 900)
				a.Free(Data, at[Data], 500)
			}
		})
	}
}
