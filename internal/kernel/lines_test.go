package kernel

import (
	"bytes"
	"compress/zlib"
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
	"klink/internal/testing/oracle"
)

// linesAt is where the blocks of these tests' modules lie.
var linesAt = [link.Regions]uint64{0x10000000, 0x20000000, 0x30000000}

// linesOf gathers a fixture and reads its line tables.
func linesOf(t testing.TB, file string) (*link.Module, *elfload.Object, *lineTable) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o, err := elfload.Parse(file, "", raw)
	if err != nil {
		t.Fatal(err)
	}
	m, err := link.Gather(link.Unit{Name: "m", Objects: []*elfload.Object{o}})
	if err != nil {
		t.Fatal(err)
	}
	debug, err := m.Debug(0, linesAt, lineSections...)
	if err != nil {
		t.Fatal(err)
	}
	table, err := newLines(debug)
	if err != nil {
		t.Fatal(err)
	}
	return m, o, table
}

// debugOf returns the sections that the line tables of a fixture are in.
func debugOf(t testing.TB, file string) map[string][]byte {
	t.Helper()
	m, _, _ := linesOf(t, file)
	debug, err := m.Debug(0, linesAt, lineSections...)
	if err != nil {
		t.Fatal(err)
	}
	return debug
}

// slowLine is the line of an address by going through all rows of the sequence that covers
// it, the last one that begins at or below it; 0 if none does.
func slowLine(table *lineTable, pc uint64) (line int) {
	var in *lineSequence
	for i := range table.seqs {
		if s := &table.seqs[i]; s.lo <= pc {
			in = s
		}
	}
	if in == nil || pc >= in.hi {
		return 0
	}
	u, err := table.unit(in.unit)
	if err != nil {
		return 0
	}
	var rows []lineRow
	_, _ = table.run(u, in.program, func(r *lineRow) bool {
		rows = append(rows, *r)
		return len(rows) < 1<<16
	})
	for i := range len(rows) - 1 {
		if rows[i].line != 0 && rows[i].addr <= pc && pc < rows[i+1].addr {
			return int(rows[i].line)
		}
	}
	return 0
}

// addr2line asks binutils for the lines of every instruction's address of a section, ""
// where there is none; not for the files: in tables of version 5 that of binutils 2.40
// takes one for another.
func addr2line(t *testing.T, m arch.Machine, file, section string, size uint64) []string {
	t.Helper()
	ld, err := oracle.FindLinker(m)
	if err != nil {
		t.Fatalf("%v (make tools brings it)", err)
	}
	program := strings.TrimSuffix(strings.TrimSuffix(ld.Path, ".bfd"), "ld") + "addr2line"
	var in bytes.Buffer
	for off := uint64(0); off < size; off += m.Facts().InsnAlign {
		fmt.Fprintf(&in, "%#x\n", off)
	}
	cmd := exec.Command(program, "-e", file, "-j", section)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	var lines []string
	for text := range strings.Lines(string(out)) {
		text, _, _ = strings.Cut(strings.TrimSpace(text), " (discriminator")
		line := text[strings.LastIndexByte(text, ':')+1:]
		if line == "?" || line == "0" {
			line = ""
		}
		lines = append(lines, line)
	}
	return lines
}

