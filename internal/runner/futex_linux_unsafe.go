package runner

import (
	"math"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// futex(2)'s operations, not private: both processes use the words.
const (
	futexWait = 0
	futexWake = 1
)

// waitWord waits until somebody wakes word, or for d; it returns at once if word is
// not v. It may return early: the caller looks again. The goroutine's OS thread waits
// with it.
func waitWord(word *atomic.Uint32, v uint32, d time.Duration) {
	ts := syscall.NsecToTimespec(max(int64(d), 0))
	// The error says why it returned, which the caller finds out by looking.
	_, _, _ = syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(v),
		uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// wakeWord wakes all that wait for word. It cannot block, so the Go scheduler need
// not hear of it: that saves a tenth of the time it takes.
func wakeWord(word *atomic.Uint32) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, math.MaxInt32, 0, 0, 0)
}
