// Package reloc is the table of relocation types: one row a type, with its
// formula, its field, its range, its alignment, and what kind of reference it is.
//
// A fix-up is three steps, each a method of the row. Value computes the formula,
// Check says whether the value fits, Put writes it into the field at the place.
// Before that, Fits says whether the bytes around the place are the instruction
// that the type implies. Policy (which address S is, whether a slot, an entry or a
// veneer is needed) is the linker's; the row's Kind tells it what to ask.
//
// The rows of a machine stand in amd64_rows.go and arm64_rows.go, the types that
// klink knows but does not link, each with its reason, in amd64_refused.go and
// arm64_refused.go. docs/relocations.md is generated from all four.
//
// Layer 1. Imports: arch. Everything here is immutable data and pure functions:
// safe for concurrent use, no allocation on the paths that run once a relocation.
package reloc

//go:generate go test -run TestDocument -update

import (
	"fmt"

	"klink/internal/arch"
)

// Formula is how a fix-up's value follows from its Inputs.
type Formula uint8

// The formulas, in psABI letters. G is the address of the symbol's GOT slot, where
// the x86-64 psABI has an offset from GOT: its G + GOT is our G. On aarch64 a slot
// formula without A has given its addend to the slot, GDAT(S + A): see AddendInSlot.
const (
	None        Formula = iota // nothing is computed or written
	Abs                        // S + A
	Sym                        // S
	PCRel                      // S + A - P
	PageRel                    // Page(S + A) - Page(P)
	PLTRel                     // L + A - P
	PLTGOTRel                  // L + A - GOT
	GOTRel                     // S + A - GOT
	GOTBaseRel                 // GOT + A - P
	SlotRel                    // G + A - P
	SlotPlace                  // G - P
	SlotOff                    // G + A - GOT
	SlotPageRel                // Page(G) - Page(P)
	SlotAbs                    // G
	SlotGOTPage                // G - Page(GOT)
	SlotGOTOff                 // G - GOT
	Size                       // Z + A
	formulas                   // how many there are
)

// formulaFacts says of each formula how it is written and what it needs.
var formulaFacts = [formulas]struct {
	text string
	got  bool // needs the GOT's address
	slot bool // needs a slot of the symbol in the GOT
	eats bool // the slot holds S + A, so the addend is not in the value

	place bool // the symbol's distance from the place
}{
	None:        {text: "none"},
	Abs:         {text: "S + A"},
	Sym:         {text: "S"},
	PCRel:       {text: "S + A - P", place: true},
	PageRel:     {text: "Page(S + A) - Page(P)", place: true},
	PLTRel:      {text: "L + A - P", place: true},
	PLTGOTRel:   {text: "L + A - GOT", got: true},
	GOTRel:      {text: "S + A - GOT", got: true},
	GOTBaseRel:  {text: "GOT + A - P", got: true},
	SlotRel:     {text: "G + A - P", slot: true},
	SlotPlace:   {text: "G - P", slot: true, eats: true},
	SlotOff:     {text: "G + A - GOT", got: true, slot: true},
	SlotPageRel: {text: "Page(G) - Page(P)", slot: true, eats: true},
	SlotAbs:     {text: "G", slot: true, eats: true},
	SlotGOTPage: {text: "G - Page(GOT)", got: true, slot: true, eats: true},
	SlotGOTOff:  {text: "G - GOT", got: true, slot: true, eats: true},
	Size:        {text: "Z + A"},
}

// String returns the formula in psABI letters: "S + A - P".
func (f Formula) String() string {
	if f < formulas {
		return formulaFacts[f].text
	}
	return fmt.Sprintf("formula %d", uint8(f))
}

// UsesGOT says that the value depends on the address of the GOT, so that the
// module needs one even if no slot is used.
func (f Formula) UsesGOT() bool { return f < formulas && formulaFacts[f].got }

// UsesSlot says that the value depends on the address G of a GOT slot.
func (f Formula) UsesSlot() bool { return f < formulas && formulaFacts[f].slot }

// AddendInSlot says that the slot holds S + A instead of S (aarch64's GDAT(S + A)):
// references with different addends need different slots. aaelf64 wants A to be 0.
func (f Formula) AddendInSlot() bool { return f < formulas && formulaFacts[f].eats }

