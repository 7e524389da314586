package elfload

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"klink/internal/arch"
	"klink/internal/diag"
)

// The bindings and types that klink knows, one bit each.
const (
	knownBinds = 1<<Local | 1<<Global | 1<<Weak | 1<<Unique
	knownTypes = 1<<NoType | 1<<ObjectType | 1<<Func | 1<<SectionSym | 1<<FileSym |
		1<<CommonType | 1<<TLSType | 1<<IFunc
)

// visMask is the part of st_other that is the visibility (gABI 4.13).
const visMask = 3

// variantPCS is the bit of st_other that marks functions with their own calling
// convention (STO_AARCH64_VARIANT_PCS, aaelf64 5.4). Only lazy binding, which klink
// does not do, has to heed it.
const variantPCS = 0x80

// lcommon is SHN_X86_64_LCOMMON: COMMON that may lie far away, of the medium and large
// code models (x86-64 psABI 4.2.1). Nothing is far away in klink's arena.
const lcommon = 0xff02

// NameOf returns the name of symbol i for messages: its own, or of a section symbol
// that of its section. i must be less than len(o.Symbols).
func (o *Object) NameOf(i uint32) string {
	s := &o.Symbols[i]
	if s.Type == SectionSym && s.Where == InSection {
		return o.Sections[s.Section].Name
	}
	return s.Name
}

// symtabReader is what decoding one symbol needs to know.
type symtabReader struct {
	p     *parser
	tab   []byte // Elf64_Sym entries
	strs  []byte // their names
	shndx []byte // 4 bytes a symbol, nil if there is no such table
	other uint8  // the bits of st_other that are known
}

// readSymbols fills in Object.Symbols and Object.Locals.
func (p *parser) readSymbols() error {
	o := p.obj
	if p.symtab == 0 || o.Sections[p.symtab].Size == 0 {
		o.Symbols, o.Locals = make([]Symbol, 1), 1
		return nil
	}
	r, err := p.openSymtab()
	if err != nil {
		return err
	}
	n := len(r.tab) / symbolSize
	o.Locals = int(o.Sections[p.symtab].Info)
	o.Symbols = make([]Symbol, n)
	for i := 1; i < n && !p.full(); i++ {
		s, err := r.decode(i)
		if err != nil {
			p.badSymbol(i, s.Name, err)
			continue
		}
		if (s.Bind == Local) != (i < o.Locals) {
			return p.failSection(p.symtab, diag.ErrMalformed, "its sh_info says that the first %d symbols are the local ones; symbol %d (%s) is not in order",
				o.Locals, i, diag.Quote(s.Name))
		}
		o.Symbols[i] = s
	}
	return nil
}

// openSymtab checks the symbol table as a whole, and the tables that it refers to.
func (p *parser) openSymtab() (*symtabReader, error) {
	o := p.obj
	s := &o.Sections[p.symtab]
	r := &symtabReader{p: p, tab: s.Data, other: visMask}
	if o.Machine == arch.ARM64 {
		r.other |= variantPCS
	}
	n := len(s.Data) / symbolSize
	strs := &o.Sections[s.Link]
	switch {
	case n > maxSymbols:
		return nil, p.failSection(p.symtab, diag.ErrUnsupported, "%d symbols are more than klink's limit of %d", n, maxSymbols)
	case s.Info == 0 || int64(s.Info) > int64(n):
		return nil, p.failSection(p.symtab, diag.ErrMalformed, "its sh_info says that %d of %d symbols are local ones", s.Info, n)
	case [symbolSize]byte(s.Data) != [symbolSize]byte{}:
		return nil, p.failSection(p.symtab, diag.ErrMalformed, "symbol 0 is not the null symbol")
	case strs.Type != Strtab:
		return nil, p.failSection(p.symtab, diag.ErrMalformed, "its sh_link says that section %d, which is no string table, holds its names", s.Link)
	case strs.Flags&Compressed != 0:
		return nil, p.failSection(int(s.Link), diag.ErrUnsupported, "symbol names are compressed")
	case len(strs.Data) > 0 && strs.Data[len(strs.Data)-1] != 0:
		return nil, p.failSection(int(s.Link), diag.ErrMalformed, "string table does not end in a NUL byte")
	}
	r.strs = strs.Data
	if p.shndx != 0 {
		r.shndx = o.Sections[p.shndx].Data
		if len(r.shndx)/4 != n {
			return nil, p.failSection(p.shndx, diag.ErrMalformed, "%d section indices for %d symbols", len(r.shndx)/4, n)
		}
	}
	return r, nil
}

// badSymbol notes an error about symbol i; its kind is err's.
func (p *parser) badSymbol(i int, name string, err error) {
	who := fmt.Sprintf("symbol %d", i)
	if name != "" {
		who += fmt.Sprintf(" (%s)", diag.Quote(name))
	}
	p.errs.Add(&diag.Error{Kind: errors.Unwrap(err), File: p.name, Text: who + ": " + err.Error()})
}

