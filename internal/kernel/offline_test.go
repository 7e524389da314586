package kernel

import (
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// workshop is a folder for links without a host.
type workshop struct {
	testing.TB
	machine arch.Machine
	dir     string
}

func newWorkshop(t testing.TB, m arch.Machine) *workshop { return &workshop{t, m, t.TempDir()} }

func (w *workshop) path(name string) string { return filepath.Join(w.dir, name) }

func (w *workshop) specs(list ...*toy) (specs []ModuleSpec) {
	for _, y := range list {
		specs = append(specs, ModuleSpec{Files: []Source{writeObject(w.TB, w.dir, y.name+".o", y.build(w.machine))}})
	}
	return specs
}

func (w *workshop) link(r LinkRequest) *LinkReport {
	w.Helper()
	rep, err := Link(r)
	if err != nil {
		w.Fatal(err)
	}
	return rep
}

// linked is an image read by debug/elf.
type linked struct {
	testing.TB
	*elf.File
	syms map[string]elf.Symbol
}

func (w *workshop) read(path string) *linked {
	w.Helper()
	f, err := elf.Open(path)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { f.Close() })
	l := &linked{w.TB, f, map[string]elf.Symbol{}}
	syms, err := f.Symbols()
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range syms {
		l.syms[s.Name] = s
	}
	return l
}

// at reads n bytes of the image at an address, through its segments.
func (l *linked) at(addr uint64, n int) []byte {
	l.Helper()
	for _, p := range l.Progs {
		if addr >= p.Vaddr && addr-p.Vaddr < p.Memsz {
			b := make([]byte, n)
			if off := addr - p.Vaddr; off < p.Filesz {
				if _, err := p.ReadAt(b[:min(uint64(n), p.Filesz-off)], int64(off)); err != nil {
					l.Fatal(err)
				}
			}
			return b
		}
	}
	l.Fatalf("no segment holds %#x", addr)
	return nil
}

// leads decodes the direct branch at an address.
func (l *linked) leads(m arch.Machine, addr uint64) uint64 {
	b := l.at(addr, 8)
	if m == arch.AMD64 {
		return addr + 5 + uint64(int64(int32(binary.LittleEndian.Uint32(b[1:]))))
	}
	return addr + uint64(int64(int32(binary.LittleEndian.Uint32(b)<<6))>>4)
}

func (l *linked) symbol(name string) uint64 {
	l.Helper()
	s, ok := l.syms[name]
	if !ok {
		l.Fatalf("no symbol %s in %v", name, slices.Sorted(maps.Keys(l.syms)))
	}
	return s.Value
}

// TestImage reads an image of two modules that refer to each other.
func TestImage(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		w := newWorkshop(t, m)
		a := &toy{name: "a", gives: []give{{symbol: "f"}, {symbol: "x", data: true}}, uses: []use{{symbol: "g", how: call}, {symbol: "f", how: pointer}, {symbol: "y", how: pointer}}}
		b := &toy{name: "b", gives: []give{{symbol: "g", weak: true}, {symbol: "y", data: true}}, uses: []use{{symbol: "f", how: tail}, {symbol: "f", how: pointer}, {symbol: "gone", how: lea, weak: true}}}
		out := w.path("image")
		r := w.link(LinkRequest{Modules: w.specs(a, b), Base: 0x30000123, Output: out})
		if r.Machine != m.String() || r.Modules != 2 || r.Objects != 2 || r.Sections != 4 || r.Sites != 2 || r.Entries != 1 || r.Externals != 0 ||
			r.Text.Addr != 0x30001000 || len(r.Absent) != 1 || r.Absent[0] != (AbsentInfo{"b", "gone"}) {
			t.Errorf("%+v", r)
		}
		l := w.read(out)
		if l.Type != elf.ET_EXEC || l.Machine != elf.Machine(m) || l.Entry != 0 || len(l.Progs) != 2 || r.Tables.Size != 0 {
			t.Errorf("%+v", l.FileHeader)
		}
		for i, span := range []SpanInfo{r.Text, r.Data} { // no tables, and so no segment for them
			p := l.Progs[i]
			flags := []elf.ProgFlag{elf.PF_R | elf.PF_X, elf.PF_R | elf.PF_W}[i]
			if p.Type != elf.PT_LOAD || p.Flags != flags || p.Vaddr != uint64(span.Addr) || p.Memsz != span.Size || p.Off%filePage != p.Vaddr%filePage {
				t.Errorf("segment %d: %+v, want %v %+v", i, p.ProgHeader, flags, span)
			}
			s := l.Section([]string{".text", ".data"}[i])
			if s.Addr != p.Vaddr || s.Size != p.Filesz || s.Offset != p.Off {
				t.Errorf("section %+v, segment %+v", s.SectionHeader, p.ProgHeader)
			}
		}
		f, g := l.symbol("f"), l.symbol("g")
		if l.symbol("f@entry")%8 != 0 || l.leads(m, l.symbol("f@entry")) != f {
			t.Errorf("the entry of f at %#x does not lead to %#x", l.symbol("f@entry"), f)
		}
		if at := uint64(r.Text.Addr) + a.offsets[0]; l.leads(m, at) != g {
			t.Errorf("the call of g leads to %#x, want %#x", l.leads(m, at), g)
		}
		if elf.ST_BIND(l.syms["g"].Info) != elf.STB_WEAK || elf.ST_BIND(l.syms["impl_g"].Info) != elf.STB_LOCAL || l.syms["y"].Section != 3 {
			t.Errorf("%+v", l.syms)
		}
		pointers := l.at(uint64(r.Data.Addr), 16)
		if got := binary.LittleEndian.Uint64(pointers); got != l.symbol("f@entry") {
			t.Errorf("the pointer to f is %#x", got)
		}
		if got := binary.LittleEndian.Uint64(pointers[8:]); got != l.symbol("y") {
			t.Errorf("the pointer to y is %#x", got)
		}
		if left := entriesOf(t, w.dir); !slices.Equal(left, []string{"a.o", "b.o", "image"}) {
			t.Errorf("in the folder: %v", left)
		}
	})
}

