// Package manysites makes objects of many sites, for tests and benchmarks of the switch.
package manysites

import (
	"debug/elf"
	"math/rand/v2"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

// PerFunction is how many sites a function of an object has.
const PerFunction = 50

// Table is the name of an object's table of the addresses of its functions.
const Table = "manysites"

// crossing is how many of 1,000 sites of x86-64 lie across the end of a cache line: the
// share that they have in real kernel modules.
const crossing = 40

// Object is an object made up.
type Object struct {
	Bytes     []byte
	Functions int // rows of Table; they take no arguments
	Crossing  int // sites across the end of a cache line
}

// code is what differs between machines.
type code struct {
	enter, call, leave, nop []byte
	field                   uint64 // of the call's relocation, from its start, bytes
	callType, wordType      uint32
	addend                  int64
}

var codes = map[arch.Machine]*code{
	arch.AMD64: {
		enter: []byte{0x48, 0x83, 0xec, 0x08},       // sub $8, %rsp
		call:  []byte{0xe8, 0, 0, 0, 0},             // call SYMBOL
		leave: []byte{0x48, 0x83, 0xc4, 0x08, 0xc3}, // add $8, %rsp; ret
		nop:   []byte{0x90},
		field: 1, callType: uint32(elf.R_X86_64_PLT32), wordType: uint32(elf.R_X86_64_64), addend: -4,
	},
	arch.ARM64: {
		enter:    []byte{0xfd, 0x7b, 0xbf, 0xa9},                         // stp x29, x30, [sp, #-16]!
		call:     []byte{0, 0, 0, 0x94},                                  // bl SYMBOL
		leave:    []byte{0xfd, 0x7b, 0xc1, 0xa8, 0xc0, 0x03, 0x5f, 0xd6}, // ldp x29, x30, [sp], #16; ret
		nop:      []byte{0x1f, 0x20, 0x03, 0xd5},
		callType: uint32(elf.R_AARCH64_CALL26), wordType: uint32(elf.R_AARCH64_ABS64),
	},
}

// New makes an object of machine m with n calls, of the symbols in turns, about 24 bytes
// apart. On x86-64 no displacement is aligned to 4, and the share of sites that lie
// across the end of a cache line is that of real modules.
func New(m arch.Machine, n int, symbols ...string) *Object {
	c := codes[m]
	w := writer{code: c, rng: rand.New(rand.NewPCG(1, uint64(n)))}
	var at, start []uint64 // of relocations; of functions
	for i := range n {
		if i%PerFunction == 0 {
			w.align(16)
			start = append(start, uint64(len(w.text)))
			w.text = append(w.text, c.enter...)
		}
		w.gap((8 + w.rng.IntN(24)) / len(c.nop))
		if m == arch.AMD64 {
			w.place(i)
		}
		at = append(at, uint64(len(w.text))+c.field)
		w.text = append(w.text, c.call...)
		if i%PerFunction == PerFunction-1 || i == n-1 {
			w.text = append(w.text, c.leave...)
		}
	}
	o := objbuild.New(m).Text(".text", w.text).With(func(s *objbuild.Section) { s.Align = 64 })
	for i, off := range at {
		o.Reloc(off, c.callType, symbols[i%len(symbols)], c.addend)
	}
	o.Data(".data", make([]byte, 8*len(start))).Global(Table, 0, uint64(8*len(start)))
	for i, off := range start {
		o.Reloc(uint64(8*i), c.wordType, ".text", int64(off))
	}
	for _, s := range symbols {
		o.Undef(s)
	}
	return &Object{Bytes: o.Bytes(), Functions: len(start), Crossing: w.crossing}
}

// writer appends to text.
type writer struct {
	*code
	rng      *rand.Rand
	text     []byte
	crossing int
}

// gap appends n nops.
func (w *writer) gap(n int) {
	for range n {
		w.text = append(w.text, w.nop...)
	}
}

// align appends nops up to a multiple of n.
func (w *writer) align(n int) {
	for len(w.text)%n != 0 {
		w.gap(1)
	}
}

// place moves on to where the i-th call of x86-64 may stand: with its displacement not
// aligned, and across the end of a cache line as often as there should be such.
func (w *writer) place(i int) {
	across := i*crossing/1000 >= w.crossing && w.rng.IntN(4) == 0
	for (len(w.text)+1)%4 == 0 || (len(w.text)%64 > 64-len(w.call)) != across {
		w.gap(1)
	}
	if across {
		w.crossing++
	}
}
