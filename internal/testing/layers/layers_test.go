// Package layers holds the table of layers: imports go down only, never sideways.
package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "klink/"

// layers are the packages by layer; a package may import those of lower layers only.
var layers = [][]string{
	{"internal/arch", "internal/diag"},
	{"internal/elfload", "internal/reloc", "internal/insn", "internal/aliasstack", "internal/unwind"},
	{"internal/link"},
	{"internal/arena", "internal/patch", "internal/runner", "internal/kpi"},
	{"internal/kernel"},
	{"internal/api"},
	{"internal/cli"},
	{"cmd/klink"},
}

// pure is how many of the layers ask the system for nothing.
const pure = 3

// impure are packages that the pure layers do without: no I/O, no system, no clock.
var impure = []string{"os", "io/fs", "syscall", "time", "net", "golang.org/x/sys/unix"}

// only names what one package alone may import.
var only = map[string]string{
	"debug/elf":                        "internal/elfload",
	"golang.org/x/arch/x86/x86asm":     "internal/insn",
	"golang.org/x/arch/arm64/arm64asm": "internal/insn",
	"github.com/spf13/cobra":           "internal/cli",
}

// judges are testing packages that must share no code with what they judge, and all of
// the project that they, and their tests, may import.
var judges = map[string][]string{
	"internal/testing/oracle": {"internal/arch"},
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	Dir         string
	ImportPath  string
	Imports     []string
	GoFiles     []string
	TestImports []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=Dir,ImportPath,Imports,GoFiles,TestImports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		// What go list looks at, go test does not know of: so that it keeps no result of a
		// tree that was another, its folders are read here.
		if _, err := os.ReadDir(p.Dir); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// layerOf returns the layer of a package of the project; testing packages have none.
func layerOf(path string) (int, bool) {
	for i, l := range layers {
		if slices.Contains(l, path) {
			return i, true
		}
	}
	return 0, false
}

func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		if strings.HasPrefix(name, "internal/testing/") {
			for _, imp := range partial(name, append(p.Imports, p.TestImports...)) {
				t.Errorf("%s imports %s: a judge shares no code with what it judges", name, imp)
			}
			continue
		}
		own, ok := layerOf(name)
		if !ok {
			t.Errorf("%s is in no layer: enter it in the table", name)
			continue
		}
		for _, imp := range p.Imports {
			for _, bad := range violations(name, own, imp) {
				t.Error(bad)
			}
		}
	}
	for name := range judges {
		if !seen[name] {
			t.Errorf("%s is a judge and not in the tree", name)
		}
	}
	for _, l := range layers {
		for _, name := range l {
			if !seen[name] {
				t.Errorf("%s is in the table and not in the tree", name)
			}
		}
	}
}

// partial returns the imports that make a judge partial.
func partial(name string, imports []string) []string {
	allowed, ok := judges[name]
	if !ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(imports), func(imp string) bool {
		sub, ours := strings.CutPrefix(imp, module)
		return !ours || slices.Contains(allowed, sub)
	})
}

// violations says what is wrong with one import of a package.
func violations(name string, own int, imp string) []string {
	var bad []string
	if who, ok := only[imp]; ok && who != name {
		bad = append(bad, name+" imports "+imp+", which only "+who+" may")
	}
	if own < pure && slices.Contains(impure, imp) {
		bad = append(bad, name+" imports "+imp+": layers below 3 ask the system for nothing")
	}
	sub, ours := strings.CutPrefix(imp, module)
	if !ours {
		return bad
	}
	if strings.HasPrefix(sub, "internal/testing/") {
		return append(bad, name+" imports "+sub+", which only tests may")
	}
	if l, ok := layerOf(sub); !ok || l >= own {
		bad = append(bad, name+" imports "+sub+", which is not below it")
	}
	return bad
}

func TestViolationsAreFound(t *testing.T) {
	for _, c := range []struct {
		name, imp string
		want      int
	}{
		{"internal/reloc", "klink/internal/elfload", 1},
		{"internal/link", "klink/internal/kernel", 1},
		{"internal/link", "os", 1},
		{"internal/link", "debug/elf", 1},
		{"internal/kernel", "klink/internal/testing/oracle", 1},
		{"internal/kernel", "klink/internal/link", 0},
		{"internal/kernel", "os", 0},
		{"internal/elfload", "debug/elf", 0},
	} {
		own, _ := layerOf(c.name)
		if got := violations(c.name, own, c.imp); len(got) != c.want {
			t.Errorf("%s importing %s: %q", c.name, c.imp, got)
		}
	}
}

func TestPartialJudgesAreFound(t *testing.T) {
	for imp, want := range map[string]int{
		"klink/internal/reloc": 1, "klink/internal/link": 1, "klink/internal/elfload": 1, "klink/internal/kernel": 1,
		"klink/internal/insn": 1, "klink/internal/testing/objbuild": 1, "klink/internal/arch": 0, "debug/elf": 0,
	} {
		if got := partial("internal/testing/oracle", []string{imp}); len(got) != want {
			t.Errorf("the oracle importing %s: %q", imp, got)
		}
	}
	if got := partial("internal/testing/corpus", []string{"klink/internal/link"}); got != nil {
		t.Errorf("no judge: %q", got)
	}
}

func TestUnsafeFiles(t *testing.T) {
	for _, p := range list(t) {
		if !slices.Contains(p.Imports, "unsafe") {
			continue
		}
		if !slices.ContainsFunc(p.GoFiles, func(f string) bool { return strings.HasSuffix(f, "_unsafe.go") }) {
			t.Errorf("%s imports unsafe and has no file named *_unsafe.go", p.ImportPath)
		}
	}
}
