package kernel

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"klink/internal/diag"

	"pgregory.net/rapid"
)

// The real host against a small model of it: modules of all kinds come and go, with code
// that fails in all ways, while calls sit inside of them, and while another unload waits.
// After each step host and model are compared. What the model says it says from the rules
// alone; time limits decide nothing but what the model says will run out of time.

// liveWorld is the model, and the host.
type liveWorld struct {
	*trial
	mods    []*liveMod // that are there, in the order in which they came: that of the stack of trial_f, too
	sitters []*liveSitter
	held    *heldUnload
	ills    map[ill]bool
}

// liveMod is a module that is there.
type liveMod struct {
	name  string
	state string // live, catching (kept: its FINI is being held), draining
}

// liveSitter is a long call of trial_f.
type liveSitter struct {
	longCall
	path []string // the modules that it is inside of, from the top down
	how  uint64   // what it does in the last one
}

// heldUnload is an unload whose first FINI waits for hold.
type heldUnload struct {
	names []string
	done  chan error
}

func overrides(name string) bool { return strings.HasPrefix(name, "over") }
func givesF(name string) bool    { return name != "base" && name != "user" }

func (w *liveWorld) mod(name string) *liveMod {
	for _, m := range w.mods {
		if m.name == name {
			return m
		}
	}
	return nil
}

// path returns the modules that a call of trial_f passes, from the top down.
func (w *liveWorld) path() (list []string) {
	for _, m := range slices.Backward(w.mods) {
		if m.state == stateLive && givesF(m.name) {
			list = append(list, m.name)
			if overrides(m.name) {
				break
			}
		}
	}
	return list
}

// value is what trial_f returns.
func (w *liveWorld) valueOf() (v int64) {
	for _, name := range slices.Backward(w.path()) {
		v = v*10 + int64(w.number(name)) + 1
	}
	return v
}

// draw makes up how some modules do what they are told next.
func (w *liveWorld) draw(t *rapid.T, cmds []uint64, hows []uint32, names []string) {
	w.ills = map[ill]bool{}
	for _, name := range names {
		if name == "plain" || !oneIn(t, 3) {
			continue
		}
		i := ill{name, rapid.SampledFrom(cmds).Draw(t, "cmd"), rapid.SampledFrom(hows).Draw(t, "how")}
		w.ills[i] = true
		w.behave(i.module, i.cmd, i.how)
	}
}

// well has all modules do what they should.
func (w *liveWorld) well() {
	for i := range w.ills {
		w.behave(i.module, i.cmd, asItShould)
	}
	w.ills = nil
}

// does returns how a module does a command.
func (w *liveWorld) does(name string, cmd uint64) uint32 {
	for i := range w.ills {
		if i.module == name && i.cmd == cmd {
			return i.how
		}
	}
	return asItShould
}

// fresh loads one to three modules.
func (w *liveWorld) fresh(t *rapid.T) {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(trialModules), 1, 3, rapid.ID[string]).Draw(t, "load")
	w.draw(t, []uint64{cmdInit}, []uint32{byErrno, byFault}, names)
	defer w.well()
	ok, override := true, slices.ContainsFunc(w.mods, func(m *liveMod) bool { return overrides(m.name) })
	base := w.mod("base") != nil && w.mod("base").state == stateLive
	for _, name := range names {
		switch {
		case w.mod(name) != nil, overrides(name) && override, name == "user" && !base:
			ok = false
		}
		ok = ok && w.does(name, cmdInit) == asItShould
		override, base = override || overrides(name), base || name == "base"
	}
	before := w.shape()
	if err := w.load(names...); (err == nil) != ok {
		t.Fatalf("load %v: %v; the model says %v", names, err, ok)
	}
	if !ok {
		if d := diff(before, w.shape()); d != "" && w.held == nil {
			t.Fatalf("a load that failed changed something:\n%s", d)
		}
		return
	}
	for _, name := range names {
		w.mods = append(w.mods, &liveMod{name, stateLive})
	}
}

// sitDown begins a long call.
func (w *liveWorld) sitDown(t *rapid.T) {
	path := w.path()
	if len(path) == 0 || len(w.sitters) == 5 {
		return
	}
	n := rapid.IntRange(1, len(path)).Draw(t, "depth")
	s := &liveSitter{path: path[:n], how: rapid.SampledFrom([]uint64{gated, gated, asleep, runs}).Draw(t, "sits")}
	s.longCall = w.sit("trial_f", path[n-1], s.how)
	w.sitters = append(w.sitters, s)
}

// letGo ends a long call.
func (w *liveWorld) letGo(t *rapid.T) {
	if len(w.sitters) == 0 {
		return
	}
	w.end(rapid.SampledFrom(w.sitters).Draw(t, "let go"))
}

func (w *liveWorld) end(s *liveSitter) {
	w.release(s.longCall)
	w.gone(s)
}

func (w *liveWorld) gone(s *liveSitter) {
	w.sitters = slices.DeleteFunc(w.sitters, func(o *liveSitter) bool { return o == s })
}

