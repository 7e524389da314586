package patch

import (
	"encoding/binary"
	"math/bits"

	"klink/internal/arch"
	"klink/internal/insn"
)

// head is how an instruction starts: its first seven bytes, little-endian, and above
// them its length. What is longer than seven bytes is a veneer, of which only the first
// word is taken from here.
type head uint64

const headBits = 8 * (headLen - 1)

// first returns the first four bytes.
func (h head) first() uint32 { return uint32(h) }

// from returns the four bytes that start with byte i, i < 4.
func (h head) from(i int) uint32 { return uint32(h >> (8 * i)) }

// length returns the length of the instruction, bytes.
func (h head) length() int { return int(h >> headBits) }

// headOf makes a head of an instruction's bytes.
func headOf(b []byte) head {
	var c code
	copy(c[:], b)
	return head(binary.LittleEndian.Uint64(c[:])&(1<<headBits-1) | uint64(len(b))<<headBits)
}

// codec is one form of insn's table in a shape for loops over sites: its bytes as one
// little-endian word, and how the target stands in it.
type codec struct {
	length uint8  // bytes of the form; 0: no form of the machine
	branch bool   // the rest is set: every form but a veneer
	scale  uint8  // the distance counts units of 1<<scale bytes
	shift  uint8  // where the distance stands in the word
	end    uint64 // where the distance counts from, behind the site's address
	field  uint64 // the distance's bits, before they are shifted
	word0  uint64 // the form with an empty field
	mask   uint64 // its bits
	trap   uint64 // traps instead of it
}

// word returns the form's bytes at addr when it leads to target, which is in its reach.
func (c *codec) word(addr, target uint64) uint64 {
	return c.word0 | (target-addr-c.end)>>(c.scale&63)&c.field<<(c.shift&63)
}

// codecs are every form's, by machine.
var codecs = map[arch.Machine]*[256]codec{
	arch.AMD64: codecsOf(arch.AMD64),
	arch.ARM64: codecsOf(arch.ARM64),
}

// codecsOf asks insn for the bytes of each form of m, and finds out from them where the
// target stands. TestCodecs compares the result with insn.
func codecsOf(m arch.Machine) *[256]codec {
	var t [256]codec
	for i := range t {
		f, c := insn.Form(i), &t[i]
		if f.Machine() != m {
			continue
		}
		if c.length = uint8(f.Len()); c.length >= headLen {
			continue
		}
		c.branch, c.mask = true, 1<<(8*c.length)-1
		c.field, c.scale = 1<<32-1, 0 // rel32
		if m == arch.ARM64 {
			c.field, c.scale = 1<<26-1, 2 // imm26
		}
		const at = 0x10000000
		word := func(target uint64) uint64 {
			var b code
			return binary.LittleEndian.Uint64(b.bytesOf(f, at, target, m.Facts().TrapBytes)[:headLen]) & c.mask
		}
		here, next := word(at), word(at+1<<c.scale) // they differ in the lowest bits of the distance
		c.shift = uint8(bits.TrailingZeros64(here^next) &^ 7)
		c.end = -(here >> c.shift) & c.field << c.scale
		c.word0 = here &^ (c.field << c.shift)
		c.trap = word(0)
	}
	return &t
}
