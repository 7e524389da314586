package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"klink/internal/arch"
	"klink/internal/insn"
	"klink/internal/kernel"
	"klink/internal/testing/manysites"
)

// objs is where the fixtures are from here.
const objs = "../../../testdata/objs"

// How much the short hammer does. With one processor every handshake waits for the
// threads to be preempted, so there it does less.
var (
	testThreads  = min(2, runtime.NumCPU())
	testCommands = map[bool]int{true: 300, false: 40}[runtime.NumCPU() > 1]
)

const testCalls = 2_000_000

// apart is how many sites, which nobody runs through, lie between the two groups of
// sites that the threads do run through. A switch of all of them takes so long that a
// thread would meet both groups in the meantime if it was not one event.
const apart = 16_000

func begin(t *testing.T, seed uint64) *hammer {
	t.Helper()
	between := kernel.Source{Name: "between.o", Path: filepath.Join(t.TempDir(), "between.o")}
	o := manysites.New(kernel.HostMachine(), apart, functions...)
	if err := os.WriteFile(between.Path, o.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := start(t.Context(), config{objs: objs, threads: testThreads, seed: seed, between: []kernel.Source{between}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestHammer(t *testing.T) {
	h := begin(t, 1)
	h.phase(phaseSwitches)
	for (h.commands < testCommands || h.calls() < testCalls) && h.wrong() == 0 {
		if _, err := h.step(); err != nil {
			t.Fatal(err)
		}
		h.compareModel(t)
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if h.wrong()+h.unchecked() > 0 {
		t.Errorf("of %d calls during %d switches %d went wrong, %d could not be checked", h.calls(), len(h.switches), h.wrong(), h.unchecked())
	}
	for _, c := range h.complaints() {
		t.Error(c)
	}
	t.Logf("%d calls, %d commands, %d switches, %d traps", h.calls(), h.commands, len(h.switches), h.traps)
}

// functions are the names of what the hammer calls.
var functions = []string{"hammer_0", "hammer_1", "hammer_2", "hammer_3", "hammer_4", "hammer_5", "hammer_6", "hammer_7"}

// compareModel compares the model of the stacks with the kernel's.
func (h *hammer) compareModel(t *testing.T) {
	t.Helper()
	var top [symbols]string
	for s := range top {
		top[s] = kernel.KernelName
	}
	for _, i := range h.model.loaded {
		for s := range top {
			if modules[i].set>>s&1 != 0 {
				top[s] = modules[i].name
			}
		}
	}
	list, err := h.k.Alias(functions, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range list {
		want := top[slices.Index(functions, info.Symbol)]
		if got := info.Providers[0].Module; got != want {
			t.Fatalf("after command %d, %s is provided by %s; the model says %s", h.epoch, info.Symbol, got, want)
		}
	}
}

// TestWrongIsFound tells the threads that what they get is wrong: each must complain.
func TestWrongIsFound(t *testing.T) {
	h := begin(t, 2)
	h.epoch++
	for s := range symbols {
		h.shared.Store32(offLog+h.epoch*epochSize+uint64(4*s), 99)
	}
	h.shared.Store64(offPending, h.epoch)
	h.shared.Store64(offSettled, h.epoch)
	for slot := range h.threads {
		for h.shared.Load64(thread(slot, threadWrong)) < records {
			if err := h.alive(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(h.complaints()); n != h.threads*records {
		t.Errorf("%d complaints", n)
	}
}

// TestSites looks whether there is a site of each form at each offset of a cache line,
// and one across the end of a page at each split.
func TestSites(t *testing.T) {
	h := begin(t, 3)
	live := map[uint64]string{}
	list, err := h.k.Sites(kernel.SitesRequest{Module: kernel.KernelName})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		live[uint64(s.Addr)] = s.Form
	}
	offsets, splits, conditions := map[insn.Form]map[uint64]bool{}, map[insn.Form]map[uint64]bool{}, map[string]bool{}
	for i, s := range h.sites {
		if s.form >= formShort {
			continue
		}
		f := insn.Form(s.form)
		form, ok := live[s.addr]
		if !ok || form != f.String() && f != insn.Jcc32 {
			t.Fatalf("row %d says there is a %v at %#x; there is %q", i, f, s.addr, form)
		}
		if f == insn.Jcc32 {
			conditions[form] = true
		}
		if offsets[f] == nil {
			offsets[f], splits[f] = map[uint64]bool{}, map[uint64]bool{}
		}
		offsets[f][s.addr%64] = true
		if in := 4096 - s.addr%4096; in < uint64(f.Len()) {
			splits[f][in] = true
		}
	}
	want := map[arch.Machine][]insn.Form{
		arch.AMD64: {insn.Call32, insn.Jmp32, insn.AddrCall32, insn.JmpNop32, insn.Jcc32},
		arch.ARM64: {insn.BL, insn.B},
	}[h.machine]
	step := int(h.machine.Facts().InsnAlign)
	for _, f := range want {
		if len(offsets[f]) != 64/step {
			t.Errorf("%v: %d offsets in a cache line", f, len(offsets[f]))
		}
		if n := f.Len()/step - 1; len(splits[f]) != n {
			t.Errorf("%v: %d of %d splits across a page's end", f, len(splits[f]), n)
		}
	}
	if h.machine == arch.AMD64 && len(conditions) != 16 {
		t.Errorf("%d conditions", len(conditions))
	}
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
}

// TestModel looks at the model's own rules on a long run of commands.
func TestModel(t *testing.T) {
	m := newModel(4)
	seen := map[int]bool{}
	for range 1000 {
		c := m.choose()
		seen[len(c.modules)] = true
		overrides := [symbols]int{}
		for _, i := range m.loaded {
			for s := range overrides {
				if modules[i].override && modules[i].set>>s&1 != 0 {
					overrides[s]++
				}
			}
		}
		if slices.Max(overrides[:]) > 1 {
			t.Fatalf("two overrides of one symbol: %v", m.loaded)
		}
		if g := m.current(); len(m.loaded) == 0 && g != [symbols]uint32{} {
			t.Fatalf("nothing is loaded, and the generations are %v", g)
		}
	}
	if len(seen) != maxBatch {
		t.Errorf("commands of %v modules", seen)
	}
}
