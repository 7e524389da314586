package reloc

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"klink/internal/arch"
)

// fieldBits are the bits of the place that each field may change, from the
// instruction formats, and what the field says of a value as an addend.
var fieldBits = map[Field]struct {
	mask   uint64
	addend func(v int64) int64
}{
	NoField: {0, func(int64) int64 { return 0 }},
	Word8:   {0xff, func(v int64) int64 { return int64(int8(v)) }},
	Word16:  {0xffff, func(v int64) int64 { return int64(int16(v)) }},
	Word32:  {0xffffffff, func(v int64) int64 { return int64(int32(v)) }},
	Word64:  {^uint64(0), func(v int64) int64 { return v }},

	Branch26: {0x03ffffff, func(v int64) int64 { return v << 36 >> 36 &^ 3 }},
	Imm19:    {0x00ffffe0, func(v int64) int64 { return v << 43 >> 43 &^ 3 }},
	Branch14: {0x0007ffe0, func(v int64) int64 { return v << 48 >> 48 &^ 3 }},
	Adr21:    {0x60ffffe0, func(v int64) int64 { return v << 43 >> 43 }},
	Adrp21:   {0x60ffffe0, func(v int64) int64 { return v << 31 >> 43 }},

	Lo12:      {0x003ffc00, func(v int64) int64 { return v << 52 >> 52 }},
	Lo12Half:  {0x003ffc00, func(v int64) int64 { return v & 0xffe }},
	Lo12Word:  {0x003ffc00, func(v int64) int64 { return v & 0xffc }},
	Lo12Xword: {0x003ffc00, func(v int64) int64 { return v & 0xff8 }},
	Lo12Quad:  {0x003ffc00, func(v int64) int64 { return v & 0xff0 }},
	Lo15Xword: {0x003ffc00, func(v int64) int64 { return v << 49 >> 49 &^ 7 }},

	MovG0:       {0x001fffe0, func(v int64) int64 { return int64(int16(v)) }},
	MovG1:       {0x001fffe0, func(v int64) int64 { return int64(int16(v >> 16)) }},
	MovG2:       {0x001fffe0, func(v int64) int64 { return int64(int16(v >> 32)) }},
	MovG3:       {0x001fffe0, func(v int64) int64 { return int64(int16(v >> 48)) }},
	MovSignedG0: {0x401fffe0, func(v int64) int64 { return int64(int16(positive(v))) }},
	MovSignedG1: {0x401fffe0, func(v int64) int64 { return int64(int16(positive(v) >> 16)) }},
	MovSignedG2: {0x401fffe0, func(v int64) int64 { return int64(int16(positive(v) >> 32)) }},
	MovSignedG3: {0x401fffe0, func(v int64) int64 { return int64(int16(positive(v) >> 48)) }},
}

// positive returns v, or its complement if v is negative.
func positive(v int64) int64 { return max(v, ^v) }

// checkPut writes v at a place full of noise and checks what changed and what
// Addend makes of it.
func checkPut(t *testing.T, r *Row, v int64, noise uint64) {
	t.Helper()
	want, ok := fieldBits[r.Field]
	if !ok {
		t.Fatalf("%s: field %v has no line in fieldBits", r.Name, r.Field)
	}
	buf := binary.LittleEndian.AppendUint64(nil, noise)
	r.Put(buf, v)
	after := binary.LittleEndian.Uint64(buf)
	if changed := (after ^ noise) &^ want.mask; changed != 0 {
		t.Errorf("%s: Put(%#x) at %#x changed bits %#x that are not the field's", r.Name, v, noise, changed)
	}
	if got := r.Addend(buf); got != want.addend(v) {
		t.Errorf("%s: Addend after Put(%#x) is %#x, want %#x", r.Name, v, got, want.addend(v))
	}
	again := slices.Clone(buf)
	r.Put(again, v)
	if !bytes.Equal(again, buf) {
		t.Errorf("%s: Put(%#x) twice gives %x, then %x", r.Name, v, buf, again)
	}
}

