package hostile

import (
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// relocs spoils relocation sections and their entries.
func relocs() []row {
	info := func(i uint64) []byte { return sectionField(".rela.data", "sh_info", i) }
	return []row{
		{"for section 0", info(0), diag.ErrMalformed, `a.o: section 4 (".rela.data"): its sh_info says that it applies to section 0 of 8`},
		{"for no section", info(8), diag.ErrMalformed, `a.o: section 4 (".rela.data"): its sh_info says that it applies to section 8 of 8`},
		{"for itself", info(4), diag.ErrMalformed,
			`a.o: section 4 (".rela.data"): it applies to section 4 (".rela.data"), whose type is SHT_RELA`},
		{"for the symbols", info(5), diag.ErrMalformed, `a.o: section 4 (".rela.data"): it applies to section 5 (".symtab"), whose type is SHT_SYMTAB`},
		{"for strings", info(6), diag.ErrMalformed, `a.o: section 4 (".rela.data"): it applies to section 6 (".strtab"), whose type is SHT_STRTAB`},
		{"for NOBITS", base().Bss(".bss", 8).Reloc(0, abs64, "u", 0).Bytes(), diag.ErrMalformed,
			`a.o: section 6 (".rela.bss"): it applies to section 3 (".bss"), whose type is SHT_NOBITS`},
		{"two for one", info(1), diag.ErrMalformed,
			`a.o: section 4 (".rela.data"): section 1 (".text") has relocations already, in section 3`},
		{"RELA and REL for one", base().Rel().SetSection(".rel.data", "sh_info", 1).Bytes(), diag.ErrMalformed,
			`a.o: section 4 (".rel.data"): section 1 (".text") has relocations already, in section 3`},
		{"other symbols", sectionField(".rela.data", "sh_link", 2), diag.ErrMalformed,
			`a.o: section 4 (".rela.data"): its sh_link says that its symbols are in section 2, which is not the symbol table`},
		{"no symbols", objbuild.New(arch.AMD64).Text(".text", make([]byte, 8)).Reloc(0, abs64, "", 0).NoSymtab().Bytes(), diag.ErrMalformed,
			`a.o: section 2 (".rela.text"): its sh_link says that its symbols are in section 3, which is not the symbol table`},
		{"entsize 0", sectionField(".rela.data", "sh_entsize", 0), diag.ErrMalformed,
			`a.o: section 4 (".rela.data"): the entries of a relocation section take 24 bytes, not 0`},
		{"entsize of REL", sectionField(".rela.data", "sh_entsize", 16), diag.ErrMalformed,
			`a.o: section 4 (".rela.data"): the entries of a relocation section take 24 bytes, not 16`},
		{"odd size", sectionField(".rela.data", "sh_size", 23), diag.ErrMalformed,
			`a.o: section 4 (".rela.data"): its size, 0x17, is no multiple of 24`},
		{"place at the end", base().Reloc(8, abs64, "u", 0).Bytes(), diag.ErrMalformed,
			`a.o:(.data+0x8): relocation 1 of section 4 (".rela.data"): its place lies beyond the end of section 2 (".data"), 0x8`},
		{"place -1", base().SetReloc(".text", 1, "r_offset", 1<<64-1).Bytes(), diag.ErrMalformed,
			`a.o:(.text+0xffffffffffffffff): relocation 1 of section 3 (".rela.text"): its place lies beyond the end of section 1 (".text"), 0x10`},
		{"place in nothing", objbuild.New(arch.AMD64).Text(".text", nil).Reloc(0, 0, "", 0).Bytes(), diag.ErrMalformed,
			`a.o:(.text+0x0): relocation 0 of section 2 (".rela.text"): its place lies beyond the end of section 1 (".text"), 0x0`},
		{"symbol out of range", base().SetReloc(".text", 0, "r_sym", 4).Bytes(), diag.ErrMalformed,
			`a.o:(.text+0x1): relocation 0 of section 3 (".rela.text"): its symbol, 4, is none of the 4`},
		{"symbol -1", base().SetReloc(".text", 0, "r_sym", 1<<32-1).Bytes(), diag.ErrMalformed,
			`a.o:(.text+0x1): relocation 0 of section 3 (".rela.text"): its symbol, 4294967295, is none of the 4`},
		{"in REL", base().Rel().Reloc(9, abs64, "u", 0).Bytes(), diag.ErrMalformed,
			`a.o:(.data+0x9): relocation 1 of section 4 (".rel.data"): its place lies beyond the end of section 2 (".data"), 0x8`},
		{"in debug data", base().Debug(".debug_line", make([]byte, 4)).Reloc(4, abs64, "u", 0).Bytes(), diag.ErrMalformed,
			`a.o:(.debug_line+0x4): relocation 0 of section 6 (".rela.debug_line"): its place lies beyond the end of section 3 (".debug_line"), 0x4`},
		{"once a section", base().Reloc(8, abs64, "u", 0).Reloc(9, abs64, "u", 0).SetReloc(".text", 0, "r_sym", 9).Bytes(), diag.ErrMalformed,
			"a.o:(.data+0x8): relocation 1 of section 4 (\".rela.data\"): its place lies beyond the end of section 2 (\".data\"), 0x8\n" +
				`a.o:(.text+0x1): relocation 0 of section 3 (".rela.text"): its symbol, 9, is none of the 4`},
	}
}

// groups spoils section groups.
func groups() []row {
	// Section 5 is the group of 1 .text, 3 .rela.text, 2 .data, 4 .rela.data; 6 .symtab.
	grouped := func() *objbuild.Builder { return base().Group("f", true, ".text", ".data") }
	member := func(m uint32) []byte { return put32(grouped(), ".group", 12, m) }
	return []row{
		{"itself", member(5), diag.ErrMalformed, lines(
			`a.o: section 2 (".data"): marked as a group's member (SHF_GROUP), but no group lists it`,
			`a.o: section 5 (".group"): a group that is its own member`)},
		{"out of range", member(9), diag.ErrMalformed, lines(
			`a.o: section 2 (".data"): marked as a group's member (SHF_GROUP), but no group lists it`,
			`a.o: section 5 (".group"): its member 9 is none of the 9 sections`)},
		{"null", member(0), diag.ErrMalformed, lines(
			`a.o: section 2 (".data"): marked as a group's member (SHF_GROUP), but no group lists it`,
			`a.o: section 5 (".group"): its member 0 is none of the 9 sections`)},
		{"twice", member(1), diag.ErrMalformed, lines(
			`a.o: section 2 (".data"): marked as a group's member (SHF_GROUP), but no group lists it`,
			`a.o: section 5 (".group"): its member section 1 (".text") is listed twice, here or by another group`)},
		{"the symbols", member(6), diag.ErrMalformed, lines(
			`a.o: section 2 (".data"): marked as a group's member (SHF_GROUP), but no group lists it`,
			`a.o: section 5 (".group"): its member section 6 (".symtab") has type SHT_SYMTAB`)},
		{"shared", grouped().Group("l", true, ".data").Bytes(), diag.ErrMalformed, lines(
			`a.o: section 6 (".group"): its member section 2 (".data") is listed twice, here or by another group`,
			`a.o: section 6 (".group"): its member section 4 (".rela.data") is listed twice, here or by another group`)},
		{"a group", put32(grouped().Group("l", true), ".group", 12, 6), diag.ErrMalformed, lines(
			`a.o: section 2 (".data"): marked as a group's member (SHF_GROUP), but no group lists it`,
			`a.o: section 5 (".group"): its member section 6 (".group") has type SHT_GROUP`)},
		{"odd size", grouped().SetSection(".group", "sh_size", 19).Bytes(), diag.ErrMalformed,
			`a.o: section 5 (".group"): its size, 0x13, is no multiple of 4`},
		{"no flag word", base().Group("f", true).SetSection(".group", "sh_size", 0).Bytes(), diag.ErrMalformed,
			`a.o: section 5 (".group"): a group without a flag word`},
		{"entsize", grouped().SetSection(".group", "sh_entsize", 1).Bytes(), diag.ErrMalformed,
			`a.o: section 5 (".group"): the entries of a group take 4 bytes, not 1`},
		{"flags", put32(grouped(), ".group", 0, 3), diag.ErrUnsupported, `a.o: section 5 (".group"): unknown group flags 0x3`},
		{"signature out of range", grouped().SetSection(".group", "sh_info", 4).Bytes(), diag.ErrMalformed,
			`a.o: section 5 (".group"): its sh_info says that symbol 4 of 4 names the group`},
		{"signature 0", grouped().SetSection(".group", "sh_info", 0).Bytes(), diag.ErrMalformed,
			`a.o: section 5 (".group"): its sh_info says that symbol 0 of 4 names the group`},
		{"signature without a name", base().Local("", 0, 0).Group("f", true, ".text").SetSection(".group", "sh_info", 2).Bytes(), diag.ErrMalformed,
			`a.o: section 5 (".group"): symbol 2, which names the group, has no name`},
		{"signature elsewhere", grouped().SetSection(".group", "sh_link", 1).Bytes(), diag.ErrMalformed,
			`a.o: section 5 (".group"): its sh_link says that section 1, which is not the symbol table, names the group`},
		{"no group", with(func(s *objbuild.Section) { s.Flags |= objbuild.InGroup }), diag.ErrMalformed,
			`a.o: section 2 (".data"): marked as a group's member (SHF_GROUP), but no group lists it`},
	}
}
