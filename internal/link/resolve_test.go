package link_test

import (
	"slices"
	"testing"

	"klink/internal/aliasstack"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// defines makes an object with one function of 4 bytes in .text.NAME: of the name given
// with a binding.
func defines(s string, bind uint8) *objbuild.Builder {
	return amd64().Text(".text."+s, make([]byte, 4)).Symbol(objbuild.Symbol{Name: s, Section: ".text." + s, Size: 4, Bind: bind, Type: objbuild.Func})
}

// TestInsideAModule: strong beats weak wherever it stands, the first weak wins.
func TestInsideAModule(t *testing.T) {
	const w, g = objbuild.Weak, objbuild.Global
	for _, c := range []struct {
		binds []uint8
		want  uint64 // which of them is meant; each is 4 bytes, aligned to 16
		kind  aliasstack.Kind
	}{
		{[]uint8{w}, 0, aliasstack.Default},
		{[]uint8{g}, 0, aliasstack.Override},
		{[]uint8{w, w}, 0, aliasstack.Default},
		{[]uint8{w, g, w}, 1, aliasstack.Override},
		{[]uint8{g, w}, 0, aliasstack.Override},
		{[]uint8{w, w, g}, 2, aliasstack.Override},
		{[]uint8{objbuild.Unique, w}, 0, aliasstack.Default},
	} {
		var objs []*objbuild.Builder
		for _, bind := range c.binds {
			objs = append(objs, defines("f", bind))
		}
		im := linked(t, unit(t, objs...), nil)
		if got := im.own(t, "f"); got != textAt+16*c.want {
			t.Errorf("%v: f is at %#x", c.binds, got)
		}
		n := name(t, im.Module, "f")
		if n.Kind != c.kind || !n.Offered || n.Bind != link.Stack || n.Class != aliasstack.Func || n.Weak {
			t.Errorf("%v: %+v", c.binds, n)
		}
	}
}

func TestDuplicates(t *testing.T) {
	err := linkError(t, unit(t, defines("f", objbuild.Global), defines("f\x1b", objbuild.Global), defines("f", objbuild.Global), defines("f\x1b", objbuild.Global)), nil)
	wantLines(t, err,
		`c.o: "f": already defined in a.o`,
		`d.o: "f\x1b": already defined in b.o`)
}

// TestCommon: COMMON symbols merge to the largest; a strong definition replaces them,
// they replace a weak one.
func TestCommon(t *testing.T) {
	common := func(align, size uint64) *objbuild.Builder { return amd64().Common("c", align, size) }
	data := func(bind uint8) *objbuild.Builder {
		return amd64().Data(".data", make([]byte, 4)).Symbol(objbuild.Symbol{Name: "c", Section: ".data", Size: 4, Bind: bind, Type: objbuild.Object})
	}
	for _, c := range []struct {
		what   string
		objs   []*objbuild.Builder
		common link.CommonBlock
		own    uint64
	}{
		{"one", []*objbuild.Builder{common(8, 24)}, link.CommonBlock{Name: "c", Size: 24}, dataAt},
		{"larger later", []*objbuild.Builder{common(4, 8), common(32, 4), common(8, 100)}, link.CommonBlock{Name: "c", Size: 100}, dataAt},
		{"strong later", []*objbuild.Builder{common(4, 80), data(objbuild.Global)}, link.CommonBlock{}, dataAt},
		{"strong before", []*objbuild.Builder{data(objbuild.Global), common(4, 80)}, link.CommonBlock{}, dataAt},
		{"weak later", []*objbuild.Builder{common(16, 80), data(objbuild.Weak)}, link.CommonBlock{Name: "c", Off: 16, Size: 80}, dataAt + 16},
		{"weak before", []*objbuild.Builder{data(objbuild.Weak), common(64, 80)}, link.CommonBlock{Name: "c", Off: 64, Size: 80}, dataAt + 64},
	} {
		im := linked(t, unit(t, c.objs...), nil)
		var want []link.CommonBlock
		if c.common.Name != "" {
			want = []link.CommonBlock{c.common}
		}
		if got := im.Commons(); !slices.Equal(got, want) {
			t.Errorf("%s: %+v", c.what, got)
		}
		if got := im.own(t, "c"); got != c.own {
			t.Errorf("%s: c is at %#x", c.what, got)
		}
		id, _ := im.Lookup("c")
		if size, ok := im.IsCommon(id); ok != (want != nil) || size != c.common.Size {
			t.Errorf("%s: IsCommon says %d, %v", c.what, size, ok)
		}
		if n := name(t, im.Module, "c"); n.Class != aliasstack.Data || n.Kind != aliasstack.Override || !n.Offered {
			t.Errorf("%s: %+v", c.what, n)
		}
	}
	if m := gather(t, unit(t, common(4096, 1))); m.Align[link.Data] != 4096 || m.Init[link.Data] != 0 || m.Size[link.Data] != 1 {
		t.Errorf("align %d, init %d, size %d", m.Align[link.Data], m.Init[link.Data], m.Size[link.Data])
	}
}

// comdat makes an object with a COMDAT group of f, its local helper and its data, and
// a table that refers to the helper.
func comdat(table string) *objbuild.Builder {
	return amd64().Text(".text.f", make([]byte, 4)).Weak("f", 0, 4).Local("helper", 2, 1).
		Data(".data.f", make([]byte, 8)).Symbol(objbuild.Symbol{Name: "u", Section: ".data.f", Size: 8, Bind: objbuild.Unique, Type: objbuild.Object}).Weak("d", 0, 8).
		Group("f", true, ".text.f", ".data.f").
		Rodata(table, hexBytes("1122334455667788 99")).Reloc(0, x64, "helper", 0)
}

// TestComdat: the first group of a signature is kept, what refers into others by local
// symbols is an error, except in unwind tables, where it is 0.
func TestComdat(t *testing.T) {
	im := linked(t, unit(t, comdat(".eh_frame"), comdat(".eh_frame")), nil)
	if im.Size[link.Text] != 4 || im.own(t, "f") != textAt {
		t.Errorf("%d bytes of text, f at %#x", im.Size[link.Text], im.own(t, "f"))
	}
	if got := im.word(t, ".eh_frame", 0); got != textAt+2 {
		t.Errorf("the first table says %#x", got)
	}
	if got := im.out[link.Tables][16:25]; !slices.Equal(got, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0x99}) {
		t.Errorf("the second table holds % x", got)
	}
	if n := name(t, im.Module, "f"); n.Kind != aliasstack.Default || n.Bind != link.Stack {
		t.Errorf("f: %+v", n)
	}
	if n := name(t, im.Module, "d"); n.Bind != link.Own || !n.Offered {
		t.Errorf("each module keeps its own copy of COMDAT data: %+v", n)
	}
	if n := name(t, im.Module, "u"); n.Bind != link.Stack || n.Kind != aliasstack.Default || n.Class != aliasstack.Data {
		t.Errorf("GNU_UNIQUE is weak data: %+v", n)
	}
	wantLines(t, linkError(t, unit(t, comdat(".rodata"), comdat(".rodata")), nil),
		`b.o:(.rodata+0x0): R_X86_64_64 against "helper": its section was discarded: another object of the module has the same COMDAT group`)

	aside := func(of string) link.Unit { // what is in a section that is not to be loaded: SHF_EXCLUDE is 1 << 31
		return unit(t, amd64().Text(".aside", make([]byte, 4)).With(func(s *objbuild.Section) { s.Flags |= 1 << 31 }).
			Local("l", 0, 4).Global("g", 0, 4).Rodata(".rodata", make([]byte, 8)).Reloc(0, x64, of, 0))
	}
	wantLines(t, linkError(t, aside("l"), nil), `a.o:(.rodata+0x0): R_X86_64_64 against "l": its section was discarded: it is not to be loaded (SHF_EXCLUDE)`)
	if n := name(t, gather(t, aside("g")), "g"); n.Offered || n.Bind != link.Stack || n.Uses == 0 {
		t.Errorf("g is for others to give: %+v", n)
	}

	beside := func(of string) *objbuild.Builder { // what is in a section that is none of the program's memory
		return amd64().Debug(".debug_x", make([]byte, 16)).Local("l", 4, 4).Global("g", 8, 4).SectionSymbol(".debug_x").
			Rodata(".rodata", make([]byte, 8)).Reloc(0, x64, of, 0)
	}
	for _, of := range []string{"l", "g", ".debug_x"} {
		wantLines(t, linkError(t, unit(t, beside(of)), nil),
			`a.o:(.rodata+0x0): R_X86_64_64 against "`+of+`": its section ".debug_x" is not loaded: it is none of the program's memory (no SHF_ALLOC)`)
	}
	unwind := beside("g").Rodata(".eh_frame", hexBytes("11223344")).Reloc(0, x32, "g", 0).SetReloc(".rodata", 0, "r_type", 0)
	if got := linked(t, unit(t, unwind), nil).bytes(t, ".eh_frame", 0, 4); !slices.Equal(got, make([]byte, 4)) {
		t.Errorf("an unwind table about what is not loaded holds % x", got)
	}
	if n := name(t, gather(t, unit(t, beside("g"))), "g"); n.Offered || n.Bind != link.Own {
		t.Errorf("what is not loaded is no provider: %+v", n)
	}

	strong := amd64().Text(".text.g", make([]byte, 4)).Global("g", 0, 4).Group("g", true, ".text.g")
	if n := name(t, gather(t, unit(t, strong)), "g"); n.Kind != aliasstack.Default {
		t.Errorf("functions of a COMDAT group are defaults: %+v", n)
	}
	plain := amd64().Text(".text.g", make([]byte, 4)).Global("g", 0, 4).Group("g", false, ".text.g")
	wantLines(t, linkError(t, unit(t, plain, plain), nil), `b.o: "g": already defined in a.o`)
}

