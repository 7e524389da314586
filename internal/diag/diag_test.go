package diag

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestErrorShape(t *testing.T) {
	for _, c := range []struct {
		err  Error
		want string
	}{
		{Error{File: "bpf.kmod", Section: ".text", Offset: 0x1a, Reloc: "R_X86_64_PLT32", Symbol: "bar", Text: "no provider"},
			`bpf.kmod:(.text+0x1a): R_X86_64_PLT32 against "bar": no provider`},
		{Error{File: "bpf.kmod", Symbol: "bpf_attach", Text: "already has an override, from module bpf2"},
			`bpf.kmod: "bpf_attach": already has an override, from module bpf2`},
		{Error{File: "a.o", Section: ".text", Offset: 0, Func: "f", Reloc: "R_X86_64_NONE", Text: "x"},
			`a.o:(.text+0x0): in function "f": R_X86_64_NONE: x`},
		{Error{Kind: ErrNotFound, Symbol: "f"}, `"f": not found`},
		{Error{File: "a\x1b[2J.o", Text: "x"}, `a\x1b[2J.o: x`},
		{Error{File: "lib.a(m.o)", Section: ".t\n", Offset: 16, Text: "x"}, `lib.a(m.o):(.t\n+0x10): x`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestKinds(t *testing.T) {
	var list List
	list.Add(New(ErrRange, "a.o", "far"))
	list.Add(fmt.Errorf("outer: %w", New(ErrUndefined, "b.o", "gone")))
	err := list.Err()
	for _, kind := range []error{ErrRange, ErrUndefined} {
		if !errors.Is(err, kind) {
			t.Errorf("%v is not %v", err, kind)
		}
	}
	if errors.Is(err, ErrBusy) {
		t.Error("is a kind that nobody added")
	}
}

func TestListSortsAndDropsRepeats(t *testing.T) {
	var list List
	for _, off := range []uint64{0x100, 0x20, 0x20, 0x3} {
		list.Add(&Error{File: "a.o", Section: ".text", Offset: off, Text: "x"})
	}
	list.Add(nil)
	list.Add(New(nil, "A.o", "first"))
	want := []string{"A.o: first", "a.o:(.text+0x3): x", "a.o:(.text+0x20): x", "a.o:(.text+0x100): x"}
	if got := Lines(list.Err()); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestListCountsTheRest(t *testing.T) {
	var inner, list List
	for i := range MaxErrors + 5 {
		inner.Add(New(ErrRange, "a.o", "error %02d", i))
	}
	inner.Count(7)
	list.Add(inner.Err())
	lines := Lines(list.Err())
	if len(lines) != MaxErrors+1 || lines[MaxErrors] != "and 12 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if list.Len() != MaxErrors+12 {
		t.Errorf("Len is %d", list.Len())
	}
}

func TestListIsBounded(t *testing.T) {
	var list List
	for i := range 3 * maxKept {
		list.Add(New(ErrRange, "a.o", "error %d", i))
	}
	if len(list.errs) != maxKept || list.Len() != 3*maxKept {
		t.Errorf("kept %d of %d", len(list.errs), list.Len())
	}
}

func TestEmptyList(t *testing.T) {
	var list List
	if err := list.Err(); err != nil {
		t.Errorf("an empty list is %v", err)
	}
}

func TestEscape(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain-name_0.$", "plain-name_0.$"},
		{"a\nb", `a\nb`},
		{"\x1b[31m", `\x1b[31m`},
		{`q"q`, `q\"q`},
		{"\xff", `\xff`},
		{"ünï", "ünï"},
		{"\u202e", `\u202e`},
	} {
		if got := Escape(c.in); got != c.want {
			t.Errorf("Escape(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := Escape(strings.Repeat("x", 70000)); len(got) > maxName+len("…") {
		t.Errorf("a long name is %d bytes long", len(got))
	}
}
