package reloc

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"klink/internal/arch"
)

// machines are the machines with a table.
var machines = []arch.Machine{arch.AMD64, arch.ARM64}

// readTable returns the lines of a file in testdata split into fields, without
// comments and empty lines.
func readTable(t testing.TB, name string) [][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 0 {
			rows = append(rows, f)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return rows
}

// byName returns the row of that name.
func byName(t testing.TB, name string) (arch.Machine, *Row) {
	t.Helper()
	for _, m := range machines {
		for _, r := range Rows(m) {
			if r.Name == name {
				return m, r
			}
		}
	}
	t.Fatalf("no row %s", name)
	return 0, nil
}

// number parses a decimal or hexadecimal number.
func number(t testing.TB, s string) int64 {
	t.Helper()
	v, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// unhex parses bytes; "-" is none.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	if s == "-" {
		return nil
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// padding stands behind every place in these tests: it must not change.
var padding = []byte{0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed}

// put returns the place after Put; it fails if bytes behind it changed.
func put(t testing.TB, r *Row, before []byte, v int64) []byte {
	t.Helper()
	buf := append(slices.Clone(before), padding...)
	r.Put(buf, v)
	if !bytes.Equal(buf[r.Width:], padding) {
		t.Errorf("%s: Put(%#x) changed bytes behind the place", r.Name, v)
	}
	return buf[:r.Width]
}

// TestLimits checks formula, limits, alignment and encoding of every row against
// testdata/limits.txt, and that no row is without a line there.
func TestLimits(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range readTable(t, "limits.txt") {
		name, formula, alignment := f[0], f[1], number(t, f[4])
		m, r := byName(t, name)
		if seen[name] {
			t.Errorf("%s: two lines", name)
		}
		seen[name] = true
		if got := strings.ReplaceAll(r.Formula.String(), " ", ""); got != formula {
			t.Errorf("%s: formula is %s, want %s", name, got, formula)
		}
		before := unhex(t, f[5])
		if len(before) != int(r.Width) {
			t.Errorf("%s: Width is %d, want %d", name, r.Width, len(before))
			continue
		}
		lo, hi, bounded := int64(-1<<63), int64(1<<63-1), f[2] != "any"
		if bounded {
			lo, hi = number(t, f[2]), number(t, f[3])
		}
		last := hi - (hi%alignment+alignment)%alignment // the largest aligned value
		checkVerdict(t, r, lo, OK)
		checkVerdict(t, r, last, OK)
		if got := put(t, r, before, lo); !bytes.Equal(got, unhex(t, f[6])) {
			t.Errorf("%s: Put(%#x) gives %x, want %s", name, lo, got, f[6])
		}
		if got := put(t, r, before, last); !bytes.Equal(got, unhex(t, f[7])) {
			t.Errorf("%s: Put(%#x) gives %x, want %s", name, last, got, f[7])
		}
		if bounded {
			checkVerdict(t, r, lo-alignment, OutOfRange)
			checkVerdict(t, r, last+alignment, OutOfRange)
			if alignment == 1 {
				checkVerdict(t, r, hi+1, OutOfRange)
			}
		}
		for v := int64(1); v < alignment; v++ {
			checkVerdict(t, r, last-v, Misaligned)
			checkVerdict(t, r, last+alignment+v, Misaligned) // alignment comes first
		}
		if m == arch.ARM64 {
			fits(t, m, r, before, OK)
		}
	}
	for _, m := range machines {
		for _, r := range Rows(m) {
			if !seen[r.Name] {
				t.Errorf("%s: no line in limits.txt", r.Name)
			}
		}
	}
}

func checkVerdict(t *testing.T, r *Row, v int64, want Verdict) {
	t.Helper()
	if got := r.Check(v); got != want {
		t.Errorf("%s: Check(%#x) is %v, want %v", r.Name, v, got, want)
	}
}

// fits checks Fits at offset 4 of a section that holds insn there.
func fits(t *testing.T, m arch.Machine, r *Row, insn []byte, want Verdict) {
	t.Helper()
	sec := append(make([]byte, 4), insn...)
	if got := r.Fits(m, sec, 4, true); got != want {
		t.Errorf("%s: Fits(%x) is %v, want %v", r.Name, insn, got, want)
	}
}

// TestProbes replays what GNU ld and lld did at the edges of the fields.
func TestProbes(t *testing.T) {
	verdicts := map[string]Verdict{"range": OutOfRange, "misaligned": Misaligned}
	for _, f := range readTable(t, "probes.txt") {
		_, r := byName(t, f[0])
		v := number(t, f[1])
		if want, refused := verdicts[f[3]]; refused {
			checkVerdict(t, r, v, want)
			continue
		}
		checkVerdict(t, r, v, OK)
		if got := put(t, r, unhex(t, f[2]), v); !bytes.Equal(got, unhex(t, f[3])) {
			t.Errorf("%s: Put(%#x) gives %x, want %s", r.Name, v, got, f[3])
		}
	}
}

// TestValue evaluates every formula on numbers whose sums cannot be mistaken for
// one another, and once around 2^64.
func TestValue(t *testing.T) {
	in := Inputs{S: 0x1234567, A: -8, P: 0x40321, G: 0x5500abc8, GOT: 0x55000018, L: 0x700010, Z: 0x99}
	want := map[Formula]int64{
		None: 0, Abs: 0x123455f, Sym: 0x1234567, PCRel: 0x11f423e, PageRel: 0x11f4000,
		PLTRel: 0x6bfce7, PLTGOTRel: -0x54900010, GOTRel: -0x53dcbab9, GOTBaseRel: 0x54fbfcef,
		SlotRel: 0x54fca89f, SlotPlace: 0x54fca8a7, SlotOff: 0xaba8, SlotPageRel: 0x54fca000,
		SlotAbs: 0x5500abc8, SlotGOTPage: 0xabc8, SlotGOTOff: 0xabb0, Size: 0x91,
	}
	for f := range formulas {
		w, ok := want[f]
		if !ok {
			t.Errorf("%v: no expected value", f)
		}
		r := Row{Formula: f}
		if got := r.Value(&in); got != w {
			t.Errorf("%v = %#x, want %#x", f, got, w)
		}
	}
	wrap := Inputs{S: 0x10, A: -0x20, P: 0xfffffffffffffff0}
	if got := (&Row{Formula: PCRel}).Value(&wrap); got != 0 {
		t.Errorf("S + A - P around 2^64 is %#x, want 0", got)
	}
	if got := (&Row{Formula: PageRel}).Value(&Inputs{S: 0x1fff, A: 1, P: 0x2fff}); got != 0 {
		t.Errorf("the addend must move S before the page is taken: %#x", got)
	}
}

// TestFormulaNeeds checks what the linker is told about slots: by the text.
func TestFormulaNeeds(t *testing.T) {
	for f := range formulas {
		text := f.String()
		words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" +-()", r) && r != 0 })
		words = slices.DeleteFunc(words, func(w string) bool { return w == "Page" })
		slot := slices.Contains(words, "G")
		if f.UsesSlot() != slot || f.UsesGOT() != slices.Contains(words, "GOT") {
			t.Errorf("%s: UsesSlot %v, UsesGOT %v", text, f.UsesSlot(), f.UsesGOT())
		}
		if f.AddendInSlot() != (slot && !slices.Contains(words, "A")) {
			t.Errorf("%s: AddendInSlot %v", text, f.AddendInSlot())
		}
	}
}

