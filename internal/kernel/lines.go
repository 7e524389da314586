package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sort"

	"klink/internal/diag"
)

// Source lines of code, from the line tables (DWARF 5, 6.2; versions 2 to 5) of one
// object. Everything that a line needs stands in three sections, so the rest of the
// debug data is not even relocated. debug/dwarf is not used: it makes room for as many
// files as a header announces, and these headers come from anybody.

// lineSections are what newLines needs of an object: for link.Module.Debug.
var lineSections = []string{".debug_line", ".debug_line_str", ".debug_str"}

// Bounds on what is read. Compilers stay far below them.
const (
	maxLineSections = 64 << 20  // of the sections of one object, bytes
	maxLinesKept    = 256 << 20 // of all line tables that a host keeps, bytes
	maxLineSequence = 8 << 20   // of the instructions for one stretch of code, bytes: a look-up runs them
	maxLinePath     = 4096      // of a file's name with its folder, bytes
)

// lineTable says which line each address of an object belongs to. Immutable.
type lineTable struct {
	line, lineStr, str []byte
	seqs               []lineSequence // by lo
}

// lineSequence is one stretch of code and where the instructions for it are.
type lineSequence struct {
	lo, hi  uint64 // addresses [lo, hi)
	unit    uint32 // offset of its unit in .debug_line
	program uint32 // offset of its first instruction
}

// newLines reads the line tables of an object from its relocated debug sections, by
// name; without any there is a table that knows nothing. It keeps the bytes. The error is,
// by errors.Is, diag.ErrMalformed or diag.ErrUnsupported.
func newLines(debug map[string][]byte) (*lineTable, error) {
	t := &lineTable{line: debug[lineSections[0]], lineStr: debug[lineSections[1]], str: debug[lineSections[2]]}
	if n := t.size(); n > maxLineSections {
		return nil, diag.New(diag.ErrUnsupported, "", "line tables of %d bytes are more than klink's limit of %d", n, maxLineSections)
	}
	for at := uint32(0); at < uint32(len(t.line)); {
		u, err := t.unit(at)
		if err != nil {
			return nil, err
		}
		for program := u.program; program < u.end; {
			s := lineSequence{unit: at, program: program}
			first := true
			next, err := t.run(u, program, func(r *lineRow) bool {
				if first {
					s.lo, first = r.addr, false
				}
				s.hi = r.addr
				return true
			})
			if err != nil {
				return nil, err
			}
			if s.lo < s.hi && s.lo != 0 && next-program <= maxLineSequence { // 0: its code was discarded
				t.seqs = append(t.seqs, s)
			}
			program = next
		}
		at = u.end
	}
	slices.SortStableFunc(t.seqs, func(a, b lineSequence) int { return cmp.Compare(a.lo, b.lo) })
	return t, nil
}

// size returns the bytes that the table keeps.
func (t *lineTable) size() int { return len(t.line) + len(t.lineStr) + len(t.str) }

// at returns the source line of the instruction at pc; for a return address ask for the
// byte before it. file is named as the compiler was given it: relative to the folder that
// it ran in, if it was. ok is false where the tables name no line.
func (t *lineTable) at(pc uint64) (file string, line int, ok bool) {
	i := sort.Search(len(t.seqs), func(i int) bool { return t.seqs[i].lo > pc })
	if i == 0 || pc >= t.seqs[i-1].hi {
		return "", 0, false
	}
	s := &t.seqs[i-1]
	u, err := t.unit(s.unit)
	if err != nil {
		return "", 0, false
	}
	var last, found lineRow
	// A row holds from its address up to the next row's.
	_, err = t.run(u, s.program, func(r *lineRow) bool {
		if last.line != 0 && last.addr <= pc && pc < r.addr {
			found = last
			return false
		}
		last = *r
		return true
	})
	if err != nil || found.line == 0 || found.line > 1<<30 {
		return "", 0, false
	}
	if file, ok = t.file(u, found.file); !ok {
		return "", 0, false
	}
	return file, int(found.line), true
}

// lineRow is one row of a line table, as far as klink looks.
type lineRow struct {
	addr, file, line uint64
}

// lineUnit is the header of one compilation's line table.
type lineUnit struct {
	version    uint16
	wide       bool // 64-bit DWARF: offsets take 8 bytes
	minLength  uint64
	lineBase   int64
	lineRange  byte
	opcodeBase byte
	operands   []byte // of each standard opcode from 1 on: how many
	tables     uint32 // offset of the folders and files
	program    uint32 // offset of the instructions
	end        uint32 // and where they end
}

