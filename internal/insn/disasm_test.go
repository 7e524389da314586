package insn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"klink/internal/arch"
)

// golden is a line of testdata: an instruction and its text.
type golden struct {
	code []byte
	text string
}

// readGolden reads a file of testdata.
func readGolden(t testing.TB, file string) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []golden
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		code, text, ok := strings.Cut(line, " ")
		if !ok {
			t.Fatalf("%s: bad line %q", file, line)
		}
		lines = append(lines, golden{unhex(t, code), strings.TrimSpace(text)})
	}
	if len(lines) < 50 {
		t.Fatalf("%s has only %d lines", file, len(lines))
	}
	return lines
}

// base is where the golden instructions stand.
const base = 0x401000

// there names two addresses.
func there(addr uint64) string {
	if addr == base+0x10 || addr == base+0x17 {
		return "there"
	}
	return ""
}

var goldenFiles = map[arch.Machine]string{arch.AMD64: "amd64_insns.txt", arch.ARM64: "arm64_insns.txt"}

// TestGolden disassembles each golden instruction alone, then all as one stream,
// which must fall into the same pieces.
func TestGolden(t *testing.T) {
	for m, file := range goldenFiles {
		lines := readGolden(t, file)
		var stream []byte
		for _, l := range lines {
			stream = append(stream, l.code...)
			got := Disassemble(m, l.code, base, there)
			if len(got) != 1 || got[0].Text != l.text {
				t.Errorf("%v %x: %+v, want %q", m, l.code, got, l.text)
			}
		}
		insts := Disassemble(m, stream, base, nil)
		if len(insts) != len(lines) {
			t.Fatalf("%v: the stream has %d instructions, want %d", m, len(insts), len(lines))
		}
		off := uint64(0)
		for i, in := range insts {
			if in.Off != off || !bytes.Equal(in.Bytes, lines[i].code) {
				t.Fatalf("%v: at %#x of the stream stands %x, want %x at %#x", m, in.Off, in.Bytes, lines[i].code, off)
			}
			off += uint64(in.Len)
		}
	}
}

// TestBranchText shows direct branches of x86-64, and what looks like one.
func TestBranchText(t *testing.T) {
	for _, c := range []struct {
		code, text string
		target     uint64 // 0: not a direct branch
	}{
		{"e80b000000", "call 0x401010 <there>", 0x401010},
		{"e9fbffffff", "jmp 0x401000", 0x401000},
		{"eb0e", "jmp 0x401010 <there>", 0x401010},
		{"ebfe", "jmp 0x401000", 0x401000},
		{"7480", "je 0x400f82", 0x400f82},
		{"0f8500000080", "jne 0xffffffff80401006", 0xffffffff80401006},
		{"67e80a000000", "addr32 call 0x401010 <there>", 0x401010},
		{"f2e90a000000", "bnd jmp 0x401010 <there>", 0x401010},
		{"2e0f8409000000", "je 0x401010 <there>", 0x401010},
		{"e30e", "jrcxz 0x401010 <there>", 0x401010},
		{"67e30d", "jecxz 0x401010 <there>", 0x401010},
		{"e2fe", "loop 0x401000", 0x401000},
		{"e0fe", "loopne 0x401000", 0x401000},
		{"ffd0", "call *%rax", 0},
		{"ff2500000000", "jmp *(%rip) # 0x401006", 0},
		{"ff250a000000", "jmp *0xa(%rip) # 0x401010 <there>", 0},
		{"c5fe6f0d08000000", "vmovdqu 0x8(%rip),%ymm1 # 0x401010 <there>", 0},
	} {
		got := Disassemble(arch.AMD64, unhex(t, c.code), base, there)
		if len(got) != 1 {
			t.Errorf("%s: %+v", c.code, got)
			continue
		}
		i := got[0]
		if i.Text != c.text || i.Target != c.target || i.Branch != (c.target != 0) || i.HasTarget != i.Branch {
			t.Errorf("%s: %+v, want %q", c.code, i, c.text)
		}
	}
	// A prefix that processors disagree about: not a direct branch, but a whole one.
	if got := Disassemble(arch.AMD64, unhex(t, "66e80b000000"), base, nil); len(got) != 1 || got[0].Branch {
		t.Errorf("66 e8: %+v", got)
	}
}

// TestPrefixOrder checks what prefixes do to an immediate, by length.
func TestPrefixOrder(t *testing.T) {
	for code, want := range map[string]int{
		"0544332211":                5,  // add $imm32, %eax
		"66052211":                  4,  // add $imm16, %ax
		"66480544332211":            7,  // add $imm32, %rax: REX.W wins
		"4866052211":                5,  // the REX is not the last prefix
		"48b8" + "8877665544332211": 10, // movabs $imm64, %rax
		"67a044332211":              6,  // mov addr32, %al
		"66e844332211":              6,  // rel32 in spite of 66
	} {
		got := Disassemble(arch.AMD64, append(unhex(t, code), 0x90), base, nil)
		if got[0].Len != want {
			t.Errorf("%s: %d bytes, want %d", code, got[0].Len, want)
		}
	}
}

