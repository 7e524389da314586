// Package elfload turns the bytes of a file into a checked, immutable Object, and
// the bytes of an archive into its members.
//
// It is the only door through which object files enter klink, and nothing behind
// the door has to ask again: every offset, size, index, alignment, string and count
// in an Object was compared with the file and with what it refers to. Bytes that
// nobody vouches for never make it panic, hang or allocate out of proportion. Parsing
// a file of 64 MiB, whatever is in it, takes well under a second and at most 192 MiB
// besides the file; the limits below are what bounds it.
//
// What it does not do: it decompresses nothing until it is asked to (Unpack), applies
// nothing, knows no relocation type, and has no opinion on what can be linked (TLS,
// unknown section types, two definitions of one name are the linker's to refuse), except
// where nobody could make use of the answer.
//
// debug/elf stands behind the checker: elf.NewFile decodes the section headers only
// after their count, extents and compression headers were found to lie in the file,
// and it sees an ELF header from which everything else has been removed.
//
// Layer 1. Imports: diag, arch. Only this package imports debug/elf outside of tests.
// Concurrency: no state, no goroutines; all functions may be called from anywhere at
// the same time, and Objects may be shared freely.
//
// Memory: an Object's strings and slices are parts of the file's bytes. These must not
// change while the Object lives, so a file that others may write to has to be read,
// not mapped.
//
// Sources: gABI chapters 4 and 5 (System V generic ABI, 2013 draft), ar(5) in its GNU
// and BSD forms.
package elfload

import "klink/internal/diag"

// The limits of what is taken from a file. All are far above what compilers make; they
// keep the answer to a hostile file cheap and sums of 64-bit numbers from wrapping.
const (
	maxSections = 1 << 18   // section headers of one object
	maxSymbols  = 1 << 22   // symbols of one object
	maxSize     = 1 << 32   // of a section or a COMMON symbol in memory, bytes
	maxAlign    = 1 << 24   // of a section or a COMMON symbol, bytes
	maxName     = 64 << 10  // of one section, symbol or member, bytes
	maxNames    = 512 << 20 // of all names of one file together, bytes
	maxMembers  = 1 << 20   // members of one archive
)

// Parse checks raw, the bytes of one ET_REL file (ELFCLASS64, little-endian, x86-64
// or aarch64), and returns it as an Object. file is the name for messages, member the
// name inside of an archive or "".
//
// The Object keeps parts of raw, which must not change from now on. The error is, by
// errors.Is, diag.ErrMalformed (the file breaks the format) or diag.ErrUnsupported
// (klink does not take such files); it holds up to diag.MaxErrors root causes of the
// first stage that fails: ELF header, section extents, section headers, symbols, and
// last relocations and groups. Exactly one of the results is nil.
func Parse(file, member string, raw []byte) (*Object, error) {
	p := &parser{raw: raw, obj: &Object{File: file, Member: member, Size: len(raw)}}
	p.name = p.obj.Name()
	if err := p.readHeader(); err != nil {
		return nil, err
	}
	stages := []func(*parser) error{
		(*parser).readNames,
		(*parser).checkExtents,
		(*parser).readSections,
		(*parser).readSymbols,
	}
	for _, stage := range stages {
		if err := stage(p); err != nil {
			return nil, err
		}
		if err := p.errs.Err(); err != nil {
			return nil, err
		}
	}
	p.readGroups()
	p.checkLinkOrder()
	p.readRelocs()
	if err := p.errs.Err(); err != nil {
		return nil, err
	}
	return p.obj, nil
}

// parser is the state of one Parse. Each stage relies on what the ones before it
// have checked.
type parser struct {
	name string // of the object, for messages
	raw  []byte
	obj  *Object
	errs diag.List

	shoff    uint64 // file offset of the section headers
	shnum    int    // how many there are
	shstrndx int    // section that holds their names
	names    int    // bytes of names that may still be read

	symtab   int      // section index of the symbol table, 0 if there is none
	shndx    int      // section index of its SYMTAB_SHNDX, 0 if there is none
	unpacked []uint64 // by section, ch_size of the compressed ones; nil if there are none
}

// fail returns an error about the whole file.
func (p *parser) fail(kind error, format string, args ...any) error {
	return diag.New(kind, p.name, format, args...)
}

// failSection returns an error about section i.
func (p *parser) failSection(i int, kind error, format string, args ...any) error {
	e := diag.New(kind, p.name, format, args...)
	e.Text = p.section(i) + ": " + e.Text
	return e
}

// badSection notes an error about section i.
func (p *parser) badSection(i int, kind error, format string, args ...any) {
	p.errs.Add(p.failSection(i, kind, format, args...))
}

// full says that enough errors were found: a file may hold millions, and composing
// their messages is what would take the time.
func (p *parser) full() bool { return p.errs.Len() >= diag.MaxErrors }
