package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The model: the list of modules that are loaded, in the order in which they came, and the
// rules. Who provides what is worked out from that list whenever it is asked. Kept is only
// what a load decides for good: which weak names were absent, and whose data was named.

// kind is how a module gives a symbol.
type kind string

const (
	isDefault    kind = "default"
	isOverride   kind = "override"
	isRefinement kind = "refinement"
)

// offer is what a module gives of one symbol.
type offer struct {
	kind  kind
	data  bool
	obj   int
	sec   int
	value uint64
}

// need is a symbol that a module refers to.
type need struct {
	weak  bool // it may be absent
	super string
}

// module is one module: its objects, resolved in itself.
type module struct {
	name   string
	objs   []*object
	offers map[string]offer
	needs  map[string]need

	absent map[string]bool    // weak needs that nobody provided when it was loaded
	named  map[string]*module // data needs: whose object the relocations name
}

// newModule resolves objects in themselves as linkers do: strong beats weak, the first
// weak wins, two strong ones are an error.
func newModule(name string, objs ...*object) (*module, error) {
	m := &module{name: name, objs: objs, offers: map[string]offer{}, needs: map[string]need{}}
	strong := map[string]bool{}
	for i, o := range objs {
		for _, d := range o.defs {
			_, have := m.offers[d.name]
			if have && strong[d.name] && !d.weak {
				return nil, fmt.Errorf("%s: %s is defined twice", name, d.name)
			}
			if have && (d.weak || strong[d.name]) {
				continue
			}
			k := isOverride
			if d.weak {
				k = isDefault
			}
			strong[d.name] = !d.weak
			m.offers[d.name] = offer{k, d.data, i, d.sec, d.value}
		}
	}
	weakly := map[string]bool{} // undefined symbols; true if all of them are weak
	for _, o := range objs {
		for _, u := range o.undefs {
			w, seen := weakly[u.name]
			weakly[u.name] = u.weak && (w || !seen)
		}
	}
	for s := range weakly {
		if below, ok := strings.CutPrefix(s, "super_"); ok && m.gives(below) && !m.gives(s) {
			of := m.offers[below]
			of.kind = isRefinement
			m.offers[below] = of
		}
	}
	for _, o := range objs {
		for i := range o.refs {
			if r := &o.refs[i]; m.follows(o, r) {
				m.needs[r.name] = need{weak: weakly[r.name] && !m.gives(r.name), super: m.super(r.name)}
			}
		}
	}
	return m, nil
}

func (m *module) gives(symbol string) bool { _, ok := m.offers[symbol]; return ok }

// super returns S if a name is the module's super_S, else "".
func (m *module) super(name string) string {
	if below, ok := strings.CutPrefix(name, "super_"); ok && m.gives(below) && !m.gives(name) {
		return below
	}
	return ""
}

// follows says that a reference means the symbol, whoever provides it, and not the
// module's own definition.
func (m *module) follows(o *object, r *reference) bool {
	of, own := m.offers[r.name]
	return r.name != "_GLOBAL_OFFSET_TABLE_" && (!own || !o.secs[r.sec].own && (r.into(o.machine) == 0 || of.data))
}

// place is one provider in a stack.
type place struct {
	by *module
	offer
}

// world is what is loaded.
type world struct{ mods []*module }

// push puts a provider into a stack: a default at the very bottom, any other on top.
func push(stack []place, p place) []place {
	if p.kind == isDefault {
		return slices.Insert(stack, 0, p)
	}
	return append(stack, p)
}

// stack returns the providers of a symbol, bottom to top.
func stack(mods []*module, symbol string) (list []place) {
	for _, m := range mods {
		if of, ok := m.offers[symbol]; ok {
			list = push(list, place{m, of})
		}
	}
	return list
}

// stacks returns the stacks of all symbols that anybody gives.
func stacks(mods []*module) map[string][]place {
	all := map[string][]place{}
	for _, m := range mods {
		for s, of := range m.offers {
			all[s] = push(all[s], place{m, of})
		}
	}
	return all
}

// top returns the current provider, the zero place if there is none.
func top(list []place) place {
	if len(list) == 0 {
		return place{}
	}
	return list[len(list)-1]
}

// below returns the provider just below a module's own.
func below(list []place, m *module) place {
	for i, p := range list {
		if p.by == m && i > 0 {
			return list[i-1]
		}
	}
	return place{}
}