// TestRoundTrip puts values into places of all ones, all zeros and a mixture.
func TestRoundTrip(t *testing.T) {
	values := []int64{0, 1, -1, 2, -2, 0x123456789abcdef0, -0x123456789abcdef0, 0x5a5a5a5a5a5a5a5a, -0x5a5a5a5a5a5a5a5b}
	for bit := range 64 {
		values = append(values, 1<<bit, -1<<bit, 1<<bit-1)
	}
	for _, m := range machines {
		for _, r := range Rows(m) {
			for _, v := range append(slices.Clone(values), r.Min, r.Max) {
				for _, noise := range []uint64{0, ^uint64(0), 0xa5c3_9d2e_5a3c_61d2} {
					checkPut(t, r, v, noise)
				}
			}
		}
	}
}

// TestImplicitAddend gives addends as an assembler leaves them in REL objects.
func TestImplicitAddend(t *testing.T) {
	for _, c := range []struct {
		name  string
		place string
		want  int64
	}{
		{"R_X86_64_PLT32", "fcffffff", -4},
		{"R_X86_64_64", "f8ffffffffffffff", -8},
		{"R_X86_64_8", "80", -128},
		{"R_AARCH64_CALL26", "ffffff97", -4},               // bl #-4
		{"R_AARCH64_CALL26", "02000094", 8},                // bl #8
		{"R_AARCH64_CONDBR19", "40000054", 8},              // b.eq #8
		{"R_AARCH64_TSTBR14", "40000836", 8},               // tbz w0, #1, #8
		{"R_AARCH64_ADR_PREL_LO21", "20000030", 5},         // adr x0, #5
		{"R_AARCH64_ADR_PREL_PG_HI21", "20000090", 4},      // adrp x0, #0x4000: not shifted
		{"R_AARCH64_ADR_PREL_PG_HI21", "e0fffff0", -1},     // adrp x0, #-0x1000
		{"R_AARCH64_ADD_ABS_LO12_NC", "00140091", 5},       // add x0, x0, #5
		{"R_AARCH64_LDST64_ABS_LO12_NC", "000840f9", 0x10}, // ldr x0, [x0, #16]
		{"R_AARCH64_MOVW_UABS_G1", "a000a0d2", 5},          // movz x0, #5, lsl #16: not shifted
		{"R_AARCH64_MOVW_UABS_G0_NC", "e0ff9ff2", -1},      // movk x0, #0xffff
	} {
		_, r := byName(t, c.name)
		if got := r.Addend(unhex(t, c.place)); got != c.want {
			t.Errorf("%s: Addend(%s) is %#x, want %#x", c.name, c.place, got, c.want)
		}
	}
}

// TestFitsAMD64 shows bytes around a field, the field as "....", with an answer for
// executable and for other sections.
func TestFitsAMD64(t *testing.T) {
	for _, c := range []struct {
		typ        uint32
		before     string
		exec, data Verdict
	}{
		{4, "e8", OK, OK},                // call rel32
		{4, "e9", OK, OK},                // jmp rel32
		{4, "0f80", OK, OK},              // jo rel32
		{4, "0f8f", OK, OK},              // jg rel32
		{4, "c7f8", OK, OK},              // xbegin rel32
		{4, "f2e9", OK, OK},              // bnd jmp rel32
		{4, "-", BadInsn, OK},            // nothing before the field
		{4, "8f", BadInsn, OK},           // 0f is missing
		{4, "0f90", BadInsn, OK},         // seto
		{4, "488d05", BadInsn, OK},       // lea disp32(%rip), %rax
		{4, "ea", BadInsn, OK},           //
		{2, "00", OK, OK},                // PC32 may be data
		{9, "00", OK, OK},                // GOTPCREL too
		{1, "-", OK, OK},                 //
		{41, "ff15", OK, OK},             // call *disp32(%rip)
		{41, "ff25", OK, OK},             // jmp *disp32(%rip)
		{41, "8b05", OK, OK},             // mov disp32(%rip), %eax
		{41, "3b3d", OK, OK},             // cmp disp32(%rip), %edi
		{41, "15", BadInsn, BadInsn},     // no opcode
		{41, "ff55", BadInsn, BadInsn},   // call *disp8(%rbp)
		{41, "8b85", BadInsn, BadInsn},   // mov disp32(%rbp), %eax
		{41, "8b04", BadInsn, BadInsn},   // mov (sib), %eax
		{42, "488b05", OK, OK},           // mov disp32(%rip), %rax
		{42, "4c8b3d", OK, OK},           // mov disp32(%rip), %r15
		{42, "908b05", BadInsn, BadInsn}, // no REX
		{42, "8b05", BadInsn, BadInsn},   //
		{42, "488bc0", BadInsn, BadInsn}, // mov %rax, %rax
		{42, "488b8d", BadInsn, BadInsn}, // mov disp32(%rbp), %rcx
	} {
		r := Lookup(arch.AMD64, c.typ)
		before := unhex(t, c.before)
		sec := append(slices.Clone(before), 1, 2, 3, 4, 5, 6, 7, 8)
		if got := r.Fits(arch.AMD64, sec, uint64(len(before)), true); got != c.exec {
			t.Errorf("%s behind %s in text: %v, want %v", r.Name, c.before, got, c.exec)
		}
		if got := r.Fits(arch.AMD64, sec, uint64(len(before)), false); got != c.data {
			t.Errorf("%s behind %s in data: %v, want %v", r.Name, c.before, got, c.data)
		}
	}
}

