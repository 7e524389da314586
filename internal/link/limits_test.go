package link_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// limit is the bound of names and tables.
const limit = 1 << 18

// TestTables: what a small relocation or symbol can ask for is bounded.
func TestTables(t *testing.T) {
	for what, c := range map[string]struct {
		build func() *objbuild.Builder
		want  string
	}{
		"names": {func() *objbuild.Builder {
			b := amd64()
			for i := range limit + 1 {
				b.Undef(fmt.Sprint("n", i))
			}
			return b
		}, `a.o: more than 262144 global symbols`},
		"GOT slots": {func() *objbuild.Builder {
			b := arm64().Text(".text", hexBytes("00000090")).Undef("f")
			for i := range limit + 100 {
				b.Reloc(0, aGOTPage, "f", int64(i))
			}
			return b
		}, `a.o: its module needs more than 262144 GOT slots`},
		"veneers": {func() *objbuild.Builder {
			b := arm64()
			for i := range 512 {
				b.Undef(fmt.Sprint("n", i))
			}
			for s := range 514 {
				b.Text(fmt.Sprint(".text", s), hexBytes("01000054"))
				for i := range 512 {
					b.Reloc(0, aCOND, fmt.Sprint("n", i), 0)
				}
			}
			return b
		}, `a.o: its module needs more than 262144 veneers`},
		"stubs": {func() *objbuild.Builder {
			b := amd64().Text(".text", []byte{0xc3})
			for range limit + 1 {
				b.Local("i", 0, 1).As(objbuild.IFunc)
			}
			return b
		}, `a.o: its module needs more than 262144 IFUNC symbols`},
		"alias records": {func() *objbuild.Builder {
			return amd64().Rodata(".klink.alias", make([]byte, 24*(limit+1)))
		}, `a.o:(.klink.alias+0x0): too many alias records`},
	} {
		t.Run(what, func(t *testing.T) {
			u := unit(t, c.build())
			var err error
			if n := allocated(func() { _, err = link.Gather(u) }); n > 64<<20 {
				t.Errorf("%d MiB allocated", n>>20)
			}
			wantLines(t, err, c.want)
			if !errors.Is(err, diag.ErrUnsupported) {
				t.Error("is not ErrUnsupported")
			}
		})
	}
}

// TestBlocks: blocks without bounds are refused before anybody asks for memory.
func TestBlocks(t *testing.T) {
	zeros := func(n int, size, flags uint64) *objbuild.Builder {
		b := amd64()
		for i := range n {
			b.Bss(fmt.Sprint(".bss", i), size).With(func(s *objbuild.Section) { s.Flags = objbuild.Alloc | flags })
		}
		return b
	}
	gaps := amd64()
	for i := range 6 {
		gaps.Rodata(fmt.Sprint(".r", i), []byte{1}).With(func(s *objbuild.Section) { s.Align = 16 << 20 })
	}
	commons := amd64()
	for i := range 300 {
		commons.Common(fmt.Sprint("c", i), 8, 1<<32)
	}
	for what, c := range map[string]struct {
		b    *objbuild.Builder
		want string
	}{
		"NOBITS":            {zeros(257, 1<<32, objbuild.Write), `a.o: section ".bss256": 0x100000000 bytes, aligned to 0x8, are more than klink places`},
		"COMMON":            {commons, `a.o: "c256": more data than klink places`},
		"text, one section": {zeros(1, 1<<20+1, objbuild.Exec), `a.o: section ".bss0": 1048577 bytes of executable NOBITS`},
		"text, three":       {zeros(3, 1<<19, objbuild.Exec), `a.o: section ".bss2": 524288 bytes of executable NOBITS`},
		"gaps":              {gaps, `a.o: 0x5000008 bytes of tables, most of them gaps for alignment, are more than klink places for files of 0x`},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := link.Gather(unit(t, c.b))
			wantPrefix(t, err, c.want)
		})
	}
	if m := gather(t, unit(t, zeros(200, 1<<32, objbuild.Write))); m.Init[link.Data] != 0 || m.Size[link.Data] != 200<<32 {
		t.Errorf("%d zeroed bytes, of which %d are written", m.Size[link.Data], m.Init[link.Data])
	}
}

