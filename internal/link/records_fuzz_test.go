package link_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// recordObject makes an object with records in a section, as fuzzing has them: every 12
// bytes of relocs are one, of a place, a type, a symbol and an addend.
func recordObject(m arch.Machine, section string, rec, text, relocs []byte) *objbuild.Builder {
	abs64, others := uint32(x64), []uint32{x32, xPC64, xPLT32, 0}
	if m == arch.ARM64 {
		abs64, others = aABS64, []uint32{aPREL32, aCALL, 0, 0}
	}
	b := objbuild.New(m).Text(".text", make([]byte, 32)).Local("loc", 0, 4).Global("glo", 4, 4).Weak("wea", 8, 4).Global("ifunc", 12, 4).As(objbuild.IFunc).
		Text(".text.g", make([]byte, 8)).Local("grp", 0, 8).Group("grp", true, ".text.g").
		Rodata(".names", text).SectionSymbol(".names").SectionSymbol(".text").Undef("und").Abs("abs", 4).Common("com", 8, 40).
		Rodata(section, rec).SectionSymbol(section).Global("obj", 0, 0).As(objbuild.Object)
	symbols := []string{".names", "loc", "glo", "wea", ".text", "obj", "und", "abs", "grp", "com", "ifunc", section}
	for ; len(relocs) >= 12; relocs = relocs[12:] {
		typ := abs64
		if k := relocs[2]; k >= 0xf0 {
			typ = others[k%4]
		}
		at := uint64(binary.LittleEndian.Uint16(relocs))
		if len(rec) == 0 || at >= uint64(len(rec)) {
			continue // what the parser refuses anyway
		}
		b.Reloc(at, typ, symbols[int(relocs[3])%len(symbols)], int64(binary.LittleEndian.Uint64(relocs[4:])))
	}
	return b
}

// rel encodes one relocation of recordObject.
func rel(at uint16, typ, symbol byte, addend int64) []byte {
	b := binary.LittleEndian.AppendUint16(nil, at)
	return binary.LittleEndian.AppendUint64(append(b, typ, symbol), uint64(addend))
}

// stringOf is the string at an offset of a section, by the words of the specification.
func stringOf(text []byte, off uint64) string {
	if off > uint64(len(text)) {
		return ""
	}
	s, _, _ := bytes.Cut(text[off:], []byte{0})
	return string(s)
}

// FuzzModInfo: whatever a MODULE record is made of, it is refused in one clean line, or
// its name, what it requires and its modcmd are what the relocations say.
func FuzzModInfo(f *testing.F) {
	const names, loc, glo, text, und = 0, 1, 2, 4, 6
	names0 := []byte("mod\x00a,b,,a,long_name\x00\x1b[2J\x00no/name\x00")
	full := slices.Concat(rel(8, 0, loc, 0), rel(16, 0, names, 0), rel(24, 0, names, 4))
	for _, arm := range []bool{false, true} {
		f.Add(arm, make([]byte, 32), names0, full)
		f.Add(arm, make([]byte, 32), names0, slices.Concat(rel(8, 0, glo, 0), rel(16, 0, names, 4)))
		f.Add(arm, make([]byte, 32), names0, slices.Concat(rel(8, 0, text, 8), rel(16, 0, names, 20)))
		f.Add(arm, make([]byte, 32), names0, slices.Concat(full, rel(16, 0xf0, names, 0)))
		f.Add(arm, make([]byte, 31), names0, full)
		f.Add(arm, []byte(strings.Repeat("x", 40)), names0, slices.Concat(rel(8, 0, und, 0), rel(16, 0, names, 0)))
	}
	f.Fuzz(func(t *testing.T, arm bool, rec, text, relocs []byte) {
		if len(rec) > 1<<10 || len(text) > 1<<16 || len(relocs) > 1<<10 {
			return
		}
		m, abs64 := arch.AMD64, uint32(x64)
		if arm {
			m, abs64 = arch.ARM64, aABS64
		}
		b := recordObject(m, ".record", rec, text, relocs).
			Rodata("link_set_modules", make([]byte, 8)).Reloc(0, abs64, ".record", 0)
		o, err := elfload.Parse("a.o", "", b.Bytes())
		if err != nil {
			t.Fatal(err) // the object itself is sound
		}
		lm, err := link.Gather(link.Unit{Name: "m", Objects: []*elfload.Object{o}})
		if err != nil {
			checkError(t, err)
			return
		}
		info := lm.Info()
		if info == nil {
			t.Fatal("no record, and no error")
		}
		var name, list string
		required := false
		for r := relocs; len(r) >= 12; r = r[12:] {
			at, addend := binary.LittleEndian.Uint16(r), binary.LittleEndian.Uint64(r[4:])
			if int(at) >= len(rec) || r[2] >= 0xf0 {
				continue
			}
			var s string
			switch r[3] % 12 {
			case 0:
				s = stringOf(text, addend)
			case 11:
				s = stringOf(rec, addend)
			}
			switch at {
			case 16:
				name = s
			case 24:
				list, required = s, true
			}
		}
		if fromNames := len(relocs) >= 12; fromNames && name != "" && info.Name != name {
			t.Fatalf("name %q, want %q", info.Name, name)
		}
		var want []string
		for _, n := range strings.Split(list, ",") {
			if n != "" && !slices.Contains(want, n) {
				want = append(want, n)
			}
		}
		if required && list != "" && !slices.Equal(info.Required, want) {
			t.Fatalf("requires %q, want %q", info.Required, want)
		}
		for _, n := range append([]string{info.Name}, info.Required...) {
			if n == "" || len(n) > 64 || !utf8.ValidString(n) || strings.ContainsAny(n, "/:,") {
				t.Fatalf("%q is no name", n)
			}
		}
		if addr, ok := lm.Modcmd(blocks); ok && (addr < textAt || addr >= textAt+lm.Size[link.Text] || arm && addr%4 != 0) {
			t.Fatalf("modcmd at %#x", addr)
		}
	})
}

