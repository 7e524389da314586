package objbuild

import (
	"encoding/binary"
	"fmt"
)

// Field is one field of a structure in a file: its ELF name, and where it is from the
// structure's start, bytes.
type Field struct {
	Name      string
	Off, Size int
}

// The fields of Elf64_Ehdr, Elf64_Shdr, Elf64_Sym and Elf64_Rela; r_info is also there in
// its halves, as r_type and r_sym.
var (
	HeaderFields = []Field{
		{"ei_mag", 0, 4}, {"ei_class", 4, 1}, {"ei_data", 5, 1}, {"ei_version", 6, 1}, {"ei_osabi", 7, 1},
		{"e_type", 16, 2}, {"e_machine", 18, 2}, {"e_version", 20, 4}, {"e_entry", 24, 8}, {"e_phoff", 32, 8},
		{"e_shoff", 40, 8}, {"e_flags", 48, 4}, {"e_ehsize", 52, 2}, {"e_phentsize", 54, 2}, {"e_phnum", 56, 2},
		{"e_shentsize", 58, 2}, {"e_shnum", 60, 2}, {"e_shstrndx", 62, 2},
	}
	SectionFields = []Field{
		{"sh_name", 0, 4}, {"sh_type", 4, 4}, {"sh_flags", 8, 8}, {"sh_addr", 16, 8}, {"sh_offset", 24, 8},
		{"sh_size", 32, 8}, {"sh_link", 40, 4}, {"sh_info", 44, 4}, {"sh_addralign", 48, 8}, {"sh_entsize", 56, 8},
	}
	SymbolFields = []Field{
		{"st_name", 0, 4}, {"st_info", 4, 1}, {"st_other", 5, 1}, {"st_shndx", 6, 2}, {"st_value", 8, 8}, {"st_size", 16, 8},
	}
	RelocFields = []Field{
		{"r_offset", 0, 8}, {"r_type", 8, 4}, {"r_sym", 12, 4}, {"r_addend", 16, 8},
	}
)

// Image is a finished file and where things are in it.
type Image struct {
	Bytes    []byte
	Sections []string // names by section header index
	Symbols  []string // names by symbol index; of section symbols the section's name
	shoff    int
	offsets  []int             // file offset of each section's bytes
	relocs   map[string][2]int // section → its relocation section and entry size
}

// SectionIndex returns the header index of the section of that name (the first, if there
// are several). Builder names those it makes .rela.X or .rel.X, .group, .symtab,
// .symtab_shndx, .strtab, .shstrtab.
func (im *Image) SectionIndex(name string) int { return indexOf("section", im.Sections, name) }

// SymbolIndex returns the index of the symbol of that name, or of a section's symbol.
func (im *Image) SymbolIndex(name string) int { return indexOf("symbol", im.Symbols, name) }

func indexOf(what string, names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	panic(fmt.Sprintf("objbuild: no %s %q", what, name))
}

// SectionHeaderAt returns the file offset of section header i.
func (im *Image) SectionHeaderAt(i int) int { return im.shoff + 64*i }

// SectionAt returns the file offset of section i's bytes.
func (im *Image) SectionAt(i int) int { return im.offsets[i] }

// SymbolAt returns the file offset of symbol i.
func (im *Image) SymbolAt(i int) int { return im.offsets[im.SectionIndex(".symtab")] + 24*i }

// RelocAt returns the file offset of relocation n of the named section.
func (im *Image) RelocAt(section string, n int) int {
	r, ok := im.relocs[section]
	if !ok {
		panic(fmt.Sprintf("objbuild: section %q has no relocations", section))
	}
	return im.offsets[r[0]] + r[1]*n
}

// Put writes value, little-endian, into field f of the structure at file offset at;
// bytes that do not fit the field are dropped.
func (im *Image) Put(at int, f Field, value uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], value)
	copy(im.Bytes[at+f.Off:at+f.Off+f.Size], b[:])
}

// Get returns what Put would have written.
func (im *Image) Get(at int, f Field) uint64 {
	var b [8]byte
	copy(b[:], im.Bytes[at+f.Off:at+f.Off+f.Size])
	return binary.LittleEndian.Uint64(b[:])
}

// Lookup returns the field of that name: Lookup(SectionFields, "sh_offset").
func Lookup(fields []Field, name string) Field {
	for _, f := range fields {
		if f.Name == name {
			return f
		}
	}
	panic(fmt.Sprintf("objbuild: no field %q", name))
}

// apply obeys one Set call.
func (im *Image) apply(p patch) {
	switch p.table {
	case "header":
		im.Put(0, Lookup(HeaderFields, p.field), p.value)
	case "section":
		im.Put(im.SectionHeaderAt(im.SectionIndex(p.name)), Lookup(SectionFields, p.field), p.value)
	case "symbol":
		im.Put(im.SymbolAt(im.SymbolIndex(p.name)), Lookup(SymbolFields, p.field), p.value)
	case "reloc":
		im.Put(im.RelocAt(p.name, p.n), Lookup(RelocFields, p.field), p.value)
	}
}