// verdict is why a command is refused: facts as "what|who|symbol|others", sorted. Empty: it
// is not.
type verdict []string

func (v *verdict) add(what, who, symbol string, others ...string) {
	slices.Sort(others)
	*v = append(*v, strings.Join([]string{what, who, symbol, strings.Join(slices.Compact(others), ", ")}, "|"))
}

func (v verdict) sorted() verdict {
	slices.Sort(v)
	return slices.Compact(v)
}

// load says whether a command may load modules behind what is there, and if so notes what
// the load decides for good. It changes nothing else.
func (w *world) load(batch []*module) verdict {
	var v verdict
	names := map[string]bool{}
	for _, m := range w.mods {
		names[m.name] = true
	}
	seen := map[string]bool{}
	for _, m := range batch {
		switch {
		case names[m.name]:
			v.add("loaded", m.name, "")
		case seen[m.name]:
			v.add("twice", m.name, "")
		}
		seen[m.name] = true
	}
	if len(v) > 0 {
		return v.sorted() // nothing else is looked at
	}
	all := stacks(w.mods)
	bad := map[string]bool{}
	for _, m := range batch {
		for _, s := range slices.Sorted(maps.Keys(m.offers)) {
			p := place{m, m.offers[s]}
			if !pushable(all[s], p, s, batch[slices.Index(batch, m):], &v) {
				bad[s] = true
				continue
			}
			all[s] = push(all[s], p)
		}
	}
	for _, m := range batch {
		m.absent, m.named = map[string]bool{}, map[string]*module{}
		for s, n := range m.needs {
			switch list := all[s]; {
			case n.super != "", bad[s]:
			case len(list) == 0 && n.weak:
				m.absent[s] = true
			case len(list) == 0:
				v.add("missing", m.name, s)
			case list[0].data:
				m.named[s] = top(list).by
			}
		}
	}
	return v.sorted()
}

// pushable says whether a provider may join a stack. later are modules of the command that
// push after it, its own first.
func pushable(list []place, p place, symbol string, later []*module, v *verdict) bool {
	if len(list) == 0 {
		if p.kind != isRefinement {
			return true
		}
		for _, m := range later[1:] {
			if of, ok := m.offers[symbol]; ok && of.kind != isRefinement {
				v.add("later", p.by.name, symbol, m.name)
				return false
			}
		}
		v.add("alone", p.by.name, symbol)
		return false
	}
	for _, q := range list {
		switch {
		case q.data != p.data:
			v.add("class", p.by.name, symbol, top(list).by.name)
		case q.data && p.kind != isDefault:
			v.add("data", p.by.name, symbol, top(list).by.name)
		case q.kind == isOverride && p.kind == isOverride:
			v.add("override", p.by.name, symbol, q.by.name)
		default:
			continue
		}
		return false
	}
	return true
}

// refers says that a module has a reference to a symbol that counts.
func (m *module) refers(symbol string) bool {
	n, ok := m.needs[symbol]
	return ok && n.super == "" && !m.absent[symbol]
}

// unload says whether modules may leave, and who stays.
func (w *world) unload(leaving []*module) (stay []*module, v verdict) {
	stay = slices.DeleteFunc(slices.Clone(w.mods), func(m *module) bool { return slices.Contains(leaving, m) })
	symbols := map[string]bool{}
	for _, m := range leaving {
		for s := range m.offers {
			symbols[s] = true
		}
	}
	after := stacks(stay)
	for s := range symbols {
		var who []string
		for _, m := range leaving {
			if m.gives(s) {
				who = append(who, m.name)
			}
		}
		slices.Sort(who)
		list := after[s]
		if len(list) > 0 && list[0].kind == isRefinement {
			v.add("below", strings.Join(who, ", "), s, list[0].by.name)
		}
		var users []string
		named := map[string][]string{} // by whose data it is
		for _, m := range stay {
			if len(list) == 0 && m.refers(s) {
				users = append(users, m.name)
			}
			if owner := m.named[s]; len(list) > 0 && slices.Contains(leaving, owner) {
				named[owner.name] = append(named[owner.name], m.name)
			}
		}
		if len(users) > 0 {
			v.add("needed", strings.Join(who, ", "), s, users...)
		}
		for owner, by := range named {
			v.add("named", owner, s, by...)
		}
	}
	return stay, v.sorted()
}
