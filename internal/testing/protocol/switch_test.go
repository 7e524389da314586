package protocol

import (
	"slices"
	"testing"
)

// swap returns the steps with those at i and j changed for one another.
func swap(ops []SwitchOp, i, j int) []SwitchOp {
	ops = slices.Clone(ops)
	ops[i], ops[j] = ops[j], ops[i]
	return ops
}

// without returns the steps without the one at i.
func without(ops []SwitchOp, i int) []SwitchOp { return slices.Delete(slices.Clone(ops), i, i+1) }

// TestSwitch: two switches hold, the first of which may be abandoned, on both machines.
func TestSwitch(t *testing.T) {
	do, undo := SwitchOrder()
	for name, m := range map[string]Switching{
		"amd64": {Do: do, Undo: undo},
		"arm64": {Do: do, Undo: undo, WholeFirst: true},
		// What is not needed for the properties: the handler goes back to a site that is
		// whole by now, so a stale trap does no harm.
		"withdrawn before the last barrier": {Do: swap(do, 12, 13), Undo: undo, OneSwitch: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Explore[SwitchState](m)
			t.Log(r)
			if r.Broken != "" {
				t.Fail()
			}
		})
	}
}

// TestSwitchMistakes: each is found.
func TestSwitchMistakes(t *testing.T) {
	do, undo := SwitchOrder()
	for _, x := range []struct {
		name   string
		model  Switching
		not    []Property
		breaks Property
	}{
		{"no barrier before the turn", Switching{Do: without(do, 5), Undo: undo}, []Property{RightThen, Whole}, InOrder},
		{"the turn before the traps", Switching{Do: slices.Concat(do[:3], do[6:7], do[3:6], do[7:]), Undo: undo}, []Property{RightThen}, InOrder},
		{"the turn before one of the traps", Switching{Do: slices.Concat(do[:4], do[6:7], do[4:6], do[7:]), Undo: undo}, []Property{RightThen}, InOrder},
		{"traps before the table", Switching{Do: slices.Concat(do[3:5], do[:3], do[5:]), Undo: undo}, nil, TrapsFound},
		{"the generation before the rows", Switching{Do: slices.Concat(do[2:4], do[:2], do[4:]), Undo: undo}, nil, TrapsFound},
		{"no barrier between tails and first units", Switching{Do: without(do, 9), Undo: undo}, nil, Whole},
		{"first units before tails", Switching{Do: slices.Concat(do[:7], do[10:12], do[9:10], do[7:9], do[12:]), Undo: undo}, nil, Whole},
		{"tails before the traps", Switching{Do: slices.Concat(do[:3], do[7:9], do[3:7], do[9:]), Undo: undo}, nil, Whole},
		{"one site is forgotten", Switching{Do: without(do, 11), Undo: undo}, nil, TrapsFound},
		{"the handler does not look at the text again", Switching{Do: do, Undo: undo, NoRecheck: true}, nil, TrapsFound},
		{"nor is there a barrier before the table goes", Switching{Do: swap(do, 12, 13), Undo: undo, NoRecheck: true, OneSwitch: true}, nil, TrapsFound},
		{"the handler does not read the generation again", Switching{Do: do, Undo: undo, NoReread: true}, []Property{TrapsFound, RightThen}, InOrder},
		{"an abandoned switch's table goes before its traps", Switching{Do: do, Undo: slices.Concat(undo[3:], undo[:3])}, nil, TrapsFound},
		{"an abandoned switch leaves a trap", Switching{Do: do, Undo: undo[1:]}, nil, TrapsFound},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := Explore[SwitchState](x.model, x.not...)
			t.Log(r)
			if r.Broken != x.breaks {
				t.Errorf("breaks %q, not %q", r.Broken, x.breaks)
			}
		})
	}
}

// TestCount: exits first, then entrances; the other way round a thread that comes and
// goes hides one that stays.
func TestCount(t *testing.T) {
	for _, x := range []struct {
		model  Counting
		breaks Property
	}{{Counting{}, ""}, {Counting{EntrancesFirst: true}, AllOut}} {
		r := Explore[CountState](x.model)
		t.Log(r)
		if r.Broken != x.breaks {
			t.Errorf("%+v breaks %q, not %q", x.model, r.Broken, x.breaks)
		}
	}
}
