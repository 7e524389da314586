package link_test

import (
	"bytes"
	"compress/zlib"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// packed returns data as a compressed section holds it, said to be of a size.
func packed(t *testing.T, data []byte, size uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	b.Write(binary.LittleEndian.AppendUint32(nil, 1)) // ELFCOMPRESS_ZLIB
	b.Write(make([]byte, 4))
	b.Write(binary.LittleEndian.AppendUint64(nil, size))
	b.Write(binary.LittleEndian.AppendUint64(nil, 1))
	z := zlib.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestDebug: what each reference from a debug section means, plain and compressed.
func TestDebug(t *testing.T) {
	want := []uint64{textAt + 4, textAt + 8 + 1, 0x1234, 0, 7, dataAt + 2, 0, 16}
	info := func(b *objbuild.Builder) *objbuild.Builder {
		return b.Reloc(0, 1, "f", 0).Reloc(8, 1, "local", 1).Reloc(16, 1, "abs", 0).Reloc(24, 1, "elsewhere", 0).
			Reloc(32, 10, ".debug_str", 7).Reloc(40, 1, ".data", 2).Reloc(56, 33, "f", 0)
	}
	symbols := func() *objbuild.Builder {
		return amd64().Text(".text", make([]byte, 32)).Global("f", 4, 16).Local("local", 8, 0).Data(".data", make([]byte, 8)).SectionSymbol(".data").
			Abs("abs", 0x1234).Undef("elsewhere").Debug(".debug_str", []byte("string\x00more\x00")).SectionSymbol(".debug_str")
	}
	zeros := make([]byte, 64)
	for name, b := range map[string]*objbuild.Builder{
		"plain": info(symbols().Debug(".debug_info", zeros)),
		"compressed": info(symbols().Add(objbuild.Section{Name: ".debug_info", Type: objbuild.Progbits, Flags: objbuild.Compressed,
			Data: packed(t, zeros, 64)})),
	} {
		t.Run(name, func(t *testing.T) {
			u := unit(t, b)
			m := gather(t, u)
			var before []byte
			for i := range u.Objects[0].Sections {
				before = append(before, u.Objects[0].Sections[i].Data...)
			}
			debug, err := m.Debug(0, blocks)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]uint64, 8)
			if _, err := binary.Decode(debug[".debug_info"], binary.LittleEndian, got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %#x, want %#x (%v)", got, want, err)
			}
			if string(debug[".debug_str"]) != "string\x00more\x00" || len(debug) != 2 {
				t.Errorf("other sections: %q", debug)
			}
			if some, err := m.Debug(0, blocks, ".debug_str"); err != nil || len(some) != 1 {
				t.Errorf("asked for one, got %d, %v", len(some), err)
			}
			for i := range u.Objects[0].Sections {
				data := u.Objects[0].Sections[i].Data
				if !bytes.Equal(data, before[:len(data)]) {
					t.Errorf("the file's bytes of section %d were changed", i)
				}
				before = before[len(data):]
			}
			again, err := m.Debug(0, blocks)
			if err != nil || !reflect.DeepEqual(again, debug) {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

// TestDebugImplicit: a REL section keeps its addends in the fields.
func TestDebugImplicit(t *testing.T) {
	data := binary.LittleEndian.AppendUint64(nil, 5)
	m := gather(t, unit(t, amd64().Text(".text", make([]byte, 16)).Global("f", 8, 4).Debug(".debug_info", data).Rel().Reloc(0, 1, "f", 0)))
	debug, err := m.Debug(0, blocks)
	if err != nil || binary.LittleEndian.Uint64(debug[".debug_info"]) != textAt+8+5 {
		t.Errorf("got % x, %v", debug, err)
	}
}

// TestDebugDiscarded: of a COMDAT group that another object gives too, local symbols are
// nowhere and the global one is in that object.
func TestDebugDiscarded(t *testing.T) {
	b := func() *objbuild.Builder {
		return amd64().Text(".text.f", make([]byte, 16)).Weak("f", 0, 16).Local("part", 4, 4).Group("f", true, ".text.f").
			Debug(".debug_info", bytes.Repeat([]byte{0xff}, 16)).Reloc(0, 1, "f", 3).Reloc(8, 1, "part", 3)
	}
	m := gather(t, unit(t, b(), b()))
	for obj, want := range [][]uint64{{textAt + 3, textAt + 7}, {textAt + 3, 0}} {
		debug, err := m.Debug(obj, blocks)
		if err != nil {
			t.Fatal(err)
		}
		got := []uint64{binary.LittleEndian.Uint64(debug[".debug_info"]), binary.LittleEndian.Uint64(debug[".debug_info"][8:])}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("object %d: got %#x, want %#x", obj, got, want)
		}
	}
}

func TestDebugErrors(t *testing.T) {
	compressed := func(data []byte) *objbuild.Builder {
		return amd64().Text(".text", nop).Add(objbuild.Section{Name: ".debug_line", Type: objbuild.Progbits, Flags: objbuild.Compressed, Data: data})
	}
	flip := func(data []byte, at int, v byte) []byte { data[at] ^= v; return data }
	good := func() []byte { return packed(t, []byte("0123456789"), 10) }
	tail := len(good()) - 1
	for name, c := range map[string]struct {
		b    *objbuild.Builder
		kind error
		text string
	}{
		"zstd":      {compressed(flip(good(), 0, 3)), diag.ErrUnsupported, `a.o: section ".debug_line": compressed with zstd; klink reads zlib`},
		"unknown":   {compressed(flip(good(), 0, 8)), diag.ErrUnsupported, `a.o: section ".debug_line": compressed in an unknown way, 9`},
		"shorter":   {compressed(packed(t, []byte("0123456789"), 11)), diag.ErrMalformed, `a.o: section ".debug_line": decompressed, it is less than 11 bytes: unexpected EOF`},
		"longer":    {compressed(packed(t, []byte("0123456789"), 9)), diag.ErrMalformed, `a.o: section ".debug_line": decompressed, it is more than 9 bytes`},
		"a lie":     {compressed(packed(t, []byte("0123456789"), 200<<20)), diag.ErrMalformed, `a.o: section ".debug_line": 22 bytes cannot be 209715200 when decompressed`},
		"no zlib":   {compressed(flip(good(), 24, 0xff)), diag.ErrMalformed, `a.o: section ".debug_line": zlib: invalid header`},
		"checksum":  {compressed(flip(good(), tail, 1)), diag.ErrMalformed, `a.o: section ".debug_line": zlib: invalid checksum`},
		"too large": {compressed(packed(t, nil, 256<<20+1)), diag.ErrUnsupported, `a.o: section ".debug_line": with it the debug sections are larger than klink's limit of 256 MiB`},
		"too large together": {amd64().Text(".text", nop).Debug(".debug_info", []byte{0}).Add(objbuild.Section{Name: ".debug_line",
			Type: objbuild.Progbits, Flags: objbuild.Compressed, Data: packed(t, nil, 256<<20)}), diag.ErrUnsupported,
			`a.o: section ".debug_line": with it the debug sections are larger than klink's limit of 256 MiB`},
		"type": {amd64().Text(".text", nop).Debug(".debug_line", make([]byte, 8)).Undef("v").Reloc(0, 17, "v", 0), diag.ErrUnsupported,
			`a.o:(.debug_line+0x0): R_X86_64_DTPOFF64 against "v": klink does not apply it in debug sections`},
		"GOT": {amd64().Text(".text", nop).Debug(".debug_line", make([]byte, 8)).Undef("v").Reloc(0, 9, "v", 0), diag.ErrUnsupported,
			`a.o:(.debug_line+0x0): R_X86_64_GOTPCREL against "v": klink does not apply it in debug sections`},
		"over the end": {amd64().Text(".text", nop).Debug(".debug_line", make([]byte, 8)).Undef("v").Reloc(4, 1, "v", 0), diag.ErrMalformed,
			`a.o:(.debug_line+0x4): R_X86_64_64 against "v": the place is not what the type implies`},
		"range": {amd64().Text(".text", nop).Debug(".debug_line", make([]byte, 8)).Undef("v").Reloc(0, 10, "v", 1<<33), diag.ErrRange,
			`a.o:(.debug_line+0x0): R_X86_64_32 against "v": relocation out of range`},
	} {
		t.Run(name, func(t *testing.T) {
			debug, err := gather(t, unit(t, c.b)).Debug(0, blocks)
			if err == nil || debug != nil {
				t.Fatalf("no error, %d sections", len(debug))
			}
			if err.Error() != c.text || !errors.Is(err, c.kind) {
				t.Errorf("got  %v\nwant %s", err, c.text)
			}
		})
	}
}

// nop is text.
var nop = []byte{0x90}

// TestDebugOfFixtures compares with debug/elf, which applies the relocations of debug
// sections on its own, for sections at 0: same bytes, and debug/dwarf reads them.
func TestDebugOfFixtures(t *testing.T) {
	n := 0
	for _, dir := range []string{"debug", "lines"} {
		files, err := filepath.Glob("../../testdata/objs/" + dir + "/*.o")
		if err != nil || len(files) == 0 {
			t.Fatalf("no fixtures in %s: %v", dir, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o, err := elfload.Parse(file, "", raw)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(file, "sections") {
				continue // not all of its text is at 0
			}
			m := gather(t, link.Unit{Name: "m", Objects: []*elfload.Object{o}})
			debug, err := m.Debug(0, [link.Regions]uint64{})
			if err != nil {
				t.Fatal(err)
			}
			compareDebug(t, file, raw, debug)
			n++
		}
	}
	if n < 20 {
		t.Errorf("only %d objects", n)
	}
}

// compareDebug compares with what debug/elf gives to debug/dwarf.
func compareDebug(t *testing.T, file string, raw []byte, debug map[string][]byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	want, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	got, err := dwarf.New(debug[".debug_abbrev"], nil, nil, debug[".debug_info"], debug[".debug_line"], nil, debug[".debug_ranges"], debug[".debug_str"])
	for name, data := range debug {
		if err == nil {
			err = got.AddSection(name, data)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	a, b := want.Reader(), got.Reader()
	for {
		x, err1 := a.Next()
		y, err2 := b.Next()
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v, %v", file, err1, err2)
		}
		if !reflect.DeepEqual(x, y) {
			t.Errorf("%s: got %v, want %v", file, y, x)
		}
		if x == nil {
			return
		}
	}
}
