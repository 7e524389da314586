package link_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"klink/internal/insn"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// far makes a module of two calls and a jump to f, and one call to its own g.
func far() *objbuild.Builder {
	return arm64().Text(".text", hexBytes("00000094 00000014 00000094")).Global("g", 8, 4).
		Reloc(0, aCALL, "f", 0).Reloc(4, aJUMP, "f", 0).Reloc(8, aCALL, "g", 0).Undef("f")
}

// TestFarVeneers: where text may be longer than a branch reaches, each called name has
// one veneer, through which the branches go when their provider is out of reach, and
// only then.
func TestFarVeneers(t *testing.T) {
	u := unit(t, far())
	u.Far = true
	m := gather(t, u)
	if len(m.Veneers()) != 2 || m.Size[link.Text] != 48 {
		t.Fatalf("%d veneers, %d bytes of text", len(m.Veneers()), m.Size[link.Text])
	}
	const reach = 1 << 27
	for _, c := range []struct {
		to     uint64
		first  string // the words of the first call and the jump
		second string
	}{
		{textAt + reach - 4, "ffffff95", "feffff15"},
		{textAt + reach, "04000094", "ffffff15"},     // the call does not reach, the jump behind it does
		{textAt + reach + 4, "04000094", "03000014"}, // neither does
		{textAt + 1<<40, "04000094", "03000014"},     // far away
		{textAt - reach, "00000096", "03000014"},     // backwards, the other way round
		{textAt - reach - 4, "04000094", "03000014"}, //
		{textAt + 4 - reach, "01000096", "00000016"}, //
	} {
		im, err := apply(m, blocks, map[string]link.Answer{"f": {Branch: c.to, Slot: slot}}, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(im.out[link.Text][:8]); got != c.first+c.second {
			t.Errorf("to %#x: %s, want %s%s", c.to, got, c.first, c.second)
		}
		want := []string{"bl 0x10000000 veneer 0x10000010", "b 0x10000004 veneer 0x10000010", "bl 0x10000008 veneer 0x10000020", "veneer 0x10000010", "veneer 0x10000020"}
		if got := sitesText(im.sites); !slices.Equal(got, want) {
			t.Errorf("to %#x: sites %q", c.to, got)
		}
		veneer := im.sites[3]
		if to, ok := veneer.Form.Target(im.out[link.Text][16:], veneer.Addr); !ok || to != c.to {
			t.Errorf("the veneer leads to %#x, want %#x", to, c.to)
		}
	}
	u.Far = false
	m = gather(t, u)
	if len(m.Veneers()) != 0 {
		t.Errorf("%d veneers that nobody asked for", len(m.Veneers()))
	}
	_, err := apply(m, blocks, map[string]link.Answer{"f": {Branch: textAt + reach, Slot: slot}}, false)
	wantLines(t, err, `a.o:(.text+0x0): R_AARCH64_CALL26 against "f": relocation out of range: 0x8000000 is not in [-0x8000000, 0x8000000)`)
}

// TestDistant: a branch to a name that follows no slot goes through its veneer as well when
// it is out of reach, and nothing is a site; a target that is no instruction's has none.
func TestDistant(t *testing.T) {
	u := unit(t, far())
	u.Distant = map[string]bool{"f": true}
	m := gather(t, u)
	if v := m.Veneers(); len(v) != 1 || m.Names[v[0].Name].Name != "f" || v[0].Off != 16 {
		t.Fatalf("veneers: %+v", v)
	}
	for _, static := range []bool{false, true} {
		im, err := apply(m, blocks, map[string]link.Answer{"f": {Branch: textAt + 1<<40}, "g": {Branch: textAt}}, static)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(im.out[link.Text][:8]); got != "04000094"+"03000014" || len(im.sites) != 0 {
			t.Errorf("static %v: %s, %d sites", static, got, len(im.sites))
		}
		if to, ok := insn.FarJump.Target(im.out[link.Text][16:], textAt+16); !ok || to != textAt+1<<40 {
			t.Errorf("static %v: the veneer leads to %#x", static, to)
		}
	}
	_, err := apply(m, blocks, map[string]link.Answer{"f": {Branch: textAt + 1<<40 + 2}, "g": {Branch: textAt}}, true)
	wantLines(t, err, `a.o:(.text+0x0): R_AARCH64_CALL26 against "f": relocation out of range: 0x10000000002 is not in [-0x8000000, 0x8000000)`,
		`a.o:(.text+0x4): R_AARCH64_JUMP26 against "f": relocation out of range: 0xfffffffffe is not in [-0x8000000, 0x8000000)`)
}

// TestFarTraps: a veneer that nothing goes through stays a trap: of a name that follows no
// slot, and in a static link.
func TestFarTraps(t *testing.T) {
	u := unit(t, far())
	u.Far = true
	for _, static := range []bool{false, true} {
		im, err := apply(gather(t, u), blocks, map[string]link.Answer{"f": {Branch: textAt}, "g": {Branch: textAt}}, static)
		if err != nil {
			t.Fatal(err)
		}
		for off := 12; off < 48; off += 4 {
			if got := hex.EncodeToString(im.out[link.Text][off : off+4]); got != "806929d4" {
				t.Errorf("static %v: %s at %d is no trap", static, got, off)
			}
		}
		if len(im.sites) != 0 {
			t.Errorf("static %v: %d sites", static, len(im.sites))
		}
	}
}

// TestShortVeneers: each section has its own veneer for a name, behind it; branches of
// one section to one name share it; a name of its own needs none.
func TestShortVeneers(t *testing.T) {
	b := arm64().Undef("f").Undef("g").
		Text(".text.a", hexBytes("01000054 000000b4 00000036 01000054")).Reloc(0, aCOND, "f", 0).Reloc(4, aCOND, "f", 0).Reloc(8, aTST, "g", 0).Reloc(12, aCOND, "own", 0).
		Symbol(objbuild.Symbol{Name: "own", Section: ".text.a", Bind: objbuild.Global, Type: objbuild.Func, Other: objbuild.Hidden}).
		Text(".text.b", hexBytes("01000054")).Reloc(0, aCOND, "f", 0)
	im := linked(t, unit(t, b), nil)
	want := []string{"veneer 0x10000010", "veneer 0x10000020", "veneer 0x10000040"}
	if got := sitesText(im.sites); !slices.Equal(got, want) || len(im.Veneers()) != 3 {
		t.Errorf("sites %q, %d veneers", got, len(im.Veneers()))
	}
	if got := hex.EncodeToString(im.out[link.Text][:16]); got != "81000054"+"600000b4"+"c0000036"+"a1ffff54" {
		t.Errorf("linked to %s", got)
	}
}

// TestShortVeneerInside: a short branch into the module's own function needs no veneer.
func TestShortVeneerInside(t *testing.T) {
	b := arm64().Text(".text", hexBytes("01000054 00000000")).Global("f", 0, 8).Reloc(0, aCOND, "f", 4)
	im := linked(t, unit(t, b), nil)
	if got := hex.EncodeToString(im.out[link.Text][:4]); got != "21000054" {
		t.Errorf("linked to %s", got)
	}
}

// TestTextAlignment: instructions are aligned, whatever the section says.
func TestTextAlignment(t *testing.T) {
	one := func(s *objbuild.Section) { s.Align = 1 }
	b := arm64().Text(".text.odd", []byte{1, 2, 3}).With(one).Text(".text", hexBytes("00000094")).With(one).Reloc(0, aCALL, "f", 0).Undef("f")
	im := linked(t, unit(t, b), nil)
	if got := sitesText(im.sites); !slices.Equal(got, []string{"bl 0x10000004"}) || im.Align[link.Text] != 4 {
		t.Errorf("sites %q, text aligned to %d", got, im.Align[link.Text])
	}
}

// TestGOTReach: wherever the GOT begins, its first 28 KiB of slots are in reach of
// LD64_GOTPAGE_LO15; a larger one begins on a page, so that 32 KiB are.
func TestGOTReach(t *testing.T) {
	build := func(n int) *objbuild.Builder {
		b := arm64().Text(".text", make([]byte, 4*n)).Rodata(".rodata", make([]byte, 4090)).With(func(s *objbuild.Section) { s.Align = 1 })
		b.Text(".loads", slices.Repeat(hexBytes("000040f9"), n))
		for i := range n {
			f := fmt.Sprint("f", i)
			b.Reloc(uint64(4*i), aLo15, f, 0).Undef(f)
		}
		return b
	}
	for _, n := range []int{3584, 4096} {
		m := gather(t, unit(t, build(n)))
		for shift := uint64(0); shift < 4096; shift += max(m.Align[link.Tables], 1256) {
			at := blocks
			at[link.Text], at[link.Tables] = 0x20000000, at[link.Tables]+shift
			im, err := apply(m, at, nil, false)
			if err != nil {
				t.Fatalf("%d slots, %d bytes into a page: %v", n, shift, err)
			}
			off, _ := m.GOT()
			first := im.bytes(t, ".loads", 0, 4)
			if got := uint64(first[1])>>2&63<<3 | uint64(first[2])<<9; got&0xfff != (at[link.Tables]+off)&0xfff {
				t.Errorf("%d slots: the first load is of %#x", n, got)
			}
		}
	}
	wantPrefix(t, linkError(t, unit(t, build(4097)), nil), `a.o:(.loads+0x4000): R_AARCH64_LD64_GOTPAGE_LO15 against "f4096": relocation out of range: 0x8000 is not in [0, 0x8000)`)
}