// arm64Words are instructions and, by type, whether they may carry it; those that
// are not listed for a type are what a wrong object would have there.
var arm64Words = []struct {
	word  uint32
	text  string
	types []uint32
}{
	{0xd503201f, "nop", nil},
	{0x14000000, "b .", []uint32{282, 283}},
	{0x94000000, "bl .", []uint32{282, 283}},
	{0x54000001, "b.ne .", []uint32{280}},
	{0x54000010, "bc.eq .", []uint32{280}},
	{0x34000003, "cbz w3, .", []uint32{280}},
	{0xb5000003, "cbnz x3, .", []uint32{280}},
	{0x36080003, "tbz w3, #1, .", []uint32{279}},
	{0xb7080003, "tbnz x3, #33, .", []uint32{279}},
	{0x18000003, "ldr w3, .", []uint32{273}},
	{0x58000003, "ldr x3, .", []uint32{273, 309}},
	{0x98000003, "ldrsw x3, .", []uint32{273}},
	{0x9c000003, "ldr q3, .", []uint32{273}},
	{0x10000003, "adr x3, .", []uint32{274}},
	{0x90000003, "adrp x3, .", []uint32{275, 276, 311}},
	{0x91000083, "add x3, x4, #0", []uint32{277}},
	{0x11000083, "add w3, w4, #0", []uint32{277}},
	{0xb1000083, "adds x3, x4, #0", []uint32{277}},
	{0x91400083, "add x3, x4, #0, lsl #12", nil},
	{0xd1000083, "sub x3, x4, #0", nil},
	{0x39000083, "strb w3, [x4]", []uint32{278}},
	{0x39800083, "ldrsb x3, [x4]", []uint32{278}},
	{0x3d400083, "ldr b3, [x4]", []uint32{278}},
	{0x79400083, "ldrh w3, [x4]", []uint32{284}},
	{0x7d000083, "str h3, [x4]", []uint32{284}},
	{0xb9400083, "ldr w3, [x4]", []uint32{285}},
	{0xb9800083, "ldrsw x3, [x4]", []uint32{285}},
	{0xbd400083, "ldr s3, [x4]", []uint32{285}},
	{0xf9000083, "str x3, [x4]", []uint32{286}},
	{0xf9400083, "ldr x3, [x4]", []uint32{286, 310, 312, 313}},
	{0xf9800080, "prfm pldl1keep, [x4]", []uint32{286}},
	{0xfd400083, "ldr d3, [x4]", []uint32{286}},
	{0x3dc00083, "ldr q3, [x4]", []uint32{299}},
	{0x3d800083, "str q3, [x4]", []uint32{299}},
	{0xf8400083, "ldur x3, [x4]", nil},
	{0xa9400083, "ldp x3, x0, [x4]", nil},
	{0xd2800003, "mov x3, #0", []uint32{263, 264, 270, 287, 288, 300, 301}},
	{0x52800003, "mov w3, #0", []uint32{263, 264, 270, 287, 288, 300, 301}},
	{0xf2800003, "movk x3, #0", []uint32{263, 264, 288, 301}},
	{0x92800003, "movn x3, #0", []uint32{270, 287, 300}},
	{0xd2a00003, "movz x3, #0, lsl #16", []uint32{265, 266, 271, 289, 290, 302, 303}},
	{0xf2a00003, "movk x3, #0, lsl #16", []uint32{265, 266, 290, 303}},
	{0x92a00003, "movn x3, #0, lsl #16", []uint32{271, 289, 302}},
	{0xf2c00003, "movk x3, #0, lsl #32", []uint32{267, 268, 292, 305}},
	{0x92c00003, "movn x3, #0, lsl #32", []uint32{272, 291, 304}},
	{0xf2e00003, "movk x3, #0, lsl #48", []uint32{269}},
	{0x92e00003, "movn x3, #0, lsl #48", []uint32{293, 306}},
	{0xd61f0060, "br x3", nil},
	{0x00000000, "udf #0", nil},
}