// TestVisibility: the strictest visibility counts, of definitions and references alike.
func TestVisibility(t *testing.T) {
	refers := func(other uint8) *objbuild.Builder {
		return amd64().Text(".text", hexBytes("e8 00000000")).Reloc(1, xPLT32, "f", -4).Symbol(objbuild.Symbol{Name: "f", Bind: objbuild.Global, Other: other})
	}
	for _, c := range []struct {
		def, ref uint8
		offered  bool
		bind     link.Bind
	}{
		{objbuild.Default, objbuild.Default, true, link.Stack},
		{objbuild.Protected, objbuild.Default, true, link.Own},
		{objbuild.Default, objbuild.Protected, true, link.Own},
		{objbuild.Hidden, objbuild.Default, false, link.Own},
		{objbuild.Default, objbuild.Hidden, false, link.Own},
		{objbuild.Internal, objbuild.Protected, false, link.Own},
	} {
		def := defines("f", objbuild.Global).Change(func(s *objbuild.Symbol) { s.Other = c.def })
		m := gather(t, unit(t, refers(c.ref), def))
		if n := name(t, m, "f"); n.Offered != c.offered || n.Bind != c.bind || len(m.Offers()) > 1 {
			t.Errorf("definition %d, reference %d: %+v", c.def, c.ref, n)
		}
	}
	wantLines(t, linkError(t, unit(t, refers(objbuild.Hidden).Global("main", 0, 5)), nil),
		`a.o:(.text+0x1): in function "main": R_X86_64_PLT32 against "f": a hidden symbol that its module does not define`)
}

