package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"klink/internal/kernel"
	"klink/internal/testing/manysites"
)

// manyTimes is how many switches of many sites there are.
const manyTimes = 20

// The phases of callcost_walk: whose longest gap counts.
const (
	phaseIdle = iota
	phaseSwitches
	phaseControl
)

// moved is what some switches of the same sites took, ns each, and what the thread that
// ran through them met.
type moved struct {
	whole, host, barriers    []int64
	plan, publish, write     []int64
	sites                    int
	traps                    float64   // a switch
	trap                     []float64 // what one took, where nothing but traps was met, ns
	longest, control, passed time.Duration
}

// switching prints what it costs to move sites: times switches of nfew, then some of nmany.
func (b *bench) switching(times, nfew, nmany int) error {
	if times < 2 {
		return fmt.Errorf("%d switches; at least 2", times)
	}
	few, w, err := b.measure("walk", nfew, times, true)
	if err != nil {
		return err
	}
	busy, _, err := b.measure("walk_busy", nmany, manyTimes, true)
	if err != nil {
		return err
	}
	idle, _, err := b.measure("walk_idle", nmany, manyTimes, false)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d switches of %d sites, %d across a cache line, a thread running through them without pause\n", times, few.sites, w.Crossing)
	fmt.Fprintf(b.out, "%-28s %10s %10s %10s\n", "", "median", "99 %", "longest")
	for _, r := range []struct {
		name string
		v    []int64
	}{
		{"a switch", few.whole},
		{"  the host's own part", few.host},
		{"    find and compare sites", few.plan},
		{"    write the table", few.publish},
		{"    write the text", few.write},
		{"  three barriers", few.barriers},
	} {
		fmt.Fprintf(b.out, "%-28s %7.1f µs %7.1f µs %7.1f µs\n", r.name, micros(quantile(r.v, 0.5)), micros(quantile(r.v, 0.99)), micros(quantile(r.v, 1)))
	}
	var half [2][]int64 // an unload has looked at the sites once already
	for i, v := range few.host {
		half[i%2] = append(half[i%2], v)
	}
	fmt.Fprintf(b.out, "host's own part, by command  %7.1f µs in a load, %.1f µs in an unload: medians\n",
		micros(quantile(half[0], 0.5)), micros(quantile(half[1], 0.5)))
	trap := slices.Concat(few.trap, busy.trap)
	if len(trap) == 0 { // the machine was too quick to be measured
		trap = []float64{0}
	}
	one := quantile(trap, 0.5)
	fmt.Fprintf(b.out, "traps a switch               %7.1f, of %.2f µs (%.2f – %.2f): %.1f µs of the thread's time\n",
		few.traps, one/1e3, quantile(trap, 0.1)/1e3, quantile(trap, 0.9)/1e3, few.traps*one/1e3)
	fmt.Fprintf(b.out, "longest time for %d calls    %7.2f ms; %.2f ms in as long a run without switches\n", manysites.PerFunction,
		float64(few.longest.Microseconds())/1e3, float64(few.control.Microseconds())/1e3)
	fmt.Fprintf(b.out, "%d switches of %d sites: median %.1f ns a site with idle threads, %.1f ns with one running through them (%.0f traps each)\n",
		manyTimes, idle.sites, float64(quantile(idle.whole, 0.5))/float64(idle.sites),
		float64(quantile(busy.whole, 0.5))/float64(busy.sites), busy.traps)
	return nil
}

// measure makes a module of n sites, moves them some times there and back, with a
// thread running through them if run, and unloads it.
func (b *bench) measure(name string, n, times int, run bool) (*moved, *manysites.Object, error) {
	w := manysites.New(b.machine, n, "switch_target")
	file := kernel.Source{Name: name + ".o", Path: filepath.Join(b.dir, name+".o")}
	err := os.WriteFile(file.Path, w.Bytes, 0o600)
	if err != nil {
		return nil, w, err
	}
	if _, err := b.load(name, file); err != nil {
		return nil, w, err
	}
	m := &moved{}
	if run {
		err = b.whileWalking(name, w.Functions, m, func() error { return b.moves(m, times) })
	} else {
		err = b.moves(m, times)
	}
	if err != nil {
		return nil, w, err
	}
	m.traps /= float64(times)
	_, err = b.unload(name)
	return m, w, err
}

// moves loads and unloads target.kmod, which the sites then lead to.
func (b *bench) moves(m *moved, times int) error {
	for i := range times {
		var c *kernel.Change
		var err error
		if i%2 == 0 {
			c, err = b.load("target", b.file("target.kmod"))
		} else {
			c, err = b.unload("target")
		}
		if err != nil {
			return err
		}
		t := c.Switch
		if t == nil {
			return fmt.Errorf("change %d moved nothing", i)
		}
		m.sites = t.Sites
		m.whole = append(m.whole, t.Plan+t.Total)
		m.host = append(m.host, t.Plan+t.Publish+t.Write)
		m.barriers = append(m.barriers, t.Barriers)
		m.plan = append(m.plan, t.Plan)
		m.publish = append(m.publish, t.Publish)
		m.write = append(m.write, t.Write)
	}
	if times%2 != 0 {
		_, err := b.unload("target")
		return err
	}
	return nil
}

// whileWalking does work while a thread runs through the sites of a module, then lets
// the thread run on for as long, and notes what it met.
func (b *bench) whileWalking(module string, functions int, m *moved, work func() error) error {
	table, _, err := b.symbol(module, manysites.Table)
	if err != nil {
		return err
	}
	for p := range uint64(phaseControl + 1) {
		b.shared.Store64(offGap+8*p, 0)
	}
	b.shared.Store64(offPer, manysites.PerFunction)
	b.shared.Store64(offCount, 0)
	b.shared.Store32(offStop, 0)
	b.shared.Store32(offPhase, phaseIdle)
	walks := b.shared.Load64(offWalks)
	r := request("callcost_walk", []uint64{uint64(table), uint64(functions), 0})
	r.Detach = true
	job, err := b.k.Call(b.ctx, r)
	if err != nil {
		return err
	}
	for b.shared.Load64(offWalks) < walks+uint64(functions) {
		time.Sleep(time.Millisecond)
	}
	began, first := time.Now(), b.shared.Load64(offNow)
	b.shared.Store32(offPhase, phaseSwitches)
	err = work()
	m.passed = time.Since(began)
	b.shared.Store32(offPhase, phaseControl)
	if err == nil {
		time.Sleep(m.passed)
	}
	perSec := float64(b.shared.Load64(offNow)-first) / time.Since(began).Seconds()
	b.shared.Store32(offStop, 1)
	reports, werr := b.k.Wait(b.ctx, kernel.WaitRequest{Jobs: []int{job.Job}})
	if err != nil || werr != nil {
		return errors.Join(err, werr)
	}
	gap := func(phase uint64) time.Duration {
		return time.Duration(float64(b.shared.Load64(offGap+8*phase)) / perSec * 1e9)
	}
	for i := range min(b.shared.Load64(offCount), maxSamples) {
		m.trap = append(m.trap, float64(b.shared.Load64(offSample+8*i))/perSec*1e9/manysites.PerFunction)
	}
	m.longest, m.control = gap(phaseSwitches), gap(phaseControl)
	m.traps = float64(reports[0].Traps)
	return finished(&reports[0])
}

func micros(ns int64) float64 { return float64(ns) / 1e3 }
