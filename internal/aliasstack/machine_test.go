package aliasstack

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// machine is the state machine: a Table, the model, and a shadow of what sites
// follow that only ever sees Moves.
type machine struct {
	t      *Table
	m      model
	shadow map[SlotID]Provider
	slotOf map[string]SlotID // of every name ever given one
	supers int               // the most super slots there ever were at once
	last   ModuleID
	leaves int                // how many commands made modules kept
	left   map[ModuleID][]int // which of them named the module
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &machine{t: New(), shadow: map[SlotID]Provider{}, slotOf: map[string]SlotID{}, left: map[ModuleID][]int{}}
		t.Repeat(map[string]func(*rapid.T){
			"load":   w.load,
			"load2":  w.load, // as many loads as unloads would keep the table empty
			"unload": func(t *rapid.T) { w.step(t, "unload") },
			"leave":  func(t *rapid.T) { w.step(t, "leave") },
			"return": func(t *rapid.T) { w.step(t, "return") },
			"forget": func(t *rapid.T) { w.step(t, "forget") },
			"":       w.check,
		})
	})
}

// oneIn is true in one of n draws, about.
func oneIn(t *rapid.T, n int) bool { return rapid.IntRange(0, n-1).Draw(t, "oneIn") == n-1 }

var (
	modelNames = []string{"f0", "f1", "f2", "f3", "x0", "x1"}
	modelKinds = []Kind{Default, Default, Override, Refinement, Refinement}
)

