package patch

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/insn"
)

var machines = []arch.Machine{arch.AMD64, arch.ARM64}

// everyForm is a world with sites of every form in slots 1 and 2, across page
// boundaries wherever the form's alignment allows that, an entry in slot 3 that
// traps, and a slot 4 that nobody moves.
func everyForm(m arch.Machine) *world {
	w := newWorld(m, 3<<18)
	w.leads = map[uint32]uint64{1: 0x10800000, 2: 0x10800040, 3: 0, 4: 0x10800080}
	for module := range uint32(3) {
		var sites [5][]Site // by slot; those of different slots take turns
		for _, f := range formsOf[m] {
			for k := range f.Len() {
				for slot := 1; slot <= 4; slot++ {
					align := alignOf(m, f)
					at := w.room(f.Len(), align, 0)
					if module == 0 && uint64(k)%align == 0 { // k bytes before a page's end
						at = (at+uint64(k)+4095)&^4095 - uint64(k)
						w.next = at + uint64(f.Len())
					}
					sites[slot] = append(sites[slot], Site{Addr: at, Form: f})
				}
			}
		}
		for slot := uint32(1); slot <= 4; slot++ {
			w.add(module, slot, sites[slot])
		}
	}
	return w
}

var someMoves = []Move{
	{Slot: 1, Old: 0x10800000, New: 0x10900000}, // another provider
	{Slot: 2, Old: 0x10800040, New: 0},          // nobody any more
	{Slot: 3, Old: 0, New: 0x10900080},          // the first one
	{Slot: 4, Old: 0x10800080, New: 0x10800080}, // none
	{Slot: 9, Old: 1, New: 2},                   // without sites
}

// TestProtocol: the steps in their order, with threads at every one of them.
func TestProtocol(t *testing.T) {
	for _, m := range machines {
		t.Run(m.String(), func(t *testing.T) {
			w := everyForm(m)
			before := slices.Clone(w.mem.bytes)
			s, err := Plan(w.mem, m, &w.index, someMoves)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(w.mem.bytes, before) {
				t.Fatal("planning wrote to text")
			}
			if n := w.index.Count(1) + w.index.Count(2) + w.index.Count(3); s.Len() != n || len(s.Edits()) != n {
				t.Errorf("%d edits, want %d", s.Len(), n)
			}
			k := newWatch(t, w, someMoves)
			if err := s.Run(k); err != nil || !s.Turned() {
				t.Fatal(err, s.Turned())
			}
			if got, want := strings.Join(k.log, " "), "publish sync turn sync sync withdraw"; got != want {
				t.Errorf("steps %s, want %s", got, want)
			}
			if !bytes.Equal(w.mem.bytes, k.final) {
				t.Error("the text is not the new one")
			}
			differ := 0
			for i := range before {
				if before[i] != w.mem.bytes[i] {
					differ++
				}
			}
			if s.Bytes() != differ {
				t.Errorf("Bytes says %d, %d differ", s.Bytes(), differ)
			}
		})
	}
}

// pieces is memory of which no more than one site at a time can be had.
type pieces struct{ span }

func (m pieces) Bytes(addr, n uint64) []byte {
	if n > maxLen {
		return nil
	}
	return m.span.Bytes(addr, n)
}

// TestPieces: memory that breaks its promise is refused.
func TestPieces(t *testing.T) {
	w := everyForm(arch.AMD64)
	if _, err := Plan(pieces{w.mem}, arch.AMD64, &w.index, someMoves); !errors.Is(err, diag.ErrRange) || err.Error() != "the sites do not lie in one piece of memory" {
		t.Error(err)
	}
}

