// Package words reads and writes memory that module code reads and writes at the same
// time. Imported by programs and tests that drive a kernel in their own process.
package words

import (
	"sync/atomic"
	"unsafe"
)

// Words is a piece of such memory, 8-aligned. Offsets are in bytes, aligned to what is
// read there, and lie in it. Its methods may be called from any goroutine: loads come
// before all that follows, stores after all that was stored before, for module code too.
type Words []byte

// Load64 reads the word at off.
func (w Words) Load64(off uint64) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&w[off : off+8][0])))
}

// Load32 reads the half word at off.
func (w Words) Load32(off uint64) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&w[off : off+4][0])))
}

// Store64 writes the word at off.
func (w Words) Store64(off, v uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&w[off : off+8][0])), v)
}

// Store32 writes the half word at off.
func (w Words) Store32(off uint64, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&w[off : off+4][0])), v)
}
