package elfload_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

// TestParse shows the Object of a file that has one of everything.
func TestParse(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		t.Run(m.String(), func(t *testing.T) {
			raw := full(m).Bytes()
			o, err := elfload.Parse("lib.a", "a.o", raw)
			if err != nil {
				t.Fatal(err)
			}
			checkObject(t, o)
			if o.Name() != "lib.a(a.o)" || o.Machine != m || o.Size != len(raw) {
				t.Errorf("name %q, machine %v, size %d", o.Name(), o.Machine, o.Size)
			}
			if diff := cmp.Diff(wantSymbols, dumpSymbols(o)); diff != "" {
				t.Errorf("symbols (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantSections, dumpSections(o)); diff != "" {
				t.Errorf("sections (-want +got):\n%s", diff)
			}
			want := []elfload.Group{{Signature: "g", Comdat: true, Members: []uint32{4, 10}}}
			if diff := cmp.Diff(want, o.Groups); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

// The columns: name or section's name, place, value, size, binding, type, visibility.
var wantSymbols = []string{
	" 0/0 0x0 0x0 0 0 0",
	".data 1/2 0x0 0x0 0 3 0",
	"a.c 2/0 0x0 0x0 0 4 0",
	"h 1/1 0x10 0x10 0 2 0",
	"dbg 1/5 0x10 0x0 0 0 0",
	"f 1/1 0x0 0x10 1 2 0",
	"d 1/2 0x8 0x8 2 1 0",
	"zeros 1/3 0x0 0x1000 1 1 0",
	"g 1/4 0x0 0x8 1 2 2",
	"tls 1/6 0x0 0x8 1 6 0",
	"ext 0/0 0x0 0x0 1 0 0",
	"wk 0/0 0x0 0x0 2 0 0",
	"abs 2/0 0xfee1dead 0x0 1 0 0",
	"com 3/0 0x20 0x64 1 1 0",
}

func dumpSymbols(o *elfload.Object) []string {
	var lines []string
	for i, s := range o.Symbols {
		lines = append(lines, fmt.Sprintf("%s %d/%d %#x %#x %d %d %d", o.NameOf(uint32(i)), s.Where, s.Section, s.Value, s.Size, s.Bind, s.Type, s.Vis))
	}
	return lines
}

// The columns: name, type, flags, size, alignment, bytes, group, relocations (implicit
// or not) by the name of their symbol.
var wantSections = []string{
	" 0 0x0 0x0 1 0 -1 false []",
	".text 1 0x6 0x20 16 32 -1 false [0x4:g-4 0x14:ext-4 0x1c:.data+4]",
	".data 1 0x3 0x18 8 24 -1 false [0x8:f+0 0x10:+0]",
	".bss 8 0x3 0x1000 8 0 -1 false []",
	".text.g 1 0x206 0x8 16 8 0 false [0x0:wk-4]",
	".debug_info 1 0x0 0x10 1 16 -1 true [0x8:h+0]",
	".tdata 1 0x403 0x8 1 8 -1 false []",
	".ordered 1 0x82 0x8 1 8 -1 false []",
	".rela.text 4 0x0 0x48 8 72 -1 false []",
	".rela.data 4 0x0 0x30 8 48 -1 false []",
	".rela.text.g 4 0x200 0x18 8 24 0 false []",
	".rel.debug_info 9 0x0 0x10 8 16 -1 false []",
	".group 17 0x0 0xc 4 12 -1 false []",
	".symtab 2 0x0 0x150 8 336 -1 false []",
	".strtab 3 0x0 0x2a 1 42 -1 false []",
	".shstrtab 3 0x0 0x8a 1 138 -1 false []",
}

func dumpSections(o *elfload.Object) []string {
	var lines []string
	for i := range o.Sections {
		s := &o.Sections[i]
		var relocs []string
		for n := 0; n < s.Relocs.Len(); n++ {
			r := s.Relocs.At(n)
			relocs = append(relocs, fmt.Sprintf("%#x:%s%+d", r.Offset, o.NameOf(r.Sym), r.Addend))
		}
		lines = append(lines, fmt.Sprintf("%s %d %#x %#x %d %d %d %v %v", s.Name, s.Type, uint64(s.Flags), s.Size, s.Align, len(s.Data), s.Group, s.Relocs.Implicit(), relocs))
	}
	return lines
}

// TestAgreesWithDebugELF compares sections and symbols with what debug/elf reads from the
// same bytes.
func TestAgreesWithDebugELF(t *testing.T) {
	many := objbuild.New(arch.AMD64)
	for i := range 3000 {
		many.Text(fmt.Sprintf(".text.f%d", i), []byte{0xc3}).Global(fmt.Sprintf("f%d", i), 0, 1)
	}
	for name, b := range map[string]*objbuild.Builder{
		"amd64": full(arch.AMD64), "arm64": full(arch.ARM64), "empty": objbuild.New(arch.AMD64),
		"no symbols": objbuild.New(arch.ARM64).Text(".text", []byte{1}).NoSymtab(), "3000 sections": many,
	} {
		t.Run(name, func(t *testing.T) {
			raw := b.Bytes()
			o := mustParse(t, raw)
			checkObject(t, o)
			f, err := elf.NewFile(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Sections) != len(o.Sections) {
				t.Fatalf("%d sections, debug/elf %d", len(o.Sections), len(f.Sections))
			}
			for i, want := range f.Sections[1:] {
				s := &o.Sections[i+1]
				got := elf.SectionHeader{
					Name: s.Name, Type: elf.SectionType(s.Type), Flags: elf.SectionFlag(s.Flags), Offset: want.Offset,
					Size: s.Size, Link: s.Link, Info: s.Info, Addralign: s.Align, Entsize: s.Entsize, FileSize: s.Size,
				}
				if diff := cmp.Diff(want.SectionHeader, got); diff != "" {
					t.Errorf("section %d (-debug/elf +got):\n%s", i+1, diff)
				}
				if data, _ := want.Data(); want.Type != elf.SHT_NOBITS && !bytes.Equal(data, s.Data) {
					t.Errorf("section %d: other bytes", i+1)
				}
			}
			symbols, err := f.Symbols()
			if err != nil && len(o.Symbols) > 1 {
				t.Fatal(err)
			}
			if len(symbols) != len(o.Symbols)-1 {
				t.Fatalf("%d symbols, debug/elf %d", len(o.Symbols)-1, len(symbols))
			}
			for i, want := range symbols {
				compareSymbol(t, want, o.Symbols[i+1])
			}
		})
	}
}

func compareSymbol(t *testing.T, want elf.Symbol, s elfload.Symbol) {
	t.Helper()
	index := elf.SectionIndex(s.Section)
	switch s.Where {
	case elfload.Absolute:
		index = elf.SHN_ABS
	case elfload.Common:
		index = elf.SHN_COMMON
	}
	got := elf.Symbol{
		Name: s.Name, Info: byte(s.Bind)<<4 | byte(s.Type), Other: byte(s.Vis), Section: index, Value: s.Value, Size: s.Size,
	}
	// debug/elf has fields of its own for versions, which ET_REL has not.
	want.HasVersion, want.VersionIndex, want.Version, want.Library = got.HasVersion, got.VersionIndex, got.Version, got.Library
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("symbol (-debug/elf +got):\n%s", diff)
	}
}

// TestManySections has section counts and indices around 0xff00, from where on they fit
// neither e_shnum nor st_shndx.
func TestManySections(t *testing.T) {
	for _, total := range []int{0xfeff, 0xff00, 0xff06} {
		b := objbuild.New(arch.AMD64)
		// The others are the null section, .last, .rela.last, symbols, strings, names, and
		// the section index table once there is one.
		last := total - 5
		if last >= 0xff00 {
			last--
		}
		for range last - 1 {
			b.Add(objbuild.Section{Type: objbuild.Progbits, Flags: objbuild.Alloc})
		}
		raw := b.Text(".last", make([]byte, 8)).Global("f", 4, 4).Reloc(0, plt32, "f", -4).Bytes()
		o := mustParse(t, raw)
		checkObject(t, o)
		f := symbol(t, o, "f")
		if len(o.Sections) != total || int(f.Section) != last || f.Where != elfload.InSection || o.Sections[last].Name != ".last" {
			t.Errorf("%#x sections, symbol %+v", len(o.Sections), f)
		}
		if n := o.Sections[last].Relocs.Len(); n != 1 {
			t.Errorf("%d relocations", n)
		}
	}
}

// TestXindex has SHN_XINDEX where it is not needed, which is allowed.
func TestXindex(t *testing.T) {
	o := mustParse(t, full(arch.ARM64).Xindex().Bytes())
	checkObject(t, o)
	if diff := cmp.Diff(wantSymbols, dumpSymbols(o)); diff != "" {
		t.Errorf("symbols (-want +got):\n%s", diff)
	}
}

// TestAccepted has files that look odd and are not wrong.
func TestAccepted(t *testing.T) {
	text := func() *objbuild.Builder { return objbuild.New(arch.AMD64).Text(".text", make([]byte, 8)) }
	for name, raw := range map[string][]byte{
		"appended signature":        append(text().Bytes(), "~Module signature appended~\n"...),
		"program headers":           text().SetHeader("e_phnum", 0xffff).SetHeader("e_phoff", 1<<63).Bytes(),
		"headers behind the header": headersFirst(text().Image()),
		"name that is a NUL":        base().SetSymbol("l", "st_name", 2).Bytes(),
		"empty symbol table":        text().SetSection(".symtab", "sh_size", 0).SetSection(".symtab", "sh_info", 0).Bytes(),
		"largest alignment":         text().With(func(s *objbuild.Section) { s.Align = 1 << 24 }).Bytes(),
		"largest COMMON":            text().Common("c", 1<<24, 1<<32).Bytes(),
		"empty at the end":          emptyAtTheEnd(text()),
		"compressed to nothing":     text().Add(objbuild.Section{Name: ".debug", Type: objbuild.Progbits, Flags: objbuild.Compressed, Data: compressed(0, 24)}).Bytes(),
		"alignment 0":               text().SetSection(".text", "sh_addralign", 0).Bytes(),
		"address":                   text().SetSection(".text", "sh_addr", 1<<63).Bytes(),
		"data over the ELF header":  text().SetSection(".text", "sh_offset", 0).Bytes(),
		"data over section headers": text().Edit(func(im *objbuild.Image) {
			im.Put(im.SectionHeaderAt(1), objbuild.Lookup(objbuild.SectionFields, "sh_offset"), uint64(im.SectionHeaderAt(0)))
		}).Bytes(),
		"NOBITS beyond the end":       text().Bss(".bss", 8).SetSection(".bss", "sh_offset", 1<<40).Bytes(),
		"NOBITS of the largest size":  text().Bss(".bss", 1<<32).Bytes(),
		"same name twice":             text().Text(".text", nil).Global("f", 0, 0).Local("f", 0, 0).Bytes(),
		"symbol at the section's end": text().Global("end", 8, 0).Bytes(),
		"name of 64 KiB":              text().Global(strings.Repeat("x", 64<<10), 0, 0).Bytes(),
		"control characters":          text().Global("\x1b[31m\x00", 0, 0).Bytes(),
		"local without a name":        text().Local("", 0, 0).Bytes(),
		"empty string table":          text().SetSection(".strtab", "sh_size", 0).Bytes(),
		"COMMON without alignment":    text().Common("c", 0, 1).Bytes(),
		"variant PCS":                 objbuild.New(arch.ARM64).Text(".t", nil).Global("f", 0, 0).Change(func(s *objbuild.Symbol) { s.Other = 0x80 }).Bytes(),
		"ordered by nothing":          text().With(func(s *objbuild.Section) { s.Flags |= objbuild.LinkOrder }).Bytes(),
		"group of one flag word":      text().Global("g", 0, 0).Group("g", false).Bytes(),
		"group named by its section":  text().Group(".text", true, ".text").Bytes(),
		"IFUNC":                       text().Global("i", 0, 0).As(objbuild.IFunc).Undef("j").As(objbuild.IFunc).Bytes(),
		"thread-local COMMON":         text().Common("t", 8, 8).As(objbuild.TLSSym).Bytes(),
		"merge of odd size":           text().Rodata(".str", []byte("abc")).With(func(s *objbuild.Section) { s.Flags |= objbuild.Merge | objbuild.Strings }).Bytes(),
		"no relocations":              text().Reloc(0, 0, "", 0).SetSection(".rela.text", "sh_size", 0).Bytes(),
		"last byte of a section":      text().Reloc(7, abs64, "", 0).Bytes(),
	} {
		t.Run(name, func(t *testing.T) { checkObject(t, mustParse(t, raw)) })
	}
}

// emptyAtTheEnd has an empty section at the very end of the file.
func emptyAtTheEnd(b *objbuild.Builder) []byte {
	size := len(b.Debug(".empty", nil).Bytes())
	return b.SetSection(".empty", "sh_offset", uint64(size)).Bytes()
}

// headersFirst moves the section headers to where the ELF header ends, and lets the file
// end with the last section.
func headersFirst(im *objbuild.Image) []byte {
	raw := append(bytes.Clone(im.Bytes[:64]), im.Bytes[im.SectionHeaderAt(0):]...)
	n := len(raw) - 64
	raw = append(raw, bytes.TrimRight(im.Bytes[64:im.SectionHeaderAt(0)], "\x00")...)
	raw = append(raw, 0) // the NUL of the last section name
	moved := &objbuild.Image{Bytes: raw}
	moved.Put(0, objbuild.Lookup(objbuild.HeaderFields, "e_shoff"), 64)
	for at := 64 + 64; at < 64+n; at += 64 {
		offset := objbuild.Lookup(objbuild.SectionFields, "sh_offset")
		moved.Put(at, offset, moved.Get(at, offset)+uint64(n))
	}
	return raw
}

// TestCommonAlignment: 0 is no power of two, but means 1.
func TestCommonAlignment(t *testing.T) {
	o := mustParse(t, objbuild.New(arch.AMD64).Common("c", 0, 1).Bytes())
	if c := symbol(t, o, "c"); c.Value != 1 || c.Where != elfload.Common {
		t.Errorf("%+v", c)
	}
}

// largeCommon is COMMON of the medium code model.
var largeCommon = objbuild.Symbol{Name: "lc", Shndx: 0xff02, Value: 32, Size: 160000, Bind: objbuild.Global, Type: objbuild.Object}

// TestLargeCommon: to klink it is COMMON like any other.
func TestLargeCommon(t *testing.T) {
	o := mustParse(t, objbuild.New(arch.AMD64).Symbol(largeCommon).Bytes())
	if c := symbol(t, o, "lc"); c.Where != elfload.Common || c.Value != 32 || c.Size != 160000 {
		t.Errorf("%+v", c)
	}
}

// TestCompressedDebug: the bytes are kept as they are, and relocations, which are meant
// for other bytes, are not given away.
func TestCompressedDebug(t *testing.T) {
	data := compressed(1<<20, 40)
	b := func(offset uint64) *objbuild.Builder {
		return objbuild.New(arch.AMD64).Undef("x").
			Add(objbuild.Section{Name: ".debug_info", Type: objbuild.Progbits, Flags: objbuild.Compressed, Data: data}).
			Reloc(offset, abs64, "x", 0)
	}
	o := mustParse(t, b(1<<20-1).Bytes())
	s := section(t, o, ".debug_info")
	if !bytes.Equal(s.Data, data) || s.Size != 40 || s.Flags&elfload.Compressed == 0 || s.Relocs.Len() != 0 {
		t.Errorf("size %d, flags %#x, %d relocations", s.Size, s.Flags, s.Relocs.Len())
	}
	if _, err := elfload.Parse("a.o", "", b(1<<20).Bytes()); err == nil {
		t.Error("a relocation beyond the decompressed bytes was accepted")
	}
}

// compressed returns n bytes that begin with an Elf64_Chdr.
func compressed(size uint64, n int) []byte {
	b := make([]byte, n)
	b[0] = 1 // ELFCOMPRESS_ZLIB
	for i := range 8 {
		b[8+i] = byte(size >> (8 * i))
	}
	return b
}

// TestSymbolIsSmall guards the memory limit: a 64 MiB file may hold 2.8 million symbols.
func TestSymbolIsSmall(t *testing.T) {
	if n := reflect.TypeFor[elfload.Symbol]().Size(); n > 48 {
		t.Errorf("a Symbol takes %d bytes", n)
	}
}
