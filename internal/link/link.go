// Package link turns checked objects and answers to names into bytes and sites.
//
// Data flows down once:
//
//	Gather   objects of one module      → Module: names, offers, layout (no addresses)
//	         the caller finds room for the module's three blocks, asks the alias
//	         stacks what each name means, and puts both into an Input
//	Apply    Module + Input             → bytes in the caller's memory + sites
//
// Any target is linked on any host: there is no I/O here, no clock, no goroutine.
// A Module is immutable once gathered; Apply of different modules (or of one into
// different memory) may run concurrently. Nothing in an object is trusted; what
// elfload has checked (bounds, indices) is relied on, everything else is checked here.
//
// Layer 2. Imports: elfload, reloc, insn, aliasstack, arch, diag.
package link

import (
	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/insn"
)

// Region is one of the three parts of the arena: by what may be done with it.
type Region uint8

// The regions, in the order of their addresses.
const (
	Text    Region = iota // code, veneers, entries: R-X
	Tables                // read-only data, GOT: R--
	Data                  // RW-
	Regions = 3
)

// String returns "text", "tables" or "data".
func (r Region) String() string { return [...]string{"text", "tables", "data"}[r] }

// Unit is what one module is made of.
type Unit struct {
	Name    string            // the module's name, for messages
	Objects []*elfload.Object // at least one, all of one machine, in the command's order
	Private []string          // names kept to the module
	Static  bool              // for a static link: no super_ symbols, and a refinement is an ordinary definition
	Far     bool              // text may be longer than a branch reaches: reserve veneers for every called name
	Distant map[string]bool   // names that may lie out of a branch's reach: reserve veneers for those that are called
}

// Bind says what the references of a module to one of its names mean.
type Bind uint8

// The ways to bind.
const (
	Own     Bind = iota // the module's own definition; never switches
	Stack               // whatever the symbol's alias stack says
	Super               // super_S: the provider just below the module's own of S
	Special             // made by the linker for this module: _GLOBAL_OFFSET_TABLE_, __start_X…
)

// NameID is an index into Module.Names.
type NameID int32

// Uses says how a module refers to a name, from allocated sections.
type Uses uint8

// The uses; an address is anything but a direct branch.
const (
	UsedByBranch  Uses = 1 << iota // direct branch of long reach
	UsedByShort                    // CONDBR19, TSTBR14
	UsedByAddress                  // takes the address, or loads it from the GOT
	UsedStrictly                   // from elsewhere than unwind tables: a provider must exist
)

// Name is a non-local name of a module: defined, referred to, or both.
type Name struct {
	Name    string
	Bind    Bind
	Weak    bool // without own definition: every reference is weak
	Vis     elfload.Visibility
	Uses    Uses
	Offered bool             // the module is a provider of it, as Kind and Class say
	Kind    aliasstack.Kind  // of the offer
	Class   aliasstack.Class // of the own definition
	Of      string           // Bind Super: S
	def     def
	first   ref // the first strict reference, for messages
}

// Defined says that the module itself has a definition of the name.
func (n *Name) Defined() bool { return n.def.kind != defNone }

// Module is one module, resolved in itself and laid out, without addresses.
type Module struct {
	Name    string
	Machine arch.Machine
	Linux   bool // a Linux kernel module: only what __ksymtab lists is offered
	Names   []Name
	Size    [Regions]uint64 // bytes of each block
	Init    [Regions]uint64 // bytes of each block that are not known to be zero: Size without the NOBITS tail
	Align   [Regions]uint64 // alignment of each block
	Relocs  int             // relocations of the placed sections

	objs     []object
	byName   map[string]NameID
	gots     []gotSlot
	gotOff   uint64            // of the GOT in Tables
	slots    map[gotSlot]int32 // index into gots
	veneers  []veneer
	vindex   map[veneerKey]int32 // those of short branches
	far      []int32             // those of the whole module, by NameID: index into veneers plus 1; nil if there are none
	branches int                 // direct branches to names: at most so many sites
	stubs    map[symRef]int      // IFUNC symbols, each with a stub in Text, by their number
	stubOff  uint64
	commons  []common
	records  []aliasRecord
	bounds   map[string]bound // by section name, for __start_X and __stop_X
	info     *ModInfo         // nil without a MODULE record
}

