package insn

import (
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// walkAMD64 calls visit for each instruction of code in order: its offset, what
// length says, and whether that is an instruction at all (else it is one byte).
func walkAMD64(code []byte, visit func(off int, in amd64Insn, ok bool)) {
	for off := 0; off < len(code); {
		in, ok := length(code[off:])
		if !ok {
			in = amd64Insn{len: 1}
		}
		visit(off, in, ok)
		off += in.len
	}
}

// direct says that in is a direct branch that all processors read alike.
func (in *amd64Insn) direct() bool { return in.jump != noJump && in.prefix&opSize == 0 }

// boundAMD64 is BoundBranches for x86-64.
func boundAMD64(code []byte, pc uint64, hasReloc func(off uint64) bool) []BoundBranch {
	var found []BoundBranch
	walkAMD64(code, func(off int, in amd64Insn, ok bool) {
		if !ok || !in.direct() || hasReloc(uint64(off+in.field)) {
			return
		}
		b := code[off : off+in.len]
		target := in.target(b, pc+uint64(off))
		found = append(found, BoundBranch{
			Off: uint64(off), Len: in.len, Target: target,
			Text: mnemonic(&in, b) + " " + labelled(target, noName),
		})
	})
	return found
}

// noName names no address.
func noName(uint64) string { return "" }

// disassembleAMD64 is Disassemble for x86-64.
func disassembleAMD64(code []byte, pc uint64, name func(uint64) string) []Inst {
	insts := make([]Inst, 0, len(code)/4+1)
	walkAMD64(code, func(off int, in amd64Insn, ok bool) {
		b := code[off : off+in.len : off+in.len]
		i := Inst{Off: uint64(off), Len: in.len, Bytes: b}
		at := pc + uint64(off)
		switch {
		case !ok:
			i.Text = byteText(b)
		case in.direct():
			i.Branch, i.HasTarget, i.Target = true, true, in.target(b, at)
			i.Text = mnemonic(&in, b) + " " + labelled(i.Target, name)
		default:
			i.Text = textAMD64(b, in.op, at, name)
		}
		insts = append(insts, i)
	})
	return insts
}

// mnemonic returns the name of a direct branch, with the prefixes that GNU as would
// want written: "call", "bnd jmp", "addr32 call".
func mnemonic(in *amd64Insn, b []byte) string {
	s := ""
	if in.prefix&addrSize != 0 && b[in.op]&0xfc != 0xe0 {
		s = "addr32 "
	}
	if in.prefix&bnd != 0 {
		s += "bnd "
	}
	switch op := b[in.op]; {
	case op == 0xe8:
		return s + "call"
	case op == 0xe9 || op == 0xeb:
		return s + "jmp"
	case op == 0xe3 && in.prefix&addrSize != 0:
		return s + "jecxz"
	case op&0xfc == 0xe0:
		return s + [4]string{"loopne", "loope", "loop", "jrcxz"}[op&3]
	default: // 70..7f, 0f 80..8f
		return s + "j" + conditions[op&0x0f]
	}
}

// Instructions that x86asm does not know, or takes for prefixes and rubbish, and that
// kernels are full of.
var amd64Known = map[string]string{
	"\xf3\x0f\x1e\xfa": "endbr64",
	"\xf3\x0f\x1e\xfb": "endbr32",
	"\x0f\x01\xca":     "clac",
	"\x0f\x01\xcb":     "stac",
	"\x0f\x01\xc1":     "vmcall",
	"\x0f\x01\xc2":     "vmlaunch",
	"\x0f\x01\xc3":     "vmresume",
	"\x0f\x01\xee":     "rdpkru",
	"\x0f\x01\xef":     "wrpkru",
}

// amd64Words are words of x86asm that GNU objdump has stopped using, and what it
// prints now.
var amd64Words = map[string]string{
	"callq": "call", "jmpq": "jmp", "retq": "ret", "leaveq": "leave", "enterq": "enter",
	"pushq": "push", "popq": "pop", "movsxd": "movslq", "repn": "repnz",
}

// textAMD64 returns the text of the one instruction b, whose opcode is at b[op] and
// which stands at address at. x86asm is only believed where it agrees about the
// length, and not about what it is known to take for something else.
func textAMD64(b []byte, op int, at uint64, name func(uint64) string) string {
	if s, ok := amd64Known[string(b)]; ok {
		return s
	}
	inst, err := x86asm.Decode(b, 64)
	switch {
	case err != nil || inst.Op == 0 || inst.Len != len(b), // Op is 0 without an error for a lone prefix
		inst.Op == x86asm.LFENCE && len(b) > 3,       // incssp
		op >= 4 && b[op-4] == 0x62 && b[op-3]&4 != 0: // EVEX maps of half precision
		return byteText(b)
	}
	at += uint64(len(b))
	comment := ""
	if op+1 < len(b) && b[op+1]&0xc7 == 0x05 { // mod 00, rm 101, if this is a ModRM
		for i, arg := range inst.Args {
			mem, ok := arg.(x86asm.Mem)
			if ok && (mem.Base == x86asm.RIP || mem.Base == 0 && mem.Index == 0) {
				mem.Base = x86asm.RIP // missing under VEX and EVEX
				inst.Args[i] = mem
				comment = " # " + labelled(at+uint64(mem.Disp), name)
			}
		}
	}
	words := strings.SplitN(x86asm.GNUSyntax(inst, at-uint64(len(b)), nil), " ", 3)
	for i, w := range words {
		if modern, ok := amd64Words[w]; ok {
			words[i] = modern
		}
	}
	if words[0] == "ds" && b[op] == 0xff { // before an indirect branch
		words[0] = "notrack"
	}
	return strings.ReplaceAll(strings.Join(words, " "), ",%riz)", ")") + comment
}
