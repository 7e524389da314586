package link_test

import (
	"encoding/hex"
	"slices"
	"testing"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// Relocation types, by their psABI names.
const (
	x64, xPC32, xPLT32, xGOTPCREL, x32, x32S      = 1, 2, 4, 9, 10, 11
	xGOTPC32, xPC64, xSIZE64, xGOTX, xRexGOTX     = 26, 24, 33, 41, 42
	aABS64, aPREL32, aADRP, aADD, aTST, aCOND     = 257, 261, 275, 277, 279, 280
	aJUMP, aCALL, aMovG1, aGOTPage, aGOTLo, aLo15 = 282, 283, 265, 311, 312, 313
	aGOTPCREL32, aLDST64, aADR, aLIT              = 315, 286, 274, 273
	aPrelG0, aPLT32                               = 287, 314
)

// refCase is one reference to the function f of another module.
type refCase struct {
	name   string
	m      arch.Machine
	code   string
	off    uint64
	typ    uint32
	addend int64
	data   bool   // in .data instead of .text
	want   string // the bytes after linking
	site   string // the first site, "" for none
	uses   link.Uses
}

const strictBranch, strictAddress, strictShort = link.UsedStrictly | link.UsedByBranch, link.UsedStrictly | link.UsedByAddress, link.UsedStrictly | link.UsedByShort

// referenceCases has every row of the table of references on both machines.
var referenceCases = []refCase{
	// direct branches: the instruction leads to the provider, and is the site
	{"call PLT32", arch.AMD64, "e8 00000000", 1, xPLT32, -4, false, "e8 fbff0f00", "call 0x10000000", strictBranch},
	{"call PC32", arch.AMD64, "e8 00000000", 1, xPC32, -4, false, "e8 fbff0f00", "call 0x10000000", strictBranch},
	{"jmp PLT32", arch.AMD64, "e9 00000000", 1, xPLT32, -4, false, "e9 fbff0f00", "jmp 0x10000000", strictBranch},
	{"jmp PC32", arch.AMD64, "e9 00000000", 1, xPC32, -4, false, "e9 fbff0f00", "jmp 0x10000000", strictBranch},
	{"jo PLT32", arch.AMD64, "0f80 00000000", 2, xPLT32, -4, false, "0f80 faff0f00", "jo 0x10000000", strictBranch},
	{"jne PC32", arch.AMD64, "0f85 00000000", 2, xPC32, -4, false, "0f85 faff0f00", "jne 0x10000000", strictBranch},
	{"jg PLT32", arch.AMD64, "0f8f 00000000", 2, xPLT32, -4, false, "0f8f faff0f00", "jg 0x10000000", strictBranch},
	{"bnd call", arch.AMD64, "f2e8 00000000", 2, xPLT32, -4, false, "f2e8 faff0f00", "call 0x10000001", strictBranch},
	{"bl CALL26", arch.ARM64, "00000094", 0, aCALL, 0, false, "00000494", "bl 0x10000000", strictBranch},
	{"b JUMP26", arch.ARM64, "00000014", 0, aJUMP, 0, false, "00000414", "b 0x10000000", strictBranch},
	{"b CALL26", arch.ARM64, "00000014", 0, aCALL, 0, false, "00000414", "b 0x10000000", strictBranch},

	// through the GOT: relaxed to a direct branch
	{"call *GOTPCRELX", arch.AMD64, "ff15 00000000", 2, xGOTX, -4, false, "67e8 faff0f00", "call 0x10000000", strictBranch},
	{"jmp *GOTPCRELX", arch.AMD64, "ff25 00000000", 2, xGOTX, -4, false, "e9 fbff0f00 90", "jmp 0x10000000", strictBranch},
	{"call *GOTPCREL of old", arch.AMD64, "ff15 00000000", 2, xGOTPCREL, -4, false, "ff15 faff0000", "", strictAddress},
	{"mov GOTPCREL", arch.AMD64, "488b05 00000000", 3, xRexGOTX, -4, false, "488b05 f9ff0000", "", strictAddress},
	{"cmp GOTPCRELX with immediate", arch.AMD64, "833d 00000000 00", 2, xGOTX, -5, false, "833d f9ff0000 00", "", strictAddress},

	// short branches: to a veneer behind the section, which is the site
	{"b.ne CONDBR19", arch.ARM64, "01000054", 0, aCOND, 0, false, "81000054", "veneer 0x10000010", strictShort},
	{"cbz CONDBR19", arch.ARM64, "000000b4", 0, aCOND, 0, false, "800000b4", "veneer 0x10000010", strictShort},
	{"tbz TSTBR14", arch.ARM64, "00000036", 0, aTST, 0, false, "80000036", "veneer 0x10000010", strictShort},

	// addresses: of the entry
	{"lea", arch.AMD64, "488d05 00000000", 3, xPC32, -4, false, "488d05 09002000", "", strictAddress},
	{"cmpl with immediate", arch.AMD64, "833d 00000000 07", 2, xPC32, -5, false, "833d 09002000 07", "", strictAddress},
	{"mov $f, %eax", arch.AMD64, "b8 00000000", 1, x32, 0, false, "b8 10002010", "", strictAddress},
	{"mov $f, %rax", arch.AMD64, "48c7c0 00000000", 3, x32S, 0, false, "48c7c0 10002010", "", strictAddress},
	{"xbegin", arch.AMD64, "c7f8 00000000", 2, xPLT32, -4, false, "c7f8 0a002000", "", strictAddress},
	{".quad", arch.AMD64, "0000000000000000", 0, x64, 0, true, "1000201000000000", "", strictAddress},
	{".long f - . by PC32", arch.AMD64, "00000000", 0, xPC32, 0, true, "10001e00", "", strictAddress},
	{".long f - . by PLT32", arch.AMD64, "00000000", 0, xPLT32, 0, true, "10001e00", "", strictAddress},
	{".long f - table", arch.AMD64, "00000000 00000000", 4, xPC32, 4, true, "00000000 10001e00", "", strictAddress},
	{"data like a call", arch.AMD64, "e8 00000000", 1, xPLT32, 0, true, "e8 0f001e00", "", strictAddress},
	{"data like a GOT call", arch.AMD64, "ff15 00000000", 2, xGOTX, -4, true, "ff15 fafffeff", "", strictAddress},
	{"adrp", arch.ARM64, "00000090", 0, aADRP, 0, false, "00100090", "", strictAddress},
	{"add", arch.ARM64, "00000091", 0, aADD, 0, false, "00400091", "", strictAddress},
	{"movz G1", arch.ARM64, "0000a0d2", 0, aMovG1, 0, false, "0004a2d2", "", strictAddress},
	{"adrp GOT", arch.ARM64, "00000090", 0, aGOTPage, 0, false, "80000090", "", strictAddress},
	{"ldr GOT", arch.ARM64, "000040f9", 0, aGOTLo, 0, false, "000040f9", "", strictAddress},
	{".xword", arch.ARM64, "0000000000000000", 0, aABS64, 0, true, "1000201000000000", "", strictAddress},
	{".word f - .", arch.ARM64, "00000000", 0, aPREL32, 0, true, "10001e00", "", strictAddress},
	{".word f - table", arch.ARM64, "00000000 00000000", 4, aPREL32, 4, true, "00000000 10001e00", "", strictAddress},
}

// build makes the object of a case, with f as its symbol says.
func (c *refCase) build(symbol objbuild.Symbol) *objbuild.Builder {
	b := objbuild.New(c.m)
	if c.data {
		b.Data(".data", hexBytes(c.code))
	} else {
		b.Text(".text", hexBytes(c.code))
	}
	symbol.Name = "f"
	return b.Reloc(c.off, c.typ, "f", c.addend).Symbol(symbol)
}

// section is where the case stands.
func (c *refCase) section() string {
	if c.data {
		return ".data"
	}
	return ".text"
}

func TestReferences(t *testing.T) {
	for _, c := range referenceCases {
		t.Run(c.m.String()+" "+c.name, func(t *testing.T) {
			im := linked(t, unit(t, c.build(objbuild.Symbol{Bind: objbuild.Global})), nil)
			want := hexBytes(c.want)
			if got := im.bytes(t, c.section(), 0, uint64(len(want))); !slices.Equal(got, want) {
				t.Errorf("linked to %x, want %x", got, want)
			}
			if got := name(t, im.Module, "f").Uses; got != c.uses {
				t.Errorf("uses %05b, want %05b", got, c.uses)
			}
			var sites []string
			if c.site != "" {
				sites = []string{c.site}
			}
			if got := sitesText(im.sites); !slices.Equal(got, sites) {
				t.Fatalf("sites %v, want %v", got, sites)
			}
			for _, s := range im.sites {
				to, ok := s.Form.Target(im.out[link.Text][s.Addr-textAt:], s.Addr)
				if !ok || to != provider || s.Slot != slot || im.Names[s.Name].Name != "f" {
					t.Errorf("site %+v leads to %#x", s, to)
				}
			}
			if _, size := im.GOT(); size > 0 {
				if got := hex.EncodeToString(im.out[link.Tables][:8]); got != "1000201000000000" {
					t.Errorf("GOT slot holds %s, want the entry", got)
				}
			}
		})
	}
}

// TestOwnReferences: what a module keeps to itself is bound to its own definition, and
// no form of reference to it is a site.
func TestOwnReferences(t *testing.T) {
	kinds := map[string]objbuild.Symbol{
		"hidden":    {Bind: objbuild.Global, Other: objbuild.Hidden},
		"internal":  {Bind: objbuild.Global, Other: objbuild.Internal},
		"protected": {Bind: objbuild.Global, Other: objbuild.Protected},
		"local":     {Bind: objbuild.Local},
		"data":      {Bind: objbuild.Global, Type: objbuild.Object},
	}
	for kind, symbol := range kinds {
		for _, c := range referenceCases {
			t.Run(kind+" "+c.m.String()+" "+c.name, func(t *testing.T) {
				symbol.Section = ".f"
				if symbol.Type == 0 {
					symbol.Type = objbuild.Func
				}
				b := c.build(symbol).Text(".f", make([]byte, 16))
				im := linked(t, unit(t, b), nil)
				if len(im.sites) != 0 {
					t.Errorf("sites %v", sitesText(im.sites))
				}
				static, err := apply(gather(t, unit(t, b)), blocks, nil, true)
				if err != nil {
					t.Fatal(err)
				}
				relaxed := c.typ == xGOTX && c.site != ""
				if got, want := im.bytes(t, c.section(), 0, 4), static.bytes(t, c.section(), 0, 4); !relaxed && !slices.Equal(got, want) {
					t.Errorf("linked to %x, statically to %x", got, want)
				}
				if kind != "local" && kind != "data" {
					n := name(t, im.Module, "f")
					if n.Offered != (kind == "protected") || n.Bind != link.Own {
						t.Errorf("offered %v, bind %v", n.Offered, n.Bind)
					}
				}
			})
		}
	}
}

// TestStatic: a static link binds to what the answers say, relaxes nothing and has no
// sites.
func TestStatic(t *testing.T) {
	for _, c := range referenceCases {
		im, err := apply(gather(t, unit(t, c.build(objbuild.Symbol{Bind: objbuild.Global}))), blocks,
			map[string]link.Answer{"f": {Branch: textAt + 64, Address: textAt + 64, Slot: slot}}, true)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(im.sites) != 0 {
			t.Errorf("%s: sites %v", c.name, sitesText(im.sites))
		}
		if c.typ == xGOTX && im.bytes(t, c.section(), 0, 1)[0] != hexBytes(c.code)[0] {
			t.Errorf("%s: relaxed", c.name)
		}
	}
}

// TestAbsent: a weak reference to nothing is 0; on aarch64 a distance to it is one to the
// place itself, and a branch to it goes on with the next instruction.
func TestAbsent(t *testing.T) {
	for _, c := range []struct {
		m    arch.Machine
		code string
		off  uint64
		typ  uint32
		add  int64
		want string
	}{
		{arch.AMD64, "e8 00000000", 1, xPLT32, -4, "e8 fbffffef"},
		{arch.AMD64, "ff15 00000000", 2, xGOTX, -4, "ff15 faff0000"},
		{arch.AMD64, "488b05 00000000", 3, xRexGOTX, -4, "488b05 f9ff0000"},
		{arch.AMD64, "b8 00000000", 1, x32, 0, "b8 00000000"},
		{arch.ARM64, "00000094", 0, aCALL, 0, "1f2003d5"},
		{arch.ARM64, "00000014", 0, aJUMP, 0, "1f2003d5"},
		{arch.ARM64, "01000054", 0, aCOND, 0, "1f2003d5"},
		{arch.ARM64, "00000036", 0, aTST, 0, "1f2003d5"},
		{arch.ARM64, "00000091", 0, aADD, 0, "00000091"},
		{arch.ARM64, "1f2003d5 00000010", 4, aADR, 8, "1f2003d5 40000010"},
		{arch.ARM64, "1f2003d5 00000090", 4, aADRP, 0x1000, "1f2003d5 000000b0"},
		{arch.ARM64, "1f2003d5 00000090", 4, aADRP, 0xffc, "1f2003d5 000000b0"}, // Page(P + A), not Page(P) + Page(A)
		{arch.ARM64, "1f2003d5 00000058", 4, aLIT, 0, "1f2003d5 00000058"},
		{arch.ARM64, "1f2003d5 000080d2", 4, aPrelG0, 1, "1f2003d5 200080d2"},
		{arch.ARM64, "1f2003d5 00000000", 4, aPREL32, 16, "1f2003d5 10000000"},
		{arch.ARM64, "1f2003d5 00000000", 4, aPLT32, 16, "1f2003d5 10000000"},
	} {
		for _, hidden := range []uint8{objbuild.Default, objbuild.Hidden} {
			b := objbuild.New(c.m).Text(".text", hexBytes(c.code)).Reloc(c.off, c.typ, "f", c.add).
				Symbol(objbuild.Symbol{Name: "f", Bind: objbuild.Weak, Other: hidden})
			im := linked(t, unit(t, b), nil)
			if got, want := im.bytes(t, ".text", 0, uint64(len(hexBytes(c.want)))), hexBytes(c.want); !slices.Equal(got, want) {
				t.Errorf("%s: %x, want %x", c.code, got, want)
			}
			if len(im.sites) != 0 {
				t.Errorf("%s: sites %v", c.code, sitesText(im.sites))
			}
			off, size := im.GOT()
			for _, c := range im.out[link.Tables][off : off+size] {
				if c != 0 {
					t.Errorf("the slot is not 0")
				}
			}
		}
	}
}

// TestRelaxedWeak: a GOT call to a weak name that has a provider is relaxed as any.
func TestRelaxedWeak(t *testing.T) {
	b := amd64().Text(".text", hexBytes("ff15 00000000")).Reloc(2, xGOTX, "f", -4).WeakUndef("f")
	im := linked(t, unit(t, b), map[string]link.Answer{"f": function})
	if got := sitesText(im.sites); !slices.Equal(got, []string{"call 0x10000000"}) {
		t.Errorf("sites %v", got)
	}
	if n := name(t, im.Module, "f"); n.Uses&link.UsedByAddress == 0 || !n.Weak {
		t.Error("no address was asked for, in case that the name is absent")
	}
}

// TestDataBinds: a name that is data means the object itself.
func TestDataBinds(t *testing.T) {
	b := amd64().Text(".text", hexBytes("488d05 00000000")).Reloc(3, xPC32, "d", -4).
		Data(".data", make([]byte, 24)).Reloc(0, x64, "d", 8).Reloc(8, xSIZE64, "d", 0).Reloc(16, x64, "far", 4).Global("d", 16, 5).Undef("far")
	im := linked(t, unit(t, b), map[string]link.Answer{"far": {Branch: 0x999, Address: 0x999, Size: 3}})
	if got := im.word(t, ".data", 0); got != dataAt+16+8 {
		t.Errorf("d + 8 is %#x", got)
	}
	if got := im.word(t, ".data", 8); got != 5 {
		t.Errorf("the size is %d", got)
	}
	if got := im.word(t, ".data", 16); got != 0x999+4 {
		t.Errorf("far + 4 is %#x", got)
	}
	if n := name(t, im.Module, "d"); n.Class != aliasstack.Data || n.Kind != aliasstack.Override || len(im.sites) != 0 {
		t.Errorf("%+v, sites %v", n, im.sites)
	}
}

// TestDebugIsNotApplied: sections that are not allocated are not placed, their
// relocations mean nothing, whatever they are.
func TestDebugIsNotApplied(t *testing.T) {
	b := amd64().Text(".text", []byte{0xc3}).Global("f", 0, 1).
		Debug(".debug_info", make([]byte, 8)).Reloc(0, x64, "g", 0).Reloc(1, 255, "f", 0).Undef("g")
	im := linked(t, unit(t, b), nil)
	if n := name(t, im.Module, "g"); n.Uses != 0 {
		t.Errorf("uses %v", n.Uses)
	}
	if _, _, kept := im.Section(0, 2); kept || im.Relocs != 0 {
		t.Error("the debug section is placed")
	}
}

// TestOwnFunctionInside: an addend into a function means the module's own definition.
func TestOwnFunctionInside(t *testing.T) {
	b := amd64().Text(".text", hexBytes("e8 00000000 e8 00000000 488d05 00000000")).Global("f", 0, 16).Global("g", 0, 16).
		Reloc(1, xPLT32, "f", -4).Reloc(6, xPLT32, "f", -4+3).Reloc(13, xPC32, "f", -4+1)
	im := linked(t, unit(t, b), nil)
	if got := sitesText(im.sites); !slices.Equal(got, []string{"call 0x10000000"}) {
		t.Errorf("sites %v", got)
	}
	if got := hex.EncodeToString(im.bytes(t, ".text", 5, 12)); got != "e8f9ffffff488d05f0ffffff" {
		t.Errorf("linked to %s", got)
	}
}

// TestUnknownInside: an addend into a name that nobody provides, which was let pass, is
// applied as it is; it makes no site, because a switch could not keep it.
func TestUnknownInside(t *testing.T) {
	say := map[string]link.Answer{"f": {Branch: textAt + 32, Address: textAt + 32, Slot: slot}}
	im := linked(t, unit(t, amd64().Text(".text", hexBytes("e8 00000000 e8 00000000")).Reloc(1, xPLT32, "f", -4+3).Reloc(6, xPLT32, "f", -4).Undef("f")), say)
	if got := hex.EncodeToString(im.bytes(t, ".text", 0, 10)); got != "e81e000000e816000000" || len(im.sites) != 1 {
		t.Errorf("linked to %s, sites %v", got, sitesText(im.sites))
	}
	im = linked(t, unit(t, arm64().Text(".text", hexBytes("01000054")).Reloc(0, aCOND, "f", 4).Undef("f")), say)
	if got := hex.EncodeToString(im.bytes(t, ".text", 0, 4)); got != "21010054" {
		t.Errorf("linked to %s", got)
	}
}

// TestGOTSlots: one slot a name and symbol; on aarch64 one for each addend, except
// where the addend moves the field.
func TestGOTSlots(t *testing.T) {
	b := amd64().Text(".text", hexBytes("488b05 00000000 488b05 00000000 488b05 00000000")).Global("l", 0, 21).
		Reloc(3, xRexGOTX, "f", -4).Reloc(10, xRexGOTX, "f", -5).Reloc(17, xRexGOTX, "local", -4).Undef("f").
		Rodata(".rodata", make([]byte, 8)).Local("local", 4, 4)
	im := linked(t, unit(t, b), nil)
	if _, size := im.GOT(); size != 16 {
		t.Errorf("x86-64: GOT of %d bytes", size)
	}
	if got := im.out[link.Tables][16:]; hex.EncodeToString(got) != "0400011000000000" {
		t.Errorf("x86-64: the local symbol's slot holds %x", got)
	}
	b = arm64().Data(".data", make([]byte, 12)).Reloc(0, aGOTPCREL32, "d", 0).Reloc(4, aGOTPCREL32, "d", 8).
		Text(".text", hexBytes("00000090 00000090")).Reloc(0, aGOTPage, "d", 0).Reloc(4, aGOTPage, "d", 8).Undef("d")
	im = linked(t, unit(t, b), map[string]link.Answer{"d": {Branch: 0x1000, Address: 0x1000}})
	if got := hex.EncodeToString(im.out[link.Tables]); got != "00100000000000000810000000000000" {
		t.Errorf("aarch64: GOT holds %s", got)
	}
	if got := hex.EncodeToString(im.bytes(t, ".data", 0, 8)); got != "0000ffff"+"0400ffff" {
		t.Errorf("aarch64: fields hold %s", got)
	}
}
