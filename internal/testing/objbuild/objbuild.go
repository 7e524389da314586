// Package objbuild makes ET_REL files of both machines from Go values, for tests: good
// ones for the linker to link, and bad ones for the parser to refuse.
//
//	raw := objbuild.New(arch.AMD64).
//		Text(".text", code).Global("f", 0, 5).Reloc(1, uint32(elf.R_X86_64_PLT32), "g", -4).
//		Undef("g").
//		Bytes()
//
// A Builder has a current section, the one added last, to which symbols and relocations
// are added; and a current symbol, for Hidden and the like. What it writes is always the
// same for the same calls: the ELF header, the sections in their order, then relocation
// sections, groups, symbol table, string tables, section headers.
//
// Everything can be made wrong: Add takes any section header and Symbol any symbol,
// SetHeader, SetSection, SetSymbol and SetReloc overwrite a field by its ELF name after
// layout, Edit sees the bytes themselves.
//
// Mistakes in the calls (a name that does not exist) panic: they are mistakes in a test.
// Imported by tests only. A Builder is for one goroutine.
package objbuild

import (
	"klink/internal/arch"
)

// Section types (sh_type), as untyped numbers so that they go everywhere.
const (
	Null         = 0
	Progbits     = 1
	Symtab       = 2
	Strtab       = 3
	RelaType     = 4
	Note         = 7
	Nobits       = 8
	RelType      = 9
	InitArray    = 14
	FiniArray    = 15
	GroupType    = 17
	SymtabShndx  = 18
	X86Unwind    = 0x70000001
	comdatFlag   = 1
	firstReserve = 0xff00 // SHN_LORESERVE
)

// Section flags (sh_flags).
const (
	Write      = 0x1
	Alloc      = 0x2
	Exec       = 0x4
	Merge      = 0x10
	Strings    = 0x20
	LinkOrder  = 0x80
	InGroup    = 0x200
	TLS        = 0x400
	Compressed = 0x800
)

// Symbol bindings.
const (
	Local  = 0
	Global = 1
	Weak   = 2
	Unique = 10
)

// Symbol types.
const (
	NoType     = 0
	Object     = 1
	Func       = 2
	SectionSym = 3
	File       = 4
	CommonSym  = 5
	TLSSym     = 6
	IFunc      = 10
)

// Symbol visibilities.
const (
	Default   = 0
	Internal  = 1
	Hidden    = 2
	Protected = 3
)

// Reserved section indices.
const (
	ShnUndef  uint16 = 0
	ShnAbs    uint16 = 0xfff1
	ShnCommon uint16 = 0xfff2
	ShnXindex uint16 = 0xffff
)

// Section is one section as Add takes it. Zero Align means 1; zero Link and Info are
// written as they are.
type Section struct {
	Name    string
	Type    uint32
	Flags   uint64
	Data    []byte
	Size    uint64 // sh_size; if 0, len(Data)
	Align   uint64
	Entsize uint64
	Link    uint32
	Info    uint32
}

// Symbol is one symbol as Builder.Symbol takes it.
type Symbol struct {
	Name    string
	Section string // name of the section it lies in, "" to use Shndx
	Shndx   uint16 // ShnUndef, ShnAbs, ShnCommon or any other number
	Value   uint64
	Size    uint64
	Bind    uint8
	Type    uint8
	Other   uint8 // st_other: the visibility
}

type reloc struct {
	offset uint64
	typ    uint32
	symbol string
	addend int64
}

type section struct {
	Section
	relocs []reloc
	rel    bool // SHT_REL
}

type group struct {
	signature string
	comdat    bool
	members   []string
}

// patch is one field to overwrite once the layout is known.
type patch struct {
	table string // "header", "section", "symbol", "reloc"
	name  string // of the section or symbol
	n     int    // relocation number
	field string
	value uint64
}

// Builder gathers what will be in the file.
type Builder struct {
	machine  arch.Machine
	sections []*section
	symbols  []*Symbol
	groups   []group
	patches  []patch
	edits    []func(*Image)
	noSyms   bool
	xindex   bool
}

