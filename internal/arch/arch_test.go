package arch

import "testing"

func TestParse(t *testing.T) {
	for _, m := range []Machine{AMD64, ARM64} {
		f := m.Facts()
		for _, name := range []string{f.Name, f.GOARCH} {
			if got, ok := Parse(name); !ok || got != m {
				t.Errorf("Parse(%q) = %v, %v", name, got, ok)
			}
		}
		if f.EntryBytes&(f.EntryBytes-1) != 0 || f.FarEntry&(f.FarEntry-1) != 0 {
			t.Errorf("%v: a size that is no power of two", m)
		}
		if uint64(len(f.TrapBytes)) != f.InsnAlign {
			t.Errorf("%v: a trap of %d bytes cannot fill text", m, len(f.TrapBytes))
		}
	}
	if _, ok := Parse("vax"); ok || Machine(75).Facts() != nil {
		t.Error("klink links for no VAX")
	}
	if got := Machine(75).String(); got != "e_machine 75" {
		t.Error(got)
	}
}

func TestAlignUp(t *testing.T) {
	for _, c := range []struct {
		v, align, want uint64
		ok             bool
	}{
		{0, 16, 0, true}, {1, 16, 16, true}, {16, 16, 16, true}, {17, 1, 17, true}, {17, 0, 17, true},
		{^uint64(0), 2, 0, false}, {^uint64(0) - 15, 16, ^uint64(0) - 15, true},
	} {
		if got, ok := AlignUp(c.v, c.align); got != c.want || ok != c.ok {
			t.Errorf("AlignUp(%#x, %d) = %#x, %v", c.v, c.align, got, ok)
		}
	}
}
