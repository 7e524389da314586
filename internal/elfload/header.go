package elfload

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"klink/internal/arch"
	"klink/internal/diag"
)

// Sizes of Elf64_Ehdr, Elf64_Shdr, Elf64_Sym and Elf64_Chdr, bytes (gABI 4).
const (
	headerSize     = 64
	sectionSize    = 64
	symbolSize     = elf.Sym64Size
	compressedSize = 24
)

// readHeader checks the ELF header and finds the section headers. Where the header is
// wrong all that follows is nonsense, so it stops at the first error.
func (p *parser) readHeader() error {
	if err := p.checkIdent(); err != nil {
		return err
	}
	var h elf.Header64
	if _, err := binary.Decode(p.raw, binary.LittleEndian, &h); err != nil {
		return p.fail(diag.ErrMalformed, "ELF header: %v", err)
	}
	if elf.Type(h.Type) != elf.ET_REL {
		return p.fail(diag.ErrUnsupported, "%s; klink links relocatable objects (ET_REL)", fileType(h.Type))
	}
	p.obj.Machine = arch.Machine(h.Machine)
	if p.obj.Machine.Facts() == nil {
		return p.fail(diag.ErrUnsupported, "machine %d (%v); klink links %v and %v",
			h.Machine, elf.Machine(h.Machine), arch.AMD64, arch.ARM64)
	}
	if h.Version != uint32(elf.EV_CURRENT) {
		return p.fail(diag.ErrMalformed, "e_version is %d, not 1", h.Version)
	}
	if h.Ehsize != headerSize {
		return p.fail(diag.ErrMalformed, "e_ehsize is %d, not %d", h.Ehsize, headerSize)
	}
	return p.findSections(&h)
}

// checkIdent checks the first 16 bytes and that there are as many as a header takes.
func (p *parser) checkIdent() error {
	raw := p.raw
	switch {
	case IsArchive(raw):
		return p.fail(diag.ErrUnsupported, "an archive, where an object is expected")
	case !isELF(raw):
		return p.fail(diag.ErrMalformed, "not an ELF file")
	case len(raw) < headerSize:
		return p.fail(diag.ErrMalformed, "file of %d bytes is too short for an ELF header", len(raw))
	case elf.Class(raw[elf.EI_CLASS]) == elf.ELFCLASS32:
		return p.fail(diag.ErrUnsupported, "a 32-bit ELF file; klink links 64-bit ones")
	case elf.Class(raw[elf.EI_CLASS]) != elf.ELFCLASS64:
		return p.fail(diag.ErrMalformed, "unknown ELF class %d", raw[elf.EI_CLASS])
	case elf.Data(raw[elf.EI_DATA]) == elf.ELFDATA2MSB:
		return p.fail(diag.ErrUnsupported, "a big-endian ELF file; klink links little-endian ones")
	case elf.Data(raw[elf.EI_DATA]) != elf.ELFDATA2LSB:
		return p.fail(diag.ErrMalformed, "unknown ELF data encoding %d", raw[elf.EI_DATA])
	case elf.Version(raw[elf.EI_VERSION]) != elf.EV_CURRENT:
		return p.fail(diag.ErrMalformed, "unknown ELF version %d", raw[elf.EI_VERSION])
	}
	return nil
}

// isELF says that raw begins as ELF files do.
func isELF(raw []byte) bool { return bytes.HasPrefix(raw, []byte(elf.ELFMAG)) }

// fileType names an e_type that is not ET_REL.
func fileType(t uint16) string {
	switch elf.Type(t) {
	case elf.ET_EXEC:
		return "an executable (ET_EXEC)"
	case elf.ET_DYN:
		return "a shared object (ET_DYN)"
	case elf.ET_CORE:
		return "a core file (ET_CORE)"
	}
	return fmt.Sprintf("an ELF file of type %d", t)
}

