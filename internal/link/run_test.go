package link_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"klink/internal/arch"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// pointerArrays is an object with one section a name; each word is its number.
func pointerArrays(first byte, sections ...string) *objbuild.Builder {
	b := amd64().Text(".text", []byte{0xc3})
	for i, name := range sections {
		words := 1 + i%2
		data := make([]byte, 8*words)
		for w := range words {
			data[8*w] = first + byte(2*i+w)
		}
		b.Data(name, data)
	}
	return b
}

// TestInitOrder: what GNU ld 2.40 puts side by side for these two files.
func TestInitOrder(t *testing.T) {
	im := linked(t, unit(t,
		pointerArrays(0x00, ".init_array.101", ".ctors", ".init_array.00200", ".ctors.65434", ".init_array.x", ".init_array", ".preinit_array", ".dtors", ".fini_array", ".dtors.65435", ".fini_array.200", ".bss.init_array"),
		pointerArrays(0x40, ".init_array.65535", ".ctors", ".init_array.00150", ".ctors.65384", ".init_array.99999999999", ".init_array", ".preinit_array", ".dtors", ".fini_array", ".dtors.65435", ".fini_array.5", ".init_arrays"),
	), nil)
	read := func(slots []uint64) (got []byte) {
		for _, at := range slots {
			got = append(got, im.out[link.Data][at-dataAt])
		}
		return got
	}
	want := hexBytes("0c 4c" + // .preinit_array
		"07 06 00" + // priority 101: .ctors.65434, .init_array.101
		"44 47 46 04 40" + // 150, 151, 200, 65535
		"48 08" + // no priority
		"03 02 0a 0b 43 42 4a 4b") // the rest, file by file
	if got := read(im.InitArray(blocks)); !bytes.Equal(got, want) {
		t.Errorf("constructors\n% x, want\n% x", got, want)
	}
	want = hexBytes("54" + // .fini_array.5
		"13 12 53 52" + // 100
		"14" + // .fini_array.200
		"0f 0e 10 4f 4e 50")
	// What ld puts last runs first.
	slices.Reverse(want)
	if got := read(im.FiniArray(blocks)); !bytes.Equal(got, want) {
		t.Errorf("destructors\n% x, want\n% x", got, want)
	}
}

// TestInitSections: which sections count.
func TestInitSections(t *testing.T) {
	typed := func(typ uint32) *objbuild.Builder {
		return amd64().Data(".mine", make([]byte, 16)).With(func(s *objbuild.Section) { s.Type = typ })
	}
	for what, c := range map[string]struct {
		b          *objbuild.Builder
		init, fini int
	}{
		"by type":       {typed(objbuild.InitArray), 2, 0},
		"by type, fini": {typed(objbuild.FiniArray), 0, 2},
		"no array":      {typed(objbuild.Progbits), 0, 0},
		"no bytes":      {amd64().Bss(".init_array", 16), 0, 0},
		"not loaded":    {amd64().Debug(".init_array", make([]byte, 16)), 0, 0},
		"empty":         {amd64().Data(".ctors", nil), 0, 0},
		"read-only":     {amd64().Rodata(".ctors", make([]byte, 8)), 1, 0},
	} {
		m := gather(t, unit(t, c.b))
		if init, fini := m.InitArray(blocks), m.FiniArray(blocks); len(init) != c.init || len(fini) != c.fini {
			t.Errorf("%s: %#x and %#x", what, init, fini)
		}
	}
	// A second copy of a COMDAT group's constructor does not run.
	group := func() *objbuild.Builder {
		return amd64().Data(".init_array", make([]byte, 8)).Local("g", 0, 8).Group("g", true, ".init_array")
	}
	if got := gather(t, unit(t, group(), group())).InitArray(blocks); len(got) != 1 {
		t.Errorf("%#x", got)
	}
	wantLines(t, linkError(t, unit(t, amd64().Data(".fini_array.3", make([]byte, 12))), nil), "a.o:(.fini_array.3+0x0): the size is no multiple of a pointer's")
}

