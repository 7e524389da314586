package kernel

import (
	"sync/atomic"
	"unsafe"
)

// store64 stores v over the first eight bytes of dst, which are aligned, in one store
// that comes after all stores before it for whoever else reads them. Both machines and
// every host that runs modules are little-endian.
func store64(dst []byte, v uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&dst[:8][0])), v)
}
