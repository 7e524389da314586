package patch

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"klink/internal/arch"
	"klink/internal/insn"
)

// flat is memory of one piece at an address.
type flat struct {
	at    uint64
	bytes []byte
}

func (m flat) Bytes(addr, n uint64) []byte {
	if addr < m.at || addr+n > m.at+uint64(len(m.bytes)) {
		return nil
	}
	return m.bytes[addr-m.at:][:n]
}

// TestMixed: the sites of several symbols mix in each module, in lists longer than what
// is planned at a time; the edits come out in order all the same.
func TestMixed(t *testing.T) {
	const base, targets = 0x10000000, 0x10200000
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := flat{base, make([]byte, 2<<20)}
		symbols := 1 + r.IntN(9)
		var x Index
		total := 0
		at := uint64(base)
		for module := range uint32(1 + r.IntN(4)) {
			lists := make([][]Site, symbols)
			for range r.IntN(8 * block) {
				s := r.IntN(symbols)
				insn.Call32.Encode(m.bytes[at-base:], at, targets+uint64(s)*16)
				lists[s] = append(lists[s], Site{Addr: at, Form: insn.Call32})
				at += uint64(5 + r.IntN(60))
				total++
			}
			for s, list := range lists {
				x.Add(module+1, uint32(s), list)
			}
		}
		var moves []Move
		for s := range symbols {
			moves = append(moves, Move{uint32(s), targets + uint64(s)*16, targets + 0x1000 + uint64(s)*16})
		}
		sw, err := Plan(m, arch.AMD64, &x, moves)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		edits := sw.Edits()
		if len(edits) != total || !slices.IsSortedFunc(edits, func(a, b Edit) int { return cmp.Compare(a.Addr, b.Addr) }) {
			t.Fatalf("seed %d: %d edits of %d, or out of order", seed, len(edits), total)
		}
	}
}
