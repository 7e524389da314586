package elfload_test

import (
	"fmt"
	"runtime"
	"testing"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/testing/hostile"
	"klink/internal/testing/objbuild"
)

// boundary returns the values that every field is set to: those where comparisons and
// sums go wrong, and those that are special in some field.
func boundary(size uint64) []uint64 {
	return []uint64{
		0, 1, 2, 3, 4, 7, 8, 16, 24, 63, 64, 0x80, 0xff, 0xfeff, 0xff00, 0xfff1, 0xfff2, 0xffff,
		size - 1, size, size + 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 40, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 64, 1<<64 - 1,
	}
}

// TestFieldMutants sets every field of every structure to each boundary value, one at a
// time, and cuts the file at every length. Each of the some 40,000 files must be
// answered, by an Object that keeps its promises or by an error, without allocating out
// of proportion.
func TestFieldMutants(t *testing.T) {
	for name, b := range map[string]*objbuild.Builder{
		"amd64": full(arch.AMD64), "arm64": full(arch.ARM64), "xindex": full(arch.AMD64).Xindex(),
	} {
		t.Run(name, func(t *testing.T) {
			im := b.Image()
			before := totalAlloc()
			files := 0
			try := func(what string, raw []byte) {
				files++
				o, err := elfload.Parse("a.o", "", raw)
				if (o == nil) == (err == nil) {
					t.Fatalf("%s: object %v, error %v", what, o != nil, err)
				}
				if err != nil {
					if err.Error() == "" {
						t.Fatalf("%s: an error without text", what)
					}
					return
				}
				if checkObject(t, o); t.Failed() {
					t.Fatalf("%s: accepted", what)
				}
			}
			mutate(im, try)
			for n := range im.Bytes {
				try(fmt.Sprintf("the first %d bytes", n), im.Bytes[:n])
			}
			if files < 9000 {
				t.Errorf("only %d files", files)
			}
			if perFile := (totalAlloc() - before) / uint64(files); perFile > 64<<10 {
				t.Errorf("%d bytes allocated a file of %d", perFile, len(im.Bytes))
			}
		})
	}
}

// mutate calls try with im.Bytes after each change, and takes the change back.
func mutate(im *objbuild.Image, try func(what string, raw []byte)) {
	structure := func(what string, at int, fields []objbuild.Field) {
		for _, f := range fields {
			old := im.Get(at, f)
			for _, v := range boundary(uint64(len(im.Bytes))) {
				im.Put(at, f, v)
				try(fmt.Sprintf("%s: %s = %#x", what, f.Name, v), im.Bytes)
			}
			im.Put(at, f, old)
		}
	}
	structure("header", 0, objbuild.HeaderFields)
	for i := range im.Sections {
		structure(fmt.Sprintf("section %d", i), im.SectionHeaderAt(i), objbuild.SectionFields)
	}
	for i := range im.Symbols {
		structure(fmt.Sprintf("symbol %d", i), im.SymbolAt(i), objbuild.SymbolFields)
	}
	for name, n := range map[string]int{".text": 3, ".data": 2, ".text.g": 1} {
		for i := range n {
			structure(fmt.Sprintf("relocation %d of %s", i, name), im.RelocAt(name, i), objbuild.RelocFields)
		}
	}
	structure("relocation of .debug_info", im.RelocAt(".debug_info", 0), objbuild.RelocFields[:3])
	group := im.SectionAt(im.SectionIndex(".group"))
	for i := range 3 {
		structure("group", group+4*i, []objbuild.Field{{Name: fmt.Sprintf("word %d", i), Size: 4}})
	}
}

// totalAlloc returns how many bytes were ever allocated.
func totalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestFixtureMutants is TestFieldMutants on compilers' objects: a sample of their mutants,
// with make mutants all of them.
func TestFixtureMutants(t *testing.T) {
	hostile.Each(t, "../../testdata/objs", 16, func(t *testing.T, _ hostile.Seed) func([]byte) { return func(raw []byte) { parseMutant(t, raw) } })
}

func parseMutant(t *testing.T, raw []byte) {
	before := allocs()
	o, err := elfload.Parse("a.o", "", raw)
	if n := allocs() - before; n > 4<<20+16*uint64(len(raw)) { // the runtime allocates, too
		t.Errorf("%d bytes allocated for a file of %d", n, len(raw))
	}
	switch {
	case (o == nil) == (err == nil) || err != nil && err.Error() == "":
		t.Errorf("object %v, error %v", o != nil, err)
	case err == nil:
		checkObject(t, o)
	}
}