// FromPlace says that the value is a distance of the symbol from the place: where nobody
// defines a weak symbol, aaelf64 5.6.1 takes the place for its address then, and 0 else.
// A distance of the symbol's GOT slot is none: what lies in the slot is absolute.
func (f Formula) FromPlace() bool { return f < formulas && formulaFacts[f].place }

// Inputs are the numbers that a formula may use: addresses and sizes in bytes.
// Those that the formula does not name are not looked at.
type Inputs struct {
	S   uint64 // address of the symbol
	A   int64  // addend
	P   uint64 // address of the place
	G   uint64 // address of the symbol's GOT slot
	GOT uint64 // address of the GOT
	L   uint64 // address of the symbol's entry, or S itself when bound directly
	Z   uint64 // size of the symbol, bytes
}

// Kind is what a reference is, from which the linker decides what to bind it to.
type Kind uint8

// The kinds.
const (
	KindNone        Kind = iota // nothing is referred to
	KindBranch                  // a direct branch of long reach, when in executable text: PLT32, CALL26, JUMP26
	KindMaybeBranch             // x86-64 PC32: the opcode before the field decides between branch and address
	KindShortBranch             // a conditional branch of short reach: CONDBR19, TSTBR14
	KindAddress                 // takes the address of the symbol
	KindGOT                     // needs a GOT slot for the symbol
	KindRelaxable               // needs a slot unless the instruction is relaxed: GOTPCRELX, REX_GOTPCRELX
	KindGOTBase                 // refers to the GOT itself; the symbol is not used
	KindSize                    // takes the size of the symbol
)

