package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/insn"

	"pgregory.net/rapid"
)

// The model: the modules that are there, in the order in which they came. Who
// provides what is worked out from scratch whenever it is asked, by the rules for
// pushing; nothing is kept but what a load decides for good (which weak names were
// absent, whose data was named) and the entries seen so far.

// resident is one loaded module in the model.
type resident struct {
	*toy
	text, data uint64
	absent     map[string]bool
	named      map[string]*resident // data: whose object the relocations name
}

// provision is one provider in a stack of the model.
type provision struct {
	by   *resident
	kind aliasstack.Kind
	data bool
}

type world struct {
	*bench
	rt      *rapid.T
	mods    []*resident
	entries map[string]uint64 // by "f", or "m:super_f"
}

// kindOf says how a toy gives a symbol.
func (y *toy) kindOf(g give) aliasstack.Kind {
	switch {
	case slices.ContainsFunc(y.uses, func(u use) bool { return u.symbol == "super_"+g.symbol }):
		return aliasstack.Refinement
	case g.weak:
		return aliasstack.Default
	}
	return aliasstack.Override
}

// stack returns the providers of a symbol, bottom to top.
func stack(mods []*resident, symbol string) (list []provision) {
	for _, m := range mods {
		for _, g := range m.gives {
			switch p := (provision{m, m.kindOf(g), g.data}); {
			case g.symbol != symbol:
			case p.kind == aliasstack.Default:
				list = slices.Insert(list, 0, p)
			default:
				list = append(list, p)
			}
		}
	}
	return list
}

// pushable says that m may push what it gives onto what is there.
func pushable(mods []*resident, m *resident) bool {
	for _, g := range m.gives {
		list, kind := stack(mods, g.symbol), m.kindOf(g)
		overridden := slices.ContainsFunc(list, func(p provision) bool { return p.kind == aliasstack.Override })
		switch {
		case len(list) == 0 && kind == aliasstack.Refinement,
			len(list) > 0 && list[0].data != g.data,
			len(list) > 0 && g.data && kind != aliasstack.Default,
			kind == aliasstack.Override && overridden:
			return false
		}
	}
	return true
}

func top(mods []*resident, symbol string) *resident {
	if s := stack(mods, symbol); len(s) > 0 {
		return s[len(s)-1].by
	}
	return nil
}

// follows returns whose definition a reference of m leads to, and of what.
func follows(mods []*resident, m *resident, symbol string) (*resident, string) {
	s, super := strings.CutPrefix(symbol, "super_")
	if !super {
		return top(mods, s), s
	}
	list := stack(mods, s)
	for i, p := range list {
		if p.by == m {
			return list[i-1].by, s
		}
	}
	panic(symbol + " of a module that does not give " + s)
}

// address returns where the definition of a symbol by m is.
func (m *resident) address(symbol string) uint64 {
	off, data := m.at(symbol)
	if data {
		return m.data + off
	}
	return m.text + off
}

// loadable says whether the rules let the batch in behind what is there.
func (w *world) loadable(batch []*resident) bool {
	all := append(slices.Clone(w.mods), batch...)
	ok := true
	for i, m := range all {
		ok = ok && !slices.ContainsFunc(all[:i], func(o *resident) bool { return o.name == m.name })
		ok = ok && (i < len(w.mods) || pushable(all[:i], m))
	}
	for _, m := range batch {
		m.absent, m.named = map[string]bool{}, map[string]*resident{}
		for _, u := range m.uses {
			if strings.HasPrefix(u.symbol, "super_") {
				continue
			}
			switch by := top(all, u.symbol); {
			case by == nil && m.weakly(u.symbol):
				m.absent[u.symbol] = true
			case by == nil:
				ok = false
			default:
				if s := stack(all, u.symbol); s[0].data {
					m.named[u.symbol] = by
				}
			}
		}
	}
	return ok
}

// refers says that m has a reference to a symbol that counts.
func (m *resident) refers(symbol string) bool {
	return !m.absent[symbol] && slices.ContainsFunc(m.uses, func(u use) bool { return u.symbol == symbol })
}

// unloadable says whether the rules let the modules go, and who stays.
func (w *world) unloadable(leaving []*resident) (stay []*resident, ok bool) {
	stay = slices.DeleteFunc(slices.Clone(w.mods), func(m *resident) bool { return slices.Contains(leaving, m) })
	ok = true
	for _, symbol := range symbols {
		before := stack(w.mods, symbol)
		after := slices.DeleteFunc(slices.Clone(before), func(p provision) bool { return slices.Contains(leaving, p.by) })
		if len(after) == len(before) {
			continue
		}
		if len(after) > 0 && after[0].kind == aliasstack.Refinement {
			ok = false
		}
		for _, m := range stay {
			if len(after) == 0 && m.refers(symbol) || slices.Contains(leaving, m.named[symbol]) {
				ok = false
			}
		}
	}
	return stay, ok
}