// TestPrivate: names that are kept to the module are bound to it.
func TestPrivate(t *testing.T) {
	u := unit(t, defines("f", objbuild.Global).Global("g", 1, 1).Reloc(0, x64, "f", 0).With(func(s *objbuild.Section) { s.Data = make([]byte, 8) }))
	u.Private = []string{"f", "unknown"}
	im := linked(t, u, map[string]link.Answer{"f": function})
	if n := name(t, im.Module, "f"); n.Offered || n.Bind != link.Own {
		t.Errorf("%+v", n)
	}
	if !name(t, im.Module, "g").Offered || im.word(t, ".text.f", 0) != textAt {
		t.Error("f is not the module's own, or g is")
	}
}

// TestLinuxModule: it offers what its __ksymtab sections list, and has no layers.
func TestLinuxModule(t *testing.T) {
	b := func(table string) *objbuild.Builder {
		b := amd64().Text(".text", make([]byte, 32)).Global("init_module", 0, 4).Global("exported", 4, 4).
			Reloc(8, xPC32, "super_exported", -4).Reloc(12, xPC32, "listed_elsewhere", 0).Undef("super_exported").Undef("listed_elsewhere").
			Data(".gnu.linkonce.this_module", make([]byte, 64)).Global("__this_module", 0, 64)
		if table != "" {
			b.Rodata(table, make([]byte, 12)).Reloc(0, xPC32, "exported", 0)
		}
		return b
	}
	for table, want := range map[string]bool{"___ksymtab_gpl+exported": true, "__ksymtab": true, "": false, "__ksymtab_strings": false} {
		m := gather(t, unit(t, b(table)))
		var got []string
		for _, id := range m.Offers() {
			got = append(got, m.Names[id].Name)
		}
		if want := map[bool][]string{true: {"exported"}}[want]; !slices.Equal(got, want) || !m.Linux {
			t.Errorf("with %q: offers %v, Linux %v", table, got, m.Linux)
		}
		if n := name(t, m, "super_exported"); n.Bind != link.Stack {
			t.Errorf("super_exported binds as %v", n.Bind)
		}
	}
}

