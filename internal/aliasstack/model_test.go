package aliasstack

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// model is what Table must be, written as naively as possible: the modules in
// order of arrival, whom each name leads to, and whom each refinement is bound to.
// Everything else is worked out from these on every question.
type model struct {
	mods   []*modelModule
	cur    map[string]ModuleID
	layers map[modelLayer]ModuleID
}

type modelModule struct {
	req   Request
	bound map[string]ModuleID // names it refers to → the module whose data was meant, else 0
	kept  bool
}

// modelLayer is a module's refinement of a name.
type modelLayer struct {
	of   ModuleID
	name string
}

// clone returns a model that can be changed without m.
func (m model) clone() model {
	next := model{cur: maps.Clone(m.cur), layers: maps.Clone(m.layers)}
	if next.cur == nil {
		next.cur, next.layers = map[string]ModuleID{}, map[modelLayer]ModuleID{}
	}
	for _, mod := range m.mods {
		c := *mod
		next.mods = append(next.mods, &c)
	}
	return next
}

func (m model) live(p Provider) bool { return p.Module != 0 && !m.find(p.Module).kept }

// top returns the topmost live provider of a stack, none if none.
func (m model) top(st []Provider) Provider {
	for _, p := range slices.Backward(st) {
		if m.live(p) {
			return p
		}
	}
	return Provider{}
}

// settle works out whom names and refinements lead to after a step that made the
// modules left kept.
func (m model) settle(left []ModuleID) {
	var names []string
	for _, mod := range m.mods {
		for _, o := range mod.req.Offers {
			names = append(names, o.Name)
		}
	}
	old := maps.Clone(m.layers)
	clear(m.layers)
	for _, name := range names {
		st := m.stack(name)
		if p := m.top(st); p.Module != 0 {
			m.cur[name] = p.Module
		} else if m.find(m.cur[name]) == nil {
			m.cur[name] = st[len(st)-1].Module
		}
		for i, p := range st {
			if p.Kind != Refinement {
				continue
			}
			key := modelLayer{p.Module, name}
			m.layers[key] = old[key]
			pushed := slices.Contains(left, old[key]) && !slices.Contains(left, p.Module)
			if below := m.top(st[:i]); below.Module != 0 && (m.live(p) || pushed) {
				m.layers[key] = below.Module
			}
		}
	}
	for name := range m.cur {
		if !slices.Contains(names, name) {
			delete(m.cur, name)
		}
	}
}

// kind is the kind as it counts.
func (m *modelModule) kind(i int) Kind {
	if slices.Contains(m.req.Supers, m.req.Offers[i].Name) {
		return Refinement
	}
	return m.req.Offers[i].Kind
}

// stack replays all arrivals; bottom first.
func (m model) stack(name string) []Provider {
	var st []Provider
	for _, mod := range m.mods {
		for i, o := range mod.req.Offers {
			if o.Name != name {
				continue
			}
			p := Provider{mod.req.ID, int32(i), mod.kind(i), o.Class}
			if p.Kind == Default {
				st = append([]Provider{p}, st...)
			} else {
				st = append(st, p)
			}
		}
	}
	return st
}

// provider returns the module's provider of the name, none if it has none.
func (m model) provider(id ModuleID, name string) Provider {
	for _, p := range m.stack(name) {
		if p.Module == id {
			return p
		}
	}
	return Provider{}
}

func (m model) current(name string) Provider { return m.provider(m.cur[name], name) }

// provided is whether a need of the name would be bound.
func (m model) provided(name string) bool { return m.live(m.current(name)) }

func (m model) below(id ModuleID, name string) Provider {
	if to, ok := m.layers[modelLayer{id, name}]; ok {
		return m.provider(to, name)
	}
	st := m.stack(name)
	for i, p := range st {
		if p.Module == id {
			return m.top(st[:i])
		}
	}
	return Provider{}
}

func (m model) find(id ModuleID) *modelModule {
	for _, mod := range m.mods {
		if mod.req.ID == id {
			return mod
		}
	}
	return nil
}

