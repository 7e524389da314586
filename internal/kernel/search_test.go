package kernel

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/diag"
)

// library is a folder of modules to be found.
type library struct {
	*bench
	dir string
}

func newLibrary(b *bench) *library { return &library{b, b.TempDir()} }

func (l *library) put(file string, y *toy) string {
	return writeObject(l.TB, l.dir, file, y.build(l.machine)).Path
}

// find loads a module that needs the names, with what is found in the directories.
func (l *library) find(dirs []string, needs ...use) (*Change, error) {
	var search []Source
	for _, d := range dirs {
		search = append(search, Source{Name: d, Path: d})
	}
	return l.Load(l.Context(), LoadRequest{Modules: []ModuleSpec{l.spec(&toy{name: "main", uses: needs})}, Search: search})
}

func loadedNames(c *Change) (names []string) {
	for _, m := range c.Loaded {
		names = append(names, m.Name)
	}
	return names
}

// TestSearch: what is missing is found, and what that needs, and it is loaded before.
func TestSearch(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		l := newLibrary(newBench(t, m))
		l.put("deep.KO", &toy{gives: []give{{symbol: "deep"}, {symbol: "deep2", weak: true}}, uses: []use{{symbol: "main_too", how: call, weak: true}}})
		l.put("a.kmod", &toy{gives: []give{{symbol: "a"}}, uses: []use{{symbol: "deep", how: call}, {symbol: "b", how: pointer}}})
		l.put("b.o", &toy{gives: []give{{symbol: "b"}}, uses: []use{{symbol: "a", how: call}, {symbol: "deep2", how: lea}}})
		l.put("unneeded.o", &toy{gives: []give{{symbol: "unneeded"}}})
		c, err := l.find([]string{l.dir}, use{symbol: "a", how: call}, use{symbol: "unneeded", how: call, weak: true})
		if err != nil {
			t.Fatal(err)
		}
		if d := diff([]string{"deep", "b", "a", "main"}, loadedNames(c)); d != "" {
			t.Errorf("loaded:\n%s", d)
		}
		if d := diff([]AbsentInfo{{"deep", "main_too"}, {"main", "unneeded"}}, c.Absent); d != "" {
			t.Errorf("absent:\n%s", d)
		}
		if got := c.Loaded[0].Files[0]; got != filepath.Join(l.dir, "deep.KO") {
			t.Errorf("file %s", got)
		}
		l.mustUnload("main")
		if c, err = l.find([]string{l.dir}, use{symbol: "a", how: call}); err != nil || len(c.Loaded) != 1 {
			t.Errorf("what is there was loaded again: %+v, %v", c, err)
		}
	})
}