func TestIFuncs(t *testing.T) {
	b := func(name string, off uint64) *objbuild.Builder {
		return amd64().Text(".text", make([]byte, 32)).Global(name, off, 4).As(objbuild.IFunc).Local("own", 16, 4).As(objbuild.IFunc).
			Data(".data", make([]byte, 16)).Reloc(0, x64, name, 0).Reloc(8, x64, "own", 0)
	}
	im := linked(t, unit(t, b("f", 4), b("g", 8), amd64().Data(".data", make([]byte, 8)).Global("bad", 0, 4).As(objbuild.IFunc)), nil)
	stub := uint64(textAt + 64)
	want := []link.IFunc{{stub, textAt + 16}, {stub + 16, textAt + 4}, {stub + 32, textAt + 48}, {stub + 48, textAt + 40}}
	if got := im.IFuncs(blocks); !slices.Equal(got, want) {
		t.Errorf("%#x, want %#x", got, want)
	}
	if got := im.own(t, "g"); got != stub+48 {
		t.Errorf("g is %#x", got)
	}
	for _, f := range im.IFuncs(blocks) {
		if b := im.out[link.Text][f.Stub-textAt:][:16]; !bytes.Equal(b, bytes.Repeat([]byte{0xcc}, 16)) {
			t.Errorf("stub % x", b)
		}
	}
	if got := gather(t, unit(t, amd64().Text(".text", make([]byte, 4)))).IFuncs(blocks); len(got) != 0 {
		t.Errorf("%#x", got)
	}
}

func TestPutStub(t *testing.T) {
	for _, c := range []struct {
		m            arch.Machine
		stub, target uint64
		want         string
	}{
		{arch.AMD64, 0x10000010, 0x10000025, "e9 10000000 cccccccccccccccccccccc"},
		{arch.AMD64, 0x10000010, 0x10000000, "e9 ebffffff cccccccccccccccccccccc"},
		{arch.AMD64, 0x10000010, 0x1_f0000000, ""},
		{arch.ARM64, 0x10000010, 0x10000020, "04000014 806929d4 806929d4 806929d4"},
		{arch.ARM64, 0x10000010, 0x10000000, "fcffff17 806929d4 806929d4 806929d4"},
		{arch.ARM64, 0x10000010, 0x18000010, "50000058 00021fd6 10000018 00000000"},
		{arch.ARM64, 0x10000010, 0x10000022, ""},
		{arch.ARM64, 0x10000014, 0x18000014, ""}, // not aligned for the literal
		{3, 0x10000010, 0x10000020, ""},
	} {
		dst := bytes.Repeat([]byte{0xaa}, 20)
		ok := link.PutStub(c.m, dst, c.stub, c.target)
		want := append(hexBytes(c.want), 0xaa, 0xaa, 0xaa, 0xaa)
		if c.want == "" {
			want = bytes.Repeat([]byte{0xaa}, 20)
		}
		if ok != (c.want != "") || !bytes.Equal(dst, want) {
			t.Errorf("%v %#x to %#x: % x, %v", c.m, c.stub, c.target, dst, ok)
		}
	}
	if short := make([]byte, 15); link.PutStub(arch.AMD64, short, 0x10, 0x20) || !bytes.Equal(short, make([]byte, 15)) {
		t.Errorf("a short stub: % x", short)
	}
}

func TestUnwindTables(t *testing.T) {
	frame := func(n int) *objbuild.Builder {
		return amd64().Rodata(".rodata", []byte{1}).Rodata(".eh_frame", make([]byte, n)).With(func(s *objbuild.Section) { s.Align = 8 })
	}
	other := frame(24).With(func(s *objbuild.Section) { s.Type = objbuild.X86Unwind })
	m := gather(t, unit(t, frame(20), frame(0), amd64(), other, amd64().Debug(".eh_frame", make([]byte, 8))))
	if got, want := fmt.Sprintf("%#x", m.UnwindTables(blocks)), "[{0x10010018 0x14} {0x10010030 0x18}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := gather(t, unit(t, amd64())).UnwindTables(blocks); len(got) != 0 {
		t.Errorf("%#x", got)
	}
}
