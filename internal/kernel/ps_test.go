package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/runner"
)

// detach begins calls and returns the job's number.
func (b *liveBench) detach(function string, args ...uint64) int {
	b.tb.Helper()
	r := CallRequest{Function: function, Detach: true, Limit: -1}
	for _, a := range args {
		r.Args = append(r.Args, Arg{Word: a})
	}
	report, err := b.Call(b.tb.Context(), r)
	if err != nil {
		b.tb.Fatal(err)
	}
	return report.Job
}

// threadsWhen asks again and again until what Threads says is as wanted.
func (b *liveBench) threadsWhen(what string, is func(*ThreadsReport) bool) *ThreadsReport {
	b.tb.Helper()
	var r *ThreadsReport
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if r, err = b.Threads(); err != nil {
			b.tb.Fatal(err)
		}
		if is(r) {
			return r
		}
	}
	b.tb.Fatalf("never %s: %+v", what, r)
	return nil
}

// thread returns the one that serves a job, or runs a function.
func (r *ThreadsReport) thread(is func(*ThreadInfo) bool) *ThreadInfo {
	if i := slices.IndexFunc(r.Threads, func(t ThreadInfo) bool { return is(&t) }); i >= 0 {
		return &r.Threads[i]
	}
	return nil
}

func (r *ThreadsReport) job(n int) *ThreadInfo {
	return r.thread(func(t *ThreadInfo) bool { return t.Job == n })
}

