package unwind_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/unwind"
)

// TestFind: whatever the order of the entries, and with the ends of several parts in
// between; what was discarded, or is empty, is not there.
func TestFind(t *testing.T) {
	b := new(builder).usual(arch.AMD64).fde(codeAt+0x200, 0x10).fde(codeAt, 0x10)
	b.data = append(b.data, 0, 0, 0, 0, 0, 0, 0, 0)
	b.usual(arch.AMD64).fde(codeAt+0x10, 8).fde(codeAt+0x300, 0)
	b.fde(0, 0)
	binary.LittleEndian.PutUint32(b.data[len(b.data)-16:], 0)  // pc_begin: as the linker leaves it
	binary.LittleEndian.PutUint32(b.data[len(b.data)-12:], 64) // pc_range
	table := b.parse(t, arch.AMD64)
	if table.Len() != 3 {
		t.Errorf("%d ranges, want 3", table.Len())
	}
	for pc, want := range map[uint64]uint64{
		codeAt - 1: 0, codeAt: codeAt, codeAt + 0xf: codeAt, codeAt + 0x10: codeAt + 0x10, codeAt + 0x17: codeAt + 0x10, codeAt + 0x18: 0,
		codeAt + 0x1ff: 0, codeAt + 0x200: codeAt + 0x200, codeAt + 0x20f: codeAt + 0x200, codeAt + 0x210: 0, codeAt + 0x300: 0, 0: 0, math.MaxUint64: 0,
	} {
		f, ok := table.Find(pc)
		if ok != (want != 0) || f.Lo != want || ok && (pc < f.Lo || pc >= f.Hi) {
			t.Errorf("Find(%#x) is [%#x, %#x), %v; want one from %#x", pc, f.Lo, f.Hi, ok, want)
		}
	}
	empty, err := unwind.Parse(arch.ARM64, nil, tableAt)
	if _, ok := empty.Find(codeAt); err != nil || ok {
		t.Errorf("an empty table: %v, %v", ok, err)
	}
}

// TestEncodings: the address of a function in each encoding.
func TestEncodings(t *testing.T) {
	for name, c := range map[string]struct {
		enc    byte
		fields func(at uint64) []byte // of pc_begin, which lies at that address, and pc_range
		lo, hi uint64
	}{
		"absptr":      {0x00, func(uint64) []byte { return words(8, codeAt, 0x10) }, codeAt, codeAt + 0x10},
		"udata8":      {0x04, func(uint64) []byte { return words(8, 1<<63, 0x10) }, 1 << 63, 1<<63 + 0x10},
		"udata4":      {0x03, func(uint64) []byte { return words(4, 0xf0000000, 0x10) }, 0xf0000000, 0xf0000010},
		"udata2":      {0x02, func(uint64) []byte { return words(2, 0xf000, 0x10) }, 0xf000, 0xf010},
		"sdata8":      {0x0c, func(uint64) []byte { return words(8, codeAt, 0x10) }, codeAt, codeAt + 0x10},
		"uleb":        {0x01, func(uint64) []byte { return []byte{0x80, 0x80, 0x80, 0x80, 1, 0x10} }, codeAt, codeAt + 0x10},
		"pcrel sleb":  {0x19, func(uint64) []byte { return []byte{0x80, 0x7f, 0x10} }, tableAt + 0x18 + 8 - 128, tableAt + 0x18 + 8 - 112},
		"pcrel":       {0x10, func(at uint64) []byte { return words(8, codeAt-at, 0x10) }, codeAt, codeAt + 0x10},
		"pcrel 4":     {0x1b, func(at uint64) []byte { return words(4, codeAt-at, 0x10) }, codeAt, codeAt + 0x10},
		"pcrel 2":     {0x1a, func(at uint64) []byte { return words(2, 0xff00, 0x10) }, tableAt + 0x18 + 8 - 0x100, tableAt + 0x18 + 8 - 0xf0},
		"pcrel 8":     {0x1c, func(at uint64) []byte { return words(8, codeAt-at, 0x10) }, codeAt, codeAt + 0x10},
		"pcrel udata": {0x13, func(at uint64) []byte { return words(4, codeAt-at+1<<32, 0x10) }, codeAt + 1<<32, codeAt + 1<<32 + 0x10},
	} {
		t.Run(name, func(t *testing.T) {
			b := new(builder).common(arch.AMD64, "zR", []byte{c.enc})
			at := len(b.data)
			body := binary.LittleEndian.AppendUint32(nil, uint32(at+4))
			b.entry(append(append(body, c.fields(tableAt+uint64(at)+8)...), 0))
			fdes := b.parse(t, arch.AMD64).FDEs()
			if len(fdes) != 1 || fdes[0].Lo != c.lo || fdes[0].Hi != c.hi {
				t.Errorf("got %#x, want [%#x, %#x)", fdes, c.lo, c.hi)
			}
		})
	}
}

