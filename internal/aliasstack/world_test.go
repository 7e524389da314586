package aliasstack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"klink/internal/diag"
)

// world is a Table driven by words, for tests. A module is written as its name
// and what it has to do with symbols:
//
//	d:f o:f r:f   provides function f as default, override, refinement
//	D:x O:x R:x   the same for data
//	n:f w:f       needs f, strongly or weakly
//	s:f           refers to super_f
//	q:m           requires module m
type world struct {
	t    *Table
	ids  map[string]ModuleID
	name map[ModuleID]string
	opts LoadOptions
}

func newWorld() *world {
	return &world{t: New(), ids: map[string]ModuleID{}, name: map[ModuleID]string{0: "-"}}
}

// offers maps the letters of offers.
var offers = map[string]Offer{
	"d": {Kind: Default}, "o": {Kind: Override}, "r": {Kind: Refinement},
	"D": {Kind: Default, Class: Data}, "O": {Kind: Override, Class: Data}, "R": {Kind: Refinement, Class: Data},
}

// requests parses modules that are separated by "|".
func (w *world) requests(text string) []Request {
	var reqs []Request
	for _, mod := range strings.Split(text, "|") {
		words := strings.Fields(mod)
		r := Request{ID: ModuleID(len(w.name)), Name: words[0], File: words[0] + ".kmod"}
		w.ids[r.Name], w.name[r.ID] = r.ID, r.Name
		for _, word := range words[1:] {
			what, name, _ := strings.Cut(word, ":")
			switch what {
			case "n", "w":
				r.Needs = append(r.Needs, Need{Name: name, Weak: what == "w"})
			case "s":
				r.Supers = append(r.Supers, name)
			case "q":
				r.Requires = append(r.Requires, w.ids[name])
			default:
				o, ok := offers[what]
				if !ok {
					panic("no such word: " + word)
				}
				o.Name = name
				r.Offers = append(r.Offers, o)
			}
		}
		reqs = append(reqs, r)
	}
	return reqs
}

// plan plans a step: "load MODULE | MODULE…", or "unload NAME…" and so with leave,
// return and forget.
func (w *world) plan(step string) (*Change, error) {
	verb, rest, _ := strings.Cut(step, " ")
	if verb == "load" {
		return w.t.PlanLoad(w.requests(rest), w.opts)
	}
	var ids []ModuleID
	for _, name := range strings.Fields(rest) {
		ids = append(ids, w.ids[name])
	}
	switch verb {
	case "unload":
		return w.t.PlanUnload(ids)
	case "leave":
		return w.t.PlanLeave(ids)
	case "return":
		return w.t.PlanReturn(ids)
	case "forget":
		return w.t.PlanForget(ids)
	}
	panic("no such verb: " + verb)
}

// do plans and commits steps that must succeed; it returns the last change.
func (w *world) do(tb testing.TB, steps ...string) *Change {
	tb.Helper()
	var c *Change
	for _, step := range steps {
		var err error
		if c, err = w.plan(step); err != nil {
			tb.Fatalf("%s: %v", step, err)
		}
		c.Commit()
		if err := w.t.check(); err != nil {
			tb.Fatalf("after %s: %v", step, err)
		}
	}
	return c
}

// stack renders the stack of a name (or "super_S@module"), top first, kept places in
// parentheses; "=" is before the one that it leads to, unless that is the topmost
// live one.
func (w *world) stack(name string) string {
	s, ok := w.t.Lookup(name)
	if super, mod, is := strings.Cut(strings.TrimPrefix(name, "super_"), "@"); is {
		n := w.t.modules[w.ids[mod]].node(super)
		s, ok = n.super.id, true
	}
	if !ok {
		return "no slot"
	}
	var words []string
	top, cur := Provider{}, w.t.Current(s)
	for _, p := range w.t.Stack(s) {
		if top.Module == 0 && !w.t.Kept(p.Module) {
			top = p
		}
	}
	for _, p := range w.t.Stack(s) {
		word := w.name[p.Module]
		if w.t.Kept(p.Module) {
			word = "(" + word + ")"
		}
		if p == cur && p != top {
			word = "=" + word
		}
		words = append(words, word)
	}
	text := strings.Join(words, " ")
	if cur != top && !strings.Contains(text, "=") {
		return "current is " + w.name[cur.Module] + ", which is not of " + text
	}
	return text
}

// users renders the users of a name.
func (w *world) users(name string) string {
	s, _ := w.t.Lookup(name)
	var words []string
	for _, id := range w.t.Users(s) {
		words = append(words, w.name[id])
	}
	return strings.Join(words, " ")
}

