package patch

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"klink/internal/arch"
	"klink/internal/insn"
)

// TestPutRows: the bytes that the runner's trap handler reads.
func TestPutRows(t *testing.T) {
	rows := []Edit{{0x10000001, 0x20000002, 0x7fff0003, insn.Jcc32 + 4}, {0xfedcba98, 0, 1, insn.BL}}
	b := bytes.Repeat([]byte{0xaa}, 3*RowSize)
	PutRows(b, rows)
	want := []byte{
		0x01, 0, 0, 0x10, 0x02, 0, 0, 0x20, 0x03, 0, 0xff, 0x7f, 12, 0, 0, 0,
		0x98, 0xba, 0xdc, 0xfe, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0,
		0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
	}
	if !bytes.Equal(b, want) {
		t.Errorf("% x, want\n% x", b, want)
	}
	if got := Rows(b[:2*RowSize+5]); !slices.Equal(got, rows) {
		t.Errorf("read back: %+v", got)
	}
	PutRows(nil, nil)
	for _, n := range []int{0, RowSize, 2*RowSize - 1} {
		mustPanic(t, fmt.Sprint(n, " bytes"), func() { PutRows(make([]byte, n), rows) })
	}
}

// TestCodecs: the loops over sites read and write what insn does.
func TestCodecs(t *testing.T) {
	for _, m := range machines {
		for i := range codecs[m] {
			f, c := insn.Form(i), &codecs[m][i]
			switch {
			case f.Machine() != m:
				if *c != (codec{}) {
					t.Errorf("%v: %v has a codec", m, f)
				}
				continue
			case int(c.length) != f.Len() || c.branch != (f != insn.FarJump):
				t.Errorf("%v: %+v", f, c)
			}
			if !c.branch {
				continue
			}
			rapid.Check(t, func(t *rapid.T) { checkCodec(t, m, f, c) })
		}
	}
}

func checkCodec(t *rapid.T, m arch.Machine, f insn.Form, c *codec) {
	align := alignOf(m, f)
	reach := int64(m.Facts().BranchReach) - 16
	at := 0x80000000 + align*rapid.Uint64Range(0, 1000).Draw(t, "at")
	target := (at + uint64(rapid.Int64Range(-reach, reach).Draw(t, "distance"))) &^ (align - 1)
	if target == 0 {
		return
	}
	for to, word := range map[uint64]uint64{target: c.word(at, target), 0: c.trap} {
		var b, want code
		h := head(word | uint64(c.length)<<headBits)
		text := want.bytesOf(f, at, to, m.Facts().TrapBytes)
		for i := range h.length() {
			b[i] = byte(h >> (8 * i))
		}
		if b != want || h != headOf(text) || word&^c.mask != 0 {
			t.Fatalf("%v at %#x to %#x: % x, want % x", f, at, to, b, want)
		}
	}
}

// BenchmarkPutRows is the table's part of a switch.
func BenchmarkPutRows(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows, table := make([]Edit, n), sharedMemory(b, n*RowSize)
			for b.Loop() {
				PutRows(table, rows)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
			b.ReportMetric(0, "ns/op")
		})
	}
}