// malformed and unsupported return what is wrong with a part of a file; the caller adds
// which part. errors.Unwrap gives the kind.
func malformed(format string, args ...any) error {
	return diag.New(diag.ErrMalformed, "", format, args...)
}

func unsupported(format string, args ...any) error {
	return diag.New(diag.ErrUnsupported, "", format, args...)
}

// decode checks symbol i. The symbol that comes with an error has its name, if that was
// readable.
func (r *symtabReader) decode(i int) (Symbol, error) {
	e := r.tab[i*symbolSize : i*symbolSize+symbolSize]
	info, other := e[4], e[5]
	s := Symbol{
		Value: binary.LittleEndian.Uint64(e[8:]),
		Size:  binary.LittleEndian.Uint64(e[16:]),
		Bind:  Binding(info >> 4),
		Type:  SymType(info & 15),
		Vis:   Visibility(other & visMask),
	}
	if s.Type != SectionSym {
		off := binary.LittleEndian.Uint32(e)
		name, bad := nameAt(r.strs, off, &r.p.names)
		if bad != nameOK {
			return s, diag.New(kindOf(bad), "", "its name at %#x %v", off, bad)
		}
		s.Name = name
	}
	switch {
	case knownBinds>>s.Bind&1 == 0:
		return s, unsupported("unknown binding %d", s.Bind)
	case knownTypes>>s.Type&1 == 0:
		return s, unsupported("unknown type %d", s.Type)
	case other&^r.other != 0:
		return s, unsupported("unknown bits in st_other, %#x", other)
	}
	err := r.place(&s, i, binary.LittleEndian.Uint16(e[6:]))
	if err == nil {
		err = r.p.checkKind(&s)
	}
	return s, err
}

// place finds where a symbol is, from its st_shndx.
func (r *symtabReader) place(s *Symbol, i int, shndx uint16) error {
	index := uint32(shndx)
	switch elf.SectionIndex(shndx) {
	case elf.SHN_UNDEF:
		s.Where = Undefined
		return nil
	case elf.SHN_ABS:
		s.Where = Absolute
		return nil
	case elf.SHN_COMMON:
		s.Where = Common
		return placeCommon(s)
	case elf.SHN_XINDEX:
		if r.shndx == nil {
			return malformed("its section index is in a SHT_SYMTAB_SHNDX section, but there is none")
		}
		index = binary.LittleEndian.Uint32(r.shndx[4*i:])
	default:
		if shndx == lcommon && r.p.obj.Machine == arch.AMD64 {
			s.Where = Common
			return placeCommon(s)
		}
		if shndx >= uint16(elf.SHN_LORESERVE) {
			return unsupported("reserved section index %#x", shndx)
		}
	}
	return r.p.placeInSection(s, index)
}

// placeCommon checks a COMMON symbol: it names a size and an alignment (gABI 4.13).
func placeCommon(s *Symbol) error {
	align, why := checkAlign(s.Value)
	switch {
	case why != "":
		return malformed("its alignment, %#x, %s", s.Value, why)
	case s.Size > maxSize:
		return unsupported("its size, %#x, is more than klink's limit of %#x", s.Size, uint64(maxSize))
	case s.Bind == Local:
		return unsupported("a COMMON symbol that is local")
	}
	s.Value = align
	return nil
}

// placeInSection checks a symbol that is said to lie in section index.
func (p *parser) placeInSection(s *Symbol, index uint32) error {
	if index == 0 || int64(index) >= int64(p.shnum) {
		return malformed("its section index, %d, names none of the %d sections", index, p.shnum)
	}
	sec := &p.obj.Sections[index]
	switch {
	case sec.Type == Null:
		return malformed("lies in section %d, a null section", index)
	case s.Value > sec.Size:
		return malformed("its value, %#x, lies beyond the end of %s, %#x", s.Value, p.section(int(index)), sec.Size)
	case s.Size > sec.Size-s.Value:
		return malformed("its %#x bytes at %#x go beyond the end of %s, %#x", s.Size, s.Value, p.section(int(index)), sec.Size)
	}
	s.Where = InSection
	s.Section = index
	return nil
}

// checkKind refuses combinations of name, binding, type and place that mean nothing.
func (p *parser) checkKind(s *Symbol) error {
	switch {
	case s.Type == SectionSym && s.Where != InSection:
		return malformed("a section symbol without a section")
	case s.Type == SectionSym && s.Bind != Local:
		return malformed("a section symbol that is not local")
	case s.Type == FileSym && s.Bind != Local:
		return malformed("a file symbol that is not local")
	case s.Name == "" && s.Bind != Local:
		return malformed("not local, but without a name")
	case s.Bind != Local && !utf8.ValidString(s.Name):
		return unsupported("not local, and its name is no UTF-8")
	case s.Where == Undefined && s.Bind == Local:
		return malformed("undefined, but local")
	case s.Type != TLSType:
		return nil
	case s.Where == InSection && p.obj.Sections[s.Section].Flags&TLS == 0:
		return malformed("thread-local, but %s is not", p.section(int(s.Section)))
	case s.Where == Absolute:
		return malformed("thread-local, but absolute")
	}
	return nil
}