// request draws a module. Mostly it obeys the rules, else nothing would ever load.
func (w *machine) request(t *rapid.T, batch []Request) Request {
	w.last++
	r := Request{ID: w.last, Name: fmt.Sprintf("m%d", w.last), File: fmt.Sprintf("m%d.kmod", w.last)}
	name := rapid.SampledFrom(modelNames)
	for range rapid.IntRange(0, 3).Draw(t, "offers") {
		o := Offer{Name: name.Draw(t, "name"), Kind: rapid.SampledFrom(modelKinds).Draw(t, "kind")}
		if !oneIn(t, 20) && slices.ContainsFunc(r.Offers, func(p Offer) bool { return p.Name == o.Name }) {
			continue
		}
		if (o.Name[0] == 'x') != oneIn(t, 20) {
			o.Class = Data
			if o.Kind == Refinement || !oneIn(t, 10) {
				o.Kind = Default
			}
		}
		if !w.m.provided(o.Name) && o.Kind == Refinement && !oneIn(t, 8) {
			o.Kind = Default
		}
		if o.Class == Func && (o.Kind == Refinement && !oneIn(t, 3) || oneIn(t, 60)) {
			r.Supers = append(r.Supers, o.Name)
		}
		r.Offers = append(r.Offers, o)
	}
	if oneIn(t, 50) {
		r.Supers = append(r.Supers, name.Draw(t, "super"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "needs") {
		n := Need{Name: name.Draw(t, "need"), Weak: rapid.Bool().Draw(t, "weak")}
		if !w.m.provided(n.Name) && !oneIn(t, 4) {
			n.Weak = true
		}
		r.Needs = append(r.Needs, n)
	}
	if len(w.m.mods) > 0 && oneIn(t, 8) {
		r.Requires = append(r.Requires, rapid.SampledFrom(w.m.mods).Draw(t, "requires").req.ID)
	}
	if oneIn(t, 40) {
		r.Requires = append(r.Requires, ModuleID(rapid.IntRange(1, int(w.last)).Draw(t, "id")))
	}
	if len(batch) > 0 && oneIn(t, 6) {
		r.Requires = append(r.Requires, batch[0].ID)
	}
	return r
}

func (w *machine) load(t *rapid.T) {
	var reqs []Request
	for range rapid.IntRange(1, 3).Draw(t, "modules") {
		reqs = append(reqs, w.request(t, reqs))
	}
	opts := LoadOptions{KeepMissing: oneIn(t, 10)}
	before := w.t.dump()
	next, want := w.m.load(reqs, opts.KeepMissing)
	c, err := w.t.PlanLoad(reqs, opts)
	got := outcome{reasons(err), c.Missing(), c.Absent(), c.Hidden()}
	if err != nil {
		got.hidden, want.hidden = nil, nil
	}
	w.finish(t, before, c, err, next, got, want)
}

// step draws one of the verbs' commands, mostly of modules that it is for.
func (w *machine) step(t *rapid.T, verb string) {
	fromKept := verb == "forget" || verb == "return"
	var fit, ids []ModuleID
	for _, mod := range w.m.mods {
		if mod.kept == fromKept {
			fit = append(fit, mod.req.ID)
		}
	}
	if len(fit) == 0 && !oneIn(t, 20) {
		w.load(t) // rapid gives up soon on what skips many actions
		return
	}
	few := rapid.IntRange(2, 12).Draw(t, "few") // from half of all modules to hardly any
	for _, id := range fit {
		if oneIn(t, few) {
			ids = append(ids, id)
		}
	}
	if len(fit) > 0 && len(ids) == 0 {
		ids = append(ids, rapid.SampledFrom(fit).Draw(t, "one"))
	}
	if fromKept && len(ids) > 0 && rapid.Bool().Draw(t, "whole") { // all that left with the first
		group := w.left[ids[0]]
		ids = slices.DeleteFunc(fit, func(id ModuleID) bool {
			return !slices.Contains(w.left[id], group[len(group)-1])
		})
	}
	if oneIn(t, 15) {
		ids = append(ids, ModuleID(rapid.IntRange(0, int(w.last)+1).Draw(t, "id")))
	}
	if len(ids) > 1 && rapid.Bool().Draw(t, "turned") {
		slices.Reverse(ids)
	}
	before := w.t.dump()
	next, want := w.m.step(verb, ids)
	c, err := map[string]func([]ModuleID) (*Change, error){
		"unload": w.t.PlanUnload, "leave": w.t.PlanLeave, "return": w.t.PlanReturn, "forget": w.t.PlanForget,
	}[verb](ids)
	if verb == "forget" && err != nil && !slices.ContainsFunc(reasons(err), func(r string) bool { return !strings.HasPrefix(r, "needed:") }) {
		w.mayHold(t, ids)
	}
	if !w.finish(t, before, c, err, next, outcome{reasons: reasons(err)}, want) {
		return
	}
	w.checkMoves(t, verb, ids, c)
	if verb == "leave" {
		w.leaves++
		for _, id := range ids {
			w.left[id] = append(w.left[id], w.leaves)
		}
	}
}

// together is whether the modules once left in one command.
func (w *machine) together(a, b ModuleID) bool {
	return slices.ContainsFunc(w.left[a], func(i int) bool { return slices.Contains(w.left[b], i) })
}

// mayHold fails if nobody who once left with the modules is not forgotten with them:
// all who left in one command can be forgotten at any time.
func (w *machine) mayHold(t *rapid.T, ids []ModuleID) {
	for _, mod := range w.m.mods {
		for _, id := range ids {
			if !slices.Contains(ids, mod.req.ID) && w.together(id, mod.req.ID) {
				return
			}
		}
	}
	t.Fatalf("nobody holds %v, but they are not forgotten", ids)
}

// checkMoves checks what the package comment promises of the moves of a step that
// has been committed.
func (w *machine) checkMoves(t *rapid.T, verb string, ids []ModuleID, c *Change) {
	for _, mv := range c.Moves() {
		name, super := w.t.SlotName(mv.Slot)
		follows := func(mod *modelModule) bool { // who names data stays with that, whoever is current
			data, ok := mod.bound[name]
			return ok && data == 0
		}
		switch {
		case verb == "leave" && (!slices.Contains(ids, mv.From.Module) || mv.To.Module == 0 || w.t.Kept(mv.To.Module)):
			t.Fatalf("leaving leads %v", mv)
		case verb == "return" && (mv.To.Module == 0 || w.t.Kept(mv.To.Module)):
			t.Fatalf("returning leads %v", mv)
		case verb == "forget" && (super != 0 || slices.ContainsFunc(w.m.mods, follows)):
			t.Fatalf("forgetting moves what is followed: %v", mv)
		}
	}
}

// finish compares what the plan says, then commits or abandons it; it returns whether
// it was committed.
func (w *machine) finish(t *rapid.T, before string, c *Change, err error, next model, got, want outcome) bool {
	same(t, "reasons", want.reasons, got.reasons)
	same(t, "missing", want.missing, got.missing)
	same(t, "absent", want.absent, got.absent)
	same(t, "hidden", want.hidden, got.hidden)
	if err != nil || len(got.missing) > 0 || oneIn(t, 4) {
		if err == nil && rapid.Bool().Draw(t, "asked") {
			c.Moves()
		}
		same(t, "table after a change that was not made", before, w.t.dump())
		return false
	}
	foreseen := w.foresee(t, c, next)
	same(t, "table after planning", before, w.t.dump())
	w.commit(t, c, next)
	for id, p := range foreseen {
		same(t, fmt.Sprintf("slot %d as foreseen", id), p, w.t.Current(id))
		same(t, fmt.Sprintf("slot %d asked after Commit", id), p, c.Current(id))
		same(t, fmt.Sprintf("slot %d asked after Commit", id), w.t.Provided(id), c.Provided(id))
	}
	return true
}

// foresee checks what the plan foresees, and returns whom the slots will follow.
func (w *machine) foresee(t *rapid.T, c *Change, next model) map[SlotID]Provider {
	foreseen := map[SlotID]Provider{}
	for id := range SlotID(len(w.t.slots) + len(c.grown) + 2) {
		foreseen[id] = c.Current(id)
	}
	for _, name := range modelNames {
		s, _ := c.Slot(name)
		same(t, "planned current of "+name, next.current(name), c.Current(s))
		same(t, "planned to be provided: "+name, next.provided(name), c.Provided(s))
		for id := range w.last + 2 {
			same(t, "planned below of "+name, next.below(id, name), c.Below(id, name))
			super, ok := c.Super(id, name)
			mod := next.find(id)
			same(t, "planned super of "+name, mod != nil && slices.Contains(mod.req.Supers, name), ok)
			if ok {
				same(t, "planned super of "+name, next.below(id, name), c.Current(super))
				same(t, "planned to be provided: super_"+name, next.live(next.below(id, name)), c.Provided(super))
			}
		}
	}
	return foreseen
}

// commit commits c, whose moves are then all that the shadow sees.
func (w *machine) commit(t *rapid.T, c *Change, next model) {
	if rapid.Bool().Draw(t, "moves first") {
		if keys := w.moveKeys(c); !slices.IsSorted(keys) {
			t.Fatalf("moves are not sorted: %q", keys)
		}
		moves := slices.Clone(c.Moves())
		c.Commit()
		same(t, "moves after Commit", moves, c.Moves())
	} else {
		c.Commit()
	}
	w.m = next
	for _, mv := range c.Moves() {
		same(t, "From of a move", w.shadow[mv.Slot], mv.From)
		if mv.From == mv.To {
			t.Fatalf("a move that moves nothing: %v", mv)
		}
		w.shadow[mv.Slot] = mv.To
	}
}

// moveKeys returns what the moves of c must be sorted by.
func (w *machine) moveKeys(c *Change) []string {
	var keys []string
	for _, mv := range c.Moves() {
		s := c.slot(mv.Slot)
		keys = append(keys, fmt.Sprintf("%s\x00%08d", s.name, s.super()))
	}
	return keys
}

// check compares all that the table answers with the model.
func (w *machine) check(t *rapid.T) {
	if err := w.t.check(); err != nil {
		t.Fatal(err)
	}
	same(t, "names", w.m.names(), w.t.Names())
	for id := range SlotID(len(w.t.slots) + 2) {
		same(t, fmt.Sprintf("slot %d by its moves", id), w.shadow[id], w.t.Current(id))
	}
	for _, name := range w.m.names() {
		s, ok := w.t.Lookup(name)
		if !ok || s == 0 {
			t.Fatalf("%s has no slot", name)
		}
		if old, ok := w.slotOf[name]; ok && old != s {
			t.Fatalf("%s had slot %d, has %d", name, old, s)
		}
		w.slotOf[name] = s
		st := w.m.stack(name)
		slices.Reverse(st)
		same(t, "stack of "+name, st, w.t.Stack(s))
		same(t, "current of "+name, w.m.current(name), w.t.Current(s))
		same(t, "whether somebody provides "+name, w.m.provided(name), w.t.Provided(s))
		same(t, "users of "+name, w.m.users(name), w.t.Users(s))
		got, super := w.t.SlotName(s)
		same(t, "name of the slot", fmt.Sprint(name, 0), fmt.Sprint(got, super))
	}
	supers := 0
	for id := range w.last + 2 {
		supers += w.checkModule(t, id)
	}
	w.supers = max(w.supers, supers)
	if most := len(w.slotOf) + w.supers; len(w.t.slots)-1 > most {
		t.Fatalf("%d slots for %d names and at most %d supers", len(w.t.slots)-1, len(w.slotOf), w.supers)
	}
}

// checkModule compares what the table answers about a module, and returns how many
// super slots it has.
func (w *machine) checkModule(t *rapid.T, id ModuleID) int {
	mod := w.m.find(id)
	r, ok := w.t.Module(id)
	same(t, "presence", mod != nil, ok)
	same(t, "kept", mod != nil && mod.kept, w.t.Kept(id))
	ids := w.t.Supers(id)
	if mod == nil {
		same(t, "supers", nil, ids)
		return 0
	}
	same(t, "module", mod.req, r)
	for name, data := range mod.bound {
		to := data
		if data == 0 {
			to = w.m.cur[name]
		}
		w.mayFollow(t, id, to, name)
	}
	for _, o := range r.Offers {
		if to, ok := w.m.layers[modelLayer{id, o.Name}]; ok {
			w.mayFollow(t, id, to, "super_"+o.Name)
		}
	}
	var uniq []string
	for _, n := range r.Supers {
		if !slices.Contains(uniq, n) {
			uniq = append(uniq, n)
		}
	}
	same(t, "number of supers", len(uniq), len(ids))
	for i, s := range ids {
		name, owner := w.t.SlotName(s)
		same(t, "super slot", fmt.Sprint(uniq[i], id), fmt.Sprint(name, owner))
		below := w.m.below(id, name)
		same(t, "super of "+name, below, w.t.Current(s))
		same(t, "users of a super", []ModuleID{id}, w.t.Users(s))
		st := w.m.stack(name)
		at := slices.IndexFunc(st, func(p Provider) bool { return p.Module == id })
		st = st[:at]
		slices.Reverse(st)
		same(t, "stack of super", st, w.t.Stack(s))
	}
	return len(ids)
}

// mayFollow fails if the module follows somebody who is kept and never left with it:
// it could still enter that module, which believes that everybody is out.
func (w *machine) mayFollow(t *rapid.T, id, to ModuleID, what string) {
	if to == 0 { // KeepMissing
		return
	}
	if m := w.m.find(to); m == nil || m.kept && id != to && !w.together(id, to) {
		t.Fatalf("%d follows %d by %s", id, to, what)
	}
}

// same fails unless want and got are equal; nil and empty slices are.
func same[T any](t *rapid.T, what string, want, got T) {
	t.Helper()
	if !reflect.DeepEqual(want, got) && fmt.Sprint(want) != fmt.Sprint(got) {
		t.Fatalf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}
