package kernel

import (
	"slices"

	"klink/internal/link"
)

// What modules say of themselves in their MODULE records: their names, and which other
// modules they require.

// nameOf returns the name of a module: --as, else that of its MODULE record, else its
// first file's base name without the last suffix.
func nameOf(spec ModuleSpec, lm *link.Module) string {
	if info := lm.Info(); spec.As == "" && info != nil {
		return info.Name
	}
	return moduleName(spec)
}

// required lists the modules that a module's MODULE record requires.
func (m *module) required() []string {
	if info := m.lm.Info(); info != nil {
		return info.Required
	}
	return nil
}

// initOrder returns the modules of one command in the order in which they are to be
// initialised: after those that they require, and after those that alone in the command
// provide a name they need; apart from that as the command has them. Modules that need
// one another in a circle go by what they require, and those that require one another
// in a circle as the command has them.
func initOrder(fresh []*module) []*module {
	needs := providersNeeded(fresh)
	requires := make([][]int, len(fresh))
	index := make(map[string]int, len(fresh))
	for i, m := range fresh {
		index[m.name] = i
	}
	for i, m := range fresh {
		for _, name := range m.required() {
			if j, ok := index[name]; ok {
				requires[i] = append(requires[i], j)
			}
		}
		needs[i] = append(needs[i], requires[i]...)
	}
	var order []*module
	for _, circle := range circles(len(fresh), needs, nil) {
		for _, c := range circles(len(fresh), requires, circle) {
			for _, i := range c {
				order = append(order, fresh[i])
			}
		}
	}
	return order
}

// providersNeeded lists for each module those that alone in the list provide a name
// which it needs.
func providersNeeded(fresh []*module) [][]int {
	const several = -1
	provider := map[string]int{}
	for i, m := range fresh {
		for _, id := range m.lm.Offers() {
			name := m.lm.Names[id].Name
			if _, ok := provider[name]; ok {
				provider[name] = several
			} else {
				provider[name] = i
			}
		}
	}
	needs := make([][]int, len(fresh))
	for i, m := range fresh {
		for n := range m.lm.Names {
			name := &m.lm.Names[n]
			if name.Uses == 0 || name.Bind != link.Stack || name.Defined() || weakly(name) {
				continue
			}
			if j, ok := provider[name.Name]; ok && j != several {
				needs[i] = append(needs[i], j)
			}
		}
	}
	return needs
}

// circles splits the numbers of members, or with nil all below n, into those that lead to one
// another in a circle by way of edges among them; most stand alone. What a circle leads to
// comes before it; apart from that they, and the numbers in each, keep the order of
// members, which is ascending. (Tarjan's strongly connected components.)
func circles(n int, edges [][]int, members []int) [][]int {
	in := make([]bool, n)
	if members == nil {
		for i := range n {
			members = append(members, i)
		}
	}
	for _, i := range members {
		in[i] = true
	}
	if len(members) == 1 {
		return [][]int{members}
	}
	var (
		all   [][]int
		stack []int
		seen  = make([]int, n) // when a number was reached, from 1 on
		low   = make([]int, n) // the earliest that it leads back to
		open  = make([]bool, n)
		clock int
		visit func(i int)
	)
	visit = func(i int) {
		clock++
		seen[i], low[i], open[i] = clock, clock, true
		at := len(stack)
		stack = append(stack, i)
		next := slices.Clone(edges[i])
		slices.Sort(next)
		for _, j := range slices.Compact(next) {
			switch {
			case !in[j]:
			case seen[j] == 0:
				visit(j)
				low[i] = min(low[i], low[j])
			case open[j]:
				low[i] = min(low[i], seen[j])
			}
		}
		if low[i] < seen[i] {
			return
		}
		circle := slices.Clone(stack[at:])
		stack = stack[:at]
		for _, j := range circle {
			open[j] = false
		}
		slices.Sort(circle)
		all = append(all, circle)
	}
	for _, i := range members {
		if seen[i] == 0 {
			visit(i)
		}
	}
	return all
}