// stdLines has debug/dwarf read the line tables and returns the line of each address,
// as text, where there is one.
func stdLines(t *testing.T, m *link.Module) map[uint64]string {
	t.Helper()
	debug, err := m.Debug(0, linesAt)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dwarf.New(debug[".debug_abbrev"], nil, nil, debug[".debug_info"], debug[".debug_line"], nil, debug[".debug_ranges"], debug[".debug_str"])
	for name, data := range debug {
		if err == nil {
			err = d.AddSection(name, data)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := map[uint64]string{}
	units := d.Reader()
	for {
		cu, err := units.Next()
		if err != nil {
			t.Fatal(err)
		}
		if cu == nil {
			return lines
		}
		units.SkipChildren()
		rows, err := d.LineReader(cu)
		if err != nil {
			t.Fatal(err)
		}
		for last, row := (dwarf.LineEntry{EndSequence: true}), (dwarf.LineEntry{}); rows.Next(&row) == nil; last = row {
			for pc := last.Address; !last.EndSequence && last.Line > 0 && pc < row.Address; pc++ {
				lines[pc] = fmt.Sprintf("%s:%d", last.File.Name, last.Line)
			}
		}
	}
}

// TestLines compares the line of each address of the fixtures that have line tables, of
// both machines, with what debug/dwarf makes of them, and with addr2line's: gcc and clang,
// DWARF 4 and 5, 64-bit DWARF, compressed, several sections, two files.
func TestLines(t *testing.T) {
	var files []string
	for _, dir := range []string{"lines", "debug"} {
		found, err := filepath.Glob("../../testdata/objs/" + dir + "/*.o")
		if err != nil || len(found) == 0 {
			t.Fatalf("no fixtures in %s: %v", dir, err)
		}
		files = append(files, found...)
	}
	if len(files) < 24 {
		t.Fatalf("only %d fixtures", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			m, o, table := linesOf(t, file)
			std := stdLines(t, m)
			seen := map[string]bool{}
			for i := range o.Sections {
				s := &o.Sections[i]
				r, off, kept := m.Section(0, i)
				if !kept || s.Flags&elfload.Exec == 0 || s.Size == 0 {
					continue
				}
				lo := linesAt[r] + off
				for pc := lo; pc < lo+s.Size; pc++ {
					name, got := lineText(table, pc)
					seen[name] = true
					if got != std[pc] {
						t.Errorf("%s+%#x: got %q, debug/dwarf says %q", s.Name, pc-lo, got, std[pc])
					}
				}
				if strings.Contains(file, "dwarf64") { // which addr2line does not read
					continue
				}
				for n, want := range addr2line(t, o.Machine, file, s.Name, s.Size) {
					pc := lo + uint64(n)*o.Machine.Facts().InsnAlign
					_, text := lineText(table, pc)
					if got := text[strings.LastIndexByte(text, ':')+1:]; got != want {
						t.Errorf("%s+%#x: got line %q, addr2line says %q", s.Name, pc-lo, got, want)
					}
				}
			}
			if strings.Contains(file, "/lines/") && (!seen["lines/lines.c"] || !seen["lines/part.h"]) {
				t.Errorf("files seen: %v", seen)
			}
			if _, got := lineText(table, linesAt[link.Text]-1); got != "" {
				t.Errorf("outside of the text: %q", got)
			}
		})
	}
}

// lineText returns the file of an address, and "file:line"; both "" if there is none.
func lineText(table *lineTable, pc uint64) (file, text string) {
	file, line, ok := table.at(pc)
	if !ok {
		return "", ""
	}
	return file, file + ":" + strconv.Itoa(line)
}

// lineBuilder makes a .debug_line by hand.
type lineBuilder struct {
	version uint16
	wide    bool
	tables  []byte
	program []byte
	lengths []byte // of the standard opcodes; nil: the usual ones
	tail    []byte // behind the unit
}

// set returns the instruction set_address.
func set(addr uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0, 9, 2}, addr)
}

// Pieces of programs; special opcodes are line_base -5, line_range 14, opcode_base 13.
var (
	endSequence = []byte{0, 1, 1}
	filesOld    = []byte("dir\x00/abs\x00\x00one.c\x00\x00\x00\x00two.h\x00\x01\x00\x00three.h\x00\x02\x00\x00/four.h\x00\x01\x00\x00five\x00\x09\x00\x00\x00")
)

// special returns the special opcode that advances by so many bytes and lines, -5 to 8.
func special(addr, line int) byte { return byte(line + 5 + 14*addr + 13) }

func (b lineBuilder) bytes() []byte {
	lengths := b.lengths
	if lengths == nil {
		lengths = []byte{0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1}
	}
	header := []byte{1}
	if b.version >= 4 {
		header = append(header, 1)
	}
	header = append(header, 1, 0xfb, 14, byte(len(lengths)+1))
	header = append(append(header, lengths...), b.tables...)
	body := binary.LittleEndian.AppendUint16(nil, b.version)
	if b.version >= 5 {
		body = append(body, 8, 0)
	}
	if b.wide {
		body = binary.LittleEndian.AppendUint64(body, uint64(len(header)))
	} else {
		body = binary.LittleEndian.AppendUint32(body, uint32(len(header)))
	}
	body = append(append(body, header...), b.program...)
	if b.wide {
		return slices.Concat([]byte{0xff, 0xff, 0xff, 0xff}, binary.LittleEndian.AppendUint64(nil, uint64(len(body))), body, b.tail)
	}
	return slices.Concat(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body, b.tail)
}

