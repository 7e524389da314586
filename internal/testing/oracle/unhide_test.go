package oracle

import (
	"bytes"
	"debug/elf"
	"os"
	"testing"

	"klink/internal/arch"
)

func TestUnhide(t *testing.T) {
	for _, m := range machines {
		hidden := read(t, m, "visibility/user", "o")
		open, n, err := Unhide(hidden)
		if err != nil || n == 0 {
			t.Fatalf("%d symbols, %v", n, err)
		}
		changed := 0
		for i := range hidden {
			if hidden[i] != open[i] {
				changed++
			}
		}
		if changed != n || len(open) != len(hidden) {
			t.Errorf("%d bytes changed for %d symbols", changed, n)
		}
		f, err := elf.NewFile(bytes.NewReader(open))
		if err != nil {
			t.Fatal(err)
		}
		syms, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range syms {
			if s.Section == elf.SHN_UNDEF && elf.ST_VISIBILITY(s.Other) != elf.STV_DEFAULT {
				t.Errorf("%s is still %v", s.Name, elf.ST_VISIBILITY(s.Other))
			}
		}
		// What the object itself defines stays hidden; without the other kind nothing is copied.
		plain := read(t, m, "matrix/gcc_O2", "o")
		if same, n, err := Unhide(plain); n != 0 || err != nil || &same[0] != &plain[0] {
			t.Errorf("%d symbols, %v", n, err)
		}
	}
	if _, _, err := Unhide([]byte("no object")); err == nil {
		t.Error("no object: no error")
	}
}

func read(t *testing.T, m arch.Machine, stem, ext string) []byte {
	t.Helper()
	b, err := os.ReadFile(fixture(m, stem, ext))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
