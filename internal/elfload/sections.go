package elfload

import (
	"debug/elf"
	"fmt"
	"math/bits"

	"klink/internal/diag"
)

// Section types that klink only knows in order to refuse them: relocations in forms
// that, unlike an unknown section, must not be passed over in silence.
const (
	relrType SectionType = 19         // SHT_RELR
	crelType SectionType = 0x40000014 // SHT_CREL
)

// table says what is fixed about the sections that klink itself reads.
type table struct {
	what    string // for messages
	entsize uint64 // bytes of an entry
}

// tables has a row for each type of section that is made of entries (gABI 4.9). They
// are never part of the program, so none may be allocated or compressed.
var tables = map[SectionType]table{
	Symtab:      {"symbol table", symbolSize},
	Rela:        {"relocation section", relaSize},
	Rel:         {"relocation section", relSize},
	GroupType:   {"group", 4},
	SymtabShndx: {"section index table", 4},
}

// section returns section i as messages show it: `section 5 (".text")`. It may be
// called before the names are known.
func (p *parser) section(i int) string {
	if i < len(p.obj.Sections) && p.obj.Sections[i].Name != "" {
		return fmt.Sprintf("section %d (%s)", i, diag.Quote(p.obj.Sections[i].Name))
	}
	return fmt.Sprintf("section %d", i)
}

// readNames finds all section names, so that all later messages can show them.
func (p *parser) readNames() error {
	i := p.shstrndx
	x := p.extent(i)
	size := uint64(len(p.raw))
	switch {
	case x.typ != Strtab:
		return p.failSection(i, diag.ErrMalformed, "is said to hold the section names, but its type is %v, not SHT_STRTAB", elf.SectionType(x.typ))
	case x.flags&Compressed != 0:
		return p.failSection(i, diag.ErrUnsupported, "section names are compressed")
	case x.offset > size || x.size > size-x.offset:
		return p.failSection(i, diag.ErrMalformed, "section names, %#x bytes at %#x, go beyond the end of the file, %#x", x.size, x.offset, size)
	}
	tab := p.raw[x.offset : x.offset+x.size]
	if len(tab) > 0 && tab[len(tab)-1] != 0 {
		return p.failSection(i, diag.ErrMalformed, "string table does not end in a NUL byte")
	}
	p.obj.Sections = make([]Section, p.shnum)
	p.names = maxNames
	for i := 1; i < p.shnum && !p.full(); i++ {
		off := p.extent(i).name
		name, bad := nameAt(tab, off, &p.names)
		if bad != nameOK {
			p.badSection(i, kindOf(bad), "its name at %#x %v", off, bad)
		}
		p.obj.Sections[i].Name = name
	}
	return nil
}

// kindOf returns the kind of error that a bad name is.
func kindOf(b badName) error {
	if b == nameTooLong || b == namesTooMany {
		return diag.ErrUnsupported
	}
	return diag.ErrMalformed
}

// checkExtents compares where each section's bytes are with the file.
func (p *parser) checkExtents() error {
	size := uint64(len(p.raw))
	total := uint64(0)
	for i := 0; i < p.shnum && !p.full(); i++ {
		x := p.extent(i)
		switch {
		case x.typ == Null:
			// Section 0 may hold the section count in its size.
			if x.offset != 0 || x.flags != 0 || x.size > maxSize {
				p.badSection(i, diag.ErrMalformed, "a null section with contents")
			}
		case x.typ == Nobits:
			if x.size > maxSize {
				p.badSection(i, diag.ErrUnsupported, "its size, %#x, is more than klink's limit of %#x", x.size, uint64(maxSize))
			}
			if x.offset > 1<<63-1 {
				p.badSection(i, diag.ErrMalformed, "its offset, %#x, is negative", x.offset)
			}
			if x.flags&Compressed != 0 {
				p.badSection(i, diag.ErrMalformed, "compressed, but without bytes in the file")
			}
		case x.offset > size:
			p.badSection(i, diag.ErrMalformed, "its offset, %#x, lies beyond the end of the file, %#x", x.offset, size)
		case x.size > size-x.offset:
			p.badSection(i, diag.ErrMalformed, "its %#x bytes at %#x go beyond the end of the file, %#x", x.size, x.offset, size)
		case x.size > maxSize:
			p.badSection(i, diag.ErrUnsupported, "its size, %#x, is more than klink's limit of %#x", x.size, uint64(maxSize))
		case x.flags&Compressed != 0 && x.size < compressedSize:
			p.badSection(i, diag.ErrMalformed, "compressed, but too short for a compression header")
		default:
			total += x.size
		}
	}
	// A small overlap harms nobody, as bytes are only read. Sections that together are
	// longer than the file could make it look as large as its square.
	if total > size {
		return p.fail(diag.ErrMalformed, "sections overlap: together they are %#x bytes long, the file %#x", total, size)
	}
	return nil
}

// readSections fills in Object.Sections and finds the symbol table.
func (p *parser) readSections() error {
	if err := p.decodeSections(p.readSection); err != nil {
		return err
	}
	if p.shndx != 0 && int(p.obj.Sections[p.shndx].Link) != p.symtab {
		p.badSection(p.shndx, diag.ErrMalformed, "section index table of section %d, which is not the symbol table", p.obj.Sections[p.shndx].Link)
	}
	return nil
}