// TestErrorAtEveryStep: whole or absent, whichever step fails.
func TestErrorAtEveryStep(t *testing.T) {
	for _, m := range machines {
		for failAt, want := range map[int]struct {
			steps, text string
			turned      bool
		}{
			1: {"publish", "did not happen (publish)", false},
			2: {"publish sync sync withdraw", "did not happen (first barrier)", false},
			3: {"publish sync turn sync withdraw", "did not happen (turn)", false},
			4: {"publish sync turn sync sync withdraw", "happened, but (second barrier)", true},
			5: {"publish sync turn sync sync withdraw", "happened, but (third barrier)", true},
			6: {"publish sync turn sync sync withdraw", "happened, but (withdraw)", true},
		} {
			w := everyForm(m)
			s, err := Plan(w.mem, m, &w.index, someMoves)
			if err != nil {
				t.Fatal(err)
			}
			k := newWatch(t, w, someMoves)
			k.failAt = failAt
			err = s.Run(k)
			if err == nil || !strings.Contains(err.Error(), want.text+": injected") || !errors.Is(err, diag.ErrIO) {
				t.Errorf("step %d: error %v, want %s", failAt, err, want.text)
			}
			if got := strings.Join(k.log, " "); got != want.steps {
				t.Errorf("step %d: steps %s, want %s", failAt, got, want.steps)
			}
			text := k.initial
			if want.turned {
				text = k.final
			}
			if s.Turned() != want.turned || !bytes.Equal(w.mem.bytes, text) {
				t.Errorf("step %d: turned %v; the text is not the one that goes with it", failAt, s.Turned())
			}
		}
	}
}

// deaf fails every step from number from on.
type deaf struct {
	from, calls int
	err         error
}

func (d *deaf) step() error {
	if d.calls++; d.calls >= d.from {
		return d.err
	}
	return nil
}
func (d *deaf) Publish(uint64, []Edit) error { return d.step() }
func (d *deaf) Sync() error                  { return d.step() }
func (d *deaf) Turn(uint64) error            { return d.step() }
func (d *deaf) Withdraw(uint64) error        { return d.step() }

// TestRunnerDies: from some step on nothing is answered; the text is whole all the
// same, and the error keeps its kind.
func TestRunnerDies(t *testing.T) {
	for _, m := range machines {
		for from := 1; from <= 6; from++ {
			w := everyForm(m)
			initial, final := slices.Clone(w.mem.bytes), w.text(w.after(someMoves))
			s, err := Plan(w.mem, m, &w.index, someMoves)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Run(&deaf{from: from, err: diag.New(diag.ErrNoHost, "", "the runner died")})
			if !errors.Is(err, diag.ErrNoHost) {
				t.Errorf("from step %d: %v", from, err)
			}
			if text := map[bool][]byte{false: initial, true: final}[from > 3]; s.Turned() != (from > 3) || !bytes.Equal(w.mem.bytes, text) {
				t.Errorf("from step %d: turned %v; the text is not the one that goes with it", from, s.Turned())
			}
		}
	}
}

// TestOrder: sites of several symbols and modules that lie mixed, in few lists or in
// many, come out by address and compared, whatever the lists' lengths.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(arch.AMD64, 64<<10)
		n := rapid.SampledFrom([]int{1, 10, 100, block - 1, block, 3 * block}).Draw(t, "sites")
		slots := rapid.IntRange(1, 4).Draw(t, "slots")
		modules := rapid.IntRange(1, 4).Draw(t, "modules")
		mixed := rapid.IntRange(1, n).Draw(t, "mixed") // so many sites in a row may be anyone's
		seed := rapid.Uint64().Draw(t, "seed")
		lists := map[[2]uint32][]Site{}
		var moves []Move
		for i := range n {
			seed = seed*6364136223846793005 + 1442695040888963407
			owner := [2]uint32{uint32(i / mixed % modules), uint32(i / mixed % slots)}
			if seed>>60 < 4 {
				owner = [2]uint32{uint32(seed >> 40 % uint64(modules)), uint32(seed >> 20 % uint64(slots))}
			}
			lists[owner] = append(lists[owner], Site{Addr: w.room(5, 1, seed>>50%9), Form: insn.Call32})
		}
		for slot := range uint32(slots) {
			w.leads[slot] = 0x10800000 + uint64(slot)*16
			moves = append(moves, Move{slot, w.leads[slot], 0x10900000})
		}
		for owner, sites := range lists {
			w.add(owner[0], owner[1], sites)
		}
		s, err := Plan(w.mem, arch.AMD64, &w.index, moves)
		if err != nil || s.Len() != n {
			t.Fatal(s.Len(), err)
		}
		if err := s.Run(newWatch(t, w, moves)); err != nil {
			t.Fatal(err)
		}
		at := rapid.Uint64Range(0, uint64(n)-1).Draw(t, "tampered")
		e := s.Edits()[at]
		w.mem.Bytes(uint64(e.Addr), 1)[0] ^= 1
		for i := range moves {
			moves[i].Old, moves[i].New = moves[i].New, moves[i].Old
		}
		if _, err := Plan(w.mem, arch.AMD64, &w.index, moves); !errors.Is(err, diag.ErrTextChanged) || len(diag.Lines(err)) != 1 {
			t.Fatalf("one site was changed: %v", err)
		}
	})
}

