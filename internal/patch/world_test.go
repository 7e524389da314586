package patch

import (
	"bytes"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"klink/internal/arch"
	"klink/internal/insn"
)

// span is memory at [base, base+len).
type span struct {
	base  uint64
	bytes []byte
}

func (m span) Bytes(addr, n uint64) []byte {
	if addr < m.base || addr-m.base > uint64(len(m.bytes)) || n > uint64(len(m.bytes))-(addr-m.base) {
		return nil
	}
	return m.bytes[addr-m.base:][:n:n]
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

var _ failer = (*rapid.T)(nil)

// world is text with sites, and what each has to lead to: the naive model.
type world struct {
	m      arch.Machine
	mem    span
	next   uint64
	index  Index
	sites  map[[2]uint32][]Site // by module and slot
	leads  map[uint32]uint64    // by slot: where its provider is
	isSite map[uint64]Site
	slotOf map[uint64]uint32
}

const worldBase = 0x10000000

func newWorld(m arch.Machine, size int) *world {
	w := &world{
		m: m, mem: span{worldBase, make([]byte, size)}, next: worldBase,
		sites: map[[2]uint32][]Site{}, leads: map[uint32]uint64{},
		isSite: map[uint64]Site{}, slotOf: map[uint64]uint32{},
	}
	for i := range w.mem.bytes { // neither traps nor zeros
		w.mem.bytes[i] = byte(i*7 + 1)
	}
	return w
}

// room returns the next address of that alignment, skip bytes further on.
func (w *world) room(n int, align, skip uint64) uint64 {
	at := (w.next + skip + align - 1) &^ (align - 1)
	w.next = at + uint64(n)
	return at
}

// add gives module a site list of slot and writes the sites as klink would.
func (w *world) add(module, slot uint32, sites []Site) {
	w.sites[[2]uint32{module, slot}] = sites
	w.index.Add(module, slot, sites)
	for _, s := range sites {
		w.isSite[s.Addr], w.slotOf[s.Addr] = s, slot
		copy(w.mem.Bytes(s.Addr, uint64(s.Form.Len())), w.want(s, w.leads[slot]))
	}
}

func (w *world) remove(module, slot uint32) {
	for _, s := range w.sites[[2]uint32{module, slot}] {
		delete(w.isSite, s.Addr)
		delete(w.slotOf, s.Addr)
	}
	delete(w.sites, [2]uint32{module, slot})
	w.index.Remove(module, slot)
}

// want returns the bytes of s when its provider is at target, in the plainest way.
func (w *world) want(s Site, target uint64) []byte {
	b := make([]byte, s.Form.Len())
	switch trap := w.m.Facts().TrapBytes; {
	case target == 0:
		copy(b, bytes.Repeat(trap, len(b)))
	case s.Form.Encode(b, s.Addr, target):
	case s.Veneer != 0 && s.Form.Encode(b, s.Addr, s.Veneer):
	default:
		panic(fmt.Sprintf("model: %v at %#x cannot lead to %#x", s.Form, s.Addr, target))
	}
	return b
}

// text returns what all of memory has to be if the slots lead as leads says.
func (w *world) text(leads map[uint32]uint64) []byte {
	m := span{worldBase, slices.Clone(w.mem.bytes)}
	for at, s := range w.isSite {
		copy(m.Bytes(at, uint64(s.Form.Len())), w.want(s, leads[w.slotOf[at]]))
	}
	return m.bytes
}

// after returns the slots' providers once moves are made.
func (w *world) after(moves []Move) map[uint32]uint64 {
	leads := map[uint32]uint64{}
	for slot, at := range w.leads {
		leads[slot] = at
	}
	for _, mv := range moves {
		leads[mv.Slot] = mv.New
	}
	return leads
}

// cpu is a thread of the runner: it executes what its own view of text shows, and
// its trap handler asks the published table and the word.
type cpu struct {
	w      *world
	text   span
	rows   map[uint64]Edit
	turned bool
}

// call executes the site at addr and whatever it leads to, and returns where that
// ends: an address that is no site, or 0 for a trap without a way on.
func (c *cpu) call(t failer, addr uint64) uint64 {
	t.Helper()
	start := addr
	for range 4 {
		s, ok := c.w.isSite[addr]
		if !ok {
			return addr
		}
		b := c.text.Bytes(addr, uint64(s.Form.Len()))
		trap := c.w.m.Facts().TrapBytes
		if !bytes.Equal(b[:len(trap)], trap) {
			to, ok := s.Form.Target(b, addr)
			if !ok {
				t.Fatalf("a thread executes % x at %#x, which is no %v", b, addr, s.Form)
			}
			addr = to
			continue
		}
		row, ok := c.rows[addr]
		switch {
		case !ok:
			addr = 0
		case c.turned:
			addr = uint64(row.New)
		default:
			addr = uint64(row.Old)
		}
		if addr == 0 {
			return 0
		}
	}
	t.Fatalf("the site %#x leads round in a circle", start)
	return 0
}

// watch is Steps that check at every step what the text is, and what every thread
// that may exist there would do. It fails the step number failAt, if that is not 0.
type watch struct {
	t        failer
	w        *world
	old, new map[uint32]uint64 // where the slots lead before and after
	failAt   int
	log      []string
	initial  []byte
	final    []byte
	seen     []byte // text at the last barrier: what a thread may still see
	rows     map[uint64]Edit
	turned   bool
	undoing  bool
	lost     bool // a barrier failed after the turn: nobody executes any more
}

func newWatch(t failer, w *world, moves []Move) *watch {
	k := &watch{t: t, w: w, old: w.leads, new: w.after(moves), initial: slices.Clone(w.mem.bytes)}
	k.final = w.text(k.new)
	k.seen = k.initial
	return k
}

var errInjected = fmt.Errorf("injected")

// step logs the step, lets threads run that see the text as it was at the last
// barrier, as it is now, or anything between, and fails if it is the one to fail.
func (k *watch) step(name string) error {
	k.t.Helper()
	k.log = append(k.log, name)
	if !k.lost {
		k.halfDone()
		k.threads(k.seen)
		k.threads(k.w.mem.bytes)
	}
	if len(k.log) == k.failAt {
		k.undoing, k.lost = !k.turned, k.turned && name == "sync"
		return errInjected
	}
	return nil
}

// threads runs one thread through every site.
func (k *watch) threads(text []byte) {
	k.t.Helper()
	c := &cpu{w: k.w, text: span{worldBase, text}, rows: k.rows, turned: k.turned}
	for at := range k.w.isSite {
		leads := k.old
		if k.turned {
			leads = k.new
		}
		if got, want := c.call(k.t, at), leads[k.w.slotOf[at]]; got != want {
			k.t.Fatalf("step %v: a thread that executes %#x arrives at %#x, not at %#x", k.log, at, got, want)
		}
	}
}

// halfDone checks that no thread can have seen a torn instruction since the last
// barrier: where the first unit changed the tail did not, and where the tail
// changed the first unit was a trap all the time. All else never changes.
func (k *watch) halfDone() {
	k.t.Helper()
	now, trap := k.w.mem, k.w.m.Facts().TrapBytes
	was := span{worldBase, slices.Clone(k.seen)}
	for at, e := range k.rows {
		n := uint64(e.Form.Len())
		a, b := was.Bytes(at, n), now.Bytes(at, n)
		u := len(trap)
		first, tail := !bytes.Equal(a[:u], b[:u]), !bytes.Equal(a[u:], b[u:])
		if first && tail || tail && !bytes.Equal(b[:u], trap) {
			k.t.Fatalf("step %v: between two barriers %#x went from % x to % x", k.log, at, a, b)
		}
		copy(a, b)
	}
	if !bytes.Equal(was.bytes, now.bytes) {
		k.t.Fatalf("step %v: bytes outside of the sites changed", k.log)
	}
}

// text checks that the first units and tails of all rows are the given ones.
func (k *watch) text(first, tail []byte) {
	k.t.Helper()
	u := len(k.w.m.Facts().TrapBytes)
	for at, e := range k.rows {
		n := uint64(e.Form.Len())
		have := k.w.mem.Bytes(at, n)
		f, l := span{worldBase, first}.Bytes(at, n), span{worldBase, tail}.Bytes(at, n)
		if first == nil {
			f = k.w.m.Facts().TrapBytes
		}
		if !bytes.Equal(have[:u], f[:u]) || !bytes.Equal(have[u:], l[u:]) {
			k.t.Fatalf("step %v: %#x is % x", k.log, at, have)
		}
	}
}

func (k *watch) Publish(gen uint64, rows []Edit) error {
	k.rows = map[uint64]Edit{}
	for i, e := range rows {
		if i > 0 && rows[i-1].Addr >= e.Addr {
			k.t.Fatalf("rows out of order: %#x after %#x", e.Addr, rows[i-1].Addr)
		}
		k.rows[uint64(e.Addr)] = e
	}
	if gen == 0 || !bytes.Equal(k.w.mem.bytes, k.initial) {
		k.t.Fatalf("generation %d; text changed before the table was published", gen)
	}
	err := k.step("publish")
	if err != nil {
		k.rows = nil
	}
	return err
}

func (k *watch) Sync() error {
	switch {
	case k.undoing:
		k.text(k.initial, k.initial)
	case !k.turned:
		k.text(nil, k.initial)
	case slices.Contains(k.log[3:], "sync"):
		k.text(k.final, k.final)
	default:
		k.text(nil, k.final)
	}
	err := k.step("sync")
	if err == nil {
		k.seen = slices.Clone(k.w.mem.bytes)
	}
	return err
}

func (k *watch) Turn(uint64) error {
	k.text(nil, k.initial)
	err := k.step("turn")
	if err == nil {
		k.turned = true
		k.threads(k.w.mem.bytes)
	}
	return err
}

func (k *watch) Withdraw(uint64) error {
	if want := k.final; k.turned && !bytes.Equal(k.w.mem.bytes, want) || !k.turned && !bytes.Equal(k.w.mem.bytes, k.initial) {
		k.t.Fatalf("step %v: the table is withdrawn and the text is neither old nor new", k.log)
	}
	err := k.step("withdraw")
	if err == nil {
		k.rows = nil
		k.threads(k.w.mem.bytes)
		k.late()
	}
	return err
}

// late checks what a thread finds that met a trap of this switch and handles it
// only now: no table any more, so it must find no trap at its site either, unless
// the site is one that leads nowhere.
func (k *watch) late() {
	leads, trap := k.old, k.w.m.Facts().TrapBytes
	if k.turned {
		leads = k.new
	}
	for at, s := range k.w.isSite {
		b := k.w.mem.Bytes(at, uint64(s.Form.Len()))
		if bytes.HasPrefix(b, trap) != (leads[k.w.slotOf[at]] == 0) {
			k.t.Fatalf("after the switch %#x is % x, and leads to %#x", at, b, leads[k.w.slotOf[at]])
		}
	}
}

var formsOf = map[arch.Machine][]insn.Form{
	arch.AMD64: {insn.Call32, insn.Jmp32, insn.AddrCall32, insn.JmpNop32, insn.Jcc32, insn.Jcc32 + 5, insn.Jcc32 + 15},
	arch.ARM64: {insn.BL, insn.B, insn.FarJump},
}

// alignOf returns what addresses of the form must be multiples of.
func alignOf(m arch.Machine, f insn.Form) uint64 {
	if f == insn.FarJump {
		return m.Facts().FarEntry
	}
	return m.Facts().InsnAlign
}
