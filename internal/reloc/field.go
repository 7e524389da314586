package reloc

import (
	"encoding/binary"

	"klink/internal/arch"
)

// Field is where in the bytes at a place a value goes, and which of its bits.
// All fields are little-endian; those of instructions are parts of a 32-bit word.
type Field uint8

// The fields.
const (
	NoField     Field = iota
	Word8             // a byte
	Word16            // 2 bytes
	Word32            // 4 bytes
	Word64            // 8 bytes
	Branch26          // B, BL: X[27:2] in bits 25:0
	Imm19             // B.cond, CBZ, LDR literal: X[20:2] in bits 23:5
	Branch14          // TBZ, TBNZ: X[15:2] in bits 18:5
	Adr21             // ADR: X[20:2] in bits 23:5, X[1:0] in bits 30:29
	Adrp21            // ADRP: X[32:14] in bits 23:5, X[13:12] in bits 30:29
	Lo12              // ADD, LDRB: X[11:0] in bits 21:10
	Lo12Half          // LDRH: X[11:1] in bits 21:10
	Lo12Word          // LDR W: X[11:2] in bits 21:10
	Lo12Xword         // LDR X: X[11:3] in bits 21:10
	Lo12Quad          // LDR Q: X[11:4] in bits 21:10
	Lo15Xword         // LDR X: X[14:3] in bits 21:10
	MovG0             // MOVZ, MOVK: X[15:0] in bits 20:5
	MovG1             // MOVZ, MOVK: X[31:16] in bits 20:5
	MovG2             // MOVZ, MOVK: X[47:32] in bits 20:5
	MovG3             // MOVZ, MOVK: X[63:48] in bits 20:5
	MovSignedG0       // MOVZ: X[15:0] in bits 20:5; MOVN: their complement
	MovSignedG1       // MOVZ: X[31:16] in bits 20:5; MOVN: their complement
	MovSignedG2       // MOVZ: X[47:32] in bits 20:5; MOVN: their complement
	MovSignedG3       // MOVZ: X[63:48] in bits 20:5; MOVN: their complement
	fields            // how many there are
)

// style is how the bits of an instruction's field are arranged.
type style uint8

const (
	plain  style = iota // contiguous
	split               // the two lowest bits stand in 30:29 (ADR, ADRP)
	turned              // contiguous; the sign of X makes the instruction MOVZ or MOVN
)

// layout is a field in numbers: bits [lsb, lsb+take) of the value go to bits
// [pos, pos+size) of the word; size > take where the field's upper bits become 0.
type layout struct {
	width uint8 // bytes at the place
	lsb   uint8
	take  uint8
	pos   uint8
	size  uint8
	scale uint8 // an addend in the field counts in units of 1<<scale
	style style
	text  string // for the document
}

