package patch

import (
	"encoding/binary"
	"unsafe"
)

// bigEndian says that a host stores words with the highest byte first, unlike
// both targets.
var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// store4 and store8 write v, little-endian, over 4 or 8 bytes of dst in one store,
// so that a thread that fetches dst sees the old ones or the new ones. dst must be
// aligned to that in memory, as arena views are; where it is not the bytes are
// written plainly.
//
// An assignment through a pointer is one store instruction for an aligned word.
// sync/atomic would add an order between sites that the protocol does not need (the
// barriers between its steps make all of them visible), and on an x86-64 host an
// XCHG each, which waits for one cache miss after the other.

func store4(dst []byte, v uint32) {
	p := unsafe.Pointer(&dst[:4][0])
	if uintptr(p)%4 != 0 || bigEndian {
		binary.LittleEndian.PutUint32(dst, v)
		return
	}
	*(*uint32)(p) = v
}

func store8(dst []byte, v uint64) {
	p := unsafe.Pointer(&dst[:8][0])
	if uintptr(p)%8 != 0 || bigEndian {
		binary.LittleEndian.PutUint64(dst, v)
		return
	}
	*(*uint64)(p) = v
}