// FuzzAlias: whatever alias records are made of, they are refused in one clean line, or
// each name is provided by a function of the module.
func FuzzAlias(f *testing.F) {
	rec := func(kinds ...byte) (b []byte) {
		for _, k := range kinds {
			b = append(append(b, make([]byte, 16)...), k, 0, 0, 0, 0, 0, 0, 0)
		}
		return b
	}
	names := []byte("sym\x00other\x00")
	for _, arm := range []bool{false, true} {
		f.Add(arm, rec(3), names, slices.Concat(rel(0, 0, 0, 0), rel(8, 0, 1, 0)))
		f.Add(arm, rec(1, 2), names, slices.Concat(rel(0, 0, 0, 0), rel(8, 0, 4, 8), rel(24, 0, 0, 4), rel(32, 0, 2, 0)))
		f.Add(arm, rec(1), names, slices.Concat(rel(0, 0, 0, 100), rel(8, 0, 1, 0)))
		f.Add(arm, rec(2), names, slices.Concat(rel(0, 0xf0, 0, 0), rel(8, 0, 10, 0)))
		f.Add(arm, rec(9), names, slices.Concat(rel(0, 0, 0, 0), rel(8, 0, 8, 0)))
		f.Add(arm, rec(2)[:23], names, rel(1, 0, 0, 0))
	}
	f.Fuzz(func(t *testing.T, arm bool, rec, text, relocs []byte) {
		if len(rec) > 1<<12 || len(text) > 1<<16 || len(relocs) > 1<<12 {
			return
		}
		m := arch.AMD64
		if arm {
			m = arch.ARM64
		}
		o, err := elfload.Parse("a.o", "", recordObject(m, ".klink.alias", rec, text, relocs).Bytes())
		if err != nil {
			t.Fatal(err) // the object itself is sound
		}
		lm, err := link.Gather(link.Unit{Name: "m", Objects: []*elfload.Object{o}})
		if err != nil {
			checkError(t, err)
			return
		}
		if len(rec)%24 != 0 {
			t.Fatalf("accepted %d bytes", len(rec))
		}
		kinds := map[uint64]aliasstack.Kind{1: aliasstack.Default, 2: aliasstack.Override, 3: aliasstack.Refinement}
		for i := range len(rec) / 24 {
			name := ""
			for r := relocs; len(r) >= 12; r = r[12:] {
				if int(binary.LittleEndian.Uint16(r)) != 24*i {
					continue
				}
				data := text
				if r[3]%12 == 11 {
					data = rec
				}
				if r[3]%12 != 0 && r[3]%12 != 11 {
					continue // a symbol at an offset of its section
				}
				name = stringOf(data, binary.LittleEndian.Uint64(r[4:]))
			}
			if name == "" {
				continue
			}
			id, ok := lm.Lookup(name)
			if !ok {
				t.Fatalf("record %d: no name %q", i, name)
			}
			n := &lm.Names[id]
			addr, _, own := lm.Own(id, blocks)
			if !own || n.Class != aliasstack.Func || !n.Offered || n.Kind != kinds[uint64(rec[24*i+16])] || addr < textAt || addr >= textAt+lm.Size[link.Text] {
				t.Fatalf("record %d: %+v at %#x", i, n, addr)
			}
		}
	})
}
