package kernel

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/hostile"
	"klink/internal/testing/objbuild"
)

// gauntlet is a populated host that is given files of nobody's.
type gauntlet struct {
	*bench
	before *snapshot
	loads  int
	err    error // of the last load
}

// maxLoads is how many loads a host takes before there is a new one: entries stay until
// a host halts.
const maxLoads = 200

// newGauntlet makes a host that stays when t ends; its files lie in dir.
func newGauntlet(t testing.TB, m arch.Machine, dir string) *gauntlet {
	k, err := New(Config{Bare: true, Machine: m, ArenaBase: 0x20000000, ArenaSize: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, Kernel: k, machine: m, dir: dir}
	b.populate()
	// A name keeps its entry once somebody took its address: here all have theirs.
	b.mustLoad(&toy{name: "addresses", uses: []use{{symbol: "f", how: pointer}, {symbol: "g", how: pointer}, {symbol: "h", how: pointer}, {symbol: "k", how: pointer}}})
	return &gauntlet{bench: b, before: b.snapshot()}
}

// try loads a file, looks at it in every way, and unloads it. Whatever the file is, the
// answer is clean and the host as it was. It returns whether the file was loaded.
func (y *gauntlet) try(t testing.TB, raw []byte, whole bool) bool {
	y.TB = t
	spec := ModuleSpec{As: "m", WholeArchive: whole, Files: []Source{y.file("a.o", raw)}}
	start := allocated()
	c, err := y.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}})
	if n := allocated() - start; n > 64<<20+200*uint64(len(raw)) {
		t.Errorf("loading %d bytes allocated %d", len(raw), n)
	}
	y.err = err
	if (c == nil) == (err == nil) {
		t.Fatalf("change %v, error %v", c, err)
	}
	if err != nil {
		checkLines(t, err)
		if d := diff(y.before, y.snapshot()); d != "" {
			t.Fatalf("the refused load (%v) changed something:\n%s", err, d)
		}
		return false
	}
	y.look(t)
	if _, err := y.Unload(t.Context(), UnloadRequest{Modules: []string{"m"}}); err != nil {
		t.Fatalf("unload: %v", err)
	}
	after := y.snapshot()
	if d := diff(y.before.shared(y.before), after.shared(y.before)); d != "" {
		t.Fatalf("load and unload left something:\n%s", d)
	}
	y.before = after
	y.loads++
	return true
}

// shared is a snapshot without the entries that another one lacks: a name keeps its
// entry, which is a trap without providers.
func (s *snapshot) shared(other *snapshot) *snapshot {
	r := *s
	r.Memory, r.Index = maps.Clone(s.Memory), maps.Clone(s.Index)
	for name := range r.Memory {
		if _, ok := other.Memory[name]; !ok && strings.HasPrefix(name, "entry ") {
			delete(r.Memory, name)
		}
	}
	for slot := range r.Index {
		if _, ok := other.Index[slot]; !ok {
			delete(r.Index, slot)
		}
	}
	r.Sites = nil
	known := map[Addr]bool{}
	for _, site := range other.Sites {
		known[site.Addr] = true
	}
	for _, site := range s.Sites {
		if known[site.Addr] || site.In != "entry" || site.Target != 0 {
			r.Sites = append(r.Sites, site)
		}
	}
	return &r
}

// look asks everything about module m; answers go over the wire.
func (y *gauntlet) look(t testing.TB) {
	info, err := y.Info("m")
	if err != nil {
		t.Fatal(err)
	}
	alias, err := y.Alias(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	sites, err := y.Sites(SitesRequest{Module: "m"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		if s.Target == 0 || s.Provider == "" {
			t.Fatalf("a site leads nowhere: %+v", s)
		}
	}
	syms, err := y.Symbols(nil, "m")
	if err != nil {
		t.Fatal(err)
	}
	var listings []*Listing
	for _, s := range syms {
		if s.Type != "func" && s.Type != "notype" || len(listings) == 32 {
			continue
		}
		l, err := y.Disassemble(s.Addr.String())
		if err != nil {
			checkLines(t, err)
			continue
		}
		at := l.Addr
		for _, in := range l.Lines {
			if in.Addr != at || in.Bytes == "" || in.Text == "" {
				t.Fatalf("%s: %+v at %v", l.Func, in, at)
			}
			at += Addr(len(in.Bytes) / 2)
		}
		if at != l.Addr+Addr(l.Size) {
			t.Fatalf("%s: %v to %v of %d bytes", l.Func, l.Addr, at, l.Size)
		}
		y.source(t, s.Addr, l.Size)
		listings = append(listings, l)
	}
	for _, a := range []any{info, alias, sites, syms, listings} {
		if _, err := json.Marshal(a); err != nil {
			t.Fatal(err)
		}
	}
}

// source asks for source lines of a function, as a fault in it would.
func (y *gauntlet) source(t testing.TB, at Addr, size uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, pc := range []uint64{uint64(at), uint64(at) + size/2, uint64(at) + max(size, 1) - 1} {
		f := y.frame(y.names(), pc)
		if (f.File == "") != (f.Line == 0) || len(f.File) > maxLinePath+1 {
			t.Fatalf("%+v", f)
		}
	}
}

// checkLines looks for lines that must not reach a terminal, and for errors of no kind.
func checkLines(t testing.TB, err error) {
	lines := diag.Lines(err)
	if len(lines) > diag.MaxErrors+1 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		if line == "" || len(line) > 4096 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f }) {
			t.Fatalf("error line %q", line)
		}
	}
}

