package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// driver loads and unloads at random.
type driver struct {
	*host
	*deck
	rng *rand.Rand
}

// phase is how many steps the driver mostly loads, then mostly unloads.
const phase = 60

// run does so many steps, then unloads everything, and sees that nothing is left.
func (d *driver) run(steps int) error {
	if err := d.boot(d.kernel); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	booted := d.mem
	for i := range steps {
		grow := 80
		if i/phase%2 == 1 {
			grow = 25
		}
		var err error
		switch {
		case d.rng.IntN(6) == 0:
			err = d.provoke()
		case d.rng.IntN(100) < grow || len(d.world.mods) < 2:
			err = d.loadSome(i)
		default:
			err = d.unloadSome()
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	if rest := slices.Clone(d.world.mods[1:]); len(rest) > 0 {
		if err := d.unload(rest, true); err != nil {
			return fmt.Errorf("the last unload: %w", err)
		}
	}
	return d.cleared(booted)
}

// size is of one command: mostly one, seldom many.
func (d *driver) size() int {
	switch d.rng.IntN(8) {
	case 0, 1, 2, 3:
		return 1
	case 4, 5:
		return 2 + d.rng.IntN(5)
	case 6:
		return 5 + d.rng.IntN(15)
	}
	return 20 + d.rng.IntN(100)
}

// absentOnes returns modules of a pool that are not loaded, in a random order.
func (d *driver) absentOnes(pool []*module, n int) (list []*module) {
	for _, i := range d.rng.Perm(len(pool)) {
		if len(list) == n {
			break
		}
		if m := pool[i]; !slices.Contains(d.world.mods, m) {
			list = append(list, m)
		}
	}
	return list
}

// loadSome loads modules: those of the archive, in between others.
func (d *driver) loadSome(step int) error {
	n := min(d.size(), 1+len(d.mods)/6)
	batch := d.absentOnes(d.mods, n)
	more := d.absentOnes(d.extra, 1+n/4)
	switch d.rng.IntN(4) {
	case 0:
	case 1:
		batch = more // as it comes, or mended
	default:
		batch = append(batch, more...)
	}
	d.rng.Shuffle(len(batch), func(i, k int) { batch[i], batch[k] = batch[k], batch[i] })
	if len(batch) == 0 {
		return nil
	}
	if d.rng.IntN(3) > 0 {
		batch = d.mend(batch)
	}
	if len(batch) == 0 {
		return nil
	}
	switch d.rng.IntN(40) {
	case 0:
		batch = append(batch, batch[0])
	case 1:
		if len(d.world.mods) > 1 {
			batch = append(batch, d.world.mods[1])
		}
	}
	if err := d.load(batch, d.rng.IntN(6) == 0); err != nil {
		return fmt.Errorf("load of %d modules from %s on, number %d: %w", len(batch), batch[0].name, step, err)
	}
	return nil
}

// mend takes out of a batch what the model refuses, and adds what it misses.
func (d *driver) mend(batch []*module) []*module {
	for range 20 {
		v := d.world.load(batch)
		if len(v) == 0 {
			return batch
		}
		for _, fact := range v {
			f := strings.Split(fact, "|")
			if f[0] == "missing" {
				batch = d.add(batch, f[2])
				continue
			}
			batch = slices.DeleteFunc(batch, func(m *module) bool { return m.name == f[1] })
		}
	}
	return batch
}

// add adds the module of the archive that gives a symbol, if there is one.
func (d *driver) add(batch []*module, symbol string) []*module {
	for _, m := range d.mods {
		if m.gives(symbol) && !slices.Contains(batch, m) && !slices.Contains(d.world.mods, m) {
			return append(batch, m)
		}
	}
	return batch
}

// unloadSome unloads modules: in two of three cases with all who hold them.
func (d *driver) unloadSome() error {
	loaded := d.world.mods[1:]
	var leaving []*module
	for _, i := range d.rng.Perm(len(loaded))[:min(d.size(), 1+len(loaded)/2)] {
		leaving = append(leaving, loaded[i])
	}
	for range d.rng.IntN(3) * 12 {
		_, v := d.world.unload(leaving)
		if len(v) == 0 {
			break
		}
		for _, fact := range v {
			for _, name := range strings.Split(strings.Split(fact, "|")[3], ", ") {
				i := slices.IndexFunc(loaded, func(m *module) bool { return m.name == name })
				if i >= 0 && !slices.Contains(leaving, loaded[i]) {
					leaving = append(leaving, loaded[i])
				}
			}
		}
	}
	if err := d.unload(leaving, d.rng.IntN(6) == 0); err != nil {
		return fmt.Errorf("unload of %d modules, %s first: %w", len(leaving), leaving[0].name, err)
	}
	return nil
}

// entryRoom is what one entry takes, bytes.
const entryRoom = 8

// cleared sees that, all modules gone, memory is what it was after boot, but for entries:
// those stay, leading to the kernel or to a trap.
func (d *driver) cleared(booted *image) error {
	for i, p := range d.mem.parts {
		now, old := slices.Clone(p.bytes), booted.parts[i].bytes
		if i > 0 {
			if string(now) != string(old) {
				return fmt.Errorf("tables or data are not what they were after boot: %s", d.mem.diff(booted))
			}
			continue
		}
		for len(old) < len(now) {
			old = append(old, d.trap()...)
		}
		for _, at := range d.entries {
			if off := at - p.addr; off+entryRoom <= uint64(len(now)) {
				copy(now[off:off+entryRoom], old[off:])
			}
		}
		for k := range now {
			if now[k] != old[k] {
				return fmt.Errorf("text at %#x is %02x, after boot it was %02x", p.addr+uint64(k), now[k], old[k])
			}
		}
	}
	return nil
}

// trap is what text that is not used holds, as found behind all that is.
func (d *driver) trap() []byte {
	text := d.mem.parts[0].bytes
	return text[len(text)-4:]
}
