package kernel

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/kpi"
)

// tracing is a host with the bus's default layer and the one that records accesses.
func tracing(t *testing.T) *liveBench {
	t.Helper()
	b := newLive(t)
	if _, err := b.Boot(t.Context(), []ModuleSpec{{Files: []Source{liveFixture(t, "bus_space/kernel.o")}}}); err != nil {
		t.Fatal(err)
	}
	b.mustBring("bus_space/bus_space_trace.kmod")
	return b
}

// mustMap maps what a variable holds; the view is the window's, from what is shared on.
func (b *liveBench) mustMap(what string) (*MapReport, []byte) {
	b.tb.Helper()
	rep, f, err := b.Map(MapRequest{What: what})
	if err != nil {
		b.tb.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			b.tb.Error(err)
		}
	}()
	view, err := unix.Mmap(int(f.Fd()), 0, int(rep.Offset+rep.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		b.tb.Fatal(err)
	}
	b.tb.Cleanup(func() {
		if err := unix.Munmap(view); err != nil {
			b.tb.Error(err)
		}
	})
	return rep, view[rep.Offset:]
}

// noMap is what the error of a refused Map must be.
func (b *liveBench) noMap(what string, kind error, texts ...string) {
	b.tb.Helper()
	_, f, err := b.Map(MapRequest{What: what})
	if f != nil {
		b.tb.Errorf("%s: a file with the error %v", what, err)
	}
	refused(b.tb.(*testing.T), err, kind, texts...)
}

// Offsets in the ring of bus_space_trace (testdata/objs/bus_space/ring.h).
const (
	ringHead, ringDropped, ringRecords = 8, 16, 64
	ringSlots, ringRecord              = 510, 32
)

// TestMap: a program that has the ring mapped sees each access, as soon as it was made.
func TestMap(t *testing.T) {
	b := tracing(t)
	rep, view := b.mustMap("bus_space_trace:ring")
	if want := (MapReport{Symbol: "bus_space_trace:ring", Name: "ring", Addr: rep.Addr, Size: 16384}); *rep != want {
		t.Errorf("%+v", rep)
	}
	syms, err := b.Symbols([]string{"bus_registers"}, "")
	if err != nil || len(syms) != 1 {
		t.Fatal(syms, err)
	}
	b.value("bus_fill", 2, 77)
	le := binary.LittleEndian
	if head := le.Uint64(view[ringHead:]); head != 3 {
		t.Fatalf("%d records", head)
	}
	for i, want := range []struct {
		offset        Addr
		typ, val, wid uint32
	}{{0, 2, 77, 4}, {4, 2, 77, 4}, {4, 1, 77, 4}} {
		r := view[ringRecords+ringRecord*i:]
		if le.Uint64(r) != uint64(i)+1 || le.Uint64(r[8:]) != uint64(syms[0].Addr+want.offset) || le.Uint32(r[16:]) != want.typ ||
			le.Uint32(r[20:]) != want.wid || le.Uint32(r[24:]) != want.val {
			t.Errorf("record %d: % x", i, r[:ringRecord])
		}
	}
	// By address: the variable's, and one in the memory itself.
	syms, err = b.Symbols([]string{"ring"}, "bus_space_trace")
	if err != nil || len(syms) != 1 {
		t.Fatal(syms, err)
	}
	if again, _ := b.mustMap(syms[0].Addr.String()); *again != *rep {
		t.Errorf("%+v", again)
	}
	part, _ := b.mustMap((rep.Addr + 4096).String())
	if want := (MapReport{Name: "ring", Addr: rep.Addr + 4096, Offset: 4096, Size: 12288}); *part != want {
		t.Errorf("%+v", part)
	}
}

