package link_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// TestFixupErrors: each says where, in which function, by which type against which
// name, and the numbers.
func TestFixupErrors(t *testing.T) {
	inMain := func(m arch.Machine, code string, off uint64, typ uint32, symbol string, addend int64) *objbuild.Builder {
		return objbuild.New(m).Text(".text", hexBytes(code)).Global("main", 0, uint64(len(hexBytes(code)))).Reloc(off, typ, symbol, addend).Undef("f")
	}
	at := func(branch, addr uint64) map[string]link.Answer {
		return map[string]link.Answer{"f": {Branch: branch, Address: addr, Slot: slot}}
	}
	const place = `a.o:(.text+0x1): in function "main": R_X86_64_PLT32 against "f": `
	for what, c := range map[string]struct {
		b    *objbuild.Builder
		say  map[string]link.Answer
		kind error
		want string
	}{
		"call out of range": {inMain(arch.AMD64, "e8 00000000", 1, xPLT32, "f", -4), at(textAt+0x80000005, 0), diag.ErrRange,
			place + `relocation out of range: 0x80000000 is not in [-0x80000000, 0x80000000)`},
		"GOT call out of range, without a slot's value": {inMain(arch.AMD64, "ff15 00000000", 2, xGOTX, "f", -4), at(textAt+0x80000006, 0), diag.ErrRange,
			`a.o:(.text+0x2): in function "main": R_X86_64_GOTPCRELX against "f": relocation out of range: 0x80000000 is not in [-0x80000000, 0x80000000)`},
		"mov $f": {inMain(arch.AMD64, "b8 00000000", 1, x32, "f", 0), at(0, 1<<32), diag.ErrRange,
			`a.o:(.text+0x1): in function "main": R_X86_64_32 against "f": relocation out of range: 0x100000000 is not in [0, 0x100000000)`},
		"no branch there": {inMain(arch.AMD64, "90909090 31c00000", 3, xPLT32, "f", -4), at(provider, 0), diag.ErrInsn,
			`a.o:(.text+0x3): in function "main": R_X86_64_PLT32 against "f": unexpected instruction: 90 90 90 90 31 c0 00 at 0x0`},
		"no GOT load there": {inMain(arch.AMD64, "c3 00000000", 1, xGOTX, "f", -4), at(provider, 0), diag.ErrInsn,
			`a.o:(.text+0x1): in function "main": R_X86_64_GOTPCRELX against "f": unexpected instruction: c3 00 00 00 00 at 0x0`},
		"no bl there": {inMain(arch.ARM64, "1f2003d5", 0, aCALL, "f", 0), at(provider, 0), diag.ErrInsn,
			`a.o:(.text+0x0): in function "main": R_AARCH64_CALL26 against "f": unexpected instruction: 1f 20 03 d5 at 0x0`},
		"over the end": {inMain(arch.AMD64, "e8 00000000", 4, xPLT32, "f", -4), at(provider, 0), diag.ErrMalformed,
			`a.o:(.text+0x4): in function "main": R_X86_64_PLT32 against "f": a field of 4 bytes runs over the end of the section, 5 bytes long`},
		"into a function": {inMain(arch.AMD64, "e8 00000000", 1, xPLT32, "f", 4), map[string]link.Answer{"f": function}, diag.ErrUnsupported,
			place + `points 8 bytes into a function of another module: only a module's own function can be meant`},
		"pointer into a function": {amd64().Data(".data", make([]byte, 8)).Reloc(0, x64, "f", -2).Undef("f"), map[string]link.Answer{"f": function}, diag.ErrUnsupported,
			`a.o:(.data+0x0): R_X86_64_64 against "f": points -2 bytes into a function of another module: only a module's own function can be meant`},
		"call to half an instruction": {inMain(arch.ARM64, "00000094", 0, aCALL, "f", 0), at(provider+2, 0), diag.ErrAlign,
			`a.o:(.text+0x0): in function "main": R_AARCH64_CALL26 against "f": its target is at 0x10100002, no address of an instruction`},
		"short branch to half an instruction": {inMain(arch.ARM64, "00000054", 0, aCOND, "f", 0), at(provider+2, 0), diag.ErrAlign,
			`a.o:(.text+0x0): in function "main": R_AARCH64_CONDBR19 against "f": its target is at 0x10100002, no address of an instruction`},
		"ldr of a misaligned word": {inMain(arch.ARM64, "000040f9", 0, aLDST64, "f", 0), at(0, 0x1004), diag.ErrAlign,
			`a.o:(.text+0x0): in function "main": R_AARCH64_LDST64_ABS_LO12_NC against "f": value 0x1004 is not a multiple of 8`},
		"bl out of range": {inMain(arch.ARM64, "00000094", 0, aCALL, "f", 0), at(textAt+1<<27, 0), diag.ErrRange,
			`a.o:(.text+0x0): in function "main": R_AARCH64_CALL26 against "f": relocation out of range: 0x8000000 is not in [-0x8000000, 0x8000000)`},
		"bl in data": {arm64().Data(".data", hexBytes("00000094")).Reloc(0, aCALL, "f", 0).Undef("f"), at(0, dataAt+1<<27), diag.ErrRange,
			`a.o:(.data+0x0): R_AARCH64_CALL26 against "f": relocation out of range: 0x8000000 is not in [-0x8000000, 0x8000000)`},
		"unknown type": {inMain(arch.AMD64, "e8 00000000", 1, 199, "f", 0), nil, diag.ErrUnsupported,
			`a.o:(.text+0x1): in function "main": R_X86_64_<199> against "f": unknown relocation type`},
	} {
		t.Run(what, func(t *testing.T) {
			err := linkError(t, unit(t, c.b), c.say)
			wantLines(t, err, c.want)
			if !errors.Is(err, c.kind) {
				t.Errorf("is not %v", c.kind)
			}
		})
	}
}

