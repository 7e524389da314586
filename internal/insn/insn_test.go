package insn

import (
	"bytes"
	"encoding/hex"
	"math"
	"testing"

	"klink/internal/arch"
)

// unhex parses bytes.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestForms gives the bytes and facts of every form. far is the first target that
// is out of reach, in both directions.
func TestForms(t *testing.T) {
	const at, target = 0x40001000, 0x40002344
	type fact struct {
		form      Form
		text      string
		call      bool
		code      string // at -> target
		low, high int64  // first distances from at that are in reach, and the last
	}
	facts := []fact{
		{Call32, "call", true, "e83f130000", math.MinInt32 + 5, math.MaxInt32 + 5},
		{Jmp32, "jmp", false, "e93f130000", math.MinInt32 + 5, math.MaxInt32 + 5},
		{AddrCall32, "call", true, "67e83e130000", math.MinInt32 + 6, math.MaxInt32 + 6},
		{JmpNop32, "jmp", false, "e93f13000090", math.MinInt32 + 5, math.MaxInt32 + 5},
		{BL, "bl", true, "d1040094", -1 << 27, 1<<27 - 4},
		{B, "b", false, "d1040014", -1 << 27, 1<<27 - 4},
		// ldr x16, #8; br x16; .quad 0x40002344
		{FarJump, "veneer", false, "50000058" + "00021fd6" + "4423004000000000", math.MinInt64, math.MaxInt64 - 3},
	}
	for cc, name := range []string{"jo", "jno", "jb", "jae", "je", "jne", "jbe", "ja", "js", "jns", "jp", "jnp", "jl", "jge", "jle", "jg"} {
		code := "0f" + hex.EncodeToString([]byte{0x80 + byte(cc)}) + "3e130000"
		facts = append(facts, fact{Jcc32 + Form(cc), name, false, code, math.MinInt32 + 6, math.MaxInt32 + 6})
	}
	if len(facts) != int(forms)-1 {
		t.Errorf("%d forms tested, there are %d", len(facts), forms-1)
	}
	for _, c := range facts {
		code := unhex(t, c.code)
		f := c.form
		if f.String() != c.text || f.Call() != c.call || f.Len() != len(code) {
			t.Errorf("%s: String %s, Call %v, Len %d", c.text, f, f.Call(), f.Len())
		}
		buf := bytes.Repeat([]byte{0xaa}, len(code)+4)
		if !f.Encode(buf, at, target) || !bytes.Equal(buf[:len(code)], code) {
			t.Errorf("%s: Encode gives %x, want %s", c.text, buf[:len(code)], c.code)
		}
		if !bytes.Equal(buf[len(code):], []byte{0xaa, 0xaa, 0xaa, 0xaa}) {
			t.Errorf("%s: Encode wrote behind its %d bytes", c.text, len(code))
		}
		if got, ok := f.Target(code, at); !ok || got != target {
			t.Errorf("%s: Target is %#x, %v", c.text, got, ok)
		}
		for _, d := range []int64{c.low, c.high} {
			checkReach(t, f, at, at+uint64(d), true)
		}
		if f != FarJump {
			step := int64(f.Machine().Facts().InsnAlign)
			checkReach(t, f, at, at+uint64(c.low-step), false)
			checkReach(t, f, at, at+uint64(c.high+step), false)
		}
		if f.Encode(buf[:len(code)-1], at, target) {
			t.Errorf("%s: Encode into too few bytes", c.text)
		}
		if _, ok := f.Target(code[:len(code)-1], at); ok {
			t.Errorf("%s: Target of too few bytes", c.text)
		}
	}
}

// checkReach checks InReach, that Encode agrees and writes nothing out of reach, and
// that Target reads back what Encode wrote.
func checkReach(t *testing.T, f Form, at, target uint64, want bool) {
	t.Helper()
	if got := f.InReach(at, target); got != want {
		t.Errorf("%s: InReach(%#x, %#x) is %v", f, at, target, got)
	}
	buf := bytes.Repeat([]byte{0xaa}, f.Len())
	clean := bytes.Clone(buf)
	if got := f.Encode(buf, at, target); got != want {
		t.Errorf("%s: Encode(%#x, %#x) is %v", f, at, target, got)
	} else if !want && !bytes.Equal(buf, clean) {
		t.Errorf("%s: Encode(%#x, %#x) failed but wrote %x", f, at, target, buf)
	}
	if !want {
		return
	}
	if got, ok := f.Target(buf, at); !ok || got != target {
		t.Errorf("%s: Target after Encode(%#x, %#x) is %#x, %v", f, at, target, got, ok)
	}
}

