// Package insn answers what instruction stands here: the shapes that a site can
// have, how each is written and read back, and disassembly for people and for the
// search for branches that the assembler bound.
//
// The paths that run once a site (At, Relax, Encode, Target, InReach) look at fixed
// bytes only, do not allocate, and know nothing of the disassembler. Whole ranges of
// x86-64 are walked by this package's own length decoder (amd64_length.go), so that
// an instruction the disassembler has not heard of does not shift the ones behind it;
// golang.org/x/arch, which no other package imports, makes the text.
//
// Layer 1. Imports: arch. Pure functions on bytes, safe for concurrent use.
package insn

import (
	"encoding/binary"
	"fmt"

	"klink/internal/arch"
)

// Form is the shape of a site: which direct branch it is, with which bytes beside
// the target. The zero value, NoForm, is no site.
type Form uint8

// The forms. Bytes are in memory order; rel32 counts from the end of the branch.
const (
	NoForm     Form = iota
	Call32          // e8 rel32             call target
	Jmp32           // e9 rel32             jmp target
	AddrCall32      // 67 e8 rel32          addr32 call target: a relaxed call *f@GOTPCREL(%rip)
	JmpNop32        // e9 rel32 90          jmp target; nop: a relaxed jmp *f@GOTPCREL(%rip)
	BL              // imm26 | 94000000     bl target
	B               // imm26 | 14000000     b target
	FarJump         // 58000050 d61f0200 target64   ldr x16, #8; br x16; .quad target
	Jcc32           // 0f 80+cc rel32       Jcc32 + cc for the condition codes 0..15
	forms      = Jcc32 + 16
)

// formFacts is what the table says of a form.
type formFacts struct {
	name    string
	machine arch.Machine
	len     uint8   // bytes of the whole form
	field   uint8   // amd64: where rel32 stands in it
	head    [2]byte // amd64: the bytes before rel32, field of them
	nop     bool    // amd64: a nop (90) follows rel32
	word    uint32  // arm64: the instruction without its imm26
	call    bool
}

// table has one row a form.
var table = func() (t [forms]formFacts) {
	t[NoForm] = formFacts{name: "none"}
	t[Call32] = formFacts{name: "call", machine: arch.AMD64, len: 5, field: 1, head: [2]byte{0xe8}, call: true}
	t[Jmp32] = formFacts{name: "jmp", machine: arch.AMD64, len: 5, field: 1, head: [2]byte{0xe9}}
	t[AddrCall32] = formFacts{name: "call", machine: arch.AMD64, len: 6, field: 2, head: [2]byte{0x67, 0xe8}, call: true}
	t[JmpNop32] = formFacts{name: "jmp", machine: arch.AMD64, len: 6, field: 1, head: [2]byte{0xe9}, nop: true}
	t[BL] = formFacts{name: "bl", machine: arch.ARM64, len: 4, word: 0x94000000, call: true}
	t[B] = formFacts{name: "b", machine: arch.ARM64, len: 4, word: 0x14000000}
	t[FarJump] = formFacts{name: "veneer", machine: arch.ARM64, len: 16}
	for cc, name := range conditions {
		t[int(Jcc32)+cc] = formFacts{name: "j" + name, machine: arch.AMD64, len: 6, field: 2, head: [2]byte{0x0f, 0x80 + byte(cc)}}
	}
	return t
}()

// conditions are the condition codes of x86-64 as GNU as spells them.
var conditions = [16]string{"o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"}

// facts returns the row of f, that of NoForm for values that are no form.
func (f Form) facts() *formFacts {
	if f >= forms {
		f = NoForm
	}
	return &table[f]
}

// Machine returns the machine that f belongs to; 0 for NoForm.
func (f Form) Machine() arch.Machine { return f.facts().machine }

// Len returns how many bytes f has; 0 for NoForm.
func (f Form) Len() int { return int(f.facts().len) }

// String returns the mnemonic: "call", "jmp", "jne", "bl", "b", "veneer". Both
// lengths of call, and of jmp, have one name.
func (f Form) String() string { return f.facts().name }

// Call says that f leaves a return address: the target returns to behind it.
func (f Form) Call() bool { return f.facts().call }

// The words of a FarJump before its literal, and its parts.
const (
	farLoad    = 0x58000050 // ldr x16, #8
	farBranch  = 0xd61f0200 // br x16
	farLiteral = 8          // where the target stands in it
)