// New returns a Builder of an empty object for the machine.
func New(m arch.Machine) *Builder { return &Builder{machine: m} }

// Add adds any section, which becomes the current one.
func (b *Builder) Add(s Section) *Builder {
	b.sections = append(b.sections, &section{Section: s})
	return b
}

// Text adds executable code, aligned to 16.
func (b *Builder) Text(name string, code []byte) *Builder {
	return b.Add(Section{Name: name, Type: Progbits, Flags: Alloc | Exec, Data: code, Align: 16})
}

// Data adds writable data, aligned to 8.
func (b *Builder) Data(name string, data []byte) *Builder {
	return b.Add(Section{Name: name, Type: Progbits, Flags: Alloc | Write, Data: data, Align: 8})
}

// Rodata adds read-only data, aligned to 8.
func (b *Builder) Rodata(name string, data []byte) *Builder {
	return b.Add(Section{Name: name, Type: Progbits, Flags: Alloc, Data: data, Align: 8})
}

// Bss adds size zeroed bytes that take no room in the file, aligned to 8.
func (b *Builder) Bss(name string, size uint64) *Builder {
	return b.Add(Section{Name: name, Type: Nobits, Flags: Alloc | Write, Size: size, Align: 8})
}

// Debug adds a section that is no part of the program.
func (b *Builder) Debug(name string, data []byte) *Builder {
	return b.Add(Section{Name: name, Type: Progbits, Data: data})
}

// With changes the current section: With(func(s *objbuild.Section) { s.Align = 64 }).
func (b *Builder) With(change func(*Section)) *Builder {
	change(&b.current().Section)
	return b
}

// Rel makes the current section's relocations SHT_REL, without addends.
func (b *Builder) Rel() *Builder {
	b.current().rel = true
	return b
}

func (b *Builder) current() *section {
	if len(b.sections) == 0 {
		panic("objbuild: no section yet")
	}
	return b.sections[len(b.sections)-1]
}

// Symbol adds any symbol, which becomes the current one. Local symbols are written
// before the others; otherwise the order is that of the calls.
func (b *Builder) Symbol(s Symbol) *Builder {
	b.symbols = append(b.symbols, &s)
	return b
}

// define adds a symbol in the current section: a function if that is executable,
// thread-local if that is, else an object.
func (b *Builder) define(name string, offset, size uint64, bind uint8) *Builder {
	s := b.current()
	typ := uint8(Object)
	switch {
	case s.Flags&Exec != 0:
		typ = Func
	case s.Flags&TLS != 0:
		typ = TLSSym
	}
	return b.Symbol(Symbol{Name: name, Section: s.Name, Value: offset, Size: size, Bind: bind, Type: typ})
}

// Global defines name with STB_GLOBAL at an offset of the current section.
func (b *Builder) Global(name string, offset, size uint64) *Builder {
	return b.define(name, offset, size, Global)
}

// Weak defines name with STB_WEAK at an offset of the current section.
func (b *Builder) Weak(name string, offset, size uint64) *Builder {
	return b.define(name, offset, size, Weak)
}

// Local defines name with STB_LOCAL at an offset of the current section.
func (b *Builder) Local(name string, offset, size uint64) *Builder {
	return b.define(name, offset, size, Local)
}

// Undef adds an undefined STB_GLOBAL.
func (b *Builder) Undef(name string) *Builder {
	return b.Symbol(Symbol{Name: name, Bind: Global})
}

// WeakUndef adds an undefined STB_WEAK.
func (b *Builder) WeakUndef(name string) *Builder {
	return b.Symbol(Symbol{Name: name, Bind: Weak})
}

// Abs adds a global SHN_ABS symbol.
func (b *Builder) Abs(name string, value uint64) *Builder {
	return b.Symbol(Symbol{Name: name, Shndx: ShnAbs, Value: value, Bind: Global})
}

