package elfload

import (
	"encoding/binary"

	"klink/internal/arch"
)

// Object is one checked ET_REL file: everything in it has been compared with the
// file's size and with what it refers to, so that users index without fear. It is
// immutable and safe for concurrent use; its byte slices and strings share the
// memory of the file that was parsed, which must not change while it lives.
type Object struct {
	File     string // the file as the user named it
	Member   string // the archive member, "" if the file is no archive
	Machine  arch.Machine
	Sections []Section // by section header index; 0 is the null section
	Symbols  []Symbol  // by symbol table index; 0 is the null symbol
	Locals   int       // Symbols[:Locals] are STB_LOCAL, the others are not
	Groups   []Group   // COMDAT and other section groups
	Size     int       // of the file (or member), bytes
}

// Name returns the object as error messages show it: "a.o" or "lib.a(a.o)".
func (o *Object) Name() string {
	if o.Member == "" {
		return o.File
	}
	return o.File + "(" + o.Member + ")"
}

// SectionType is sh_type (gABI 4.9).
type SectionType uint32

// The section types that klink tells apart.
const (
	Null         SectionType = 0
	Progbits     SectionType = 1
	Symtab       SectionType = 2
	Strtab       SectionType = 3
	Rela         SectionType = 4
	Note         SectionType = 7
	Nobits       SectionType = 8
	Rel          SectionType = 9
	InitArray    SectionType = 14
	FiniArray    SectionType = 15
	PreinitArray SectionType = 16
	GroupType    SectionType = 17
	SymtabShndx  SectionType = 18
	X86Unwind    SectionType = 0x70000001
)

// SectionFlags is sh_flags (gABI 4.10).
type SectionFlags uint64

// The flags that klink looks at, numbered as in the gABI.
const (
	Write      SectionFlags = 0x1
	Alloc      SectionFlags = 0x2
	Exec       SectionFlags = 0x4
	Merge      SectionFlags = 0x10
	Strings    SectionFlags = 0x20
	LinkOrder  SectionFlags = 0x80
	InGroup    SectionFlags = 0x200
	TLS        SectionFlags = 0x400
	Compressed SectionFlags = 0x800
	Exclude    SectionFlags = 0x80000000
)

// Section is one section header and the bytes it names. The bytes of a Compressed section
// are kept as they are (it is never an allocated one), and so its Relocs, which are meant
// for the bytes after decompression, are left out: Object.Unpack gives both.
type Section struct {
	Name    string
	Type    SectionType
	Flags   SectionFlags
	Size    uint64 // bytes in memory; of NOBITS this is all there is
	Align   uint64 // a power of two, at least 1
	Entsize uint64
	Link    uint32 // less than len(Object.Sections)
	Info    uint32 // checked for symbol tables, relocation sections and groups only
	Data    []byte // the file's bytes, nil for NOBITS; never to be written to
	Relocs  Relocs // the relocations that apply to this section
	Group   int32  // index into Object.Groups, -1 if in none
}

// Binding is STB_ (gABI 4.13).
type Binding uint8

// The bindings; any other is refused.
const (
	Local  Binding = 0
	Global Binding = 1
	Weak   Binding = 2
	Unique Binding = 10 // STB_GNU_UNIQUE
)

// SymType is STT_ (gABI 4.13).
type SymType uint8

// The symbol types; any other is refused.
const (
	NoType     SymType = 0
	ObjectType SymType = 1
	Func       SymType = 2
	SectionSym SymType = 3
	FileSym    SymType = 4
	CommonType SymType = 5
	TLSType    SymType = 6
	IFunc      SymType = 10 // STT_GNU_IFUNC
)

// Visibility is STV_ (gABI 4.13).
type Visibility uint8

// The visibilities.
const (
	Default   Visibility = 0
	Internal  Visibility = 1
	Hidden    Visibility = 2
	Protected Visibility = 3
)

// Where says what a symbol's value is relative to.
type Where uint8

// The places where a symbol may be.
const (
	Undefined Where = iota // SHN_UNDEF
	InSection              // Value is an offset into Sections[Section], at most its Size
	Absolute               // SHN_ABS: Value is an address or a number
	Common                 // SHN_COMMON: Value is the alignment (a power of two), Size the bytes
)

// Symbol is one symbol table entry.
type Symbol struct {
	Name    string // "" for a section symbol; Object.NameOf knows the section's
	Value   uint64
	Size    uint64 // InSection: Value+Size is at most the section's Size
	Section uint32 // section header index, SHN_XINDEX resolved; 0 unless Where is InSection
	Where   Where
	Bind    Binding
	Type    SymType
	Vis     Visibility
}

// Group is one SHT_GROUP section.
type Group struct {
	Signature string
	Comdat    bool     // GRP_COMDAT: the first group of a signature is kept
	Members   []uint32 // section header indices
}

// Reloc is one relocation: at place Offset, a fix-up of Type against Symbols[Sym].
type Reloc struct {
	Offset uint64 // from the start of the section, less than its Size
	Type   uint32 // R_X86_64_… or R_AARCH64_…
	Sym    uint32 // less than len(Object.Symbols); 0 is "no symbol", value 0
	Addend int64  // 0 in a REL section: the addend is in the field
}

// Relocs is the relocation section of one section, decoded on access. Offsets and
// symbol indices of all entries were checked when the object was parsed; types were not.
type Relocs struct {
	raw []byte
	rel bool
}

// Sizes of Elf64_Rel and Elf64_Rela, bytes.
const (
	relSize  = 16
	relaSize = 24
)

// Len returns the number of relocations.
func (r Relocs) Len() int {
	if r.rel {
		return len(r.raw) / relSize
	}
	return len(r.raw) / relaSize
}

// Implicit says that the addends are in the fields (SHT_REL).
func (r Relocs) Implicit() bool { return r.rel }

// At returns relocation i, 0 <= i < Len().
func (r Relocs) At(i int) Reloc {
	if r.rel {
		e := r.raw[i*relSize : i*relSize+relSize]
		info := binary.LittleEndian.Uint64(e[8:])
		return Reloc{Offset: binary.LittleEndian.Uint64(e), Type: uint32(info), Sym: uint32(info >> 32)}
	}
	e := r.raw[i*relaSize : i*relaSize+relaSize]
	info := binary.LittleEndian.Uint64(e[8:])
	return Reloc{
		Offset: binary.LittleEndian.Uint64(e),
		Type:   uint32(info),
		Sym:    uint32(info >> 32),
		Addend: int64(binary.LittleEndian.Uint64(e[16:])),
	}
}
