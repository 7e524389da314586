package oracle

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"testing"

	"klink/internal/arch"
)

func TestNeutralise(t *testing.T) {
	for _, m := range machines {
		for _, s := range stems {
			path := fixture(m, s.stem, s.ext)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out, err := neutralise(data)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out[ehdrSize:len(data)], data[ehdrSize:]) {
				t.Errorf("%s: more than the ELF header changed", path)
			}
			before, err := elf.NewFile(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			after, err := elf.NewFile(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			if len(after.Sections) != len(before.Sections)+1 {
				t.Fatalf("%s: %d sections, had %d", path, len(after.Sections), len(before.Sections))
			}
			for i, b := range before.Sections[1:] {
				a := after.Sections[i+1]
				if a.Name != sectionName(i+1) {
					t.Errorf("%s: section %d is called %q", path, i+1, a.Name)
				}
				if uint64(a.Flags)&clearedFlags != 0 || plainTypes[a.Type] {
					t.Errorf("%s: section %d (%s) keeps %v %v", path, i+1, b.Name, a.Type, a.Flags)
				}
				if a.Offset != b.Offset || a.FileSize != b.FileSize || a.Info != b.Info || a.Link != b.Link {
					t.Errorf("%s: section %d (%s) moved", path, i+1, b.Name)
				}
			}
			was, _ := before.Symbols()
			is, err := after.Symbols()
			if err != nil || len(was) != len(is) {
				t.Errorf("%s: %d symbols, had %d: %v", path, len(is), len(was), err)
			}
		}
	}
}

// The number of sections and the index of their names move to section 0 when
// they no longer fit.
func TestNeutraliseManySections(t *testing.T) {
	const count = 0xff00 - 1 // one more, the section of names, is too many
	object := make([]byte, ehdrSize+count*shdrSize)
	copy(object, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(object[16:], uint16(elf.ET_REL))
	le.PutUint16(object[18:], uint16(elf.EM_X86_64))
	le.PutUint32(object[20:], 1)
	le.PutUint64(object[ehdrShoff:], ehdrSize)
	le.PutUint16(object[52:], ehdrSize)
	le.PutUint16(object[58:], shdrSize)
	le.PutUint16(object[ehdrShnum:], count)
	out, err := neutralise(object)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Sections) != count+1 || f.Sections[count-1].Name != sectionName(count-1) {
		t.Errorf("%d sections, want %d", len(f.Sections), count+1)
	}
}

func TestNeutraliseRefuses(t *testing.T) {
	good, err := os.ReadFile(fixture(arch.AMD64, "call/call", "o"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"only an ELF header":  func(b []byte) []byte { return b[:ehdrSize] },
		"truncated":           func(b []byte) []byte { return b[:len(b)-1] },
		"32 bits":             func(b []byte) []byte { b[4] = 1; return b },
		"big-endian":          func(b []byte) []byte { b[5] = 2; return b },
		"no section headers":  func(b []byte) []byte { binary.LittleEndian.PutUint64(b[ehdrShoff:], 0); return b },
		"headers beyond":      func(b []byte) []byte { binary.LittleEndian.PutUint64(b[ehdrShoff:], 1<<63); return b },
		"too many sections":   func(b []byte) []byte { binary.LittleEndian.PutUint16(b[ehdrShnum:], 0xfeff); return b },
		"their number is 0":   func(b []byte) []byte { binary.LittleEndian.PutUint16(b[ehdrShnum:], 0); return b },
		"header's last bytes": func(b []byte) []byte { binary.LittleEndian.PutUint64(b[ehdrShoff:], uint64(len(b)-8)); return b },
	} {
		if out, err := neutralise(change(append([]byte(nil), good...))); err == nil {
			t.Errorf("%s: no error, %d bytes", name, len(out))
		}
	}
}

func TestScript(t *testing.T) {
	sections := []place{{".s00002", 0x2000, 0x10}, {".s00001", 0x1000, 0}}
	got, err := makeScript(elf.EM_X86_64, sections, []place{{name: "a.b$c", addr: 0x30}}, 0x3000)
	if err != nil {
		t.Fatal(err)
	}
	want := `"a.b$c" = 0x30;
SECTIONS
{
  .s00001 0x1000 : SUBALIGN(1) { *(.s00001) . = .; }
  .s00002 0x2000 : SUBALIGN(1) { *(.s00002) . = .; }
  .got 0x3000 : SUBALIGN(1) { *(.got.plt) *(.got) *(.igot) *(.igot.plt) }
  .plt 0x403000 : { *(.plt) *(.iplt) *(.plt.*) }
  .rela 0x503000 : { *(.rela.*) }
  /DISCARD/ : { *(*) }
}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, name := range []string{"", `a"b`, "a\nb", `a\b`, "a\x00b"} {
		if _, err := makeScript(elf.EM_X86_64, nil, []place{{name: name}}, 0); err == nil {
			t.Errorf("the name %q: no error", name)
		}
	}
}
