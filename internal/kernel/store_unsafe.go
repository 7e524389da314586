package kernel

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// store64 stores v over the first eight bytes of dst, which are aligned, in one store
// that comes after all stores before it for whoever else reads them. Both machines and
// every host that runs modules are little-endian.
func store64(dst []byte, v uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&dst[:8][0])), v)
}

// load64 reads the first eight bytes of src in one load that comes before all that is
// read after it. Views of the arena are aligned as their addresses are; others, which
// nobody else writes, are read plainly.
func load64(src []byte) uint64 {
	if uintptr(unsafe.Pointer(&src[:8][0]))%8 != 0 {
		return binary.LittleEndian.Uint64(src)
	}
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&src[:8][0])))
}

// cas64 replaces the first eight bytes of dst, which are aligned, if they are old.
func cas64(dst []byte, old, v uint64) {
	atomic.CompareAndSwapUint64((*uint64)(unsafe.Pointer(&dst[:8][0])), old, v)
}