var (
	functions = []string{"f0", "f1", "f2", "f3"}
	objects   = []string{"x0", "x1"}
	symbols   = append(slices.Clone(functions), objects...)
)

// oneIn is true in one of n draws, about.
func oneIn(t *rapid.T, n int) bool { return rapid.IntRange(0, n-1).Draw(t, "oneIn") == n-1 }

// draw makes a module. Mostly it obeys the rules, else nothing would ever load.
func (w *world) draw(t *rapid.T, name string, before []*resident) *resident {
	y := &toy{name: name}
	for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom(symbols), 0, 3, rapid.ID[string]).Draw(t, "gives") {
		g := give{symbol: s, data: s[0] == 'x', weak: rapid.Bool().Draw(t, "weak")}
		list := stack(before, s)
		if len(list) > 0 && oneIn(t, 20) {
			g.data = !g.data // refused
		}
		if g.data && len(list) > 0 && !oneIn(t, 10) {
			g.weak = true
		}
		if !g.data && len(list) > 0 && rapid.Bool().Draw(t, "layer") || !g.data && oneIn(t, 20) {
			for range rapid.IntRange(1, 2).Draw(t, "supers") {
				y.uses = append(y.uses, use{symbol: "super_" + s, how: how(rapid.IntRange(0, int(hows)-1).Draw(t, "how"))})
			}
		} else if !g.data && len(list) > 0 && !oneIn(t, 3) {
			g.weak = true
		}
		y.gives = append(y.gives, g)
	}
	for range rapid.IntRange(0, 5).Draw(t, "uses") {
		u := use{symbol: rapid.SampledFrom(symbols).Draw(t, "symbol"), weak: rapid.Bool().Draw(t, "weakly")}
		if top(before, u.symbol) == nil && !oneIn(t, 4) {
			u.weak = true
		}
		if u.symbol[0] == 'x' {
			u.how = how(rapid.IntRange(int(lea), int(hows)-1).Draw(t, "address"))
		} else {
			u.how = how(rapid.IntRange(0, int(hows)-1).Draw(t, "how"))
		}
		y.uses = append(y.uses, u)
	}
	return &resident{toy: y}
}

func (w *world) load(t *rapid.T) {
	var batch []*resident
	var r LoadRequest
	w.files = 0 // what was loaded is in memory
	for range rapid.IntRange(1, 3).Draw(t, "modules") {
		m := w.draw(t, fmt.Sprintf("m%d", rapid.IntRange(0, 9).Draw(t, "name")), append(slices.Clone(w.mods), batch...))
		batch = append(batch, m)
		r.Modules = append(r.Modules, w.spec(m.toy))
	}
	ok := w.loadable(batch)
	before := w.snapshot()
	check := func(*Change, error) {}
	if r.DryRun = rapid.Bool().Draw(t, "dry"); r.DryRun {
		plan, planErr := w.Load(t.Context(), r)
		w.same(t, before, "a dry run")
		check = func(c *Change, err error) { w.alike(t, plan, planErr, c, err) }
	}
	r.DryRun = false
	c, err := w.Load(t.Context(), r)
	if (err == nil) != ok {
		t.Fatalf("load of %v: %v; the model says %v", batch, err, ok)
	}
	check(c, err)
	if !ok {
		w.same(t, before, "a refused load")
		return
	}
	old := w.mods
	w.mods = append(slices.Clone(w.mods), batch...)
	for i, m := range batch {
		m.text, m.data = uint64(c.Loaded[i].Text.Addr), uint64(c.Loaded[i].Data.Addr)
	}
	changed := w.changedSites(before)
	if c.Sites != changed {
		t.Errorf("the load says that it moved %d sites, but it moved %d", c.Sites, changed)
	}
	w.checkMoves(t, c, old, w.mods)
}

