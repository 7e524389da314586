package insn

import "encoding/binary"

// The length of x86-64 instructions, after the opcode maps of the Intel SDM (volume
// 2, appendix A) and AMD's for XOP.
//
// An instruction is: legacy prefixes, REX; an opcode in one of several maps; then,
// as its map says, ModRM with SIB and displacement, and an immediate. VEX, EVEX and
// XOP fold prefixes, REX and the map into 2 to 4 bytes, and leave the rest alike. So
// the length needs only two small tables, while the names need thousands of rows.
//
// What surprises:
//
//   - 66 halves a 4-byte immediate, except under REX.W; but not the rel32 of a branch
//     (on Intel's processors; on AMD's it does).
//   - REX counts only directly before the opcode.
//   - mov to and from control registers ignores mod: there is never a displacement.
//   - 8f is pop with reg 0, and XOP when the bits of the map say 8 or more.
//   - c4, c5 and 62 are never lds, les and bound in 64-bit mode.

// amd64Insn is what the walk needs to know of an instruction.
type amd64Insn struct {
	len    int  // bytes, prefixes included
	op     int  // where the opcode is, after prefixes and escapes
	jump   jump // what direct branch it is
	field  int  // where the relative field of a direct branch is
	prefix prefixes
}

// jump says which direct branch an instruction is.
type jump uint8

const (
	noJump jump = iota
	rel8        // eb, 70..7f, e0..e3
	rel32       // e8, e9, 0f 80..8f
)

// prefixes is a set of those that matter here.
type prefixes uint8

const (
	opSize   prefixes = 1 << iota // 66
	addrSize                      // 67
	bnd                           // f2
	rexW
	otherPrefix // any that a branch is not usually written with
)

// oneByteMap and twoByteMap (0f) have one letter an opcode:
//
//	.  nothing follows       b  ModRM, imm8                    P  prefix
//	M  ModRM                 z  ModRM, imm32 (imm16 with 66)   E  62, V  c5, W  c4, X  8f
//	1  imm8                  F  ModRM, imm8 if reg is 0 or 1   T  two-byte map
//	2  imm16                 G  ModRM, imm32 if reg is 0 or 1  3  map 0f 38
//	4  imm32 (16 with 66)    Q  imm32, 64-bit with REX.W       A  map 0f 3a
//	e  imm16, imm8           o  address, 8 bytes (4 with 67)   C  ModRM whose mod is ignored
//	r  rel8                  R  rel32                          x  no instruction
const oneByteMap = "" +
	"MMMM14xx" + "MMMM14xT" + "MMMM14xx" + "MMMM14xx" + // 00
	"MMMM14Px" + "MMMM14Px" + "MMMM14Px" + "MMMM14Px" + // 20
	"PPPPPPPP" + "PPPPPPPP" + "........" + "........" + // 40
	"xxEMPPPP" + "4z1b...." + "rrrrrrrr" + "rrrrrrrr" + // 60
	"bzxbMMMM" + "MMMMMMMX" + "........" + "..x....." + // 80
	"oooo...." + "14......" + "11111111" + "QQQQQQQQ" + // a0
	"bb2.WVbz" + "e.2..1x." + "MMMMxxx." + "MMMMMMMM" + // c0
	"rrrr1111" + "RRxr...." + "P.PP..FG" + "......MM" //  e0

const twoByteMap = "" +
	"MMMMx..." + "..x.xM.b" + "MMMMMMMM" + "MMMMMMMM" + // 00
	"CCCCxxxx" + "MMMMMMMM" + "......x." + "3xAxxxxx" + // 20
	"MMMMMMMM" + "MMMMMMMM" + "MMMMMMMM" + "MMMMMMMM" + // 40
	"MMMMMMMM" + "MMMMMMMM" + "bbbbMMM." + "MMxxMMMM" + // 60
	"RRRRRRRR" + "RRRRRRRR" + "MMMMMMMM" + "MMMMMMMM" + // 80
	"...MbMMM" + "...MbMMM" + "MMMMMMMM" + "MMbMMMMM" + // a0
	"MMbMbbbM" + "........" + "MMMMMMMM" + "MMMMMMMM" + // c0
	"MMMMMMMM" + "MMMMMMMM" + "MMMMMMMM" + "MMMMMMMM" //  e0

// maxInsn is the longest instruction that a processor takes, bytes.
const maxInsn = 15

// length decodes the instruction at the start of code; ok is false if there is none,
// or not all of it.
//
// How good it is: on compiler output, and on all that GNU as accepts short of APX
// (REX2, d5, and EVEX map 4) and SSE4a's extrq and insertq with immediates, it gives
// objdump's lengths. It does not judge whether operands make sense, so on data that
// lies in text it goes on rather than stop; the walk is back in step a few
// instructions behind the data, as x86 code resynchronises.
func length(code []byte) (in amd64Insn, ok bool) {
	if len(code) > maxInsn {
		code = code[:maxInsn]
	}
	i := in.skipPrefixes(code)
	if i >= len(code) {
		return in, false
	}
	kind := oneByteMap[code[i]]
	switch kind {
	case 'T':
		if i++; i >= len(code) {
			return in, false
		}
		kind = twoByteMap[code[i]]
		if kind == '3' || kind == 'A' { // every opcode of those maps has one shape
			i++
		}
	case 'V', 'W', 'E', 'X':
		i, kind = in.vector(code, i, kind)
	}
	if kind == 'x' || i >= len(code) {
		return in, false
	}
	in.op = i
	n, ok := in.operands(code[i+1:], kind)
	if !ok {
		return in, false
	}
	in.len = i + 1 + n
	return in, in.len <= len(code)
}