// entriesOf lists a folder.
func entriesOf(t testing.TB, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// TestContiguous: one file lies in one piece, so that what reaches 1 MiB only does.
func TestContiguous(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		w := newWorkshop(t, m)
		o := objbuild.New(m).Text(".text", function[m]).Global("f", 0, 8).Rodata(".rodata", make([]byte, 100)).Data(".data", []byte("data")).Global("d", 0, 4).
			Bss(".bss", 1<<20).Global("b", 8, 8).Common("c", 64, 256)
		spec := ModuleSpec{Files: []Source{writeObject(t, w.dir, "a.o", o.Bytes())}}
		r := w.link(LinkRequest{Modules: []ModuleSpec{spec}, Output: w.path("image")})
		if r.Text.Addr != DefaultBase || r.Tables.Addr != DefaultBase+filePage || r.Data.Addr != DefaultBase+2*filePage || r.Data.Size < 1<<20 {
			t.Errorf("%+v", r)
		}
		l := w.read(w.path("image"))
		data, bss := l.Section(".data"), l.Section(".bss")
		if data.Size != 4 || bss.Type != elf.SHT_NOBITS || bss.Addr != data.Addr+4 || data.Size+bss.Size != r.Data.Size {
			t.Errorf("%+v %+v", data.SectionHeader, bss.SectionHeader)
		}
		if l.syms["d"].Section != 3 || l.syms["b"].Section != 4 || l.syms["c"].Section != 4 || l.symbol("c")%64 != 0 || l.syms["c"].Size != 256 {
			t.Errorf("%+v", l.syms)
		}
		if st, err := os.Stat(w.path("image")); err != nil || st.Size() > 32<<10 {
			t.Errorf("the file has the bytes of .bss: %d, %v", st.Size(), err)
		}
	})
}

// TestNames: what becomes of names that no file gives.
func TestNames(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		w := newWorkshop(t, m)
		y := &toy{name: "a", uses: []use{{symbol: "p", how: call}, {symbol: "q", how: pointer}, {symbol: "p", how: pointer}, {symbol: "maybe", how: pointer, weak: true}}}
		specs := w.specs(y)
		_, err := Link(LinkRequest{Modules: specs, Output: w.path("image")})
		refused(t, err, diag.ErrUndefined, `against "p": no provider`, `against "q": no provider`)
		if _, err := os.Stat(w.path("image")); err == nil {
			t.Error("a failing link left an image")
		}

		r := w.link(LinkRequest{Modules: specs, TrapExternals: true, Output: w.path("image")})
		l := w.read(w.path("image"))
		if r.Externals != 2 || r.Entries != 0 || r.Sites != 1 || l.leads(m, uint64(r.Text.Addr)) != l.symbol("p") || !traps(m, l.at(l.symbol("p"), 16)) || l.symbol("q")%16 != 0 {
			t.Errorf("%+v", r)
		}
		data := l.at(uint64(r.Data.Addr), 24)
		for i, want := range []uint64{l.symbol("q"), l.symbol("p"), 0} {
			if got := binary.LittleEndian.Uint64(data[8*i:]); got != want {
				t.Errorf("pointer %d is %#x, want %#x", i, got, want)
			}
		}

		// --define gives values, and the rest still fails.
		define := map[string]uint64{"p": DefaultBase + 0x8000, "q": 0x1234567890}
		_, err = Link(LinkRequest{Modules: specs, Define: map[string]uint64{"p": 4}})
		refused(t, err, diag.ErrUndefined, `against "q": no provider`)
		r = w.link(LinkRequest{Modules: specs, Define: define, Output: w.path("image")})
		l = w.read(w.path("image"))
		if got := l.leads(m, uint64(r.Text.Addr)); got != define["p"] || r.Externals != 0 || r.Sites != 0 {
			t.Errorf("the call of p leads to %#x: %+v", got, r)
		}
		if got := binary.LittleEndian.Uint64(l.at(uint64(r.Data.Addr), 8)); got != define["q"] {
			t.Errorf("the pointer to q is %#x", got)
		}
	})
}

