package aliasstack

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klink/internal/diag"
)

// stackTest says what the stacks are after some steps, and what the last one moved.
type stackTest struct {
	steps []string
	want  map[string]string // name → modules, top first
	moves []string          // of the last step
}

// stackTests are what TestStacks runs.
var stackTests = map[string]stackTest{
	"default on an empty stack becomes current": {
		[]string{"load k d:f"}, map[string]string{"f": "k"}, []string{"f: - -> k"},
	},
	"later defaults go below earlier ones": {
		[]string{"load k d:f", "load a d:f", "load b d:f"}, map[string]string{"f": "k a b"}, nil,
	},
	"default goes below override and refinement": {
		[]string{"load k o:f", "load r r:f", "load a d:f"}, map[string]string{"f": "r k a"}, nil,
	},
	"default becomes current if all above it leave": {
		[]string{"load k o:f", "load r r:f", "load a d:f", "unload k r"},
		map[string]string{"f": "a"}, []string{"f: r -> a"},
	},
	"override on top of default": {
		[]string{"load k d:f", "load o o:f"}, map[string]string{"f": "o k"}, []string{"f: k -> o"},
	},
	"override on top of refinement": {
		[]string{"load k d:f", "load r r:f s:f", "load o o:f"},
		map[string]string{"f": "o r k", "super_f@r": "k"}, []string{"f: r -> o"},
	},
	"refinement on top of anything": {
		[]string{"load k d:f", "load o o:f", "load r r:f", "load q r:f"},
		map[string]string{"f": "q r o k"}, []string{"f: r -> q"},
	},
	"another override after the first left": {
		[]string{"load k d:f", "load o o:f", "unload o", "load p o:f"},
		map[string]string{"f": "p k"}, []string{"f: k -> p"},
	},
	"a module that refers to super_S refines, whatever its binding": {
		[]string{"load k d:f", "load a d:f s:f"},
		map[string]string{"f": "a k", "super_f@a": "k"}, []string{"f: k -> a", "super_f@a: - -> k"},
	},
	"default below default data": {
		[]string{"load k O:x", "load a D:x", "load b D:x"}, map[string]string{"x": "k a b"}, nil,
	},
	"leaving from the top": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "unload b"},
		map[string]string{"f": "a k", "super_f@a": "k"},
		[]string{"f: b -> a", "super_f@b: a -> -"},
	},
	"leaving from the middle moves the super above": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "load c r:f s:f", "unload b"},
		map[string]string{"f": "c a k", "super_f@c": "a k", "super_f@a": "k"},
		[]string{"super_f@b: a -> -", "super_f@c: b -> a"},
	},
	"leaving from the bottom": {
		[]string{"load k d:f", "load a d:f", "load r r:f s:f", "unload k"},
		map[string]string{"f": "r a", "super_f@r": "a"}, []string{"super_f@r: k -> a"},
	},
	"a run leaves from the middle": {
		[]string{"load k d:f", "load a r:f", "load b r:f s:f", "load c r:f s:f", "unload b a"},
		map[string]string{"f": "c k", "super_f@c": "k"},
		[]string{"super_f@b: a -> -", "super_f@c: b -> k"},
	},
	"one batch in push order": {
		[]string{"load k d:f | a r:f s:f | b o:f | c d:f"},
		map[string]string{"f": "b a k c", "super_f@a": "k c"}, []string{"f: - -> b", "super_f@a: - -> k"},
	},
	"one batch, default after override": {
		[]string{"load b o:f | c d:f | r r:f s:f"},
		map[string]string{"f": "r b c", "super_f@r": "b c"}, []string{"f: - -> r", "super_f@r: - -> b"},
	},
	"a batch may refer in cycles": {
		[]string{"load a d:f n:g | b d:g n:f"},
		map[string]string{"f": "a", "g": "b"}, []string{"f: - -> a", "g: - -> b"},
	},
	"mutual needs leave together": {
		[]string{"load a d:f n:g | b d:g n:f", "unload b a"},
		map[string]string{"f": "", "g": ""}, []string{"f: a -> -", "g: b -> -"},
	},
	"provider, refinement, user and requirer leave together": {
		[]string{"load k d:f D:x", "load r r:f s:f", "load u n:f n:x q:k", "unload k u r"},
		map[string]string{"f": "", "x": ""}, []string{"f: r -> -", "super_f@r: k -> -", "x: k -> -"},
	},
	"own references do not hold a module": {
		[]string{"load a d:f D:x n:f n:x q:a", "unload a"},
		map[string]string{"f": "", "x": ""}, []string{"f: a -> -", "x: a -> -"},
	},
	"a function may leave while somebody else provides it": {
		[]string{"load k d:f", "load o o:f", "load u n:f w:f", "unload o"},
		map[string]string{"f": "k"}, []string{"f: o -> k"},
	},
	"data that nobody names may leave": {
		[]string{"load k D:x", "load a D:x n:x", "load b D:x", "unload b"},
		map[string]string{"x": "k a"}, nil,
	},
	"data loaded later does not hold what was absent": {
		[]string{"load u w:x", "load a D:x", "unload a"}, map[string]string{"x": ""}, []string{"x: a -> -"},
	},
	"a stack that is empty again takes another class": {
		[]string{"load a D:x", "unload a", "load b d:x"}, map[string]string{"x": "b"}, []string{"x: - -> b"},
	},
	"moves are sorted, names before their supers": {
		[]string{"load k d:b d:a", "load r r:b s:b r:a s:a | q r:a s:a"},
		map[string]string{"a": "q r k", "b": "r k"},
		[]string{"a: k -> q", "super_a@r: - -> k", "super_a@q: - -> r", "b: k -> r", "super_b@r: - -> k"},
	},
}