// object is one object of a module with what Gather found.
type object struct {
	*elfload.Object
	names  []NameID // by symbol index minus Locals; noName for symbols without one
	places []place  // by section index

	functions *functions // for messages
}

const noName NameID = -1

// place is where a section lies in its block.
type place struct {
	off    uint64
	region Region
	kept   bool // false: not allocated, or a discarded COMDAT member
}

// symRef names a symbol of an object of the module.
type symRef struct {
	obj int32
	sym uint32
}

// ref names a relocation of the module; obj < 0 is none.
type ref struct {
	obj int32
	sec uint32
	idx int32
}

type defKind uint8

const (
	defNone    defKind = iota
	defSymbol          // a symbol in a kept section, or SHN_ABS
	defCommon          // index sym into Module.commons
	defSpecial         // see special.go
)

// def is where a name is defined in its module.
type def struct {
	symRef
	kind defKind
	weak bool
}

// gotSlot is what one GOT slot holds: the address of a name or, when obj >= 0, of
// a local symbol; on aarch64 plus an addend (GDAT(S+A), aaelf64 5.7.6).
type gotSlot struct {
	obj    int32 // -1: sym is a NameID
	sym    uint32
	addend int64
}

// veneerKey says whose a veneer is: of short branches in one section to a name
// (reach is short, so each section has its own), or (obj -1) of the whole module.
type veneerKey struct {
	obj  int32
	sec  uint32
	name NameID
}

type veneer struct {
	veneerKey
	off uint64 // in Text
}

type common struct {
	name  NameID
	size  uint64
	align uint64
	off   uint64 // in Data
}

// Answer is what a name of a module means at the moment of linking. The zero
// Answer is an absent weak symbol's: value 0.
type Answer struct {
	Branch  uint64            // S of direct branches: the current provider; the entry if there is none
	Address uint64            // S of everything else: the entry of a function, or the data itself
	Size    uint64            // Z, bytes
	Slot    aliasstack.SlotID // direct branches are sites that follow this slot; 0: they never switch
	Absent  bool              // a weak reference to nothing: 0, and on aarch64 a branch to it is a NOP
	Other   bool              // a function of another module: an addend into it is refused
}

// Input is what Apply needs beside the module.
type Input struct {
	At      [Regions]uint64 // address of each block; aligned as Module.Align says
	Answers []Answer        // by NameID; those of Own and Special names are ignored
	Sites   []Site          // memory for Result.Sites, overwritten; may be nil
	Static  bool            // bind names to what Answers say without sites, and relax nothing
}

// Site is one direct branch instruction that follows a slot.
type Site struct {
	Addr   uint64 // of the instruction's first byte
	Veneer uint64 // address of the veneer through which it goes when the provider is out of reach, 0 if it has none
	Slot   aliasstack.SlotID
	Name   NameID // what the instruction refers to, in its module
	Form   insn.Form
}

// Result is what Apply made beside the bytes.
type Result struct {
	Sites []Site // in the order of objects, sections, relocations; veneers last
}

// Lookup returns the id of a name of the module.
func (m *Module) Lookup(name string) (NameID, bool) {
	id, ok := m.byName[name]
	return id, ok
}

// Objects returns the module's objects, in order. The slice is the caller's.
func (m *Module) Objects() []*elfload.Object {
	r := make([]*elfload.Object, len(m.objs))
	for i := range m.objs {
		r[i] = m.objs[i].Object
	}
	return r
}

// Section returns where section sec of object obj lies: the region, the offset in
// its block, and whether it is placed at all.
func (m *Module) Section(obj int, sec int) (Region, uint64, bool) {
	p := m.objs[obj].places[sec]
	return p.region, p.off, p.kept
}

