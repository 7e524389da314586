package link_test

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"klink/internal/aliasstack"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// TestOwnSections: constructors and unwind tables refer to the module's own
// definitions, whatever is on top of the stack. (For the MODULE record see TestModInfo.)
func TestOwnSections(t *testing.T) {
	for section, typ := range map[string]uint32{
		".init_array.00100": objbuild.Progbits, ".init": objbuild.InitArray, ".fini": objbuild.FiniArray, ".ctors": objbuild.Progbits, ".dtors.1": objbuild.Progbits,
		".eh_frame": objbuild.Progbits, ".gcc_except_table": objbuild.Progbits,
	} {
		b := amd64().Text(".text", []byte{0xc3}).Global("f", 0, 1).
			Data(section, make([]byte, 16)).With(func(s *objbuild.Section) { s.Type = typ }).Reloc(0, x64, "f", 0).Reloc(8, x64, "g", 0).Undef("g").
			Data(".data", make([]byte, 8)).Reloc(0, x64, "f", 0)
		im := linked(t, unit(t, b), map[string]link.Answer{"f": function})
		if got := im.word(t, section, 0); got != textAt {
			t.Errorf("%s: f is %#x", section, got)
		}
		if got := im.word(t, section, 8); got != entry {
			t.Errorf("%s: g, which the module does not define, is %#x", section, got)
		}
		if got := im.word(t, ".data", 0); got != entry {
			t.Errorf(".data: f is %#x", got)
		}
		only := amd64().Text(".text", []byte{0xc3}).Global("f", 0, 1).
			Data(section, make([]byte, 8)).With(func(s *objbuild.Section) { s.Type = typ }).Reloc(0, x64, "f", 0)
		if uses := name(t, linked(t, unit(t, only), nil).Module, "f").Uses; uses != 0 {
			t.Errorf("%s: a reference to the own definition counts as a use of the symbol: %v", section, uses)
		}
	}
}

