package runner

import "sync/atomic"

// poke writes a word of data that threads read meanwhile.
func (w *world) poke(off, v uint64) { (*atomic.Uint64)(w.data.at(off, 8)).Store(v) }

// peek reads one.
func (w *world) peek(off uint64) uint64 { return (*atomic.Uint64)(w.data.at(off, 8)).Load() }

// stir wakes who sleeps for a word of data.
func (w *world) stir(off uint64) { wakeWord((*atomic.Uint32)(w.data.at(off, 4))) }

// wordAt is word i of a memory.
func (m memory) wordAt(i uint64) *atomic.Uint64 { return (*atomic.Uint64)(m.at(8*i, 8)) }