// kindNames are for documents and messages.
var kindNames = [...]string{
	KindNone: "none", KindBranch: "branch", KindMaybeBranch: "branch or address", KindShortBranch: "short branch",
	KindAddress: "address", KindGOT: "GOT slot", KindRelaxable: "GOT slot, relaxable", KindGOTBase: "GOT base", KindSize: "size",
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Verdict is the answer of a check; OK is the zero value.
type Verdict uint8

// The verdicts.
const (
	OK           Verdict = iota
	Misaligned           // the value is no multiple of Row.Align
	OutOfRange           // the value is not in [Row.Min, Row.Max]
	BadInsn              // the bytes at the place are not the instruction that the type implies
	OutOfSection         // the place, or the instruction around it, is not inside the section
)

// verdictNames are the verdicts in words.
var verdictNames = [...]string{
	OK: "ok", Misaligned: "misaligned", OutOfRange: "out of range",
	BadInsn: "unexpected instruction", OutOfSection: "outside of the section",
}

// String returns the verdict in words.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Row is one relocation type. Rows are shared and must not be changed.
type Row struct {
	Type     uint32  // ELF64_R_TYPE
	Name     string  // the psABI's name: "R_X86_64_PLT32"
	Formula  Formula // how the value is computed
	Field    Field   // which bits of the value go where
	Width    uint8   // bytes read and written at the place; 0 for NONE
	Min, Max int64   // smallest and largest value that fits, both inclusive; any value where Checked is false
	Checked  bool    // values outside of [Min, Max] are refused
	Align    uint8   // the value must be a multiple of this, at least 1
	Kind     Kind    // what the linker binds it to
	Source   string  // where the psABI defines it
	Note     string  // what is remarkable about it; goes into the document

	insn insnRule // which instruction Fits demands
}

// Lookup returns the row of type typ of machine m, or nil if klink does not link
// that type (then Refused may have a reason).
func Lookup(m arch.Machine, typ uint32) *Row {
	switch {
	case m == arch.AMD64 && typ < uint32(len(amd64Index)):
		return amd64Index[typ]
	case m == arch.ARM64 && typ < uint32(len(arm64Index)):
		return arm64Index[typ]
	}
	return nil
}

// Rows returns all rows of machine m, sorted by type; nil for other machines. The
// slice is the caller's.
func Rows(m arch.Machine) []*Row {
	var rows []*Row
	for _, r := range indexOf(m) {
		if r != nil {
			rows = append(rows, r)
		}
	}
	return rows
}

// indexOf returns the rows of m by type.
func indexOf(m arch.Machine) []*Row {
	switch m {
	case arch.AMD64:
		return amd64Index
	case arch.ARM64:
		return arm64Index
	}
	return nil
}

// refusedType is a type that the psABI or another linker defines and klink refuses.
type refusedType struct {
	typ    uint32
	name   string // "" if the number never had one
	reason string
}

// refusedOf returns the refused types of m, sorted by type.
func refusedOf(m arch.Machine) []refusedType {
	switch m {
	case arch.AMD64:
		return amd64Refused
	case arch.ARM64:
		return arm64Refused
	}
	return nil
}

// findRefused returns the refused type typ of m, or nil.
func findRefused(m arch.Machine, typ uint32) *refusedType {
	list := refusedOf(m)
	for i := range list { // only on the way to an error message
		if list[i].typ == typ {
			return &list[i]
		}
	}
	return nil
}

// Refused returns why klink does not link type typ of machine m: one line, without
// the type's name. ok is false if the type has a row or is unknown.
func Refused(m arch.Machine, typ uint32) (reason string, ok bool) {
	if r := findRefused(m, typ); r != nil {
		return r.reason, true
	}
	return "", false
}

// prefixes of the types' names.
const (
	amd64Prefix = "R_X86_64_"
	arm64Prefix = "R_AARCH64_"
)

// TypeName returns the psABI's name of type typ of machine m, of rows and refused
// types alike. An unknown type is shown by its number in angle brackets,
// "R_X86_64_<64>", because R_X86_64_64 would be the name of another type.
func TypeName(m arch.Machine, typ uint32) string {
	if r := Lookup(m, typ); r != nil {
		return r.Name
	}
	if r := findRefused(m, typ); r != nil && r.name != "" {
		return r.name
	}
	switch m {
	case arch.AMD64:
		return fmt.Sprintf("%s<%d>", amd64Prefix, typ)
	case arch.ARM64:
		return fmt.Sprintf("%s<%d>", arm64Prefix, typ)
	}
	return fmt.Sprintf("relocation <%d>", typ)
}

// pageMask takes an address to its page. The page of a formula is 4 KiB on every
// machine, whatever the size of the pages that memory is mapped in.
const pageMask = ^uint64(0xfff)

// Value computes the row's formula, modulo 2^64. in is only read.
func (r *Row) Value(in *Inputs) int64 {
	a := uint64(in.A)
	switch r.Formula {
	case Abs:
		return int64(in.S + a)
	case Sym:
		return int64(in.S)
	case PCRel:
		return int64(in.S + a - in.P)
	case PageRel:
		return int64((in.S+a)&pageMask - in.P&pageMask)
	case PLTRel:
		return int64(in.L + a - in.P)
	case PLTGOTRel:
		return int64(in.L + a - in.GOT)
	case GOTRel:
		return int64(in.S + a - in.GOT)
	case GOTBaseRel:
		return int64(in.GOT + a - in.P)
	case SlotRel:
		return int64(in.G + a - in.P)
	case SlotPlace:
		return int64(in.G - in.P)
	case SlotOff:
		return int64(in.G + a - in.GOT)
	case SlotPageRel:
		return int64(in.G&pageMask - in.P&pageMask)
	case SlotAbs:
		return int64(in.G)
	case SlotGOTPage:
		return int64(in.G - in.GOT&pageMask)
	case SlotGOTOff:
		return int64(in.G - in.GOT)
	case Size:
		return int64(in.Z + a)
	}
	return 0 // None
}

// Check says whether value v may be put into the field: Misaligned, then
// OutOfRange, else OK.
func (r *Row) Check(v int64) Verdict {
	if v&int64(r.Align-1) != 0 {
		return Misaligned
	}
	if r.Checked && (v < r.Min || v > r.Max) {
		return OutOfRange
	}
	return OK
}

// RangeText returns the values that fit r, half-open, as messages show them:
// "[-0x80000000, 0x80000000)"; "any value" if r is not checked.
func RangeText(r *Row) string {
	if !r.Checked {
		return "any value"
	}
	return fmt.Sprintf("[%s, %s)", hexText(r.Min), hexText(r.Max+1))
}

// hexText returns v in hexadecimal, 0 without a prefix.
func hexText(v int64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", v)
}

// build returns the rows of a table by type; the table is complete in itself
// except for Width and unchecked limits, which follow from Field and Checked.
func build(table []Row) []*Row {
	last := uint32(0)
	for i := range table {
		last = max(last, table[i].Type)
	}
	index := make([]*Row, last+1)
	for i := range table {
		r := &table[i]
		r.Width = layouts[r.Field].width
		r.Align = max(r.Align, 1)
		r.Checked = r.Min != 0 || r.Max != 0
		if !r.Checked {
			r.Min, r.Max = -1<<63, 1<<63-1
		}
		index[r.Type] = r
	}
	return index
}
