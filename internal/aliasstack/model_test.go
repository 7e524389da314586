package aliasstack

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// model is what Table must be, written as naively as possible: the modules in
// order of arrival. Everything else is worked out from that list on every question.
type model struct {
	mods []*modelModule
}

type modelModule struct {
	req   Request
	bound map[string]ModuleID // names it refers to → the module whose data was meant, else 0
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

func (m model) current(name string) Provider {
	if st := m.stack(name); len(st) > 0 {
		return st[len(st)-1]
	}
	return Provider{}
}

func (m model) below(id ModuleID, name string) Provider {
	st := m.stack(name)
	for i, p := range st {
		if p.Module == id && i > 0 {
			return st[i-1]
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

func (m model) label(id ModuleID) string { return m.find(id).req.Name }

// outcome is what a plan says.
type outcome struct {
	reasons         []string
	missing, absent []Missing
	hidden          []Hidden
}

// load returns the model afterwards.
func (m model) load(reqs []Request, keep bool) (model, outcome) {
	var out outcome
	next := model{mods: slices.Clone(m.mods)}
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
			top := next.current(o.Name)
			over := slices.IndexFunc(st, func(p Provider) bool { return p.Kind == Override })
			accepted := false
			switch {
			case seen[o.Name]:
				out.reasons = append(out.reasons, fmt.Sprintf("duplicate definition: %s: %q is provided twice by one module", r.File, o.Name))
			case len(st) == 0 && kind == Refinement:
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
	for _, e := range earlies {
		why := "nothing to refine: no module provides it"
		if p := next.current(e.name); p.Module != 0 {
			why = "nothing to refine yet: module " + next.label(p.Module) + ", which provides it, comes later in the command"
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
			if m.find(q) == nil {
				out.reasons = append(out.reasons, fmt.Sprintf("not found: %s: the required module with id %d is not there", r.File, q))
			}
		}
		for _, nd := range r.Needs {
			strong := slices.Contains(r.Needs, Need{Name: nd.Name})
			p := m.current(nd.Name)
			switch {
			case p.Module != 0 && p.Class == Data:
				mod.bound[nd.Name] = p.Module
			case p.Module != 0:
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
	return word + m.joined(ids)
}

func (m model) joined(ids []ModuleID) string {
	var names []string
	for _, id := range ids {
		names = append(names, m.label(id))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// unload returns the model afterwards.
func (m model) unload(ids []ModuleID) (model, outcome) {
	var out outcome
	var next model
	leaves := func(id ModuleID) bool { return slices.Contains(ids, id) }
	for _, mod := range m.mods {
		if !leaves(mod.req.ID) {
			next.mods = append(next.mods, mod)
		}
	}
	for i, id := range ids {
		if m.find(id) == nil {
			out.reasons = append(out.reasons, fmt.Sprintf("not found: there is no module with id %d", id))
		} else if slices.Contains(ids[:i], id) {
			out.reasons = append(out.reasons, fmt.Sprintf("not found: %s: the module is named twice in one command", m.label(id)))
		}
	}
	for _, name := range m.names() {
		before, after := m.stack(name), next.stack(name)
		var gone []ModuleID
		for _, p := range before {
			if leaves(p.Module) {
				gone = append(gone, p.Module)
			}
		}
		if gone == nil {
			continue
		}
		users := next.users(name)
		if len(after) == 0 {
			if len(users) > 0 {
				out.reasons = append(out.reasons, fmt.Sprintf("needed: %s: %q would have no provider left, but is needed by %s", m.joined(gone), name, m.list(users)))
			}
			continue
		}
		if after[0].Kind == Refinement {
			out.reasons = append(out.reasons, fmt.Sprintf("needed: %s: %q would have nothing left below the refinement of module %s", m.joined(gone), name, m.label(after[0].Module)))
		}
		for _, g := range gone {
			var by []ModuleID
			for _, u := range users {
				if next.find(u).bound[name] == g {
					by = append(by, u)
				}
			}
			if by != nil {
				out.reasons = append(out.reasons, fmt.Sprintf("needed: %s: %q is data that the relocations of %s name", m.label(g), name, m.list(by)))
			}
		}
	}
	for _, mod := range m.mods {
		var by []ModuleID
		for _, r := range next.mods {
			if leaves(mod.req.ID) && slices.Contains(r.req.Requires, mod.req.ID) {
				by = append(by, r.req.ID)
			}
		}
		if by != nil {
			out.reasons = append(out.reasons, fmt.Sprintf("needed: %s: the module is required by %s", mod.req.Name, m.list(by)))
		}
	}
	out.tidy()
	return next, out
}

// dump renders all that a Table answers, for comparing a table with itself.
func (t *Table) dump() string {
	var b strings.Builder
	for id := range len(t.slots) + 2 {
		s := SlotID(id)
		name, super := t.SlotName(s)
		fmt.Fprintln(&b, s, name, super, t.Current(s), t.Stack(s), t.Users(s))
	}
	fmt.Fprintln(&b, t.Names(), t.free)
	var ids []ModuleID
	for id := range t.modules {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		r, _ := t.Module(id)
		fmt.Fprintln(&b, r, t.Supers(id))
	}
	return b.String()
}