// files5 are the tables of version 5: folders by line_strp, files by every form of a number.
var files5 = slices.Concat(
	[]byte{1, 1, 0x1f, 2}, []byte{0, 0, 0, 0, 5, 0, 0, 0}, // folders "comp" and "dir"
	[]byte{9, 1, 0x08, 2, 0x0b, 3, 0x0f, 4, 0x05, 4, 0x06, 4, 0x07, 5, 0x1e, 7, 0x09, 0x80, 0x40, 0x0e, 2},
	[]byte("zero.c\x00"), []byte{0, 0x81, 1, 0, 0, 0, 0, 0, 0}, make([]byte, 8), make([]byte, 16), []byte{2, 9, 9}, []byte{0, 0, 0, 0},
	[]byte("one.h\x00"), []byte{1, 0x81, 1, 0, 0, 0, 0, 0, 0}, make([]byte, 8), make([]byte, 16), []byte{0}, []byte{0, 0, 0, 0},
)

// TestLinePrograms: every opcode, and every way to name a file.
func TestLinePrograms(t *testing.T) {
	program := slices.Concat(
		set(0x1000), []byte{3, 1, special(0, 8)}, // 0x1000: one.c:10
		[]byte{4, 2, 3, 0x7e, 2, 4, 1},    // set_file 2, advance_line -2, advance_pc 4, copy: 0x1004: dir/two.h:8
		[]byte{4, 3, 8, 1},                // set_file 3, const_add_pc (17), copy: 0x1015: /abs/three.h:8
		[]byte{4, 4, 9, 0x10, 0, 1},       // set_file 4, fixed_advance_pc 16, copy: 0x1025: /four.h:8
		[]byte{5, 7, 6, 7, 10, 11, 12, 5}, // column, statement, block, prologue, epilogue, isa
		[]byte{4, 5, special(1, 1)},       // 0x1026: five:9, whose folder is not there
		[]byte{0, 3, 4, 1, 2},             // discriminator, with something behind it
		[]byte{3, 0x77, special(1, 0)},    // advance_line -9: 0x1027: line 0
		[]byte{4, 1, special(1, 3)},       // 0x1028: one.c:3
		[]byte{3, 1, 1},                   // the same address: one.c:4
		[]byte{2, 8}, endSequence,         // up to 0x1030
		set(0x800), []byte{1, 2, 4}, endSequence,
		set(0), []byte{1, 2, 64}, endSequence, // discarded
		set(0x9000), []byte{4, 99, 1, 2, 4}, endSequence, // a file that is not there
		set(0x7000), []byte{1}, // no end
	)
	want := map[uint64]string{
		0xfff: "", 0x1000: "one.c:10", 0x1003: "one.c:10", 0x1004: "dir/two.h:8", 0x1014: "dir/two.h:8", 0x1015: "/abs/three.h:8",
		0x1025: "/four.h:8", 0x1026: "five:9", 0x1027: "", 0x1028: "one.c:4", 0x102f: "one.c:4", 0x1030: "",
		0x800: "one.c:1", 0x803: "one.c:1", 0x804: "", 0: "", 63: "", 0x9000: "", 0x7000: "", math.MaxUint64: "",
	}
	for name, b := range map[string]lineBuilder{
		"version 2":         {version: 2},
		"version 3":         {version: 3},
		"version 4":         {version: 4},
		"version 4, 64-bit": {version: 4, wide: true},
	} {
		t.Run(name, func(t *testing.T) {
			b.tables, b.program = filesOld, program
			wantLinesAt(t, map[string][]byte{".debug_line": b.bytes()}, want)
		})
	}
	t.Run("version 5", func(t *testing.T) {
		p := slices.Concat(set(0x1000), []byte{4, 0, 1, 2, 4, 4, 1, 1, 2, 4, 4, 2, 1, 2, 4}, endSequence)
		debug := map[string][]byte{
			".debug_line":     append(lineBuilder{version: 5, tables: files5, program: p}.bytes(), lineBuilder{version: 4, tables: filesOld, program: program}.bytes()...),
			".debug_line_str": []byte("comp\x00dir\x00"), ".debug_str": []byte("source\x00"),
		}
		wantLinesAt(t, debug, map[uint64]string{0x800: "one.c:1"})
		debug[".debug_line"] = lineBuilder{version: 5, tables: files5, program: p}.bytes()
		wantLinesAt(t, debug, map[uint64]string{0x1000: "zero.c:1", 0x1004: "dir/one.h:1", 0x1008: ""})
		delete(debug, ".debug_line_str")
		wantLinesAt(t, debug, map[uint64]string{0x1000: "zero.c:1", 0x1004: "one.h:1", 0x1008: ""})
	})
	t.Run("none", func(t *testing.T) { wantLinesAt(t, nil, map[uint64]string{0: "", 0x1000: ""}) })
	t.Run("few opcodes", func(t *testing.T) { // opcode_base 4: 4 and above are special
		p := slices.Concat(set(0x1000), []byte{4 + 5 + 7}, []byte{2, 8}, endSequence)
		b := lineBuilder{version: 4, tables: filesOld, program: p, lengths: []byte{0, 1, 1}}
		wantLinesAt(t, map[string][]byte{".debug_line": b.bytes()}, map[uint64]string{0x1000: "one.c:8", 0x1007: "one.c:8"})
	})
}