// TestThreads: sleepers, kernel threads and loops are told with what they run, where they
// are, and which gates they are in.
func TestThreads(t *testing.T) {
	b := newLive(t)
	b.mustBring("kpi/gates.o", "fault/fault.kmod", "life/stay_kernel.o", "life/stay.kmod")
	b.call("gates_init")
	sleeper, loop, drain := b.detach("sleep_inside"), b.detach("loop"), 0
	r := b.threadsWhen("two asleep, one running", func(r *ThreadsReport) bool {
		s, l := r.job(sleeper), r.job(loop)
		k := r.thread(func(t *ThreadInfo) bool { return t.Kernel && t.Sleep != nil })
		return s != nil && s.Sleep != nil && l != nil && l.At != nil && k != nil
	})
	if len(r.Threads) != 3 || r.Idle != 13 || r.Note != "" {
		t.Errorf("%+v", r)
	}
	kthread := r.thread(func(t *ThreadInfo) bool { return t.Kernel })
	for _, c := range []struct {
		got                            *ThreadInfo
		state, function, module        string
		modules                        []ThreadIn
		atModule, at, why, name, gates string
	}{
		{r.job(sleeper), ThreadAsleep, "sleep_inside", "gates", []ThreadIn{{Module: "kernel"}, {Module: "gates"}}, "gates", "sleep_inside", "inside", "", "first gate"},
		{r.job(loop), ThreadRunning, "loop", "fault", []ThreadIn{{Module: "fault"}}, "fault", "loop", "", "", ""},
		{kthread, ThreadAsleep, "stay_body", "stay", []ThreadIn{{Module: "kernel"}, {Module: "stay_kernel"}, {Module: "stay"}, {Module: "kernel"}},
			"stay_kernel", "stay_here", "stay", "stay", ""},
	} {
		g := c.got
		why := ""
		if g.Sleep != nil {
			why = g.Sleep.Why
			if g.Sleep.On == 0 {
				t.Errorf("%s sleeps on nothing", c.function)
			}
		}
		if g.State != c.state || g.Function != c.function || g.Module != c.module || g.At.Module != c.atModule || g.At.Func != c.at ||
			why != c.why || g.Name != c.name || strings.Join(g.Gates, ",") != c.gates || g.Since <= 0 {
			t.Errorf("%s: %+v, at %+v", c.function, g, g.At)
		}
		if d := cmp.Diff(c.modules, g.Modules); d != "" {
			t.Errorf("%s is in (-want +got):\n%s", c.function, d)
		}
	}

	// One is inside of the first gate; who drains it sleeps for it.
	wantGates := []GateInfo{
		{Name: "a name of more than thirty-one ", Module: "gates", State: GateOpen},
		{Name: "first gate", Module: "gates", State: GateOpen, Inside: 1, Entrances: 1},
	}
	if d := cmp.Diff(wantGates, noAddr(r.Gates)); d != "" {
		t.Errorf("gates (-want +got):\n%s", d)
	}
	if at, _, err := b.locate("gate"); err != nil || r.Gates[1].Addr != Addr(at) {
		t.Errorf("the gate is at %v, not %#x: %v", r.Gates[1].Addr, at, err)
	}
	b.call("catch")
	b.value("once")
	drain = b.detach("drain", 0)
	r = b.threadsWhen("draining", func(r *ThreadsReport) bool { d := r.job(drain); return d != nil && d.Sleep != nil })
	wantGates[1] = GateInfo{Name: "first gate", Module: "gates", State: GateCatching, Inside: 1, Entrances: 2, Exits: 1, ByMutex: 2}
	if d := cmp.Diff(wantGates, noAddr(r.Gates)); d != "" || r.job(drain).Sleep.Why != "gate_drain" || r.job(drain).Sleep.On != r.Gates[1].Addr {
		t.Errorf("%+v; gates (-want +got):\n%s", r.job(drain), d)
	}

	for _, f := range []string{"wake_all", "go_on"} {
		b.call(f)
	}
	if _, err := b.Wait(t.Context(), WaitRequest{Jobs: []int{sleeper, drain}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Wait(t.Context(), WaitRequest{Stop: true}); err != nil {
		t.Fatal(err)
	}
	b.call("destroy")
	r = b.threadsWhen("idle", func(r *ThreadsReport) bool { return r.Idle == 16 })
	if len(r.Threads) != 0 || r.Threads == nil || len(r.Gates) != 1 {
		t.Errorf("%+v", r)
	}
}

// noAddr returns gates without their addresses.
func noAddr(list []GateInfo) []GateInfo {
	list = slices.Clone(list)
	for i := range list {
		list[i].Addr = 0
	}
	return list
}

// firstReturn returns the first address in a module's text that a call returns to.
func (b *liveBench) firstReturn(m *module) uint64 {
	b.tb.Helper()
	for at := m.at[link.Text] + 8; m.holds(at); at++ {
		if b.afterCall(m, at) {
			return at
		}
	}
	b.tb.Fatalf("%s calls nothing", m.name)
	return 0
}

// TestThreadsGuess: from a module without unwind tables on, callers are found by scanning.
func TestThreadsGuess(t *testing.T) {
	b := newLive(t)
	b.mustBring("fault/bare.kmod", "kpi/gates.o")
	job := b.detach("loop")
	r := b.threadsWhen("in its loop", func(r *ThreadsReport) bool { j := r.job(job); return j != nil && j.At != nil })
	if j := r.job(job); j.At.Func != "loop" || !cmp.Equal(j.Modules, []ThreadIn{{Module: "bare"}}) {
		t.Errorf("%+v at %+v", j, j.At)
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	names := b.names()
	gates, kernel := b.byName["gates"], b.byName[KernelName]
	inGates, inKernel := b.firstReturn(gates), b.firstReturn(kernel)
	v := runner.View{StackAddr: 0x7000}
	v.Regs.PC, v.Regs.SP = b.byName["bare"].at[link.Text]+4, 0x7000
	for _, w := range []uint64{1, inGates, inGates, inGates + 1, inKernel, ^uint64(0)} {
		v.Stack = binary.LittleEndian.AppendUint64(v.Stack, w)
	}
	var got ThreadInfo
	b.whereIn(names, &v, &got)
	if d := cmp.Diff([]ThreadIn{{Module: "bare"}, {Module: "gates", Guess: true}, {Module: "kernel", Guess: true}}, got.Modules); d != "" || got.At.Module != "bare" {
		t.Errorf("at %+v (-want +got):\n%s", got.At, d)
	}

	// In klink's own functions, it is who called them that matters.
	own, ok := kernel.own("mutex_enter")
	if !ok || !kernel.isOwn(own) || gates.isOwn(inGates) {
		t.Fatalf("mutex_enter at %#x, %v", own, ok)
	}
	v.Regs.PC, got = own, ThreadInfo{}
	v.Regs.R[30] = inGates // where aarch64 has it, at the start of a function
	v.Stack = binary.LittleEndian.AppendUint64(nil, inGates)
	b.whereIn(names, &v, &got)
	if got.At == nil || got.At.Module != "gates" || got.At.Addr != Addr(inGates) || len(got.Modules) != 2 {
		t.Errorf("%+v at %+v", got, got.At)
	}
	v.Stack, v.Regs.R[30], got = nil, 0, ThreadInfo{}
	b.whereIn(names, &v, &got)
	if got.At == nil || got.At.Func != "mutex_enter" || len(got.Modules) != 1 {
		t.Errorf("%+v at %+v", got, got.At)
	}
}

// TestThreadsLost: of a host that runs nothing there is nothing to be told.
func TestThreadsLost(t *testing.T) {
	b := newLive(t)
	b.mustBring("fault/fault.kmod")
	if err := b.live.run.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := b.Threads(); r != nil || !errors.Is(err, diag.ErrLost) || !strings.Contains(err.Error(), "klink boot starts afresh") {
		t.Errorf("lost: %+v, %v", r, err)
	}
	bare, err := New(Config{Bare: true, Machine: HostMachine()})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := bare.Threads(); r != nil || !errors.Is(err, diag.ErrMachine) {
		t.Errorf("bare: %+v, %v", r, err)
	}
	if err := bare.Close(); err != nil {
		t.Error(err)
	}
}

// gateData is data at 0x1000 whose first word is the head of a list of gates.
type gateData struct{ dataView }

const gateDataLo = 0x1000

func newGateData(size uint64) gateData {
	return gateData{dataView{gateDataLo, make([]byte, size)}}
}

func (d gateData) put(addr, v uint64) { binary.LittleEndian.PutUint64(d.b[addr-d.lo:], v) }

// gateAt writes a state for two threads.
func (d gateData) gateAt(at, next uint64, name string) {
	d.put(at, 2<<32|gateIsMagic)
	d.put(at+gateNext, next)
	d.put(at+gateGate, at+1)
	d.put(at+gateHome, at+2)
	d.put(at+gateByMutex, 5)
	copy(d.b[at-d.lo+gateName:][:gateNameSize], name)
	for i := range uint64(2) {
		d.put(at+gateSlots+i*gateSlotSize, 10+i)
		d.put(at+gateSlots+i*gateSlotSize+8, 4)
	}
}

// TestGateList: what modules may have made of the list of gates.
func TestGateList(t *testing.T) {
	const a, b, size = 0x1040, 0x1240, 0x1000
	for _, c := range []struct {
		name  string
		spoil func(gateData)
		head  uint64
		gates string
		note  string
	}{
		{"whole", func(gateData) {}, gateDataLo, "A B", ""},
		{"empty", func(d gateData) { d.put(gateDataLo, 0) }, gateDataLo, "", ""},
		{"head outside", func(gateData) {}, 0x800, "", "the head of the list of gates is not in data"},
		{"head unaligned", func(gateData) {}, gateDataLo + 4, "", "the head of the list of gates is not in data"},
		{"a circle", func(d gateData) { d.put(b+gateNext, a) }, gateDataLo, "A B", "the list of gates runs in a circle"},
		{"itself", func(d gateData) { d.put(a+gateNext, a) }, gateDataLo, "A", "the list of gates runs in a circle"},
		{"outside", func(d gateData) { d.put(a+gateNext, 1<<63) }, gateDataLo, "A", "the list of gates leads to 0x8000000000000000, where no gate is"},
		{"below", func(d gateData) { d.put(a+gateNext, 8) }, gateDataLo, "A", "leads to 0x8, where no gate is"},
		{"unaligned", func(d gateData) { d.put(a+gateNext, b+1) }, gateDataLo, "A", "leads to 0x1241, where no gate is"},
		{"at the end", func(d gateData) { d.put(a+gateNext, gateDataLo+size) }, gateDataLo, "A", "leads to 0x2000, where no gate is"},
		{"over the end", func(d gateData) { d.put(a+gateNext, gateDataLo+size-8) }, gateDataLo, "A", "where no gate is"},
		{"destroyed", func(d gateData) { d.put(b, 2<<32) }, gateDataLo, "A", "leads to 0x1240, where no gate is"},
		{"slots", func(d gateData) { d.put(b, 3<<32|gateIsMagic) }, gateDataLo, "A", "where no gate is"},
		{"all slots", func(d gateData) { d.put(b, 0xffffffff<<32|gateIsMagic) }, gateDataLo, "A", "where no gate is"},
		{"slots over the end", func(d gateData) {
			d.put(a+gateNext, gateDataLo+size-gateSlots)
			d.put(gateDataLo+size-gateSlots, 1<<32|gateIsMagic)
		}, gateDataLo, "A", "where no gate is"},
	} {
		d := newGateData(size)
		d.put(gateDataLo, a)
		d.gateAt(a, b, "A")
		d.gateAt(b, 0, "B")
		c.spoil(d)
		list, note := d.gates(c.head, 2)
		var names []string
		for _, g := range list {
			names = append(names, g.Name)
		}
		if got := strings.Join(names, " "); got != c.gates || !strings.Contains(note, c.note) || (note == "") != (c.note == "") {
			t.Errorf("%s: %q, %q; want %q, %q", c.name, got, note, c.gates, c.note)
		}
	}

	d := newGateData(size)
	d.gateAt(a, 0, "a\x1b[2J\xff and so on, to the very end")
	d.put(a+gateCaught, 0xffffffff00000001)
	d.put(a+gateSlots+8, 1<<63)
	g, next, ok := d.gate(a, 128)
	want := gateState{GateInfo{Name: `a\x1b[2J\xff and so on, to the very en`, Addr: a + 1, State: GateCatching,
		Inside: -1<<63 + 17, Entrances: 21, Exits: 1<<63 + 4, ByMutex: 5}, a, a + 2}
	if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", g)); diff != "" || !ok || next != 0 {
		t.Errorf("%v %#x (-want +got):\n%s", ok, next, diff)
	}
}

// TestGateCounts: who comes and goes while the counters are summed is never seen as one
// who left without having come.
func TestGateCounts(t *testing.T) {
	const a, slots = gateDataLo + 8, 64
	d := newGateData(8 + gateSlots + slots*gateSlotSize)
	d.put(a, slots<<32|gateIsMagic)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		in := d.b[a-gateDataLo+gateSlots+gateSlotSize*slots/2:]
		for n := uint64(1); ; n++ {
			store64(in, n)
			store64(in[8:], n)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 20000 {
		if g, _, ok := d.gate(a, slots); !ok || g.Inside < 0 {
			t.Errorf("%v: %+v", ok, g)
			break
		}
	}
	close(stop)
	<-done
}

// TestManyGates: the walk ends.
func TestManyGates(t *testing.T) {
	const step = gateSlots + 2*gateSlotSize
	d := newGateData(8 + (maxGates+2)*step)
	d.put(gateDataLo, gateDataLo+8)
	for i := range uint64(maxGates + 2) {
		at := gateDataLo + 8 + i*step
		d.gateAt(at, at+step, "")
	}
	list, note := d.gates(gateDataLo, 2)
	if len(list) != maxGates || note != fmt.Sprintf("there are more than %d gates", maxGates) {
		t.Errorf("%d, %q", len(list), note)
	}
}

// FuzzGates: whatever is in data, the list of gates ends and stays in it.
func FuzzGates(f *testing.F) {
	const a, size = 0x1040, 0x400
	d := newGateData(size)
	d.put(gateDataLo, a)
	d.gateAt(a, a+0x100, "A")
	d.gateAt(a+0x100, 0, "B")
	f.Add(d.b, uint64(gateDataLo), 2)
	f.Add([]byte("klink"), uint64(0), 0)
	f.Fuzz(func(t *testing.T, b []byte, head uint64, threads int) {
		d := newGateData(uint64(len(b)+7) &^ 7)
		copy(d.b, b)
		list, _ := d.gates(head, threads&1023)
		if len(list) > len(d.b)/8 {
			t.Errorf("%d gates in %d bytes", len(list), len(b))
		}
	})
}