// TestSuper: an undefined super_S in a module that provides S is the layer below, and
// makes the module's definition a refinement.
func TestSuper(t *testing.T) {
	b := func(bind uint8, vis uint8) *objbuild.Builder {
		return amd64().Text(".text", hexBytes("e8 00000000 e8 00000000")).Symbol(objbuild.Symbol{Name: "S", Section: ".text", Size: 10, Bind: bind, Type: objbuild.Func, Other: vis}).
			Reloc(1, xPLT32, "super_S", -4).Reloc(6, xPLT32, "super_T", -4).Undef("super_S").Undef("super_T")
	}
	for _, bind := range []uint8{objbuild.Weak, objbuild.Global} {
		im := linked(t, unit(t, b(bind, 0)), nil)
		if n := name(t, im.Module, "S"); n.Kind != aliasstack.Refinement {
			t.Errorf("S: %+v", n)
		}
		if n := name(t, im.Module, "super_S"); n.Bind != link.Super || n.Of != "S" {
			t.Errorf("super_S: %+v", n)
		}
		if n := name(t, im.Module, "super_T"); n.Bind != link.Stack {
			t.Errorf("super_T: %+v", n)
		}
		if got := sitesText(im.sites); !slices.Equal(got, []string{"call 0x10000000", "call 0x10000005"}) {
			t.Errorf("sites %v", got)
		}
	}
	u := unit(t, b(objbuild.Weak, 0))
	u.Static = true
	if m := gather(t, u); name(t, m, "S").Kind != aliasstack.Default || name(t, m, "super_S").Bind != link.Stack {
		t.Error("a static link has layers")
	}
	if m := gather(t, unit(t, b(objbuild.Global, objbuild.Hidden))); name(t, m, "super_S").Bind != link.Stack {
		t.Error("a layer over a hidden name")
	}
	m := gather(t, unit(t, b(objbuild.Global, 0), defines("super_S", objbuild.Global)))
	if name(t, m, "S").Kind != aliasstack.Override || name(t, m, "super_S").Bind != link.Stack || !name(t, m, "super_S").Offered {
		t.Error("a super_S that the module defines is an ordinary name")
	}
}