// findSections checks where the section headers are, how many, and which section holds
// their names; either number stands in section 0 if it does not fit the ELF header
// (gABI 4.1, e_shnum and e_shstrndx).
func (p *parser) findSections(h *elf.Header64) error {
	size := uint64(len(p.raw))
	switch {
	case h.Shoff == 0:
		return p.fail(diag.ErrMalformed, "no section headers")
	case h.Shentsize != sectionSize:
		return p.fail(diag.ErrMalformed, "e_shentsize is %d, not %d", h.Shentsize, sectionSize)
	case h.Shoff < headerSize:
		return p.fail(diag.ErrMalformed, "section headers at %#x overlap the ELF header", h.Shoff)
	case h.Shoff > size || size-h.Shoff < sectionSize:
		return p.fail(diag.ErrMalformed, "section headers at %#x lie beyond the end of the file, %#x", h.Shoff, size)
	}
	p.shoff = h.Shoff
	p.shnum = 1
	first := p.extent(0)
	if first.typ != Null {
		return p.fail(diag.ErrMalformed, "section 0 is not the null section")
	}
	count := uint64(h.Shnum)
	if count == 0 {
		if count = first.size; count < uint64(elf.SHN_LORESERVE) {
			return p.fail(diag.ErrMalformed, "e_shnum is 0, but the count in section 0 is only %d", count)
		}
	}
	if count > (size-p.shoff)/sectionSize {
		return p.fail(diag.ErrMalformed, "%d section headers at %#x go beyond the end of the file, %#x", count, p.shoff, size)
	}
	if count > maxSections {
		return p.fail(diag.ErrUnsupported, "%d sections are more than klink's limit of %d", count, maxSections)
	}
	names := uint64(h.Shstrndx)
	if elf.SectionIndex(names) == elf.SHN_XINDEX {
		names = uint64(first.link)
	}
	if names == 0 || names >= count {
		return p.fail(diag.ErrMalformed, "section name table is said to be section %d of %d", names, count)
	}
	p.shnum, p.shstrndx = int(count), int(names)
	return nil
}

// extent is the part of a section header that must be checked before anybody else,
// elf.NewFile included, looks at the section.
type extent struct {
	name   uint32
	typ    SectionType
	flags  SectionFlags
	offset uint64
	size   uint64
	link   uint32
}

// extent decodes part of section header i, 0 <= i < p.shnum.
func (p *parser) extent(i int) extent {
	at := p.shoff + uint64(i)*sectionSize
	b := p.raw[at : at+sectionSize]
	return extent{
		name:   binary.LittleEndian.Uint32(b[0:]),
		typ:    SectionType(binary.LittleEndian.Uint32(b[4:])),
		flags:  SectionFlags(binary.LittleEndian.Uint64(b[8:])),
		offset: binary.LittleEndian.Uint64(b[24:]),
		size:   binary.LittleEndian.Uint64(b[32:]),
		link:   binary.LittleEndian.Uint32(b[40:]),
	}
}

// window is how many section headers elf.NewFile is given at a time: it allocates some
// 200 bytes for each, which are garbage as soon as the next ones come.
const window = 1024

// decodeSections calls visit with each section header in order, as elf.NewFile decodes
// it; checkExtents must have accepted them all. elf.NewFile is given the file with another
// ELF header: with a part of the section headers, without program headers, which mean
// nothing in ET_REL, and without a section name table, which it would copy.
func (p *parser) decodeSections(visit func(i int, h *elf.SectionHeader)) error {
	v := &view{raw: p.raw}
	copy(v.head[:], p.raw)
	clear(v.head[32:40]) // e_phoff
	clear(v.head[54:58]) // e_phentsize, e_phnum
	clear(v.head[62:64]) // e_shstrndx
	for first := 0; first < p.shnum && !p.full(); first += window {
		n := min(window, p.shnum-first)
		binary.LittleEndian.PutUint64(v.head[40:], p.shoff+uint64(first)*sectionSize)
		binary.LittleEndian.PutUint16(v.head[60:], uint16(n))
		f, err := elf.NewFile(v)
		if err != nil {
			return p.fail(diag.ErrMalformed, "%v", err)
		}
		for i, s := range f.Sections {
			visit(first+i, &s.SectionHeader)
		}
	}
	return nil
}

// view is a file with its ELF header replaced.
type view struct {
	head [headerSize]byte
	raw  []byte
}

// ReadAt implements io.ReaderAt.
func (v *view) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(v.raw)) {
		return 0, io.EOF
	}
	n := copy(b, v.raw[off:])
	if off < headerSize {
		copy(b[:n], v.head[off:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