// Distances and masks of arm64's imm26.
const (
	imm26     = 1<<26 - 1
	imm26Form = 0xfc000000 // the bits of the word that tell B from BL from all else
	reach26   = 1 << 27    // a branch reaches [-reach26, reach26), bytes
)

// distance returns how far target is from where the branch of f at address at
// counts, modulo 2^64 as the machine does, and whether the field can hold it.
func (t *formFacts) distance(at, target uint64) (d int64, ok bool) {
	if t.machine == arch.AMD64 {
		d = int64(target - (at + uint64(t.field) + 4))
		return d, d == int64(int32(d))
	}
	d = int64(target - at)
	return d, d >= -reach26 && d < reach26 && (at|target)&3 == 0
}

// InReach says whether the branch of form f at address at can lead to target:
// within ±2 GiB on x86-64, ±128 MiB and both word-aligned on aarch64. A FarJump
// reaches every word-aligned target if it is itself 8-aligned, so that its literal
// can be changed by one store.
func (f Form) InReach(at, target uint64) bool {
	t := f.facts()
	switch {
	case t.len == 0:
		return false
	case f == FarJump:
		return at&7 == 0 && target&3 == 0
	}
	_, ok := t.distance(at, target)
	return ok
}

// Encode writes the f.Len() bytes of form f, standing at address at and leading to
// target, to the start of dst. It returns false and writes nothing if target is not
// in reach (see InReach) or dst is too short.
func (f Form) Encode(dst []byte, at, target uint64) bool {
	t := f.facts()
	if t.len == 0 || len(dst) < int(t.len) {
		return false
	}
	if f == FarJump {
		if !f.InReach(at, target) {
			return false
		}
		binary.LittleEndian.PutUint32(dst, farLoad)       // ldr x16, #8
		binary.LittleEndian.PutUint32(dst[4:], farBranch) // br x16
		binary.LittleEndian.PutUint64(dst[farLiteral:], target)
		return true
	}
	d, ok := t.distance(at, target)
	if !ok {
		return false
	}
	if t.machine == arch.ARM64 {
		binary.LittleEndian.PutUint32(dst, t.word|uint32(d>>2)&imm26)
		return true
	}
	dst[0] = t.head[0]
	if t.field == 2 {
		dst[1] = t.head[1]
	}
	binary.LittleEndian.PutUint32(dst[t.field:], uint32(d))
	if t.nop {
		dst[t.len-1] = 0x90
	}
	return true
}

// Target reads the target of the branch of form f whose bytes are at the start of
// src and which stands at address at. ok is false if src does not hold that form.
func (f Form) Target(src []byte, at uint64) (target uint64, ok bool) {
	t := f.facts()
	if t.len == 0 || len(src) < int(t.len) {
		return 0, false
	}
	if t.machine == arch.ARM64 {
		word := binary.LittleEndian.Uint32(src)
		if f == FarJump {
			ok = word == farLoad && binary.LittleEndian.Uint32(src[4:]) == farBranch
			if !ok {
				return 0, false
			}
			return binary.LittleEndian.Uint64(src[farLiteral:]), true
		}
		return at + uint64(int64(int32(word<<6))>>4), word&imm26Form == t.word
	}
	if src[0] != t.head[0] || t.field == 2 && src[1] != t.head[1] || t.nop && src[t.len-1] != 0x90 {
		return 0, false
	}
	rel := int32(binary.LittleEndian.Uint32(src[t.field:]))
	return at + uint64(t.field) + 4 + uint64(int64(rel)), true
}

// At returns the form of the branch in sec whose field (rel32 of x86-64; the word
// itself on aarch64) is at offset field, and the offset where the branch starts.
// NoForm if no branch of a form that objects have is there, or it leaves sec.
//
// On x86-64 the bytes before the field decide: e8, e9, 0f 80..8f. Bytes before
// those are not looked at, because they may end the instruction before; prefixes
// (bnd, addr32, a hint) stay where they are and outside of the form. For a field that
// is a RIP-relative displacement the answer is exact, as a ModRM byte comes before it.
// An immediate can deceive it (81 e8 is sub $imm32, %eax): its addend is not a
// branch's.
func At(m arch.Machine, sec []byte, field uint64) (f Form, start uint64) {
	n := uint64(len(sec))
	if field > n || n-field < 4 {
		return NoForm, 0
	}
	if m == arch.ARM64 {
		if field&3 != 0 {
			return NoForm, 0
		}
		switch binary.LittleEndian.Uint32(sec[field:]) & imm26Form {
		case table[BL].word:
			return BL, field
		case table[B].word:
			return B, field
		}
		return NoForm, 0
	}
	if m != arch.AMD64 || field < 1 {
		return NoForm, 0
	}
	switch op := sec[field-1]; {
	case op == 0xe8:
		return Call32, field - 1
	case op == 0xe9:
		return Jmp32, field - 1
	case op&0xf0 == 0x80 && field >= 2 && sec[field-2] == 0x0f:
		return Jcc32 + Form(op&0x0f), field - 2
	}
	return NoForm, 0
}

