package aliasstack

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// keptTests are what TestKept runs.
var keptTests = map[string]stackTest{
	// Leaving.
	"a kept top is skipped": {
		[]string{"load k d:f", "load o o:f", "load u n:f", "leave o"},
		map[string]string{"f": "(o) k"}, []string{"f: o -> k"},
	},
	"a kept layer is skipped by the layer above, its own super stays": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "load c r:f s:f", "leave b"},
		map[string]string{"f": "c (b) a k", "super_f@c": "(b) a k", "super_f@b": "a k"},
		[]string{"super_f@c: b -> a"},
	},
	"layers that leave together stay bound to one another": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "leave a b"},
		map[string]string{"f": "(b) (a) k", "super_f@b": "=(a) k", "super_f@a": "k"}, []string{"f: b -> k"},
	},
	"leaving one after the other skips both": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "load c r:f s:f", "leave a", "leave b"},
		map[string]string{"f": "c (b) (a) k", "super_f@c": "(b) (a) k", "super_f@b": "(a) k"}, []string{"super_f@c: b -> k"},
	},
	"a kept layer does not stay bound to what leaves in another command": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "leave b", "leave a"},
		map[string]string{"f": "(b) (a) k", "super_f@b": "(a) k", "super_f@a": "k"}, []string{"f: a -> k", "super_f@b: a -> k"},
	},
	"names that the kept alone provide stay as they are": {
		[]string{"load a d:f n:f | b r:f s:f | u n:f", "leave a b u"},
		map[string]string{"f": "=(b) (a)", "super_f@b": "=(a)"}, nil,
	},
	"a kept stack leads where it led, not to its top": {
		[]string{"load k d:f", "load a o:f", "leave a", "leave k"},
		map[string]string{"f": "(a) =(k)"}, nil,
	},
	"data that only the leaving name": {
		[]string{"load a D:x | u n:x", "leave u a"}, map[string]string{"x": "=(a)"}, nil,
	},
	// Pushing.
	"default below a kept place": {
		[]string{"load a d:f", "leave a", "load b d:f n:f"}, map[string]string{"f": "(a) b"}, []string{"f: a -> b"},
	},
	"override on top of kept places": {
		[]string{"load k d:f", "load r r:f s:f", "leave r k", "load o o:f"},
		map[string]string{"f": "o (r) (k)", "super_f@r": "=(k)"}, []string{"f: r -> o"},
	},
	"refinement on top of a kept place": {
		[]string{"load k d:f", "load o o:f", "leave o", "load r r:f s:f"},
		map[string]string{"f": "r (o) k", "super_f@r": "(o) k"}, []string{"f: k -> r", "super_f@r: - -> k"},
	},
	"refinement in a batch with the only live provider": {
		[]string{"load o o:f", "leave o", "load k d:f | r r:f s:f"},
		map[string]string{"f": "r (o) k", "super_f@r": "(o) k"}, []string{"f: o -> r", "super_f@r: - -> k"},
	},
	"default below a layer that returned alone": {
		[]string{"load a d:f | r r:f s:f", "leave a r", "return r", "load k d:f | l d:f"},
		map[string]string{"f": "r (a) k l", "super_f@r": "(a) k l"}, []string{"super_f@r: a -> k"},
	},
	// Returning.
	"return to the top": {
		[]string{"load k d:f", "load o o:f", "leave o", "return o"},
		map[string]string{"f": "o k"}, []string{"f: k -> o"},
	},
	"return under what has come": {
		[]string{"load k d:f", "load o o:f", "leave o", "load r r:f s:f", "return o"},
		map[string]string{"f": "r o k", "super_f@r": "o k"}, []string{"super_f@r: k -> o"},
	},
	"return to the middle": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "load c r:f s:f", "leave b a", "unload c", "load d r:f s:f", "return a"},
		map[string]string{"f": "d (b) a k", "super_f@d": "(b) a k", "super_f@b": "a k"}, []string{"super_f@d: k -> a"},
	},
	"return of all at once": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "leave a", "leave b", "return a b"},
		map[string]string{"f": "b a k", "super_f@b": "a k"}, []string{"f: k -> b", "super_f@b: k -> a"},
	},
	"who returns skips the one that left with it": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "leave a b", "return b"},
		map[string]string{"f": "b (a) k", "super_f@b": "(a) k"}, []string{"f: k -> b", "super_f@b: a -> k"},
	},
	"a kept layer does not follow what returns": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "leave a", "leave b", "return a"},
		map[string]string{"f": "(b) a k", "super_f@b": "a =k"}, []string{"f: k -> a"},
	},
	"who returns alone follows what is kept, if that is all there is": {
		[]string{"load a d:f | r r:f s:f n:g | b o:g", "leave a r b", "return r"},
		map[string]string{"f": "r (a)", "super_f@r": "=(a)", "g": "=(b)"}, nil,
	},
	// Forgetting.
	"forgotten at the top": {
		[]string{"load k d:f", "load o o:f n:f", "leave o", "forget o", "load p o:f"},
		map[string]string{"f": "p k"}, []string{"f: k -> p"},
	},
	"forgetting moves only what goes": {
		[]string{"load k d:f", "load a r:f s:f d:own n:own", "load b r:f s:f", "leave a", "load c r:f s:f", "forget a"},
		map[string]string{"f": "c b k", "super_f@b": "k", "own": ""}, []string{"super_f@a: k -> -", "own: a -> -"},
	},
	"what is forgotten of a kept stack leads to the rest": {
		[]string{"load k d:f", "load a o:f", "leave a", "leave k", "return a", "leave a", "forget a"},
		map[string]string{"f": "=(k)"}, []string{"f: a -> k"},
	},
	"the finished are forgotten after the rest returned": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "leave a b", "return a", "forget b"},
		map[string]string{"f": "a k", "super_f@a": "k"}, []string{"super_f@b: a -> -"},
	},
	"forgetting a kept place that nobody follows, of a symbol that others do": {
		[]string{"load k d:f | u n:f", "load a o:f", "leave a", "leave k u", "forget a"}, map[string]string{"f": "=(k)"}, nil,
	},
	"several that are bound to one are forgotten and return": {
		[]string{
			"load k d:f", "load a r:f s:f", "load b r:f s:f", "load c r:f s:f", "load d r:f s:f",
			"leave a", "leave b", "leave c", "forget b", "return a", "forget c",
		},
		map[string]string{"f": "d a k", "super_f@a": "k", "super_f@d": "a k"}, []string{"super_f@c: k -> -"},
	},
	"unloading in one step under a kept place": {
		[]string{"load k d:f", "load a o:f", "leave a", "unload k"}, map[string]string{"f": "=(a)"}, []string{"f: k -> a"},
	},
	"a kept layer goes on when what it is bound to is unloaded": {
		[]string{"load k d:f", "load a r:f s:f", "load b r:f s:f", "leave b", "unload a"},
		map[string]string{"f": "(b) k", "super_f@b": "k"}, []string{"f: a -> k", "super_f@a: k -> -", "super_f@b: a -> k"},
	},
}

