package link_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// abs64 is the type of a 64-bit address.
var abs64 = map[arch.Machine]uint32{arch.AMD64: x64, arch.ARM64: aABS64}

// moduleObject has a MODULE record at 8 of .modinfo, its strings in .str: name at 1,
// required behind it, "-" for none.
func moduleObject(m arch.Machine, name, required string) *objbuild.Builder {
	b := objbuild.New(m).Text(".text", make([]byte, 16)).Local("cmd", 4, 8).SectionSymbol(".text").
		Rodata(".str", []byte("\x00"+name+"\x00"+required+"\x00")).SectionSymbol(".str").
		Rodata(".modinfo", slices.Concat(make([]byte, 8), []byte{3, 2, 1, 0, 7, 0, 0, 0}, make([]byte, 32))).SectionSymbol(".modinfo").
		Reloc(16, abs64[m], "cmd", 0).Reloc(24, abs64[m], ".str", 1)
	if required != "-" {
		b.Reloc(32, abs64[m], ".str", int64(len(name))+2)
	}
	return b.Rodata("link_set_modules", make([]byte, 8)).Reloc(0, abs64[m], ".modinfo", 8)
}

func TestModInfo(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		for required, want := range map[string][]string{
			"-": nil, "": nil, ",": nil, "a": {"a"}, "a,b": {"a", "b"}, "b,,a,": {"b", "a"}, "a,b,a": {"a", "b"}, "a b,.": {"a b", "."},
		} {
			lm := gather(t, unit(t, moduleObject(m, "mod", required)))
			i := lm.Info()
			if i == nil || i.Name != "mod" || i.Version != 0x010203 || i.Class != 7 || !slices.Equal(i.Required, want) {
				t.Fatalf("%v: requires %q: %+v", m, required, i)
			}
			if at, ok := lm.Modcmd(blocks); !ok || at != textAt+4 {
				t.Errorf("%v: modcmd at %#x, %v", m, at, ok)
			}
		}
		// A module without a record, and one whose record has no modcmd.
		lm := gather(t, unit(t, objbuild.New(m).Text(".text", make([]byte, 8)).Rodata("link_set_modules", nil)))
		if _, ok := lm.Modcmd(blocks); ok || lm.Info() != nil {
			t.Errorf("%v: a record out of nothing: %+v", m, lm.Info())
		}
		b := objbuild.New(m).Rodata(".str", []byte("mod\x00")).Local("s", 0, 4).Rodata(".modinfo", make([]byte, 32)).SectionSymbol(".modinfo").Reloc(16, abs64[m], "s", 0).
			Rodata("link_set_modules", make([]byte, 8)).Reloc(0, abs64[m], ".modinfo", 0)
		lm = gather(t, unit(t, b))
		if _, ok := lm.Modcmd(blocks); ok || lm.Info() == nil || lm.Info().Name != "mod" {
			t.Errorf("%v: without a modcmd: %+v", m, lm.Info())
		}
	}
}

// TestModInfoOwn: the record, its modcmd and its strings are the module's own
// definitions, in whichever of its objects, also where names stand for them and where
// the addends are in the fields.
func TestModInfoOwn(t *testing.T) {
	record := amd64().Rodata(".modinfo", make([]byte, 32)).Global("info", 0, 32).As(objbuild.Object).
		Reloc(8, x64, "cmd", 0).Reloc(16, x64, "str", 0).Reloc(24, x64, "req", 0).Undef("cmd").Undef("str").Undef("req").Weak("weak", 0, 0)
	code := amd64().Text(".text", make([]byte, 32)).Weak("cmd", 3, 8).Rodata(".str", []byte("mod\x00x,y\x00")).Global("str", 0, 4).Global("req", 4, 4)
	set := amd64().Rodata("link_set_modules", make([]byte, 8)).Reloc(0, x64, "info", 0).Undef("info")
	strong := amd64().Text(".text", make([]byte, 32)).Global("cmd", 9, 8)
	for want, u := range map[uint64]link.Unit{
		textAt + 3:      unit(t, set, record, code),
		textAt + 32 + 9: unit(t, set, record, code, strong),
	} {
		im := linked(t, u, map[string]link.Answer{"cmd": function})
		if at, ok := im.Modcmd(blocks); !ok || at != want {
			t.Errorf("modcmd at %#x, %v, want %#x", at, ok, want)
		}
		if i := im.Info(); i.Name != "mod" || !slices.Equal(i.Required, []string{"x", "y"}) {
			t.Errorf("%+v", i)
		}
		if got := im.word(t, "link_set_modules", 0); got != tablesAt+8 {
			t.Errorf("link_set_modules points to %#x", got)
		}
		if got := im.word(t, ".modinfo", 8); got != entry {
			t.Errorf("the record's own pointer, in a section like others, is %#x", got)
		}
	}
	rel := amd64().Text(".text", make([]byte, 16)).SectionSymbol(".text").Rodata(".str", []byte("..mod\x00")).SectionSymbol(".str").
		Rodata(".modinfo", make([]byte, 40)).Rel().SectionSymbol(".modinfo").Reloc(16, x64, ".text", 0).Reloc(24, x64, ".str", 0).
		With(func(s *objbuild.Section) { s.Data[16], s.Data[24] = 4, 2 }).
		Rodata("link_set_modules", []byte{8, 0, 0, 0, 0, 0, 0, 0}).Rel().Reloc(0, x64, ".modinfo", 0)
	lm := gather(t, unit(t, rel))
	if at, _ := lm.Modcmd(blocks); at != textAt+4 || lm.Info().Name != "mod" {
		t.Errorf("implicit addends: %#x, %+v", at, lm.Info())
	}
	// Two copies in one COMDAT group are one record.
	group := func() *objbuild.Builder {
		return moduleObject(arch.AMD64, "mod", "-").Group("cmd", true, ".modinfo", "link_set_modules", ".str", ".text")
	}
	if lm := gather(t, unit(t, group(), group())); lm.Info() == nil {
		t.Error("no record")
	}
}