// foreseen is what the model says of an unload.
type foreseen struct {
	kind    error    // nil: it succeeds
	gone    []string // reclaimed
	drained []string // or draining
	slow    bool     // something runs out of time
	woken   []*liveSitter
}

// foresee foresees an unload; held says that its first FINI was held and goes on now.
func (w *liveWorld) foresee(names []string, held bool) (f foreseen) {
	if !held {
		if f = w.admits(names); f.kind != nil {
			return f
		}
	}
	order := slices.Clone(names) // of FINI: the youngest first
	at := func(name string) int {
		return slices.IndexFunc(w.mods, func(m *liveMod) bool { return m.name == name })
	}
	slices.SortFunc(order, func(a, b string) int { return at(b) - at(a) })
	for _, name := range order {
		inside, through := 0, 0
		for _, s := range w.sitters {
			if slices.Contains(f.woken, s) || !slices.Contains(s.path, name) {
				continue
			}
			if inside++; s.path[len(s.path)-1] != name {
				through++
			}
		}
		how := w.does(name, cmdFini)
		if how == asItShould {
			for _, s := range w.sitters {
				if s.path[len(s.path)-1] == name && s.how == gated {
					f.woken = append(f.woken, s)
				}
			}
		}
		switch {
		case how == byErrno:
			f.kind = diag.ErrRefused
			return f
		case how == byFault:
			f.drained, f.kind = append(f.drained, name), diag.ErrDraining
			return f
		case how == byLie && inside > 0:
			f.drained, f.kind, f.slow = append(f.drained, name), diag.ErrDraining, true
			return f
		case how == asItShould && through > 0:
			f.kind, f.slow = diag.ErrRefused, true
			return f
		}
		f.gone = append(f.gone, name)
	}
	return f
}

// admits foresees what comes before FINI.
func (w *liveWorld) admits(names []string) (f foreseen) {
	for _, name := range names {
		switch m := w.mod(name); {
		case m == nil:
			f.kind = diag.ErrNotFound
		case m.state == stateDraining:
			f.kind = diag.ErrDraining
		case m.state != stateLive:
			f.kind = diag.ErrBusy
		}
		if f.kind != nil {
			return f
		}
	}
	if slices.Contains(names, "base") && w.mod("user") != nil && !slices.Contains(names, "user") {
		return foreseen{kind: diag.ErrNeeded}
	}
	for _, name := range names {
		switch w.does(name, cmdCatch) {
		case byErrno:
			return foreseen{kind: diag.ErrRefused}
		case byFault:
			return foreseen{kind: diag.ErrFault}
		}
	}
	for _, s := range w.sitters {
		for i, name := range s.path {
			last := i == len(s.path)-1
			if slices.Contains(names, name) && (name == "plain" || last && s.how != gated) {
				return foreseen{kind: diag.ErrBusy, slow: true}
			}
		}
	}
	return f
}

// leave unloads one to three modules.
func (w *liveWorld) leave(t *rapid.T) {
	names := w.some(t)
	if len(names) == 0 {
		return
	}
	w.draw(t, []uint64{cmdCatch, cmdUncatch, cmdFini, cmdFini, cmdFini}, []uint32{byErrno, byFault, byLie}, names)
	for _, n := range names { // CATCH that lies is CATCH that does nothing
		for _, cmd := range []uint64{cmdCatch, cmdUncatch} {
			if w.does(n, cmd) == byLie {
				delete(w.ills, ill{n, cmd, byLie})
				w.behave(n, cmd, asItShould)
			}
		}
	}
	defer w.well()
	f := w.foresee(names, false)
	if !f.slow {
		w.settleUnload(t, names, f, w.unload(trialWait, names...))
		return
	}
	// On a busy machine a step that the model does not say is slow may be, too: then all is
	// as it was, and there is more time the next time.
	wait := trialSoon
	err := w.unload(wait, names...)
	for !errors.Is(err, f.kind) && w.allLive(names) && wait < trialWait {
		wait *= 4
		err = w.unload(wait, names...)
	}
	w.settleUnload(t, names, f, err)
}

// allLive says that all these modules are there and live.
func (w *liveWorld) allLive(names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return w.stateOf(n) != stateLive })
}

