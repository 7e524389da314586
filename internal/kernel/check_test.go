package kernel

import (
	"path/filepath"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// fixture is a committed object.
func fixture(t testing.TB, name string) Source {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("../../testdata/objs", name))
	if err != nil {
		t.Fatal(err)
	}
	return Source{Name: filepath.Base(name), Path: p}
}

// findings shows a report's findings, one a line: level place text.
func findings(r CheckReport) string {
	var b strings.Builder
	for _, f := range r.Findings {
		b.WriteString(f.Level + " " + f.Place + " " + f.Text + "\n")
	}
	return b.String()
}

// TestCheckBound: calls and jumps that the assembler bound are found, with what cures
// them; the same source assembled with that has none.
func TestCheckBound(t *testing.T) {
	reports, err := Check([]Source{
		fixture(t, "bound/bound.amd64.o"), fixture(t, "bound/bound_jcc.amd64.o"), fixture(t, "bound/bound_shared.amd64.o"), fixture(t, "bound/bound.arm64.o")})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ machine, findings string }{
		{"x86-64", `jmp 0x0: the assembler bound this to "inner"`},
		{"x86-64", `the assembler bound this to "target"`},
		{"x86-64", ""},
		{"aarch64", ""},
	}
	for i, w := range want {
		r := reports[i]
		if got := findings(r); r.Machine != w.machine || w.findings == "" && got != "" || !strings.Contains(got, w.findings) {
			t.Errorf("%s: %s\n%s\nwant %s", r.File, r.Machine, got, w.findings)
		}
		for _, f := range r.Findings {
			if f.Level != levelWarning || !strings.Contains(f.Hint, "-Wa,-mshared") || !strings.HasPrefix(f.Place, r.File+":(.text+0x") {
				t.Errorf("%+v", f)
			}
		}
	}
	if len(reports[0].Findings) != 2 || len(reports[1].Findings) != 2 {
		t.Errorf("%d and %d findings, want the two jumps of each", len(reports[0].Findings), len(reports[1].Findings))
	}
}

// TestCheckReport: what a file provides and needs, and what a load would say.
func TestCheckReport(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		dir := t.TempDir()
		y := &toy{
			gives: []give{{symbol: "z"}, {symbol: "w", weak: true}, {symbol: "x", data: true}},
			uses:  []use{{symbol: "need", how: call}, {symbol: "maybe", how: lea, weak: true}, {symbol: "super_z", how: call}, {symbol: "w", how: call}}}
		src := writeObject(t, dir, "a.o", y.build(m))
		reports, err := Check([]Source{src})
		if err != nil {
			t.Fatal(err)
		}
		r := reports[0]
		if d := diff([]ProvideInfo{{"w", "default", "func", 0, false}, {"x", "override", "data", 0, false}, {"z", "refinement", "func", 0, false}}, r.Provides); d != "" {
			t.Errorf("provides:\n%s", d)
		}
		if d := diff([]string{"maybe", "need", "super_z"}, r.Needs); d != "" {
			t.Errorf("needs:\n%s", d)
		}
		want := "note a.o \"maybe\" is weak: if nobody provides it when this is loaded, it is 0 for good\n"
		if got := findings(r); got != want || r.Findings[0].Hint == "" {
			t.Errorf("got %swant %s", got, want)
		}

		// A value that fits nowhere, a file that is no object, alignments that ask for
		// more than the file has.
		narrowed := objbuild.New(m).Data(".data", make([]byte, 8)).Global("d", 0, 8).Reloc(0, narrow[m], "d", 0)
		holes := objbuild.New(m)
		for range 64 {
			holes.Data(".data", []byte{1}).With(func(s *objbuild.Section) { s.Align = 1 << 24 })
		}
		for file, c := range map[string]struct {
			object []byte
			want   string
		}{
			"narrow.o": {narrowed.Bytes(), "error narrow.o:(.data+0x0) R_"},
			"junk.o":   {[]byte("junk"), "error junk.o not an ELF file\n"},
			"holes.o":  {holes.Bytes(), "error holes.o 0x3f000001 bytes of data, most of them gaps"},
		} {
			reports, err := Check([]Source{src, writeObject(t, dir, file, c.object)})
			if err != nil {
				t.Fatal(err)
			}
			if got := findings(reports[1]); !strings.HasPrefix(got, c.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("%s: got %swant %s", file, got, c.want)
			}
		}
		_, err = Check([]Source{src, {Name: "gone.o", Path: filepath.Join(dir, "gone.o")}})
		refused(t, err, diag.ErrNotFound, "gone.o: no such file")
		_, err = Check([]Source{{Name: "dir", Path: dir}})
		refused(t, err, diag.ErrIO, "dir: not a regular file")
	})
}
