package hostile

import (
	"encoding/binary"
	"fmt"
	"strings"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// amd64 and arm64 start an object.
func amd64() *objbuild.Builder { return objbuild.New(arch.AMD64) }
func arm64() *objbuild.Builder { return objbuild.New(arch.ARM64) }

// insns encodes aarch64 instructions.
func insns(list ...uint32) (b []byte) {
	for _, i := range list {
		b = binary.LittleEndian.AppendUint32(b, i)
	}
	return b
}

// Instructions of aarch64, without what a relocation fills in.
const (
	armBL  = 0x94000000
	armB   = 0x14000000
	armBEQ = 0x54000000
	armTBZ = 0x36000000
	armLDR = 0xf9400000 // ldr x0, [x0]
	armRET = 0xd65f03c0
	armNOP = 0xd503201f
)

// names are names and definitions that do not go together.
func names() []row {
	text := func() *objbuild.Builder { return amd64().Text(".text", []byte(strings.Repeat("\xc3", 16))) }
	return []row{
		{"two strong", text().Global("f", 0, 8).Global("f", 8, 8).Bytes(), diag.ErrDuplicate, `a.o: "f": already defined in a.o`},
		{"two strong, one data", text().Global("f", 0, 8).Data(".data", make([]byte, 8)).Global("f", 0, 8).Bytes(), diag.ErrDuplicate, `a.o: "f": already defined in a.o`},
		{"a number beside a function", text().Global("f", 0, 8).Abs("f", 1).Bytes(), diag.ErrDuplicate, `a.o: "f": already defined in a.o`},
		{"strong and COMMON", amd64().Common("c", 8, 8).Common("c", 16, 64).Data(".data", make([]byte, 8)).Global("c", 0, 8).Global("c", 0, 8).Bytes(), diag.ErrDuplicate,
			`a.o: "c": already defined in a.o`},
		{"IFUNC twice", text().Global("f", 0, 8).As(objbuild.IFunc).Global("f", 8, 8).As(objbuild.IFunc).Bytes(), diag.ErrDuplicate, `a.o: "f": already defined in a.o`},
		{"control characters", text().Global("\x1b[2J\n", 0, 8).Global("\x1b[2J\n", 8, 8).Bytes(), diag.ErrDuplicate, `a.o: "\x1b[2J\n": already defined in a.o`},
		{"64 KiB", text().Global(strings.Repeat("n", 64<<10), 0, 8).Global(strings.Repeat("n", 64<<10), 8, 8).Bytes(), diag.ErrDuplicate,
			`a.o: "` + strings.Repeat("n", 256) + `…": already defined in a.o`},
		{"thread-local", amd64().Add(objbuild.Section{Name: ".tdata", Type: objbuild.Progbits, Flags: objbuild.Alloc | objbuild.Write | objbuild.TLS, Data: make([]byte, 8)}).Global("t", 0, 8).Bytes(),
			diag.ErrUnsupported, `a.o: section ".tdata": thread-local storage (TLS) is not supported`},
		{"thread-local, undefined", amd64().Data(".data", make([]byte, 8)).Symbol(objbuild.Symbol{Name: "t", Bind: objbuild.Global, Type: objbuild.TLSSym}).Reloc(0, abs64, "t", 0).Bytes(),
			diag.ErrUnsupported, `a.o: symbol "t": thread-local storage (TLS) is not supported`},
	}
}

// places are relocations that the parser lets through and nobody can apply.
func places() []row {
	// A function of the module's own is called; where there is a name, it is main's.
	call := func(code []byte, off uint64, typ uint32, addend int64) []byte {
		return amd64().Text(".text", code).Local("main", 0, uint64(len(code))).Reloc(off, typ, "f", addend).
			Text(".text.f", []byte(strings.Repeat("\xc3", 16))).Local("f", 0, 16).Bytes()
	}
	arm := func(insn uint32, typ uint32, addend int64) []byte {
		return arm64().Text(".text", insns(insn)).Local("main", 0, 4).Reloc(0, typ, "f", addend).
			Text(".text.f", insns(armRET, armRET)).Local("f", 0, 8).Bytes()
	}
	data := func(m arch.Machine, off uint64, typ uint32) []byte {
		return objbuild.New(m).Data(".data", make([]byte, 8)).Local("d", 0, 8).Reloc(off, typ, "d", 0).Bytes()
	}
	const inMain = `a.o:(.text+0x1): in function "main": `
	return []row{
		{"straddling the end", data(arch.AMD64, 1, abs64), diag.ErrMalformed, `a.o:(.data+0x1): R_X86_64_64 against "d": a field of 8 bytes runs over the end of the section, 8 bytes long`},
		{"last byte", data(arch.AMD64, 7, abs64), diag.ErrMalformed, `a.o:(.data+0x7): R_X86_64_64 against "d": a field of 8 bytes runs over the end of the section, 8 bytes long`},
		{"straddling the end, aarch64", data(arch.ARM64, 4, armAbs64), diag.ErrMalformed, `a.o:(.data+0x4): R_AARCH64_ABS64 against "d": a field of 8 bytes runs over the end of the section, 8 bytes long`},
		{"unknown type", data(arch.AMD64, 0, 199), diag.ErrUnsupported, `a.o:(.data+0x0): R_X86_64_<199> against "d": unknown relocation type`},
		{"type -1", data(arch.AMD64, 0, 1<<32-1), diag.ErrUnsupported, `a.o:(.data+0x0): R_X86_64_<4294967295> against "d": unknown relocation type`},
		{"unknown type, aarch64", data(arch.ARM64, 0, 999), diag.ErrUnsupported, `a.o:(.data+0x0): R_AARCH64_<999> against "d": unknown relocation type`},
		{"RELATIVE", data(arch.AMD64, 0, 8), diag.ErrUnsupported, `a.o:(.data+0x0): R_X86_64_RELATIVE against "d": `},
		{"COPY", data(arch.AMD64, 0, 5), diag.ErrUnsupported, `a.o:(.data+0x0): R_X86_64_COPY against "d": `},
		{"IRELATIVE", data(arch.AMD64, 0, 37), diag.ErrUnsupported, `a.o:(.data+0x0): R_X86_64_IRELATIVE against "d": `},
		{"RELATIVE, aarch64", data(arch.ARM64, 0, 1027), diag.ErrUnsupported, `a.o:(.data+0x0): R_AARCH64_RELATIVE against "d": `},
		{"COPY, aarch64", data(arch.ARM64, 0, 1024), diag.ErrUnsupported, `a.o:(.data+0x0): R_AARCH64_COPY against "d": `},
		{"IRELATIVE, aarch64", data(arch.ARM64, 0, 1032), diag.ErrUnsupported, `a.o:(.data+0x0): R_AARCH64_IRELATIVE against "d": `},
		{"PLT32 on no call", call([]byte{0x90, 0x31, 0xc0, 0, 0}, 1, plt32, -4), diag.ErrInsn, inMain + `R_X86_64_PLT32 against "f": unexpected instruction: `},
		{"GOTPCRELX on no load", call([]byte{0xc3, 0, 0, 0, 0}, 1, gotx, -4), diag.ErrInsn, inMain + `R_X86_64_GOTPCRELX against "f": unexpected instruction: `},
		{"CALL26 on no branch", arm(armNOP, armCall26, 0), diag.ErrInsn, `a.o:(.text+0x0): in function "main": R_AARCH64_CALL26 against "f": unexpected instruction: 1f 20 03 d5 at 0x0`},
		{"JUMP26 on no branch", arm(armRET, armJump26, 0), diag.ErrInsn, `a.o:(.text+0x0): in function "main": R_AARCH64_JUMP26 against "f": unexpected instruction: c0 03 5f d6 at 0x0`},
		{"CONDBR19 on no branch", arm(armNOP, armCond19, 0), diag.ErrInsn, `a.o:(.text+0x0): in function "main": R_AARCH64_CONDBR19 against "f": unexpected instruction: 1f 20 03 d5 at 0x0`},
		{"TSTBR14 on a call", arm(armBL, armTest14, 0), diag.ErrInsn, `a.o:(.text+0x0): in function "main": R_AARCH64_TSTBR14 against "f": unexpected instruction: 00 00 00 94 at 0x0`},
		{"bl to half an instruction", arm(armBL, armCall26, 2), diag.ErrAlign,
			`a.o:(.text+0x0): in function "main": R_AARCH64_CALL26 against "f": its target is at `},
		{"tbz to half an instruction", arm(armTBZ, armTest14, 1), diag.ErrAlign,
			`a.o:(.text+0x0): in function "main": R_AARCH64_TSTBR14 against "f": its target is at `},
		{"b.eq to half an instruction", arm(armBEQ, armCond19, 2), diag.ErrAlign, `a.o:(.text+0x0): in function "main": R_AARCH64_CONDBR19 against "f": `},
		{"ldr of half a word", arm(armLDR, armLdst64, 4), diag.ErrAlign, `a.o:(.text+0x0): in function "main": R_AARCH64_LDST64_ABS_LO12_NC against "f": value `},
		{"an instruction at an odd place", arm64().Text(".text", insns(armBL, armNOP)).Local("main", 0, 8).Reloc(2, armCall26, "main", 0).Bytes(), diag.ErrInsn,
			`a.o:(.text+0x2): in function "main": R_AARCH64_CALL26 against "main": no instruction can be at 0x2, which is not a multiple of 4`},
		{"what is not loaded", amd64().Debug(".debug_x", make([]byte, 8)).Local("d", 0, 8).Data(".data", make([]byte, 8)).Reloc(0, abs64, "d", 0).Bytes(), diag.ErrUndefined,
			`a.o:(.data+0x0): R_X86_64_64 against "d": its section ".debug_x" is not loaded: it is none of the program's memory (no SHF_ALLOC)`},
		{"an IFUNC nowhere", amd64().Abs("i", 0x1000).As(objbuild.IFunc).Data(".data", make([]byte, 8)).Reloc(0, abs64, "i", 0).Bytes(), diag.ErrUnsupported,
			`a.o: "i": an IFUNC at an absolute address: its resolver must be a function of the module`},
		{"two relocations of one call", amd64().Text(".text", []byte("\xe8\x00\x00\x00\x00\xc3")).Global("main", 0, 6).Reloc(1, plt32, "main", -4).Reloc(1, plt32, "main", -4).Bytes(), diag.ErrMalformed,
			`a.o:(.text+0x0): in function "main": "main": two relocations overlap in the branch`},
		{"too far", call([]byte{0xe8, 0, 0, 0, 0}, 1, plt32, 1<<40), diag.ErrRange, inMain + `R_X86_64_PLT32 against "f": relocation out of range: `},
		{"addend -2^63", call([]byte{0xe8, 0, 0, 0, 0}, 1, plt32, -1<<63), diag.ErrRange, inMain + `R_X86_64_PLT32 against "f": relocation out of range: `},
	}
}

// space are objects that ask for more room than anybody has; their files are small.
func space() []row {
	zeros := amd64()
	commons := amd64()
	for i := range 300 {
		zeros.Bss(fmt.Sprint(".bss", i), 1<<32)
		commons.Common(fmt.Sprint("c", i), 8, 1<<32)
	}
	gaps := amd64()
	for i := range 6 {
		gaps.Rodata(fmt.Sprint(".r", i), []byte{1}).With(func(s *objbuild.Section) { s.Align = 16 << 20 })
	}
	code := amd64().Bss(".bss", 1<<20+1).With(func(s *objbuild.Section) { s.Flags = objbuild.Alloc | objbuild.Exec })
	return []row{
		{"NOBITS of 2^40 together", zeros.Bytes(), diag.ErrNoSpace, `a.o: section ".bss256": 0x100000000 bytes, aligned to 0x8, are more than klink places`},
		{"COMMON of 2^40 together", commons.Bytes(), diag.ErrNoSpace, `a.o: "c256": more data than klink places`},
		{"gaps of 2^24 each", gaps.Bytes(), diag.ErrNoSpace, `a.o: 0x5000008 bytes of tables, most of them gaps for alignment, are more than klink places for files of 0x390 bytes`},
		{"code without bytes", code.Bytes(), diag.ErrUnsupported, `a.o: section ".bss": 1048577 bytes of executable NOBITS`},
	}
}
