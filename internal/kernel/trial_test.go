package kernel

import (
	"context"
	"strings"
	"testing"
	"time"

	"klink/internal/runner"
	wordsof "klink/internal/testing/words"
)

// trial is a host whose modules behave as the test says, by a variable of its kernel
// (struct trial in testdata/objs/trial/trial.h, which asserts the same numbers).
type trial struct {
	*liveBench
	mem  wordsof.Words // struct trial
	next uint64        // number of the next long call
}

const (
	trialTold   = 0x100
	trialHold   = 0x200
	trialStop   = 0x204
	trialGood   = 0x208
	trialCalls  = 0x220
	trialWrong  = 0x228
	trialBad    = 0x230
	trialInside = 0x238
	trialGo     = 0x240
	trialOrder  = 0x2e0
	trialLog    = 0x2e4
	trialSize   = 0x320

	trialLongCalls = 32
)

// trialModules are the modules by their numbers, less one.
var trialModules = []string{"base", "over", "over2", "refine", "layer", "user", "plain"}

// How a module does what it is told.
const (
	asItShould uint32 = iota
	byErrno
	byFault
	byLoop
	byHold
	byLie
	byENOTTY
)

// What a long call does.
const (
	gated  = 1 // sleeps inside of the module's gate; FINI wakes it
	asleep = 2 // sleeps in no gate
	runs   = 3
)

// trialWait is the limit of steps that are not to run out of time, trialSoon that of
// those that are.
const (
	trialWait = int64(time.Minute)
	trialSoon = int64(80 * time.Millisecond)
)

// newTrial boots a host of trial/kernel.o.
func newTrial(t testing.TB, threads int, fault func(faultPoint) error) *trial {
	t.Helper()
	if err := runner.Available(HostMachine()); err != nil {
		t.Fatal(err)
	}
	k, err := New(Config{Threads: threads, fault: fault, ArenaSize: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{liveBench: &liveBench{t, k}}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	spec := ModuleSpec{Files: []Source{liveFixture(t, "trial/kernel.o")}}
	if _, err := k.Boot(t.Context(), []ModuleSpec{spec}); err != nil {
		t.Fatal(err)
	}
	syms, err := k.Symbols([]string{"trial"}, KernelName)
	if err != nil || len(syms) != 1 || syms[0].Size < trialSize {
		t.Fatalf("%+v, %v", syms, err)
	}
	tr.mem = k.Data(syms[0].Addr, trialSize)
	tr.call("trial_init")
	for _, f := range []string{"trial_f", "trial_call", "trial_call_entry", "trial_go", "trial_go_on"} { // that have their entries then
		tr.call(f, trialLongCalls-1)
	}
	tr.mem.Store32(trialGo+4*(trialLongCalls-1), 0)
	return tr
}

// number returns the index of a module in struct trial.
func (tr *trial) number(module string) uint64 {
	for i, name := range trialModules {
		if name == module {
			return uint64(i)
		}
	}
	tr.tb.Fatalf("no module %s", module)
	return 0
}

// behave says how a module does a command of modcmd.
func (tr *trial) behave(module string, cmd uint64, how uint32) {
	tr.mem.Store32(tr.number(module)*32+cmd*4, how)
}

// told returns how often a module was told a command.
func (tr *trial) told(module string, cmd uint64) uint32 {
	return tr.mem.Load32(trialTold + tr.number(module)*32 + cmd*4)
}

// story is all that was told since the last time that it was asked, in order: "over: INIT".
func (tr *trial) story() (list []string) {
	n := tr.mem.Load32(trialOrder)
	for _, b := range tr.mem[trialLog : trialLog+n] {
		list = append(list, trialModules[b>>4]+": "+cmdNames[uint64(b&15)])
	}
	tr.mem.Store32(trialOrder, 0)
	return list
}

func (tr *trial) load(names ...string) error {
	var files []string
	for _, n := range names {
		files = append(files, "trial/"+n+".kmod")
	}
	_, err := tr.bring(files...)
	return err
}

func (tr *trial) mustLoad(names ...string) {
	tr.tb.Helper()
	if err := tr.load(names...); err != nil {
		tr.tb.Fatalf("load %v: %v", names, err)
	}
}

func (tr *trial) unload(wait int64, names ...string) error {
	_, err := tr.Unload(tr.tb.Context(), UnloadRequest{Modules: names, Wait: wait})
	return err
}

// longCall is a call that sits in a module until it is let go.
type longCall struct {
	job    int
	number uint64 // in struct trial
}

// sit begins a long call of function: it waits, in the way of how, in the module. When
// sit returns, it does.
func (tr *trial) sit(function, module string, how uint64) longCall {
	tr.tb.Helper()
	c := longCall{number: tr.next % trialLongCalls}
	tr.next++
	before := tr.mem.Load64(trialInside)
	c.job = tr.detach(function, (tr.number(module)+1)<<16|how<<8|c.number)
	tr.until("in "+module, func() bool { return tr.mem.Load64(trialInside) > before })
	return c
}

// release lets a long call go and returns what it returned.
func (tr *trial) release(c longCall) int64 {
	tr.tb.Helper()
	tr.call("trial_go", c.number)
	return tr.join(c)
}

// join waits for the end of a long call, and returns what it returned.
func (tr *trial) join(c longCall) int64 {
	tr.tb.Helper()
	r, err := tr.Wait(context.Background(), WaitRequest{Jobs: []int{c.job}})
	if err != nil || r[0].State != JobDone || len(r[0].Values) != 1 {
		tr.tb.Fatalf("%+v, %v", r, err)
	}
	return r[0].Values[0].Value
}

// until waits until something is so.
func (tr *trial) until(what string, is func() bool) {
	tr.tb.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			tr.tb.Fatalf("never %s: %v\n%s", what, tr.states(), strings.Join(tr.printed(), "\n"))
		}
	}
}

