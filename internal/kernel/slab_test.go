package kernel

import (
	"bytes"
	"testing"
)

// TestSlab takes more than was reserved, in pieces of every kind: each is zeroed and
// has memory of its own.
func TestSlab(t *testing.T) {
	for _, reserve := range []int64{0, reserveMin - 1, reserveMin, 1 << 40} {
		var s slab
		s.reserve(reserve)
		var taken [][]byte
		for _, n := range []int{0, 1, 63, 64, 65, reserveMin, slabSize / 4, slabSize/4 + 1, 100, slabSize} {
			b := s.take(n)
			if len(b) != n || cap(b) != n {
				t.Fatalf("reserved %d: take(%d) has %d bytes, room for %d", reserve, n, len(b), cap(b))
			}
			for i := range b {
				if b[i] != 0 {
					t.Fatalf("reserved %d: byte %d of take(%d) is %#x", reserve, i, n, b[i])
				}
				b[i] = byte(len(taken) + 1)
			}
			taken = append(taken, b)
		}
		for i, b := range taken {
			if bytes.Count(b, []byte{byte(i + 1)}) != len(b) {
				t.Errorf("reserved %d: piece %d was written by another", reserve, i)
			}
		}
	}
}