// some draws modules that are there, most of the time.
func (w *liveWorld) some(t *rapid.T) []string {
	names := slices.Clone(trialModules)
	if !oneIn(t, 8) {
		names = nil
		for _, m := range w.mods {
			names = append(names, m.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, min(3, len(names)), rapid.ID[string]).Draw(t, "unload")
}

// settleUnload compares an unload's end with what was foreseen, and does it to the model.
func (w *liveWorld) settleUnload(t *rapid.T, names []string, f foreseen, err error) {
	if f.kind == nil && err != nil || f.kind != nil && !errors.Is(err, f.kind) {
		t.Fatalf("unload %v: %v; the model says %v", names, err, f.kind)
	}
	for _, s := range f.woken {
		w.join(s.longCall)
		w.gone(s)
	}
	w.mods = slices.DeleteFunc(w.mods, func(m *liveMod) bool { return slices.Contains(f.gone, m.name) })
	for _, name := range f.drained {
		w.mod(name).state = stateDraining
	}
}

// hold begins an unload whose first FINI waits until goOn.
func (w *liveWorld) hold(t *rapid.T) {
	names := w.some(t)
	if w.held != nil || len(names) == 0 || !slices.ContainsFunc(names, func(n string) bool { return n != "plain" }) {
		return
	}
	if f := w.admits(names); f.kind != nil {
		return
	}
	first := ""
	for _, m := range w.mods {
		if slices.Contains(names, m.name) && m.name != "plain" {
			first = m.name
		}
	}
	w.mem.Store32(trialHold, 1)
	w.behave(first, cmdFini, byHold)
	told := w.told(first, cmdFini)
	w.held = &heldUnload{names, make(chan error, 1)}
	go func(done chan error) { done <- w.unload(trialWait, names...) }(w.held.done)
	w.until("FINI begins", func() bool { return w.told(first, cmdFini) > told })
	w.behave(first, cmdFini, asItShould)
	for _, name := range names {
		w.mod(name).state = stateCatching
	}
}

// goOn ends the unload that is being held. Who is inside of its modules by way of others
// is let go before.
func (w *liveWorld) goOn(t *rapid.T) {
	if w.held == nil {
		return
	}
	h := w.held
	for _, s := range slices.Clone(w.sitters) {
		if slices.ContainsFunc(s.path, func(n string) bool { return slices.Contains(h.names, n) }) && (s.how != gated || !slices.Contains(h.names, s.path[len(s.path)-1])) {
			w.end(s)
		}
	}
	// One that sleeps in the gate of the lower of two is in the way of the upper one.
	for _, s := range slices.Clone(w.sitters) {
		for _, n := range s.path[:len(s.path)-1] {
			if slices.Contains(h.names, n) {
				w.end(s)
				break
			}
		}
	}
	f := w.foresee(h.names, true)
	for _, name := range h.names {
		w.mod(name).state = stateLive // if it is put back
	}
	w.call("trial_go_on")
	w.settleUnload(t, h.names, f, <-h.done)
	w.held = nil
}

// compare compares the host with the model.
func (w *liveWorld) compare(t *rapid.T) {
	stays := func(m *liveMod) bool {
		return m.state != stateDraining || slices.ContainsFunc(w.sitters, func(s *liveSitter) bool { return slices.Contains(s.path, m.name) })
	}
	w.mods = slices.DeleteFunc(w.mods, func(m *liveMod) bool { return !stays(m) })
	var want []string
	for _, m := range w.mods {
		want = append(want, m.name+": "+m.state)
	}
	if !slices.Equal(w.states(), want) {
		w.until(fmt.Sprintf("as the model says, %v", want), func() bool { return slices.Equal(w.states(), want) }) // who drains takes a moment
	}
	for _, f := range []string{"trial_call", "trial_call_entry"} {
		if v := w.value(f, 0); v != w.valueOf() {
			t.Fatalf("%s returns %d; the model says %d: %v", f, v, w.valueOf(), want)
		}
	}
	if m := w.mod("user"); m != nil && m.state == stateLive {
		if v := w.value("trial_use_g", 0); v != 16 {
			t.Fatalf("trial_use_g returns %d", v)
		}
	}
	list, err := w.Alias([]string{"trial_f"}, false)
	if err != nil {
		t.Fatal(err)
	}
	top := append(w.path(), KernelName)[0]
	for _, p := range list[0].Providers {
		if p.Current != (p.Module == top) {
			t.Fatalf("%s is current: %v; the model says %s", p.Module, p.Current, top)
		}
	}
}

func TestLiveModel(t *testing.T) {
	checks := flag.Lookup("rapid.checks").Value // the hosts of this test take their time
	was := checks.String()
	n, err := strconv.Atoi(was)
	if err != nil {
		t.Fatal(err)
	}
	if err := checks.Set(strconv.Itoa(max(1, n/8))); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := checks.Set(was); err != nil {
			t.Error(err)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		tr := newTrial(t, 16, nil)
		defer tr.Close()
		w := &liveWorld{trial: tr}
		empty := tr.shape()
		rt.Repeat(map[string]func(*rapid.T){
			"load": w.fresh, "load2": w.fresh, "unload": w.leave, "unload2": w.leave, "sit": w.sitDown, "let go": w.letGo,
			"hold": w.hold, "go on": w.goOn, "": w.compare,
		})
		w.empty(rt, empty)
	})
}

// empty unloads all and checks that nothing is left.
func (w *liveWorld) empty(t *rapid.T, before *shape) {
	w.goOn(t)
	for len(w.sitters) > 0 {
		w.end(w.sitters[0])
	}
	w.compare(t)
	var names []string
	for _, m := range w.mods {
		names = append(names, m.name)
	}
	if len(names) > 0 {
		if err := w.unload(trialWait, names...); err != nil {
			t.Fatal(err)
		}
	}
	if now := w.shape(); now.Used != before.Used || len(now.Host.List) != 1 {
		t.Fatalf("something stays behind: %+v, before %+v", now.Used, before.Used)
	}
	w.sound(w.tb.(*testing.T))
}
