package hostile

import (
	"strings"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// sections spoils section headers.
func sections() []row {
	text := objbuild.Section{Name: ".x", Type: objbuild.Progbits, Data: make([]byte, 8)}
	return []row{
		{"name out of range", sectionField(".text", "sh_name", 1<<32-1), diag.ErrMalformed,
			`a.o: section 1: its name at 0xffffffff lies outside of the string table`},
		{"names empty", sectionField(".shstrtab", "sh_size", 0), diag.ErrMalformed, strings.Join([]string{
			`a.o: section 1: its name at 0x1 lies outside of the string table`,
			`a.o: section 2: its name at 0x7 lies outside of the string table`,
			`a.o: section 3: its name at 0xd lies outside of the string table`,
			`a.o: section 4: its name at 0x18 lies outside of the string table`,
			`a.o: section 5: its name at 0x23 lies outside of the string table`,
			`a.o: section 6: its name at 0x2b lies outside of the string table`,
			`a.o: section 7: its name at 0x33 lies outside of the string table`,
		}, "\n")},
		{"name too long", base().Add(objbuild.Section{Name: strings.Repeat("n", 64<<10+1), Type: objbuild.Progbits}).Bytes(), diag.ErrUnsupported,
			`a.o: section 3: its name at 0xd is longer than klink's limit of 0x10000 bytes`},
		{"name with control characters", base().Add(objbuild.Section{Name: "\x1b[2J\n", Type: objbuild.Progbits, Align: 3}).Bytes(), diag.ErrMalformed,
			`a.o: section 3 ("\x1b[2J\n"): its alignment, 0x3, is not a power of two`},
		{"offset", sectionField(".data", "sh_offset", 1<<40), diag.ErrMalformed,
			`a.o: section 2 (".data"): its offset, 0x10000000000, lies beyond the end of the file, 0x360`},
		{"offset negative", sectionField(".data", "sh_offset", 1<<64-1), diag.ErrMalformed,
			`a.o: section 2 (".data"): its offset, 0xffffffffffffffff, lies beyond the end of the file, 0x360`},
		{"size", sectionField(".data", "sh_size", 1<<20), diag.ErrMalformed,
			`a.o: section 2 (".data"): its 0x100000 bytes at 0x50 go beyond the end of the file, 0x360`},
		{"size wraps", sectionField(".data", "sh_size", 1<<64-8), diag.ErrMalformed,
			`a.o: section 2 (".data"): its 0xfffffffffffffff8 bytes at 0x50 go beyond the end of the file, 0x360`},
		{"two at once", base().SetSection(".text", "sh_offset", tooBig).SetSection(".data", "sh_size", tooBig).Bytes(), diag.ErrMalformed,
			"a.o: section 1 (\".text\"): its offset, 0x7fffffffffffffff, lies beyond the end of the file, 0x360\n" +
				`a.o: section 2 (".data"): its 0x7fffffffffffffff bytes at 0x50 go beyond the end of the file, 0x360`},
		{"NOBITS of 2^60", base().Bss(".bss", 1<<60).Bytes(), diag.ErrUnsupported,
			`a.o: section 3 (".bss"): its size, 0x1000000000000000, is more than klink's limit of 0x100000000`},
		{"NOBITS wraps", base().Bss(".bss", 1<<64-1).Bytes(), diag.ErrUnsupported,
			`a.o: section 3 (".bss"): its size, 0xffffffffffffffff, is more than klink's limit of 0x100000000`},
		{"NOBITS at a negative offset", base().Bss(".bss", 8).SetSection(".bss", "sh_offset", 1<<63).Bytes(), diag.ErrMalformed,
			`a.o: section 3 (".bss"): its offset, 0x8000000000000000, is negative`},
		{"NOBITS compressed", base().Bss(".bss", 64).With(func(s *objbuild.Section) { s.Flags = objbuild.Compressed }).Bytes(), diag.ErrMalformed,
			`a.o: section 3 (".bss"): compressed, but without bytes in the file`},
		{"null with contents", sectionField(".data", "sh_type", 0), diag.ErrMalformed, `a.o: section 2 (".data"): a null section with contents`},
		{"null with flags", base().SetSection("", "sh_flags", 1).Bytes(), diag.ErrMalformed, `a.o: section 0: a null section with contents`},
		{"null with a place", base().SetSection("", "sh_offset", 1).Bytes(), diag.ErrMalformed, `a.o: section 0: a null section with contents`},
		{"null with a size", base().SetSection("", "sh_size", 1<<32+1).Bytes(), diag.ErrMalformed, `a.o: section 0: a null section with contents`},
		{"overlap", objbuild.New(arch.AMD64).Text(".a", make([]byte, 4096)).Add(text).SetSection(".x", "sh_offset", 64).SetSection(".x", "sh_size", 4096).Bytes(),
			diag.ErrMalformed, `a.o: sections overlap: together they are 0x203a bytes long, the file 0x1230`},
		{"alignment 3", sectionField(".data", "sh_addralign", 3), diag.ErrMalformed,
			`a.o: section 2 (".data"): its alignment, 0x3, is not a power of two`},
		{"alignment 2^62", sectionField(".data", "sh_addralign", 1<<62), diag.ErrMalformed,
			`a.o: section 2 (".data"): its alignment, 0x4000000000000000, is more than klink's limit of 0x1000000`},
		{"alignment all ones", sectionField(".data", "sh_addralign", 1<<64-1), diag.ErrMalformed,
			`a.o: section 2 (".data"): its alignment, 0xffffffffffffffff, is not a power of two`},
		{"link", sectionField(".data", "sh_link", 8), diag.ErrMalformed, `a.o: section 2 (".data"): its sh_link, 8, names none of the 8 sections`},
		{"writable and executable", with(func(s *objbuild.Section) { s.Flags = objbuild.Alloc | objbuild.Write | objbuild.Exec }), diag.ErrUnsupported,
			`a.o: section 2 (".data"): both writable and executable`},
		{"thread-local debug", with(func(s *objbuild.Section) { s.Flags = objbuild.TLS }), diag.ErrMalformed,
			`a.o: section 2 (".data"): thread-local, but not part of the program`},
		{"compressed program", with(func(s *objbuild.Section) {
			s.Flags, s.Data = objbuild.Alloc|objbuild.Compressed, compressed(1<<40, 32)
		}), diag.ErrUnsupported, `a.o: section 2 (".data"): compressed, but part of the program`},
		{"compressed, too short", with(func(s *objbuild.Section) { s.Flags, s.Data = objbuild.Compressed, compressed(9, 23) }), diag.ErrMalformed,
			`a.o: section 2 (".data"): compressed, but too short for a compression header`},
		{"compressed symbols", sectionField(".symtab", "sh_flags", objbuild.Compressed), diag.ErrUnsupported,
			`a.o: section 5 (".symtab"): a compressed symbol table`},
		{"allocated symbols", sectionField(".symtab", "sh_flags", objbuild.Alloc), diag.ErrUnsupported,
			`a.o: section 5 (".symtab"): a symbol table that is part of the program`},
		{"allocated relocations", sectionField(".rela.text", "sh_flags", objbuild.Alloc), diag.ErrUnsupported,
			`a.o: section 3 (".rela.text"): a relocation section that is part of the program`},
		{"CREL", with(func(s *objbuild.Section) { s.Type = 0x40000014 }), diag.ErrUnsupported,
			`a.o: section 2 (".data"): relocations in a compact form (SHT_RELR or SHT_CREL)`},
		{"ordered by itself", with(func(s *objbuild.Section) { s.Flags, s.Link = objbuild.Alloc|objbuild.LinkOrder, 2 }), diag.ErrMalformed,
			`a.o: section 2 (".data"): its SHF_LINK_ORDER leads back to itself`},
		{"ordered in a circle", objbuild.New(arch.AMD64).Text(".t", nil).Add(ordered(".a", 3)).Add(ordered(".b", 4)).Add(ordered(".c", 2)).Add(ordered(".d", 2)).Bytes(),
			diag.ErrMalformed, `a.o: section 2 (".a"): its SHF_LINK_ORDER leads back to itself`},
		{"ordered by a null section", base().Add(objbuild.Section{}).Add(ordered(".a", 3)).SetSection(".a", "sh_link", 3).Edit(func(im *objbuild.Image) {
			clear(im.Bytes[im.SectionHeaderAt(3):im.SectionHeaderAt(4)])
		}).Bytes(), diag.ErrMalformed, `a.o: section 4 (".a"): is ordered by section 3, a null section`},
	}
}