// TestStacks says for each rule what the stacks are afterwards.
func TestStacks(t *testing.T) {
	for name, tt := range stackTests {
		t.Run(name, tt.run)
	}
}

func (tt stackTest) run(t *testing.T) {
	w := newWorld()
	last := len(tt.steps) - 1
	w.do(t, tt.steps[:last]...)
	c, err := w.plan(tt.steps[last])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tt.moves, w.moves(c)); diff != "" {
		t.Errorf("moves (-want +got):\n%s", diff)
	}
	c.Commit()
	if err := w.t.check(); err != nil {
		t.Error(err)
	}
	for name, want := range tt.want {
		if got := w.stack(name); got != want {
			t.Errorf("stack of %s: %q, want %q", name, got, want)
		}
	}
}

// privateF is how many a refusal ends.
const privateF = `; --private f keeps this one to its own module`

// refusalTest is a step that is refused, and why.
type refusalTest struct {
	before []string
	step   string
	want   []string
}

// refusalTests are what TestRefusals runs.
var refusalTests = map[string]refusalTest{
	"second override": {
		[]string{"load k d:f", "load bpf2 o:f", "load r r:f"}, "load bpf o:f",
		[]string{`conflict: bpf.kmod: "f" already has an override, from module bpf2` + privateF},
	},
	"second override of the batch": {
		nil, "load a o:f | b o:f | c o:f",
		[]string{
			`conflict: b.kmod: "f" already has an override, from module a` + privateF,
			`conflict: c.kmod: "f" already has an override, from module a` + privateF,
		},
	},
	"nothing to refine": {
		nil, "load r r:f n:f", []string{`conflict: r.kmod: "f": nothing to refine: no module provides it`},
	},
	"nothing to refine any more": {
		[]string{"load k d:f", "unload k"}, "load r d:f s:f",
		[]string{`conflict: r.kmod: "f": nothing to refine: no module provides it`},
	},
	"nothing to refine in push order": {
		nil, "load r r:f | k d:f",
		[]string{`conflict: r.kmod: "f": nothing to refine yet: module k, which provides it, comes later in the command`},
	},
	"data overridden": {
		[]string{"load k D:f"}, "load o O:f",
		[]string{`conflict: o.kmod: "f" is data of module k, which no override can replace` + privateF},
	},
	"data refined": {
		[]string{"load k O:f"}, "load o R:f",
		[]string{`conflict: o.kmod: "f" is data of module k, which no refinement can replace` + privateF},
	},
	"function offered of data": {
		[]string{"load k D:f"}, "load a d:f",
		[]string{`conflict: a.kmod: "f" is a function, but data in module k` + privateF},
	},
	"data offered of a function": {
		nil, "load k d:f | a O:f",
		[]string{`conflict: a.kmod: "f" is data, but a function in module k` + privateF},
	},
	"a name twice in one module": {
		nil, "load a d:f o:f", []string{`duplicate definition: a.kmod: "f" is provided twice by one module`},
	},
	"super of another's symbol": {
		[]string{"load k d:f"}, "load a s:f",
		[]string{`no provider: a.kmod: "super_f" is referred to, but the module does not provide "f"`},
	},
	"required module not there": {
		[]string{"load k", "unload k"}, "load a q:k",
		[]string{`not found: a.kmod: the required module with id 1 is not there`},
	},
	"all reasons of a load together": {
		[]string{"load k o:f D:x"}, "load a o:f n:g | b D:f r:z n:z | c O:x",
		[]string{
			`conflict: a.kmod: "f" already has an override, from module k` + privateF,
			`conflict: b.kmod: "f" is data, but a function in module k` + privateF,
			`conflict: b.kmod: "z": nothing to refine: no module provides it`,
			`conflict: c.kmod: "x" is data of module k, which no override can replace; --private x keeps this one to its own module`,
		},
	},
	"names are escaped": {
		[]string{"load k\x1b o:f\x1b"}, "load a o:f\x1b",
		[]string{`conflict: a.kmod: "f\x1b" already has an override, from module k\x1b; --private f\x1b keeps this one to its own module`},
	},
	"only provider leaves": {
		[]string{"load k d:f", "load zed n:f", "load abc w:f"}, "unload k",
		[]string{`needed: k: "f" would have no provider left, but is needed by modules abc, zed`},
	},
	"all providers leave": {
		[]string{"load k d:f", "load b r:f s:f", "load u n:f"}, "unload k b",
		[]string{`needed: b, k: "f" would have no provider left, but is needed by module u`},
	},
	"weak reference that was bound": {
		[]string{"load k d:f", "load u w:f"}, "unload k",
		[]string{`needed: k: "f" would have no provider left, but is needed by module u`},
	},
	"refinement with nothing below": {
		[]string{"load k d:f", "load r r:f", "load q r:f"}, "unload k",
		[]string{`needed: k: "f" would have nothing left below the refinement of module r`},
	},
	"refinement with nothing below, several leave": {
		[]string{"load k d:f", "load r r:f", "load q r:f s:f"}, "unload r k",
		[]string{`needed: k, r: "f" would have nothing left below the refinement of module q`},
	},
	"data named": {
		[]string{"load k D:x", "load v n:x", "load u w:x", "load a D:x"}, "unload k",
		[]string{`needed: k: "x" is data that the relocations of modules u, v name`},
	},
	"data named by a module that provides it too": {
		[]string{"load k D:x", "load a D:x n:x"}, "unload k",
		[]string{`needed: k: "x" is data that the relocations of module a name`},
	},
	"data named, nobody else has it": {
		[]string{"load k D:x", "load u n:x"}, "unload k",
		[]string{`needed: k: "x" would have no provider left, but is needed by module u`},
	},
	"required": {
		[]string{"load k", "load b q:k", "load a q:k q:k"}, "unload k",
		[]string{`needed: k: the module is required by modules a, b`},
	},
	"all reasons of an unload together": {
		[]string{"load k d:f d:g D:x", "load a n:f r:g q:k", "load b n:f n:x q:k", "load c n:f"}, "unload c k",
		[]string{
			`needed: k: "f" would have no provider left, but is needed by modules a, b`,
			`needed: k: "g" would have nothing left below the refinement of module a`,
			`needed: k: "x" would have no provider left, but is needed by module b`,
			`needed: k: the module is required by modules a, b`,
		},
	},
	"unknown and repeated": {
		[]string{"load k"}, "unload k nobody k",
		[]string{`not found: k: the module is named twice in one command`, `not found: there is no module with id 0`},
	},
}

