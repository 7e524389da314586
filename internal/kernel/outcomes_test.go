package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"klink/internal/diag"
)

// ill says that a module does a command in some way.
type ill struct {
	module string
	cmd    uint64
	how    uint32
}

// sitter is a long call.
type sitter struct {
	module string
	how    uint64
}

// outcome is a row of the table of what may go wrong in an unload, and what comes of it.
type outcome struct {
	name    string
	load    []string
	ills    []ill
	sitters []sitter // calls of trial_f
	threads int      // 0: 16
	unload  []string
	wait    int64 // 0: trialWait

	kind   error
	says   []string // a regular expression for each line
	story  string   // what was told, with the module's initial: "o:CATCH"
	states string   // afterwards
	value  int64    // of trial_f, afterwards
	later  string   // states when those who sit are let go
}

const (
	number = `[0-9.]+m?s`
	offset = `(\+0x[0-9a-f]+)?`
)

// where is what a message says of a thread that sits in a module.
func where(module, does string) string {
	return `thread \d+ is inside, at ` + module + `: impl_f` + offset + `, ` + does + ` for ` + number
}

const (
	onTrial = `asleep on "trial"`
	giveUp  = `; to give up the calls: klink wait --stop( \d+)+`
	outOf   = `: out of use, but its memory stays until nobody is inside: `
	enomem  = `ENOMEM \(cannot allocate memory\)`
	null    = `SIGSEGV: writing address 0x0 in kernel: trial_told` + offset
)

