package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// record is a module that says something of itself: its MODULE record (none if name is
// ""), functions that it provides, functions that it calls ("weak_" ones weakly).
type record struct {
	name, required string
	gives, calls   []string
}

func (r record) build(m arch.Machine) []byte {
	abs64 := map[arch.Machine]uint32{arch.AMD64: 1, arch.ARM64: 257}[m]
	text := append([]byte(nil), function[m]...)
	b := objbuild.New(m)
	for range r.calls {
		text = append(text, pieces[m][call].code...)
	}
	b.Text(".text", text).SectionSymbol(".text")
	for _, g := range r.gives {
		b.Global(g, 0, funcSize)
	}
	for i, c := range r.calls {
		f := pieces[m][call].fields[0]
		b.Reloc(uint64(funcSize+i*len(pieces[m][call].code))+f.off, f.typ, c, f.addend)
		if strings.HasPrefix(c, "weak_") {
			b.WeakUndef(c)
		} else if !slices.Contains(r.gives, c) {
			b.Undef(c)
		}
	}
	if r.name == "" {
		return b.Bytes()
	}
	return b.Rodata(".str", []byte(r.name+"\x00"+r.required+"\x00")).SectionSymbol(".str").
		Rodata(".modinfo", make([]byte, 32)).SectionSymbol(".modinfo").
		Reloc(16, abs64, ".str", 0).Reloc(24, abs64, ".str", int64(len(r.name))+1).
		Rodata("link_set_modules", make([]byte, 8)).Reloc(0, abs64, ".modinfo", 0).Bytes()
}

// shelf is folders of modules to be found.
type shelf struct {
	*bench
	dirs []Source
}

// newShelf writes modules, by folder and file.
func newShelf(t *testing.T, m arch.Machine, files map[string]record) *shelf {
	s := &shelf{bench: newBench(t, m)}
	root := t.TempDir()
	for name, r := range files {
		dir := Source{Name: filepath.Dir(name), Path: filepath.Join(root, filepath.Dir(name))}
		if err := os.MkdirAll(dir.Path, 0o755); err != nil {
			t.Fatal(err)
		}
		writeObject(t, dir.Path, filepath.Base(name), r.build(m))
		if !slices.Contains(s.dirs, dir) {
			s.dirs = append(s.dirs, dir)
		}
	}
	slices.SortFunc(s.dirs, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// bring loads modules from files of their own, with what the folders have if search.
func (s *shelf) bring(search bool, modules ...record) (*Change, error) {
	s.Helper()
	var r LoadRequest
	for _, m := range modules {
		s.files++
		dir := filepath.Join(s.dir, m.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			s.Fatal(err)
		}
		r.Modules = append(r.Modules, ModuleSpec{Files: []Source{writeObject(s.TB, dir, m.name+".kmod", m.build(s.machine))}})
	}
	if search {
		r.Search = s.dirs
	}
	return s.Load(s.Context(), r)
}

// TestRequiredIsFound: what a module requires is found by the name of its record or file, and
// so is what that requires and needs; all of it is loaded before.
func TestRequiredIsFound(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		s := newShelf(t, m, map[string]record{
			"one/mid.o":      {name: "mid", required: "low,plain"},
			"one/plain.ko":   {gives: []string{"plain_f"}},
			"two/other.kmod": {name: "low", calls: []string{"f"}},
			"two/f.o":        {gives: []string{"f"}},
			"two/mid.kmod":   {name: "else"},
			"two/unneeded.o": {name: "unneeded", required: "nothing"},
		})
		c, err := s.bring(true, record{name: "top", required: "mid", calls: []string{"plain_f"}})
		if err != nil {
			t.Fatal(err)
		}
		if d := diff([]string{"f", "low", "plain", "mid", "top"}, loadedNames(c)); d != "" {
			t.Errorf("loaded:\n%s", d)
		}
		s.mustUnload("top")
		if c, err = s.bring(true, record{name: "top", required: "mid,low"}); err != nil || len(c.Loaded) != 1 {
			t.Errorf("what is there was loaded again: %+v, %v", c, err)
		}
		if c, err = s.bring(false, record{name: "a", required: "b,top"}, record{name: "b", required: "c"}, record{name: "c", required: "a,c"}); err != nil || len(c.Loaded) != 3 {
			t.Errorf("what the command itself has: %+v, %v", c, err)
		}
	})
}