// TestKept says for each rule about kept places what the stacks are afterwards.
func TestKept(t *testing.T) {
	for name, tt := range keptTests {
		t.Run(name, tt.run)
	}
}

// keptRefusals are what TestKeptRefusals runs.
var keptRefusals = map[string]refusalTest{
	"second override": {
		[]string{"load k d:f", "load a o:f", "leave a"}, "load b o:f",
		[]string{`conflict: b.kmod: "f" already has an override, from module a (being unloaded)` + privateF},
	},
	"another class": {
		[]string{"load a D:f", "leave a"}, "load b d:f",
		[]string{`conflict: b.kmod: "f" is a function, but data in module a (being unloaded)` + privateF},
	},
	"nothing live to refine": {
		[]string{"load a d:f", "leave a"}, "load r r:f",
		[]string{`conflict: r.kmod: "f": nothing to refine: module a, which provides it, is being unloaded`},
	},
	"nothing live to refine yet": {
		[]string{"load a d:f", "leave a"}, "load r r:f | k d:f",
		[]string{`conflict: r.kmod: "f": nothing to refine yet: module k, which provides it, comes later in the command`},
	},
	"a kept module is there": {
		[]string{"load a", "leave a"}, "load b q:a",
		[]string{`busy: b.kmod: the required module a is being unloaded`},
	},
	"leaving twice": {
		[]string{"load a | b", "leave a"}, "leave b a", []string{`busy: a: the module is being unloaded already`},
	},
	"unloading what has left": {
		[]string{"load a | b", "leave a"}, "unload a b", []string{`busy: a: the module is being unloaded already`},
	},
	"the last live provider": {
		[]string{"load k d:f", "load a o:f", "load u n:f", "leave a"}, "leave k",
		[]string{`needed: k: "f" would have no provider left, but is needed by module u`},
	},
	"the last live provider below a layer": {
		[]string{"load k d:f", "load a o:f", "load r r:f", "leave a"}, "unload k",
		[]string{`needed: k: "f" would have nothing left below the refinement of module r`},
	},
	"a kept module needs": {
		[]string{"load k d:f", "load u n:f", "leave u"}, "leave k",
		[]string{`needed: k: "f" would have no provider left, but is needed by module u (being unloaded)`},
	},
	"a kept provider needs its own name of those who stay": {
		[]string{"load k d:f", "load a o:f n:f", "leave a"}, "leave k",
		[]string{`needed: k: "f" would have no provider left, but is needed by module a (being unloaded)`},
	},
	"a kept provider needs its own name of who has come since": {
		[]string{"load a d:f n:f", "leave a", "load p d:f"}, "leave p",
		[]string{`needed: p: "f" would have no provider left, but is needed by module a (being unloaded)`},
	},
	"a kept module names data": {
		[]string{"load k D:x", "load u n:x", "load v D:x", "leave u"}, "leave k",
		[]string{`needed: k: "x" is data that the relocations of module u (being unloaded) name`},
	},
	"a kept module requires": {
		[]string{"load k", "load u q:k", "load v q:k", "leave u"}, "leave k",
		[]string{`needed: k: the module is required by modules u (being unloaded), v`},
	},
	"a kept refinement": {
		[]string{"load k d:f", "load r r:f s:f", "leave r"}, "leave k",
		[]string{`needed: k: "f" would have nothing left below the refinement of module r (being unloaded)`},
	},
	"return and forget of what has not left": {
		[]string{"load a | b", "leave a"}, "return b a a nobody",
		[]string{
			`not found: a: the module is named twice in one command`,
			`not found: b: the module is not being unloaded`,
			`not found: there is no module with id 0`,
		},
	},
	"forgetting what has not left": {
		[]string{"load a | b", "leave a"}, "forget a b", []string{`not found: b: the module is not being unloaded`},
	},
	"forgetting what others of the command still follow": {
		[]string{"load k d:f", "load a r:f s:f d:g D:x | b r:f s:f n:g n:x q:a", "leave a b"}, "forget a",
		[]string{
			`needed: a: "g" would have no provider left, but is needed by module b (being unloaded)`,
			`needed: a: "x" would have no provider left, but is needed by module b (being unloaded)`,
			`needed: a: the module is required by module b (being unloaded)`,
			`needed: a: the refinement of "f" in module b (being unloaded) still leads there`,
		},
	},
	"forgetting what those who returned still follow": {
		[]string{"load a d:f d:g | b r:f s:f n:g", "leave a b", "return b"}, "forget a",
		[]string{
			`needed: a: "g" would have no provider left, but is needed by module b`,
			`needed: a: the refinement of "f" in module b still leads there`,
		},
	},
	"forgetting data that those who stay name": {
		[]string{"load a D:x | b n:x", "leave a b", "load k D:x"}, "forget a",
		[]string{`needed: a: "x" is data that the relocations of module b (being unloaded) name`},
	},
}

