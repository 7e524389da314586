package link

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/insn"
)

// What it takes to run a module beside its bytes: its constructors and destructors, its
// IFUNC resolvers, its unwind tables; for the MODULE record see modinfo.go. Addresses
// are as in Module.Own: the caller says where the blocks lie.

// Span is a range of addresses; Size is in bytes.
type Span struct{ Addr, Size uint64 }

// pointerSize is the size of a slot that holds an address, bytes.
const pointerSize = 8

// arrayFamilies are the sections of pointers to functions that run before or after all
// others: PREFIX itself, or PREFIX.PRIORITY.
var arrayFamilies = []arrayFamily{
	{prefix: ".preinit_array", typ: elfload.PreinitArray, pre: true},
	{prefix: ".init_array", typ: elfload.InitArray},
	{prefix: ".ctors", backward: true},
	{prefix: ".fini_array", typ: elfload.FiniArray, fini: true},
	{prefix: ".dtors", fini: true, backward: true},
}

// arrayFamily is one kind of such sections. typ is that of sections which belong here
// whatever their name; backward means that GNU ld turns a section's pointers round when
// it makes one array of all.
type arrayFamily struct {
	prefix              string
	typ                 elfload.SectionType
	pre, fini, backward bool
}

// familyOf returns the family of a section, nil if it has none, and what follows the
// prefix in its name.
func familyOf(s *elfload.Section) (f *arrayFamily, rest string) {
	for i := range arrayFamilies {
		f := &arrayFamilies[i]
		if rest, ok := strings.CutPrefix(s.Name, f.prefix); ok && (rest == "" || rest[0] == '.') {
			return f, rest
		}
	}
	for i := range arrayFamilies {
		if f := &arrayFamilies[i]; f.typ != 0 && s.Type == f.typ {
			return f, ""
		}
	}
	return nil, ""
}

// array is one section of pointers, with what decides when it runs.
type array struct {
	obj, sec int
	group    int // 0 .preinit_array, 1 sections with a suffix, 2 those without
	priority uint64
	name     string // of sections with a suffix
	backward bool
}

// noPriority comes after every number that GNU ld takes for a priority.
const noPriority = math.MaxInt32 + 1

// priority returns the number behind the last dot of a name with a suffix, as GNU ld's
// SORT_BY_INIT_PRIORITY reads it: of .ctors and .dtors it counts down from 65535.
func (f *arrayFamily) priority(rest string) uint64 {
	n, err := strconv.ParseUint(rest[strings.LastIndexByte(rest, '.')+1:], 10, 64)
	if err == nil && f.backward {
		n = 65535 - n // wraps to what is no priority
	}
	if err != nil || n > math.MaxInt32 {
		return noPriority
	}
	return n
}

// arrays returns the constructors' sections, or the destructors', in the order in which
// GNU ld's own script puts them side by side.
func (m *Module) arrays(fini bool) []array {
	var list []array
	for oi := range m.objs {
		o := &m.objs[oi]
		for si := range o.Sections {
			s := &o.Sections[si]
			if !o.places[si].kept || s.Type == elfload.Nobits {
				continue
			}
			f, rest := familyOf(s)
			if f == nil || f.fini != fini {
				continue
			}
			a := array{obj: oi, sec: si, group: 2, backward: f.backward}
			switch {
			case f.pre:
				a.group = 0
			case rest != "":
				a.group, a.priority, a.name = 1, f.priority(rest), s.Name
			}
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b array) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.priority, b.priority), cmp.Compare(a.name, b.name),
			cmp.Compare(a.obj, b.obj), cmp.Compare(a.sec, b.sec))
	})
	return list
}

// pointerSlots returns the addresses of the pointers in arrays, in their order.
func (m *Module) pointerSlots(list []array, at [Regions]uint64) []uint64 {
	var slots []uint64
	for _, a := range list {
		o := &m.objs[a.obj]
		p, n := &o.places[a.sec], o.Sections[a.sec].Size/pointerSize
		for i := range n {
			if a.backward {
				i = n - 1 - i
			}
			slots = append(slots, at[p.region]+p.off+i*pointerSize)
		}
	}
	return slots
}