// layouts has one row a field. The scales of ADRP and MOVW are 0: in a REL entry
// their fields hold the addend itself, unshifted (aaelf64 5.7.2), so that each
// instruction of a group adds the same small number to the symbol.
var layouts = [fields]layout{
	NoField:     {text: "none"},
	Word8:       {width: 1, text: "8-bit word"},
	Word16:      {width: 2, text: "16-bit word"},
	Word32:      {width: 4, text: "32-bit word"},
	Word64:      {width: 8, text: "64-bit word"},
	Branch26:    {width: 4, lsb: 2, take: 26, pos: 0, size: 26, scale: 2, text: "X[27:2] in 25:0"},
	Imm19:       {width: 4, lsb: 2, take: 19, pos: 5, size: 19, scale: 2, text: "X[20:2] in 23:5"},
	Branch14:    {width: 4, lsb: 2, take: 14, pos: 5, size: 14, scale: 2, text: "X[15:2] in 18:5"},
	Adr21:       {width: 4, lsb: 0, take: 21, pos: 5, size: 19, style: split, text: "X[20:2] in 23:5, X[1:0] in 30:29"},
	Adrp21:      {width: 4, lsb: 12, take: 21, pos: 5, size: 19, style: split, text: "X[32:14] in 23:5, X[13:12] in 30:29"},
	Lo12:        {width: 4, lsb: 0, take: 12, pos: 10, size: 12, text: "X[11:0] in 21:10"},
	Lo12Half:    {width: 4, lsb: 1, take: 11, pos: 10, size: 12, scale: 1, text: "X[11:1] in 21:10"},
	Lo12Word:    {width: 4, lsb: 2, take: 10, pos: 10, size: 12, scale: 2, text: "X[11:2] in 21:10"},
	Lo12Xword:   {width: 4, lsb: 3, take: 9, pos: 10, size: 12, scale: 3, text: "X[11:3] in 21:10"},
	Lo12Quad:    {width: 4, lsb: 4, take: 8, pos: 10, size: 12, scale: 4, text: "X[11:4] in 21:10"},
	Lo15Xword:   {width: 4, lsb: 3, take: 12, pos: 10, size: 12, scale: 3, text: "X[14:3] in 21:10"},
	MovG0:       {width: 4, lsb: 0, take: 16, pos: 5, size: 16, text: "X[15:0] in 20:5"},
	MovG1:       {width: 4, lsb: 16, take: 16, pos: 5, size: 16, text: "X[31:16] in 20:5"},
	MovG2:       {width: 4, lsb: 32, take: 16, pos: 5, size: 16, text: "X[47:32] in 20:5"},
	MovG3:       {width: 4, lsb: 48, take: 16, pos: 5, size: 16, text: "X[63:48] in 20:5"},
	MovSignedG0: {width: 4, lsb: 0, take: 16, pos: 5, size: 16, style: turned, text: "X[15:0] in 20:5, MOVZ/MOVN by sign"},
	MovSignedG1: {width: 4, lsb: 16, take: 16, pos: 5, size: 16, style: turned, text: "X[31:16] in 20:5, MOVZ/MOVN by sign"},
	MovSignedG2: {width: 4, lsb: 32, take: 16, pos: 5, size: 16, style: turned, text: "X[47:32] in 20:5, MOVZ/MOVN by sign"},
	MovSignedG3: {width: 4, lsb: 48, take: 16, pos: 5, size: 16, style: turned, text: "X[63:48] in 20:5, MOVZ/MOVN by sign"},
}

// String describes the field: "X[27:2] in 25:0".
func (f Field) String() string {
	if f < fields {
		return layouts[f].text
	}
	return "unknown field"
}

// Bits of instruction words.
const (
	movzBit  = 1 << 30 // set in MOVZ, clear in MOVN (Arm ARM C6.2, move wide)
	splitPos = 29      // immlo of ADR and ADRP
)

// Put writes value v into the field at place, which is at least r.Width bytes and
// starts at the place itself. Bits of the instruction that are not of the field
// stay as they are, except that the sign of v turns a signed MOVW into MOVZ or
// MOVN. v is reduced to the field: call Check first.
func (r *Row) Put(place []byte, v int64) {
	switch r.Field {
	case NoField:
		return
	case Word32:
		binary.LittleEndian.PutUint32(place, uint32(v))
		return
	case Word64:
		binary.LittleEndian.PutUint64(place, uint64(v))
		return
	case Word16:
		binary.LittleEndian.PutUint16(place, uint16(v))
		return
	case Word8:
		place[0] = byte(v)
		return
	}
	l := &layouts[r.Field]
	word := binary.LittleEndian.Uint32(place)
	bits := uint32(uint64(v)>>l.lsb) & ones(l.take)
	switch l.style {
	case split:
		word = word&^(3<<splitPos) | bits&3<<splitPos
		bits >>= 2
	case turned:
		word |= movzBit
		if v < 0 {
			word &^= movzBit
			bits ^= ones(l.take)
		}
	}
	word = word&^(ones(l.size)<<l.pos) | bits<<l.pos
	binary.LittleEndian.PutUint32(place, word)
}