// readSection checks one section header and fills in Sections[i].
func (p *parser) readSection(i int, h *elf.SectionHeader) {
	s := &p.obj.Sections[i]
	s.Type = SectionType(h.Type)
	s.Flags = SectionFlags(h.Flags)
	s.Group = -1
	s.Align = 1
	if s.Type == Null {
		return
	}
	s.Size = h.FileSize
	s.Entsize = h.Entsize
	s.Link = h.Link
	s.Info = h.Info
	if s.Type != Nobits {
		s.Data = p.raw[h.Offset : h.Offset+h.FileSize : h.Offset+h.FileSize]
	}
	// Of a compressed section debug/elf gives the alignment after decompression, which
	// nobody here will see; its header is only good for ch_size.
	if s.Flags&Compressed != 0 {
		if s.Flags&Alloc != 0 {
			p.badSection(i, diag.ErrUnsupported, "compressed, but part of the program")
		}
		if p.unpacked == nil {
			p.unpacked = make([]uint64, p.shnum)
		}
		p.unpacked[i] = h.Size
	} else if align, why := checkAlign(h.Addralign); why != "" {
		p.badSection(i, diag.ErrMalformed, "its alignment, %#x, %s", h.Addralign, why)
	} else {
		s.Align = align
	}
	if s.Flags&Write != 0 && s.Flags&Exec != 0 {
		p.badSection(i, diag.ErrUnsupported, "both writable and executable")
	}
	if s.Flags&TLS != 0 && s.Flags&Alloc == 0 {
		p.badSection(i, diag.ErrMalformed, "thread-local, but not part of the program")
	}
	if s.Type == relrType || s.Type == crelType {
		p.badSection(i, diag.ErrUnsupported, "relocations in a compact form (SHT_RELR or SHT_CREL)")
	}
	if int64(s.Link) >= int64(p.shnum) {
		p.badSection(i, diag.ErrMalformed, "its sh_link, %d, names none of the %d sections", s.Link, p.shnum)
	}
	if row, ok := tables[s.Type]; ok {
		p.checkTable(i, row)
	}
}

// checkAlign returns an alignment as Section and COMMON symbols hold it, or why it is
// none, to go on "its alignment, 0x…, ".
func checkAlign(align uint64) (uint64, string) {
	switch {
	case align == 0:
		return 1, ""
	case bits.OnesCount64(align) != 1:
		return 0, "is not a power of two"
	case align > maxAlign:
		return 0, fmt.Sprintf("is more than klink's limit of %#x", maxAlign)
	}
	return align, ""
}

// checkTable checks what all tables have in common and remembers the symbol table and
// its section index table.
func (p *parser) checkTable(i int, row table) {
	s := &p.obj.Sections[i]
	switch {
	case s.Flags&Alloc != 0:
		p.badSection(i, diag.ErrUnsupported, "a %s that is part of the program", row.what)
		return
	case s.Flags&Compressed != 0:
		p.badSection(i, diag.ErrUnsupported, "a compressed %s", row.what)
		return
	case s.Entsize != row.entsize:
		p.badSection(i, diag.ErrMalformed, "the entries of a %s take %d bytes, not %d", row.what, row.entsize, s.Entsize)
		return
	case s.Size%row.entsize != 0:
		p.badSection(i, diag.ErrMalformed, "its size, %#x, is no multiple of %d", s.Size, row.entsize)
		return
	}
	switch s.Type {
	case Symtab:
		p.only(&p.symtab, i, row)
	case SymtabShndx:
		p.only(&p.shndx, i, row)
	}
}

// only notes in *at that section i is the table of its type, unless there is one.
func (p *parser) only(at *int, i int, row table) {
	if *at != 0 {
		p.badSection(i, diag.ErrMalformed, "a second %s; the first is section %d", row.what, *at)
		return
	}
	*at = i
}

// checkLinkOrder refuses SHF_LINK_ORDER sections that follow one another in a circle:
// whoever sorts by that order would never come to an end.
func (p *parser) checkLinkOrder() {
	const (
		unseen = iota
		onPath
		done
	)
	secs := p.obj.Sections
	var state []uint8
	for i := range secs {
		if secs[i].Flags&LinkOrder == 0 || p.full() {
			continue
		}
		if link := secs[i].Link; link != 0 && secs[link].Type == Null {
			p.badSection(i, diag.ErrMalformed, "is ordered by section %d, a null section", link)
			continue
		}
		if state == nil {
			state = make([]uint8, len(secs))
		}
		at := i
		for at != 0 && secs[at].Flags&LinkOrder != 0 && state[at] == unseen {
			state[at] = onPath
			at = int(secs[at].Link)
		}
		if state[at] == onPath {
			p.badSection(at, diag.ErrMalformed, "its SHF_LINK_ORDER leads back to itself")
		}
		for at = i; state[at] == onPath; at = int(secs[at].Link) {
			state[at] = done
		}
	}
}