// unit decodes the header at an offset of .debug_line (DWARF 5, 6.2.4).
func (t *lineTable) unit(at uint32) (*lineUnit, error) {
	fail := func(kind error, format string, args ...any) (*lineUnit, error) {
		e := diag.New(kind, "", format, args...)
		e.Text = diag.New(nil, "", ".debug_line+%#x: ", at).Text + e.Text
		return nil, e
	}
	u := &lineUnit{}
	r := lineReader{data: t.line, at: at, end: uint32(len(t.line))}
	n := r.fixed(4)
	if u.wide = n == 0xffffffff; u.wide {
		n = r.fixed(8)
	}
	if r.bad || n > uint64(r.end-r.at) {
		return fail(diag.ErrMalformed, "a unit goes beyond the end of the section")
	}
	u.end = r.at + uint32(n)
	r.end = u.end
	if u.version = uint16(r.fixed(2)); u.version < 2 || u.version > 5 {
		return fail(diag.ErrUnsupported, "line tables of version %d", u.version)
	}
	if u.version == 5 {
		if size, segment := r.fixed(1), r.fixed(1); size != 8 || segment != 0 {
			return fail(diag.ErrUnsupported, "addresses of %d bytes and segments of %d", size, segment)
		}
	}
	n = r.offset(u.wide)
	if n > uint64(r.end-r.at) {
		return fail(diag.ErrMalformed, "a header goes beyond the end of its unit")
	}
	u.program = r.at + uint32(n)
	r.end = u.program
	u.minLength = r.fixed(1)
	if u.version >= 4 {
		if n := r.fixed(1); n != 1 {
			return fail(diag.ErrUnsupported, "%d operations in an instruction", n)
		}
	}
	r.fixed(1) // default_is_stmt
	u.lineBase, u.lineRange, u.opcodeBase = int64(int8(r.fixed(1))), byte(r.fixed(1)), byte(r.fixed(1))
	u.operands = r.take(uint64(max(u.opcodeBase, 1)) - 1)
	u.tables = r.at
	if r.bad || u.lineRange == 0 || u.opcodeBase == 0 {
		return fail(diag.ErrMalformed, "a header that is cut off, or has no opcodes")
	}
	return u, nil
}

// Opcodes of the line number program (DWARF 5, 7.22).
const (
	lineExtended     = 0
	lineCopy         = 1
	lineAdvancePC    = 2
	lineAdvanceLine  = 3
	lineSetFile      = 4
	lineConstAddPC   = 8
	lineFixedAdvance = 9

	lineEndSequence = 1 // extended
	lineSetAddress  = 2
)

// run executes the instructions of one sequence of a unit from an offset on and shows
// every row, the one that ends the sequence too, until visit returns false. It returns
// the offset behind the sequence.
func (t *lineTable) run(u *lineUnit, program uint32, visit func(*lineRow) bool) (next uint32, err error) {
	r := lineReader{data: t.line, at: program, end: u.end}
	row := lineRow{file: 1, line: 1}
	for r.at < r.end && !r.bad {
		op := byte(r.fixed(1))
		if op >= u.opcodeBase {
			n := op - u.opcodeBase
			row.addr += uint64(n/u.lineRange) * u.minLength
			row.line += uint64(u.lineBase + int64(n%u.lineRange))
			if !visit(&row) {
				return r.at, nil
			}
			continue
		}
		switch op {
		case lineExtended:
			if end := r.extended(&row); end {
				visit(&row)
				return r.at, nil
			}
		case lineCopy:
			if !visit(&row) {
				return r.at, nil
			}
		case lineAdvancePC:
			row.addr += r.uleb() * u.minLength
		case lineAdvanceLine:
			row.line += uint64(r.sleb())
		case lineSetFile:
			row.file = r.uleb()
		case lineConstAddPC:
			row.addr += uint64((255-u.opcodeBase)/u.lineRange) * u.minLength
		case lineFixedAdvance:
			row.addr += r.fixed(2)
		default: // columns, statements, whatever: only the operands are of interest
			for range u.operands[op-1] {
				r.uleb()
			}
		}
	}
	if r.bad {
		return 0, diag.New(diag.ErrMalformed, "", ".debug_line+%#x: an instruction that is cut off", r.at)
	}
	return u.end, nil
}

// extended executes the extended opcode that follows; end is true if it ends the
// sequence.
func (r *lineReader) extended(row *lineRow) (end bool) {
	operands := lineReader{data: r.take(r.uleb())}
	operands.end = uint32(len(operands.data))
	switch op := operands.fixed(1); {
	case operands.bad: // of length 0
	case op == lineEndSequence:
		return true
	case op == lineSetAddress:
		row.addr = operands.fixed(8)
		r.bad = r.bad || operands.bad || operands.at < operands.end
	}
	return false
}

// file returns the name of file n of a unit.
func (t *lineTable) file(u *lineUnit, n uint64) (string, bool) {
	r := &lineReader{data: t.line, at: u.tables, end: u.program}
	var name, dir []byte
	if u.version == 5 {
		dirs := *r
		t.entries(r, u, ^uint64(0))
		var of uint64
		if name, of = t.entries(r, u, n); of != 0 {
			dir, _ = t.entries(&dirs, u, of)
		}
	} else {
		name, dir = oldFile(r, n)
	}
	if len(name) == 0 || len(name)+len(dir) > maxLinePath {
		return "", false
	}
	if name[0] == '/' || len(dir) == 0 {
		return string(name), true
	}
	return string(dir) + "/" + string(name), true
}

