package hostile

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"klink/internal/testing/objbuild"
)

// oneOf makes tests go through the mutants of every fixture: make mutants.
var oneOf = flag.Int("mutants", 0, "go through one of so many mutants of every fixture, 1 for all; 0 for a sample of a few fixtures")

// How much of an object is changed field by field.
const (
	mutatedSymbols = 14
	mutatedRelocs  = 5
)

// boundary returns the values that every field is set to: those where comparisons and
// sums go wrong, those that are special in some field, and those that depend on the
// file's size.
func boundary(size uint64) []uint64 {
	return []uint64{
		0, 1, 2, 3, 4, 7, 8, 16, 24, 64, 0xff, 0xff00, 0xfff1, 0xfff2, 0xffff,
		size - 1, size, size + 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 64, 1<<64 - 1,
	}
}

// Mutants calls try with object after each change of one field, and takes the change back:
// every field of the ELF header, of each section header, of 14 symbols and of 5 relocations,
// of different kinds first, set to each boundary value; then with what is left of it when
// it is cut off at 64 places or, if thorough, at every 8th byte. It makes every stride-th of
// these files, from number first on. The bytes are try's until it returns, and are not to
// be changed.
func Mutants(object []byte, stride, first int, thorough bool, try func(what string, raw []byte)) {
	m := &mutator{raw: append([]byte{}, object...), stride: max(stride, 1), skip: first, try: try}
	shoff := int(m.get(0, objbuild.Lookup(objbuild.HeaderFields, "e_shoff")))
	shnum := int(m.get(0, objbuild.Lookup(objbuild.HeaderFields, "e_shnum")))
	var symbols, relocs []int
	for i := range shnum {
		h := shoff + 64*i
		at, size := int(m.get(h, offset)), int(m.get(h, length))
		switch m.get(h, typ) {
		case objbuild.Symtab:
			symbols = m.pick(at, size/24, 24, mutatedSymbols, func(e []byte) uint32 { return binary.LittleEndian.Uint32(e[4:]) })
		case objbuild.RelaType:
			relocs = append(relocs, m.pick(at, size/24, 24, mutatedRelocs, func(e []byte) uint32 { return binary.LittleEndian.Uint32(e[8:]) })...)
		}
	}
	if len(relocs) > mutatedRelocs { // some of each section
		some := make([]int, mutatedRelocs)
		for i := range some {
			some[i] = relocs[i*len(relocs)/mutatedRelocs]
		}
		relocs = some
	}
	m.structure("header", 0, objbuild.HeaderFields)
	for i := range shnum {
		m.structure(fmt.Sprint("section ", i), shoff+64*i, objbuild.SectionFields)
	}
	for i, at := range symbols {
		m.structure(fmt.Sprintf("symbol at %#x, number %d", at, i), at, objbuild.SymbolFields)
	}
	for i, at := range relocs {
		m.structure(fmt.Sprintf("relocation at %#x, number %d", at, i), at, objbuild.RelocFields)
	}
	step := max(len(object)/64, 1)
	if thorough {
		step = 8
	}
	for n := 0; n < len(object); n += step {
		m.next(fmt.Sprintf("the first %d bytes", n), m.raw[:n:n])
	}
}

// Fields of section headers that Mutants reads.
var (
	typ    = objbuild.Lookup(objbuild.SectionFields, "sh_type")
	offset = objbuild.Lookup(objbuild.SectionFields, "sh_offset")
	length = objbuild.Lookup(objbuild.SectionFields, "sh_size")
)

// mutator is one Mutants under way.
type mutator struct {
	raw          []byte
	stride, skip int
	try          func(what string, raw []byte)
}

func (m *mutator) get(at int, f objbuild.Field) uint64 {
	var b [8]byte
	copy(b[:], m.raw[at+f.Off:at+f.Off+f.Size])
	return binary.LittleEndian.Uint64(b[:])
}

// next tries one file in stride.
func (m *mutator) next(what string, raw []byte) {
	if m.skip--; m.skip < 0 {
		m.skip = m.stride - 1
		m.try(what, raw)
	}
}