// TestRefusals has every reason for a refusal, with its kind and its line.
func TestRefusals(t *testing.T) {
	for name, tt := range refusalTests {
		t.Run(name, tt.run)
	}
}

func (tt refusalTest) run(t *testing.T) {
	w := newWorld()
	w.do(t, tt.before...)
	before := w.t.dump()
	_, err := w.plan(tt.step)
	if diff := cmp.Diff(tt.want, reasons(err)); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, w.t.dump()); diff != "" {
		t.Errorf("the refusal changed the table:\n%s", diff)
	}
}

func TestIDs(t *testing.T) {
	tab := New()
	_, err := tab.PlanLoad([]Request{{ID: 0, Name: "zero"}, {ID: 4, Name: "a"}, {ID: 4, Name: "b"}}, LoadOptions{})
	want := []string{
		`duplicate definition: b: module b is there already (id 4)`,
		`not found: zero: 0 is no module id`,
	}
	if diff := cmp.Diff(want, reasons(err)); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if _, err := tab.PlanUnload([]ModuleID{9}); !errors.Is(err, diag.ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
}

func TestMissingAndAbsent(t *testing.T) {
	w := newWorld()
	c, err := w.plan("load b n:y w:z n:x n:x | a d:f n:f w:f n:x w:y")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Missing{{1, "x"}, {1, "y"}, {2, "x"}}, c.Missing()); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Missing{{1, "z"}, {2, "y"}}, c.Absent()); diff != "" {
		t.Errorf("absent (-want +got):\n%s", diff)
	}
	mustBug(t, "missing names", c.Commit)
	if w.t.dump() != New().dump() {
		t.Error("the table changed")
	}

	// Beside a refusal the missing names are still told, but not those that the
	// refused offers would have given.
	c, err = w.plan("load c r:q n:q n:x w:y")
	if err == nil || c == nil {
		t.Fatalf("got %v, %v", c, err)
	}
	if diff := cmp.Diff([]Missing{{3, "x"}}, c.Missing()); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Missing{{3, "y"}}, c.Absent()); diff != "" {
		t.Errorf("absent (-want +got):\n%s", diff)
	}
	mustBug(t, "refused", c.Commit)
	if _, ok := c.Slot("q"); ok || c.Current(1) != (Provider{}) || c.Below(3, "q") != (Provider{}) || c.Moves() != nil && len(c.Moves()) > 0 {
		t.Error("a refused change answers")
	}
}

