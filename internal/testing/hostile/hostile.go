// Package hostile makes files that lie: every shape of a wrong or unreasonable object that
// klink must answer cleanly, with the answer. The parser's, the linker's, the host's and the
// command's tests all go through the same files, so that what one layer refuses no other
// layer has to.
//
// Files are those of a few kilobytes, one fault each; Big makes those that exhaust, of up to
// 64 MiB; Mutants changes any object field by field. All are made here, by package objbuild:
// none is anybody's.
//
// Imported by tests only. No state: what it returns is the caller's.
package hostile

import (
	"encoding/binary"
	"strings"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

// Stage says which layer refuses a file.
type Stage int

// The stages, in the order in which a file comes to them.
const (
	Parse Stage = iota // elfload.Parse
	Link               // link.Gather, or Apply, whatever else there is
	Load               // a host, of 16 MiB at most
	Sound              // nobody: strange, and allowed
)

// File is one file.
type File struct {
	Name  string // unique in Files: "relocs/place -1"
	Raw   []byte
	Kind  error  // the sentinel of package diag that the refusal is; nil if Sound
	Want  string // the whole message about the file as a.o, lines joined by newlines
	Stage Stage
}

// Machine returns the machine that the file says it is for: any number.
func (f *File) Machine() arch.Machine {
	if len(f.Raw) < 20 {
		return 0
	}
	return arch.Machine(binary.LittleEndian.Uint16(f.Raw[18:]))
}

// Files returns all of them.
func Files() (all []File) {
	for _, group := range []struct {
		name  string
		stage Stage
		rows  []row
	}{
		{"header", Parse, header()}, {"sections", Parse, sections()}, {"symbol table", Parse, symbolTable()}, {"symbols", Parse, symbols()},
		{"relocs", Parse, relocs()}, {"groups", Parse, groups()},
		{"names", Link, names()}, {"places", Link, places()}, {"space", Link, space()},
		{"host", Load, hosts()}, {"sound", Sound, sound()},
	} {
		for _, r := range group.rows {
			all = append(all, File{Name: group.name + "/" + r.name, Raw: r.raw, Kind: r.kind, Want: r.want, Stage: group.stage})
		}
	}
	return all
}

// row is one file of a group, as its table has it.
type row struct {
	name string
	raw  []byte
	kind error
	want string
}

// Relocation types (the psABIs' numbers).
const (
	abs64 = 1
	pc32  = 2
	plt32 = 4
	gotx  = 41

	armAbs64  = 257
	armTest14 = 279
	armCond19 = 280
	armJump26 = 282
	armCall26 = 283
	armLdst64 = 286
)

// base is the object that most files spoil: sections 1 .text, 2 .data, 3 .rela.text,
// 4 .rela.data, 5 .symtab, 6 .strtab, 7 .shstrtab; symbols 1 l, 2 f, 3 u.
func base() *objbuild.Builder {
	return objbuild.New(arch.AMD64).
		Text(".text", make([]byte, 16)).Global("f", 0, 16).Local("l", 0, 0).Reloc(1, plt32, "u", -4).Reloc(6, plt32, "l", -4).
		Data(".data", make([]byte, 8)).Reloc(0, abs64, "f", 0).
		Undef("u")
}

func headerField(field string, value uint64) []byte { return base().SetHeader(field, value).Bytes() }

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

func lines(l ...string) string { return strings.Join(l, "\n") }

// ordered is an SHF_LINK_ORDER section.
func ordered(name string, link uint32) objbuild.Section {
	return objbuild.Section{Name: name, Type: objbuild.Progbits, Flags: objbuild.Alloc | objbuild.LinkOrder, Data: make([]byte, 4), Link: link}
}

// compressed returns n bytes that begin with a compression header of a zlib stream that
// expands to size bytes.
func compressed(size uint64, n int) []byte {
	b := make([]byte, max(n, 24))
	b[0] = 1 // ELFCOMPRESS_ZLIB
	binary.LittleEndian.PutUint64(b[8:], size)
	return b[:n]
}

// Is says that a message about the file as a.o is the wanted one. One that ends in a space
// or in "0x" is a beginning: what follows depends on where things lie.
func (f *File) Is(message string) bool {
	if strings.HasSuffix(f.Want, " ") || strings.HasSuffix(f.Want, "0x") {
		return strings.HasPrefix(message, f.Want)
	}
	return message == f.Want
}