// Relax returns the direct form that an x86-64 call or jump through the GOT can be
// rewritten to, at the same place and length, and the offset where it starts:
// AddrCall32 for ff 15 disp32 (call *disp32(%rip)), JmpNop32 for ff 25 disp32 (jmp),
// disp32 being at offset field. NoForm for any other instruction. Prefixes before
// it stay (bnd; notrack must not: the caller has a relocation that promises none).
func Relax(sec []byte, field uint64) (f Form, start uint64) {
	n := uint64(len(sec))
	if field < 2 || field > n || n-field < 4 || sec[field-2] != 0xff {
		return NoForm, 0
	}
	switch sec[field-1] {
	case 0x15:
		return AddrCall32, field - 2
	case 0x25:
		return JmpNop32, field - 2
	}
	return NoForm, 0
}

// Inst is one instruction, or one run of bytes that is none.
type Inst struct {
	Off       uint64 // from the start of the code, bytes
	Len       int    // bytes; at least 1
	Bytes     []byte // the code's own bytes, not a copy
	Text      string // in GNU syntax: "call 0x1234 <bpf_attach>", ".byte 0x06"
	Branch    bool   // a direct branch: call, jump, conditional or not
	HasTarget bool   // Target is meaningful
	Target    uint64 // address that the direct branch leads to
}

// Disassemble decodes all of code, which stands at address pc on machine m, in
// order: the lengths of the result sum up to len(code). What cannot be decoded is
// shown as .byte (x86-64, one byte at a time; a whole instruction whose length is
// known but not its name) or .inst (aarch64, a word). name, which may be nil, returns
// the name of an address or ""; it is asked for the targets of branches and for
// addresses that code names relative to itself. Nil for an unknown machine.
func Disassemble(m arch.Machine, code []byte, pc uint64, name func(addr uint64) string) []Inst {
	if name == nil {
		name = func(uint64) string { return "" }
	}
	switch m {
	case arch.AMD64:
		return disassembleAMD64(code, pc, name)
	case arch.ARM64:
		return disassembleARM64(code, pc, name)
	}
	return nil
}

// BoundBranch is a direct branch that carries no relocation: where it leads was
// fixed by the assembler.
type BoundBranch struct {
	Off    uint64 // of the instruction, from the start of the code, bytes
	Len    int    // bytes, prefixes included
	Target uint64 // address
	Text   string // "jne 0x1234"
}

// BoundBranches returns the direct branches in code, which stands at address pc on
// machine m, whose field carries no relocation; most lead into their own function
// and are for the caller to leave out. hasReloc is asked with the offset of the
// field from the start of the code: of rel8 or rel32 on x86-64, of the word on
// aarch64.
//
// On x86-64 code is walked from its start, so it must start with an instruction:
// give it a function at a time where possible. See length for how far the walk
// can be trusted. Branches with an operand size prefix (66) are left out: processors
// disagree about their length.
func BoundBranches(m arch.Machine, code []byte, pc uint64, hasReloc func(off uint64) bool) []BoundBranch {
	switch m {
	case arch.AMD64:
		return boundAMD64(code, pc, hasReloc)
	case arch.ARM64:
		return boundARM64(code, pc, hasReloc)
	}
	return nil
}

// labelled returns an address as operands show it: "0x1234 <bpf_attach>".
func labelled(addr uint64, name func(uint64) string) string {
	if s := name(addr); s != "" {
		return fmt.Sprintf("%#x <%s>", addr, s)
	}
	return fmt.Sprintf("%#x", addr)
}

// byteText returns bytes that are no known instruction: ".byte 0xc5, 0xf8".
func byteText(b []byte) string {
	s := ".byte "
	for i, c := range b {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("0x%02x", c)
	}
	return s
}