func TestAbsentStaysAbsent(t *testing.T) {
	w := newWorld()
	w.do(t, "load u w:f", "load k d:f")
	if got := w.users("f"); got != "" {
		t.Errorf("users of f: %s", got)
	}
	w.do(t, "unload k") // nobody holds it
}

func TestKeepMissing(t *testing.T) {
	w := newWorld()
	w.opts.KeepMissing = true
	c := w.do(t, "load a n:f w:g w:f n:h | b w:f w:h n:g")
	if diff := cmp.Diff([]Missing{{2, "f"}, {2, "h"}}, c.Absent()[1:]); diff != "" || len(c.Missing()) > 0 {
		t.Errorf("absent %v, missing %v", c.Absent(), c.Missing())
	}
	if c.Absent()[0] != (Missing{1, "g"}) {
		t.Errorf("absent %v", c.Absent())
	}
	for name, want := range map[string]string{"f": "a", "g": "b", "h": "a"} {
		if got := w.users(name); got != want {
			t.Errorf("users of %s: %q, want %q", name, got, want)
		}
	}
	if diff := cmp.Diff([]string{"f", "g", "h"}, w.t.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	// A provider that comes later has a user, but one that names no data of it.
	c = w.do(t, "load k D:f", "load l D:f", "unload k")
	if diff := cmp.Diff([]string{"f: k -> l"}, w.moves(c)); diff != "" {
		t.Errorf("moves (-want +got):\n%s", diff)
	}
	w.do(t, "load u n:f", "load m D:f")
	_, err := w.plan("unload l")
	if diff := cmp.Diff([]string{`needed: l: "f" is data that the relocations of module u name`}, reasons(err)); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	w.do(t, "unload m u")
	if _, err := w.plan("unload l"); !errors.Is(err, diag.ErrNeeded) {
		t.Errorf("unload of the last provider: %v", err)
	}
}

func TestHidden(t *testing.T) {
	w := newWorld()
	w.do(t, "load k d:f d:g d:h", "load a r:g s:g r:f", "load b r:g")
	c := w.do(t, "load c r:g | o o:g o:f o:h | d r:g")
	o, a, b, cc := w.ids["o"], w.ids["a"], w.ids["b"], w.ids["c"]
	want := []Hidden{{"f", o, []ModuleID{a}}, {"g", o, []ModuleID{cc, b, a}}}
	if diff := cmp.Diff(want, c.Hidden()); diff != "" {
		t.Errorf("hidden (-want +got):\n%s", diff)
	}
}

// TestSlots: a name keeps its slot, super slots are used again, an abandoned
// change takes none, and ids stay dense.
func TestSlots(t *testing.T) {
	w := newWorld()
	w.do(t, "load k d:f")
	f, _ := w.t.Lookup("f")
	w.do(t, "load r r:f s:f s:f")
	supers := w.t.Supers(w.ids["r"])
	if len(supers) != 1 || w.stack("super_f@r") != "k" {
		t.Fatalf("supers %v", supers)
	}
	if name, m := w.t.SlotName(supers[0]); name != "f" || m != w.ids["r"] {
		t.Errorf("super slot is %q of %d", name, m)
	}
	if diff := cmp.Diff([]ModuleID{w.ids["r"]}, w.t.Users(supers[0])); diff != "" {
		t.Errorf("users of the super slot:\n%s", diff)
	}
	w.do(t, "unload r")
	if name, m := w.t.SlotName(supers[0]); name != "" || m != 0 || w.t.Supers(w.ids["r"]) != nil {
		t.Errorf("freed super slot is %q of %d", name, m)
	}
	if w.t.Current(supers[0]) != (Provider{}) || w.t.Stack(supers[0]) != nil || w.t.Users(supers[0]) != nil {
		t.Error("a freed slot answers")
	}
	for range 3 {
		c, err := w.plan("load s r:f s:f | z d:new")
		if err != nil {
			t.Fatal(err)
		}
		n, ok := c.Slot("new")
		s, ok2 := c.Super(w.ids["s"], "f")
		if !ok || !ok2 || n != supers[0] || s != 3 {
			t.Errorf("slots %d and %d", n, s)
		}
		if p := c.Current(s); p.Module != w.ids["k"] || c.Below(w.ids["s"], "f") != p || c.Current(n).Module != w.ids["z"] {
			t.Errorf("super leads to %v", p)
		}
		if name, m := c.SlotName(s); name != "f" || m != w.ids["s"] {
			t.Errorf("the new super slot is %q of %d", name, m)
		}
		if name, m := c.SlotName(99); name != "" || m != 0 {
			t.Errorf("no slot is %q of %d", name, m)
		}
		if _, ok := c.Super(w.ids["k"], "f"); ok {
			t.Error("a module without super_f has a slot for it")
		}
		if c.Current(99) != (Provider{}) || c.Below(w.ids["z"], "f") != (Provider{}) || c.Below(99, "f") != (Provider{}) {
			t.Error("answers about what is not there")
		}
		if _, ok := w.t.Lookup("new"); ok || w.t.Current(n) != (Provider{}) {
			t.Error("the table knows of an uncommitted change")
		}
	}
	w.do(t, "unload k", "load k2 o:f")
	if again, _ := w.t.Lookup("f"); again != f {
		t.Errorf("f had slot %d, has %d", f, again)
	}
}

// TestCommitMisuse: a change is committed once, on the table it was planned on.
func TestCommitMisuse(t *testing.T) {
	w := newWorld()
	c1, _ := w.plan("load a d:f")
	c2, _ := w.plan("load b d:f")
	c1.Commit()
	mustBug(t, "committed twice", c1.Commit)
	mustBug(t, "the table changed", c2.Commit)
	if w.stack("f") != "a" {
		t.Errorf("stack %q", w.stack("f"))
	}
}

// mustBug checks that f panics as a bug of the caller's.
func mustBug(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if s, _ := recover().(string); !strings.HasPrefix(s, "BUG:") || !strings.Contains(s, what) {
			t.Errorf("panic %q, want BUG: … %s", s, what)
		}
	}()
	f()
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Default.String(): "default", Override.String(): "override", Refinement.String(): "refinement", Kind(9).String(): "kind 9",
		Func.String(): "func", Data.String(): "data", Class(9).String(): "class 9",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestModule: the table gives back what a module was loaded with.
func TestModule(t *testing.T) {
	w := newWorld()
	reqs := w.requests("a d:f n:f s:f")
	reqs[0].Supers = nil
	c, err := w.t.PlanLoad(reqs, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := w.t.Module(1); ok {
		t.Error("there before Commit")
	}
	c.Commit()
	got, ok := w.t.Module(1)
	if diff := cmp.Diff(reqs[0], got); diff != "" || !ok {
		t.Errorf("module (-want +got):\n%s", diff)
	}
}
