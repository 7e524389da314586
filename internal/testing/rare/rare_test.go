package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
	"klink/internal/testing/oracle"
)

func TestRuns(t *testing.T) {
	got := runs("# RUN: one %s \\\n#  RUN:   two\nmov\n// RUN: three\n")
	if want := []string{"one %s  two", "three"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestPipelines(t *testing.T) {
	for line, want := range map[string]string{
		`a b | c -o d`:           "[[a b] [c -o d]]",
		`a && b; c`:              "[[a]] [[b]] [[c]]",
		`echo "x; y" '|' e\ f`:   "[[echo x; y | e f]]",
		`a 2>&1 | b`:             "[[a] [b]]",
		`a "q\"r"`:               `[[a q"r]]`,
		`a > out`:                "[[a]]",
		`a >> out`:               "none",
		`(a)`:                    "none",
		`a "open`:                "none",
		`a || b`:                 "none",
		`a -x=%t.o,y -D'NAME=1'`: "[[a -x=%t.o,y -DNAME=1]]",
	} {
		list, ok := pipelines(line)
		var parts []string
		for _, pipe := range list {
			var args [][]string
			for _, c := range pipe {
				args = append(args, c.args)
			}
			parts = append(parts, fmt.Sprint(args))
		}
		got := strings.Join(parts, " ")
		if !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// TestLit runs a test of which every command is known but the linker, and which writes
// to its own folder only.
func TestLit(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	outside := filepath.Join(from, "outside")
	source := filepath.Join(from, "a.s")
	text := `# RUN: rm -rf %t && split-file %s %t && cd %t
# RUN: echo ".globl x\nx:" > y.s && cat %t/part.s y.s > both.s
# RUN: cp both.s ` + outside + ` ; rm -rf ` + from + `
# RUN: llvm-jitlink -abs X=0x10 -abs X=0x20 -abs Y=-1 both.s
# RUN: not llvm-jitlink -abs Z=1 both.s | FileCheck %s
# RUN: ld.lld --defsym=w=7 --defsym v=w both.s > linked
#--- part.s
nop
#--- other.s
ret
`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &lit{ctx: t.Context(), source: source, dir: dir, define: map[string]uint64{}}
	if err := l.run(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"part.s": "nop\n", "other.s": "ret\n", "both.s": "nop\n.globl x\nx:\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, "a.s.tmp", name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, path := range []string{outside, filepath.Join(dir, "a.s.tmp", "linked")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s was written", path)
		}
	}
	if want := map[string]uint64{"X": 0x10, "Y": 1<<64 - 1, "w": 7}; !maps.Equal(l.define, want) {
		t.Errorf("defined: %v", l.define)
	}
}

func TestDFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one.s", "nop\n")
	write("two.s", "nop\n")
	write("three.s", "nop\n")
	write("one.d", "#name: n\n#as: -a -b\n#ld: -T relocs.ld --defsym x=-3\n#notarget: aarch64-*-*\n#objdump: -d\n#...\n +10000:\t8a000000 \tand\n")
	write("plain.d", "#source: two.s\n#source: two.s -c\n#error: .*range\n")
	d, err := readDFile(filepath.Join(dir, "one.d"))
	if err != nil || len(d.sources) != 1 || !slices.Equal(d.sources[0].as, []string{"-a", "-b"}) || d.error || len(d.dump) != 2 || len(d.notarget) != 1 || defsyms(d.ld)["x"] != 1<<64-3 {
		t.Errorf("%+v, %v", d, err)
	}
	if why := unfit(d); why != "big-endian" {
		t.Errorf("unfit because of %q", why)
	}
	d, err = readDFile(filepath.Join(dir, "plain.d"))
	if err != nil || len(d.sources) != 2 || len(d.sources[0].as) != 0 || !d.error || d.ld != nil {
		t.Errorf("%+v, %v", d, err)
	}
	list, err := gasSources(dir)
	var got []string
	for _, s := range list {
		got = append(got, filepath.Base(s.path)+strings.Join(s.as, ""))
	}
	if want := []string{"one.s-a-b", "two.s", "two.s-c", "three.s"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestExpectedWords compares a dump with text, of which one word may be anything.
func TestExpectedWords(t *testing.T) {
	e := &expected{}
	dump := []string{"#...", " +10000:\t01020304 \tand\t.*", "\t+10000: R_AARCH64_JUMP26\ttarget", " +10004:\t00000000 \tx", " +10008:\t00000001 \tx", " +2000c:\t00000001 \tx"}
	e.compare("t", dump, []byte{4, 3, 2, 1, 9, 0, 0, 0, 2, 0, 0, 0}, map[uint64]bool{4: true})
	if e.words != 3 || e.equal != 1 || e.order != 1 || len(e.lines) != 1 || !strings.Contains(e.lines[0], "at 0x10008: want 00000001, got 00000002") {
		t.Errorf("%+v", e)
	}
}

// TestRules: an object is refused by a rule only if each of its errors is of one.
func TestRules(t *testing.T) {
	tls := diag.New(diag.ErrUnsupported, "a.o", "section x: thread-local storage (TLS) is not supported")
	other := diag.New(diag.ErrMalformed, "a.o", "rubbish")
	var both diag.List
	both.Add(tls)
	both.Add(other)
	for _, c := range []struct {
		err  error
		want string
	}{{tls, "TLS"}, {other, ""}, {both.Err(), ""}} {
		if got := ruleOf(c.err); got != c.want {
			t.Errorf("%v: %q", c.err, got)
		}
	}
	row := &row{reasons: map[string][]string{}}
	row.add("a.o", outcome{refusal: tls})
	row.add("b.crafted.o", outcome{refusal: other})
	if row.bad() || row.refused != 2 || row.because() != "TLS 1, malformed, written in YAML 1" {
		t.Errorf("%+v", row)
	}
	row.add("c.o", outcome{refusal: other})
	if !row.bad() || len(row.lines) != 1 {
		t.Errorf("%+v", row)
	}
	row.add("d.o", outcome{err: errors.New("no linker")})
	if row.different != 1 || row.objects != 4 {
		t.Errorf("%+v", row)
	}
	differs, equal := &oracle.Result{Differences: make([]oracle.Difference, 1)}, &oracle.Result{}
	for i, name := range []string{"pr27217.s@1.o", "pr27218.s@1.o"} {
		row.add(name, outcome{result: differs})
		row.add(name, outcome{result: equal})
		if row.different != 2+i || row.equal != i || len(row.reasons[byPsABI]) != 1 {
			t.Errorf("%s: %+v", name, row)
		}
	}
}

func TestMachineOf(t *testing.T) {
	raw := objbuild.New(arch.ARM64).Text(".text", []byte{0}).Bytes()
	if m, ok := machineOf(raw); m != arch.ARM64 || !ok {
		t.Errorf("%v, %v", m, ok)
	}
	raw[5], raw[16], raw[17], raw[18], raw[19] = 2, 0, 1, 0, 183
	if m, ok := machineOf(raw); m != arch.ARM64 || !ok {
		t.Errorf("big-endian: %v, %v", m, ok)
	}
	raw[17] = 2
	if _, ok := machineOf(raw); ok {
		t.Error("a program passes for an object")
	}
	if _, ok := machineOf(raw[:51]); ok {
		t.Error("51 bytes pass for an object")
	}
}