// TestPageText checks that adrp counts from the page of its address.
func TestPageText(t *testing.T) {
	got := Disassemble(arch.ARM64, unhex(t, "00000090"+"000000b0"), base+0xff8, nil)
	if got[0].Text != "adrp x0, 0x401000" || got[1].Text != "adrp x0, 0x402000" {
		t.Errorf("%+v", got)
	}
}

// TestUndecodable shows what is no instruction: one byte at a time, then on.
func TestUndecodable(t *testing.T) {
	for _, c := range []struct {
		m    arch.Machine
		code string
		want string
	}{
		{arch.AMD64, "06c3", ".byte 0x06|ret"},
		{arch.AMD64, "e80000", ".byte 0xe8|add %al,(%rax)"},
		{arch.AMD64, "0f", ".byte 0x0f"},
		{arch.AMD64, "6666", ".byte 0x66|.byte 0x66"},
		{arch.AMD64, "62", ".byte 0x62"},
		{arch.AMD64, "62f1784858c3c3", ".byte 0x62|icebp|js 0x40104c|pop %rax|ret|ret"}, // the bit that EVEX has set is clear
		{arch.AMD64, "c5", ".byte 0xc5"},
		{arch.AMD64, "c4e2", ".byte 0xc4|.byte 0xe2"},
		{arch.AMD64, "488b04", "rex.W|.byte 0x8b|.byte 0x04"},
		{arch.ARM64, "ffffffff1f2003d5", ".inst 0xffffffff|nop"},
		{arch.ARM64, "1f2003d5aabb", "nop|.byte 0xaa, 0xbb"},
		{8, "90", ""},
	} {
		var texts []string
		for _, i := range Disassemble(c.m, unhex(t, c.code), base, nil) {
			texts = append(texts, i.Text)
		}
		want := strings.ReplaceAll(c.want, "rex.W", ".byte 0x48")
		if got := strings.Join(texts, "|"); got != want {
			t.Errorf("%v %s: %s, want %s", c.m, c.code, got, want)
		}
	}
	long := append(bytes.Repeat([]byte{0x66}, 15), 0x90) // 16 bytes are too long for an instruction
	if got := Disassemble(arch.AMD64, long, base, nil); got[0].Len != 1 || len(got) != 2 {
		t.Errorf("a run of prefixes: %+v", got)
	}
}

// TestBoundBranches finds the branches without a relocation between instructions
// that x86asm does not know.
func TestBoundBranches(t *testing.T) {
	code := unhex(t, ""+
		"f30f1efa"+ //        0: endbr64
		"e800000000"+ //      4: call, relocated
		"62f1fd487f4701"+ //  9: vmovdqa64 %zmm0, 0x40(%rdi)
		"7405"+ //           10: je 0x17
		"e9e8000000"+ //     12: jmp 0xff
		"c5f877"+ //         17: vzeroupper
		"66e800000000"+ //   1a: data16 call
		"0f85fcffffff"+ //   20: jne 0x22
		"8fe878c2c801"+ //   26: vprotd, with an 01 behind it
		"ebd2"+ //           2c: jmp 0
		"c3") //             2e: ret
	relocs := map[uint64]bool{5: true}
	asked := []uint64{}
	got := BoundBranches(arch.AMD64, code, base, func(off uint64) bool {
		asked = append(asked, off)
		return relocs[off]
	})
	want := "10+2 je 0x401017, 12+5 jmp 0x4010ff, 20+6 jne 0x401022, 2c+2 jmp 0x401000"
	if text := boundText(got); text != want {
		t.Errorf("found %s\nwant  %s", text, want)
	}
	if fmt.Sprint(asked) != "[5 17 19 34 45]" {
		t.Errorf("asked for relocations at %v", asked)
	}
}

// TestBoundBranchesARM64 is the same for aarch64: every kind of direct branch.
func TestBoundBranchesARM64(t *testing.T) {
	code := unhex(t, ""+
		"5f2403d5"+ //  0: bti c
		"04000094"+ //  4: bl, relocated
		"03000014"+ //  8: b 0x14
		"a1ffff54"+ //  c: b.ne 0
		"800000b4"+ // 10: cbz x0, 0x20
		"63000836"+ // 14: tbz w3, #1, 0x20
		"feffff97"+ // 18: bl 0x10
		"c0035fd6"+ // 1c: ret
		"0000") //     20: not a word
	got := BoundBranches(arch.ARM64, code, base, func(off uint64) bool { return off == 4 })
	want := "8+4 b 0x401014, c+4 b.ne 0x401000, 10+4 cbz x0, 0x401020, 14+4 tbz w3, #1, 0x401020, 18+4 bl 0x401010"
	if text := boundText(got); text != want {
		t.Errorf("found %s\nwant  %s", text, want)
	}
	if BoundBranches(8, code, 0, nil) != nil {
		t.Error("another machine has branches")
	}
}

