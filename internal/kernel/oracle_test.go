package kernel

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/oracle"
)

// refusedFixtures are the objects in testdata/objs that no link of them alone may
// accept, with part of the reason; every other one must equal GNU ld's bytes.
var refusedFixtures = map[string]string{
	"alias_record/bad":           "an alias record needs",
	"alias_record/records":       "is not a function of this module",
	"alias_record/records_clang": "is not a function of this module",
	"alias_record/short":         "no multiple of an alias record's",
	"layers/three":               "is not a function of this module",
	"module/two":                 "more than one MODULE record",
	"tls/extern":                 "(TLS) is not supported",
	"tls/extern_pic":             "(TLS) is not supported",
	"tls/tls":                    "(TLS) is not supported",
	"tls/tls_pic":                "(TLS) is not supported",
	"visibility/user":            "a hidden symbol that its module does not define",
	"wx/wx":                      "both writable and executable",
}

// TestEveryByte links every fixture of both machines, for good and so that its calls can
// move, and has GNU ld link it at the same addresses.
func TestEveryByte(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.o", "*.kmod"} {
		found, err := filepath.Glob("../../testdata/objs/*/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 250 {
		t.Fatalf("only %d fixtures found", len(files))
	}
	for _, f := range files {
		name := filepath.Base(filepath.Dir(f)) + "/" + filepath.Base(f)
		for form, static := range map[string]bool{"static": true, "live": false} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				compareWithLd(t, f, static, refusedFixtures[strings.Split(name, ".")[0]])
			})
		}
	}
}

func compareWithLd(t *testing.T, file string, static bool, refusal string) {
	path, dir, rep, err := linkForLd(t, file, static)
	if !static && err != nil && onlyLayers(err) { // there is nothing below: it must be a layer
		if raw, err := os.ReadFile(path); err != nil || !bytes.Contains(raw, []byte("super_")) && !bytes.Contains(raw, []byte(".klink.alias")) {
			t.Errorf("no layer, but refused as one (%v)", err)
		}
		return
	}
	if refusal != "" {
		if err == nil || !strings.Contains(err.Error(), refusal) {
			t.Fatalf("linked, or refused for another reason: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	res, err := oracle.Compare(t.Context(), ldFor(t, rep), path, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Equal() {
		t.Error(res)
	}
}

// linkForLd links a file alone and dumps it to a folder of the test's.
func linkForLd(t *testing.T, file string, static bool) (path, dir string, rep *LinkReport, err error) {
	t.Helper()
	path, err = filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	rep, err = Link(LinkRequest{
		Modules: []ModuleSpec{{Files: []Source{{Name: filepath.Base(file), Path: path}}}},
		Static:  static, TrapExternals: true, DumpDir: dir,
	})
	return path, dir, rep, err
}

// ldFor returns the GNU ld of what was linked.
func ldFor(t *testing.T, rep *LinkReport) oracle.Linker {
	t.Helper()
	machine, _ := arch.Parse(rep.Machine)
	ld, err := oracle.FindLinker(machine)
	if err != nil {
		t.Fatalf("%v (make tools brings it)", err)
	}
	return ld
}

// onlyLayers says that a module was refused because it refines what nobody provides, and
// for nothing else.
func onlyLayers(err error) bool {
	for _, line := range diag.Lines(err) {
		if !strings.Contains(line, "nothing to refine: no module provides it") && !strings.HasPrefix(line, "and ") {
			return false
		}
	}
	return true
}

// TestLiveDifferencesAreSeen: the comparison of what can move sees an entry and a veneer
// that lead elsewhere, an entry at another place, and every byte of a section.
func TestLiveDifferencesAreSeen(t *testing.T) {
	for _, file := range []string{"matrix/gcc_noplt.amd64.o", "matrix/gcc_noplt.arm64.o", "short_branch/short_branch.arm64.o"} {
		path, dir, rep, err := linkForLd(t, "../../testdata/objs/"+file, false)
		if err != nil {
			t.Fatal(err)
		}
		ld := ldFor(t, rep)
		equal := func() bool {
			res, err := oracle.Compare(t.Context(), ld, path, dir)
			return err == nil && res.Equal()
		}
		if !equal() {
			t.Fatalf("%s differs before anything was changed", file)
		}
		change := func(what, name string, edit func([]byte) []byte) {
			t.Helper()
			name = filepath.Join(dir, name)
			old, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			changed := edit(slices.Clone(old))
			if bytes.Equal(old, changed) {
				t.Errorf("%s: %s: nothing was changed", file, what)
			}
			if err := os.WriteFile(name, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if equal() {
				t.Errorf("%s: %s is not seen", file, what)
			}
			if err := os.WriteFile(name, old, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text := func(pattern, with string) func([]byte) []byte {
			return func(b []byte) []byte { return regexp.MustCompile(pattern).ReplaceAll(b, []byte(with)) }
		}
		change("another target", "layout.json", text(`("code": "..) ..`, "$1 04"))
		if strings.Contains(file, "matrix") {
			change("an entry elsewhere", "layout.json", text(`("entries": \[\s*\{\s*"name": "\w+",\s*"addr": "0x\w+)\w`, "${1}8"))
		}
		for n := range 16 { // places in text, which is 32 to some 900 bytes long
			change(fmt.Sprintf("byte %d", 4*n), "0-0-1.bin", func(b []byte) []byte {
				b[4*n%len(b)] ^= 0x20
				return b
			})
		}
	}
}