// TestKeptRefusals has every reason for which a kept place, or a kept module, is in
// the way.
func TestKeptRefusals(t *testing.T) {
	for name, tt := range keptRefusals {
		t.Run(name, tt.run)
	}
}

// TestKeptIsAbsent: for a new load, a name that only kept modules provide is missing
// or absent, but the table still says whom it leads to.
func TestKeptIsAbsent(t *testing.T) {
	for _, keep := range []bool{false, true} {
		w := newWorld()
		w.do(t, "load a d:f n:f D:x", "leave a")
		w.opts.KeepMissing = keep
		c, err := w.plan("load u n:f w:x n:x | v w:f")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Missing{{2, "f"}, {2, "x"}}, c.Missing()); diff != "" {
			t.Errorf("missing (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]Missing{{2, "x"}, {3, "f"}}, c.Absent()); diff != "" {
			t.Errorf("absent (-want +got):\n%s", diff)
		}
		f, _ := c.Slot("f")
		if c.Provided(f) || c.Current(f).Module != w.ids["a"] || w.t.Provided(f) || w.t.Current(f).Module != w.ids["a"] {
			t.Errorf("f leads to %v, provided: %v", c.Current(f), c.Provided(f))
		}
		if w.t.Provided(99) || w.t.Provided(0) || c.Provided(99) || w.t.Kept(99) || !w.t.Kept(w.ids["a"]) {
			t.Error("answers about what is not there")
		}
		if got := w.users("f"); got != "a" {
			t.Errorf("users of f: %s", got)
		}
	}
}

// TestReturnFinds: needs that were bound to a kept module's data still are when it
// returns, whoever has provided it in between.
func TestReturnFinds(t *testing.T) {
	w := newWorld()
	w.do(t, "load a D:x | u n:x", "leave a u", "load k D:x", "load v n:x", "return u a")
	for leaving, want := range map[string]string{
		"k": `needed: k: "x" is data that the relocations of module v name`,
		"a": `needed: a: "x" is data that the relocations of module u name`,
	} {
		_, err := w.plan("leave " + leaving)
		if diff := cmp.Diff([]string{want}, reasons(err)); diff != "" {
			t.Errorf("leave %s (-want +got):\n%s", leaving, diff)
		}
	}
	if got := w.stack("x"); got != "a k" {
		t.Errorf("stack %q", got)
	}
}
