package oracle

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"klink/internal/arch"
)

const objsDir = "../../../testdata/objs"

var machines = []arch.Machine{arch.AMD64, arch.ARM64}

// linkerOf finds each machine's linker once.
var linkerOf = func() func(testing.TB, arch.Machine) Linker {
	var mu sync.Mutex
	found := map[arch.Machine]Linker{}
	return func(t testing.TB, m arch.Machine) Linker {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if l, ok := found[m]; ok {
			return l
		}
		l, err := FindLinker(m)
		if err != nil {
			t.Fatal(err)
		}
		found[m] = l
		return l
	}
}()

// fixture returns the path of testdata/objs/STEM.MACHINE.EXT.
func fixture(m arch.Machine, stem, ext string) string {
	return filepath.Join(objsDir, stem+"."+m.Facts().GOARCH+"."+ext)
}

// plan lays an object out as a loader could: sections one after the other, then
// COMMON, the GOT and, some way off, the names that the object lacks.
func plan(t testing.TB, m arch.Machine, path string) (*Layout, []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	at := uint64(0x10000000)
	next := func(align, size uint64) Number {
		align = max(align, 1)
		at = (at + align - 1) &^ (align - 1)
		addr := at
		at += size
		return Number(addr)
	}
	obj := Object{File: path}
	for i, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 {
			obj.Sections = append(obj.Sections, Section{Index: i, Name: s.Name,
				Addr: next(s.Addralign, s.Size), Size: Number(s.Size)})
		}
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	l := &Layout{Machine: m.String()}
	external := Number(0x10800000)
	for i, s := range syms {
		switch {
		case elf.ST_TYPE(s.Info) == elf.STT_GNU_IFUNC:
			obj.IFuncs = append(obj.IFuncs, Stub{Symbol: i + 1, Addr: next(16, 16)})
		case s.Section == elf.SHN_COMMON:
			obj.Commons = append(obj.Commons, Common{Name: s.Name, Addr: next(s.Value, s.Size), Size: Number(s.Size)})
		case s.Section == elf.SHN_UNDEF && s.Name != "" && elf.ST_BIND(s.Info) != elf.STB_WEAK:
			l.Externals = append(l.Externals, External{Name: s.Name, Addr: external})
			external += 16
		}
	}
	l.Objects = []Object{obj}
	l.GOTs = []GOT{{Module: "m", Addr: next(4096, 0)}}
	return l, data
}

// write puts the layout into dir.
func write(t testing.TB, dir string, l *Layout) {
	t.Helper()
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "layout.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeBytes(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// dumpByLd makes the dump that a loader without a mistake would make: ld's own
// bytes at the planned addresses.
func dumpByLd(t testing.TB, m arch.Machine, path string) (dir string, l *Layout) {
	t.Helper()
	dir = t.TempDir()
	l, data := plan(t, m, path)
	c, err := newComparison(linkerOf(t, m), data, l, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.link(context.Background()); err != nil {
		t.Fatal(err)
	}
	sections := l.Objects[0].Sections
	for i := range sections {
		s := &sections[i]
		out := c.out[sectionName(s.Index)]
		if out == nil || out.Type == elf.SHT_NOBITS {
			continue
		}
		data, err := out.Data()
		if err != nil {
			t.Fatal(err)
		}
		s.File = fmt.Sprintf("s%d", s.Index)
		writeBytes(t, dir, s.File, data)
	}
	if out := c.out[".got"]; out != nil {
		data, err := out.Data()
		if err != nil {
			t.Fatal(err)
		}
		l.GOTs[0].Size, l.GOTs[0].File = Number(len(data)), "got"
		writeBytes(t, dir, "got", data)
	}
	write(t, dir, l)
	return dir, l
}

// compare runs Compare, which must not fail.
func compare(t testing.TB, m arch.Machine, path, dir string) *Result {
	t.Helper()
	r, err := Compare(context.Background(), linkerOf(t, m), path, dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
