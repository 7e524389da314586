package oracle

import (
	"bytes"
	"debug/elf"
	"os"
	"strings"
	"testing"

	"klink/internal/arch"
)

func TestJumpTarget(t *testing.T) {
	for _, c := range []struct {
		m    elf.Machine
		code string
		want uint64
		says string
	}{
		{elf.EM_X86_64, "e9 fb ff ff ff", 0x1000, ""},
		{elf.EM_X86_64, "e9 00 01 00 00", 0x1105, ""},
		{elf.EM_X86_64, "e8 00 01 00 00", 0, "is no jump"},
		{elf.EM_X86_64, "e9 00 01 00", 0, "is no jump"},
		{elf.EM_X86_64, "e9 0", 0, "odd length"},
		{elf.EM_AARCH64, "ff ff ff 17", 0xffc, ""},
		{elf.EM_AARCH64, "01 00 00 14", 0x1004, ""},
		{elf.EM_AARCH64, "01 00 00 94", 0, "is no jump"},
		{elf.EM_AARCH64, "50 00 00 58 00 02 1f d6 78 56 34 12 00 00 00 00", 0x12345678, ""},
		{elf.EM_AARCH64, "50 00 00 58 00 02 1f d6 78 56 34 12 00 00 00", 0, "is no jump"},
		{elf.EM_AARCH64, "51 00 00 58 00 02 1f d6 78 56 34 12 00 00 00 00", 0, "is no jump"},
	} {
		got, err := jumpTarget(c.m, Jump{Name: "f", Addr: 0x1000, Code: c.code})
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v %s: %#x, %v", c.m, c.code, got, err)
		}
	}
}

func TestShortTarget(t *testing.T) {
	for _, c := range []struct {
		word []byte
		typ  elf.R_AARCH64
		want uint64
	}{
		{[]byte{0x41, 0x00, 0x00, 0x54}, elf.R_AARCH64_CONDBR19, 0x1008}, // b.ne .+8
		{[]byte{0xe1, 0xff, 0xff, 0x54}, elf.R_AARCH64_CONDBR19, 0xffc},  // b.ne .-4
		{[]byte{0x40, 0x00, 0x00, 0x36}, elf.R_AARCH64_TSTBR14, 0x1008},  // tbz w0, #0, .+8
		{[]byte{0xe0, 0xff, 0x0f, 0x36}, elf.R_AARCH64_TSTBR14, 0xffc},   // tbz w0, #1, .-4
		{[]byte{0x40, 0x00, 0x00}, elf.R_AARCH64_TSTBR14, 0},
	} {
		if got := shortTarget(c.word, 0, 0x1000, uint32(c.typ)); got != c.want {
			t.Errorf("% x: %#x, want %#x", c.word, got, c.want)
		}
	}
}

// TestLiveForm: a reference to the address of a function with an entry is to a symbol at
// the entry, whose name and place are new; all else is as it was.
func TestLiveForm(t *testing.T) {
	const entry = 0x12340
	for _, m := range machines {
		path := fixture(m, "matrix/gcc_noplt", "o")
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		layout, _ := plan(t, m, path)
		layout.Live, layout.Entries = true, []Jump{{Name: "own_function", Addr: entry}}
		externals := len(layout.Externals)
		after, err := liveForm(linkerOf(t, m), before, layout, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		old, now := parsed(t, before), parsed(t, after)
		added := len(now.symbols) - len(old.symbols)
		if added != 1 || len(layout.Externals) != externals+1 || layout.Externals[externals] != (External{"klink:0x12340", entry}) || now.symbols[len(old.symbols)].Name != "klink:0x12340" {
			t.Fatalf("%v: %d symbols more, externals %+v", m, added, layout.Externals[externals:])
		}
		moved, direct := 0, 0
		for section, relocs := range old.relocs {
			for i, r := range relocs {
				switch n := now.relocs[section][i]; {
				case n.symbol == len(old.symbols) && old.symbols[r.symbol].Name == "own_function" && n.typ == r.typ && n.offset == r.offset:
					moved++
				case n.symbol == r.symbol && n.typ != r.typ:
					direct++
				case n.symbol != r.symbol || n.typ != r.typ || n.offset != r.offset || n.addend != r.addend:
					t.Errorf("%v: %+v is now %+v", m, r, n)
				}
			}
		}
		if moved == 0 || (direct > 0) != (m == arch.AMD64) {
			t.Errorf("%v: %d references to the entry, %d direct calls", m, moved, direct)
		}
	}
}

// parsed reads an object.
func parsed(t *testing.T, data []byte) *object {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
