package hostile

import (
	"fmt"
	"slices"
	"strings"

	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// hosts are files that link, and that a host of a small arena has no room or no name for.
func hosts() []row {
	return []row{
		{"67 MB of zeros", amd64().Bss(".bss", 67<<20).Global("b", 0, 8).Bytes(), diag.ErrNoSpace, `a.o: data: no room for 70254592 bytes aligned to 8: `},
		{"2^40 of zeros", func() []byte {
			b := amd64()
			for i := range 200 {
				b.Bss(fmt.Sprint(".bss", i), 1<<32)
			}
			return b.Bytes()
		}(), diag.ErrNoSpace, `a.o: data: no room for 858993459200 bytes aligned to 8: `},
		{"COMMON of 2^32", amd64().Common("c", 1<<24, 1<<32).Bytes(), diag.ErrNoSpace, `a.o: data: no room for 4294967296 bytes aligned to 16777216: `},
		{"an alignment of 2^24", amd64().Data(".data", make([]byte, 8)).With(func(s *objbuild.Section) { s.Align = 1 << 24 }).Bytes(), diag.ErrNoSpace, `a.o: data: no room for 8 bytes aligned to 16777216: `},
		{"nobody has it", amd64().Data(".data", make([]byte, 8)).Reloc(0, abs64, "nobody\x1b", 0).Undef("nobody\x1b").Bytes(), diag.ErrUndefined,
			`a.o:(.data+0x0): R_X86_64_64 against "nobody\x1b": no provider`},
		{"an IFUNC that nobody defines", amd64().Data(".data", make([]byte, 8)).Reloc(0, abs64, "i", 0).Symbol(objbuild.Symbol{Name: "i", Bind: objbuild.Global, Type: objbuild.IFunc}).Bytes(), diag.ErrUndefined,
			`a.o:(.data+0x0): R_X86_64_64 against "i": no provider`},
	}
}

// sound are files that are strange and allowed: they link, load, and unload.
func sound() []row {
	text := func() *objbuild.Builder {
		return amd64().Text(".text", []byte("\xe8\x00\x00\x00\x00"+strings.Repeat("\xc3", 11))).Global("own", 0, 16).Reloc(1, plt32, "own", -4)
	}
	data := func() *objbuild.Builder { return text().Data(".data", make([]byte, 16)) }
	debug := func(b []byte) objbuild.Section {
		return objbuild.Section{Name: ".debug_line", Type: objbuild.Progbits, Flags: objbuild.Compressed, Data: b}
	}
	onePlace := data()
	for range 1000 {
		onePlace.Reloc(0, abs64, "own", 0)
	}
	return []row{
		{name: "nothing", raw: amd64().Bytes()},
		{name: "no symbols", raw: amd64().Text(".text", []byte{0xc3}).NoSymtab().Bytes()},
		{name: "trailing data", raw: append(text().Bytes(), strings.Repeat("trailing", 1000)...)},
		{name: "program headers", raw: text().SetHeader("e_phoff", 1<<63).SetHeader("e_phnum", 0xffff).SetHeader("e_phentsize", 1).Bytes()},
		{name: "an entry point", raw: text().SetHeader("e_entry", 1<<64-1).SetHeader("e_flags", 1<<32-1).Bytes()},
		{name: "addresses", raw: text().SetSection(".text", "sh_addr", 1<<64-1).Bytes()},
		{name: "an alignment of 0", raw: data().SetSection(".data", "sh_addralign", 0).Bytes()},
		{name: "a section over the ELF header", raw: data().SetSection(".data", "sh_offset", 0).Bytes()},
		{name: "a section over another", raw: data().SetSection(".data", "sh_offset", 64).Bytes()},
		{name: "a section over the section headers", raw: data().Edit(func(im *objbuild.Image) {
			im.Put(im.SectionHeaderAt(2), objbuild.Lookup(objbuild.SectionFields, "sh_offset"), uint64(im.SectionHeaderAt(1)))
		}).Bytes()},
		{name: "a debug section that expands to 2^40", raw: text().Add(debug(compressed(1<<40, 40))).Bytes()},
		{name: "a debug section of a wrong algorithm", raw: text().Add(debug(slices.Concat([]byte{99}, make([]byte, 40)))).Bytes()},
		{name: "zeros at an offset beyond the file", raw: text().Bss(".bss", 64).SetSection(".bss", "sh_offset", 1<<40).Bytes()},
		{name: "strong and weak", raw: text().Weak("fun", 0, 4).Global("fun", 8, 4).Bytes()},
		{name: "two weak", raw: text().Weak("fun", 0, 4).Weak("fun", 8, 4).Bytes()},
		{name: "undefined and defined", raw: text().Undef("fun").WeakUndef("fun").Global("fun", 8, 4).Bytes()},
		{name: "COMMON twice", raw: text().Common("c", 8, 8).Common("c", 64, 64).Bytes()},
		{name: "a name of control characters", raw: text().Global("\x1b[2J\n\x7f\u009b\u202e", 0, 4).Bytes()},
		{name: "a name of 64 KiB", raw: text().Global(strings.Repeat("n", 64<<10), 0, 4).Bytes()},
		{name: "a local without a name", raw: text().Local("", 4, 4).Bytes()},
		{name: "a symbol at the end", raw: text().Global("end", 16, 0).Bytes()},
		{name: "a symbol in debug data", raw: text().Debug(".debug_x", make([]byte, 8)).Global("dbg", 4, 4).As(objbuild.Object).Bytes()},
		{name: "section indices apart", raw: data().Xindex().Bytes()},
		{name: "REL", raw: data().Reloc(0, abs64, "own", 0).Rel().Bytes()},
		{name: "1000 relocations of one place", raw: onePlace.Bytes()},
		{name: "a relocation without a symbol", raw: data().Reloc(0, abs64, "", -1).Bytes()},
		{name: "a group of nothing", raw: text().Group("own", true).Bytes()},
		{name: "two groups of one name", raw: text().Text(".a", []byte{0xc3}).Text(".b", []byte{0xc3}).Group("own", true, ".a").Group("own", true, ".b").Bytes()},
		{name: "an IFUNC in data", raw: text().Data(".data", make([]byte, 8)).Global("idata", 0, 8).As(objbuild.IFunc).Bytes()},
		{name: "an unknown section type", raw: data().SetSection(".data", "sh_type", 0x6fff0000).Bytes()},
		{name: "an IFUNC that resolves to itself", raw: amd64().Text(".text", []byte("\x48\x8d\x05\x00\x00\x00\x00\xc3")).Global("ifunc", 0, 8).As(objbuild.IFunc).Reloc(3, pc32, "ifunc", -4).Bytes()},
		{name: "an IFUNC that is a call of itself", raw: amd64().Text(".text", []byte("\xe8\x00\x00\x00\x00\xc3")).Global("ifunc", 0, 6).As(objbuild.IFunc).Reloc(1, plt32, "ifunc", -4).Bytes()},
	}
}