// TestShortRange: a section so long that no veneer behind it is in reach.
func TestShortRange(t *testing.T) {
	b := arm64().Text(".text", append(hexBytes("00000036"), make([]byte, 1<<15)...)).Reloc(0, aTST, "f", 0).Undef("f")
	wantLines(t, linkError(t, unit(t, b), nil), `a.o:(.text+0x0): R_AARCH64_TSTBR14 against "f": relocation out of range: 0x8010 is not in [-0x8000, 0x8000)`)
}

// TestDataLikeABranch: bytes in data are no site, whatever they look like.
func TestDataLikeABranch(t *testing.T) {
	b := arm64().Data(".data", hexBytes("00000094 01000054")).Reloc(0, aCALL, "f", 0).Reloc(4, aCOND, "f", 0).Undef("f")
	im := linked(t, unit(t, b), map[string]link.Answer{"f": {Branch: provider, Address: dataAt + 64, Slot: slot}})
	if got := fmt.Sprintf("%x", im.bytes(t, ".data", 0, 8)); got != "10000094e1010054" || len(im.sites) != 0 || len(im.Veneers()) != 0 {
		t.Errorf("%s, %d sites, %d veneers", got, len(im.sites), im.Veneers())
	}
}

func TestRefusedTypes(t *testing.T) {
	for _, c := range []struct {
		m    arch.Machine
		typ  uint32
		name string
	}{{arch.AMD64, 8, "R_X86_64_RELATIVE"}, {arch.AMD64, 5, "R_X86_64_COPY"}, {arch.ARM64, 1027, "R_AARCH64_RELATIVE"}, {arch.ARM64, 1024, "R_AARCH64_COPY"}} {
		err := linkError(t, unit(t, objbuild.New(c.m).Data(".data", make([]byte, 8)).Reloc(0, c.typ, "f", 0).Undef("f")), nil)
		if !errors.Is(err, diag.ErrUnsupported) || !strings.HasPrefix(err.Error(), `a.o:(.data+0x0): `+c.name+` against "f": `) {
			t.Errorf("%v", err)
		}
	}
}

// TestTLS: thread-local storage is refused, with one line a module.
func TestTLS(t *testing.T) {
	types := objbuild.New(arch.ARM64).Text(".text", make([]byte, 8)).Reloc(0, 549, "t", 0).Reloc(4, 551, "t", 0).Symbol(objbuild.Symbol{Name: "t", Bind: objbuild.Global, Type: objbuild.TLSSym})
	wantLines(t, linkError(t, unit(t, types), nil), `a.o: R_AARCH64_TLSLE_ADD_TPREL_HI12 against "t": thread-local storage (TLS) is not supported`)
	symbol := amd64().Data(".data", make([]byte, 8)).Reloc(0, x64, "t", 0).Symbol(objbuild.Symbol{Name: "t", Bind: objbuild.Global, Type: objbuild.TLSSym})
	wantLines(t, linkError(t, unit(t, symbol, symbol), nil), `a.o: symbol "t": thread-local storage (TLS) is not supported`)
	section := amd64().Data(".tdata", make([]byte, 8)).With(func(s *objbuild.Section) { s.Flags |= objbuild.TLS }).Data(".tbss", make([]byte, 8)).
		With(func(s *objbuild.Section) { s.Flags |= objbuild.TLS })
	wantLines(t, linkError(t, unit(t, section, symbol), nil), `a.o: section ".tdata": thread-local storage (TLS) is not supported`)
}