// Common adds a global SHN_COMMON symbol.
func (b *Builder) Common(name string, align, size uint64) *Builder {
	return b.Symbol(Symbol{Name: name, Shndx: ShnCommon, Value: align, Size: size, Bind: Global, Type: Object})
}

// SourceFile adds an STT_FILE symbol.
func (b *Builder) SourceFile(name string) *Builder {
	return b.Symbol(Symbol{Name: name, Shndx: ShnAbs, Type: File})
}

// SectionSymbol adds the section symbol of the named section. Reloc adds it by itself where it is needed.
func (b *Builder) SectionSymbol(section string) *Builder {
	return b.Symbol(Symbol{Section: section, Type: SectionSym})
}

// Hidden gives the current symbol STV_HIDDEN.
func (b *Builder) Hidden() *Builder { return b.Change(func(s *Symbol) { s.Other = Hidden }) }

// Protected gives the current symbol STV_PROTECTED.
func (b *Builder) Protected() *Builder { return b.Change(func(s *Symbol) { s.Other = Protected }) }

// As gives the current symbol another type: NoType, IFunc, …
func (b *Builder) As(typ uint8) *Builder { return b.Change(func(s *Symbol) { s.Type = typ }) }

// Change changes the current symbol in any way.
func (b *Builder) Change(change func(*Symbol)) *Builder {
	change(b.symbols[len(b.symbols)-1])
	return b
}

// Reloc adds a relocation at an offset of the current section. symbol names a symbol, or
// a section, whose section symbol is then added if there is none; "" is symbol 0. It may
// be defined after this call. With Rel, addend is not written: it belongs into the data.
func (b *Builder) Reloc(offset uint64, typ uint32, symbol string, addend int64) *Builder {
	s := b.current()
	s.relocs = append(s.relocs, reloc{offset, typ, symbol, addend})
	return b
}

// Group adds a section group with the members, by name, and their relocation sections.
// The signature names a symbol or a section, as in Reloc. The members get SHF_GROUP.
func (b *Builder) Group(signature string, comdat bool, members ...string) *Builder {
	b.groups = append(b.groups, group{signature, comdat, members})
	return b
}

// NoSymtab leaves out the symbol table and its strings.
func (b *Builder) NoSymtab() *Builder {
	b.noSyms = true
	return b
}

// Xindex writes the section of every symbol as SHN_XINDEX with a SHT_SYMTAB_SHNDX table,
// as is needed (and done without this call) from section 0xff00 on.
func (b *Builder) Xindex() *Builder {
	b.xindex = true
	return b
}

// SetHeader overwrites a field of the ELF header: SetHeader("e_type", 2).
func (b *Builder) SetHeader(field string, value uint64) *Builder {
	b.patches = append(b.patches, patch{table: "header", field: field, value: value})
	return b
}

// SetSection overwrites a field of a section header: SetSection(".symtab", "sh_info", 9).
// The name "" is that of section 0.
func (b *Builder) SetSection(section, field string, value uint64) *Builder {
	b.patches = append(b.patches, patch{table: "section", name: section, field: field, value: value})
	return b
}

// SetSymbol overwrites a field of a symbol: SetSymbol("f", "st_value", 99).
func (b *Builder) SetSymbol(symbol, field string, value uint64) *Builder {
	b.patches = append(b.patches, patch{table: "symbol", name: symbol, field: field, value: value})
	return b
}

// SetReloc overwrites a field of relocation n of a section: SetReloc(".text", 0, "r_info", 7).
func (b *Builder) SetReloc(section string, n int, field string, value uint64) *Builder {
	b.patches = append(b.patches, patch{table: "reloc", name: section, n: n, field: field, value: value})
	return b
}

// Edit has the finished file passed to f, after all Set calls were obeyed.
func (b *Builder) Edit(f func(*Image)) *Builder {
	b.edits = append(b.edits, f)
	return b
}

// Bytes returns the file. The Builder may be used further, and changed.
func (b *Builder) Bytes() []byte { return b.Image().Bytes }