// TestAlignment checks what aarch64 cannot express, and x86-64 can.
func TestAlignment(t *testing.T) {
	for _, f := range []Form{BL, B} {
		checkReach(t, f, 0x1000, 0x2002, false)
		checkReach(t, f, 0x1001, 0x2000, false)
		checkReach(t, f, 0x1001, 0x2001, false)
	}
	checkReach(t, FarJump, 0x1000, 0x2002, false)
	checkReach(t, FarJump, 0x1004, 0x2000, false) // its literal would not be 8-aligned
	checkReach(t, FarJump, 0x1008, 1<<63, true)
	checkReach(t, Call32, 0x1001, 0x2003, true)
}

// TestWrap checks that displacements wrap around 2^64 as the machine's do.
func TestWrap(t *testing.T) {
	for _, f := range []Form{Call32, Jcc32, BL} {
		checkReach(t, f, 0x1000, 0xfffffffffffff000, true)
		checkReach(t, f, 0xfffffffffffff000, 0x1000, true)
	}
	checkReach(t, Call32, 0, 1<<63, false)
	checkReach(t, BL, 0, 1<<63, false)
}

// TestNoForm checks that the zero value and values that are no form do nothing.
func TestNoForm(t *testing.T) {
	for _, f := range []Form{NoForm, forms, 255} {
		buf := make([]byte, 32)
		_, ok := f.Target(buf, 0)
		if ok || f.Len() != 0 || f.Encode(buf, 0, 0) || f.InReach(0, 0) || f.Machine() != 0 || f.Call() || f.String() != "none" {
			t.Errorf("form %d does something", uint8(f))
		}
	}
}

// TestTargetRefuses gives each form bytes that are almost its own.
func TestTargetRefuses(t *testing.T) {
	for _, c := range []struct {
		form Form
		code string
	}{
		{Call32, "e900000000"}, {Jmp32, "e800000000"}, {Call32, "cc00000000"},
		{AddrCall32, "66e800000000"}, {AddrCall32, "67e900000000"},
		{JmpNop32, "e900000000cc"}, {JmpNop32, "e80000000090"},
		{Jcc32 + 4, "0f8500000000"}, {Jcc32 + 4, "0e8400000000"},
		{BL, "00000014"}, {B, "00000094"}, {B, "806929d4"},
		{FarJump, "50000058" + "00021fd7" + "0000000000000000"}, {FarJump, "51000058" + "00021fd6" + "0000000000000000"},
	} {
		if _, ok := c.form.Target(unhex(t, c.code), 0); ok {
			t.Errorf("%s: Target takes %s", c.form, c.code)
		}
	}
}