// oldFile finds file n and its folder in the tables of versions 2 to 4, which end with
// an empty name; both count from 1.
func oldFile(r *lineReader, n uint64) (name, dir []byte) {
	dirs := *r
	for len(r.text()) > 0 {
	}
	for i := uint64(1); ; i++ {
		name = r.text()
		of := r.uleb()
		r.uleb() // time
		r.uleb() // length
		if len(name) == 0 || r.bad {
			return nil, nil
		}
		if i < n {
			continue
		}
		for ; of > 0; of-- {
			if dir = dirs.text(); len(dir) == 0 {
				return name, nil
			}
		}
		return name, dir
	}
}

// Contents of an entry in the tables of version 5 (DWARF 5, 7.22).
const (
	linePath  = 1
	lineIndex = 2
)

// entries reads a table of version 5 up to its entry n, which count from 0, and returns
// that one's name and folder; with an n beyond the table it passes over it.
func (t *lineTable) entries(r *lineReader, u *lineUnit, n uint64) (name []byte, dir uint64) {
	var formats [255][2]uint64
	count := r.fixed(1)
	for i := range count {
		formats[i] = [2]uint64{r.uleb(), r.uleb()}
	}
	total := r.uleb()
	if count == 0 {
		return nil, 0 // then an entry takes no bytes, and total may be anything
	}
	for i := uint64(0); i < total && i <= n && !r.bad; i++ {
		for _, f := range formats[:count] {
			text, number := t.form(r, u, f[1])
			switch {
			case i == n && f[0] == linePath:
				name = text
			case i == n && f[0] == lineIndex:
				dir = number
			}
		}
	}
	return name, dir
}

// lineForms are the forms of numbers in an entry, by the bytes that they take.
var lineForms = map[uint64]uint64{0x0b: 1, 0x05: 2, 0x06: 4, 0x07: 8}

// Other forms that compilers use there (DWARF 5, 7.5.6).
const (
	formString  = 0x08
	formBlock   = 0x09
	formStrp    = 0x0e
	formUdata   = 0x0f
	formData16  = 0x1e
	formLineStr = 0x1f
)

// form reads one value: a string or a number. An unknown form is bad.
func (t *lineTable) form(r *lineReader, u *lineUnit, form uint64) (text []byte, number uint64) {
	switch form {
	case formString:
		return r.text(), 0
	case formLineStr:
		return textAt(t.lineStr, r.offset(u.wide)), 0
	case formStrp:
		return textAt(t.str, r.offset(u.wide)), 0
	case formUdata:
		return nil, r.uleb()
	case formBlock:
		r.take(r.uleb())
		return nil, 0
	case formData16:
		r.take(16)
		return nil, 0
	}
	n := lineForms[form]
	r.bad = r.bad || n == 0
	return nil, r.fixed(n)
}

// textAt returns the string at an offset of a section, nil if there is none or it is
// longer than a path.
func textAt(section []byte, off uint64) []byte {
	if off >= uint64(len(section)) {
		return nil
	}
	rest := section[off:]
	if i := bytes.IndexByte(rest[:min(len(rest), maxLinePath)], 0); i >= 0 {
		return rest[:i]
	}
	return nil
}

// lineReader reads bytes from front to back. What goes beyond the end reads as 0 and
// sets bad.
type lineReader struct {
	data []byte
	at   uint32
	end  uint32 // at <= end <= len(data)
	bad  bool
}

// take returns the next n bytes.
func (r *lineReader) take(n uint64) []byte {
	if n > uint64(r.end-r.at) {
		r.bad = true
		r.at = r.end
		return nil
	}
	b := r.data[r.at : r.at+uint32(n)]
	r.at += uint32(n)
	return b
}

// fixed reads n bytes as a little-endian number, n <= 8.
func (r *lineReader) fixed(n uint64) uint64 {
	var word [8]byte
	copy(word[:], r.take(n))
	return binary.LittleEndian.Uint64(word[:])
}

// offset reads an offset of 32- or 64-bit DWARF.
func (r *lineReader) offset(wide bool) uint64 {
	if wide {
		return r.fixed(8)
	}
	return r.fixed(4)
}

// leb reads a LEB128 number: its lowest 64 bits, their count, and its last byte.
func (r *lineReader) leb() (v uint64, bits uint, last byte) {
	for {
		last = byte(r.fixed(1))
		if bits < 64 {
			v |= uint64(last&0x7f) << bits
			bits += 7
		}
		if last < 0x80 {
			return v, bits, last
		}
	}
}

func (r *lineReader) uleb() uint64 {
	v, _, _ := r.leb()
	return v
}

func (r *lineReader) sleb() int64 {
	v, bits, last := r.leb()
	if bits < 64 && last&0x40 != 0 {
		v |= ^uint64(0) << bits
	}
	return int64(v)
}

// text reads a string that ends in a NUL byte.
func (r *lineReader) text() []byte {
	i := bytes.IndexByte(r.data[r.at:r.end], 0)
	if i < 0 {
		r.take(uint64(r.end-r.at) + 1)
		return nil
	}
	return r.take(uint64(i) + 1)[:i]
}
