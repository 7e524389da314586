package runner

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// memory is a view of shared memory, mapped by this process, 8-aligned. The offsets
// that its methods take are the host's own, never read from shared memory; one that
// lies outside panics like any index.
type memory []byte

// at returns where size bytes at off lie.
func (m memory) at(off, size uint64) unsafe.Pointer {
	return unsafe.Pointer(&m[off : off+size][0])
}

func (m memory) config() *ctlConfig { return (*ctlConfig)(m.at(0, mailOff)) }

func (m memory) mail() *ctlMail { return (*ctlMail)(m.at(mailOff, threadsOff-mailOff)) }

// thread returns thread i's block, values its table of values.
func (m memory) thread(i int) *ctlThread {
	return (*ctlThread)(m.at(threadsOff+uint64(i)*threadSize, valuesOff))
}

func (m memory) values(i int) *ctlValues {
	return (*ctlValues)(m.at(threadsOff+uint64(i)*threadSize+valuesOff, threadSize-valuesOff))
}

// line returns slot i of the log whose slots begin at off.
func (m memory) line(off uint64, i int) *ctlLine {
	return (*ctlLine)(m.at(off+uint64(i)*lineSize, lineSize))
}

// copyWords returns size bytes at off, both multiples of 8, read word by word with
// atomic loads: whatever else writes there, each word is one that stood there, and
// they are read before what the caller loads next.
func (m memory) copyWords(off, size uint64) []byte {
	if size == 0 {
		return nil
	}
	return loadWords(unsafe.Slice((*atomic.Uint64)(m.at(off, size)), size/8))
}

// loadWords returns the bytes of words, each loaded atomically.
func loadWords(words []atomic.Uint64) []byte {
	b := make([]byte, 8*len(words))
	for i := range words {
		binary.LittleEndian.PutUint64(b[8*i:], words[i].Load())
	}
	return b
}