// Addend returns the addend that a REL entry keeps in the field at place (at least
// r.Width bytes), sign-extended, in bytes.
func (r *Row) Addend(place []byte) int64 {
	switch r.Field {
	case NoField:
		return 0
	case Word8:
		return int64(int8(place[0]))
	case Word16:
		return int64(int16(binary.LittleEndian.Uint16(place)))
	case Word32:
		return int64(int32(binary.LittleEndian.Uint32(place)))
	case Word64:
		return int64(binary.LittleEndian.Uint64(place))
	}
	l := &layouts[r.Field]
	word := binary.LittleEndian.Uint32(place)
	bits, size := word>>l.pos&ones(l.size), l.size
	if l.style == split {
		bits, size = bits<<2|word>>splitPos&3, size+2
	}
	return signExtend(bits, size) << l.scale
}

// ones returns a word whose lowest n bits are set, n < 32.
func ones(n uint8) uint32 { return 1<<n - 1 }

// signExtend takes the lowest n bits of v, 0 < n <= 32, as a signed number.
func signExtend(v uint32, n uint8) int64 {
	return int64(int32(v<<(32-n)) >> (32 - n))
}

// insnRule is which instruction must stand around a place.
type insnRule uint8

// The rules. Those of aarch64 have their words in arm64Insns.
const (
	anyBytes   insnRule = iota // the type is legal on data: nothing to check
	x86Branch                  // in executable text: behind e8, e9, 0f 80..8f or c7 f8
	x86RIP                     // behind an opcode and a RIP-relative ModRM
	x86RexRIP                  // the same, with a REX prefix
	armBranch                  // B, BL
	armCond                    // B.cond, BC.cond, CBZ, CBNZ
	armTest                    // TBZ, TBNZ
	armLit                     // LDR (literal) of any size
	armLitX                    // LDR Xt, literal
	armADR                     // ADR
	armADRP                    // ADRP
	armADD                     // ADD, ADDS (immediate, unshifted)
	armLDST8                   // LDR, STR (unsigned immediate) of 1 byte
	armLDST16                  // of 2 bytes
	armLDST32                  // of 4 bytes
	armLDST64                  // of 8 bytes
	armLDST128                 // of 16 bytes
	armLDRX                    // LDR Xt (unsigned immediate)
	armMovK0                   // MOVZ, MOVK with LSL #0
	armMovK1                   // with LSL #16
	armMovK2                   // with LSL #32
	armMovK3                   // with LSL #48
	armMovN0                   // MOVZ, MOVN with LSL #0
	armMovN1                   // with LSL #16
	armMovN2                   // with LSL #32
	armMovN3                   // with LSL #48
	insnRules                  // how many there are
)

// Fits says whether the place [off, off+r.Width) lies inside sec and whether the
// bytes around it are the instruction that the type implies: OK, OutOfSection or
// BadInsn. sec is the whole content of the section, m its machine (the row's own),
// exec whether it is executable. Types that are legal on data are not checked
// where exec is false; most are not checked at all. An aarch64 instruction must
// also be word-aligned in its section. Nothing is written.
func (r *Row) Fits(m arch.Machine, sec []byte, off uint64, exec bool) Verdict {
	if off > uint64(len(sec)) || uint64(len(sec))-off < uint64(r.Width) {
		return OutOfSection
	}
	if r.insn == anyBytes {
		return OK
	}
	if m == arch.AMD64 {
		return amd64Fits(r.insn, sec[:off], exec)
	}
	if off%4 != 0 {
		return BadInsn
	}
	word := binary.LittleEndian.Uint32(sec[off:])
	for _, p := range arm64Insns[r.insn] {
		if word&p.mask == p.value {
			return OK
		}
	}
	return BadInsn
}
