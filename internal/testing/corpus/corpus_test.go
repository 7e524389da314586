package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"klink/internal/testing/oracle"
)

const objs = "../../../testdata/objs/"

// An object that is equal, one that is refused for the reason that may be, one that only
// links without its hidden references, one that is refused, and one that is none.
func TestCompareCounts(t *testing.T) {
	total := newTally()
	for _, m := range []string{"amd64", "arm64"} {
		got := newTally()
		for _, name := range []string{"got/pic", "tls/tls", "visibility/user", "wx/wx"} {
			got.add(name, compare(objs+name+"."+m+".o"))
		}
		got.add("none", compare("main.go"))
		if got.objects != 5 || got.equal != 2 || got.refused != 2 || got.different != 1 || got.unhidden != 1 {
			t.Errorf("%s: %+v", m, got)
		}
		if got.relocations == 0 || got.bytes == 0 || got.followed == 0 || len(got.types) == 0 {
			t.Errorf("%s: compared nothing: %+v", m, got)
		}
		if r := got.reasons[threadLocal]; len(r) != 1 || r[0] != "tls/tls" || got.bad() != 2 {
			t.Errorf("%s: %d are bad, refused %q", m, got.bad(), got.reasons)
		}
		lines := got.report()
		if len(lines) != 3 || !strings.HasPrefix(lines[0], "refused, 1: ") || !strings.HasPrefix(lines[2], "different: none: ") {
			t.Errorf("%s: %q", m, lines)
		}
		total.sum(got)
	}
	if total.objects != 10 || total.bad() != 4 || len(total.reasons[threadLocal]) != 2 {
		t.Errorf("in all %+v", total)
	}
}

// A difference, and a masked field that was not followed, are no equality.
func TestDifferencesAreBad(t *testing.T) {
	for _, r := range []*oracle.Result{
		{Differences: []oracle.Difference{{What: "bytes"}}}, {Absent: []string{".text"}}, {Masked: 1},
	} {
		got := newTally()
		got.add("x", outcome{result: r})
		if got.equal != 0 || got.bad() != 1 || len(got.report()) != 1 {
			t.Errorf("%v: %+v", r, got)
		}
	}
	got := newTally()
	got.add("x", outcome{refusal: errors.New("another reason\nin two lines")})
	if got.bad() != 1 || got.report()[0] != "refused, 1: another reason: x" {
		t.Errorf("%+v", got.report())
	}
}

func TestObjects(t *testing.T) {
	files, err := objects(filepath.Clean(objs) + "/rust")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if filepath.Ext(f) != ".kmod" {
			t.Errorf("%s is no object", f)
		}
	}
	if _, err := objects("none"); err == nil {
		t.Error("no folder: no error")
	}
}