// TestStatic: every reference is bound to the definition itself.
func TestStatic(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		w := newWorkshop(t, m)
		a := &toy{name: "a", gives: []give{{symbol: "f", weak: true}}, uses: []use{{symbol: "f", how: call}, {symbol: "f", how: pointer}}}
		b := &toy{name: "b", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "f", how: call}, {symbol: "f", how: gotCall}}}
		r := w.link(LinkRequest{Modules: w.specs(a, b), Static: true, Output: w.path("image")})
		if r.Sites != 0 || r.Entries != 0 {
			t.Errorf("%+v", r)
		}
		l := w.read(w.path("image"))
		own := uint64(r.Text.Addr)
		if got := l.leads(m, own+a.offsets[0]); got != own {
			t.Errorf("a's call leads to %#x, want its own %#x", got, own)
		}
		if got := binary.LittleEndian.Uint64(l.at(uint64(r.Data.Addr), 8)); got != own {
			t.Errorf("a's pointer is %#x, want its own %#x", got, own)
		}
		if m == arch.AMD64 && !strings.Contains(string(l.at(own, int(r.Text.Size))), "\xff\x15") {
			t.Error("the call through the GOT was relaxed")
		}
	})
}

// layout is layout.json as its readers see it.
type layout struct {
	Machine string
	Objects []struct {
		File, Member string
		Sections     []struct {
			Index            int
			Name, Addr, File string
			Size             uint64
		}
		Commons []struct {
			Name, Addr string
			Size       uint64
		}
		IFuncs []struct {
			Symbol int
			Addr   string
		}
	}
	Externals []struct{ Name, Addr string }
	GOTs      []struct {
		Module, Addr, File string
		Size               uint64
	}
	Live             bool
	Entries, Veneers []struct{ Name, Addr, Code string }
}

// TestDump: what the folder says is what the image holds.
func TestDump(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		w := newWorkshop(t, m)
		a := &toy{name: "a", gives: []give{{symbol: "f"}, {symbol: "x", data: true}}, uses: []use{{symbol: "f", how: gotLoad}, {symbol: "p", how: call}, {symbol: "p", how: pointer}}}
		lib := objbuild.Archive(objbuild.Member{Name: "m.o", Data: objbuild.New(m).Text(".text", function[m]).Global("q", 0, 8).Common("c", 16, 48).Bytes()})
		specs := append(w.specs(a), ModuleSpec{Files: []Source{writeObject(t, w.dir, "lib.a", lib)}, WholeArchive: true})
		w.link(LinkRequest{Modules: specs, TrapExternals: true, DumpDir: w.path("dump"), Output: w.path("image"), Define: map[string]uint64{"zero": 7}})
		l := w.read(w.path("image"))
		raw, err := os.ReadFile(w.path("dump/layout.json"))
		if err != nil {
			t.Fatal(err)
		}
		var y layout
		dec := json.NewDecoder(strings.NewReader(string(raw)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&y); err != nil {
			t.Fatal(err)
		}
		var files []string
		same := func(addr, file string, size uint64) {
			t.Helper()
			var at Addr
			if err := at.UnmarshalText([]byte(addr)); err != nil || !strings.HasPrefix(addr, "0x") {
				t.Fatal(addr, err)
			}
			if file == "" {
				return
			}
			files = append(files, file)
			b, err := os.ReadFile(w.path("dump/" + file))
			if err != nil || uint64(len(b)) != size || string(b) != string(l.at(uint64(at), len(b))) {
				t.Errorf("%s: %d of %d bytes, %v; they differ from the image", file, len(b), size, err)
			}
		}
		if y.Machine != m.String() || len(y.Objects) != 2 || y.Objects[0].File != "a.o" || y.Objects[1].File != "lib.a" || y.Objects[1].Member != "m.o" {
			t.Errorf("%s", raw)
		}
		for _, o := range y.Objects {
			for _, s := range o.Sections {
				same(s.Addr, s.File, s.Size)
			}
		}
		for _, g := range y.GOTs {
			same(g.Addr, g.File, g.Size)
		}
		if s := y.Objects[0].Sections; len(s) != 2 || s[0].Name != ".text" || s[0].Index != 1 || s[1].Name != ".data" || s[0].File == "" {
			t.Errorf("sections %+v", s)
		}
		if c := y.Objects[1].Commons; len(c) != 1 || c[0].Name != "c" || c[0].Size != 48 || c[0].Addr != Addr(l.symbol("c")).String() {
			t.Errorf("commons %+v", c)
		}
		if e := y.Externals; len(e) != 2 || e[0].Name != "p" || e[0].Addr != Addr(l.symbol("p")).String() || e[1].Name != "zero" || e[1].Addr != "0x7" {
			t.Errorf("externals %+v", e)
		}
		if g := y.GOTs; len(g) != 2 || g[0].Module != "a" || g[0].Size != 8 || g[1].Module != "lib" || g[1].Size != 0 || g[1].File != "" {
			t.Errorf("gots %+v", g)
		}
		slices.Sort(files)
		if got := entriesOf(t, w.path("dump")); !slices.Equal(got, append(files, "layout.json")) {
			t.Errorf("in the folder: %v, want %v", got, files)
		}
	})
}

