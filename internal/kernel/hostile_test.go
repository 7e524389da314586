package kernel

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/hostile"
)

// TestHostileFiles: klink check, klink link and a host give each hostile file the answer
// that it is to get, by the layer that is to give it, and the host stays what it was.
func TestHostileFiles(t *testing.T) {
	hosts := map[arch.Machine]*gauntlet{}
	for _, m := range machines {
		hosts[m] = newGauntlet(t, m, t.TempDir())
		t.Cleanup(func() { _ = hosts[m].Close() })
	}
	for _, f := range hostile.Files() {
		t.Run(f.Name, func(t *testing.T) {
			y := hosts[f.Machine()]
			if y == nil {
				y = hosts[arch.AMD64]
			}
			src := Source{Name: "a.o", Path: filepath.Join(y.dir, "a.o")}
			loaded := y.try(t, f.Raw, false)
			if loaded != (f.Stage == hostile.Sound) {
				t.Errorf("loaded: %v", loaded)
			}
			answer := func(who string, from hostile.Stage, err error) {
				t.Helper()
				switch {
				case f.Stage > from && err != nil:
					t.Errorf("%s: %v", who, err)
				case f.Stage <= from && (err == nil || !f.Is(strings.Join(diag.Lines(err), "\n")) || !errors.Is(err, f.Kind)):
					t.Errorf("%s: %v\nwant %s", who, err, f.Want)
				}
			}
			r, err := Check([]Source{src})
			if err != nil {
				t.Fatal(err)
			}
			var found diag.List
			for _, g := range r[0].Findings {
				if g.Level == levelError {
					found.Add(diag.New(f.Kind, "", "%s", strings.TrimPrefix(g.Place+": "+g.Text, ": ")))
				}
			}
			answer("check", hostile.Link, found.Err())
			_, err = linkIn(LinkRequest{Modules: []ModuleSpec{{As: "m", Files: []Source{src}}}, TrapExternals: true}, newMemory)
			answer("link", hostile.Link, err)
			_, err = y.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{{As: "m", Files: []Source{src}}}, DryRun: true})
			answer("load -n", hostile.Load, err)
		})
	}
}

// TestFixtureMutants loads mutants of compilers' objects into a host that has all that they
// refer to, looks at what was loaded, and unloads it: a sample, with make mutants
// all of them.
func TestFixtureMutants(t *testing.T) {
	tried, loaded := 0, 0
	hostile.Each(t, "../../testdata/objs", 160, func(t *testing.T, s hostile.Seed) func([]byte) {
		if _, err := elfload.Parse("seed.o", "", s.Raw); err != nil {
			return nil // its mutants, too, are the parser's
		}
		y := hostFor(t, s.Raw)
		if !y.try(t, s.Raw, false) {
			t.Logf("is itself refused: %v", y.err)
		}
		return func(raw []byte) {
			tried++
			if y.try(t, raw, false) {
				loaded++
			}
			alone(t, Source{Name: "a.o", Path: filepath.Join(y.dir, "a.o")})
		}
	})
	if loaded < tried/10 {
		t.Errorf("only %d of %d were loaded", loaded, tried)
	}
	t.Logf("%d files, %d loaded", tried, loaded)
}

// hostFor makes a host with a weak function for every name that an object leaves to others,
// and for what it refines.
func hostFor(t *testing.T, raw []byte) *gauntlet {
	o, err := elfload.Parse("seed.o", "", raw)
	if err != nil {
		t.Fatal(err)
	}
	y := newGauntlet(t, o.Machine, t.TempDir())
	t.Cleanup(func() {
		if err := y.Close(); err != nil {
			t.Error(err)
		}
	})
	have, others, users := map[string]bool{}, &toy{name: "others"}, &toy{name: "users"}
	for _, s := range y.before.Alias {
		have[s.Symbol] = true
	}
	for _, s := range o.Symbols[o.Locals:] {
		name := strings.TrimPrefix(s.Name, superPrefix)
		if s.Where == elfload.Undefined && !have[name] && !strings.HasPrefix(name, "_") {
			have[name] = true
			others.gives = append(others.gives, give{symbol: name, weak: true})
			users.uses = append(users.uses, use{symbol: name, how: pointer})
		}
	}
	y.mustLoad(others, users)
	y.before = y.snapshot()
	return y
}