func TestNothingToDo(t *testing.T) {
	w := everyForm(arch.AMD64)
	s, err := Plan(w.mem, arch.AMD64, &w.index, someMoves[3:])
	if err != nil || s.Len() != 0 || s.Bytes() != 0 {
		t.Fatal(s.Len(), s.Bytes(), err)
	}
	if err := s.Run(&deaf{from: 1, err: errInjected}); err != nil || !s.Turned() {
		t.Error("a switch without edits took a step:", err, s.Turned())
	}
	next, err := Plan(w.mem, arch.AMD64, &w.index, nil)
	if err != nil || next.Generation() <= s.Generation() {
		t.Error(next.Generation(), s.Generation(), err)
	}
	mustPanic(t, "a second Run", func() { s.Run(Alone()) })
	if _, err := Plan(w.mem, arch.AMD64, &w.index, nil); err != nil {
		t.Fatal(err)
	}
	mustPanic(t, "a switch that was planned before another", func() { next.Run(Alone()) })
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	f()
}

// TestTampered: a site that does not hold what klink wrote there, in any byte.
func TestTampered(t *testing.T) {
	for _, m := range machines {
		w := everyForm(m)
		before := slices.Clone(w.mem.bytes)
		for at, site := range w.isSite {
			if w.slotOf[at] == 4 {
				continue
			}
			for i := range site.Form.Len() {
				b := w.mem.Bytes(at, uint64(site.Form.Len()))
				b[i] ^= 0x10
				_, err := Plan(w.mem, m, &w.index, someMoves)
				if !errors.Is(err, diag.ErrTextChanged) || len(diag.Lines(err)) != 1 {
					t.Errorf("%v at %#x, byte %d: %v", site.Form, at, i, err)
				}
				b[i] ^= 0x10
				if !bytes.Equal(w.mem.bytes, before) {
					t.Fatal("a refused plan wrote to text")
				}
			}
		}
		if _, err := Plan(w.mem, m, &w.index, someMoves); err != nil {
			t.Error("after all was put right:", err)
		}
	}
}

