package elfload_test

import (
	"bytes"
	"compress/zlib"
	"testing"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

// TestUnpack: the bytes and relocations of a section are the same, compressed or not.
func TestUnpack(t *testing.T) {
	want := bytes.Repeat([]byte("klink "), 100)
	var z bytes.Buffer
	z.Write(compressed(uint64(len(want)), 24))
	w := zlib.NewWriter(&z)
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]objbuild.Section{
		"plain":      {Name: ".debug_info", Type: objbuild.Progbits, Data: want},
		"compressed": {Name: ".debug_info", Type: objbuild.Progbits, Flags: objbuild.Compressed, Data: z.Bytes()},
	} {
		t.Run(name, func(t *testing.T) {
			o := mustParse(t, objbuild.New(arch.AMD64).Undef("x").Debug(".debug_str", []byte("s")).Reloc(0, abs64, "x", 1).
				Add(s).Reloc(592, abs64, "x", 5).Bytes())
			for i := range o.Sections {
				if o.Sections[i].Name != ".debug_info" {
					continue
				}
				if n := o.UnpackedSize(i); n != 600 {
					t.Errorf("said to be %d bytes", n)
				}
				data, relocs, fresh, err := o.Unpack(i)
				if err != nil || !bytes.Equal(data, want) || fresh != (name == "compressed") {
					t.Errorf("got %q, fresh: %v, %v", data, fresh, err)
				}
				if relocs.Len() != 1 || relocs.At(0) != (elfload.Reloc{Offset: 592, Type: abs64, Sym: relocs.At(0).Sym, Addend: 5}) {
					t.Errorf("%d relocations", relocs.Len())
				}
			}
		})
	}
}
