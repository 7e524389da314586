package elfload

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"klink/internal/diag"
)

// readRelocs gives each section its relocations and checks every entry once.
func (p *parser) readRelocs() {
	secs := p.obj.Sections
	var by []uint32 // section → the relocation section that applies to it
	for i := range secs {
		s := &secs[i]
		if s.Type != Rela && s.Type != Rel {
			continue
		}
		if p.full() {
			return
		}
		target, err := p.relocTarget(i)
		if err != nil {
			p.badSection(i, errors.Unwrap(err), "%v", err)
			continue
		}
		if by == nil {
			by = make([]uint32, len(secs))
		}
		if other := by[target]; other != 0 {
			p.badSection(i, diag.ErrMalformed, "%s has relocations already, in section %d", p.section(target), other)
			continue
		}
		by[target] = uint32(i)
		relocs := Relocs{raw: s.Data, rel: s.Type == Rel}
		if p.checkRelocs(i, target, relocs) && secs[target].Flags&Compressed == 0 {
			secs[target].Relocs = relocs
		}
	}
}

// relocTarget returns the section to which those of relocation section i apply.
func (p *parser) relocTarget(i int) (int, error) {
	secs := p.obj.Sections
	s := &secs[i]
	if int(s.Link) != p.symtab {
		return 0, malformed("its sh_link says that its symbols are in section %d, which is not the symbol table", s.Link)
	}
	if s.Info == 0 || int64(s.Info) >= int64(len(secs)) {
		return 0, malformed("its sh_info says that it applies to section %d of %d", s.Info, len(secs))
	}
	target := int(s.Info)
	t := secs[target].Type
	_, isTable := tables[t]
	if isTable || t == Null || t == Strtab || t == Nobits {
		return 0, malformed("it applies to %s, whose type is %v", p.section(target), elf.SectionType(t))
	}
	return target, nil
}

// checkRelocs compares each place with the target's size and each symbol with the
// symbol table. It notes the first entry that is wrong: where one is, the rest of the
// section is hardly better. The relocations of a compressed section are meant for its
// bytes after decompression.
func (p *parser) checkRelocs(i, target int, r Relocs) bool {
	size := p.obj.Sections[target].Size
	if p.unpacked != nil && p.unpacked[target] != 0 {
		size = p.unpacked[target]
	}
	symbols := uint32(len(p.obj.Symbols))
	entry := relaSize
	if r.rel {
		entry = relSize
	}
	for at := 0; at < len(r.raw); at += entry {
		e := r.raw[at : at+relSize]
		if binary.LittleEndian.Uint64(e) < size && binary.LittleEndian.Uint32(e[12:]) < symbols {
			continue
		}
		p.badReloc(i, target, at/entry, r.At(at/entry), size)
		return false
	}
	return true
}

// badReloc notes what is wrong with relocation n of section i.
func (p *parser) badReloc(i, target, n int, r Reloc, size uint64) {
	e := diag.New(diag.ErrMalformed, p.name, "relocation %d of %s: ", n, p.section(i))
	e.Section, e.Offset = p.obj.Sections[target].Name, r.Offset
	if r.Offset >= size {
		e.Text += diag.New(nil, "", "its place lies beyond the end of %s, %#x", p.section(target), size).Text
	} else {
		e.Text += diag.New(nil, "", "its symbol, %d, is none of the %d", r.Sym, len(p.obj.Symbols)).Text
	}
	p.errs.Add(e)
}
