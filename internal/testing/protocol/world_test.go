package protocol

import (
	"slices"
	"testing"
)

// kinds and gates are of A, B and C.
func kinds(a, b, c Kind) [moduleCount]Kind { return [moduleCount]Kind{A: a, B: b, C: c} }
func gates(a, b, c bool) [moduleCount]bool { return [moduleCount]bool{A: a, B: b, C: c} }

// worlds are small enough to be gone through whole. Each has what can meet in it; the
// kernel provides S and calls it unless it says otherwise.
var worlds = map[string]World{
	"one module": {
		Kinds: kinds(Override, Absent, Absent), Gates: gates(true, false, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}}, Private: true, Loss: true,
	},
	"kernel threads": {
		Kinds: kinds(Override, Absent, Absent), Gates: gates(true, false, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}}, Spawns: true,
	},
	"a FINI that lies": {
		Kinds: kinds(Override, Absent, Absent), Gates: gates(true, false, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}}, Spawns: true, Lies: true,
	},
	"sleepers that nobody wakes": {
		Kinds: kinds(Override, Refinement, Absent), Gates: gates(true, false, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{B}, {A}}, Forever: true,
	},
	"the upper of two layers": {
		Kinds: kinds(Refinement, Refinement, Absent), Gates: gates(true, true, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{B}},
	},
	"the lower of two layers": {
		Kinds: kinds(Refinement, Refinement, Absent), Gates: gates(true, true, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}}, Spawns: true,
	},
	"a layer without a modcmd": {
		Kinds: kinds(Override, Refinement, Absent), Gates: gates(true, false, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{B}}, Spawns: true,
	},
	"two layers in two commands": {
		Kinds: kinds(Override, Refinement, Absent), Gates: gates(true, true, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}, {B}}, Threads: 2,
	},
	"a refinement of what leaves": { // S is called by its entry alone
		Kinds: kinds(Default, Refinement, Absent), Gates: gates(true, true, false),
		Unloads: [][]Module{{B}, {A}},
	},
	"an override of what leaves": { // and nobody else provides it
		Kinds: kinds(Default, Override, Absent), Gates: gates(true, true, false), KernelCalls: true,
		Unloads: [][]Module{{B}, {A}},
	},
	"a module and what it calls": {
		Kinds: kinds(Override, Refinement, Absent), Gates: gates(true, true, false), KernelDefault: true, KernelCalls: true,
		CallsT: B, Unloads: [][]Module{{B}, {A}},
	},
	"two in one command": {
		Kinds: kinds(Refinement, Refinement, Absent), Gates: gates(true, true, false), KernelDefault: true, KernelCalls: true,
		CallsT: B, Unloads: [][]Module{{B, A}}, Spawns: true,
	},
	"two in one command, their super_S stay": {
		Kinds: kinds(Refinement, Refinement, Absent), Gates: gates(true, true, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{B, A}}, OwnStay: true, Lies: true,
	},
	"two in a circle": {
		Kinds: kinds(Default, Default, Absent), Gates: gates(true, true, false), KernelCalls: true,
		CallsT: B, Circle: true, Private: true, KernelDefault: true, Unloads: [][]Module{{B, A}}, Threads: 2,
	},
	"two in one command, the wrong one first": {
		Kinds: kinds(Refinement, Refinement, Absent), Gates: gates(true, true, false), KernelDefault: true, KernelCalls: true,
		CallsT: B, Unloads: [][]Module{{A, B}},
	},
	"two in one command, one without a modcmd": {
		Kinds: kinds(Refinement, Refinement, Absent), Gates: gates(true, false, false), KernelDefault: true, KernelCalls: true,
		CallsT: B, Unloads: [][]Module{{B, A}}, Spawns: true,
	},
	"a refinement is loaded": {
		Kinds: kinds(Override, Absent, Refinement), Gates: gates(true, false, true), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}}, Loads: true, Spawns: true, Threads: 2,
	},
	"an override is loaded": {
		Kinds: kinds(Override, Absent, Override), Gates: gates(true, false, true), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}}, Loads: true,
	},
	"a caller of T is loaded": {
		Kinds: kinds(Default, Absent, Override), Gates: gates(true, false, true), KernelDefault: true,
		CallsT: C, Unloads: [][]Module{{A}}, Loads: true, Private: true,
	},
	"a refinement of nothing else is loaded": {
		Kinds: kinds(Default, Absent, Refinement), Gates: gates(true, false, true),
		Unloads: [][]Module{{A}}, Loads: true,
	},
	"two commands and a load": {
		Kinds: kinds(Override, Refinement, Refinement), Gates: gates(false, true, false), KernelDefault: true, KernelCalls: true,
		Unloads: [][]Module{{A}, {B}}, Loads: true, Threads: 2,
	},
}

// world returns one of the worlds, with the threads and the order that it does not name.
func world(t *testing.T, name string) World {
	t.Helper()
	w, ok := worlds[name]
	if !ok {
		t.Fatalf("no world %q", name)
	}
	if w.Threads == 0 {
		w.Threads = 3
	}
	w.Order = UnloadOrder()
	return w
}

// ignored are properties that a world does not have to hold: who enters after a FINI
// that lied, because a module called whom it had said to have sent away, is that
// module's mistake.
var ignored = map[string][]Property{
	"two in one command, their super_S stay": {Counted},
	// In a circle whoever's FINI comes first can still be called by the others'.
	"two in a circle": {Counted},
}

// wrong are worlds that are mistakes by themselves.
var wrong = map[string]bool{"two in one command, the wrong one first": true}