// TestKinds lists every row that is not KindAddress.
func TestKinds(t *testing.T) {
	want := map[Kind][]string{
		KindNone:   {"X86_64_NONE", "AARCH64_NONE", "AARCH64_NULL"},
		KindBranch: {"X86_64_PLT32", "AARCH64_CALL26", "AARCH64_JUMP26"}, KindMaybeBranch: {"X86_64_PC32"},
		KindShortBranch: {"AARCH64_CONDBR19", "AARCH64_TSTBR14"},
		KindRelaxable:   {"X86_64_GOTPCRELX", "X86_64_REX_GOTPCRELX"},
		KindGOTBase:     {"X86_64_GOTPC32", "X86_64_GOTPC64"},
		KindSize:        {"X86_64_SIZE32", "X86_64_SIZE64"},
	}
	kinds := map[string]Kind{}
	for kind, names := range want {
		for _, n := range names {
			kinds["R_"+n] = kind
		}
	}
	for _, m := range machines {
		for _, r := range Rows(m) {
			kind, ok := kinds[r.Name]
			if !ok {
				kind = KindAddress
				if r.Formula.UsesSlot() {
					kind = KindGOT
				}
			}
			if r.Kind != kind {
				t.Errorf("%s: kind is %v, want %v", r.Name, r.Kind, kind)
			}
		}
	}
}