var outcomes = []outcome{
	{name: "nothing goes wrong", load: []string{"over"}, unload: []string{"over"}, story: "over: CATCH, over: FINI"},
	{name: "nothing to catch", load: []string{"over"}, ills: []ill{{"over", cmdCatch, byENOTTY}}, unload: []string{"over"}, story: "over: CATCH, over: FINI"},
	{name: "no modcmd", load: []string{"plain"}, unload: []string{"plain"}, story: "plain: FINI"},

	{name: "CATCH: errno", load: []string{"over", "refine"}, ills: []ill{{"over", cmdCatch, byErrno}}, unload: []string{"refine", "over"},
		kind: diag.ErrRefused, says: []string{`^over: CATCH returned ` + enomem + `$`},
		story: "refine: CATCH, over: CATCH, refine: UNCATCH", states: "over: live, refine: live", value: 24},
	{name: "CATCH: fault", load: []string{"over"}, ills: []ill{{"over", cmdCatch, byFault}}, unload: []string{"over"},
		kind: diag.ErrFault, says: []string{`^over: CATCH: ` + null},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},
	{name: "CATCH: time", load: []string{"over"}, ills: []ill{{"over", cmdCatch, byLoop}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrFault, says: []string{`^over: CATCH: time limit of 80ms in kernel: trial_told` + offset},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},
	{name: "CATCH: asleep", load: []string{"over"}, ills: []ill{{"over", cmdCatch, byHold}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrFault, says: []string{`^over: CATCH: time limit of 80ms in kernel: trial_told` + offset + `, asleep on "trial" on thread \d+`},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},

	{name: "grace: asleep", load: []string{"over"}, sitters: []sitter{{"over", asleep}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^over: put back: after 80ms ` + where("over", onTrial) + giveUp + `$`},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},
	{name: "grace: running", load: []string{"over"}, sitters: []sitter{{"over", runs}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^over: put back: after 80ms ` + where("over", "running") + giveUp + `$`},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},
	{name: "grace: no modcmd", load: []string{"plain"}, sitters: []sitter{{"plain", gated}}, unload: []string{"plain"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^plain: put back: after 80ms ` + where("plain", onTrial) + giveUp + `$`}, states: "plain: live", value: 7},
	{name: "grace: many", load: []string{"over"}, sitters: slices.Repeat([]sitter{{"over", asleep}}, 6), unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^over: put back: after 80ms (` + where("over", onTrial) + `; ){4}2 more are, too` + giveUp + `$`},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},
	{name: "grace: a layer above", load: []string{"over", "plain"}, sitters: []sitter{{"over", gated}}, unload: []string{"plain"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^plain: put back: after 80ms ` + where("plain", onTrial) + giveUp + `$`}, states: "over: live, plain: live", value: 27},
	{name: "grace: two of three", load: []string{"over", "refine", "plain"}, sitters: []sitter{{"over", asleep}}, unload: []string{"over", "plain", "refine"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^over: put back: .*` + onTrial, `^plain: put back: .*` + onTrial},
		story: "over: CATCH, refine: CATCH, refine: UNCATCH, over: UNCATCH", states: "over: live, refine: live, plain: live", value: 247},

	{name: "UNCATCH: errno", load: []string{"over"}, ills: []ill{{"over", cmdUncatch, byErrno}}, sitters: []sitter{{"over", asleep}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^over: UNCATCH returned ` + enomem + `: it is live again all the same$`, `^over: put back: `},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},
	{name: "UNCATCH: fault", load: []string{"over"}, ills: []ill{{"over", cmdUncatch, byFault}}, sitters: []sitter{{"over", asleep}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrFault, says: []string{`^over: UNCATCH: ` + null + `.*: it is live again all the same$`, `^over: put back: `},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},
	{name: "UNCATCH: time", load: []string{"over"}, ills: []ill{{"over", cmdUncatch, byLoop}}, sitters: []sitter{{"over", asleep}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrFault, says: []string{`^over: UNCATCH: time limit of 80ms in .*: it is live again all the same$`, `^over: put back: `},
		story: "over: CATCH, over: UNCATCH", states: "over: live", value: 2},

	{name: "FINI: errno", load: []string{"over"}, ills: []ill{{"over", cmdFini, byErrno}}, unload: []string{"over"},
		kind: diag.ErrRefused, says: []string{`^over: FINI returned ` + enomem + `$`},
		story: "over: CATCH, over: FINI, over: UNCATCH", states: "over: live", value: 2},
	{name: "FINI: sleepers", load: []string{"over"}, sitters: slices.Repeat([]sitter{{"over", gated}}, 3), unload: []string{"over"}, story: "over: CATCH, over: FINI"},
	{name: "FINI: a sleeper that it cannot wake", load: []string{"over", "refine"}, sitters: []sitter{{"over", gated}}, unload: []string{"refine"}, wait: trialSoon,
		kind: diag.ErrRefused, says: []string{`^refine: FINI returned EAGAIN \(resource temporarily unavailable\); ` + where("refine", onTrial) + giveUp + `$`},
		story: "refine: CATCH, refine: FINI, refine: UNCATCH", states: "over: live, refine: live", value: 24},
	{name: "FINI: fault", load: []string{"over"}, ills: []ill{{"over", cmdFini, byFault}}, unload: []string{"over"},
		kind: diag.ErrDraining, says: []string{`^over` + outOf + `FINI: ` + null},
		story: "over: CATCH, over: FINI", states: "*", later: "none"},
	{name: "FINI: fault, and a sleeper", load: []string{"over"}, ills: []ill{{"over", cmdFini, byFault}}, sitters: []sitter{{"over", gated}}, unload: []string{"over"},
		kind: diag.ErrDraining, says: []string{`^over` + outOf + `FINI: ` + null},
		story: "over: CATCH, over: FINI", states: "over: draining", later: "none"},
	{name: "FINI: time", load: []string{"over"}, ills: []ill{{"over", cmdFini, byLoop}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrDraining, says: []string{`^over` + outOf + `FINI: time limit of 80ms in kernel: trial_told`},
		story: "over: CATCH, over: FINI", states: "*", later: "none"},
	{name: "destructor: fault", load: []string{"plain"}, ills: []ill{{"plain", cmdFini, byFault}}, unload: []string{"plain"},
		kind: diag.ErrDraining, says: []string{`^plain` + outOf + `destructor: ` + null},
		story: "plain: FINI", states: "*", later: "none"},

	{name: "proof: a thread inside", load: []string{"over"}, ills: []ill{{"over", cmdFini, byLie}}, sitters: []sitter{{"over", gated}}, unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrDraining, says: []string{`^over` + outOf + where("over", onTrial) + giveUp + `$`},
		story: "over: CATCH, over: FINI", states: "over: draining", later: "none"},

	{name: "several: dependents first", load: []string{"base", "over", "user", "refine", "layer"}, unload: []string{"base", "over", "refine", "user", "layer"},
		story: "base: CATCH, over: CATCH, refine: CATCH, user: CATCH, layer: CATCH, layer: FINI, refine: FINI, user: FINI, over: FINI, base: FINI"},
	{name: "several: the first FINI", load: []string{"over", "refine", "layer"}, ills: []ill{{"layer", cmdFini, byErrno}}, unload: []string{"over", "refine", "layer"},
		kind: diag.ErrRefused, says: []string{`^layer: FINI returned ` + enomem + `$`},
		story:  "over: CATCH, refine: CATCH, layer: CATCH, layer: FINI, layer: UNCATCH, refine: UNCATCH, over: UNCATCH",
		states: "over: live, refine: live, layer: live", value: 245},
	{name: "several: the second FINI", load: []string{"over", "refine", "layer"}, ills: []ill{{"refine", cmdFini, byErrno}}, unload: []string{"over", "refine", "layer"},
		kind: diag.ErrRefused, says: []string{`^refine: FINI returned ` + enomem + `; put back: over, refine; out of use: layer$`},
		story:  "over: CATCH, refine: CATCH, layer: CATCH, layer: FINI, refine: FINI, refine: UNCATCH, over: UNCATCH",
		states: "over: live, refine: live", value: 24},
	{name: "several: the second FINI faults", load: []string{"over", "refine", "layer"}, ills: []ill{{"refine", cmdFini, byFault}}, unload: []string{"over", "refine", "layer"},
		kind: diag.ErrDraining, says: []string{`^refine is out of use, and did not end; put back: over; out of use: layer, refine$`, `^refine` + outOf + `FINI: ` + null},
		story:  "over: CATCH, refine: CATCH, layer: CATCH, layer: FINI, refine: FINI, over: UNCATCH",
		states: "*", value: 2, later: "over: live"},
	{name: "several: the first lies", load: []string{"over", "refine"}, ills: []ill{{"refine", cmdFini, byLie}}, sitters: []sitter{{"refine", gated}}, unload: []string{"over", "refine"}, wait: trialSoon,
		kind: diag.ErrDraining, says: []string{`^refine is out of use, and did not end; put back: over; out of use: refine$`, `^refine` + outOf + where("refine", onTrial)},
		story:  "over: CATCH, refine: CATCH, refine: FINI, over: UNCATCH",
		states: "over: live, refine: draining", value: 2, later: "over: live"},
	{name: "several: the last lies", load: []string{"over", "refine"}, ills: []ill{{"over", cmdFini, byLie}}, sitters: []sitter{{"over", gated}}, unload: []string{"over", "refine"}, wait: trialSoon,
		kind: diag.ErrRefused, says: []string{`^refine: FINI returned EAGAIN`},
		story:  "over: CATCH, refine: CATCH, refine: FINI, refine: UNCATCH, over: UNCATCH",
		states: "over: live, refine: live", value: 24},

	{name: "no thread for CATCH", load: []string{"over"}, threads: 2, sitters: slices.Repeat([]sitter{{"over", asleep}}, 2), unload: []string{"over"}, wait: trialSoon,
		kind: diag.ErrBusy, says: []string{`^over: CATCH was not called: all 2 threads are in calls; klink jobs lists what they do$`},
		states: "over: live", value: -1},
}

// TestOutcomes goes through what can go wrong in an unload, row by row: what the command
// says, what the modules were told, and how they are afterwards. When those who are
// inside have left, and the modules do as they should, each can be unloaded.
func TestOutcomes(t *testing.T) {
	for _, o := range outcomes {
		t.Run(o.name, func(t *testing.T) { o.test(t) })
	}
}

func (o *outcome) test(t *testing.T) {
	tr := newTrial(t, cmp.Or(o.threads, 16), nil)
	for _, m := range o.load {
		tr.mustLoad(m)
	}
	for _, i := range o.ills {
		tr.behave(i.module, i.cmd, i.how)
	}
	tr.mem.Store32(trialHold, 1)
	var sit []longCall
	for _, s := range o.sitters {
		sit = append(sit, tr.sit("trial_f", s.module, s.how))
	}
	tr.story()
	before := tr.shape()
	wait := o.wait
	if wait == 0 {
		wait = trialWait
	}
	err := tr.unload(wait, o.unload...)
	o.checkError(t, err)
	if got := strings.Join(tr.story(), ", "); got != o.story {
		t.Errorf("told %s\nwant %s", got, o.story)
	}
	if got := strings.Join(tr.states(), ", "); o.states != "*" && got != o.states { // * may have drained by now
		t.Errorf("states %s, want %s", got, o.states)
	}
	if o.value >= 0 {
		if v := tr.value("trial_call", 0); v != o.value {
			t.Errorf("trial_f returns %d, want %d", v, o.value)
		}
		if v := tr.value("trial_call_entry", 0); v != o.value {
			t.Errorf("the entry of trial_f returns %d, want %d", v, o.value)
		}
	}
	if err != nil && !errors.Is(err, diag.ErrDraining) && !strings.Contains(err.Error(), "out of use") {
		if d := diff(before, tr.shape()); d != "" {
			t.Errorf("a refused unload changed something:\n%s", d)
		}
	}
	o.settle(t, tr, sit)
}

// settle lets all go on, and unloads what is left.
func (o *outcome) settle(t *testing.T, tr *trial, sit []longCall) {
	for i, c := range sit {
		tr.mem.Store32(trialGo+4*c.number, 1)
		if o.sitters[i].how != runs && o.threads == 0 {
			tr.call("trial_go", c.number)
		}
	}
	if o.threads > 0 { // no thread is idle that could wake them
		if _, err := tr.Wait(t.Context(), WaitRequest{Stop: true}); err != nil {
			t.Fatal(err)
		}
	} else {
		for _, c := range sit {
			tr.join(c)
		}
	}
	if o.later != "" {
		want := strings.ReplaceAll(o.later, "none", "")
		tr.until("drained", func() bool { return strings.Join(tr.states(), ", ") == want })
	}
	for _, m := range o.load {
		for cmd := range cmdNames {
			tr.behave(m, cmd, asItShould)
		}
		if tr.told(m, cmdFini) > 1 {
			t.Errorf("FINI of %s was called %d times", m, tr.told(m, cmdFini))
		}
	}
	tr.mem.Store32(trialHold, 0)
	for _, m := range slices.Backward(o.load) {
		if tr.stateOf(m) == "" {
			continue
		}
		if err := tr.unload(trialWait, m); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	if s := tr.states(); len(s) != 0 {
		t.Errorf("%v are left", s)
	}
	if v := tr.value("trial_call", 0); v != 0 {
		t.Errorf("the kernel's trial_f returns %d", v)
	}
}

func (o *outcome) checkError(t *testing.T, err error) {
	t.Helper()
	if o.kind == nil {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if !errors.Is(err, o.kind) {
		t.Fatalf("%v, want %v", err, o.kind)
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range o.says {
		re := regexp.MustCompile(want)
		if !slices.ContainsFunc(lines, re.MatchString) {
			t.Errorf("says\n%s\nwhich has no\n%s", err, want)
		}
	}
	if len(lines) != len(o.says) {
		t.Errorf("%d lines, want %d:\n%s", len(lines), len(o.says), err)
	}
}

// TestLoadOutcomes: an INIT that fails, in every way, alone and after others.
func TestLoadOutcomes(t *testing.T) {
	for _, o := range []struct {
		name  string
		ills  []ill
		load  []string
		kind  error
		says  string
		story string
	}{
		{"errno", []ill{{"over", cmdInit, byErrno}}, []string{"over"}, diag.ErrRefused, `^over: INIT returned ` + enomem + `$`, "over: INIT"},
		{"fault", []ill{{"over", cmdInit, byFault}}, []string{"over"}, diag.ErrFault, `^over: INIT: ` + null, "over: INIT"},
		{"time", []ill{{"over", cmdInit, byLoop}}, []string{"over"}, diag.ErrFault, `^over: INIT: time limit of 80ms in kernel: trial_told`, "over: INIT"},
		{"asleep", []ill{{"over", cmdInit, byHold}}, []string{"over"}, diag.ErrFault, `^over: INIT: time limit of 80ms in kernel: trial_told` + offset + `, asleep on "trial" on thread \d+`, "over: INIT"},
		{"constructor", []ill{{"plain", cmdInit, byFault}}, []string{"plain"}, diag.ErrFault, `^plain: constructor: ` + null, "plain: INIT"},
		{"the second", []ill{{"refine", cmdInit, byErrno}}, []string{"over", "refine", "layer"}, diag.ErrRefused, `^refine: INIT returned ` + enomem + `$`,
			"over: INIT, refine: INIT, over: FINI"},
		{"the third, and a FINI", []ill{{"layer", cmdInit, byFault}, {"over", cmdFini, byErrno}}, []string{"over", "refine", "layer"}, diag.ErrFault, `^layer: INIT: ` + null,
			"over: INIT, refine: INIT, layer: INIT, refine: FINI, over: FINI"},
	} {
		t.Run(o.name, func(t *testing.T) {
			tr := newTrial(t, 8, nil)
			tr.mustLoad("base", "user")
			for _, i := range o.ills {
				tr.behave(i.module, i.cmd, i.how)
			}
			tr.mem.Store32(trialHold, 1)
			tr.story()
			before := tr.shape()
			var r LoadRequest
			for _, n := range o.load {
				r.Modules = append(r.Modules, ModuleSpec{Files: []Source{liveFixture(t, "trial/"+n+".kmod")}})
			}
			r.Limit = trialWait
			if o.name == "time" || o.name == "asleep" {
				r.Limit = trialSoon
			}
			_, err := tr.Load(t.Context(), r)
			(&outcome{kind: o.kind, says: []string{o.says}}).checkError(t, err)
			if got := strings.Join(tr.story(), ", "); got != o.story {
				t.Errorf("told %s, want %s", got, o.story)
			}
			if d := diff(before, tr.shape()); d != "" {
				t.Errorf("a failed load left something behind:\n%s", d)
			}
			for _, i := range o.ills {
				tr.behave(i.module, i.cmd, asItShould)
			}
			tr.mustLoad(o.load...)
			if err := tr.unload(trialWait, o.load...); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClientGone: a command whose client goes away before FINI puts everything back;
// after that it carries on.
func TestClientGone(t *testing.T) {
	var cancel context.CancelFunc
	var at faultPoint
	tr := newTrial(t, 8, func(p faultPoint) error {
		if p == at {
			cancel()
		}
		return nil
	})
	tr.mustLoad("over")
	before := tr.shape()
	for _, c := range []struct {
		at     faultPoint
		sits   bool
		story  string
		done   bool
		behave uint64
	}{
		{at: faultCatch, story: "over: CATCH, over: UNCATCH"},
		{at: faultRelink, story: "over: CATCH, over: UNCATCH"},
		{at: faultGrace, sits: true, story: "over: CATCH, over: UNCATCH"},
		{at: faultGrace, story: "over: CATCH, over: UNCATCH"},
		{at: faultFini, story: "over: CATCH, over: FINI", done: true},
		{at: faultProof, story: "over: CATCH, over: FINI", done: true},
		{at: faultReclaim, story: "over: CATCH, over: FINI", done: true},
	} {
		name := fmt.Sprintf("%s, %v", c.at, c.sits)
		if tr.stateOf("over") == "" {
			tr.mustLoad("over")
		}
		var sit longCall
		if c.sits {
			sit = tr.sit("trial_f", "over", asleep)
		}
		tr.story()
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		at = c.at
		report, err := tr.Unload(ctx, UnloadRequest{Modules: []string{"over"}, Wait: trialWait})
		at = ""
		cancel()
		if got := strings.Join(tr.story(), ", "); got != c.story {
			t.Errorf("%s: told %s, want %s", name, got, c.story)
		}
		if c.done {
			if err != nil || tr.stateOf("over") != "" || len(report.Unloaded) != 1 {
				t.Errorf("%s: %v, %v", name, err, tr.states())
			}
			continue
		}
		if !errors.Is(err, context.Canceled) || tr.stateOf("over") != stateLive {
			t.Errorf("%s: %v, %v", name, err, tr.states())
		}
		if d := diff(before, tr.shape()); d != "" {
			t.Errorf("%s: something changed:\n%s", name, d)
		}
		if c.sits {
			tr.release(sit)
		}
	}
}
