// Package unwind finds who called a function that was stopped anywhere: it reads the
// unwind tables that compilers put into .eh_frame, as they lie in the arena after
// relocation, and steps from the registers of one frame to those of its caller.
//
// Two readers use it. A backtrace of a faulted thread steps until nothing is known.
// The proof at unload asks of every frame whether it is in a module; where a module
// has no tables, or they do not reach, it looks at each word of the stack with Scan.
//
//	Parse   bytes of one .eh_frame     → Table: the ranges of code that it describes
//	Find    address                    → FDE: the description of the function there
//	Step    registers + stack          → registers of the caller
//
// The tables come from object files and the stacks from threads that may have run
// wild: whatever is in them, every function here ends soon, stays inside of its
// slices and allocates in proportion to the table. What it cannot follow is an error,
// never a guess.
//
// Layer 1. Imports: arch, diag. A Table is immutable; all functions may be called from
// anywhere at the same time.
//
// Sources: DWARF 5, sections 2.5 (expressions) and 6.4 (call frame information); LSB
// Core 5.0, chapter 10 (.eh_frame); the x86-64 psABI, section 3.7, and aadwarf64 for
// the numbers of registers.
package unwind

import (
	"cmp"
	"slices"
	"sort"

	"klink/internal/arch"
	"klink/internal/diag"
)

// maxTable bounds a table, bytes; far above what compilers make.
const maxTable = 1 << 30

// Table is one parsed .eh_frame: which addresses it describes, and the bytes that
// say how.
type Table struct {
	machine *machine
	data    []byte
	addr    uint64 // of data at run time
	cies    []cie
	fdes    []FDE // sorted by lo
}

// cie is what the functions of one Common Information Entry share.
type cie struct {
	codeAlign uint64
	dataAlign int64
	ra        uint64 // the column of the return address
	enc       byte   // how addresses are encoded in its FDEs
	augmented bool   // its FDEs have augmentation data, to be passed over
	signal    bool   // its functions are left by signals, not by calls
	program   span   // the initial instructions
}

// FDE is the description of one range of code.
type FDE struct {
	Lo, Hi  uint64 // the addresses [Lo, Hi)
	cie     int32
	program span
}

// span is a part of a table's bytes, [lo, hi).
type span struct{ lo, hi uint32 }