// unnamed are numbers that debug/elf has no name for, by machine.
var unnamed = map[arch.Machine][][2]uint32{
	arch.AMD64: {{43, 51}, {250, 251}},
	arch.ARM64: {{281, 281}, {287, 298}, {300, 308}, {314, 317}, {519, 538}, {552, 559}, {580, 597}, {1041, 1044}},
}

// renamed are types whose name in debug/elf is not the psABI's of today.
var renamed = map[string]string{
	"R_X86_64_JMP_SLOT":                  "R_X86_64_JUMP_SLOT",
	"R_AARCH64_TLSDESC_LD64_LO12_NC":     "R_AARCH64_TLSDESC_LD64_LO12",
	"R_AARCH64_TLSDESC_ADD_LO12_NC":      "R_AARCH64_TLSDESC_ADD_LO12",
	"R_AARCH64_P32_TLSDESC_LD32_LO12_NC": "R_AARCH64_P32_TLSDESC_LD32_LO12",
	"R_AARCH64_P32_TLSDESC_ADD_LO12_NC":  "R_AARCH64_P32_TLSDESC_ADD_LO12",
	"R_AARCH64_TLS_DTPMOD64":             "R_AARCH64_TLS_DTPMOD",
	"R_AARCH64_TLS_DTPREL64":             "R_AARCH64_TLS_DTPREL",
	"R_AARCH64_TLS_TPREL64":              "R_AARCH64_TLS_TPREL",
}

// TestEveryType walks the types that debug/elf names, and those it does not, and
// demands a row or a reason for each, under the psABI's name.
func TestEveryType(t *testing.T) {
	name := map[arch.Machine]func(uint32) string{
		arch.AMD64: func(n uint32) string { return elf.R_X86_64(n).String() },
		arch.ARM64: func(n uint32) string { return elf.R_AARCH64(n).String() },
	}
	named := 0
	for _, m := range machines {
		covered := func(n uint32) bool {
			reason, refused := Refused(m, n)
			if refused && (reason == "" || Lookup(m, n) != nil) {
				t.Errorf("%v %d: refused without a reason, or refused and in the table", m, n)
			}
			return refused || Lookup(m, n) != nil
		}
		for n := range uint32(2000) {
			text := name[m](n)
			if !strings.HasPrefix(text, "R_") || strings.Contains(text, "+") {
				continue
			}
			named++
			if !covered(n) {
				t.Errorf("%s (%d) is neither in the table nor refused", text, n)
			}
			if r, ok := renamed[text]; ok {
				text = r
			}
			if got := TypeName(m, n); got != text {
				t.Errorf("type %d is called %s, want %s", n, got, text)
			}
		}
		for _, span := range unnamed[m] {
			for n := span[0]; n <= span[1]; n++ {
				if !covered(n) {
					t.Errorf("%v: type %d is neither in the table nor refused", m, n)
				}
			}
		}
	}
	if named < 160 {
		t.Errorf("debug/elf named only %d types: the walk is broken", named)
	}
}