// allocated returns how many bytes were ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// alone checks and links a file without a host. It returns whether klink check finds
// nothing that would be refused.
func alone(t testing.TB, src Source) bool {
	r, err := Check([]Source{src})
	if err != nil {
		t.Fatal(err) // the file is there
	}
	sound := true
	for _, f := range r[0].Findings {
		checkLines(t, diag.New(diag.ErrUsage, "", "%s: %s", f.Place, f.Text))
		sound = sound && f.Level != levelError
	}
	for _, static := range []bool{false, true} {
		_, err := linkIn(LinkRequest{Modules: []ModuleSpec{{As: "m", Files: []Source{src}}}, TrapExternals: true, Static: static}, newMemory)
		if err != nil {
			checkLines(t, err)
		}
	}
	return sound
}

// smallObjects returns the compilers' objects of at most so many bytes, both machines'.
func smallObjects(t testing.TB, most int64) (list [][]byte) {
	files, err := filepath.Glob("../../testdata/objs/*/*.*64.*o*")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	for _, f := range files {
		if st, err := os.Stat(f); err != nil || st.Size() > most {
			continue
		}
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, raw)
	}
	return list
}

// FuzzLoad: whatever the file, an object or an archive, a host refuses it cleanly or
// loads it, answers every question about it, and is without it afterwards what it was
// before; klink check and klink link answer too, and a file that loads is one in which
// klink check found no error.
func FuzzLoad(f *testing.F) {
	for _, raw := range smallObjects(f, 3000) {
		f.Add(raw, false)
	}
	for _, h := range hostile.Files() {
		if h.Stage != hostile.Parse && len(h.Raw) < 4<<10 {
			f.Add(h.Raw, false)
		}
	}
	for _, m := range machines {
		y := &toy{name: "a", gives: []give{{symbol: "f2"}, {symbol: "d2", data: true}}, uses: []use{
			{symbol: "f2", how: call}, {symbol: "h", how: tail}, {symbol: "g", how: cond}, {symbol: "f", how: bit}, {symbol: "h", how: gotCall},
			{symbol: "h", how: gotTail}, {symbol: "h", how: lea}, {symbol: "d", how: gotLoad}, {symbol: "d2", how: pointer}}}
		z := &toy{name: "b", gives: []give{{symbol: "k"}}, uses: []use{{symbol: "super_k", how: call}, {symbol: "f2", how: call}}}
		f.Add(y.build(m), false)
		lib := objbuild.Archive(objbuild.Member{Name: "a.o", Data: y.build(m)}, objbuild.Member{Name: "a member with a long name.o", Data: z.build(m)})
		f.Add(lib, true)
		f.Add(lib, false)
	}
	dir := f.TempDir()
	hosts := map[arch.Machine]*gauntlet{}
	f.Cleanup(func() {
		for _, y := range hosts {
			_ = y.Close()
		}
	})
	f.Fuzz(func(t *testing.T, raw []byte, whole bool) {
		if len(raw) > 1<<20 {
			return
		}
		m := arch.AMD64
		if len(raw) > 20 && raw[18] == byte(arch.ARM64) {
			m = arch.ARM64
		}
		y := hosts[m]
		if y != nil && y.loads > maxLoads {
			if err := y.Close(); err != nil {
				t.Fatal(err)
			}
			y = nil
		}
		if y == nil {
			y = newGauntlet(t, m, dir)
			hosts[m] = y
		}
		loaded := y.try(t, raw, whole)
		if sound := alone(t, Source{Name: "a.o", Path: filepath.Join(y.dir, "a.o")}); loaded && !sound && !elfload.IsArchive(raw) {
			t.Fatal("klink check finds an error in what was loaded")
		}
	})
}