// structure sets each field of a structure to each value that it can hold and does not.
func (m *mutator) structure(what string, at int, fields []objbuild.Field) {
	for _, f := range fields {
		old := m.get(at, f)
		seen := map[uint64]bool{old: true}
		for _, v := range boundary(uint64(len(m.raw))) {
			v &= 1<<(8*f.Size) - 1
			if seen[v] {
				continue
			}
			seen[v] = true
			m.put(at, f, v)
			m.next(fmt.Sprintf("%s: %s = %#x", what, f.Name, v), m.raw)
		}
		m.put(at, f, old)
	}
}

func (m *mutator) put(at int, f objbuild.Field, v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	copy(m.raw[at+f.Off:], b[:f.Size])
}

// pick returns where most entries of a table are, at most: those of different kinds
// first, then others from front to back.
func (m *mutator) pick(at, n, size, most int, kind func(entry []byte) uint32) (picked []int) {
	seen := map[uint32]bool{}
	var others []int
	for i := range n {
		e := at + i*size
		if k := kind(m.raw[e:]); !seen[k] && len(picked) < most {
			seen[k] = true
			picked = append(picked, e)
		} else {
			others = append(others, e)
		}
	}
	return append(picked, others[:min(len(others), most-len(picked))]...)
}

// seeds are objects of compilers, of different kinds, that are small enough for a sample
// in every test; %s stands for the machine.
var seeds = []string{
	"call/call_pic.%s.o", "got/pic.%s.o", "module/record.%s.kmod", "alias_record/records.%s.kmod", "comdat/one.%s.o", "common/small.%s.o", "ifunc/ifunc.%s.o", "init_array/ctors.%s.o",
	"merge/merge.%s.o", "lines/gcc_gz.%s.o", "unwind/unwind_c.%s.o", "weak_undef/pic.%s.o", "tls/tls.%s.o", "linux/module.%s.kmod", "start_stop/ten.%s.kmod", "super/super.%s.kmod",
}

// Seed is an object to make mutants of.
type Seed struct {
	Name string
	Raw  []byte
}

// Seeds returns objects of both machines from the folder testdata/objs: 16 kinds or, with
// make mutants, all there are.
func Seeds(t testing.TB, objs string) (list []Seed) {
	t.Helper()
	var files []string
	for _, s := range seeds {
		for _, m := range []string{"amd64", "arm64"} {
			files = append(files, filepath.Join(objs, fmt.Sprintf(s, m)))
		}
	}
	if *oneOf > 0 {
		var err error
		if files, err = filepath.Glob(filepath.Join(objs, "*", "*.*64.*o*")); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if name, _ := filepath.Rel(objs, f); len(raw) > 64 && string(raw[:4]) == "\x7fELF" {
			list = append(list, Seed{name, raw})
		}
	}
	if len(list) < 20 {
		t.Fatalf("only %d seeds in %s", len(list), objs)
	}
	return list
}

// Each calls begin for every seed, and what that returns for mutants of it: for one of
// sample of them or, with make mutants, for as many as it says; for none, if it is nil.
// Every seed gives other fields a turn.
func Each(t *testing.T, objs string, sample int, begin func(t *testing.T, s Seed) (try func(raw []byte))) {
	t.Helper()
	if *oneOf > 0 {
		sample = *oneOf
	}
	for i, s := range Seeds(t, objs) {
		t.Run(s.Name, func(t *testing.T) {
			files := 0
			try := begin(t, s)
			if try == nil {
				return
			}
			Mutants(s.Raw, sample, i%sample, *oneOf > 0, func(what string, raw []byte) {
				files++
				defer func() { // also after a t.Fatal
					if t.Failed() {
						t.Logf("%s, with this change: %s", s.Name, what)
					}
				}()
				if try(raw); t.Failed() {
					t.FailNow()
				}
			})
			if files*sample < 1500 {
				t.Errorf("only %d files", files)
			}
			if *oneOf > 0 {
				t.Logf("%d files", files)
			}
		})
	}
}