// GOT returns the offset and size of the GOT in the Tables block, bytes.
func (m *Module) GOT() (off, size uint64) { return m.gotOff, uint64(len(m.gots)) * 8 }

// Veneer is room for one veneer.
type Veneer struct {
	Name NameID // whose provider it leads to
	Off  uint64 // in the Text block
}

// Veneers returns the veneers that the module has room for. The slice is the caller's.
func (m *Module) Veneers() []Veneer {
	r := make([]Veneer, len(m.veneers))
	for i, v := range m.veneers {
		r[i] = Veneer{v.name, v.off}
	}
	return r
}

// CommonBlock is a COMMON symbol that got space in the module's data.
type CommonBlock struct {
	Name string
	Off  uint64 // in the Data block
	Size uint64
}

// Symbol returns the value of symbol sym of object obj, which must be in a placed
// section, when the blocks lie at the given addresses; an IFUNC's is its stub.
func (m *Module) Symbol(obj, sym int, at [Regions]uint64) uint64 {
	return m.symbolAddr(symRef{int32(obj), uint32(sym)}, at)
}

// Commons returns the module's COMMON symbols in the order of their offsets.
func (m *Module) Commons() []CommonBlock {
	r := make([]CommonBlock, len(m.commons))
	for i, c := range m.commons {
		r[i] = CommonBlock{m.Names[c.name].Name, c.off, c.size}
	}
	return r
}

// Offers returns the names that the module provides, in the order of Names.
func (m *Module) Offers() []NameID {
	var ids []NameID
	for i := range m.Names {
		if m.Names[i].Offered {
			ids = append(ids, NameID(i))
		}
	}
	return ids
}

// Own returns the address and size of the module's own definition of a name when
// its blocks lie at the given addresses; ok is false if it has none.
func (m *Module) Own(id NameID, at [Regions]uint64) (addr, size uint64, ok bool) {
	n := &m.Names[id]
	switch n.def.kind {
	case defSymbol:
		s := &m.objs[n.def.obj].Symbols[n.def.sym]
		return m.symbolAddr(n.def.symRef, at), s.Size, true
	case defCommon:
		c := &m.commons[n.def.sym]
		return at[Data] + c.off, c.size, true
	case defSpecial:
		return m.specialAddr(n.Name, at), 0, true
	}
	return 0, 0, false
}

// symbolAddr returns S of a defined symbol: an IFUNC's is its stub.
func (m *Module) symbolAddr(r symRef, at [Regions]uint64) uint64 {
	o := &m.objs[r.obj]
	s := &o.Symbols[r.sym]
	if s.Type == elfload.IFunc {
		if i, ok := m.stubs[r]; ok {
			return at[Text] + m.stubOff + uint64(i)*StubSize
		}
	}
	if s.Where != elfload.InSection {
		return s.Value
	}
	p := &o.places[s.Section]
	if !p.kept {
		return s.Value
	}
	return at[p.region] + p.off + s.Value
}

// StubSize is the space of an IFUNC's stub, bytes: room for a jump of either machine.
const StubSize = 16

// IsCommon says that the module's definition of a name is a COMMON symbol, and how
// large, bytes.
func (m *Module) IsCommon(id NameID) (size uint64, ok bool) {
	d := m.Names[id].def
	if d.kind != defCommon {
		return 0, false
	}
	return m.commons[d.sym].size, true
}

// Specials returns the names, other than _GLOBAL_OFFSET_TABLE_, that the linker made
// for this module, and their values when its blocks lie at the given addresses.
func (m *Module) Specials(at [Regions]uint64) map[string]uint64 {
	r := map[string]uint64{}
	for i := range m.Names {
		if n := &m.Names[i]; n.Bind == Special && n.Uses != 0 && n.Name != gotName {
			r[n.Name] = m.specialAddr(n.Name, at)
		}
	}
	return r
}
