package oracle

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"klink/internal/arch"
)

// Objects with every kind of field, mask and section.
var stems = []struct{ stem, ext string }{
	{"call/call", "o"}, {"matrix/gcc_pic_O0", "o"}, {"matrix/clang_O2", "o"},
	{"matrix/gxx_O2", "o"}, {"got/noplt", "o"}, {"got/fpic", "o"}, {"got_symbol/got_symbol", "o"},
	{"common/large", "o"}, {"comdat/rtti", "o"}, {"merge/merge", "o"}, {"init_array/init", "o"},
	{"start_stop/one", "kmod"}, {"weak_undef/pic", "o"}, {"ifunc/ifunc", "o"}, {"local/local", "o"},
	{"unwind/unwind_pic", "o"}, {"debug/debug", "o"}, {"rust/counter", "kmod"}, {"linux/module", "kmod"},
	{"matrix/clang_large", "o"}, {"abs/user", "o"}, {"narrow/narrow", "o"},
	{"none/none", "o"},
}

// corpusTypes are the relocation types in Debian's objects and in those of compilers, as
// `go run ./internal/testing/corpus -types` lists them: a fixture has each.
var corpusTypes = map[arch.Machine][]uint32{
	arch.AMD64: {0, 1, 2, 3, 4, 9, 10, 11, 24, 25, 26, 27, 29, 31, 41, 42},
	arch.ARM64: {257, 258, 260, 261, 264, 266, 268, 269, 270, 273, 274, 275, 277, 278, 279, 280, 282, 283, 284,
		285, 286, 299, 309, 311, 312, 313},
}

func TestFixturesHaveTheTypesOfTheCorpora(t *testing.T) {
	for _, m := range machines {
		files, err := filepath.Glob(filepath.Join(objsDir, "*", "*."+m.Facts().GOARCH+".*"))
		if err != nil {
			t.Fatal(err)
		}
		have := map[uint32]bool{}
		for _, path := range files {
			f, err := elf.Open(path)
			if err != nil {
				continue // a source, or an archive
			}
			o, err := parse(f)
			f.Close()
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			for _, rs := range o.relocs {
				for _, r := range rs {
					have[r.typ] = true
				}
			}
		}
		for _, typ := range corpusTypes[m] {
			if !have[typ] {
				t.Errorf("no fixture has %s", TypeName(m, typ))
			}
		}
	}
}

func TestCompareAgreesWithItself(t *testing.T) {
	for _, m := range machines {
		for _, s := range stems {
			path := fixture(m, s.stem, s.ext)
			t.Run(filepath.Base(path), func(t *testing.T) {
				t.Parallel()
				dir, _ := dumpByLd(t, m, path)
				r := compare(t, m, path, dir)
				if !r.Equal() {
					t.Errorf("%v\nld: %s", r, r.Log)
				}
				if r.Sections == 0 || r.Bytes == 0 || r.Relocations == 0 {
					t.Errorf("compared nothing: %v", r)
				}
			})
		}
	}
}