// wantLinesAt compares look-ups: "file:line", or "" for none.
func wantLinesAt(t *testing.T, debug map[string][]byte, want map[uint64]string) {
	t.Helper()
	table, err := newLines(debug)
	if err != nil {
		t.Fatal(err)
	}
	for pc, w := range want {
		if _, got := lineText(table, pc); got != w {
			t.Errorf("%#x: got %q, want %q", pc, got, w)
		}
	}
}

func TestLineErrors(t *testing.T) {
	good := lineBuilder{version: 4, tables: filesOld, program: slices.Concat(set(0x1000), endSequence)}
	put := func(at int, v byte) []byte { b := good.bytes(); b[at] = v; return b }
	for name, c := range map[string]struct {
		line []byte
		kind error
		text string
	}{
		"too short":      {[]byte{1, 2, 3}, diag.ErrMalformed, ".debug_line+0x0: a unit goes beyond the end of the section"},
		"too long":       {put(0, 0xff), diag.ErrMalformed, ".debug_line+0x0: a unit goes beyond the end of the section"},
		"64-bit":         {[]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0x80}, diag.ErrMalformed, "a unit goes beyond the end of the section"},
		"second unit":    {append(good.bytes(), 9, 0), diag.ErrMalformed, fmt.Sprintf(".debug_line+%#x: a unit goes", len(good.bytes()))},
		"version 1":      {put(4, 1), diag.ErrUnsupported, "line tables of version 1"},
		"version 6":      {put(4, 6), diag.ErrUnsupported, "line tables of version 6"},
		"addresses":      {put(4, 5), diag.ErrUnsupported, "segments of"},
		"header":         {put(6, 0xff), diag.ErrMalformed, "a header goes beyond the end of its unit"},
		"operations":     {put(11, 4), diag.ErrUnsupported, "4 operations in an instruction"},
		"line range":     {put(14, 0), diag.ErrMalformed, "a header that is cut off, or has no opcodes"},
		"opcode base":    {put(15, 0), diag.ErrMalformed, "a header that is cut off, or has no opcodes"},
		"opcode lengths": {put(15, 255), diag.ErrMalformed, "a header that is cut off, or has no opcodes"},
		"short address":  {lineBuilder{version: 4, tables: filesOld, program: []byte{0, 5, 2, 1, 2, 3, 4}}.bytes(), diag.ErrMalformed, "an instruction that is cut off"},
		"cut off":        {lineBuilder{version: 4, tables: filesOld, program: []byte{1, 2}}.bytes(), diag.ErrMalformed, "an instruction that is cut off"},
		"long opcode":    {lineBuilder{version: 4, tables: filesOld, program: []byte{0, 0xff, 0xff, 1, 1}}.bytes(), diag.ErrMalformed, "an instruction that is cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := newLines(map[string][]byte{".debug_line": c.line})
			if table != nil || err == nil || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %s", err, c.text)
			}
		})
	}
}

// TestLineFileTables: file tables that lie give no name, and soon.
func TestLineFileTables(t *testing.T) {
	p := slices.Concat(set(0x1000), []byte{4, 1, 1, 2, 4}, endSequence)
	for name, b := range map[string]lineBuilder{
		"no end":              {version: 4, tables: []byte("dir\x00"), program: p},
		"no file":             {version: 4, tables: []byte("\x00\x00"), program: p},
		"long name":           {version: 4, tables: append(bytes.Repeat([]byte("n"), 5000), 0), program: p},
		"entries of no bytes": {version: 5, tables: []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, program: p},
		"many entries":        {version: 5, tables: []byte{1, 1, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0}, program: p},
		"unknown form":        {version: 5, tables: []byte{1, 1, 8, 1, 'd', 0, 1, 1, 0x77, 2, 1, 1}, program: p},
		"string elsewhere":    {version: 5, tables: []byte{0, 0, 1, 1, 0x1f, 2, 0, 0, 0, 0, 0xff, 0, 0, 0}, program: p},
	} {
		t.Run(name, func(t *testing.T) {
			wantLinesAt(t, map[string][]byte{".debug_line": b.bytes()}, map[uint64]string{0x1000: ""})
		})
	}
}