// TestAt shows bytes before a field (which follows them) and what At and Relax see.
func TestAt(t *testing.T) {
	for _, c := range []struct {
		before  string
		at      Form
		start   int // from the field, backwards
		relaxed Form
	}{
		{"e8", Call32, 1, NoForm},          // call rel32
		{"e9", Jmp32, 1, NoForm},           // jmp rel32
		{"0f80", Jcc32, 2, NoForm},         // jo rel32
		{"0f8f", Jcc32 + 15, 2, NoForm},    // jg rel32
		{"f2e9", Jmp32, 1, NoForm},         // bnd jmp rel32: the prefix is not of the form
		{"67e8", Call32, 1, NoForm},        // addr32 call rel32: klink's own are known by their site
		{"488d05", NoForm, 0, NoForm},      // lea disp32(%rip), %rax
		{"8f", NoForm, 0, NoForm},          // the 0f is missing
		{"0f90", NoForm, 0, NoForm},        // setcc
		{"0e80", NoForm, 0, NoForm},        //
		{"", NoForm, 0, NoForm},            // nothing
		{"ff15", NoForm, 0, AddrCall32},    // call *disp32(%rip)
		{"ff25", NoForm, 0, JmpNop32},      // jmp *disp32(%rip)
		{"f2ff25", NoForm, 0, JmpNop32},    // bnd jmp *disp32(%rip)
		{"ff35", NoForm, 0, NoForm},        // push disp32(%rip)
		{"ff95", NoForm, 0, NoForm},        // call *disp32(%rbp)
		{"8b05", NoForm, 0, NoForm},        // mov disp32(%rip), %eax
		{"15", NoForm, 0, NoForm},          //
		{"48c7c0", NoForm, 0, NoForm},      // mov $imm32, %rax
		{"83f80f84", Jcc32 + 4, 2, NoForm}, // cmp $15, %eax is what an 0f before a jump may also be
	} {
		before := unhex(t, c.before)
		sec := append(bytes.Clone(before), 1, 2, 3, 4)
		field := uint64(len(before))
		if f, start := At(arch.AMD64, sec, field); f != c.at || f != NoForm && start != field-uint64(c.start) {
			t.Errorf("At behind %q: %v at %d", c.before, f, start)
		}
		if f, start := Relax(sec, field); f != c.relaxed || f != NoForm && start != field-2 {
			t.Errorf("Relax behind %q: %v at %d", c.before, f, start)
		}
		for cut := range 4 { // the field leaves the section
			short := sec[:len(sec)-1-cut]
			if f, _ := At(arch.AMD64, short, field); f != NoForm {
				t.Errorf("At behind %q, cut short: %v", c.before, f)
			}
			if f, _ := Relax(short, field); f != NoForm {
				t.Errorf("Relax behind %q, cut short: %v", c.before, f)
			}
		}
	}
	for _, field := range []uint64{0, 5, 1 << 32, 1<<64 - 1, 1<<64 - 4} {
		if f, _ := At(arch.AMD64, []byte{0xe8, 0xe8, 0, 0, 0}, field); f != NoForm {
			t.Errorf("At field %#x: %v", field, f)
		}
		if f, _ := Relax([]byte{0xff, 0x15, 0, 0, 0}, field); f != NoForm {
			t.Errorf("Relax field %#x: %v", field, f)
		}
	}
}

// TestAtARM64 is the same for words.
func TestAtARM64(t *testing.T) {
	for code, want := range map[string]Form{
		"00000094": BL, "ffffff97": BL, "00000014": B, "ffffff17": B,
		"00000054": NoForm, // b.eq
		"00000034": NoForm, // cbz
		"00000036": NoForm, // tbz
		"1f2003d5": NoForm, // nop
	} {
		sec := append(make([]byte, 4), unhex(t, code)...)
		if f, start := At(arch.ARM64, sec, 4); f != want || f != NoForm && start != 4 {
			t.Errorf("At(%s) is %v at %d", code, f, start)
		}
		if f, _ := At(arch.ARM64, append([]byte{0, 0}, sec...), 6); f != NoForm {
			t.Errorf("At(%s) at a place that is not word-aligned: %v", code, f)
		}
		if f, _ := At(arch.ARM64, sec[:7], 4); f != NoForm {
			t.Errorf("At(%s) outside of the section: %v", code, f)
		}
	}
	if f, _ := At(8, []byte{0xe8, 0, 0, 0, 0}, 1); f != NoForm {
		t.Errorf("At for another machine: %v", f)
	}
}

// TestNoAllocation guards the paths that run once a site.
func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 16)
	n := testing.AllocsPerRun(10, func() {
		for f := range forms {
			f.Encode(buf, 0x1000, 0x2000)
			f.Target(buf, 0x1000)
			f.InReach(0x1000, 0x2000)
			At(f.Machine(), buf, uint64(f.Len()))
			Relax(buf, 2)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	buf := make([]byte, 8)
	for b.Loop() {
		Call32.Encode(buf, 0x1000, 0x2000)
	}
}

func BenchmarkTarget(b *testing.B) {
	buf := []byte{0xe8, 1, 2, 3, 4}
	for b.Loop() {
		Call32.Target(buf, 0x1000)
	}
}

func BenchmarkAt(b *testing.B) {
	buf := []byte{0xe8, 1, 2, 3, 4}
	for b.Loop() {
		At(arch.AMD64, buf, 1)
	}
}