func (m model) users(name string) []ModuleID {
	ids := []ModuleID{}
	for _, mod := range m.mods {
		if _, ok := mod.bound[name]; ok {
			ids = append(ids, mod.req.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// names are all names that occur.
func (m model) names() []string {
	set := map[string]bool{}
	for _, mod := range m.mods {
		for _, o := range mod.req.Offers {
			set[o.Name] = true
		}
		for name := range mod.bound {
			set[name] = true
		}
	}
	names := []string{}
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// label writes a module's name as messages do.
func (m model) label(id ModuleID) string {
	if mod := m.find(id); mod.kept {
		return mod.req.Name + " (being unloaded)"
	}
	return m.name(id)
}

func (m model) name(id ModuleID) string { return m.find(id).req.Name }

// outcome is what a plan says.
type outcome struct {
	reasons         []string
	missing, absent []Missing
	hidden          []Hidden
}

// load returns the model afterwards.
func (m model) load(reqs []Request, keep bool) (model, outcome) {
	var out outcome
	next := m.clone()
	refused := map[string]bool{}
	type early struct{ r, name string }
	var earlies []early
	conflict := func(file, name, format string, args ...any) {
		refused[name] = true
		out.reasons = append(out.reasons, fmt.Sprintf("conflict: %s: %q ", file, name)+fmt.Sprintf(format, args...)+
			"; --private "+name+" keeps this one to its own module")
	}
	for _, r := range reqs {
		mod := &modelModule{req: r, bound: map[string]ModuleID{}}
		mod.req.Offers = nil
		next.mods = append(next.mods, mod)
		for _, s := range r.Supers {
			if !slices.ContainsFunc(r.Offers, func(o Offer) bool { return o.Name == s }) {
				out.reasons = append(out.reasons, fmt.Sprintf("no provider: %s: %q is referred to, but the module does not provide %q", r.File, "super_"+s, s))
			}
		}
		seen := map[string]bool{}
		for i, o := range r.Offers {
			kind := (&modelModule{req: r}).kind(i)
			st := next.stack(o.Name)
			var top Provider
			if len(st) > 0 {
				top = st[len(st)-1]
			}
			over := slices.IndexFunc(st, func(p Provider) bool { return p.Kind == Override })
			accepted := false
			switch {
			case seen[o.Name]:
				out.reasons = append(out.reasons, fmt.Sprintf("duplicate definition: %s: %q is provided twice by one module", r.File, o.Name))
			case next.top(st).Module == 0 && kind == Refinement:
				refused[o.Name] = true
				earlies = append(earlies, early{r.File, o.Name})
			case len(st) == 0:
				accepted = true
			case top.Class != o.Class && o.Class == Data:
				conflict(r.File, o.Name, "is data, but a function in module %s", next.label(top.Module))
			case top.Class != o.Class:
				conflict(r.File, o.Name, "is a function, but data in module %s", next.label(top.Module))
			case o.Class == Data && kind != Default:
				conflict(r.File, o.Name, "is data of module %s, which no %s can replace", next.label(top.Module), kind)
			case kind == Override && over >= 0:
				conflict(r.File, o.Name, "already has an override, from module %s", next.label(st[over].Module))
			default:
				accepted = true
			}
			seen[o.Name] = true
			if !accepted {
				o.Name = "\x00refused" // keeps its index
			} else if kind == Override {
				var hid []ModuleID
				for _, p := range st {
					if p.Kind == Refinement {
						hid = append([]ModuleID{p.Module}, hid...)
					}
				}
				if hid != nil {
					out.hidden = append(out.hidden, Hidden{o.Name, r.ID, hid})
				}
			}
			mod.req.Offers = append(mod.req.Offers, o)
		}
	}
	next.settle(nil)
	for _, e := range earlies {
		why := "nothing to refine: no module provides it"
		if p := next.current(e.name); next.provided(e.name) {
			why = "nothing to refine yet: module " + next.name(p.Module) + ", which provides it, comes later in the command"
		} else if p.Module != 0 {
			why = "nothing to refine: module " + next.name(p.Module) + ", which provides it, is being unloaded"
		}
		out.reasons = append(out.reasons, fmt.Sprintf("conflict: %s: %q: %s", e.r, e.name, why))
	}
	next.bind(reqs, keep, refused, &out)
	out.tidy()
	return next, out
}

// bind binds the needs of the modules that have just pushed.
func (m model) bind(reqs []Request, keep bool, refused map[string]bool, out *outcome) {
	for _, r := range reqs {
		mod := m.find(r.ID)
		for _, q := range r.Requires {
			if o := m.find(q); o == nil {
				out.reasons = append(out.reasons, fmt.Sprintf("not found: %s: the required module with id %d is not there", r.File, q))
			} else if o.kept {
				out.reasons = append(out.reasons, fmt.Sprintf("busy: %s: the required module %s is being unloaded", r.File, o.req.Name))
			}
		}
		for _, nd := range r.Needs {
			strong := slices.Contains(r.Needs, Need{Name: nd.Name})
			p := m.current(nd.Name)
			switch keep := keep && p.Module == 0; {
			case m.live(p) && p.Class == Data:
				mod.bound[nd.Name] = p.Module
			case m.live(p):
				mod.bound[nd.Name] = 0
			case refused[nd.Name]:
			case nd.Weak && (!keep || !strong):
				out.absent = append(out.absent, Missing{r.ID, nd.Name})
			case keep:
				mod.bound[nd.Name] = 0
			default:
				out.missing = append(out.missing, Missing{r.ID, nd.Name})
			}
		}
	}
}

func (o *outcome) tidy() {
	slices.Sort(o.reasons)
	o.reasons = slices.Compact(o.reasons)
	for _, l := range []*[]Missing{&o.missing, &o.absent} {
		sort.Slice(*l, func(i, j int) bool {
			a, b := (*l)[i], (*l)[j]
			return a.Module < b.Module || a.Module == b.Module && a.Name < b.Name
		})
		*l = slices.Compact(*l)
	}
	sort.Slice(o.hidden, func(i, j int) bool { return o.hidden[i].Name < o.hidden[j].Name })
}

// list writes module names as messages do.
func (m model) list(ids []ModuleID) string {
	word := "module "
	if len(ids) > 1 {
		word = "modules "
	}
	return word + m.join(ids, m.label)
}

func (m model) joined(ids []ModuleID) string { return m.join(ids, m.name) }

func (m model) join(ids []ModuleID, name func(ModuleID) string) string {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b ModuleID) int { return strings.Compare(m.name(a), m.name(b)) })
	var names []string
	for _, id := range ids {
		names = append(names, name(id))
	}
	return strings.Join(names, ", ")
}

// step returns the model after one of the verbs unload, leave, forget and return.
func (m model) step(verb string, ids []ModuleID) (model, outcome) {
	var out outcome
	var subjects []ModuleID
	reason := func(format string, args ...any) { out.reasons = append(out.reasons, fmt.Sprintf(format, args...)) }
	fromKept := verb == "forget" || verb == "return"
	for _, id := range ids {
		switch mod := m.find(id); {
		case mod == nil:
			reason("not found: there is no module with id %d", id)
		case slices.Contains(subjects, id):
			reason("not found: %s: the module is named twice in one command", m.name(id))
		case mod.kept && !fromKept:
			reason("busy: %s: the module is being unloaded already", m.name(id))
		case !mod.kept && fromKept:
			reason("not found: %s: the module is not being unloaded", m.name(id))
		default:
			subjects = append(subjects, id)
		}
	}
	next := m.clone()
	all := next.mods
	next.mods = nil
	for _, mod := range all {
		is := slices.Contains(subjects, mod.req.ID)
		if !is || verb == "leave" || verb == "return" {
			mod.kept = is && verb == "leave" || !is && mod.kept
			next.mods = append(next.mods, mod)
		}
	}
	if verb != "return" {
		m.hold(next, verb, subjects, reason)
	}
	out.tidy()
	if out.reasons == nil {
		next.settle(subjects)
	}
	return next, out
}

// hold gives the reasons for which the subjects must stay.
func (m model) hold(next model, verb string, subjects []ModuleID, reason func(string, ...any)) {
	leaves := func(id ModuleID) bool { return slices.Contains(subjects, id) }
	for _, name := range m.names() {
		before := m.stack(name)
		var own, lost []ModuleID
		for i, p := range before {
			if leaves(p.Module) {
				own = append(own, p.Module)
			} else if leaves(m.layers[modelLayer{p.Module, name}]) {
				rest := slices.DeleteFunc(slices.Clone(before[:i]), func(p Provider) bool { return leaves(p.Module) })
				if verb == "forget" || m.top(rest).Module == 0 {
					lost = append(lost, p.Module)
				}
			}
		}
		if own == nil {
			continue
		}
		if lost != nil && verb == "forget" {
			reason("needed: %s: the refinement of %q in %s still leads there", m.joined(own), name, m.list(lost))
		} else if lost != nil {
			reason("needed: %s: %q would have nothing left below the refinement of %s", m.joined(own), name, m.list(lost))
		}
		left := func(p Provider) bool { return leaves(p.Module) }
		dry := leaves(m.cur[name]) && m.top(slices.DeleteFunc(before, left)).Module == 0
		by := map[ModuleID][]ModuleID{} // whose data is named → by whom; 0 for what is no data
		for _, u := range m.users(name) {
			if d := m.find(u).bound[name]; !leaves(u) && (d == 0 || leaves(d)) {
				if dry {
					d = 0
				}
				by[d] = append(by[d], u)
			}
		}
		if dry && by[0] != nil {
			reason("needed: %s: %q would have no provider left, but is needed by %s", m.joined(own), name, m.list(by[0]))
		}
		delete(by, 0)
		for d, us := range by {
			reason("needed: %s: %q is data that the relocations of %s name", m.name(d), name, m.list(us))
		}
	}
	for _, id := range subjects {
		var by []ModuleID
		for _, r := range m.mods {
			if !leaves(r.req.ID) && slices.Contains(r.req.Requires, id) {
				by = append(by, r.req.ID)
			}
		}
		if by != nil {
			reason("needed: %s: the module is required by %s", m.name(id), m.list(by))
		}
	}
}

// dump renders all that a Table answers, for comparing a table with itself.
func (t *Table) dump() string {
	var b strings.Builder
	for id := range len(t.slots) + 2 {
		s := SlotID(id)
		name, super := t.SlotName(s)
		fmt.Fprintln(&b, s, name, super, t.Current(s), t.Provided(s), t.Stack(s), t.Users(s))
	}
	fmt.Fprintln(&b, t.Names(), t.free)
	var ids []ModuleID
	for id := range t.modules {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		r, _ := t.Module(id)
		fmt.Fprintln(&b, r, t.Kept(id), t.Supers(id))
	}
	return b.String()
}