// TestRequiredCircle: modules that require one another load as one.
func TestRequiredCircle(t *testing.T) {
	s := newShelf(t, arch.AMD64, map[string]record{"d/a.o": {name: "a", required: "b"}, "d/b.o": {name: "b", required: "a"}})
	c, err := s.bring(true, record{name: "top", required: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if d := diff([]string{"a", "b", "top"}, loadedNames(c)); d != "" {
		t.Errorf("loaded:\n%s", d)
	}
}

// TestRequiredIsMissing: one line for each module that is not there.
func TestRequiredIsMissing(t *testing.T) {
	s := newShelf(t, arch.AMD64, map[string]record{"d/low.o": {name: "low", required: "deep"}})
	before := s.snapshot()
	for _, c := range []struct {
		search bool
		want   string
	}{
		{false, "top.kmod: requires the module \"low\", which is not loaded; -L names directories to look in\n" +
			"top.kmod: requires the module \"no%ne\", which is not loaded; -L names directories to look in\n" +
			"two.kmod: requires the module \"b\", which is not loaded; -L names directories to look in"},
		{true, "top.kmod: requires the module \"no%ne\", which is not loaded and not in the directories of -L\n" +
			"two.kmod: requires the module \"b\", which is not loaded and not in the directories of -L"},
	} {
		_, err := s.bring(c.search, record{name: "top", required: "no%ne,low"}, record{name: "two", required: "b,low,no%ne"})
		if !errors.Is(err, diag.ErrUndefined) || err.Error() != c.want {
			t.Errorf("%v\nwant\n%s", err, c.want)
		}
	}
	_, err := s.bring(true, record{name: "top", required: "low"})
	if want := `d/low.o: requires the module "deep", which is not loaded and not in the directories of -L`; err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
	if d := diff(before, s.snapshot()); d != "" {
		t.Errorf("a refused load changed something:\n%s", d)
	}
}

// TestRequiredByAnotherName: a file that the command itself loads under another name is
// not loaded a second time.
func TestRequiredByAnotherName(t *testing.T) {
	s := newShelf(t, arch.AMD64, map[string]record{"d/low.o": {name: "low"}, "d/top.o": {name: "top", required: "low"}})
	file := func(name string) []Source {
		return []Source{{Name: name, Path: filepath.Join(s.dirs[0].Path, name)}}
	}
	_, err := s.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{{As: "else", Files: file("low.o")}, {Files: file("top.o")}}, Search: s.dirs})
	if want := `top.o: requires the module "low", which is not loaded and not in the directories of -L`; err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

// TestRequiredTwice: nothing is preferred silently.
func TestRequiredTwice(t *testing.T) {
	s := newShelf(t, arch.AMD64, map[string]record{"a/low.kmod": {}, "b/x.o": {name: "low"}})
	_, err := s.bring(true, record{name: "top", required: "low"})
	if want := `"low" is required, and both a/low.kmod and b/x.o are modules of that name: load one of them`; !errors.Is(err, diag.ErrConflict) || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

// gathered are modules as they come from files.
func gathered(t *testing.T, records ...record) (list []*module) {
	t.Helper()
	for _, r := range records {
		o, err := elfload.Parse(r.name, "", r.build(arch.AMD64))
		if err != nil {
			t.Fatal(err)
		}
		lm, err := link.Gather(link.Unit{Name: r.name, Objects: []*elfload.Object{o}})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, &module{name: r.name, lm: lm})
	}
	return list
}

func TestNameOf(t *testing.T) {
	said, silent := gathered(t, record{name: "said"})[0].lm, gathered(t, record{})[0].lm
	file := []Source{{Name: "dir/file.kmod"}}
	for _, c := range []struct {
		spec ModuleSpec
		lm   *link.Module
		want string
	}{
		{ModuleSpec{Files: file}, said, "said"},
		{ModuleSpec{Files: file}, silent, "file"},
		{ModuleSpec{Files: file, As: "as"}, said, "as"},
		{ModuleSpec{Files: file, As: "as"}, silent, "as"},
	} {
		if got := nameOf(c.spec, c.lm); got != c.want {
			t.Errorf("%+v: %s, want %s", c.spec, got, c.want)
		}
	}
}

func TestInitOrder(t *testing.T) {
	for _, c := range []struct {
		modules []record
		want    string
	}{
		{[]record{{name: "a"}, {name: "b"}, {name: "c"}}, "a b c"},
		{[]record{{name: "a", required: "c,none"}, {name: "b"}, {name: "c"}}, "c a b"},
		{[]record{{name: "a", required: "c,b"}, {name: "b"}, {name: "c"}}, "b c a"},
		{[]record{{name: "a", required: "b"}, {name: "b", required: "c"}, {name: "c"}}, "c b a"},
		{[]record{{name: "a", calls: []string{"f"}}, {name: "b"}, {name: "c", gives: []string{"f"}}}, "c a b"},
		// Two give it, or it may be absent, or it is the module's own.
		{[]record{{name: "a", calls: []string{"f"}}, {name: "b", gives: []string{"f"}}, {name: "c", gives: []string{"f"}}}, "a b c"},
		{[]record{{name: "a", calls: []string{"weak_f"}}, {name: "b", gives: []string{"weak_f"}}}, "a b"},
		{[]record{{name: "a", calls: []string{"f"}, gives: []string{"f"}}, {name: "b"}}, "a b"},
		// Circles: the command's order, but for what is required.
		{[]record{{name: "b", required: "a"}, {name: "a", required: "b"}, {name: "c", required: "c"}}, "b a c"},
		{[]record{{name: "a", calls: []string{"f"}}, {name: "b", gives: []string{"f"}, calls: []string{"g"}}, {name: "c", gives: []string{"g"}, calls: []string{"h"}}, {name: "d", gives: []string{"h"}, calls: []string{"f"}}}, "b c d a"},
		{[]record{{name: "a", required: "c"}, {name: "b", required: "a"}, {name: "c", required: "b"}}, "a b c"},
		{[]record{{name: "a", required: "b", gives: []string{"f"}}, {name: "b", calls: []string{"f"}}}, "b a"},
		{[]record{{name: "x"}, {name: "a", required: "b,y"}, {name: "b", required: "a"}, {name: "y"}}, "x y a b"},
	} {
		var got []string
		for _, m := range initOrder(gathered(t, c.modules...)) {
			got = append(got, m.name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v, want %s", c.modules, got, c.want)
		}
	}
	if initOrder(nil) != nil {
		t.Error("an order of nothing")
	}
}