// TestFitsARM64 tries every word with every type, in executable sections and not.
func TestFitsARM64(t *testing.T) {
	accepted := map[uint32]bool{}
	for _, w := range arm64Words {
		insn := binary.LittleEndian.AppendUint32(make([]byte, 4), w.word)
		for _, r := range Rows(arch.ARM64) {
			want := BadInsn
			if r.insn == anyBytes || slices.Contains(w.types, r.Type) {
				want = OK
			}
			if r.Width > 4 {
				continue
			}
			for _, exec := range []bool{true, false} {
				if got := r.Fits(arch.ARM64, insn, 4, exec); got != want {
					t.Errorf("%s on %s: %v, want %v", r.Name, w.text, got, want)
				}
			}
			if want == OK {
				accepted[r.Type] = true
			}
			if got := r.Fits(arch.ARM64, append([]byte{0, 0}, insn...), 6, true); want == OK && r.insn != anyBytes && got != BadInsn {
				t.Errorf("%s on %s at a place that is not word-aligned: %v", r.Name, w.text, got)
			}
		}
	}
	for _, r := range Rows(arch.ARM64) {
		if !accepted[r.Type] && r.Width <= 4 {
			t.Errorf("%s: no word of the table is right for it", r.Name)
		}
	}
}

// TestOutOfSection tries every row at the end of a section and far beyond it.
func TestOutOfSection(t *testing.T) {
	sec := make([]byte, 32)
	for _, m := range machines {
		for _, r := range Rows(m) {
			end := uint64(len(sec)) - uint64(r.Width)
			if got := r.Fits(m, sec, end, false); got == OutOfSection {
				t.Errorf("%s: the last place is %v", r.Name, got)
			}
			for _, off := range []uint64{end + 1, 33, 1 << 32, 1<<64 - 1, -uint64(r.Width)} {
				if off == 0 {
					continue // Width 0
				}
				if got := r.Fits(m, sec, off, true); got != OutOfSection {
					t.Errorf("%s: offset %#x is %v", r.Name, off, got)
				}
			}
			if got := r.Fits(m, nil, 0, false); r.Width > 0 && got != OutOfSection {
				t.Errorf("%s: in no section: %v", r.Name, got)
			}
		}
	}
}

// FuzzPut writes any value of any type over any bytes.
func FuzzPut(f *testing.F) {
	f.Add(true, uint32(4), int64(-4), uint64(0xe8))
	f.Add(false, uint32(283), int64(0x7fffffc), uint64(0x94000000))
	f.Add(false, uint32(272), int64(-1<<48), uint64(0xd2c00003))
	f.Add(false, uint32(311), int64(-1<<32), uint64(0x90000003))
	f.Fuzz(func(t *testing.T, amd64 bool, typ uint32, v int64, noise uint64) {
		m := arch.ARM64
		if amd64 {
			m = arch.AMD64
		}
		rows := Rows(m)
		r := rows[typ%uint32(len(rows))]
		checkPut(t, r, v, noise)
		sec := binary.LittleEndian.AppendUint64(nil, noise)
		if r.Fits(m, sec, uint64(typ), amd64) == OK { // then Put must stay inside
			r.Put(sec[typ:], v)
		}
	})
}