// TestBounds: __start_X and __stop_X are around all sections X of the module.
func TestBounds(t *testing.T) {
	set := func(flags uint64, size int) *objbuild.Builder {
		return amd64().Data(".data", make([]byte, 16)).Reloc(0, x64, "__start_set", 0).Reloc(8, x64, "__stop_set", 0).Undef("__start_set").Undef("__stop_set").
			Rodata("set", make([]byte, size)).With(func(s *objbuild.Section) { s.Flags |= flags }).Rodata("between", make([]byte, 3))
	}
	for _, c := range []struct {
		what   string
		flags  [2]uint64
		lo, hi uint64
	}{
		{"read-only", [2]uint64{}, tablesAt, tablesAt + 21},
		{"writable", [2]uint64{objbuild.Write, objbuild.Write}, dataAt + 32, dataAt + 53},
		{"mixed", [2]uint64{0, objbuild.Write}, dataAt + 32, dataAt + 53},
		{"mixed, writable first", [2]uint64{objbuild.Write, 0}, dataAt + 32, dataAt + 53},
	} {
		im := linked(t, unit(t, set(c.flags[0], 16), set(c.flags[1], 5)), nil)
		if lo, hi := im.word(t, ".data", 0), im.word(t, ".data", 8); lo != c.lo || hi != c.hi {
			t.Errorf("%s: from %#x to %#x, want %#x to %#x", c.what, lo, hi, c.lo, c.hi)
		}
		want := map[string]uint64{"__start_set": c.lo, "__stop_set": c.hi}
		if got := im.Specials(blocks); !maps.Equal(got, want) {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	// Code and data of one name lie apart; the bounds are those of what comes first.
	im := linked(t, unit(t, set(objbuild.Exec, 16), set(objbuild.Write, 5)), nil)
	if lo, hi := im.word(t, ".data", 0), im.word(t, ".data", 8); lo != textAt || hi != textAt+16 {
		t.Errorf("code and data: from %#x to %#x", lo, hi)
	}
	// Not a C identifier, or no such section: ordinary names.
	b := amd64().Data(".data", make([]byte, 24)).Reloc(0, x64, "__start_.data", 0).Reloc(8, x64, "__stop_none", 0).Reloc(16, x64, "__start_", 0).
		Undef("__start_.data").WeakUndef("__stop_none").Undef("__start_")
	im = linked(t, unit(t, b), nil)
	if a, b := im.word(t, ".data", 0), im.word(t, ".data", 8); a != entry || b != 0 || len(im.Specials(blocks)) != 0 {
		t.Errorf("%#x, %#x", a, b)
	}
}

// TestMadeNames: names that the linker makes for each module; one that the module
// defines is its own.
func TestMadeNames(t *testing.T) {
	b := amd64().Data(".data", make([]byte, 32)).Reloc(0, x64, "__dso_handle", 0).Reloc(8, x64, "_GLOBAL_OFFSET_TABLE_", 0).Reloc(16, xPC64, "_GLOBAL_OFFSET_TABLE_", 0).
		Reloc(24, xGOTPC32, "_GLOBAL_OFFSET_TABLE_", 0).Undef("__dso_handle").Undef("_GLOBAL_OFFSET_TABLE_").
		Rodata(".rodata", make([]byte, 12)).Reloc(0, xGOTPCREL, "f", 0).Undef("f")
	im := linked(t, unit(t, b), nil)
	const got = tablesAt + 16 // behind .rodata
	minus := func(n int64) uint64 { return uint64(-n) }
	for i, want := range []uint64{dataAt, got, minus(dataAt + 16 - got), uint64(uint32(minus(dataAt + 24 - got)))} {
		if v := im.word(t, ".data", uint64(8*i)); v != want {
			t.Errorf("word %d is %#x, want %#x", i, v, want)
		}
	}
	if off, size := im.GOT(); off != 16 || size != 8 {
		t.Errorf("the GOT is at %d, of %d bytes", off, size)
	}
	own := amd64().Data(".data", make([]byte, 8)).Reloc(0, x64, "__dso_handle", 0).Global("__dso_handle", 4, 1)
	if got := linked(t, unit(t, own), nil).word(t, ".data", 0); got != dataAt+4 {
		t.Errorf("the module's own __dso_handle is %#x", got)
	}
}

// aliasObject has one alias record: of the name at .names+off, with an implementation
// and a kind.
func aliasObject(names string, off int64, impl string, addend int64, kind byte) *objbuild.Builder {
	rec := make([]byte, 24)
	rec[16] = kind
	return amd64().Text(".text", make([]byte, 16)).Local("sta", 0, 4).Global("glo", 4, 4).Local("mid", 9, 1).Global("obj", 0, 2).As(objbuild.Object).
		Rodata(".names", []byte(names)).SectionSymbol(".names").SectionSymbol(".text").Undef("elsewhere").Abs("abs", 4).
		Rodata(".klink.alias", rec).Reloc(0, x64, ".names", off).Reloc(8, x64, impl, addend)
}

func TestAliasRecords(t *testing.T) {
	for _, c := range []struct {
		impl   string
		addend int64
		kind   byte
		at     uint64
		want   aliasstack.Kind
	}{
		{"sta", 0, 1, textAt, aliasstack.Default},
		{"glo", 0, 2, textAt + 4, aliasstack.Override},
		{"elsewhere", 0, 3, textAt + 16, aliasstack.Refinement},
		{".text", 9, 3, textAt + 9, aliasstack.Refinement},
		{"sta", 9, 3, textAt + 9, aliasstack.Refinement},
	} {
		u := unit(t, aliasObject("x\x00sym\x00", 2, c.impl, c.addend, c.kind), defines("elsewhere", objbuild.Weak))
		im := linked(t, u, nil)
		n := name(t, im.Module, "sym")
		if n.Kind != c.want || !n.Offered || n.Bind != link.Stack || n.Class != aliasstack.Func || im.own(t, "sym") != c.at {
			t.Errorf("%s%+d: %+v at %#x", c.impl, c.addend, n, im.own(t, "sym"))
		}
	}
	u := unit(t, aliasObject("sym\x00", 0, "sta", 0, 3))
	u.Static = true
	if n := name(t, gather(t, u), "sym"); n.Kind != aliasstack.Override {
		t.Errorf("static: %+v", n)
	}
	u = unit(t, aliasObject("sym\x00", 0, "sta", 0, 3))
	u.Private = []string{"sym"}
	if n := name(t, gather(t, u), "sym"); n.Offered || n.Bind != link.Own {
		t.Errorf("private: %+v", n)
	}
	rel := aliasObject("\x00sym\x00", 0, "sta", 0, 3).Rel()
	rel.With(func(s *objbuild.Section) { s.Data[0] = 1 })
	name(t, gather(t, unit(t, rel)), "sym")
}

func TestBadAliasRecords(t *testing.T) {
	good := func() *objbuild.Builder { return aliasObject("sym\x00", 0, "sta", 0, 1) }
	long := make([]byte, 5000)
	for i := range long {
		long[i] = 'x'
	}
	section := func(change func(*objbuild.Section)) *objbuild.Builder { return good().With(change) }
	const needs = `a.o:(.klink.alias+0x0): an alias record needs a name, an implementation and a kind of 1, 2 or 3`
	const noString = `a.o:(.klink.alias+0x0): the name of an alias record is no string`
	noFunc := func(s string) string {
		return `a.o:(.klink.alias+0x0): "sym": its implementation "` + s + `" is not a function of this module`
	}
	bare := func() *objbuild.Builder { return amd64().Rodata(".klink.alias", []byte{16: 1, 23: 0}) }
	for what, c := range map[string]struct {
		b    *objbuild.Builder
		want string
	}{
		"odd size":         {section(func(s *objbuild.Section) { s.Data = append(s.Data, 0) }), `a.o:(.klink.alias+0x0): the size is no multiple of an alias record's`},
		"kind 0":           {aliasObject("sym\x00", 0, "sta", 0, 0), needs},
		"kind 4":           {aliasObject("sym\x00", 0, "sta", 0, 4), needs},
		"kind 1<<32":       {section(func(s *objbuild.Section) { s.Data[20] = 1 }), needs},
		"no relocations":   {bare(), needs},
		"no name":          {bare().Reloc(8, x64, "f", 0).Text(".text", []byte{0}).Local("f", 0, 1), needs},
		"no function":      {bare().Reloc(0, x64, ".klink.alias", 0), needs},
		"kind relocated":   {good().Reloc(16, x64, "sta", 0), `a.o:(.klink.alias+0x10): a relocation that is neither an alias record's name nor its implementation`},
		"odd place":        {good().Reloc(1, x64, "sta", 0), `a.o:(.klink.alias+0x1): a relocation that is neither an alias record's name nor its implementation`},
		"two names":        {good().Reloc(0, x64, ".names", 0), `a.o:(.klink.alias+0x0): two relocations for one field of an alias record`},
		"32 bits":          {good().SetReloc(".klink.alias", 1, "r_type", x32), `a.o:(.klink.alias+0x8): a relocation in an alias record that is no 64-bit address`},
		"a distance":       {good().SetReloc(".klink.alias", 0, "r_type", xPC64), `a.o:(.klink.alias+0x0): a relocation in an alias record that is no 64-bit address`},
		"name not ended":   {aliasObject("sym", 0, "sta", 0, 1), noString},
		"name empty":       {aliasObject("sym\x00", 3, "sta", 0, 1), noString},
		"name outside":     {aliasObject("sym\x00", 4, "sta", 0, 1), noString},
		"name before":      {aliasObject("sym\x00", -1, "sta", 0, 1), noString},
		"name too long":    {aliasObject(string(long)+"\x00", 0, "sta", 0, 1), noString},
		"name undefined":   {good().SetReloc(".klink.alias", 0, "r_sym", uint64(good().Image().SymbolIndex("elsewhere"))), noString},
		"undefined":        {aliasObject("sym\x00", 0, "elsewhere", 0, 1), noFunc("elsewhere")},
		"data":             {aliasObject("sym\x00", 0, "obj", 0, 1), noFunc("obj")},
		"absolute":         {aliasObject("sym\x00", 0, "abs", 0, 1), noFunc("abs")},
		"inside":           {aliasObject("sym\x00", 0, ".text", 2, 1), noFunc(".text")},
		"outside":          {aliasObject("sym\x00", 0, ".text", 1<<40, 1), noFunc(".text")},
		"name and addend":  {aliasObject("sym\x00", 0, "glo", 5, 1), noFunc("glo")},
		"a string's place": {aliasObject("sym\x00", 0, ".names", 0, 1), noFunc(".names")},
		"defined":          {good().Text(".t", []byte{0}).Global("sym", 0, 1), `a.o:(.klink.alias+0x0): "sym": already defined in this module`},
	} {
		t.Run(what, func(t *testing.T) { wantLines(t, linkError(t, unit(t, c.b), nil), c.want) })
	}
	wantLines(t, linkError(t, unit(t, good(), good()), nil),
		`b.o: "abs": already defined in a.o`, `b.o: "glo": already defined in a.o`, `b.o: "obj": already defined in a.o`)
	two := aliasObject("sym\x00", 0, "sta", 0, 1).With(func(s *objbuild.Section) {
		s.Data = binary.LittleEndian.AppendUint64(append(s.Data, make([]byte, 16)...), 2)
	}).
		Reloc(24, x64, ".names", 0).Reloc(32, x64, "sta", 0)
	wantLines(t, linkError(t, unit(t, two), nil), `a.o:(.klink.alias+0x18): "sym": already defined in this module`)

	// A name that one object defines weakly and another strongly, and a distance from
	// it that only fits the first.
	weak := amd64().Text(".text", make([]byte, 16)).Weak("impl", 0, 4).Local("other", 8, 4).
		Rodata(".names", []byte("sym\x00")).SectionSymbol(".names").Rodata(".klink.alias", slices.Concat(make([]byte, 16), []byte{1, 0, 0, 0, 0, 0, 0, 0})).
		Reloc(0, x64, ".names", 0).Reloc(8, x64, "impl", 8)
	wantLines(t, linkError(t, unit(t, weak, defines("impl", objbuild.Global)), nil), noFunc("impl"))

	// A function whose section is discarded.
	twice := func(s string) *objbuild.Builder {
		return amd64().Text(".text.g", make([]byte, 16)).Local("loc", 0, 4).Group("loc", true, ".text.g").
			Rodata(".names", []byte(s)).SectionSymbol(".names").Rodata(".klink.alias", slices.Concat(make([]byte, 16), []byte{1, 0, 0, 0, 0, 0, 0, 0})).
			Reloc(0, x64, ".names", 0).Reloc(8, x64, "loc", 0)
	}
	wantLines(t, linkError(t, unit(t, twice("one\x00"), twice("two\x00")), nil),
		`b.o:(.klink.alias+0x0): "two": its implementation "loc" is not a function of this module`)
}
