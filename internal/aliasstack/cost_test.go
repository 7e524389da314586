package aliasstack

import (
	"fmt"
	"runtime"
	"testing"
)

// loaded returns a Table with n small modules. All need the function "hot" and
// name the data "tab" of the kernel, all provide the default "inline" (as C++
// modules do with COMDAT functions), and each provides a name that the next needs.
func loaded(tb testing.TB, n int) *Table {
	t := New()
	reqs := []Request{{
		ID: 1, Name: "kernel",
		Offers: []Offer{{Name: "hot"}, {Name: "other"}, {Name: "tab", Class: Data}, {Name: "f0"}},
	}}
	for i := 1; i <= n; i++ {
		reqs = append(reqs, Request{
			ID: ModuleID(1 + i), Name: fmt.Sprint("m", i), Requires: []ModuleID{1},
			Offers: []Offer{{Name: "inline"}, {Name: fmt.Sprint("f", i), Kind: Override}},
			Needs:  []Need{{Name: "hot"}, {Name: "tab"}, {Name: "inline"}, {Name: fmt.Sprint("f", i-1)}},
		})
	}
	c, err := t.PlanLoad(reqs, LoadOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	c.Commit()
	return t
}

// small is a module that touches everything that is hot.
func small(id ModuleID) []Request {
	return []Request{{
		ID: id, Name: "small", Requires: []ModuleID{1}, Supers: []string{"hot"},
		Offers: []Offer{{Name: "inline"}, {Name: "hot", Kind: Refinement}, {Name: "tab", Class: Data}, {Name: "own"}},
		Needs:  []Need{{Name: "hot"}, {Name: "tab"}, {Name: "inline"}, {Name: "other"}, {Name: "nobody", Weak: true}},
	}}
}

// cycle loads the small module, lets it leave, return and leave again, and forgets it;
// and unloads it in one step.
func cycle(tb testing.TB, t *Table, id ModuleID) {
	ids := []ModuleID{id}
	for _, plan := range []func() (*Change, error){
		func() (*Change, error) { return t.PlanLoad(small(id), LoadOptions{}) },
		func() (*Change, error) { return t.PlanLeave(ids) },
		func() (*Change, error) { return t.PlanReturn(ids) },
		func() (*Change, error) { return t.PlanLeave(ids) },
		func() (*Change, error) { return t.PlanForget(ids) },
		func() (*Change, error) { return t.PlanLoad(small(id), LoadOptions{}) },
		func() (*Change, error) { return t.PlanUnload(ids) },
	} {
		c, err := plan()
		if err != nil {
			tb.Fatal(err)
		}
		c.Moves()
		c.Commit()
	}
}

// TestCostIsTheModules: loading a small module and every step of unloading it allocate the same
// with 10 or 10,000 modules loaded; a copy of a stack or of a set of users, or a
// list of either, would show.
func TestCostIsTheModules(t *testing.T) {
	bytes := func(n int) uint64 {
		const cycles = 100
		tab := loaded(t, n)
		cycle(t, tab, ModuleID(n+2)) // what grows once has grown
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range cycles {
			cycle(t, tab, ModuleID(n+3+i))
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / cycles
	}
	few, many := bytes(10), bytes(10_000)
	if many > 2*few {
		t.Errorf("%d bytes with 10 modules, %d with 10,000", few, many)
	}
}

func BenchmarkSmallModule(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tab, id := loaded(b, n), ModuleID(n+2)
			b.ReportAllocs()
			for b.Loop() {
				id++
				cycle(b, tab, id)
			}
		})
	}
}

// batch is like the modules of a distribution's kernel: 1,100 modules with 25
// offers and 136 needs each, most of them of a few hundred names of the kernel.
func batch() []Request {
	const modules, offers, needs, kernel = 1_100, 25, 136, 12_000
	reqs := make([]Request, 1, modules+1)
	reqs[0] = Request{ID: 1, Name: "kernel"}
	for i := range kernel {
		o := Offer{Name: fmt.Sprintf("kernel_function_%d", i)}
		if i%20 == 0 {
			o.Class = Data
		}
		reqs[0].Offers = append(reqs[0].Offers, o)
	}
	for m := range modules {
		r := Request{ID: ModuleID(m + 2), Name: fmt.Sprint("m", m)}
		for i := range offers {
			r.Offers = append(r.Offers, Offer{Name: fmt.Sprintf("module_%d_function_%d", m, i), Kind: Override})
		}
		for i := range needs {
			name := fmt.Sprintf("kernel_function_%d", (i*i*i+m*(i/100)*7)%kernel)
			if i%8 == 0 {
				name = fmt.Sprintf("module_%d_function_%d", (m+i)%modules, i%offers)
			}
			r.Needs = append(r.Needs, Need{Name: name})
		}
		reqs = append(reqs, r)
	}
	return reqs
}

func BenchmarkBatch(b *testing.B) {
	reqs := batch()
	for _, commit := range []bool{false, true} {
		b.Run(map[bool]string{false: "plan", true: "plan+moves+commit"}[commit], func(b *testing.B) {
			for b.Loop() {
				c, err := New().PlanLoad(reqs, LoadOptions{})
				if err != nil || len(c.Missing()) > 0 {
					b.Fatal(err, len(c.Missing()))
				}
				if commit {
					c.Commit()
				}
			}
		})
	}
}

func BenchmarkBatchUnload(b *testing.B) {
	t := New()
	c, err := t.PlanLoad(batch(), LoadOptions{})
	if err != nil {
		b.Fatal(err)
	}
	c.Commit()
	var ids []ModuleID
	for id := range ModuleID(1_100) {
		ids = append(ids, id+2)
	}
	for b.Loop() {
		if _, err := t.PlanUnload(ids); err != nil {
			b.Fatal(err)
		}
	}
}