// words encodes numbers of n bytes each.
func words(n int, list ...uint64) (r []byte) {
	for _, v := range list {
		r = append(r, binary.LittleEndian.AppendUint64(nil, v)[:n]...)
	}
	return r
}

// TestVersions: the forms of a CIE.
func TestVersions(t *testing.T) {
	for name, b := range map[string]*builder{
		"version 1":       new(builder).raw(1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1),
		"version 3":       new(builder).raw(3, 0, 1, 0x78, 0x90, 0, 0x0c, 7, 8, 0x90, 1),
		"version 4":       new(builder).raw(4, 0, 8, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1),
		"zPLR":            new(builder).common(arch.AMD64, "zPLR", append([]byte{0x9b, 1, 2, 3, 4, 0x1b}, 0x00)),
		"zPLR, udata8":    new(builder).common(arch.AMD64, "zPLR", append([]byte{0x04, 1, 2, 3, 4, 5, 6, 7, 8, 0x1b}, 0x00)),
		"zRG and padding": new(builder).common(arch.AMD64, "zRG", []byte{0x00, 0, 0, 0}),
	} {
		t.Run(name, func(t *testing.T) {
			at := len(b.data)
			body := append(binary.LittleEndian.AppendUint32(nil, uint32(at+4)), words(8, codeAt, 0x10)...)
			f, ok := b.entry(append(body, 0)).parse(t, arch.AMD64).Find(codeAt)
			if !ok {
				t.Fatal("not found")
			}
			table := b.parse(t, arch.AMD64)
			row, err := table.RowAt(f, codeAt)
			if err != nil || row.CFA != 7 || row.Off != 8 || row.Cols[16] != "c-8" {
				t.Errorf("row %+v, %v", row, err)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	usual := func() *builder { return new(builder).usual(arch.AMD64) }
	for name, c := range map[string]struct {
		data []byte
		kind error
		text string
	}{
		"length of 3 bytes":        {[]byte{1, 0, 0}, diag.ErrMalformed, ".eh_frame+0x0: an entry goes beyond the end of the table"},
		"goes beyond the end":      {[]byte{9, 0, 0, 0, 0, 0, 0, 0}, diag.ErrMalformed, ".eh_frame+0x0: an entry goes beyond the end of the table"},
		"no id":                    {[]byte{2, 0, 0, 0, 0, 0}, diag.ErrMalformed, "an entry without an id"},
		"64-bit":                   {[]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}, diag.ErrUnsupported, "64-bit form"},
		"version":                  {new(builder).raw(2, 0, 1, 0x78, 16).data, diag.ErrUnsupported, "a CIE of version 2"},
		"address size":             {new(builder).raw(4, 0, 4, 0, 1, 0x78, 16).data, diag.ErrUnsupported, "a CIE for addresses of 4 bytes"},
		"augmentation":             {new(builder).raw(1, 'e', 'h', 0, 1, 0x78, 16).data, diag.ErrUnsupported, `augmentation "eh"`},
		"unknown letter":           {new(builder).raw(1, 'z', 'X', 0, 1, 0x78, 16, 1, 0).data, diag.ErrUnsupported, `augmentation "zX"`},
		"augmentation without end": {new(builder).raw([]byte("\x01zRRRRRR")...).data, diag.ErrMalformed, "a CIE that is cut off"},
		"short augmentation data":  {new(builder).raw(1, 'z', 'R', 0, 1, 0x78, 16, 0).data, diag.ErrMalformed, "augmentation data is cut off"},
		"personality":              {new(builder).raw(1, 'z', 'P', 0, 1, 0x78, 16, 5, 0x35, 1, 2, 3, 4).data, diag.ErrMalformed, "encoded in an unknown way"},
		"RA column":                {new(builder).raw(1, 0, 1, 0x78, 96).data, diag.ErrUnsupported, "a return address in column 96"},
		"a CIE that is cut off":    {[]byte{7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1}, diag.ErrMalformed, "a CIE that is cut off"},
		"no CIE":                   {new(builder).fde(codeAt, 8).data, diag.ErrMalformed, "an FDE whose CIE is not there"},
		"CIE in an FDE":            {append(usual().fde(codeAt, 8).data, 12, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), diag.ErrMalformed, ".eh_frame+0x30: an FDE whose CIE is not there"},
		"CIE before the table":     {append(usual().data, 12, 0, 0, 0, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), diag.ErrMalformed, "an FDE whose CIE is not there"},
		"a short FDE":              {append(usual().data, 8, 0, 0, 0, 0x1c, 0, 0, 0, 1, 1, 1, 1), diag.ErrMalformed, "an FDE that is cut off"},
		"indirect":                 {new(builder).common(arch.AMD64, "zR", []byte{0x9b}).fde(codeAt, 8).data, diag.ErrMalformed, "encoded in an unknown way"},
		"datarel":                  {new(builder).common(arch.AMD64, "zR", []byte{0x3b}).fde(codeAt, 8).data, diag.ErrMalformed, "encoded in an unknown way"},
		"format":                   {new(builder).common(arch.AMD64, "zR", []byte{0x07}).fde(codeAt, 8).data, diag.ErrMalformed, "encoded in an unknown way"},
		"wraps": {append(new(builder).raw(1, 0, 1, 0x78, 16).data,
			slices.Concat([]byte{20, 0, 0, 0, 0x14, 0, 0, 0}, words(8, math.MaxUint64, 2))...), diag.ErrMalformed, "an FDE of 0x2 bytes at 0xffffffffffffffff"},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := unwind.Parse(arch.AMD64, c.data, tableAt)
			if table != nil {
				t.Error("a table beside the error")
			}
			wantError(t, err, c.kind, c.text)
		})
	}
	_, err := unwind.Parse(arch.Machine(3), nil, 0)
	wantError(t, err, diag.ErrMachine, "e_machine 3")
}

// TestLongProgram: a function's instructions are read in time that is in proportion.
func TestLongProgram(t *testing.T) {
	table := function(t, arch.AMD64, make([]byte, 1<<20+1)...)
	_, err := table.Step(&unwind.Regs{PC: codeAt, SP: stackAt}, memory{}.read)
	wantError(t, err, diag.ErrUnsupported, "bytes of instructions are more than")
}

func TestScan(t *testing.T) {
	stack := slices.Concat([]byte{1, 2, 3, 4}, words(8, 0x10002000, 0xabcd_0000_1000_3000, 7), []byte{9, 9, 9})
	for _, c := range []struct {
		machine arch.Machine
		addr    uint64
		want    []uint64
	}{
		{arch.AMD64, stackAt + 4, []uint64{0x10002000, 0xabcd_0000_1000_3000, 7}},
		{arch.ARM64, stackAt + 4, []uint64{0x10002000, 0x10003000, 7}},
		{arch.AMD64, stackAt, []uint64{0x1000200004030201, 0x1000300000000000, 0x7abcd0000}},
	} {
		var got []uint64
		if unwind.Scan(c.machine, stack, c.addr, func(a uint64) bool { got = append(got, a); return false }) {
			t.Error("found although nothing was")
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v at %#x: got %#x, want %#x", c.machine, c.addr, got, c.want)
		}
	}
	n := 0
	if !unwind.Scan(arch.ARM64, stack, stackAt+4, func(a uint64) bool { n++; return a == 0x10003000 }) || n != 2 {
		t.Errorf("looked at %d words", n)
	}
	if unwind.Scan(arch.AMD64, stack[:7], stackAt, func(uint64) bool { return true }) {
		t.Error("a word was made of 7 bytes")
	}
}