// manyFunctions makes an object with functions side by side, 64 bytes each.
func manyFunctions(n int) *objbuild.Builder {
	b := amd64().Text(".text", make([]byte, 64*n))
	for i := range n {
		b.Local("fn", uint64(64*i), 64)
	}
	return b
}

// TestManyErrors: of a flood of errors the first are worked out, the others counted, and
// the work does not grow with the number of functions.
func TestManyErrors(t *testing.T) {
	const n = 50000
	flood := func(typ uint32, vis uint8) *objbuild.Builder {
		b := manyFunctions(n)
		for i := range n {
			s := fmt.Sprint("u", i)
			b.Symbol(objbuild.Symbol{Name: s, Bind: objbuild.Global, Other: vis}).Reloc(uint64(64*i), typ, s, 0)
		}
		return b
	}
	for what, b := range map[string]*objbuild.Builder{
		"unknown type": flood(199, 0), "hidden": flood(x64, objbuild.Hidden), "misfit": flood(xPLT32, 0),
	} {
		u := unit(t, b)
		var err error
		if n := allocated(func() { err = linkError(t, u, nil) }); n > 64<<20 {
			t.Errorf("%s: %d MiB allocated", what, n>>20)
		}
		lines := diag.Lines(err)
		if len(lines) != 21 || lines[20] != fmt.Sprintf("and %d more", n-20) || !strings.HasPrefix(lines[19], `a.o:(.text+0x4c0): in function "fn": `) {
			t.Errorf("%s: %d lines, the last ones %q", what, len(lines), lines[len(lines)-2:])
		}
	}
	m := gather(t, unit(t, flood(x64, 0)))
	for i := range m.Names {
		if err := m.Missing(link.NameID(i)); !strings.HasPrefix(err.Error(), fmt.Sprintf(`a.o:(.text+%#x): in function "fn": R_X86_64_64 against "u%d": no provider`, 64*i, i)) {
			t.Fatal(err)
		}
	}
}

// TestVeryManyFunctions: beyond a bound messages do without the function's name.
func TestVeryManyFunctions(t *testing.T) {
	b := amd64().Text(".text", make([]byte, limit+1)).Reloc(0, 199, "fn", 0)
	for i := range limit + 1 {
		b.Local("fn", uint64(i), 1)
	}
	wantLines(t, linkError(t, unit(t, b), nil), `a.o:(.text+0x0): R_X86_64_<199> against "fn": unknown relocation type`)
}

// TestLongAliasNames: names of records may overlap in the file; what they take together
// is bounded all the same.
func TestLongAliasNames(t *testing.T) {
	const n = 20000
	text := []byte(strings.Repeat("x", 4000) + "\x00")
	b := amd64().Text(".text", []byte{0xc3}).Local("f", 0, 1)
	for i := range n / 4000 {
		name := fmt.Sprint(".names", i)
		text[3999] = byte('a' + i)
		b.Rodata(name, append([]byte(nil), text...)).SectionSymbol(name)
	}
	rec := make([]byte, 24*n)
	b.Rodata(".klink.alias", rec)
	for i := range n {
		rec[24*i+16] = 1
		b.Reloc(uint64(24*i), x64, fmt.Sprint(".names", i/4000), int64(i%4000)).Reloc(uint64(24*i+8), x64, "f", 0)
	}
	u := unit(t, b)
	var err error
	if n := allocated(func() { _, err = link.Gather(u) }); n > 48<<20 {
		t.Errorf("%d MiB allocated", n>>20)
	}
	wantPrefix(t, err, `a.o:(.klink.alias+0x`)
	if !strings.HasSuffix(err.Error(), "too many alias records") {
		t.Error(err)
	}
}