// TestLinesKept: debug sections that expand a thousandfold do not make the host keep them
// all, and one object's may not be larger than a bound.
func TestLinesKept(t *testing.T) {
	packed := func(size int) []byte {
		b := bytes.NewBuffer(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte{1, 0, 0, 0, 0, 0, 0, 0}, uint64(size)), 1))
		z := zlib.NewWriter(b)
		_, _ = z.Write(make([]byte, size))
		_ = z.Close()
		return b.Bytes()
	}
	b := newBench(t, arch.AMD64)
	spec := ModuleSpec{As: "m"}
	for i, size := range []int{60 << 20, 60 << 20, 60 << 20, 60 << 20, 60 << 20, 65 << 20} {
		o := objbuild.New(arch.AMD64).Text(".text", function[arch.AMD64]).Global(fmt.Sprint("f", i), 0, funcSize).
			Debug(".debug_str", packed(size)).With(func(s *objbuild.Section) { s.Flags = objbuild.Compressed })
		spec.Files = append(spec.Files, b.file(fmt.Sprint("o", i, ".o"), o.Bytes()))
	}
	if _, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}}); err != nil {
		t.Fatal(err)
	}
	syms, err := b.Symbols([]string{"f*"}, "m")
	if err != nil || len(syms) != len(spec.Files) {
		t.Fatal(syms, err)
	}
	most := 0
	for _, s := range syms {
		b.mu.Lock()
		b.frame(b.names(), uint64(s.Addr))
		kept := 0
		for _, l := range b.byName["m"].lines {
			if l != nil {
				kept += l.size()
			}
		}
		if most = max(most, kept); kept > maxLinesKept || kept > b.lined {
			t.Errorf("%d bytes kept, %d known", kept, b.lined)
		}
		b.mu.Unlock()
	}
	if most != 240<<20 || b.byName["m"].lines[5].size() != 0 {
		t.Errorf("at most %d bytes kept, %d of the last", most, b.byName["m"].lines[5].size())
	}
}

// FuzzLines: whatever the sections, there is an error or a table, and a look-up of any
// address that the table knows of ends.
func FuzzLines(f *testing.F) {
	p := slices.Concat(set(0x1000), []byte{special(0, 8), 4, 2, 3, 0x7e, 2, 4, 1, 8, 1, 9, 1, 0, 5, 7}, endSequence)
	f.Add(lineBuilder{version: 4, tables: filesOld, program: p}.bytes(), []byte{}, []byte{})
	f.Add(lineBuilder{version: 5, tables: files5, program: p}.bytes(), []byte("comp\x00dir\x00"), []byte("source\x00"))
	f.Add(lineBuilder{version: 2, wide: true, tables: filesOld, program: p, tail: []byte{0, 0, 0, 0}}.bytes(), []byte{}, []byte{})
	for _, name := range []string{"gcc.amd64.o", "clang.arm64.o", "gcc_dwarf4.amd64.o", "gcc_dwarf64.arm64.o", "gcc_sections.amd64.o"} {
		debug := debugOf(f, "../../testdata/objs/lines/"+name)
		f.Add(debug[lineSections[0]], debug[lineSections[1]], debug[lineSections[2]])
	}
	f.Fuzz(func(t *testing.T, line, lineStr, str []byte) {
		table, err := newLines(map[string][]byte{".debug_line": line, ".debug_line_str": lineStr, ".debug_str": str})
		if (table == nil) == (err == nil) {
			t.Fatalf("table %v, error %v", table != nil, err)
		}
		if err != nil {
			return
		}
		for _, s := range table.seqs[:min(len(table.seqs), 16)] {
			for _, pc := range []uint64{s.lo - 1, s.lo, s.lo + (s.hi-s.lo)/2, s.hi - 1, s.hi} {
				file, n, ok := table.at(pc)
				if ok != (file != "") || ok != (n > 0) || len(file) > maxLinePath+1 {
					t.Fatalf("%#x: %q:%d, %v", pc, file, n, ok)
				}
				if want := slowLine(table, pc); ok && n != want {
					t.Fatalf("%#x: line %d, by all rows %d", pc, n, want)
				}
			}
		}
	})
}
