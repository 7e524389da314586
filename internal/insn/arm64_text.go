package insn

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/arch/arm64/arm64asm"
)

// Branches of aarch64. Conditional ones are never sites: a thread may run through
// a word while it changes only if both words are B or BL (Arm ARM B2.2.5), so those
// that must switch lead to a veneer that is one.
//
// What surprises: bti and the pointer signing instructions are hints, which old
// processors run as nop, and which x/arch shows by number.

// arm64Branches are the direct branches, by mask and value of the word.
var arm64Branches = [...]struct {
	mask, value uint32
	pos, size   uint8 // where the distance stands, in words
}{
	{0x7c000000, 0x14000000, 0, 26}, // b, bl
	{0xff000000, 0x54000000, 5, 19}, // b.cond, bc.cond
	{0x7e000000, 0x34000000, 5, 19}, // cbz, cbnz
	{0x7e000000, 0x36000000, 5, 14}, // tbz, tbnz
}

// branchARM64 returns the target of the direct branch word at address at; ok is
// false if word is none.
func branchARM64(word uint32, at uint64) (target uint64, ok bool) {
	for i := range arm64Branches {
		if b := &arm64Branches[i]; word&b.mask == b.value {
			words := int32(word<<(32-b.pos-b.size)) >> (32 - b.size)
			return at + uint64(int64(words)*4), true
		}
	}
	return 0, false
}

// boundARM64 is BoundBranches for aarch64.
func boundARM64(code []byte, pc uint64, hasReloc func(off uint64) bool) []BoundBranch {
	var found []BoundBranch
	for off := uint64(0); off+4 <= uint64(len(code)); off += 4 {
		word := binary.LittleEndian.Uint32(code[off:])
		target, ok := branchARM64(word, pc+off)
		if !ok || hasReloc(off) {
			continue
		}
		found = append(found, BoundBranch{
			Off: off, Len: 4, Target: target, Text: textARM64(code[off:off+4], word, pc+off, noName),
		})
	}
	return found
}

// disassembleARM64 is Disassemble for aarch64.
func disassembleARM64(code []byte, pc uint64, name func(uint64) string) []Inst {
	insts := make([]Inst, 0, len(code)/4+1)
	for off := 0; off < len(code); off += 4 {
		end := min(off+4, len(code))
		i := Inst{Off: uint64(off), Len: end - off, Bytes: code[off:end:end]}
		if i.Len < 4 {
			i.Text = byteText(i.Bytes)
		} else {
			at, word := pc+uint64(off), binary.LittleEndian.Uint32(i.Bytes)
			i.Target, i.Branch = branchARM64(word, at)
			i.HasTarget = i.Branch
			i.Text = textARM64(i.Bytes, word, at, name)
		}
		insts = append(insts, i)
	}
	return insts
}

// Hints are 0xd503201f with a number in bits 11:5 (Arm ARM C6.2, HINT).
const (
	hintMask = 0xfffff01f
	hintWord = 0xd503201f
)

// hints are the names of those that compilers emit.
var hints = map[uint32]string{
	0: "nop", 1: "yield", 2: "wfe", 3: "wfi", 4: "sev", 5: "sevl", 6: "dgh", 7: "xpaclri",
	8: "pacia1716", 10: "pacib1716", 12: "autia1716", 14: "autib1716", 16: "esb", 17: "psb csync", 18: "tsb csync",
	20: "csdb", 22: "clearbhb", 24: "paciaz", 25: "paciasp", 26: "pacibz", 27: "pacibsp", 28: "autiaz", 29: "autiasp",
	30: "autibz", 31: "autibsp", 32: "bti", 34: "bti c", 36: "bti j", 38: "bti jc",
}

// arm64Known are words that x/arch does not know and that every signed function has.
var arm64Known = map[uint32]string{
	0xd65f0bff: "retaa",
	0xd65f0fff: "retab",
}

// textARM64 returns the text of the word at address at; b are its bytes.
func textARM64(b []byte, word uint32, at uint64, name func(uint64) string) string {
	if word&hintMask == hintWord {
		n := word >> 5 & 0x7f
		if s, ok := hints[n]; ok {
			return s
		}
		return fmt.Sprintf("hint #%#x", n)
	}
	if s, ok := arm64Known[word]; ok {
		return s
	}
	if word>>16 == 0 {
		return fmt.Sprintf("udf #%d", word)
	}
	inst, err := arm64asm.Decode(b)
	if err != nil || inst.Op == 0 {
		return fmt.Sprintf(".inst 0x%08x", word)
	}
	s := arm64asm.GNUSyntax(inst)
	for _, arg := range inst.Args {
		rel, ok := arg.(arm64asm.PCRel)
		if !ok {
			continue
		}
		addr := at + uint64(rel)
		if inst.Op == arm64asm.ADRP {
			addr = at&^0xfff + uint64(rel)
		}
		return strings.Replace(s, strings.ToLower(rel.String()), labelled(addr, name), 1)
	}
	return s
}