// The dump here comes from arithmetic, not from ld.
func TestCompareAgreesWithArithmetic(t *testing.T) {
	for _, m := range machines {
		path := fixture(m, "call/call", "o")
		dir := t.TempDir()
		l, data := plan(t, m, path)
		c, err := newComparison(linkerOf(t, m), data, l, dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range l.Objects[0].Sections {
			s := &l.Objects[0].Sections[i]
			if s.Size == 0 {
				continue
			}
			b, err := c.obj.file.Sections[s.Index].Data()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range c.obj.relocs[s.Index] {
				sym, err := c.address(slotKey{r.symbol, r.addend})
				if err != nil {
					t.Fatal(err)
				}
				delta := uint32(sym - (uint64(s.Addr) + r.offset))
				switch {
				case m == arch.AMD64 && (r.typ == uint32(elf.R_X86_64_PC32) || r.typ == uint32(elf.R_X86_64_PLT32)),
					m == arch.ARM64 && r.typ == uint32(elf.R_AARCH64_PREL32):
					binary.LittleEndian.PutUint32(b[r.offset:], delta)
				case m == arch.ARM64 && r.typ == uint32(elf.R_AARCH64_CALL26):
					binary.LittleEndian.PutUint32(b[r.offset:], 0x94000000|delta>>2&0x3ffffff)
				default:
					t.Fatalf("%s: the fixture changed: relocation type %d", path, r.typ)
				}
			}
			s.File = "s" + s.Name
			writeBytes(t, dir, s.File, b)
		}
		write(t, dir, l)
		if r := compare(t, m, path, dir); !r.Equal() || r.Masked != 0 {
			t.Errorf("%s: %v", path, r)
		}
	}
}

func TestCompareFindsEachFlippedByte(t *testing.T) {
	for _, m := range machines {
		path := fixture(m, "call/call", "o")
		dir, l := dumpByLd(t, m, path)
		for _, s := range l.Objects[0].Sections {
			if s.File == "" || s.Size == 0 {
				continue
			}
			name := filepath.Join(dir, s.File)
			good, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []int{0, len(good) / 2, len(good) - 1} {
				bad := append([]byte(nil), good...)
				bad[at] ^= 0x10
				writeBytes(t, dir, s.File, bad)
				r := compare(t, m, path, dir)
				if len(r.Differences) != 1 || r.Differences[0].Offset != uint64(at) {
					t.Errorf("%s %s+%d flipped: %v", path, s.Name, at, r)
				}
			}
			writeBytes(t, dir, s.File, good)
		}
	}
}

// A GOT is free in its order, not in what its slots hold.
func TestCompareFollowsSlots(t *testing.T) {
	for _, m := range machines {
		for _, stem := range []string{"got/pic", "got/fpic", "got/noplt"} {
			path := fixture(m, stem, "o")
			dir, _ := dumpByLd(t, m, path)
			r := compare(t, m, path, dir)
			if !r.Equal() || r.Slots == 0 || r.Masked == 0 {
				t.Fatalf("%s: %v", path, r)
			}
			name := filepath.Join(dir, "got")
			good, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			changed := 0
			for at := 0; at+8 <= len(good); at += 8 {
				bad := append([]byte(nil), good...)
				bad[at]++
				writeBytes(t, dir, "got", bad)
				for _, d := range compare(t, m, path, dir).Differences {
					changed++
					if d.What != "slot" {
						t.Errorf("%s: slot changed, reported as %v", path, d)
					}
				}
			}
			if changed == 0 {
				t.Errorf("%s: no changed slot was noticed", path)
			}
			writeBytes(t, dir, "got", good)
		}
	}
}

// A field that leads to another symbol's slot, or to none, is a difference
// although it is masked.
func TestCompareFindsWrongSlot(t *testing.T) {
	for _, m := range machines {
		path := fixture(m, "got/noplt", "o")
		dir, l := dumpByLd(t, m, path)
		_, data := plan(t, m, path)
		c, err := newComparison(linkerOf(t, m), data, l, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range l.Objects[0].Sections {
			for _, r := range c.obj.relocs[s.Index] {
				rule, ok := slots(elf.Machine(m))[r.typ]
				if !ok {
					continue
				}
				good, err := os.ReadFile(filepath.Join(dir, s.File))
				if err != nil {
					t.Fatal(err)
				}
				bad := append([]byte(nil), good...)
				w := binary.LittleEndian.Uint32(bad[r.offset:])
				one := uint32(rule.mask & -rule.mask) // the lowest bit of the field
				binary.LittleEndian.PutUint32(bad[r.offset:], w&^uint32(rule.mask)|(w+8*one)&uint32(rule.mask))
				writeBytes(t, dir, s.File, bad)
				if res := compare(t, m, path, dir); len(res.Differences) == 0 {
					t.Errorf("%s: %s changed, not noticed", path, c.describe(r))
				}
				writeBytes(t, dir, s.File, good)
			}
		}
	}
}

// Of each field only the bits that choose a slot are masked, and of no other
// field any; and each masked one is followed.
func TestCompareMasksOnlyWhatItMust(t *testing.T) {
	for _, m := range machines {
		for _, s := range stems {
			path := fixture(m, s.stem, s.ext)
			l, data := plan(t, m, path)
			c, err := newComparison(linkerOf(t, m), data, l, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for _, rs := range c.obj.relocs {
				for _, r := range rs {
					size := c.fieldSize(r.typ)
					b := make([]byte, r.offset+uint64(size)+8)
					masked := make([]byte, len(b))
					before := c.result.Masked
					if err := c.mask(r, "x", b, masked); err != nil {
						t.Fatal(err)
					}
					var want uint64
					if rule, ok := slots(elf.Machine(m))[r.typ]; ok {
						want = rule.mask
					}
					for i, x := range masked {
						w := byte(0)
						if k := i - int(r.offset); k >= 0 && k < size {
							w = byte(want >> (8 * k))
						}
						if x != w {
							t.Errorf("%s: %s: byte %d is masked with %#x, want %#x", path, c.describe(r), i-int(r.offset), x, w)
						}
					}
					if (want != 0) != (c.result.Masked > before) {
						t.Errorf("%s: %s: not counted as masked", path, c.describe(r))
					}
				}
			}
			c.halves()
			if c.result.Followed != c.result.Masked {
				t.Errorf("%s: %d masked, %d followed", path, c.result.Masked, c.result.Followed)
			}
		}
	}
}

// A branch of aarch64 to a weak name that nobody defines is a NOP and nothing else.
func TestCompareLooksForNops(t *testing.T) {
	path := fixture(arch.ARM64, "weak_undef/pic", "o")
	dir, l := dumpByLd(t, arch.ARM64, path)
	_, data := plan(t, arch.ARM64, path)
	c, err := newComparison(linkerOf(t, arch.ARM64), data, l, dir)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range l.Objects[0].Sections {
		for _, r := range c.obj.relocs[s.Index] {
			if !c.nothingToCall(r) {
				continue
			}
			found++
			b, err := os.ReadFile(filepath.Join(dir, s.File))
			if err != nil {
				t.Fatal(err)
			}
			b[r.offset] ^= 1
			writeBytes(t, dir, s.File, b)
			if res := compare(t, arch.ARM64, path, dir); len(res.Differences) != 1 || res.Differences[0].Offset != r.offset {
				t.Errorf("%s is no nop: %v", c.describe(r), res)
			}
			b[r.offset] ^= 1
			writeBytes(t, dir, s.File, b)
		}
	}
	if found == 0 {
		t.Error("the fixture changed: no branch to an absent name")
	}
}

func TestCompareRefuses(t *testing.T) {
	path := fixture(arch.AMD64, "call/call", "o")
	ld := linkerOf(t, arch.AMD64)
	good, _ := plan(t, arch.AMD64, path)
	encoded, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Layout)
		want   string
	}{
		"two objects":       {func(l *Layout) { l.Objects = append(l.Objects, Object{}) }, "2 objects"},
		"no address":        {func(l *Layout) { l.Externals = nil }, "no address for callee"},
		"no such section":   {func(l *Layout) { l.Objects[0].Sections[0].Index = 99 }, "no section 99"},
		"a section twice":   {func(l *Layout) { s := l.Objects[0].Sections; s[1].Index = s[0].Index }, "twice"},
		"a file is missing": {func(l *Layout) { l.Objects[0].Sections[0].File = "none" }, "none"},
		"name with a quote": {func(l *Layout) {
			l.Externals[0].Name = `a"b`
			l.Externals = append(l.Externals, External{Name: "callee"})
		}, "linker script"},
	} {
		t.Run(name, func(t *testing.T) {
			var l Layout
			if err := json.Unmarshal(encoded, &l); err != nil {
				t.Fatal(err)
			}
			test.change(&l)
			dir := t.TempDir()
			write(t, dir, &l)
			_, err := Compare(context.Background(), ld, path, dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// A section that the dump does not have, or has in another size, is found.
func TestCompareFindsAbsentAndSize(t *testing.T) {
	path := fixture(arch.AMD64, "call/call", "o")
	dir, l := dumpByLd(t, arch.AMD64, path)
	all := l.Objects[0].Sections
	var text int
	for i, s := range all {
		if s.Name == ".text" {
			text = i
		}
	}
	shorter := append([]Section(nil), all...)
	shorter[text].Size--
	b, err := os.ReadFile(filepath.Join(dir, shorter[text].File))
	if err != nil {
		t.Fatal(err)
	}
	shorter[text].File = "short"
	writeBytes(t, dir, "short", b[:len(b)-1])
	l.Objects[0].Sections = shorter
	write(t, dir, l)
	if r := compare(t, arch.AMD64, path, dir); len(r.Differences) != 1 || r.Differences[0].What != "size" {
		t.Errorf("a section too short: %v", r)
	}
	l.Objects[0].Sections = append(append([]Section(nil), all[:text]...), all[text+1:]...)
	write(t, dir, l)
	if r := compare(t, arch.AMD64, path, dir); len(r.Absent) != 1 || r.Equal() {
		t.Errorf("a section left out: %v", r)
	}
}

// An address that its section's alignment does not allow, and one that another
// section has.
func TestCompareFindsWrongAddresses(t *testing.T) {
	path := fixture(arch.AMD64, "call/call", "o")
	for name, by := range map[string]Number{"misaligned": 0x101, "overlapping": 0x10} {
		l, data := plan(t, arch.AMD64, path)
		ss := l.Objects[0].Sections
		for _, s := range ss {
			if s.Name == ".text" { // and .eh_frame over the end of it, or too far by a byte
				ss[len(ss)-1].Addr = s.Addr + by
			}
		}
		c, err := newComparison(linkerOf(t, arch.AMD64), data, l, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if d := c.result.Differences; len(d) != 1 || d[0].What != "address" {
			t.Errorf("%s: %v", name, d)
		}
	}
}

// The stub of an IFUNC must be known: nothing that leads there is masked.
func TestCompareNeedsStubs(t *testing.T) {
	for _, m := range machines {
		path := fixture(m, "ifunc/ifunc", "o")
		l, data := plan(t, m, path)
		if len(l.Objects[0].IFuncs) == 0 {
			t.Fatal("the fixture changed: no IFUNC")
		}
		l.Objects[0].IFuncs = nil
		if _, err := newComparison(linkerOf(t, m), data, l, t.TempDir()); err == nil || !strings.Contains(err.Error(), "no stub") {
			t.Errorf("error %v, want one about a stub", err)
		}
	}
}

func TestCompareStops(t *testing.T) {
	path := fixture(arch.AMD64, "call/call", "o")
	dir, _ := dumpByLd(t, arch.AMD64, path)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Compare(ctx, linkerOf(t, arch.AMD64), path, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestFindLinkerOfNoMachine(t *testing.T) {
	if _, err := FindLinker(arch.Machine(8)); !errors.Is(err, ErrNoLinker) {
		t.Errorf("error %v, want %v", err, ErrNoLinker)
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]Number{`"0x10"`: 16, `"16"`: 16, `16`: 16, `"0xffffffffffffffff"`: 1<<64 - 1} {
		var n Number
		if err := json.Unmarshal([]byte(in), &n); err != nil || n != want {
			t.Errorf("%s: %d, %v", in, n, err)
		}
	}
	var n Number
	for _, in := range []string{`"x"`, `-1`, `""`, `[]`} {
		if err := json.Unmarshal([]byte(in), &n); err == nil {
			t.Errorf("%s: no error", in)
		}
	}
}
