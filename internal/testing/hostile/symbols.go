package hostile

import (
	"strings"

	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// symbolTable spoils the symbol table and what belongs to it.
func symbolTable() []row {
	second := func(typ uint32, entsize uint64) *objbuild.Builder {
		return base().Add(objbuild.Section{Name: ".second", Type: typ, Entsize: entsize, Data: make([]byte, 48), Link: 7})
	}
	return []row{
		{"two", second(objbuild.Symtab, 24).Bytes(), diag.ErrMalformed, `a.o: section 6 (".symtab"): a second symbol table; the first is section 3`},
		{"entsize 0", sectionField(".symtab", "sh_entsize", 0), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): the entries of a symbol table take 24 bytes, not 0`},
		{"entsize 1", sectionField(".symtab", "sh_entsize", 1), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): the entries of a symbol table take 24 bytes, not 1`},
		{"odd size", sectionField(".symtab", "sh_size", 95), diag.ErrMalformed, `a.o: section 5 (".symtab"): its size, 0x5f, is no multiple of 24`},
		{"strings elsewhere", sectionField(".symtab", "sh_link", 1), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): its sh_link says that section 1, which is no string table, holds its names`},
		{"strings nowhere", sectionField(".symtab", "sh_link", 0), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): its sh_link says that section 0, which is no string table, holds its names`},
		{"strings NOBITS", sectionField(".strtab", "sh_type", 8), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): its sh_link says that section 6, which is no string table, holds its names`},
		{"strings without NUL", sectionField(".strtab", "sh_size", 6), diag.ErrMalformed,
			`a.o: section 6 (".strtab"): string table does not end in a NUL byte`},
		{"strings compressed", base().Undef(strings.Repeat("n", 32)).SetSection(".strtab", "sh_flags", objbuild.Compressed).Bytes(), diag.ErrUnsupported,
			`a.o: section 6 (".strtab"): symbol names are compressed`},
		{"strings empty", sectionField(".strtab", "sh_size", 0), diag.ErrMalformed, strings.Join([]string{
			`a.o: symbol 1: its name at 0x1 lies outside of the string table`,
			`a.o: symbol 2: its name at 0x3 lies outside of the string table`,
			`a.o: symbol 3: its name at 0x5 lies outside of the string table`,
		}, "\n")},
		{"no locals", sectionField(".symtab", "sh_info", 0), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): its sh_info says that 0 of 4 symbols are local ones`},
		{"too many locals", sectionField(".symtab", "sh_info", 5), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): its sh_info says that 5 of 4 symbols are local ones`},
		{"a local after the globals", sectionField(".symtab", "sh_info", 1), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): its sh_info says that the first 1 symbols are the local ones; symbol 1 ("l") is not in order`},
		{"a global among the locals", sectionField(".symtab", "sh_info", 3), diag.ErrMalformed,
			`a.o: section 5 (".symtab"): its sh_info says that the first 3 symbols are the local ones; symbol 2 ("f") is not in order`},
		{"symbol 0", symbolField("", "st_value", 1), diag.ErrMalformed, `a.o: section 5 (".symtab"): symbol 0 is not the null symbol`},
		{"two index tables", base().Xindex().Add(objbuild.Section{Name: ".second", Type: objbuild.SymtabShndx, Entsize: 4, Data: make([]byte, 16), Link: 6}).Bytes(),
			diag.ErrMalformed, `a.o: section 7 (".symtab_shndx"): a second section index table; the first is section 3`},
		{"index table of another", base().Xindex().SetSection(".symtab_shndx", "sh_link", 1).Bytes(), diag.ErrMalformed,
			`a.o: section 6 (".symtab_shndx"): section index table of section 1, which is not the symbol table`},
		{"short index table", base().Xindex().SetSection(".symtab_shndx", "sh_size", 12).Bytes(), diag.ErrMalformed,
			`a.o: section 6 (".symtab_shndx"): 3 section indices for 4 symbols`},
		{"index out of range", put32(base().Xindex(), ".symtab_shndx", 8, 1<<31), diag.ErrMalformed,
			`a.o: symbol 2 ("f"): its section index, 2147483648, names none of the 9 sections`},
		{"index 0", put32(base().Xindex(), ".symtab_shndx", 8, 0), diag.ErrMalformed,
			`a.o: symbol 2 ("f"): its section index, 0, names none of the 9 sections`},
		{"no index table", symbolField("f", "st_shndx", 0xffff), diag.ErrMalformed,
			`a.o: symbol 2 ("f"): its section index is in a SHT_SYMTAB_SHNDX section, but there is none`},
	}
}