// TestSearchAmbiguous: nothing is preferred silently.
func TestSearchAmbiguous(t *testing.T) {
	l := newLibrary(newBench(t, arch.AMD64))
	other := newLibrary(l.bench)
	l.put("one.o", &toy{gives: []give{{symbol: "f"}}})
	other.put("two.o", &toy{gives: []give{{symbol: "f", weak: true}}})
	before := l.snapshot()
	_, err := l.find([]string{l.dir, other.dir}, use{symbol: "f", how: call})
	refused(t, err, diag.ErrConflict, `"f" is missing, and both `, "one.o and ", "two.o provide it: load one of them")
	if d := diff(before, l.snapshot()); d != "" {
		t.Errorf("a refused search changed something:\n%s", d)
	}

	// One file on several ways is one file.
	if err := os.Symlink(filepath.Join(l.dir, "one.o"), filepath.Join(l.dir, "zero.o")); err != nil {
		t.Fatal(err)
	}
	if c, err := l.find([]string{l.dir, l.dir + "/.", l.dir}, use{symbol: "f", how: call}); err != nil || len(c.Loaded) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestSearchBroken: what lies about in a directory was not named by anybody, and is no
// error.
func TestSearchBroken(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		l := newLibrary(newBench(t, m))
		y := &toy{gives: []give{{symbol: "f"}}}
		sound := y.build(m)
		for name, b := range map[string][]byte{
			"cut.o": sound[:len(sound)/2], "empty.o": {}, "text.kmod": []byte("hello"), "f.so": sound, "f": sound,
			"foreign.o": y.build(other(m)),
		} {
			writeObject(t, l.dir, name, b)
		}
		if err := os.Mkdir(filepath.Join(l.dir, "dir.o"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(filepath.Join(l.dir, "pipe.o"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("nowhere", filepath.Join(l.dir, "dangling.o")); err != nil {
			t.Fatal(err)
		}
		dirs := []string{filepath.Join(l.dir, "none"), l.dir}
		_, err := l.find(dirs, use{symbol: "f", how: call})
		refused(t, err, diag.ErrUndefined, `against "f": no provider`)
		writeObject(t, l.dir, "sound.o", sound)
		if c, err := l.find(dirs, use{symbol: "f", how: call}); err != nil || loadedNames(c)[0] != "sound" {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// TestPipe: a pipe that nobody writes to is refused, not waited for.
func TestPipe(t *testing.T) {
	b := newBench(t, arch.AMD64)
	pipe := filepath.Join(b.dir, "pipe.o")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{{Files: []Source{{Name: "pipe.o", Path: pipe}}}}})
	refused(t, err, diag.ErrIO, "pipe.o: not a regular file")
}

// TestSearchOrder: what was found is loaded in the order of who needs whom, whatever the
// names are and whoever asked first.
func TestSearchOrder(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		l := newLibrary(newBench(t, m))
		l.put("a.o", &toy{gives: []give{{symbol: "a"}}, uses: []use{{symbol: "m", how: call}, {symbol: "z", how: call}}})
		l.put("m.o", &toy{gives: []give{{symbol: "m"}}, uses: []use{{symbol: "z", how: call}}})
		l.put("z.o", &toy{gives: []give{{symbol: "z"}}})
		c, err := l.find([]string{l.dir}, use{symbol: "a", how: call}, use{symbol: "m", how: call}, use{symbol: "z", how: call})
		if err != nil {
			t.Fatal(err)
		}
		if d := diff([]string{"z", "m", "a", "main"}, loadedNames(c)); d != "" {
			t.Errorf("loaded:\n%s", d)
		}
	})
}

// TestSearchRemembers: a file that has not changed since the last search is not read again,
// one that has is.
func TestSearchRemembers(t *testing.T) {
	l := newLibrary(newBench(t, arch.AMD64))
	path := l.put("one.o", &toy{gives: []give{{symbol: "old"}}})
	dirs := []Source{{Name: l.dir, Path: l.dir}}
	provided := func() (names []string) {
		for name := range l.indexDirs(dirs, arch.AMD64).providers {
			names = append(names, name)
		}
		return names
	}
	if d := diff([]string{"old"}, provided()); d != "" {
		t.Errorf("read:\n%s", d)
	}
	id, ok := identity(path)
	if !ok {
		t.Fatal("the file cannot be looked at")
	}
	l.looked = map[fileID]*glance{id: {machine: arch.AMD64, providers: []string{"remembered"}, stable: true}}
	for range 2 {
		if d := diff([]string{"remembered"}, provided()); d != "" {
			t.Errorf("not remembered:\n%s", d)
		}
	}
	if len(l.indexDirs(dirs, arch.ARM64).providers) != 0 {
		t.Error("found an object of another machine")
	}
	l.put("one.o", &toy{gives: []give{{symbol: "new"}, {symbol: "newer"}}})
	if got := provided(); len(got) != 2 || got[0] == "remembered" {
		t.Errorf("changed, but %v is remembered", got)
	}
	if _, there := l.looked[id]; there {
		t.Error("what is gone is remembered")
	}
	l.looked[id] = &glance{}
	if l.indexDirs(nil, arch.AMD64); len(l.looked) != 0 {
		t.Errorf("a search remembers what it did not see: %v", l.looked)
	}
}

// TestSearchTrusts: a file is remembered if the times of the next change would differ.
func TestSearchTrusts(t *testing.T) {
	l := newLibrary(newBench(t, arch.AMD64))
	src := Source{Name: "one.o", Path: l.put("one.o", &toy{gives: []give{{symbol: "f"}}})}
	for _, c := range []struct {
		age  time.Duration
		want bool
	}{{time.Hour, true}, {-time.Hour, false}} {
		id, _ := identity(src.Path)
		id.ctime = unix.NsecToTimespec(time.Now().Add(-c.age).UnixNano())
		if g := glanceAt(src, id); g.stable != c.want || len(g.providers) != 1 || g.machine != arch.AMD64 {
			t.Errorf("%v old: %+v", c.age, g)
		}
	}
	src.Path += ".gone"
	if g := glanceAt(src, fileID{}); g.stable || g.machine != 0 {
		t.Errorf("a file that cannot be read: %+v", g)
	}
}
