package elfload

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"klink/internal/diag"
)

// groupComdat is GRP_COMDAT (gABI 4.10, section groups).
const groupComdat = 1

// readGroups fills in Object.Groups and Section.Group. A section is in at most one
// group, so the members of all groups fit one slice of as many indices as there are
// sections.
func (p *parser) readGroups() {
	secs := p.obj.Sections
	count := 0
	for i := range secs {
		if secs[i].Type == GroupType {
			count++
		}
	}
	if count > 0 {
		p.obj.Groups = make([]Group, 0, count)
		members := make([]uint32, 0, len(secs))
		for i := range secs {
			if secs[i].Type == GroupType && !p.full() {
				members = p.readGroup(i, members)
			}
		}
	}
	for i := range secs {
		if secs[i].Flags&InGroup != 0 && secs[i].Group < 0 && !p.full() {
			p.badSection(i, diag.ErrMalformed, "marked as a group's member (SHF_GROUP), but no group lists it")
		}
	}
}

// readGroup adds the group of section i; members is the slice that all groups share, and
// is returned with the new ones appended.
func (p *parser) readGroup(i int, members []uint32) []uint32 {
	s := &p.obj.Sections[i]
	if s.Size == 0 {
		p.badSection(i, diag.ErrMalformed, "a group without a flag word")
		return members
	}
	signature, err := p.signature(s)
	if err != nil {
		p.badSection(i, errors.Unwrap(err), "%v", err)
	}
	flags := binary.LittleEndian.Uint32(s.Data)
	if flags&^groupComdat != 0 {
		p.badSection(i, diag.ErrUnsupported, "unknown group flags %#x", flags)
	}
	group := int32(len(p.obj.Groups))
	first := len(members)
	for at := 4; at < len(s.Data) && !p.full(); at += 4 {
		m := binary.LittleEndian.Uint32(s.Data[at:])
		if err := p.checkMember(i, m); err != nil {
			p.badSection(i, errors.Unwrap(err), "%v", err)
			continue
		}
		p.obj.Sections[m].Group = group
		members = append(members, m)
	}
	p.obj.Groups = append(p.obj.Groups, Group{
		Signature: signature,
		Comdat:    flags&groupComdat != 0,
		Members:   members[first:len(members):len(members)],
	})
	return members
}

// signature returns the name of a group: that of the symbol sh_info of symbol table
// sh_link; where that is a section symbol, as the GNU assembler makes it for a group
// named like its section, the section's.
func (p *parser) signature(s *Section) (string, error) {
	if p.symtab == 0 || int(s.Link) != p.symtab {
		return "", malformed("its sh_link says that section %d, which is not the symbol table, names the group", s.Link)
	}
	if s.Info == 0 || int64(s.Info) >= int64(len(p.obj.Symbols)) {
		return "", malformed("its sh_info says that symbol %d of %d names the group", s.Info, len(p.obj.Symbols))
	}
	name := p.obj.NameOf(s.Info)
	if name == "" {
		return "", malformed("symbol %d, which names the group, has no name", s.Info)
	}
	return name, nil
}

// checkMember says whether section m may be a member of the group of section i.
func (p *parser) checkMember(i int, m uint32) error {
	secs := p.obj.Sections
	if m == 0 || int64(m) >= int64(len(secs)) {
		return malformed("its member %d is none of the %d sections", m, len(secs))
	}
	if int(m) == i {
		return malformed("a group that is its own member")
	}
	if t := secs[m].Type; t == Null || t == GroupType || t == Symtab {
		return malformed("its member %s has type %v", p.section(int(m)), elf.SectionType(t))
	}
	if g := secs[m].Group; g >= 0 {
		return malformed("its member %s is listed twice, here or by another group", p.section(int(m)))
	}
	return nil
}
