package kernel

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
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