// boundText joins branches as "off+len text".
func boundText(branches []BoundBranch) string {
	var s []string
	for _, b := range branches {
		var target uint64
		fmt.Sscanf(b.Text[strings.LastIndex(b.Text, "0x"):], "0x%x", &target)
		if target != b.Target {
			s = append(s, "wrong target")
		}
		s = append(s, fmt.Sprintf("%x+%d %s", b.Off, b.Len, b.Text))
	}
	return strings.Join(s, ", ")
}

// TestResynchronise puts data in front of code and counts how many bytes of the
// code the walk misreads before it is in step again.
func TestResynchronise(t *testing.T) {
	var code []byte
	starts := map[uint64]bool{}
	for range 2 {
		for _, l := range readGolden(t, goldenFiles[arch.AMD64]) {
			starts[uint64(len(code))] = true
			code = append(code, l.code...)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	worst, sum := uint64(0), uint64(0)
	const rounds = 1000
	for range rounds {
		data := make([]byte, 1+rnd.IntN(40))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		inStep := false
		walkAMD64(append(data, code...), func(off int, _ amd64Insn, _ bool) {
			if d := off - len(data); !inStep && d >= 0 && starts[uint64(d)] {
				inStep = true
				worst, sum = max(worst, uint64(d)), sum+uint64(d)
			}
		})
		if !inStep {
			t.Fatalf("never back in step behind %x", data)
		}
	}
	if worst > 64 || sum > 8*rounds {
		t.Errorf("back in step after %d bytes at worst, %.1f on average", worst, float64(sum)/rounds)
	}
}

// FuzzDisassemble checks that any bytes are taken apart completely, in order, and
// that BoundBranches finds exactly the branches that Disassemble shows.
func FuzzDisassemble(f *testing.F) {
	for m, file := range goldenFiles {
		var all []byte
		for _, l := range readGolden(f, file) {
			all = append(all, l.code...)
		}
		f.Add(m == arch.AMD64, all, uint64(base))
	}
	f.Add(true, unhex(f, "66e80b00000062f1"), uint64(1<<64-3))
	f.Fuzz(func(t *testing.T, amd64 bool, code []byte, pc uint64) {
		m := arch.ARM64
		if amd64 {
			m = arch.AMD64
		}
		off, branches := uint64(0), []Inst{}
		for _, i := range Disassemble(m, code, pc, there) {
			if i.Off != off || i.Len < 1 || i.Len > maxInsn || i.Text == "" || !bytes.Equal(i.Bytes, code[off:off+uint64(i.Len)]) {
				t.Fatalf("at %#x: %+v", off, i)
			}
			if i.Branch {
				branches = append(branches, i)
			}
			off += uint64(i.Len)
		}
		if off != uint64(len(code)) {
			t.Fatalf("%d of %d bytes", off, len(code))
		}
		bound := BoundBranches(m, code, pc, func(uint64) bool { return false })
		if len(bound) != len(branches) {
			t.Fatalf("%d bound branches, %d branches", len(bound), len(branches))
		}
		for i, b := range bound {
			if b.Off != branches[i].Off || b.Target != branches[i].Target || b.Len != branches[i].Len {
				t.Fatalf("%+v is not %+v", b, branches[i])
			}
		}
	})
}

// FuzzForm writes and reads any form anywhere.
func FuzzForm(f *testing.F) {
	f.Add(uint8(Call32), uint64(0x1000), uint64(0x2000), []byte{0xe8, 0, 0, 0, 0})
	f.Add(uint8(FarJump), uint64(0x1000), uint64(0x2000), make([]byte, 16))
	f.Fuzz(func(t *testing.T, n uint8, at, target uint64, src []byte) {
		form := Form(n % uint8(forms))
		if got, ok := form.Target(src, at); ok {
			buf := make([]byte, form.Len())
			if form.Encode(buf, at, got) && !bytes.Equal(buf, src[:form.Len()]) {
				t.Fatalf("%s: %x leads to %#x, which encodes as %x", form, src, got, buf)
			}
		}
		buf := make([]byte, form.Len())
		if form.Encode(buf, at, target) {
			if got, ok := form.Target(buf, at); !ok || got != target || !form.InReach(at, target) {
				t.Fatalf("%s from %#x to %#x reads back as %#x, %v", form, at, target, got, ok)
			}
		}
	})
}