func (w *world) unload(t *rapid.T) {
	if len(w.mods) == 0 {
		return // nothing is loaded
	}
	leaving := rapid.SliceOfNDistinct(rapid.SampledFrom(w.mods), 1, 3, func(m *resident) string { return m.name }).Draw(t, "leaving")
	r := UnloadRequest{}
	for _, m := range leaving {
		r.Modules = append(r.Modules, m.name)
	}
	stay, ok := w.unloadable(leaving)
	if slices.Contains(r.Modules, KernelName) {
		ok = false
	}
	if oneIn(t, 15) {
		r.Modules, ok = append(r.Modules, rapid.SampledFrom([]string{"nobody", leaving[0].name}).Draw(t, "odd")), false
	}
	before := w.snapshot()
	check := func(*Change, error) {}
	if r.DryRun = rapid.Bool().Draw(t, "dry"); r.DryRun {
		plan, planErr := w.Unload(t.Context(), r)
		w.same(t, before, "a dry run")
		check = func(c *Change, err error) { w.alike(t, plan, planErr, c, err) }
	}
	r.DryRun = false
	c, err := w.Unload(t.Context(), r)
	if (err == nil) != ok {
		t.Fatalf("unload of %v: %v; the model says %v", r.Modules, err, ok)
	}
	check(c, err)
	if !ok {
		w.same(t, before, "a refused unload")
		return
	}
	old := w.mods
	w.mods = stay
	for _, m := range leaving {
		for _, u := range m.uses {
			delete(w.entries, m.name+":"+u.symbol)
		}
	}
	for _, m := range c.Unloaded {
		if !traps(w.machine, w.bytes(uint64(m.Text.Addr), m.Text.Size)) {
			t.Errorf("the text of %s is not all traps", m.Name)
		}
		for _, s := range []SpanInfo{m.Tables, m.Data} {
			if s.Size > 0 && strings.Trim(string(w.bytes(uint64(s.Addr), s.Size)), "\x00") != "" {
				t.Errorf("the tables and data of %s are not all zero", m.Name)
			}
		}
	}
	w.checkMoves(t, c, old, stay)
}

// same fails if anything differs from before.
func (w *world) same(t *rapid.T, before *snapshot, after string) {
	if d := diff(before, w.snapshot()); d != "" {
		t.Fatalf("%s changed something:\n%s", after, d)
	}
}

// alike fails if a dry run said something else than the real run.
func (w *world) alike(t *rapid.T, plan *Change, planErr error, c *Change, err error) {
	if fmt.Sprint(planErr) != fmt.Sprint(err) {
		t.Errorf("the dry run said %v, the real run %v", planErr, err)
	}
	if d := diff(unplaced(plan), unplaced(c)); d != "" {
		t.Errorf("the dry run's report differs:\n%s", d)
	}
}

// changedSites counts the sites of before, entries left out, that lead elsewhere now.
func (w *world) changedSites(before *snapshot) (n int) {
	for _, s := range before.Sites {
		if s.Module == "" {
			continue
		}
		form := insn.Jmp32
		for f := insn.NoForm; f.Len() > 0 || f == insn.NoForm; f++ {
			if f.Machine() == w.machine && f.String() == s.Form {
				if _, ok := f.Target(w.bytes(uint64(s.Addr), 16), uint64(s.Addr)); ok {
					form = f
				}
			}
		}
		to, _ := form.Target(w.bytes(uint64(s.Addr), 16), uint64(s.Addr))
		if Addr(to) != s.Target {
			n++
		}
	}
	return n
}

// checkMoves compares the moves of plain symbols with the model before and after.
func (w *world) checkMoves(t *rapid.T, c *Change, before, after []*resident) {
	got := map[string]string{}
	for _, mv := range c.Moves {
		if mv.Of == "" {
			got[mv.Symbol] = mv.From + " → " + mv.To
		}
	}
	want := map[string]string{}
	for _, s := range symbols {
		from, to := "", ""
		if m := top(before, s); m != nil {
			from = m.name
		}
		if m := top(after, s); m != nil {
			to = m.name
		}
		_, entry := w.entries[s]
		if from != to && (from != "" || entry) {
			want[s] = from + " → " + to
		}
	}
	if d := diff(want, got); d != "" {
		t.Errorf("moves:\n%s", d)
	}
}

func TestAgainstModel(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		t.Parallel()
		dir := t.TempDir()
		rapid.Check(t, func(rt *rapid.T) {
			k, err := New(Config{Bare: true, Machine: m, ArenaBase: 0x20000000, ArenaSize: 4 << 20})
			if err != nil {
				rt.Fatal(err)
			}
			defer k.Close()
			w := &world{bench: &bench{TB: t, Kernel: k, machine: m, dir: dir}, rt: rt, entries: map[string]uint64{}}
			w.boot(rt)
			rt.Repeat(map[string]func(*rapid.T){"load": w.load, "load2": w.load, "unload": w.unload, "": w.check})
		})
	})
}

// boot loads a kernel of defaults.
func (w *world) boot(t *rapid.T) {
	m := &resident{toy: &toy{name: KernelName}}
	for _, s := range functions[:rapid.IntRange(0, len(functions)).Draw(t, "kernel")] {
		m.gives = append(m.gives, give{symbol: s, weak: true})
		m.uses = append(m.uses, use{symbol: s, how: call}, use{symbol: s, how: pointer})
	}
	w.loadable([]*resident{m})
	c, err := w.Boot(t.Context(), []ModuleSpec{w.spec(m.toy)})
	if err != nil {
		t.Fatal(err)
	}
	m.text, m.data = uint64(c.Loaded[0].Text.Addr), uint64(c.Loaded[0].Data.Addr)
	w.mods = []*resident{m}
}
