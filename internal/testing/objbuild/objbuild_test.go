package objbuild_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"testing"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

func sample(m arch.Machine) *objbuild.Builder {
	return objbuild.New(m).
		SourceFile("a.c").
		Text(".text", []byte{0xe8, 0, 0, 0, 0, 0xc3}).Global("f", 0, 6).Hidden().Local("l", 5, 1).
		Reloc(1, 4, "g", -4).Reloc(2, 4, ".data", 8).
		Data(".data", make([]byte, 16)).Weak("d", 8, 8).Protected().Rel().Reloc(8, 1, "f", 0).
		Bss(".bss", 64).Rodata(".rodata", []byte("x")).Debug(".comment", []byte("y")).
		Undef("g").WeakUndef("w").Abs("abs", 7).Common("com", 8, 24).
		Group("f", true, ".text")
}

// TestReadable has debug/elf, which shares nothing with this package, read what it wrote.
func TestReadable(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		f, err := elf.NewFile(bytes.NewReader(sample(m).Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Type != elf.ET_REL || f.Machine != elf.Machine(m) || f.Class != elf.ELFCLASS64 {
			t.Errorf("%+v", f.FileHeader)
		}
		symbols, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, s := range symbols {
			got += fmt.Sprintf("%s %#x %d %#x %d %d\n", s.Name, s.Info, s.Other, int(s.Section), s.Value, s.Size)
		}
		want := ` 0x3 0 0x2 0 0
a.c 0x4 0 0xfff1 0 0
l 0x2 0 0x1 5 1
f 0x12 2 0x1 0 6
d 0x21 3 0x2 8 8
g 0x10 0 0x0 0 0
w 0x20 0 0x0 0 0
abs 0x10 0 0xfff1 7 0
com 0x11 0 0xfff2 8 24
`
		if got != want {
			t.Errorf("symbols\n got:\n%s\nwant:\n%s", got, want)
		}
		if s := f.Section(".rela.text"); s.Type != elf.SHT_RELA || s.Size != 48 || s.Info != 1 || f.Sections[s.Link].Name != ".symtab" {
			t.Errorf("%+v", s.SectionHeader)
		}
		if s := f.Section(".rel.data"); s.Type != elf.SHT_REL || s.Size != 16 || s.Info != 2 {
			t.Errorf("%+v", s.SectionHeader)
		}
		if s := f.Section(".bss"); s.Type != elf.SHT_NOBITS || s.Size != 64 || s.Flags != elf.SHF_ALLOC|elf.SHF_WRITE {
			t.Errorf("%+v", s.SectionHeader)
		}
		group, err := f.Section(".group").Data()
		if want := []byte{1, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0}; err != nil || !bytes.Equal(group, want) {
			t.Errorf("group %v, %v", group, err)
		}
		if f.Sections[1].Flags&elf.SHF_GROUP == 0 || f.Sections[6].Flags&elf.SHF_GROUP == 0 {
			t.Error("members of the group are not marked")
		}
	}
}

// TestSame: the same calls give the same bytes, and asking twice changes nothing.
func TestSame(t *testing.T) {
	b := sample(arch.AMD64)
	first := b.Bytes()
	if !bytes.Equal(first, b.Bytes()) || !bytes.Equal(first, sample(arch.AMD64).Bytes()) {
		t.Error("the bytes differ")
	}
}

// TestSet overwrites a field of each structure and nothing else.
func TestSet(t *testing.T) {
	plain := sample(arch.AMD64).Image()
	for _, c := range []struct {
		b  *objbuild.Builder
		at int
		n  int
	}{
		{sample(arch.AMD64).SetHeader("e_type", 0xffff), 16, 2},
		{sample(arch.AMD64).SetSection(".bss", "sh_link", 1<<32-1), plain.SectionHeaderAt(3) + 40, 4},
		{sample(arch.AMD64).SetSymbol("f", "st_size", 1<<64-1), plain.SymbolAt(plain.SymbolIndex("f")) + 16, 8},
		{sample(arch.AMD64).SetReloc(".text", 1, "r_sym", 1<<32-1), plain.SectionAt(plain.SectionIndex(".rela.text")) + 24 + 12, 4},
		{sample(arch.AMD64).Edit(func(im *objbuild.Image) { im.Bytes[64] = 0xff }), 64, 1},
	} {
		want := bytes.Clone(plain.Bytes)
		for i := range c.n {
			want[c.at+i] = 0xff
		}
		if !bytes.Equal(c.b.Bytes(), want) {
			t.Errorf("%d bytes at %d: something else changed", c.n, c.at)
		}
	}
	f := objbuild.Field{Off: 4, Size: 2}
	plain.Put(8, f, 0x12345)
	if got := plain.Get(8, f); got != 0x2345 {
		t.Errorf("got %#x back", got)
	}
}

// TestXindex has section indices in a table of their own.
func TestXindex(t *testing.T) {
	im := sample(arch.AMD64).Xindex().Image()
	at := im.SectionAt(im.SectionIndex(".symtab_shndx")) + 4*im.SymbolIndex("d")
	if im.Bytes[at] != 2 {
		t.Errorf("index %d", im.Bytes[at])
	}
	shndx := im.Bytes[im.SymbolAt(im.SymbolIndex("d"))+6:][:2]
	if shndx[0] != 0xff || shndx[1] != 0xff {
		t.Errorf("st_shndx %#x", shndx)
	}
}

// TestMistakes: calls that make no sense stop the test that makes them.
func TestMistakes(t *testing.T) {
	for name, f := range map[string]func(){
		"no section":     func() { objbuild.New(arch.AMD64).Reloc(0, 0, "", 0) },
		"no such symbol": func() { sample(arch.AMD64).Reloc(0, 1, "nobody", 0).Bytes() },
		"no such field":  func() { sample(arch.AMD64).SetHeader("e_what", 0).Bytes() },
		"no relocation":  func() { sample(arch.AMD64).SetReloc(".bss", 0, "r_sym", 0).Bytes() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}
