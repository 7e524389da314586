package main

import "fmt"

// The loops, by their index in rounds.c.
const (
	loopStatic = iota
	loopControl
	loopSite
	loopVector
	loopPLT
	loopHook
)

// row is one line of the table of costs: a loop in one of the runs.
type row struct {
	name string
	run  int
	loop int
}

// The runs: as the kernel was linked, after the site's function was overridden by a
// module, and after that module was unloaded.
const (
	runLinked = iota
	runMoved
	runBack
)

var rows = []row{
	{"bound by a static linker", runLinked, loopStatic},
	{"the same again: control", runLinked, loopControl},
	{"a site, as loaded", runLinked, loopSite},
	{"a site, moved to a module", runMoved, loopSite},
	{"a site, moved back", runBack, loopSite},
	{"a vector of operations", runBack, loopVector},
	{"a PLT stub", runBack, loopPLT},
	{"a hook with a reference count", runBack, loopHook},
}

// timed is one run of all loops: ticks by round and loop.
type timed struct {
	ticks  [][loops]float64
	perSec float64
}

// costs prints what a call costs in each way.
func (b *bench) costs(rounds, calls int) error {
	if rounds < 1 || rounds > maxRounds || calls < 8 || calls%8 != 0 {
		return fmt.Errorf("%d rounds of %d calls", rounds, calls)
	}
	var runs [3]timed
	for i, before := range []func() error{
		func() error { return nil },
		func() error { _, err := b.load("over", b.file("over.kmod")); return err },
		func() error { _, err := b.unload("over"); return err },
	} {
		err := before()
		if err == nil {
			err = b.time(&runs[i], rounds, calls)
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "a call of a function that adds one: %d rounds of %d calls each way, in turns\n", rounds, calls)
	fmt.Fprintf(b.out, "%-32s %10s %10s %17s\n", "call", "median", "ratio", "10 % to 90 %")
	for _, r := range rows {
		var cost, ratio []float64
		t := &runs[r.run]
		for _, round := range t.ticks {
			cost = append(cost, round[r.loop]/float64(calls)/t.perSec*1e9)
			ratio = append(ratio, round[r.loop]/round[loopStatic])
		}
		fmt.Fprintf(b.out, "%-32s %7.3f ns %10.3f %8.3f – %.3f\n", r.name, quantile(cost, 0.5), quantile(ratio, 0.5),
			quantile(ratio, 0.1), quantile(ratio, 0.9))
	}
	return nil
}

// time runs all loops.
func (b *bench) time(t *timed, rounds, calls int) error {
	if _, err := b.call("callcost_rounds", uint64(calls), uint64(min(rounds, 10))); err != nil { // warm up
		return err
	}
	r, err := b.call("callcost_rounds", uint64(calls), uint64(rounds))
	if err != nil {
		return err
	}
	t.perSec = float64(r.Values[0].Value) / float64(r.Time) * 1e9
	t.ticks = make([][loops]float64, rounds)
	for i := range t.ticks {
		for k := range loops {
			t.ticks[i][k] = float64(b.shared.Load64(uint64(offTicks + (i*loops+k)*8)))
		}
	}
	return nil
}
