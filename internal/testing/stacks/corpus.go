package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

// deck is what a run plays with.
type deck struct {
	machine arch.Machine
	members []*object // of the archive, in its order, with visibility cleared
	plain   [][]byte  // the members as they were
	left    []string  // members left out, and why
	kernel  *module   // of the objects that define data, and the defaults
	mods    []*module // each of the others
	extra   []*module // twins, layers, users, and modules that contradict
}

// readArchive reads the members of an archive.
func readArchive(path string) (*deck, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := elfload.Members(path, raw)
	if err != nil {
		return nil, err
	}
	var members []objbuild.Member
	for _, m := range list {
		if m.IsELF() {
			members = append(members, objbuild.Member{Name: m.Name, Data: m.Data})
		}
	}
	return newDeck(members)
}

// newDeck reads members. A second member of one name is NAME.2.
func newDeck(members []objbuild.Member) (*deck, error) {
	d := &deck{}
	count := map[string]int{}
	for _, m := range members {
		name, _, _ := strings.Cut(m.Name, ".")
		if count[name]++; count[name] > 1 {
			name = fmt.Sprintf("%s.%d", name, count[name])
		}
		open, err := clearVisibility(m.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		o, err := readObject(name+fileSuffix, open)
		if err != nil {
			d.left = append(d.left, err.Error())
			continue
		}
		d.machine = o.machine
		d.members = append(d.members, o)
		d.plain = append(d.plain, m.Data)
	}
	return d, nil
}

// givesData says that an object defines data that others could name.
func (o *object) givesData() bool {
	return slices.ContainsFunc(o.defs, func(d definition) bool { return d.data })
}

// split makes modules of the members: those that define data, one module, and the others, one each.
func (d *deck) split() (data []*object, mods []*module, err error) {
	for _, o := range d.members {
		if o.givesData() {
			data = append(data, o)
			continue
		}
		m, err := newModule(strings.TrimSuffix(o.file, fileSuffix), o)
		if err != nil {
			return nil, nil, err
		}
		mods = append(mods, m)
	}
	return data, mods, nil
}

// outside lists the names that members need and none gives, functions and data.
func (d *deck) outside() (functions, data []string) {
	given, called, needed := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, o := range d.members {
		for _, def := range o.defs {
			given[def.name] = true
		}
		for _, r := range o.refs {
			called[r.name] = called[r.name] || r.shape.branches()
		}
		for _, u := range o.undefs {
			needed[u.name] = needed[u.name] || !u.weak
		}
	}
	for _, s := range slices.Sorted(maps.Keys(needed)) {
		switch {
		case given[s] || !needed[s]:
		case called[s]:
			functions = append(functions, s)
		default:
			data = append(data, s)
		}
	}
	return functions, data
}

// deal makes the kernel and the other modules. holes of 100 functions have no default in
// the kernel, as far as the kernel does without. The rest follows from the seed.
func (d *deck) deal(rng *rand.Rand, holes int) error {
	objs, mods, err := d.split()
	if err != nil {
		return err
	}
	d.mods = mods
	functions, data := d.outside()
	own := map[string]bool{} // what the kernel's objects need or give
	given := map[string]bool{}
	for _, o := range objs {
		for _, u := range o.undefs {
			own[u.name] = true
		}
		for _, def := range o.defs {
			given[def.name] = true
			if def.data {
				data = append(data, def.name)
			}
		}
	}
	for _, m := range mods {
		for _, s := range slices.Sorted(maps.Keys(m.offers)) {
			if own[s] || rng.IntN(100) >= holes {
				functions = append(functions, s)
			}
		}
	}
	slices.Sort(functions)
	slices.Sort(data)
	functions, data = slices.Compact(functions), slices.Compact(data)
	weak, err := defaults(d.machine, functions, slices.DeleteFunc(slices.Clone(data), func(s string) bool { return given[s] }))
	if err != nil {
		return err
	}
	if d.kernel, err = newModule("kernel", append(objs, weak)...); err != nil {
		return err
	}
	return d.dealExtra(rng, objs, functions, data)
}

// layersOf is how many functions get layers, two each, and how many users there are.
const layersOf = 60

// dealExtra makes the modules that the archive does not have.
func (d *deck) dealExtra(rng *rand.Rand, kernel []*object, functions, data []string) error {
	add := func(m *module, err error) error {
		d.extra = append(d.extra, m)
		return err
	}
	twin := func(o *object) error {
		c := *o
		name := strings.TrimSuffix(o.file, fileSuffix) + ".twin"
		c.file = name + fileSuffix
		return add(newModule(name, &c))
	}
	for _, m := range d.mods {
		if err := twin(m.objs[0]); err != nil {
			return err
		}
	}
	for _, o := range kernel {
		if err := twin(o); err != nil {
			return err
		}
	}
	pick := func(from []string, n int) (list []string) {
		for range min(n, len(from)) {
			if s := from[rng.IntN(len(from))]; !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
		return list
	}
	all := slices.Clone(functions)
	for _, m := range d.mods {
		all = append(all, slices.Sorted(maps.Keys(m.offers))...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for i, s := range pick(all, layersOf) {
		for n := range 2 {
			if err := add(layer(d.machine, fmt.Sprintf("layer%d.%d", i, n), s)); err != nil {
				return err
			}
		}
		f, x := pick(all, 1+rng.IntN(4)), pick(data, rng.IntN(3))
		weak := map[string]bool{}
		for _, s := range append(slices.Clone(f), x...) {
			weak[s] = rng.IntN(3) == 0
		}
		weak["nobody"] = true
		if err := add(user(d.machine, fmt.Sprintf("user%d", i), append(f, "nobody"), x, weak)); err != nil {
			return err
		}
		if err := d.dealStore(i, add); err != nil {
			return err
		}
		if i%4 == 0 {
			if err := add(wrong(d.machine, fmt.Sprintf("wrong%d", i), pick(all, rng.IntN(3)), pick(data, 1+rng.IntN(2)), uint8(objbuild.Global+i/4%2))); err != nil {
				return err
			}
		}
	}
	return nil
}

// dealStore makes a module of data that the kernel does not have, one with a weak
// definition of the same, and one that names it.
func (d *deck) dealStore(i int, add func(*module, error) error) error {
	x := fmt.Sprintf("store%d.x", i)
	if err := add(store(d.machine, fmt.Sprintf("store%d", i), x, objbuild.Global)); err != nil {
		return err
	}
	if err := add(store(d.machine, fmt.Sprintf("spare%d", i), x, objbuild.Weak)); err != nil {
		return err
	}
	return add(user(d.machine, fmt.Sprintf("reader%d", i), nil, []string{x}, map[string]bool{x: i%2 == 0}))
}