// states returns the modules but the kernel, in the order in which they were loaded:
// "over: live".
func (tr *trial) states() (list []string) {
	for _, m := range tr.List() {
		if m.Name != KernelName {
			list = append(list, m.Name+": "+m.State)
		}
	}
	return list
}

// stateOf returns a module's state, "" if it is not there.
func (tr *trial) stateOf(name string) string {
	for _, m := range tr.List() {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}

// shape is what a command that changed nothing leaves as it was, module code's own data
// left out, and what the arena has handed out.
type shape struct {
	Host *snapshot
	Used [3]uint64
}

func (tr *trial) shape() *shape {
	tr.tb.Helper()
	b := &bench{TB: tr.tb, Kernel: tr.Kernel, machine: HostMachine()}
	s := &shape{Host: b.snapshot()}
	for name := range s.Host.Memory {
		if strings.HasSuffix(name, ".data") {
			delete(s.Host.Memory, name)
		}
	}
	for i, r := range tr.arena.Stats() {
		s.Used[i] = r.Used
	}
	return s
}

// traffic has a thread call trial_f until calm ends it, which returns how many of its
// calls returned something else than values says.
func (tr *trial) traffic() (calm func() int64) {
	tr.tb.Helper()
	job := tr.detach("trial_traffic")
	return func() int64 {
		tr.tb.Helper()
		tr.mem.Store32(trialStop, 1)
		n := tr.join(longCall{job: job})
		tr.mem.Store32(trialStop, 0)
		return n
	}
}

// values says which values the traffic may get from now on.
func (tr *trial) values(list ...uint32) {
	for i := range uint64(4) {
		v := uint32(0)
		if int(i) < len(list) {
			v = list[i] + 1
		}
		tr.mem.Store32(trialGood+4*i, v)
	}
}

// more waits until the traffic has made some calls.
func (tr *trial) more() {
	tr.tb.Helper()
	n := tr.mem.Load64(trialCalls)
	tr.until("a call", func() bool { return tr.mem.Load64(trialCalls) > n+2 })
}
