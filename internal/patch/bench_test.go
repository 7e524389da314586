package patch

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/insn"
)

// BenchmarkSwitch is Plan and Run together, there and back, over shared memory of
// small pages as an arena's is. A site a kilobyte, or as many as 128 MiB of text take.
func BenchmarkSwitch(b *testing.B) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		for _, n := range []int{1_000, 100_000, 1_000_000} {
			for _, modules := range []int{1, 10_000} {
				b.Run(fmt.Sprintf("%s/%d/modules=%d", m, n, min(modules, n)), func(b *testing.B) {
					benchSwitch(b, m, n, min(modules, n))
				})
			}
		}
	}
}

func benchSwitch(b *testing.B, m arch.Machine, n, modules int) {
	const base, size = 0x10000000, 128 << 20
	view, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Munmap(view)
	mem := span{base, view}
	stride := uint64(min(1024, (size-64)/n)) &^ 3
	from, to := uint64(base+size/2), uint64(base+size/2+32)
	forms := []insn.Form{insn.Call32, insn.Call32, insn.Jmp32, insn.Jcc32 + 4}
	if m == arch.ARM64 {
		forms = []insn.Form{insn.BL, insn.BL, insn.B}
	}
	var x Index
	for i := range modules {
		var sites []Site
		for j := i * n / modules; j < (i+1)*n/modules; j++ {
			// Somewhere in its stride: equal distances would all fall into the
			// same few lines of the cache.
			off := uint64(j) * 0x9e3779b97f4a7c15 >> 32 % (stride - 8)
			s := Site{Addr: base + uint64(j)*stride + off&^(m.Facts().InsnAlign-1), Form: forms[j%len(forms)]}
			s.Form.Encode(mem.Bytes(s.Addr, uint64(s.Form.Len())), s.Addr, from)
			sites = append(sites, s)
		}
		x.Add(uint32(i), 7, sites)
	}
	for b.Loop() {
		s, err := Plan(mem, m, &x, []Move{{Slot: 7, Old: from, New: to}})
		if err != nil || s.Len() != n {
			b.Fatal(s.Len(), err)
		}
		if err := s.Run(Alone()); err != nil {
			b.Fatal(err)
		}
		from, to = to, from
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/site")
	b.ReportMetric(0, "ns/op")
}