// skipPrefixes notes legacy prefixes and REX and returns where the opcode is.
func (in *amd64Insn) skipPrefixes(code []byte) int {
	i := 0
	for ; i < len(code) && oneByteMap[code[i]] == 'P'; i++ {
		c := code[i]
		in.prefix &^= rexW // a REX that is not the last prefix does nothing
		switch {
		case c == 0x66:
			in.prefix |= opSize
		case c == 0x67:
			in.prefix |= addrSize
		case c == 0xf2:
			in.prefix |= bnd
		case c&0xf0 == 0x40:
			in.prefix |= otherPrefix
			if c&8 != 0 {
				in.prefix |= rexW
			}
		default:
			in.prefix |= otherPrefix
		}
	}
	return i
}

// vector reads a VEX, EVEX or XOP prefix at code[i] and returns where the opcode
// is and which letter it has.
func (in *amd64Insn) vector(code []byte, i int, kind byte) (int, byte) {
	if i+1 >= len(code) {
		return i, 'x'
	}
	p, table, size := code[i+1], byte(1), 2
	switch kind {
	case 'W':
		table, size = p&0x1f, 3
	case 'X':
		table, size = p&0x1f, 3
		if table < 8 { // pop
			return i, 'M'
		}
	case 'E':
		table, size = p&0x07, 4
		if i+2 >= len(code) || p&0x08 != 0 || code[i+2]&0x04 == 0 {
			return i, 'x'
		}
	}
	i += size
	if i >= len(code) {
		return i, 'x'
	}
	switch op := code[i]; table {
	case 1: // 0f
		switch {
		case op == 0x77 && kind != 'E':
			return i, '.' // vzeroupper, vzeroall
		case op >= 0x70 && op <= 0x73 || op == 0xc2 || op >= 0xc4 && op <= 0xc6:
			return i, 'b'
		}
		return i, 'M'
	case 2: // 0f 38
		return i, 'M'
	case 3: // 0f 3a
		return i, 'b'
	case 5, 6: // EVEX only: half precision
		if kind == 'E' {
			return i, 'M'
		}
	case 8, 9, 10: // XOP only
		if kind == 'X' {
			return i, "bMz"[table-8]
		}
	}
	return i, 'x'
}

// operands returns how many bytes follow the opcode; rest is what comes behind it.
func (in *amd64Insn) operands(rest []byte, kind byte) (n int, ok bool) {
	wide := 4 // of an immediate as wide as the operand
	if in.prefix&(opSize|rexW) == opSize {
		wide = 2
	}
	switch kind {
	case '.':
		return 0, true
	case '1':
		return 1, true
	case '2':
		return 2, true
	case 'e':
		return 3, true
	case '4':
		return wide, true
	case 'Q':
		if in.prefix&rexW != 0 {
			return 8, true
		}
		return wide, true
	case 'o':
		if in.prefix&addrSize != 0 {
			return 4, true
		}
		return 8, true
	case 'r':
		in.jump, in.field = rel8, in.op+1
		return 1, true
	case 'R':
		in.jump, in.field = rel32, in.op+1
		return 4, true
	case 'C':
		return 1, true
	}
	if n, ok = modRM(rest); !ok {
		return 0, false
	}
	low := rest[0]&0x30 == 0 // reg is 0 or 1
	switch {
	case kind == 'b' || kind == 'A' || kind == 'F' && low:
		n++
	case kind == 'z' || kind == 'G' && low:
		n += wide
	}
	return n, true
}

// modRM returns the length of ModRM, SIB and displacement at the start of b.
func modRM(b []byte) (n int, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	mod, rm := b[0]>>6, b[0]&7
	n = 1
	if mod == 3 {
		return n, true
	}
	base := rm
	if rm == 4 {
		if len(b) < 2 {
			return 0, false
		}
		base = b[1] & 7
		n++
	}
	switch {
	case mod == 1:
		n++
	case mod == 2 || mod == 0 && base == 5:
		n += 4
	}
	return n, true
}

// target returns where the direct branch in, whose bytes are at the start of code
// and which stands at address pc, leads to.
func (in *amd64Insn) target(code []byte, pc uint64) uint64 {
	end := pc + uint64(in.len)
	if in.jump == rel8 {
		return end + uint64(int64(int8(code[in.field])))
	}
	return end + uint64(int64(int32(binary.LittleEndian.Uint32(code[in.field:]))))
}