// TestRefusals: the text of each, with every root cause in one error.
func TestRefusals(t *testing.T) {
	const far = worldBase + 1<<28
	cases := []struct {
		name  string
		m     arch.Machine
		kind  error
		sites []Site
		moves []Move
		want  string
	}{
		{"text changed", arch.AMD64, diag.ErrTextChanged,
			[]Site{{Addr: worldBase, Form: insn.Call32}, {Addr: worldBase + 7, Form: insn.JmpNop32}}, []Move{{1, 0x10000100, 0x10000200}},
			"the site 0x10000000 (call) holds 01 08 0f 16 1d, not e8 fb 00 00 00 as klink wrote there; nothing was changed\n" +
				"the site 0x10000007 (jmp) holds 32 39 40 47 4e 55, not e9 f4 00 00 00 90 as klink wrote there; nothing was changed"},
		{"no trap", arch.AMD64, diag.ErrTextChanged,
			[]Site{{Addr: worldBase, Form: insn.Jmp32}}, []Move{{1, 0, 0x10000200}},
			"the site 0x10000000 (jmp) holds 01 08 0f 16 1d, not cc cc cc cc cc as klink wrote there; nothing was changed"},
		{"out of reach", arch.ARM64, diag.ErrRange,
			[]Site{{Addr: worldBase, Form: insn.BL}}, []Move{{1, worldBase + 64, far}},
			"the site 0x10000000 (bl) cannot reach 0x20000000 (+0x10000000 away), and has no veneer"},
		{"was out of reach", arch.ARM64, diag.ErrRange,
			[]Site{{Addr: worldBase, Form: insn.BL}}, []Move{{1, far, worldBase + 64}},
			"the site 0x10000000 (bl) cannot reach 0x20000000 (+0x10000000 away), and has no veneer"},
		{"veneer out of reach", arch.ARM64, diag.ErrRange,
			[]Site{{Addr: worldBase, Form: insn.B, Veneer: far + 64}}, []Move{{1, far, worldBase + 64}},
			"the site 0x10000000 (b) can reach neither 0x20000000 nor its veneer at 0x20000040"},
		{"outside", arch.AMD64, diag.ErrRange,
			[]Site{{Addr: worldBase - 4, Form: insn.Call32}}, []Move{{1, 0x10000100, 0x10000200}},
			"the site 0xffffffc (call) lies outside of the arena"},
		{"no form", arch.AMD64, diag.ErrInsn,
			[]Site{{Addr: worldBase, Form: insn.BL}, {Addr: worldBase + 8}}, []Move{{1, 0x10000100, 0x10000200}},
			"the site 0x10000000 (bl) has no form of x86-64\nthe site 0x10000008 (none) has no form of x86-64"},
		{"misaligned", arch.ARM64, diag.ErrAlign,
			[]Site{{Addr: worldBase + 2, Form: insn.BL}}, []Move{{1, 0x10000100, 0x10000200}},
			"the site 0x10000002 (bl) is not aligned to 4"},
		{"partly outside", arch.AMD64, diag.ErrRange,
			[]Site{{Addr: worldBase + 4096 - 4, Form: insn.Call32}}, []Move{{1, 0x10000100, 0x10000200}},
			"the site 0x10000ffc (call) lies outside of the arena"},
		{"high", arch.AMD64, diag.ErrRange,
			[]Site{{Addr: 0xffff0000, Form: insn.Call32}}, []Move{{1, 0xffff0100, 0x100000200}},
			"the site 0xffff0000 (call) leads from 0xffff0100 to 0x100000200: not below 4 GiB"},
		{"machine", 3, diag.ErrMachine, nil, nil, "no switch on e_machine 3"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(c.m, 4096)
			w.index.Add(0, 1, c.sites)
			before := slices.Clone(w.mem.bytes)
			s, err := Plan(w.mem, c.m, &w.index, c.moves)
			if !errors.Is(err, c.kind) || s != nil {
				t.Fatalf("%v, want %v", err, c.kind)
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
			if !bytes.Equal(w.mem.bytes, before) {
				t.Error("text was written")
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	w := newWorld(arch.AMD64, 4096)
	w.leads[1] = 0x10000100
	w.add(0, 1, []Site{{Addr: worldBase, Form: insn.Call32}})
	w.index.Add(1, 1, []Site{{Addr: worldBase, Form: insn.Call32}})
	_, err := Plan(w.mem, arch.AMD64, &w.index, []Move{{1, 0x10000100, 0x10000200}})
	if !errors.Is(err, diag.ErrConflict) || err.Error() != "the site 0x10000000 (call) overlaps the one at 0x10000000" {
		t.Error(err)
	}
}

// TestOverlapOfBlocks: two sites share bytes that are compared at different times.
func TestOverlapOfBlocks(t *testing.T) {
	w := newWorld(arch.AMD64, 8192)
	var sites []Site
	for i := range uint64(block) {
		sites = append(sites, Site{Addr: worldBase + 8*i, Form: insn.Call32})
	}
	w.add(0, 1, sites)
	last := sites[block-1].Addr
	w.add(1, 1, []Site{{Addr: last + 1, Form: insn.Call32}})
	_, err := Plan(w.mem, arch.AMD64, &w.index, []Move{{1, 0, 0x10000200}})
	if want := fmt.Sprintf("the site %#x (call) overlaps the one at %#x", last+1, last); !errors.Is(err, diag.ErrConflict) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestAddRefused(t *testing.T) {
	var x Index
	mustPanic(t, "out of order", func() { x.Add(0, 0, []Site{{Addr: 8, Form: insn.Call32}, {Addr: 0, Form: insn.Call32}}) })
	mustPanic(t, "beyond 4 GiB", func() { x.Add(0, 0, []Site{{Addr: 1<<32 - 8, Form: insn.Call32}}) })
	if x.Count(0) != 0 {
		t.Error("sites that were refused are there")
	}
}

// TestManyErrors: a plan that fails everywhere is answered, and counted.
func TestManyErrors(t *testing.T) {
	w := newWorld(arch.AMD64, 1<<20)
	var sites []Site
	for i := range uint64(20_000) {
		sites = append(sites, Site{Addr: worldBase + 8*i, Form: insn.Call32})
	}
	w.index.Add(0, 1, sites)
	_, err := Plan(w.mem, arch.AMD64, &w.index, []Move{{1, 0x10000100, 0x10000200}})
	lines := diag.Lines(err)
	if !errors.Is(err, diag.ErrTextChanged) || len(lines) != diag.MaxErrors+1 ||
		lines[diag.MaxErrors] != fmt.Sprintf("and %d more", len(sites)-diag.MaxErrors) {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

// TestOnlyWhatChanges: a branch that leads to its veneer before and after is not
// touched; the veneer is.
func TestOnlyWhatChanges(t *testing.T) {
	const far = worldBase + 1<<28
	w := newWorld(arch.ARM64, 4096)
	w.leads[1] = far
	const branch, veneer, near = worldBase, worldBase + 16, worldBase + 64
	w.add(0, 1, []Site{{Addr: branch, Veneer: veneer, Form: insn.BL}, {Addr: veneer, Form: insn.FarJump}})
	rows := func(old, new uint32) []Edit {
		t.Helper()
		moves := []Move{{1, uint64(old), uint64(new)}}
		s, err := Plan(w.mem, arch.ARM64, &w.index, moves)
		if err != nil {
			t.Fatal(err)
		}
		k := newWatch(t, w, moves)
		if err := s.Run(k); err != nil {
			t.Fatal(err)
		}
		w.leads = k.new
		return s.Edits()
	}
	for _, c := range []struct {
		old, new uint32
		want     []Edit
	}{
		{far, far + 64, []Edit{{veneer, far, far + 64, insn.FarJump}}},
		{far + 64, near, []Edit{{branch, veneer, near, insn.BL}, {veneer, far + 64, near, insn.FarJump}}},
		{near, far, []Edit{{branch, near, veneer, insn.BL}, {veneer, near, far, insn.FarJump}}},
		{far, 0, []Edit{{branch, veneer, 0, insn.BL}, {veneer, far, 0, insn.FarJump}}},
	} {
		if got := rows(c.old, c.new); !slices.Equal(got, c.want) {
			t.Errorf("%#x to %#x: %+v, want %+v", c.old, c.new, got, c.want)
		}
	}
}

// TestEdgeOfReach: of the branches of one module some reach the provider and some
// need the veneer, whichever side it lies on.
func TestEdgeOfReach(t *testing.T) {
	const first, last, reach = worldBase + 64, worldBase + 4096, 1 << 27
	for _, edge := range []uint64{first - reach, last - reach, first + reach, last + reach} {
		for d := uint64(0); d <= 128; d += 4 {
			target := edge - 64 + d
			w := newWorld(arch.ARM64, 8192)
			w.leads[1] = worldBase + 2048
			var sites []Site
			for _, at := range []uint64{first, first + 32, last - 32, last} {
				sites = append(sites, Site{Addr: at, Form: insn.BL, Veneer: worldBase + 16})
			}
			w.add(0, 1, []Site{{Addr: worldBase + 16, Form: insn.FarJump}})
			w.add(1, 1, sites)
			moves := []Move{{1, worldBase + 2048, target}}
			s, err := Plan(w.mem, arch.ARM64, &w.index, moves)
			if err != nil {
				t.Fatalf("to %#x: %v", target, err)
			}
			for i, e := range s.Edits()[1:] {
				if to, _ := sites[i].Leads(target); uint64(e.New) != to {
					t.Errorf("%#x to %#x: edit to %#x, want %#x", e.Addr, target, e.New, to)
				}
			}
			if err := s.Run(newWatch(t, w, moves)); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestGolden: the bytes of one switch, written out.
func TestGolden(t *testing.T) {
	w := newWorld(arch.AMD64, 64)
	w.leads[1] = 0x10000040
	w.add(0, 1, []Site{
		{Addr: worldBase + 1, Form: insn.Call32},
		{Addr: worldBase + 8, Form: insn.AddrCall32},
		{Addr: worldBase + 16, Form: insn.Jcc32 + 4},
		{Addr: worldBase + 24, Form: insn.JmpNop32},
	})
	s, err := Plan(w.mem, arch.AMD64, &w.index, []Move{{1, 0x10000040, 0x10001000}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(Alone()); err != nil {
		t.Fatal(err)
	}
	want := []byte{
		0x01, 0xe8, 0xfa, 0x0f, 0x00, 0x00, 0x2b, 0x32, // call 0x10001000
		0x67, 0xe8, 0xf2, 0x0f, 0x00, 0x00, 0x63, 0x6a, // addr32 call 0x10001000
		0x0f, 0x84, 0xea, 0x0f, 0x00, 0x00, 0x9b, 0xa2, // je 0x10001000
		0xe9, 0xe3, 0x0f, 0x00, 0x00, 0x90, 0xd3, 0xda, // jmp 0x10001000; nop
	}
	if got := w.mem.bytes[:len(want)]; !bytes.Equal(got, want) {
		t.Errorf("got\n% x\nwant\n% x", got, want)
	}
}

// TestSwitchesAgainstModel: modules come and go, symbols move, some switches fail;
// after each the text is, byte for byte, what a model says that writes every site anew.
func TestSwitchesAgainstModel(t *testing.T) {
	for _, m := range machines {
		t.Run(m.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { randomSwitches(t, m) })
		})
	}
}

func randomSwitches(t *rapid.T, m arch.Machine) {
	w := newWorld(m, 1<<16)
	// Providers near, and too far for aarch64's branches.
	providers := []uint64{0, 0x10800000, 0x10800010, 0x10900000, 0x20000000, 0x30000040}
	for slot := range uint32(4) {
		w.leads[slot] = rapid.SampledFrom(providers).Draw(t, "provider")
	}
	for range rapid.IntRange(1, 25).Draw(t, "steps") {
		switch rapid.IntRange(0, 3).Draw(t, "op") {
		case 0:
			addRandom(t, w)
		case 1:
			w.remove(rapid.Uint32Range(0, 5).Draw(t, "module"), rapid.Uint32Range(0, 3).Draw(t, "slot"))
		default:
			switchRandom(t, w, providers)
		}
		if !bytes.Equal(w.mem.bytes, w.text(w.leads)) {
			t.Fatalf("the text is not what the model says")
		}
	}
}

// addRandom gives a module sites of a slot, with a veneer or only such branches as
// reach every provider or, as a linker's mistake, one that does not.
func addRandom(t *rapid.T, w *world) {
	module, slot := rapid.Uint32Range(0, 5).Draw(t, "module"), rapid.Uint32Range(0, 3).Draw(t, "slot")
	w.remove(module, slot)
	var sites []Site
	veneer := uint64(0)
	if w.m == arch.ARM64 && rapid.IntRange(0, 9).Draw(t, "veneer") > 0 {
		veneer = w.room(16, 16, 0)
		sites = append(sites, Site{Addr: veneer, Form: insn.FarJump})
	}
	for range rapid.IntRange(0, 12).Draw(t, "sites") {
		f := rapid.SampledFrom(formsOf[w.m]).Draw(t, "form")
		s := Site{Addr: w.room(f.Len(), alignOf(w.m, f), rapid.Uint64Range(0, 9).Draw(t, "skip")), Form: f}
		if f != insn.FarJump {
			s.Veneer = veneer
		}
		if _, ok := s.Leads(w.leads[slot]); ok {
			sites = append(sites, s)
		}
	}
	if w.next < worldBase+1<<16 {
		w.add(module, slot, sites)
	}
}

func switchRandom(t *rapid.T, w *world, providers []uint64) {
	var moves []Move
	slots := rapid.SliceOfNDistinct(rapid.Uint32Range(0, 3), 0, 4, rapid.ID[uint32]).Draw(t, "slots")
	for _, slot := range slots {
		moves = append(moves, Move{slot, w.leads[slot], rapid.SampledFrom(providers).Draw(t, "to")})
	}
	reach := true
	for at, s := range w.isSite {
		if i := slices.Index(slots, w.slotOf[at]); i >= 0 && moves[i].Old != moves[i].New {
			_, ok := s.Leads(moves[i].New)
			reach = reach && ok
		}
	}
	before := slices.Clone(w.mem.bytes)
	s, err := Plan(w.mem, w.m, &w.index, moves)
	if (err == nil) != reach || err != nil && !errors.Is(err, diag.ErrRange) {
		t.Fatalf("plan: %v; everything in reach: %v", err, reach)
	}
	if !bytes.Equal(w.mem.bytes, before) {
		t.Fatalf("planning wrote to text")
	}
	if err != nil {
		return
	}
	k := newWatch(t, w, moves)
	k.failAt = rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 4, 5, 6}).Draw(t, "failing step")
	if err := s.Run(k); (err != nil) != (k.failAt != 0 && s.Len() > 0) {
		t.Fatalf("run, failing at step %d: %v", k.failAt, err)
	}
	if s.Turned() {
		w.leads = k.new
	}
}