// TestOverlap: two relocations in one branch are refused, however they overlap and in
// whichever order they stand.
func TestOverlap(t *testing.T) {
	twice := func(a, b string) *objbuild.Builder {
		return amd64().Text(".text", hexBytes("e8 00000000 e8 00000000")).Global("main", 0, 10).Reloc(6, xPLT32, "f", -4).Reloc(1, xPLT32, a, -4).Reloc(1, xPLT32, b, -4).Undef("f").Undef("g")
	}
	for what, b := range map[string]*objbuild.Builder{
		"same": twice("f", "f"), "other name, same provider": twice("f", "g"), "other name first": twice("g", "f"),
		"shifted": amd64().Text(".text", hexBytes("e8 e8000000 00")).Global("main", 0, 6).Reloc(1, xPLT32, "f", -4).Reloc(2, xPLT32, "f", -4).Undef("f"),
		"data":    amd64().Text(".text", hexBytes("e8 00000000 0000000000")).Global("main", 0, 6).Reloc(1, xPLT32, "f", -4).Reloc(2, x64, "f", 0).Undef("f"),
		"relaxed": amd64().Text(".text", hexBytes("ff15 00000000")).Global("main", 0, 6).Reloc(2, xGOTX, "f", -4).Reloc(0, 12, "d", 0).Undef("f").Abs("d", 0x15ff),
	} {
		err := linkError(t, unit(t, b), nil)
		if err == nil || !strings.Contains(err.Error(), ": two relocations overlap in the branch") || !strings.HasPrefix(err.Error(), `a.o:(.text+0x`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantLines(t, linkError(t, unit(t, twice("f", "f")), nil), `a.o:(.text+0x0): in function "main": "f": two relocations overlap in the branch`)
	if im := linked(t, unit(t, amd64().Text(".text", hexBytes("e8 00000000 e8 00000000")).Reloc(6, xPLT32, "f", -4).Reloc(1, xPLT32, "f", -4).Undef("f")), nil); len(im.sites) != 2 {
		t.Error("relocations out of order")
	}
}

// TestImplicitAddends: a REL entry's addend is the field.
func TestImplicitAddends(t *testing.T) {
	b := amd64().Text(".text", hexBytes("e8 fcffffff ff15 fcffffff")).Reloc(1, xPLT32, "f", 0).Reloc(7, xGOTX, "f", 0).Rel().Undef("f").
		Data(".data", hexBytes("0500000000000000")).Reloc(0, x64, "d", 0).Rel().Abs("d", 16)
	im := linked(t, unit(t, b), nil)
	if got := fmt.Sprintf("%x", im.bytes(t, ".text", 0, 11)); got != "e8fbff0f0067e8f5ff0f00" || im.word(t, ".data", 0) != 21 || len(im.sites) != 2 {
		t.Errorf("%s, %#x, %v", got, im.word(t, ".data", 0), sitesText(im.sites))
	}
	arm := arm64().Text(".text", hexBytes("00000094")).Reloc(0, aCALL, "f", 0).Rel().Undef("f")
	if im := linked(t, unit(t, arm), nil); len(im.sites) != 1 {
		t.Error("no site")
	}
	bad := amd64().Data(".data", make([]byte, 8)).Reloc(4, x64, "f", 0).Rel().Undef("f")
	wantLines(t, linkError(t, unit(t, bad), nil), `a.o:(.data+0x4): R_X86_64_64 against "f": a field of 8 bytes runs over the end of the section, 8 bytes long`)
}

// TestSectionEnd: a field may end where its section does.
func TestSectionEnd(t *testing.T) {
	b := amd64().Text(".text", hexBytes("90 e9 00000000")).Reloc(2, xPLT32, "f", -4).Undef("f").Data(".data", make([]byte, 9)).Reloc(1, x64, "f", 0)
	im := linked(t, unit(t, b), nil)
	if got := sitesText(im.sites); len(got) != 1 || got[0] != "jmp 0x10000001" || fmt.Sprintf("%x", im.bytes(t, ".data", 1, 8)) != "1000201000000000" {
		t.Errorf("sites %v", got)
	}
}

// TestFunctionOver: the function that a message names is the one that starts last.
func TestFunctionOver(t *testing.T) {
	for off, want := range map[uint64]string{0: `in function "outer": `, 8: `in function "inner": `, 20: `in function "outer": `, 40: ""} {
		b := amd64().Data(".other", make([]byte, 48)).Local("elsewhere", 0, 48).As(objbuild.Func).
			Text(".text", make([]byte, 48)).Local("outer", 0, 32).Local("inner", 4, 8).Local("second", 4, 8).Local("empty", 40, 0).Local("note", 0, 48).As(objbuild.Object).
			Reloc(off, 199, "f", 0).Undef("f")
		wantLines(t, linkError(t, unit(t, b), nil), fmt.Sprintf(`a.o:(.text+%#x): %sR_X86_64_<199> against "f": unknown relocation type`, off, want))
	}
}

// TestMachines: objects of two machines are no module.
func TestMachines(t *testing.T) {
	err := linkError(t, unit(t, amd64().Text(".text", []byte{0xc3}), arm64().Text(".text", make([]byte, 4))), nil)
	wantLines(t, err, `b.o: is for aarch64, but a.o is for x86-64`)
	if !errors.Is(err, diag.ErrMachine) {
		t.Error("is not ErrMachine")
	}
}

// TestNames: names from a file cannot write to the terminal.
func TestNames(t *testing.T) {
	const evil = "\x1b[2J\n\""
	b := amd64().Text("."+evil, make([]byte, 8)).Global(evil, 0, 8).Reloc(0, 199, evil+"2", 0).Undef(evil + "2")
	err := linkError(t, unit(t, b), nil)
	wantLines(t, err, `a.o:(.\x1b[2J\n\"+0x0): in function "\x1b[2J\n\"": R_X86_64_<199> against "\x1b[2J\n\"2": unknown relocation type`)
}