// TestOutput: where the image goes, or does not.
func TestOutput(t *testing.T) {
	w := newWorkshop(t, arch.AMD64)
	good := w.specs(&toy{name: "a", gives: []give{{symbol: "f"}}})
	bad := append(w.specs(&toy{name: "b", gives: []give{{symbol: "f"}}}), good...)
	narrowed := objbuild.New(w.machine).Data(".data", make([]byte, 8)).Global("d", 0, 8).Reloc(0, narrow[w.machine], "d", 0)
	late := []ModuleSpec{{Files: []Source{writeObject(t, w.dir, "late.o", narrowed.Bytes())}}}
	before := entriesOf(t, w.dir)

	w.link(LinkRequest{Modules: good, Output: os.DevNull})
	if st, err := os.Stat(os.DevNull); err != nil || st.Mode().IsRegular() {
		t.Errorf("%s was replaced: %v, %v", os.DevNull, st, err)
	}
	_, err := Link(LinkRequest{Modules: good, Output: w.path("none/image")})
	refused(t, err, diag.ErrIO, w.path("none/image")+": no such file or directory")
	_, err = Link(LinkRequest{Modules: good, Output: w.dir})
	refused(t, err, diag.ErrIO, w.dir+": is a directory")
	_, err = Link(LinkRequest{Modules: good, DumpDir: w.path("a.o/dump"), Output: w.path("image")})
	refused(t, err, diag.ErrIO, w.path("a.o/dump")+": not a directory")

	if err := os.WriteFile(w.path("image"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range []LinkRequest{{Modules: bad}, {Modules: late}, {Modules: good, Base: 1<<64 - 8192}} {
		r.Output = w.path("image")
		if _, err := Link(r); err == nil {
			t.Errorf("%+v was linked", r)
		}
		if b, err := os.ReadFile(w.path("image")); err != nil || string(b) != "old" {
			t.Errorf("the image that was there is now %q, %v", b, err)
		}
	}
	if after := entriesOf(t, w.dir); !slices.Equal(after, append(before[:slices.Index(before, "late.o")], "image", "late.o")) {
		t.Errorf("left behind: %v, before %v", after, before)
	}
	w.link(LinkRequest{Modules: good, Output: w.path("image")})
	w.read(w.path("image"))
}

func TestLinkRefused(t *testing.T) {
	w := newWorkshop(t, arch.AMD64)
	spec := w.specs(&toy{name: "a"})[0]
	foreign := ModuleSpec{Files: []Source{writeObject(t, w.dir, "b.o", (&toy{}).build(arch.ARM64))}}
	_, err := Link(LinkRequest{Modules: []ModuleSpec{spec, foreign}})
	refused(t, err, diag.ErrMachine, "b.o: is for aarch64, but a.o is for x86-64")
	_, err = Link(LinkRequest{})
	refused(t, err, diag.ErrUsage, "nothing to link")
	for _, base := range []uint64{1<<64 - 1, 1<<64 - 4096, maxAddress} {
		_, err = Link(LinkRequest{Modules: []ModuleSpec{spec}, Base: base})
		refused(t, err, diag.ErrNoSpace, "the image does not fit")
	}
	huge := objbuild.New(arch.AMD64)
	for range 1 << 10 {
		huge.Bss(".bss", 1<<31)
	}
	big := ModuleSpec{Files: []Source{writeObject(t, w.dir, "big.o", huge.Bytes())}}
	_, err = Link(LinkRequest{Modules: []ModuleSpec{big}})
	refused(t, err, diag.ErrNoSpace, "big.o: ")
	_, err = Link(LinkRequest{Modules: w.specs(&toy{name: "x", gives: []give{{symbol: "f"}}}, &toy{name: "y", gives: []give{{symbol: "f"}}})})
	refused(t, err, diag.ErrConflict, `y.o: "f" already has an override, from module x`)
}
