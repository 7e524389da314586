package patch

import (
	"fmt"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/insn"
)

// linuxStride is the distance between sites of this benchmark, bytes: the 1,121
// modules of a Debian cloud kernel have 324,329 sites in 17.2 MB of text, one in 53
// bytes, and the symbol with the most of them about one in 172.
const linuxStride = 172

// benchCase is how many sites there are, in how many modules, of how many symbols
// whose sites take turns, and how far apart.
type benchCase struct{ sites, modules, symbols, stride int }

// clock is Steps that write the table as the kernel does, into memory that both
// processes share, and say where the time went. Its barriers are free.
type clock struct {
	table []byte
	last  time.Time
	spent [5]time.Duration // plan, publish, trap, tails, firsts
	at    int
}

// lap says that what began at the last lap is over.
func (c *clock) lap() error {
	now := time.Now()
	c.spent[c.at] += now.Sub(c.last)
	c.last = now
	c.at = (c.at + 1) % len(c.spent)
	return nil
}

func (c *clock) Publish(_ uint64, rows []Edit) error {
	c.lap()
	PutRows(c.table, rows)
	return c.lap()
}
func (c *clock) Sync() error           { return c.lap() }
func (c *clock) Turn(uint64) error     { return nil }
func (c *clock) Withdraw(uint64) error { return nil }

// sharedMemory is small pages, as an arena's are.
func sharedMemory(b *testing.B, size int) []byte {
	b.Helper()
	view, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Munmap(view) })
	return view
}

// BenchmarkSwitch is Plan and Run together with the table, there and back, over shared
// memory of small pages as an arena's is. In the sparse case nearly each site has a page of
// its own: it measures the machine's page walks.
func BenchmarkSwitch(b *testing.B) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		for _, c := range []benchCase{
			{1_000, 1, 1, linuxStride},
			{100_000, 1, 1, linuxStride},
			{100_000, 10_000, 1, linuxStride},
			{100_000, 100, 50, linuxStride},
			{100_000, 1, 1, 1024},
			{700_000, 10_000, 1, linuxStride},
		} {
			name := fmt.Sprintf("%s/%d-sites/%d-modules/%d-symbols", m, c.sites, c.modules, c.symbols)
			if c.stride != linuxStride {
				name += "/sparse"
			}
			b.Run(name, func(b *testing.B) { benchSwitch(b, m, c) })
		}
	}
}

func benchSwitch(b *testing.B, m arch.Machine, c benchCase) {
	const base, size = 0x10000000, 128 << 20
	n, modules, slots := c.sites, c.modules, c.symbols
	view := sharedMemory(b, size)
	clock := clock{table: sharedMemory(b, n*RowSize)}
	// A host with so many sites has a heap of which a switch is a small part; here
	// it would be most of it, and every one would pay for a collection of its own.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	mem := span{base, view}
	stride := uint64(c.stride) &^ 3
	from, to := uint64(base+size/2), uint64(base+size/2+32)
	forms := []insn.Form{insn.Call32, insn.Call32, insn.Jmp32, insn.Jcc32 + 4}
	if m == arch.ARM64 {
		forms = []insn.Form{insn.BL, insn.BL, insn.B}
	}
	var x Index
	for i := range modules {
		sites := make([][]Site, slots)
		for j := i * n / modules; j < (i+1)*n/modules; j++ {
			// Somewhere in its stride: equal distances would all fall into the
			// same few lines of the cache.
			off := uint64(j) * 0x9e3779b97f4a7c15 >> 32 % (stride - 8)
			s := Site{Addr: base + uint64(j)*stride + off&^(m.Facts().InsnAlign-1), Form: forms[j%len(forms)]}
			s.Form.Encode(mem.Bytes(s.Addr, uint64(s.Form.Len())), s.Addr, from)
			sites[j%slots] = append(sites[j%slots], s)
		}
		for slot := range sites {
			x.Add(uint32(i), uint32(slot), sites[slot])
		}
	}
	moves := make([]Move, slots)
	for b.Loop() {
		for slot := range moves {
			moves[slot] = Move{Slot: uint32(slot), Old: from, New: to}
		}
		clock.last = time.Now()
		s, err := Plan(mem, m, &x, moves)
		if err != nil || s.Len() != n {
			b.Fatal(s.Len(), err)
		}
		if err := s.Run(&clock); err != nil {
			b.Fatal(err)
		}
		from, to = to, from
	}
	for i, what := range []string{"plan", "publish", "trap", "tails", "firsts"} {
		b.ReportMetric(float64(clock.spent[i].Nanoseconds())/float64(b.N)/float64(n), what+"/site")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/site")
	b.ReportMetric(0, "ns/op")
}