// TestSymbolTypes: NOTYPE in text is a function, SHN_ABS and objects in text are data.
func TestSymbolTypes(t *testing.T) {
	b := amd64().Text(".text", make([]byte, 8)).Global("notype", 0, 0).As(objbuild.NoType).Global("table", 4, 4).As(objbuild.Object).Global("func", 1, 1).
		Abs("abs", 0x1234).Data(".data", make([]byte, 16)).Global("word", 0, 4).As(objbuild.NoType).Reloc(8, x64, "abs", 1)
	im := linked(t, unit(t, b), nil)
	for s, want := range map[string]aliasstack.Class{
		"notype": aliasstack.Func, "func": aliasstack.Func, "table": aliasstack.Data, "abs": aliasstack.Data, "word": aliasstack.Data,
	} {
		if n := name(t, im.Module, s); n.Class != want || !n.Offered {
			t.Errorf("%s: %+v", s, n)
		}
	}
	if got := im.word(t, ".data", 8); got != 0x1235 {
		t.Errorf("abs + 1 is %#x", got)
	}
}

// TestIFunc: an IFUNC is called at its stub, a trap until something resolves it.
func TestIFunc(t *testing.T) {
	b := amd64().Text(".text", hexBytes("e8 00000000 c3")).Global("f", 5, 1).As(objbuild.IFunc).Local("l", 0, 5).As(objbuild.IFunc).Reloc(1, xPLT32, "l", -4).
		Data(".data", make([]byte, 8)).Reloc(0, x64, "f", 0)
	im := linked(t, unit(t, b), map[string]link.Answer{"f": {Branch: provider, Address: entry}})
	stub := im.own(t, "f")
	if stub != textAt+32 || im.Size[link.Text] != 48 || im.word(t, ".data", 0) != entry {
		t.Errorf("the stub is at %#x, text of %d bytes", stub, im.Size[link.Text])
	}
	for i, c := range im.out[link.Text][6:] {
		if c != 0xcc {
			t.Errorf("byte %d is %#x, no trap", i+6, c)
		}
	}
	if to := uint64(textAt + 5 + int(im.out[link.Text][1])); to != textAt+16 {
		t.Errorf("the local IFUNC is called at %#x", to)
	}
}

// TestWeakReferences: one strong reference makes a name needed; names that only unwind
// tables refer to are not.
func TestWeakReferences(t *testing.T) {
	weak := amd64().Data(".data", make([]byte, 8)).Reloc(0, x64, "f", 0).WeakUndef("f")
	strong := amd64().Data(".data", make([]byte, 8)).Reloc(0, x64, "f", 0).Undef("f")
	if n := name(t, gather(t, unit(t, weak, weak)), "f"); !n.Weak || n.Uses&link.UsedStrictly == 0 {
		t.Errorf("two weak references: %+v", n)
	}
	m := gather(t, unit(t, weak, strong))
	if name(t, m, "f").Weak {
		t.Error("a strong reference beside a weak one is weak")
	}
	id, _ := m.Lookup("f")
	wantLines(t, m.Missing(id), `a.o:(.data+0x0): R_X86_64_64 against "f": no provider`)
	for section, typ := range map[string]uint32{".eh_frame": objbuild.Progbits, ".unwind": objbuild.X86Unwind, ".gcc_except_table.f": objbuild.Progbits,
		".data.rel.local.DW.ref.__gxx_personality_v0": objbuild.Progbits} {
		b := amd64().Rodata(section, make([]byte, 8)).With(func(s *objbuild.Section) { s.Type = typ }).Reloc(0, x64, "__gxx_personality_v0", 0).Undef("__gxx_personality_v0")
		m := gather(t, unit(t, b))
		if n := name(t, m, "__gxx_personality_v0"); n.Uses != link.UsedByAddress {
			t.Errorf("%s: uses %v", section, n.Uses)
		}
		id, _ := m.Lookup("__gxx_personality_v0")
		wantLines(t, m.Missing(id), `a.o: "__gxx_personality_v0": no provider`)
	}
}
