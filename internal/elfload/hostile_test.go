package elfload_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

// hostile is one wrong file and the whole message that it gets.
type hostile struct {
	name string
	raw  []byte
	kind error
	want string
}

// run parses each file as a.o.
func run(t *testing.T, cases []hostile) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o, err := elfload.Parse("a.o", "", c.raw)
			checkRefused(t, o, err, c.kind, c.want)
		})
	}
}

// base is the object that most cases spoil: sections 1 .text, 2 .data, 3 .rela.text,
// 4 .rela.data, 5 .symtab, 6 .strtab, 7 .shstrtab; symbols 1 l, 2 f, 3 u.
func base() *objbuild.Builder {
	return objbuild.New(arch.AMD64).
		Text(".text", make([]byte, 16)).Global("f", 0, 16).Local("l", 0, 0).Reloc(1, plt32, "u", -4).Reloc(6, plt32, "l", -4).
		Data(".data", make([]byte, 8)).Reloc(0, abs64, "f", 0).
		Undef("u")
}

func header(field string, value uint64) []byte { return base().SetHeader(field, value).Bytes() }

func sectionField(name, field string, value uint64) []byte {
	return base().SetSection(name, field, value).Bytes()
}

func symbolField(name, field string, value uint64) []byte {
	return base().SetSymbol(name, field, value).Bytes()
}

// with returns base with the current section, .data, changed.
func with(change func(*objbuild.Section)) []byte { return base().With(change).Bytes() }

// put32 overwrites a word of a section.
func put32(b *objbuild.Builder, section string, offset int, value uint32) []byte {
	return b.Edit(func(im *objbuild.Image) {
		binary.LittleEndian.PutUint32(im.Bytes[im.SectionAt(im.SectionIndex(section))+offset:], value)
	}).Bytes()
}

// tooBig is a number with all but its sign bit set.
const tooBig = 1<<63 - 1

func TestHostileHeader(t *testing.T) {
	raw := base().Bytes()
	run(t, []hostile{
		{"empty", nil, diag.ErrMalformed, `a.o: not an ELF file`},
		{"text", []byte("hello"), diag.ErrMalformed, `a.o: not an ELF file`},
		{"archive", objbuild.Archive(), diag.ErrUnsupported, `a.o: an archive, where an object is expected`},
		{"magic only", raw[:4], diag.ErrMalformed, `a.o: file of 4 bytes is too short for an ELF header`},
		{"63 bytes", raw[:63], diag.ErrMalformed, `a.o: file of 63 bytes is too short for an ELF header`},
		{"header only", raw[:64], diag.ErrMalformed, `a.o: section headers at 0x160 lie beyond the end of the file, 0x40`},
		{"cut headers", raw[:len(raw)-1], diag.ErrMalformed, `a.o: 8 section headers at 0x160 go beyond the end of the file, 0x35f`},
		{"32-bit", header("ei_class", 1), diag.ErrUnsupported, `a.o: a 32-bit ELF file; klink links 64-bit ones`},
		{"class", header("ei_class", 3), diag.ErrMalformed, `a.o: unknown ELF class 3`},
		{"big-endian", header("ei_data", 2), diag.ErrUnsupported, `a.o: a big-endian ELF file; klink links little-endian ones`},
		{"encoding", header("ei_data", 0), diag.ErrMalformed, `a.o: unknown ELF data encoding 0`},
		{"ident version", header("ei_version", 2), diag.ErrMalformed, `a.o: unknown ELF version 2`},
		{"version", header("e_version", 0), diag.ErrMalformed, `a.o: e_version is 0, not 1`},
		{"ET_EXEC", header("e_type", 2), diag.ErrUnsupported, `a.o: an executable (ET_EXEC); klink links relocatable objects (ET_REL)`},
		{"ET_DYN", header("e_type", 3), diag.ErrUnsupported, `a.o: a shared object (ET_DYN); klink links relocatable objects (ET_REL)`},
		{"ET_CORE", header("e_type", 4), diag.ErrUnsupported, `a.o: a core file (ET_CORE); klink links relocatable objects (ET_REL)`},
		{"type", header("e_type", 0xfe00), diag.ErrUnsupported, `a.o: an ELF file of type 65024; klink links relocatable objects (ET_REL)`},
		{"machine", header("e_machine", 243), diag.ErrUnsupported, `a.o: machine 243 (EM_RISCV); klink links x86-64 and aarch64`},
		{"ehsize", header("e_ehsize", 52), diag.ErrMalformed, `a.o: e_ehsize is 52, not 64`},
		{"shentsize", header("e_shentsize", 40), diag.ErrMalformed, `a.o: e_shentsize is 40, not 64`},
		{"no headers", header("e_shoff", 0), diag.ErrMalformed, `a.o: no section headers`},
		{"shoff in header", header("e_shoff", 8), diag.ErrMalformed, `a.o: section headers at 0x8 overlap the ELF header`},
		{"shoff wraps", header("e_shoff", 1<<64-64), diag.ErrMalformed, `a.o: section headers at 0xffffffffffffffc0 lie beyond the end of the file, 0x360`},
		{"shoff at data", header("e_shoff", 0x64), diag.ErrMalformed, `a.o: section 0 is not the null section`},
		{"too many", header("e_shnum", 0xfeff), diag.ErrMalformed, `a.o: 65279 section headers at 0x160 go beyond the end of the file, 0x360`},
		{"shnum 0", header("e_shnum", 0), diag.ErrMalformed, `a.o: e_shnum is 0, but the count in section 0 is only 0`},
		{"shnum 0, 2^32", base().SetHeader("e_shnum", 0).SetSection("", "sh_size", 1<<32).Bytes(), diag.ErrMalformed,
			`a.o: 4294967296 section headers at 0x160 go beyond the end of the file, 0x360`},
		{"shnum 0, 2^62", base().SetHeader("e_shnum", 0).SetSection("", "sh_size", 1<<62).Bytes(), diag.ErrMalformed,
			`a.o: 4611686018427387904 section headers at 0x160 go beyond the end of the file, 0x360`},
		{"no names", header("e_shstrndx", 0), diag.ErrMalformed, `a.o: section name table is said to be section 0 of 8`},
		{"names out of range", header("e_shstrndx", 8), diag.ErrMalformed, `a.o: section name table is said to be section 8 of 8`},
		{"names reserved", header("e_shstrndx", 0xff01), diag.ErrMalformed, `a.o: section name table is said to be section 65281 of 8`},
		{"names XINDEX", base().SetHeader("e_shstrndx", 0xffff).SetSection("", "sh_link", 1<<32-1).Bytes(), diag.ErrMalformed,
			`a.o: section name table is said to be section 4294967295 of 8`},
		{"names not strings", header("e_shstrndx", 5), diag.ErrMalformed,
			`a.o: section 5: is said to hold the section names, but its type is SHT_SYMTAB, not SHT_STRTAB`},
		{"names NOBITS", sectionField(".shstrtab", "sh_type", 8), diag.ErrMalformed,
			`a.o: section 7: is said to hold the section names, but its type is SHT_NOBITS, not SHT_STRTAB`},
		{"names compressed", sectionField(".shstrtab", "sh_flags", 0x800), diag.ErrUnsupported, `a.o: section 7: section names are compressed`},
		{"names beyond the end", sectionField(".shstrtab", "sh_size", tooBig), diag.ErrMalformed,
			`a.o: section 7: section names, 0x7fffffffffffffff bytes at 0x120, go beyond the end of the file, 0x360`},
		{"names without NUL", sectionField(".shstrtab", "sh_size", 10), diag.ErrMalformed, `a.o: section 7: string table does not end in a NUL byte`},
	})
}