// moves renders the moves of c.
func (w *world) moves(c *Change) []string {
	var out []string
	for _, m := range c.Moves() {
		label, super := c.SlotName(m.Slot)
		if super != 0 {
			label = "super_" + label + "@" + w.name[super]
		}
		out = append(out, fmt.Sprintf("%s: %s -> %s", label, w.name[m.From.Module], w.name[m.To.Module]))
	}
	return out
}

// reasons returns every reason in err as "kind: line", without the limit that
// printing has.
func reasons(err error) []string {
	var list *diag.Errors
	if !errors.As(err, &list) {
		return nil
	}
	var out []string
	for _, e := range list.Unwrap() {
		out = append(out, fmt.Sprintf("%v: %v", errors.Unwrap(e), e))
	}
	slices.Sort(out)
	return out
}

// check returns an error if the Table's own structures disagree.
func (t *Table) check() error {
	users := map[*slot]int{}
	named := map[*node]int{}
	for id, m := range t.modules {
		if m.req.ID != id {
			return fmt.Errorf("module %d is filed as %d", m.req.ID, id)
		}
		for i, nd := range m.needs {
			users[nd.slot]++
			if nd.data != nil {
				named[nd.data]++
			}
			if u := nd.slot.users[nd.pos]; u.mod != m || u.need != i {
				return fmt.Errorf("need %d of module %d and its user do not point at each other", i, id)
			}
		}
		for i := range m.nodes {
			if n := &m.nodes[i]; (n.layer != nil) != (n.p.Kind == Refinement) || n.super != nil && n.super.owner != n {
				return fmt.Errorf("provider %d of module %d has a wrong layer", i, id)
			}
		}
		for r := range m.requiredBy {
			if t.modules[r.req.ID] != r || !slices.Contains(r.requires, m) {
				return fmt.Errorf("module %d is required by %d, which does not require it", id, r.req.ID)
			}
		}
		for _, r := range m.requires {
			if _, ok := r.requiredBy[m]; !ok {
				return fmt.Errorf("module %d does not know that %d requires it", r.req.ID, id)
			}
		}
	}
	for id, s := range t.slots {
		if s == nil {
			if id != 0 && !slices.Contains(t.free, SlotID(id)) {
				return fmt.Errorf("slot %d is lost", id)
			}
			continue
		}
		if int(s.id) != id || s.owner == nil && t.names[s.name] != s {
			return fmt.Errorf("slot %d is filed wrongly", id)
		}
		if len(s.users) != users[s] {
			return fmt.Errorf("%s has %d users, wants %d", s.name, len(s.users), users[s])
		}
		if err := s.check(t, named); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// check returns an error if the stack of s is not well linked.
func (s *slot) check(t *Table, named map[*node]int) error {
	var above, override *node
	for n := s.top; n != nil; above, n = n, n.below {
		switch {
		case n.above != above || n.slot != s || t.modules[n.p.Module] != n.mod:
			return errors.New("badly linked")
		case above != nil && above.p.Kind == Default && n.p.Kind != Default:
			return errors.New("a default above another kind")
		case n.named != named[n]:
			return fmt.Errorf("named %d times, wants %d", n.named, named[n])
		case n.p.Class != s.top.p.Class:
			return errors.New("two classes")
		case n.p.Kind == Override && override != nil:
			return errors.New("two overrides")
		case n.p.Kind == Override:
			override = n
		}
		if err := n.check(); err != nil {
			return err
		}
	}
	switch {
	case s.owner == nil && (s.top == nil) != (s.cur == nil):
		return errors.New("an empty stack leads to somebody, or another to nobody")
	case s.cur != nil && (s.cur.slot != s || t.modules[s.cur.p.Module] != s.cur.mod):
		return errors.New("leads to a provider that is gone")
	case s.bottom != above || s.override != override:
		return errors.New("wrong bottom or override")
	case s.bottom != nil && s.bottom.p.Kind == Refinement:
		return errors.New("a refinement at the bottom")
	}
	return nil
}

// check returns an error if the refinements that are bound to n, or n's own binding,
// are not well linked.
func (n *node) check() error {
	var prev *layer
	for y := n.bound; y != nil; prev, y = y, y.next {
		if y.to != n || y.prev != prev || y.node.layer != y || y.node.slot != n.slot {
			return errors.New("a refinement is badly bound")
		}
	}
	if y := n.layer; y != nil {
		first := y
		for first.prev != nil {
			first = first.prev
		}
		if y.node != n || y.to == nil || y.to.bound != first {
			return errors.New("a refinement is bound to nobody, or unknown to whom it is bound to")
		}
		for b := n.below; b != y.to; b = b.below {
			if b == nil {
				return errors.New("a refinement is bound to what is not below it")
			}
		}
	}
	return nil
}