// TestMapWholeRecords: a reader beside threads that write as fast as they can takes whole
// records only: of each that it takes, address and value belong together.
func TestMapWholeRecords(t *testing.T) {
	b := tracing(t)
	_, view := b.mustMap("ring")
	syms, err := b.Symbols([]string{"bus_registers"}, "")
	if err != nil {
		t.Fatal(err)
	}
	// The first four registers hold 1, 2, 3, 4.
	job, err := b.Call(t.Context(), CallRequest{Function: "bus_sum", Args: []Arg{{Word: 4}}, Threads: 6, Times: 1 << 40, Limit: -1, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	base := uint64(syms[0].Addr)
	taken := map[uint64]bool{}
	for end := time.Now().Add(time.Minute); len(taken) < 2_000 && time.Now().Before(end); {
		next := load64(view[ringHead:]) // where they are writing now
		for n := next - min(next, 3); n < next+3; n++ {
			r := view[ringRecords+n%ringSlots*ringRecord:][:ringRecord]
			seq := load64(r)
			addr, typ, value := load64(r[8:]), uint32(0), uint32(0)
			for range 1000 { // slowly, so that writers come in between
				typ, value = uint32(load64(r[16:])), uint32(load64(r[24:]))
			}
			if load64(r) != seq || seq == 0 || seq == ^uint64(0) {
				continue
			}
			taken[seq] = true
			if i := (addr - base) / 4; (seq-1)%ringSlots != n%ringSlots || addr%4 != 0 || i > 3 || typ != 1 || uint64(value) != i+1 {
				t.Fatalf("slot %d, seq %d: address %#x type %d value %d", n%ringSlots, seq, addr, typ, value)
			}
		}
	}
	if len(taken) == 0 {
		t.Error("no record was whole")
	}
	if _, err := b.Wait(t.Context(), WaitRequest{Jobs: []int{job.Job}, Stop: true}); err != nil {
		t.Fatal(err)
	}
	if head, dropped := load64(view[ringHead:]), load64(view[ringDropped:]); dropped > head/2 {
		t.Errorf("%d of %d records were dropped", dropped, head)
	}
}

// TestMapRefuses: whatever modules left in the variable, or in the kernel object's table,
// only what is shared is given, and nothing breaks.
func TestMapRefuses(t *testing.T) {
	b := tracing(t)
	const hint = "klink_share gives modules memory that can be mapped"
	b.noMap("nobody", diag.ErrNotFound, `no symbol "nobody"`)
	b.noMap("nobody:ring", diag.ErrNotFound, `no symbol "nobody:ring"`)
	b.noMap("0xq", diag.ErrUsage, "0xq")
	b.noMap("bus_sum", diag.ErrRange, "bus_sum is no variable that holds an address; "+hint)
	b.noMap("bus_registers", diag.ErrRange, "bus_registers leads to 0x200000001, which is not shared; "+hint)
	for _, addr := range []string{"0x0", "0x1", "0xffffffffffffffff", "0x7fffffffffff"} {
		b.noMap(addr, diag.ErrRange, addr+" is no variable that holds an address")
	}
	syms, err := b.Symbols([]string{"ring"}, "bus_space_trace")
	if err != nil || len(syms) != 1 {
		t.Fatal(syms, err)
	}
	variable := b.Data(syms[0].Addr, 8)
	was := load64(variable)
	window := b.live.run.Windows()[0]
	b.noMap((syms[0].Addr + 4).String(), diag.ErrRange, "is no variable") // misaligned
	for _, c := range []struct {
		value uint64
		text  string
	}{
		{0, "ring leads to 0x0, which is not shared; "}, {was + 16384, "which is behind the 16384 bytes shared as \"ring\""},
		{window.Addr - 1, "which is not shared; "}, {window.Addr + window.Size, "which is not shared; "},
		{b.live.run.Windows()[1].Addr, "which no module shares now"}, {^uint64(0), "leads to 0xffffffffffffffff, which is not shared; "},
		{uint64(syms[0].Addr), "which is not shared; "},
	} {
		store64(variable, c.value)
		b.noMap("ring", diag.ErrRange, c.text)
	}
	store64(variable, was+16383)
	if rep, _ := b.mustMap("ring"); rep.Offset != 16383 || rep.Size != 1 {
		t.Errorf("%+v", rep)
	}
	store64(variable, was)
	// The table.
	entry := b.windowEntry(0)
	size := load64(entry[8:])
	for _, s := range []uint64{1 << 20, 1<<20 + 1, 1 << 63, ^uint64(0)} {
		store64(entry[8:], s)
		if rep, _ := b.mustMap("ring"); rep.Size != 1<<20 {
			t.Errorf("%+v", rep)
		}
	}
	store64(entry[8:], 0)
	b.noMap("ring", diag.ErrRange, "which is behind the 0 bytes")
	store64(entry[8:], size)
	for i := range entry[kpi.WindowName:] {
		entry[kpi.WindowName+i] = 0xff
	}
	if rep, _ := b.mustMap("ring"); rep.Name != strings.Repeat("\xff", 32) {
		t.Errorf("%q", rep.Name)
	}
	store64(entry, 0)
	b.noMap("ring", diag.ErrRange, "which no module shares now")
	store64(entry, ^uint64(0)) // no module's: it stays
	if rep, _ := b.mustMap("ring"); rep.Size != 16384 {
		t.Errorf("%+v", rep)
	}
}

// TestMapNothingRuns: a host without runner has no memory to share, one whose runner died
// still has what was shared last.
func TestMapNothingRuns(t *testing.T) {
	k, err := New(Config{Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &liveBench{t, k}
	b.noMap("ring", diag.ErrMachine, "booted bare")
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	b = tracing(t)
	b.value("bus_fill", 1, 5)
	if err := unix.Kill(b.Status().Runner.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.live.run.Gone()
	if _, view := b.mustMap("ring"); load64(view[ringHead:]) != 2 {
		t.Errorf("%d records", load64(view[ringHead:]))
	}
}

// TestMapTakenBack: what a module shares is taken back with it, and not before; the next
// who gets it finds zeros. No window is lost over many loads.
func TestMapTakenBack(t *testing.T) {
	b := tracing(t)
	first, view := b.mustMap("ring")
	for range 2 * len(b.live.run.Windows()) {
		b.value("bus_fill", 3, 9)
		if _, err := b.Unload(t.Context(), UnloadRequest{Modules: []string{"bus_space_trace"}}); err != nil {
			t.Fatal(err)
		}
		if home := load64(b.windowEntry(0)); home != 0 {
			t.Fatalf("still shared by %#x", home)
		}
		b.noMap("ring", diag.ErrNotFound, `no symbol "ring"`)
		b.noMap(first.Addr.String(), diag.ErrRange, "which no module shares now")
		b.mustBring("bus_space/bus_space_trace.kmod")
		if head := load64(view[ringHead:]); head != 0 || load64(view[ringRecords:]) != 0 {
			t.Fatalf("the ring begins with %d", head)
		}
		if again, _ := b.mustMap("ring"); again.Addr != first.Addr {
			t.Fatalf("%+v", again)
		}
	}
}

// TestMapDescriptors: what Map gives is a descriptor of its own that can read and no more.
func TestMapDescriptors(t *testing.T) {
	b := tracing(t)
	var files []*os.File
	for range 3 {
		_, f, err := b.Map(MapRequest{What: "ring"})
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for i, f := range files {
		if _, err := f.Write([]byte{1}); err == nil {
			t.Error("it can be written")
		}
		if off, err := f.Seek(int64(i+1), 1); err != nil || off != int64(i+1) {
			t.Error(off, err)
		}
		if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil || !strings.Contains(name, "memfd:klink-window") {
			t.Error(name, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