func TestHostileSections(t *testing.T) {
	text := objbuild.Section{Name: ".x", Type: objbuild.Progbits, Data: make([]byte, 8)}
	run(t, []hostile{
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
	})
}

// ordered is an SHF_LINK_ORDER section.
func ordered(name string, link uint32) objbuild.Section {
	return objbuild.Section{Name: name, Type: objbuild.Progbits, Flags: objbuild.Alloc | objbuild.LinkOrder, Data: make([]byte, 4), Link: link}
}

func TestHostileSymbolTable(t *testing.T) {
	second := func(typ uint32, entsize uint64) *objbuild.Builder {
		return base().Add(objbuild.Section{Name: ".second", Type: typ, Entsize: entsize, Data: make([]byte, 48), Link: 7})
	}
	run(t, []hostile{
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
	})
}

func TestHostileSymbols(t *testing.T) {
	sym := func(s objbuild.Symbol) []byte { return base().Symbol(s).Bytes() }
	run(t, []hostile{
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
		{"large COMMON of aarch64", objbuild.New(arch.ARM64).Symbol(largeCommon).Bytes(), diag.ErrUnsupported,
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
	})
}

func TestHostileRelocs(t *testing.T) {
	info := func(i uint64) []byte { return sectionField(".rela.data", "sh_info", i) }
	run(t, []hostile{
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
	})
}

func TestHostileGroups(t *testing.T) {
	// Section 5 is the group of 1 .text, 3 .rela.text, 2 .data, 4 .rela.data; 6 .symtab.
	grouped := func() *objbuild.Builder { return base().Group("f", true, ".text", ".data") }
	member := func(m uint32) []byte { return put32(grouped(), ".group", 12, m) }
	run(t, []hostile{
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
	})
}

func lines(l ...string) string { return strings.Join(l, "\n") }

// TestManyErrors: a file that is wrong everywhere gets a bounded answer.
func TestManyErrors(t *testing.T) {
	b := base()
	for range 1000 {
		b.Symbol(objbuild.Symbol{Name: "x", Bind: 13})
	}
	_, err := elfload.Parse("a.o", "", b.Bytes())
	if n := len(diag.Lines(err)); n != diag.MaxErrors {
		t.Errorf("%d lines", n)
	}
}
