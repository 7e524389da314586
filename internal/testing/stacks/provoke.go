package main

import (
	"fmt"
	"slices"
	"strings"
)

// Refusals that chance alone would seldom bring about.

// provoke tries one, if what is loaded allows for it.
func (d *driver) provoke() error {
	switch d.rng.IntN(5) {
	case 0, 1:
		return d.provokeData()
	case 2: // data where there is data, or where there are functions, and the reverse
		wrong := slices.DeleteFunc(d.absentOnes(d.extra, len(d.extra)), func(m *module) bool {
			twin := strings.HasSuffix(m.name, ".twin") && m.objs[0].givesData()
			return !strings.HasPrefix(m.name, "wrong") && !twin
		})
		if len(wrong) == 0 {
			return nil
		}
		return d.load(wrong[:1], true)
	}
	layers := slices.DeleteFunc(d.absentOnes(d.extra, len(d.extra)), func(m *module) bool { return !strings.HasPrefix(m.name, "layer") })
	for _, l := range layers {
		symbol := l.refines()
		list := stack(d.world.mods, symbol)
		i := slices.IndexFunc(d.mods, func(m *module) bool { return m.gives(symbol) })
		switch {
		case len(list) == 0 && (i < 0 || d.rng.IntN(2) == 0): // nothing to refine
			return d.load([]*module{l}, true)
		case len(list) == 0: // or not yet
			return d.load([]*module{l, d.mods[i]}, true)
		case len(list) == 1 && list[0].by != d.kernel: // its only provider leaves
			if err := d.load([]*module{l}, false); err != nil {
				return err
			}
			return d.unload([]*module{list[0].by}, true)
		}
	}
	return nil
}

// refines returns the symbol of a layer.
func (m *module) refines() string {
	for s, of := range m.offers {
		if of.kind == isRefinement {
			return s
		}
	}
	return ""
}

// provokeData lets a module leave whose data somebody names, though another gives it too.
func (d *driver) provokeData() error {
	find := func(name string) *module {
		i := slices.IndexFunc(d.extra, func(m *module) bool { return m.name == name })
		if i < 0 {
			return nil
		}
		return d.extra[i]
	}
	n := d.rng.IntN(layersOf)
	var batch []*module
	for _, name := range []string{"store", "spare", "reader"} {
		m := find(fmt.Sprintf("%s%d", name, n))
		if m == nil || slices.Contains(d.world.mods, m) {
			return nil
		}
		batch = append(batch, m)
	}
	if err := d.load(batch, true); err != nil {
		return err
	}
	return d.unload(batch[:1], true)
}