// InitArray returns the addresses of the slots that hold pointers to constructors, in
// the order in which they are to be called: .preinit_array, then .init_array.N and
// .ctors.N by priority, then .init_array and .ctors of each object in turn, of .ctors
// the last pointer first (gABI 5.5; GNU ld's SORT_BY_INIT_PRIORITY). A slot may hold 0
// or all ones, which is no function. Most lie in data, where the module's own code can
// change them: who calls what a slot holds looks first where that leads.
func (m *Module) InitArray(at [Regions]uint64) []uint64 { return m.pointerSlots(m.arrays(false), at) }

// FiniArray is InitArray for destructors, .fini_array and .dtors: what was constructed
// first is destroyed last.
func (m *Module) FiniArray(at [Regions]uint64) []uint64 {
	slots := m.pointerSlots(m.arrays(true), at)
	slices.Reverse(slots)
	return slots
}

// checkArrays refuses arrays of pointers that end in the middle of one.
func (g *gatherer) checkArrays() {
	for oi := range g.objs {
		o := &g.objs[oi]
		for si := range o.Sections {
			s := &o.Sections[si]
			if s.Size%pointerSize == 0 || !o.places[si].kept {
				continue
			}
			if f, _ := familyOf(s); f != nil {
				g.refuseRecord(oi, s, 0, "", "the size is no multiple of a pointer's")
			}
		}
	}
}

// IFunc is an STT_GNU_IFUNC symbol that the module defines: who refers to it goes
// through the stub, whose jump PutStub writes when the resolver has said where it leads.
type IFunc struct{ Stub, Resolver uint64 } // addresses; a stub has StubSize bytes

// IFuncs returns the module's IFUNC symbols in the order of their stubs, which Apply
// fills with trap instructions. One whose resolver would be no code has no place here,
// and stays a trap.
func (m *Module) IFuncs(at [Regions]uint64) []IFunc {
	list := make([]IFunc, 0, len(m.stubs))
	for r, i := range m.stubs {
		o := &m.objs[r.obj]
		s := &o.Symbols[r.sym]
		if p := &o.places[s.Section]; p.kept && p.region == Text && s.Value < o.Sections[s.Section].Size {
			list = append(list, IFunc{at[Text] + m.stubOff + uint64(i)*StubSize, at[Text] + p.off + s.Value})
		}
	}
	slices.SortFunc(list, func(a, b IFunc) int { return cmp.Compare(a.Stub, b.Stub) })
	return list
}

// PutStub writes to the first StubSize bytes of dst the stub at address stub of an
// IFUNC whose resolver said target: a jump, and behind it trap instructions.
//
//	x86-64     e9 rel32             jmp target
//	aarch64    imm26 | 14000000     b target, or if that is out of reach
//	           58000050 d61f0200    ldr x16, #8; br x16; .quad target
//
// It returns false, with nothing written, if no jump at stub leads to target (see
// insn.Form.InReach) or dst is too short.
func PutStub(machine arch.Machine, dst []byte, stub, target uint64) bool {
	facts := machine.Facts()
	if facts == nil || len(dst) < StubSize {
		return false
	}
	for _, f := range stubForms[machine] {
		var jump [StubSize]byte
		if f.Encode(jump[:], stub, target) {
			n := copy(dst, jump[:f.Len()])
			fill(dst[n:StubSize], facts.TrapBytes)
			return true
		}
	}
	return false
}

// stubForms are the jumps of a stub, the preferred one first.
var stubForms = map[arch.Machine][]insn.Form{
	arch.AMD64: {insn.Jmp32},
	arch.ARM64: {insn.B, insn.FarJump},
}

// UnwindTables returns where the .eh_frame sections of the module's objects lie, in the
// order of objects. They are kept apart: between two may be a gap for alignment, which
// reads as the terminator of the first.
func (m *Module) UnwindTables(at [Regions]uint64) []Span {
	var list []Span
	for oi := range m.objs {
		o := &m.objs[oi]
		for si := range o.Sections {
			s, p := &o.Sections[si], &o.places[si]
			if p.kept && s.Name == ".eh_frame" && s.Type != elfload.Nobits && s.Size > 0 {
				list = append(list, Span{at[p.region] + p.off, s.Size})
			}
		}
	}
	return list
}
