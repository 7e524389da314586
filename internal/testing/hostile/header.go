package hostile

import (
	"klink/internal/diag"
)

// header spoils what the ELF header says.
func header() []row {
	raw := base().Bytes()
	return []row{
		{"empty", nil, diag.ErrMalformed, `a.o: not an ELF file`},
		{"text", []byte("hello"), diag.ErrMalformed, `a.o: not an ELF file`},
		{"magic only", raw[:4], diag.ErrMalformed, `a.o: file of 4 bytes is too short for an ELF header`},
		{"63 bytes", raw[:63], diag.ErrMalformed, `a.o: file of 63 bytes is too short for an ELF header`},
		{"header only", raw[:64], diag.ErrMalformed, `a.o: section headers at 0x160 lie beyond the end of the file, 0x40`},
		{"cut headers", raw[:len(raw)-1], diag.ErrMalformed, `a.o: 8 section headers at 0x160 go beyond the end of the file, 0x35f`},
		{"32-bit", headerField("ei_class", 1), diag.ErrUnsupported, `a.o: a 32-bit ELF file; klink links 64-bit ones`},
		{"class", headerField("ei_class", 3), diag.ErrMalformed, `a.o: unknown ELF class 3`},
		{"big-endian", headerField("ei_data", 2), diag.ErrUnsupported, `a.o: a big-endian ELF file; klink links little-endian ones`},
		{"encoding", headerField("ei_data", 0), diag.ErrMalformed, `a.o: unknown ELF data encoding 0`},
		{"ident version", headerField("ei_version", 2), diag.ErrMalformed, `a.o: unknown ELF version 2`},
		{"version", headerField("e_version", 0), diag.ErrMalformed, `a.o: e_version is 0, not 1`},
		{"ET_EXEC", headerField("e_type", 2), diag.ErrUnsupported, `a.o: an executable (ET_EXEC); klink links relocatable objects (ET_REL)`},
		{"ET_DYN", headerField("e_type", 3), diag.ErrUnsupported, `a.o: a shared object (ET_DYN); klink links relocatable objects (ET_REL)`},
		{"ET_CORE", headerField("e_type", 4), diag.ErrUnsupported, `a.o: a core file (ET_CORE); klink links relocatable objects (ET_REL)`},
		{"type", headerField("e_type", 0xfe00), diag.ErrUnsupported, `a.o: an ELF file of type 65024; klink links relocatable objects (ET_REL)`},
		{"machine", headerField("e_machine", 243), diag.ErrUnsupported, `a.o: machine 243 (EM_RISCV); klink links x86-64 and aarch64`},
		{"ehsize", headerField("e_ehsize", 52), diag.ErrMalformed, `a.o: e_ehsize is 52, not 64`},
		{"shentsize", headerField("e_shentsize", 40), diag.ErrMalformed, `a.o: e_shentsize is 40, not 64`},
		{"no headers", headerField("e_shoff", 0), diag.ErrMalformed, `a.o: no section headers`},
		{"shoff in header", headerField("e_shoff", 8), diag.ErrMalformed, `a.o: section headers at 0x8 overlap the ELF header`},
		{"shoff wraps", headerField("e_shoff", 1<<64-64), diag.ErrMalformed, `a.o: section headers at 0xffffffffffffffc0 lie beyond the end of the file, 0x360`},
		{"shoff at data", headerField("e_shoff", 0x64), diag.ErrMalformed, `a.o: section 0 is not the null section`},
		{"too many", headerField("e_shnum", 0xfeff), diag.ErrMalformed, `a.o: 65279 section headers at 0x160 go beyond the end of the file, 0x360`},
		{"shnum 0", headerField("e_shnum", 0), diag.ErrMalformed, `a.o: e_shnum is 0, but the count in section 0 is only 0`},
		{"shnum 0, 2^32", base().SetHeader("e_shnum", 0).SetSection("", "sh_size", 1<<32).Bytes(), diag.ErrMalformed,
			`a.o: 4294967296 section headers at 0x160 go beyond the end of the file, 0x360`},
		{"shnum 0, 2^62", base().SetHeader("e_shnum", 0).SetSection("", "sh_size", 1<<62).Bytes(), diag.ErrMalformed,
			`a.o: 4611686018427387904 section headers at 0x160 go beyond the end of the file, 0x360`},
		{"no names", headerField("e_shstrndx", 0), diag.ErrMalformed, `a.o: section name table is said to be section 0 of 8`},
		{"names out of range", headerField("e_shstrndx", 8), diag.ErrMalformed, `a.o: section name table is said to be section 8 of 8`},
		{"names reserved", headerField("e_shstrndx", 0xff01), diag.ErrMalformed, `a.o: section name table is said to be section 65281 of 8`},
		{"names XINDEX", base().SetHeader("e_shstrndx", 0xffff).SetSection("", "sh_link", 1<<32-1).Bytes(), diag.ErrMalformed,
			`a.o: section name table is said to be section 4294967295 of 8`},
		{"names not strings", headerField("e_shstrndx", 5), diag.ErrMalformed,
			`a.o: section 5: is said to hold the section names, but its type is SHT_SYMTAB, not SHT_STRTAB`},
		{"names NOBITS", sectionField(".shstrtab", "sh_type", 8), diag.ErrMalformed,
			`a.o: section 7: is said to hold the section names, but its type is SHT_NOBITS, not SHT_STRTAB`},
		{"names compressed", sectionField(".shstrtab", "sh_flags", 0x800), diag.ErrUnsupported, `a.o: section 7: section names are compressed`},
		{"names beyond the end", sectionField(".shstrtab", "sh_size", tooBig), diag.ErrMalformed,
			`a.o: section 7: section names, 0x7fffffffffffffff bytes at 0x120, go beyond the end of the file, 0x360`},
		{"names without NUL", sectionField(".shstrtab", "sh_size", 10), diag.ErrMalformed, `a.o: section 7: string table does not end in a NUL byte`},
	}
}
