package unwind

import (
	"bytes"
	"encoding/binary"
)

// How an address is encoded (LSB 10.5.1): a format, what is added to it, and whether
// the sum is the address of the address.
const (
	encFormat   = 0x0f
	encApply    = 0x70
	encPCRel    = 0x10
	encIndirect = 0x80
	encAbsolute = 0x00
)

// cursor reads a part of a table from front to back. What goes beyond the end reads as
// 0 and sets bad, so that a reader asks once, at the end.
type cursor struct {
	data []byte
	at   uint32
	end  uint32 // at <= end <= len(data)
	bad  bool
}

// cursor returns one at the start of a part, which must lie in the table.
func (t *Table) cursor(s span) cursor { return cursor{data: t.data, at: s.lo, end: s.hi} }

// left returns how many bytes follow.
func (c *cursor) left() uint32 { return c.end - c.at }

// rest returns the part that follows.
func (c *cursor) rest() span { return span{c.at, c.end} }

// take passes over n bytes and returns where they are.
func (c *cursor) take(n uint64) span {
	if n > uint64(c.left()) {
		c.bad = true
		c.at = c.end
		return span{c.end, c.end}
	}
	s := span{c.at, c.at + uint32(n)}
	c.at = s.hi
	return s
}

// fixed reads n bytes as a little-endian number, n <= 8.
func (c *cursor) fixed(n uint64) uint64 {
	s := c.take(n)
	var word [8]byte
	copy(word[:], c.data[s.lo:s.hi])
	return binary.LittleEndian.Uint64(word[:])
}

func (c *cursor) u8() byte    { return byte(c.fixed(1)) }
func (c *cursor) u32() uint32 { return uint32(c.fixed(4)) }

// signed reads n bytes as a signed number.
func (c *cursor) signed(n uint64) int64 {
	shift := 64 - 8*n
	return int64(c.fixed(n)<<shift) >> shift
}

// leb reads a LEB128 number of any length and returns its lowest 64 bits, its length in
// bits, and its last byte.
func (c *cursor) leb() (v uint64, bits uint, last byte) {
	for {
		last = c.u8()
		if bits < 64 {
			v |= uint64(last&0x7f) << bits
			bits += 7
		}
		if last < 0x80 { // what lies beyond the end reads as 0
			return v, bits, last
		}
	}
}

func (c *cursor) uleb() uint64 {
	v, _, _ := c.leb()
	return v
}

func (c *cursor) sleb() int64 {
	v, bits, last := c.leb()
	if bits < 64 && last&0x40 != 0 {
		v |= ^uint64(0) << bits
	}
	return int64(v)
}

// text reads a string that ends in a NUL byte.
func (c *cursor) text() []byte {
	i := bytes.IndexByte(c.data[c.at:c.end], 0)
	if i < 0 {
		c.bad = true
		c.at = c.end
		return nil
	}
	s := c.take(uint64(i) + 1)
	return c.data[s.lo : s.hi-1]
}

// formats are the formats of encoded addresses; the rest do not exist.
var formats = [16]func(*cursor) uint64{
	0x0: func(c *cursor) uint64 { return c.fixed(8) }, // absptr
	0x1: (*cursor).uleb,
	0x2: func(c *cursor) uint64 { return c.fixed(2) },
	0x3: func(c *cursor) uint64 { return c.fixed(4) },
	0x4: func(c *cursor) uint64 { return c.fixed(8) },
	0x9: func(c *cursor) uint64 { return uint64(c.sleb()) },
	0xa: func(c *cursor) uint64 { return uint64(c.signed(2)) },
	0xb: func(c *cursor) uint64 { return uint64(c.signed(4)) },
	0xc: func(c *cursor) uint64 { return uint64(c.signed(8)) },
}

// pointer reads an encoded address; base is where the table's bytes lie. The number 0
// is no address whatever is added to it. Encodings that are relative to something that
// an object does not have (text, data, function), indirect or aligned are bad.
func (c *cursor) pointer(enc byte, base uint64) uint64 {
	at := base + uint64(c.at)
	read := formats[enc&encFormat]
	if read == nil || enc&encIndirect != 0 || enc&encApply != 0 && enc&encApply != encPCRel {
		c.bad = true
		return 0
	}
	v := read(c)
	if v != 0 && enc&encApply == encPCRel {
		v += at
	}
	return v
}
