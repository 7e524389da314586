package kernel

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"klink/internal/arch"
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

// TestEveryByte links every fixture of both machines and has GNU ld link it at the
// same addresses.
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
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compareWithLd(t, f, refusedFixtures[strings.Split(name, ".")[0]])
		})
	}
}

func compareWithLd(t *testing.T, file, refusal string) {
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rep, err := Link(LinkRequest{
		Modules: []ModuleSpec{{Files: []Source{{Name: filepath.Base(file), Path: path}}}},
		Static:  true, TrapExternals: true, DumpDir: dir,
	})
	if refusal != "" {
		if err == nil || !strings.Contains(err.Error(), refusal) {
			t.Fatalf("linked, or refused for another reason: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	machine, _ := arch.Parse(rep.Machine)
	ld, err := oracle.FindLinker(machine)
	if err != nil {
		t.Fatalf("%v (make tools brings it)", err)
	}
	res, err := oracle.Compare(context.Background(), ld, path, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Equal() {
		t.Error(res)
	}
}