// TestUnload: the protocol holds, wherever threads and commands meet, and ends.
func TestUnload(t *testing.T) {
	for name := range worlds {
		if wrong[name] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world(t, name)
			r := Explore[State](&w, ignored[name]...)
			t.Log(r)
			if r.Broken != "" {
				t.Fail()
			}
			if r.States < 1000 {
				t.Errorf("only %d states: not much can have met", r.States)
			}
		})
	}
}

// mistakes are what klink could do wrong. Each is found, by the property that it breaks
// first, or first but for those that it is not about.
var mistakes = []struct {
	name, world string
	order       []Step
	mistake     Mistake
	not         []Property
	breaks      Property
}{
	{"FINI without grace", "one module", []Step{Catch, Relink, Finish, Proof, Reclaim}, None, nil, Counted},
	{"grace before the re-link", "one module", []Step{Catch, Grace, Relink, Finish, Proof, Reclaim}, None, nil, Counted},
	{"grace after FINI", "one module", []Step{Catch, Relink, Finish, Grace, Proof, Reclaim}, None, nil, Counted},
	{"FINI before the re-link", "one module", []Step{Catch, Grace, Finish, Relink, Proof, Reclaim}, None, nil, Counted},
	{"entrances equal exits, and no more", "one module", []Step{Catch, Relink, Finish, Reclaim}, None, []Property{Counted}, ReclaimedText},
	{"no proof", "one module", []Step{Catch, Relink, Grace, Finish, Reclaim}, None, nil, ReclaimedText},
	{"reclaimed before the proof", "one module", []Step{Catch, Relink, Grace, Finish, Reclaim, Proof}, None, []Property{Answered}, ReclaimedText},
	{"the proof looks at program counters only", "a FINI that lies", nil, LookAtPCs, nil, ReclaimedText},
	{"looks see the innermost call only", "a layer without a modcmd", nil, LookAtInnermost, nil, Counted},
	{"looks see the innermost call only, the proof", "a layer without a modcmd", nil, LookAtInnermost, []Property{Counted}, ReclaimedText},
	{"looks forget who is to start", "one module", nil, ForgetToStart, nil, Counted},
	{"looks forget who is to start, the proof", "one module", nil, ForgetToStart, []Property{Counted}, ReclaimedText},
	{"any gate counts", "a layer without a modcmd", nil, AnyGateCounts, nil, Counted},
	{"sleepers are outside", "a layer without a modcmd", nil, SleepersAreOutside, nil, Counted},
	{"kernel threads are exempt in the proof", "a FINI that lies", nil, KthreadsExempt, nil, ReclaimedText},
	{"a new start is not looked at", "a FINI that lies", nil, StartsUnseen, nil, ReclaimedText},
	{"the proof looks when FINI begins", "a FINI that lies", nil, ProofAtFini, nil, ReclaimedText},
	{"kernel threads without a FINI are exempt in grace", "two in one command, one without a modcmd", nil, PlainKthreadsExempt, nil, Counted},
	{"put back without the supers", "the lower of two layers", nil, ForgetSupers, nil, RightProvider},
	{"put back without UNCATCH", "one module", nil, ForgetUncatch, nil, Usable},
	{"put back undoes the command's own moves", "a refinement is loaded", nil, PutBackOwnMoves, nil, RightProvider},
	{"FINI again while draining", "one module", nil, FiniAgain, nil, FiniOnce},
	{"kept places do not count", "a refinement of what leaves", nil, KeptUncounted, nil, Places},
	{"kept places count as providers", "an override of what leaves", nil, KeptProvides, nil, Places},
	{"kept places are free", "an override is loaded", nil, KeptIsFree, nil, Places},
	{"a load binds to a kept place", "a refinement is loaded", nil, BindToKept, nil, RightProvider},
	{"a load binds to a kept place, then", "a refinement is loaded", nil, BindToKept, []Property{RightProvider, Counted}, Dangling},
	{"a load finds a kept module's own names", "a caller of T is loaded", nil, BindToKeptAlone, nil, Dangling},
	{"sites of what is being loaded are not moved", "a refinement is loaded", nil, LoadingUnmoved, nil, RightProvider},
	{"needs of what is being loaded do not count", "a caller of T is loaded", nil, LoadingUncounted, nil, Dangling},
	{"the rules are asked once", "a refinement of nothing else is loaded", nil, PlanOnce, nil, Places},
	{"a draining module holds nothing", "a module and what it calls", nil, DrainingHoldsNothing, nil, Counted},
	{"a draining module holds nothing, then", "a module and what it calls", nil, DrainingHoldsNothing, []Property{Counted}, Dangling},
	{"the next FINI after one that failed", "two in one command", nil, NextFiniAfterFailed, nil, Counted},
	{"who is called from draining text is reclaimed", "two in one command", nil, HeldReclaimed, nil, Dangling},
	{"draining modules are reclaimed one by one", "two in a circle", nil, ReapAlone, nil, Ends},
	{"kernel threads that drain start others, unseen", "kernel threads", nil, StartsUnseen, nil, ReclaimedText},
	{"FINI of who is called first", "two in one command, the wrong one first", nil, None, nil, Counted},
	{"a module is called while it leaves", "one module", nil, CallWhileCatching, nil, Counted},
	{"grace without a limit", "sleepers that nobody wakes", nil, NoLimit, nil, Ends},
}

func TestUnloadMistakes(t *testing.T) {
	seen := map[Mistake]bool{}
	for _, x := range mistakes {
		seen[x.mistake] = true
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			w := world(t, x.world)
			w.Mistake = x.mistake
			if x.order != nil {
				w.Order = x.order
			}
			r := Explore[State](&w, slices.Concat(x.not, ignored[x.world])...)
			t.Log(r)
			if r.Broken != x.breaks {
				t.Errorf("breaks %q, not %q", r.Broken, x.breaks)
			}
		})
	}
}