// symbols spoils single symbols.
func symbols() []row {
	sym := func(s objbuild.Symbol) []byte { return base().Symbol(s).Bytes() }
	return []row{
		{"name out of range", symbolField("f", "st_name", 1<<31), diag.ErrMalformed,
			`a.o: symbol 2: its name at 0x80000000 lies outside of the string table`},
		{"name at the end", symbolField("f", "st_name", 7), diag.ErrMalformed,
			`a.o: symbol 2: its name at 0x7 lies outside of the string table`},
		{"name too long", base().Undef(strings.Repeat("n", 64<<10+1)).Bytes(), diag.ErrUnsupported,
			`a.o: symbol 4: its name at 0x7 is longer than klink's limit of 0x10000 bytes`},
		{"name shown escaped and cut", sym(objbuild.Symbol{Name: "\x1b" + strings.Repeat("n", 300), Bind: 9}), diag.ErrUnsupported,
			`a.o: symbol 4 ("\x1b` + strings.Repeat("n", 255) + `…"): unknown binding 9`},
		{"section out of range", symbolField("f", "st_shndx", 8), diag.ErrMalformed,
			`a.o: symbol 2 ("f"): its section index, 8, names none of the 8 sections`},
		{"reserved section", symbolField("f", "st_shndx", 0xff00), diag.ErrUnsupported, `a.o: symbol 2 ("f"): reserved section index 0xff00`},
		{"large COMMON of aarch64", arm64().Symbol(objbuild.Symbol{Name: "lc", Shndx: 0xff02, Value: 8, Size: 16, Bind: objbuild.Global, Type: objbuild.Object}).Bytes(), diag.ErrUnsupported,
			`a.o: symbol 1 ("lc"): reserved section index 0xff02`},
		{"value beyond", symbolField("f", "st_value", 17), diag.ErrMalformed,
			`a.o: symbol 2 ("f"): its value, 0x11, lies beyond the end of section 1 (".text"), 0x10`},
		{"value wraps", symbolField("f", "st_value", 1<<64-1), diag.ErrMalformed,
			`a.o: symbol 2 ("f"): its value, 0xffffffffffffffff, lies beyond the end of section 1 (".text"), 0x10`},
		{"size beyond", symbolField("f", "st_size", 17), diag.ErrMalformed,
			`a.o: symbol 2 ("f"): its 0x11 bytes at 0x0 go beyond the end of section 1 (".text"), 0x10`},
		{"size wraps", base().Global("w", 8, 0).SetSymbol("w", "st_size", 1<<64-1).Bytes(), diag.ErrMalformed,
			`a.o: symbol 4 ("w"): its 0xffffffffffffffff bytes at 0x8 go beyond the end of section 2 (".data"), 0x8`},
		{"binding", sym(objbuild.Symbol{Name: "x", Bind: 13}), diag.ErrUnsupported, `a.o: symbol 4 ("x"): unknown binding 13`},
		{"type", sym(objbuild.Symbol{Name: "x", Bind: 1, Type: 13}), diag.ErrUnsupported, `a.o: symbol 4 ("x"): unknown type 13`},
		{"visibility", sym(objbuild.Symbol{Name: "x", Bind: 1, Other: 4}), diag.ErrUnsupported, `a.o: symbol 4 ("x"): unknown bits in st_other, 0x4`},
		{"variant PCS on x86-64", sym(objbuild.Symbol{Name: "x", Bind: 1, Other: 0x80}), diag.ErrUnsupported, `a.o: symbol 4 ("x"): unknown bits in st_other, 0x80`},
		{"COMMON alignment 3", base().Common("c", 3, 4).Bytes(), diag.ErrMalformed, `a.o: symbol 4 ("c"): its alignment, 0x3, is not a power of two`},
		{"COMMON alignment 2^63", base().Common("c", 1<<63, 4).Bytes(), diag.ErrMalformed,
			`a.o: symbol 4 ("c"): its alignment, 0x8000000000000000, is more than klink's limit of 0x1000000`},
		{"COMMON size", base().Common("c", 8, 1<<64-1).Bytes(), diag.ErrUnsupported,
			`a.o: symbol 4 ("c"): its size, 0xffffffffffffffff, is more than klink's limit of 0x100000000`},
		{"COMMON local", sym(objbuild.Symbol{Name: "c", Shndx: objbuild.ShnCommon, Value: 4}), diag.ErrUnsupported,
			`a.o: symbol 2 ("c"): a COMMON symbol that is local`},
		{"section symbol, undefined", sym(objbuild.Symbol{Type: objbuild.SectionSym}), diag.ErrMalformed,
			`a.o: symbol 2: a section symbol without a section`},
		{"section symbol, global", sym(objbuild.Symbol{Type: objbuild.SectionSym, Section: ".text", Bind: 1}), diag.ErrMalformed,
			`a.o: symbol 4: a section symbol that is not local`},
		{"file symbol, global", sym(objbuild.Symbol{Name: "a.c", Type: objbuild.File, Shndx: objbuild.ShnAbs, Bind: 1}), diag.ErrMalformed,
			`a.o: symbol 4 ("a.c"): a file symbol that is not local`},
		{"no name", sym(objbuild.Symbol{Bind: 1}), diag.ErrMalformed, `a.o: symbol 4: not local, but without a name`},
		{"undefined local", sym(objbuild.Symbol{Name: "x"}), diag.ErrMalformed, `a.o: symbol 2 ("x"): undefined, but local`},
		{"in a null section", base().Add(objbuild.Section{Name: ".null"}).Global("x", 0, 0).Edit(func(im *objbuild.Image) {
			clear(im.Bytes[im.SectionHeaderAt(3):im.SectionHeaderAt(4)])
		}).Bytes(), diag.ErrMalformed, `a.o: symbol 4 ("x"): lies in section 3, a null section`},
		{"thread-local elsewhere", base().Global("x", 0, 0).As(objbuild.TLSSym).Bytes(), diag.ErrMalformed,
			`a.o: symbol 4 ("x"): thread-local, but section 2 (".data") is not`},
		{"thread-local number", base().Abs("x", 1).As(objbuild.TLSSym).Bytes(), diag.ErrMalformed, `a.o: symbol 4 ("x"): thread-local, but absolute`},
		{"several", base().Abs("x", 1).As(9).Common("y", 3, 3).Bytes(), diag.ErrUnsupported,
			"a.o: symbol 4 (\"x\"): unknown type 9\n" + `a.o: symbol 5 ("y"): its alignment, 0x3, is not a power of two`},
	}
}
