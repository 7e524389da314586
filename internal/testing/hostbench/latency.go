package main

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"klink/internal/kernel"
)

// crowds are how many modules are there.
var crowds = []int{10, 1_000, 10_000}

// latency times a load and an unload of a small module inside of the host, with more
// and more modules there. Hosts of each size stand side by side and take turns.
func latency(o options) error {
	return withHosts(nil, func(hosts []*host) error {
		type times struct{ load, unload []time.Duration }
		all := make([]times, len(hosts))
		for range o.n + 1 {
			for i, h := range hosts {
				small, err := h.small()
				if err != nil {
					return err
				}
				t := &all[i]
				if err := timed(&t.load, func() error { _, err := h.load(small); return err }); err != nil {
					return err
				}
				if err := timed(&t.unload, func() error { _, err := h.unload("small"); return err }); err != nil {
					return err
				}
			}
		}
		head("inside of the host", "to 10 modules")
		for _, what := range []string{"load", "unload"} {
			var first float64
			for i := range all {
				v := all[i].load[1:] // the first warms up
				if what == "unload" {
					v = all[i].unload[1:]
				}
				if i == 0 {
					first = float64(quantile(v, 0.5))
				}
				row(fmt.Sprintf("%s, %d modules there", what, crowds[i]), v, fmt.Sprintf("%.2f", float64(quantile(v, 0.5))/first))
			}
		}
		return loader(o)
	})
}

// loader times dlopen and dlclose of an equal shared object in a C program.
func loader(o options) error {
	if o.dlopen == "" {
		return nil
	}
	out, err := exec.Command(o.dlopen, o.so, fmt.Sprint(o.n+1)).Output()
	if err != nil {
		return fmt.Errorf("%s: %w", o.dlopen, err)
	}
	var opens, closes []time.Duration
	for line := range strings.Lines(string(out)) {
		var loaded, unloaded time.Duration
		if _, err := fmt.Sscan(line, &loaded, &unloaded); err != nil {
			return fmt.Errorf("%s: %q: %w", o.dlopen, line, err)
		}
		opens, closes = append(opens, loaded), append(closes, unloaded)
	}
	row("dlopen in a C program", opens[1:], "")
	row("dlclose", closes[1:], "")
	return nil
}

// withHosts boots hosts of all sizes in crowds and calls do with them.
func withHosts(hosts []*host, do func([]*host) error) error {
	if len(hosts) == len(crowds) {
		return do(hosts)
	}
	return withHost(func(h *host) error {
		if err := h.crowd(0, crowds[len(hosts)], h.one); err != nil {
			return err
		}
		return withHosts(append(hosts, h), do)
	})
}

// switchSizes are how many sites a switch moves.
var switchSizes = []int{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000}

// perModule is how many sites a module of the switch has at most.
const perModule = 10_000

// switches moves all calls of f there and back, with more and more of them, and beside
// it stores to as many words as far apart, a plain loop.
func switches(o options) error {
	head("a switch", "a site     × stores")
	for _, n := range switchSizes {
		if err := switchOf(n, o.n); err != nil {
			return err
		}
	}
	return nil
}

func switchOf(n, times int) error {
	return withHost(func(h *host) error {
		per := min(n, perModule)
		if err := h.crowd(0, n/per, func(i int) (kernel.ModuleSpec, error) { return h.member(i, 1, per) }); err != nil {
			return err
		}
		over, err := h.over()
		if err != nil {
			return err
		}
		stride := len(codes[h.machine].call)
		memory := make([]byte, n*stride+8)
		var moves, stores []time.Duration
		sites := 0
		change := func(c *kernel.Change, err error) error {
			if err == nil {
				moves = append(moves, time.Duration(c.Switch.Plan+c.Switch.Total))
				sites = c.Switch.Sites
			}
			return err
		}
		for range max(3, min(times, 2_000_000/n)) {
			if err := change(h.load(over)); err != nil {
				return err
			}
			if err := change(h.unload("over")); err != nil {
				return err
			}
			start := time.Now()
			for i := 0; i < n*stride; i += stride {
				memory[i]++
			}
			stores = append(stores, time.Since(start))
		}
		per1 := float64(quantile(moves, 0.5)) / float64(sites)
		plain := float64(max(1, quantile(stores, 0.5)))
		row(fmt.Sprintf("%d sites, %d modules", sites, n/per), moves, fmt.Sprintf("%7.1f ns %7.1f", per1, float64(quantile(moves, 0.5))/plain))
		return nil
	})
}