// TestRefused checks that the lists are in order and that TLS is called TLS.
func TestRefused(t *testing.T) {
	for _, m := range machines {
		last := int64(-1)
		for _, r := range refusedOf(m) {
			if int64(r.typ) <= last {
				t.Errorf("%s: out of order", r.name)
			}
			last = int64(r.typ)
			isTLS := strings.Contains(r.name, "TLS") || strings.Contains(r.name, "TPOFF") || strings.Contains(r.name, "DTP")
			if isTLS != strings.Contains(r.reason, "TLS") || strings.Contains(r.reason, "\n") {
				t.Errorf("%s: reason %q", r.name, r.reason)
			}
		}
	}
}

// TestUnknown checks what is said of types that nobody defines, and that an
// unknown number never gets the name of another type.
func TestUnknown(t *testing.T) {
	for _, typ := range []uint32{52, 64, 200, 316 + 2, 1 << 20, 1<<32 - 1} {
		for _, m := range machines {
			if m == arch.ARM64 && typ < 256 {
				continue // ELF32 types
			}
			want := fmt.Sprintf("<%d>", typ)
			if got := TypeName(m, typ); !strings.HasSuffix(got, want) {
				t.Errorf("TypeName(%v, %d) is %s", m, typ, got)
			}
			if _, refused := Refused(m, typ); refused || Lookup(m, typ) != nil {
				t.Errorf("%v %d is known", m, typ)
			}
		}
	}
	other := arch.Machine(8)
	if Lookup(other, 1) != nil || Rows(other) != nil || TypeName(other, 1) != "relocation <1>" {
		t.Error("a machine without a table has rows")
	}
	for _, m := range machines {
		names := map[string]bool{}
		for n := range uint32(2000) {
			if s := TypeName(m, n); names[s] {
				t.Errorf("%s is the name of two types", s)
			} else {
				names[s] = true
			}
		}
	}
}

// TestRows checks that Rows is sorted and agrees with Lookup, and RangeText.
func TestRows(t *testing.T) {
	for _, m := range machines {
		rows := Rows(m)
		if !slices.IsSortedFunc(rows, func(a, b *Row) int { return int(a.Type) - int(b.Type) }) {
			t.Errorf("%v: not sorted", m)
		}
		for _, r := range rows {
			if Lookup(m, r.Type) != r || r.Source == "" {
				t.Errorf("%s: Lookup or Source", r.Name)
			}
		}
	}
	if n, want := len(Rows(arch.AMD64)), len(amd64Rows); n != want {
		t.Errorf("amd64: %d of %d rows: a type stands twice", n, want)
	}
	if n, want := len(Rows(arch.ARM64)), len(arm64Rows); n != want {
		t.Errorf("arm64: %d of %d rows: a type stands twice", n, want)
	}
	for name, want := range map[string]string{
		"R_X86_64_PLT32": "[-0x80000000, 0x80000000)", "R_X86_64_32": "[0, 0x100000000)",
		"R_X86_64_64": "any value", "R_AARCH64_LD64_GOTPAGE_LO15": "[0, 0x8000)",
	} {
		if _, r := byName(t, name); RangeText(r) != want {
			t.Errorf("RangeText(%s) is %s, want %s", name, RangeText(r), want)
		}
	}
}

// TestNoAllocation guards the paths that run once a relocation.
func TestNoAllocation(t *testing.T) {
	place := make([]byte, 8)
	for _, m := range machines {
		for _, r := range Rows(m) {
			n := testing.AllocsPerRun(10, func() {
				in := Inputs{S: 0x4000, P: 0x1000}
				v := Lookup(m, r.Type).Value(&in)
				r.Check(v)
				r.Fits(m, place, 0, true)
				r.Put(place, v)
				r.Addend(place)
			})
			if n != 0 {
				t.Errorf("%s: %v allocations", r.Name, n)
			}
		}
	}
}

func BenchmarkFixUp(b *testing.B) {
	sec := []byte{0xe8, 0, 0, 0, 0}
	in := Inputs{L: 0x4000, A: -4, P: 0x1001}
	for b.Loop() {
		r := Lookup(arch.AMD64, 4)
		v := r.Value(&in)
		if r.Check(v) == OK && r.Fits(arch.AMD64, sec, 1, true) == OK {
			r.Put(sec[1:], v)
		}
	}
}