func TestBadModInfo(t *testing.T) {
	good := func() *objbuild.Builder { return moduleObject(arch.AMD64, "mod", "a,b") }
	named := func(name, required string) *objbuild.Builder { return moduleObject(arch.AMD64, name, required) }
	set := func(change func(*objbuild.Section)) *objbuild.Builder { return good().With(change) }
	sym := func(n int, symbol string, addend int64) *objbuild.Builder {
		b := good().Undef("und").Data(".data", make([]byte, 8)).Local("datum", 0, 8).Local("ifunc", 0, 0).Change(func(s *objbuild.Symbol) { s.Section, s.Type = ".text", objbuild.IFunc }).
			Abs("abs", 5).Text(".note", make([]byte, 4)).With(func(s *objbuild.Section) { s.Flags &^= objbuild.Alloc }).Local("note", 0, 4).Text(".bytes", []byte("full")).SectionSymbol(".bytes").Global("glo", 0, 4)
		return b.SetReloc(".modinfo", n, "r_sym", uint64(b.Image().SymbolIndex(symbol))).SetReloc(".modinfo", n, "r_addend", uint64(addend))
	}
	// At the end of the section there is no room for a record.
	end := func(off int64) *objbuild.Builder {
		return good().SetReloc("link_set_modules", 0, "r_addend", uint64(off))
	}
	long := strings.Repeat("x", 65)
	notName := func(name, why string) string {
		return fmt.Sprintf("a.o:(.modinfo+0x8): %q in the MODULE record is no name for a module: it %s", name, why)
	}
	const (
		marks   = "must not have / or : or a comma in it"
		noCmd   = "a.o:(.modinfo+0x10): %q: the modcmd of the MODULE record is not a function of this module"
		noName  = "a.o:(.modinfo+0x18): the MODULE record has no name"
		no64    = "a.o:(.modinfo+0x8): a relocation in a MODULE record that is no 64-bit address"
		length  = "a.o:(.modinfo+%#x): a MODULE record is 32 bytes long, this is not"
		foreign = "a.o:(link_set_modules+0x0): %q: a MODULE record that is not in this module"
	)
	for what, c := range map[string]struct {
		b    *objbuild.Builder
		want string
	}{
		"two":              {set(func(s *objbuild.Section) { s.Data = make([]byte, 16) }), "a.o:(link_set_modules+0x8): more than one MODULE record in one module"},
		"odd set":          {set(func(s *objbuild.Section) { s.Data = make([]byte, 9) }), "a.o:(link_set_modules+0x0): the size is no multiple of a pointer's"},
		"nothing there":    {amd64().Rodata("link_set_modules", make([]byte, 8)), "a.o:(link_set_modules+0x0): no MODULE record is there"},
		"32-bit pointer":   {good().SetReloc("link_set_modules", 0, "r_type", x32), "a.o:(link_set_modules+0x0): a relocation in a MODULE record that is no 64-bit address"},
		"two pointers":     {good().Reloc(0, x64, ".modinfo", 8), "a.o:(link_set_modules+0x0): two relocations for one field of a MODULE record"},
		"elsewhere":        {amd64().Rodata("link_set_modules", make([]byte, 8)).Reloc(0, x64, "und", 0).Undef("und"), fmt.Sprintf(foreign, "und")},
		"absolute":         {amd64().Rodata("link_set_modules", make([]byte, 8)).Reloc(0, x64, "abs", 0).Abs("abs", 9), fmt.Sprintf(foreign, "abs")},
		"behind":           {end(48), fmt.Sprintf(foreign, ".modinfo")},
		"before":           {end(-1), fmt.Sprintf(foreign, ".modinfo")},
		"cut":              {end(17), fmt.Sprintf(length, 17)},
		"no bytes":         {amd64().Bss(".bss", 64).SectionSymbol(".bss").Rodata("link_set_modules", make([]byte, 8)).Reloc(0, x64, ".bss", 0), "a.o:(.bss+0x0): a MODULE record is 32 bytes long, this is not"},
		"another size":     {amd64().Rodata(".m", make([]byte, 64)).Local("m", 0, 40).As(objbuild.Object).Rodata("link_set_modules", make([]byte, 8)).Reloc(0, x64, "m", 0), "a.o:(.m+0x0): a MODULE record is 32 bytes long, this is not"},
		"relocated number": {good().SetReloc(".modinfo", 0, "r_offset", 12), no64},
		"half a pointer":   {good().SetReloc(".modinfo", 0, "r_offset", 20), no64},
		"across the start": {good().SetReloc(".modinfo", 0, "r_offset", 4), no64},
		"a distance":       {good().SetReloc(".modinfo", 1, "r_type", xPC64), no64},
		"two names":        {good().SetReloc(".modinfo", 0, "r_offset", 24), "a.o:(.modinfo+0x8): two relocations for one field of a MODULE record"},
		"no name":          {good().SetReloc(".modinfo", 1, "r_type", 0), noName},
		"name undefined":   {sym(1, "und", 0), noName},
		"name absolute":    {sym(1, "abs", 0), noName},
		"name empty":       {named("", "-"), noName},
		"name outside":     {sym(1, ".str", 9), noName},
		"name not ended":   {sym(1, ".bytes", 0), noName},
		"name and addend":  {sym(1, "glo", 1), noName},
		"slash":            {named("a/b", "-"), notName("a/b", marks)},
		"colon":            {named("a:b", "-"), notName("a:b", marks)},
		"comma":            {named("a,b", "-"), notName("a,b", marks)},
		"no UTF-8":         {named("\xff", "-"), notName("\xff", "is not UTF-8")},
		"long":             {named(long, "-"), notName(long, "is longer than 64 bytes")},
		"requires a path":  {named("mod", "a,../b"), notName("../b", marks)},
		"requires long":    {named("mod", long), notName(long, "is longer than 64 bytes")},
		"requires nothing": {sym(2, "und", 0), "a.o:(.modinfo+0x20): what the MODULE record requires is no string"},
		"too much":         {named("mod", strings.Repeat("a,", 2100)), "a.o:(.modinfo+0x20): what the MODULE record requires is no string"},
		"cmd undefined":    {sym(0, "und", 0), fmt.Sprintf(noCmd, "und")},
		"cmd data":         {sym(0, "datum", 0), fmt.Sprintf(noCmd, "datum")},
		"cmd absolute":     {sym(0, "abs", 0), fmt.Sprintf(noCmd, "abs")},
		"cmd and addend":   {sym(0, "glo", 1), fmt.Sprintf(noCmd, "glo")},
		"cmd ifunc":        {sym(0, "ifunc", 0), fmt.Sprintf(noCmd, "ifunc")},
		"cmd not loaded":   {sym(0, "note", 0), fmt.Sprintf(noCmd, "note")},
		"cmd outside":      {sym(0, ".text", 16), fmt.Sprintf(noCmd, ".text")},
		"number for cmd":   {good().SetReloc(".modinfo", 0, "r_type", 0).Edit(func(im *objbuild.Image) { plant(im.Bytes) }), "a.o:(.modinfo+0x10): an address without a relocation in a MODULE record"},
	} {
		t.Run(what, func(t *testing.T) { wantLines(t, linkError(t, unit(t, c.b), nil), c.want) })
	}
	wantLines(t, linkError(t, unit(t, good(), named("other", "-")), nil), "b.o:(link_set_modules+0x0): more than one MODULE record in one module")
	misaligned := moduleObject(arch.ARM64, "mod", "-").SetReloc(".modinfo", 0, "r_addend", 2)
	wantLines(t, linkError(t, unit(t, misaligned), nil), fmt.Sprintf(noCmd, "cmd"))
	// A relocation that ends where the record starts, and one behind it, are others' business.
	beside := good().SetReloc(".modinfo", 2, "r_offset", 40).SetReloc(".modinfo", 0, "r_type", x32).SetReloc(".modinfo", 0, "r_offset", 4)
	if i := gather(t, unit(t, beside)).Info(); i.Name != "mod" || i.Required != nil {
		t.Errorf("%+v", i)
	}
}

// plant makes the file's record, which moduleObject starts with these numbers, hold an
// address itself.
func plant(file []byte) {
	at := bytes.Index(file, []byte{3, 2, 1, 0, 7, 0, 0, 0})
	file[at+9] = 0x10
}

// TestModInfoFixtures: records as compilers make them.
func TestModInfoFixtures(t *testing.T) {
	files, err := filepath.Glob("../../testdata/objs/module/record*.kmod")
	if err != nil || len(files) < 14 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, err := elfload.Parse(filepath.Base(file), "", raw)
		if err != nil {
			t.Fatal(err)
		}
		lm := gather(t, link.Unit{Name: "m", Objects: []*elfload.Object{o}})
		if i := lm.Info(); i == nil || i.Name != "record" || i.Class != 3 || !slices.Equal(i.Required, []string{"first", "second"}) {
			t.Errorf("%s: %+v", file, i)
		}
		at, ok := lm.Modcmd(blocks)
		for i := range o.Symbols {
			if s := &o.Symbols[i]; s.Name == "record_modcmd" && at != lm.Symbol(0, i, blocks) || !ok {
				t.Errorf("%s: modcmd at %#x, %v", file, at, ok)
			}
		}
	}
}