// Parse reads data, the relocated bytes of one .eh_frame section of a module for
// machine m, which lies at address addr when the module runs. Entries of length 0, which
// end a section's part where several were put together, are passed over, and so are
// FDEs of code that the linker discarded (their address is 0).
//
// The Table keeps data, which must not change while it lives. The error is, by
// errors.Is, diag.ErrMalformed, diag.ErrUnsupported (a form that compilers for these
// machines do not emit) or diag.ErrMachine; exactly one of the results is nil.
func Parse(m arch.Machine, data []byte, addr uint64) (*Table, error) {
	t := &Table{machine: machines[m], data: data, addr: addr}
	if t.machine == nil {
		return nil, diag.New(diag.ErrMachine, "", "no unwind tables are known for %v", m)
	}
	if len(data) > maxTable {
		return nil, diag.New(diag.ErrUnsupported, "", ".eh_frame: %#x bytes are more than klink's limit of %#x", len(data), maxTable)
	}
	known := map[uint32]int32{} // offset of a CIE → its index
	for c := t.cursor(span{0, uint32(len(data))}); c.left() > 0; {
		start := c.at
		n := c.u32()
		if n == 0xffffffff {
			return nil, unsupported(start, "an entry in the 64-bit form")
		}
		if body := c.take(uint64(n)); c.bad {
			return nil, malformed(start, "an entry goes beyond the end of the table")
		} else if n == 0 {
			continue
		} else if err := t.entry(start, body, known); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(t.fdes, func(a, b FDE) int { return cmp.Compare(a.Lo, b.Lo) })
	return t, nil
}

// entry reads one CIE or FDE: the bytes behind its length, which stands at start.
func (t *Table) entry(start uint32, body span, known map[uint32]int32) error {
	c := t.cursor(body)
	at := c.at
	id := c.u32()
	if c.bad {
		return malformed(start, "an entry without an id")
	}
	if id == 0 {
		ci, err := t.readCIE(start, c)
		if err == nil {
			known[start] = int32(len(t.cies))
			t.cies = append(t.cies, ci)
		}
		return err
	}
	of, ok := known[at-id] // the id is the distance from itself back to the CIE
	if !ok || id > at {
		return malformed(start, "an FDE whose CIE is not there")
	}
	return t.readFDE(start, c, of)
}

// readCIE decodes a CIE from behind its id (LSB 10.6.1.1.1).
func (t *Table) readCIE(start uint32, c cursor) (cie, error) {
	ci := cie{enc: encAbsolute}
	version := c.u8()
	aug := c.text()
	switch version {
	case 1, 3:
	case 4:
		if size, segment := c.u8(), c.u8(); !c.bad && (size != 8 || segment != 0) {
			return ci, unsupported(start, "a CIE for addresses of %d bytes and segments of %d", size, segment)
		}
	default:
		if !c.bad {
			return ci, unsupported(start, "a CIE of version %d", version)
		}
	}
	ci.codeAlign, ci.dataAlign = c.uleb(), c.sleb()
	if version == 1 {
		ci.ra = uint64(c.u8())
	} else {
		ci.ra = c.uleb()
	}
	if len(aug) > 0 {
		if err := t.augment(&ci, start, aug, &c); err != nil {
			return ci, err
		}
	}
	if c.bad {
		return ci, malformed(start, "a CIE that is cut off")
	}
	if ci.ra >= columns {
		return ci, unsupported(start, "a return address in column %d", ci.ra)
	}
	ci.program = c.rest()
	return ci, nil
}

// augment decodes what a CIE's augmentation string announces.
func (t *Table) augment(ci *cie, start uint32, aug []byte, c *cursor) error {
	if aug[0] != 'z' {
		return unsupported(start, "a CIE with the augmentation %s", diag.Quote(string(aug)))
	}
	ci.augmented = true
	data := t.cursor(c.take(c.uleb()))
	for _, letter := range aug[1:] {
		switch letter {
		case 'R': // how addresses are encoded
			ci.enc = data.u8()
		case 'P': // the personality routine, which nobody here calls
			data.pointer(data.u8()&^encIndirect, t.addr)
		case 'L': // how the address of the language's own table is encoded
			data.u8()
		case 'S':
			ci.signal = true
		case 'B', 'G': // aarch64: return addresses are signed with key B; stacks are tagged
		default:
			return unsupported(start, "a CIE with the augmentation %s", diag.Quote(string(aug)))
		}
	}
	if data.bad {
		return malformed(start, "a CIE whose augmentation data is cut off, or encoded in an unknown way")
	}
	return nil
}

// readFDE decodes an FDE from behind its id (LSB 10.6.1.1.2) and enters it.
func (t *Table) readFDE(start uint32, c cursor, of int32) error {
	ci := &t.cies[of]
	f := FDE{cie: of}
	f.Lo = c.pointer(ci.enc, t.addr)
	n := c.pointer(ci.enc&encFormat, t.addr)
	if ci.augmented {
		c.take(c.uleb())
	}
	if c.bad {
		return malformed(start, "an FDE that is cut off, or whose addresses are encoded in an unknown way")
	}
	if f.Lo == 0 || n == 0 {
		return nil // its code was discarded
	}
	if f.Hi = f.Lo + n; f.Hi < f.Lo {
		return malformed(start, "an FDE of %#x bytes at %#x", n, f.Lo)
	}
	f.program = c.rest()
	t.fdes = append(t.fdes, f)
	return nil
}

// Find returns the description of the code at pc; ok is false if there is none.
func (t *Table) Find(pc uint64) (f FDE, ok bool) {
	i := sort.Search(len(t.fdes), func(i int) bool { return t.fdes[i].Lo > pc })
	if i == 0 || pc >= t.fdes[i-1].Hi {
		return FDE{}, false
	}
	return t.fdes[i-1], true
}

// Len returns how many ranges of code the table describes.
func (t *Table) Len() int { return len(t.fdes) }

// malformed is an error about the entry at an offset.
func malformed(at uint32, format string, args ...any) error {
	e := diag.New(diag.ErrMalformed, "", format, args...)
	e.Text = diag.New(nil, "", ".eh_frame+%#x: ", at).Text + e.Text
	return e
}

// unsupported is the same for a form that is not read.
func unsupported(at uint32, format string, args ...any) error {
	e := diag.New(diag.ErrUnsupported, "", format, args...)
	e.Text = diag.New(nil, "", ".eh_frame+%#x: ", at).Text + e.Text
	return e
}
