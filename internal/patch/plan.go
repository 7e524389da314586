package patch

import (
	"bytes"
	"encoding/binary"
	"math"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/insn"
)

// Memory is where text lies.
type Memory interface {
	// Bytes returns the host's writable view of the n bytes at the target address
	// addr, nil if they are not all there. The view is as aligned as addr is, up to
	// 8, and stays valid while a Switch that was planned on it is used.
	Bytes(addr, n uint64) []byte
}

// Move is a slot whose symbol gets another provider. Addresses are of the
// providers; 0 is none: sites that lead nowhere are traps.
type Move struct {
	Slot     uint32
	Old, New uint64
}

// Edit is one row of a switch's table: the site at Addr led to Old and shall lead
// to New. These are the addresses that stand in the instruction: a provider's, or
// the site's veneer. 0 is a trap instead of the instruction.
type Edit struct {
	Addr     uint64
	Old, New uint64
	Form     insn.Form
}

// maxLen is the length of the longest form, a veneer, and headLen more than that of
// every other, bytes.
const (
	maxLen  = 16
	headLen = 8
)

// lengths has, by machine and form, the length of the form, bytes; 0 for what is no
// form of the machine. It is insn's table in a shape for loops over sites.
var lengths = map[arch.Machine]*[256]uint8{
	arch.AMD64: lengthsOf(arch.AMD64),
	arch.ARM64: lengthsOf(arch.ARM64),
}

func lengthsOf(m arch.Machine) *[256]uint8 {
	var t [256]uint8
	for f := range t {
		if f := insn.Form(f); f.Machine() == m {
			t[f] = uint8(f.Len())
		}
	}
	return &t
}

// code is room for one instruction of any form.
type code [maxLen]byte

// bytesOf returns, in c, the form's bytes at addr when it leads to target: trap
// instructions for 0. The caller has made sure that target is in reach.
func (c *code) bytesOf(f insn.Form, addr, target uint64, trap []byte) []byte {
	b := c[:f.Len()]
	if target == 0 {
		for i := range b {
			b[i] = trap[i%len(trap)]
		}
	} else {
		f.Encode(b, addr, target)
	}
	return b
}

// head is how an instruction starts: its first seven bytes, little-endian, and above
// them its length. What is longer than seven bytes is a veneer, of which only the first
// word is taken from here.
type head uint64

const headBits = 8 * (headLen - 1)

// first returns the first four bytes.
func (h head) first() uint32 { return uint32(h) }

// from returns the four bytes that start with byte i, i < 4.
func (h head) from(i int) uint32 { return uint32(h >> (8 * i)) }

// length returns the length of the instruction, bytes.
func (h head) length() int { return int(h >> headBits) }

// headOf makes a head of the first headLen bytes of an instruction of n bytes.
func headOf(b []byte, n int) head {
	return head(binary.LittleEndian.Uint64(b)&(1<<headBits-1) | uint64(n)<<headBits)
}

// Switch is a planned switch: edits that were compared with the text. It is valid
// until the text of its sites changes, and can be run once.
type Switch struct {
	generation uint64
	trap       []byte // one trap instruction; its length is what one store can change
	length     *[256]uint8
	edits      []Edit
	heads      []head   // by edit, so that Run only stores
	view       []byte   // of all edits, from the first on
	offsets    []uint32 // by edit, where it is in view: Run goes over memory three times, and an Edit is eight times as large
	views      [][]byte // by edit, if they lie in several pieces of memory and there is no view
	ran        bool
	turned     bool
}

// Plan returns the switch that makes the moves, by the sites that x lists. It
// writes nothing but takes a new generation number from x. Its cost goes by the
// sites of the moved slots alone. Errors, all of one plan reported together:
//   - diag.ErrTextChanged: a site does not hold what klink wrote there
//   - diag.ErrRange: neither provider nor veneer is in a site's reach, or no memory is at the site
//   - diag.ErrInsn, diag.ErrAlign, diag.ErrConflict: the index is wrong: a site has
//     no form of machine m, or is misaligned, or overlaps another
func Plan(mem Memory, m arch.Machine, x *Index, moves []Move) (*Switch, error) {
	facts := m.Facts()
	if facts == nil {
		return nil, diag.New(diag.ErrMachine, "", "no switch on %v", m)
	}
	x.generation++
	s := &Switch{generation: x.generation, trap: facts.TrapBytes, length: lengths[m]}
	runs, total := gather(x, moves)
	s.edits = make([]Edit, 0, total)
	p := planner{s: s, machine: m, facts: facts}
	for i := range runs.keys {
		if i%batch == 0 {
			p.touchRuns(runs, i, min(i+batch, len(runs.keys)))
		}
		sites, move := runs.at(i)
		if sites[0].Addr >= p.end {
			p.order()
		}
		p.run(sites, &moves[move])
	}
	p.order()
	p.look(mem)
	p.compare()
	if err := p.errs.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// runs is the lists of sites that moves concern, in the order of their first
// addresses. What there may be 10,000 of holds no pointers.
type runs struct {
	users []*users // by move; nil for a move that changes nothing
	from  []source
	keys  []key // sorted; they index from
}

// source says where a list is: in users[move].lists.
type source struct{ move, list uint32 }

// at returns the sites of the i-th run and their move's index.
func (r *runs) at(i int) (sites []Site, move uint32) {
	s := r.from[r.keys[i].index]
	return r.users[s.move].lists[s.list].sites, s.move
}

// gather returns the runs of the moved slots, and how many sites they have.
func gather(x *Index, moves []Move) (r *runs, total int) {
	r = &runs{users: make([]*users, len(moves))}
	n := 0
	for i := range moves {
		if u := x.slots[moves[i].Slot]; u != nil && moves[i].Old != moves[i].New {
			r.users[i] = u
			n += len(u.lists)
			total += u.count
		}
	}
	r.from, r.keys = make([]source, 0, n), make([]key, 0, n)
	for i, u := range r.users {
		if u == nil {
			continue
		}
		for k := range u.lists {
			r.keys = append(r.keys, key{u.lists[k].first, uint32(len(r.from))})
			r.from = append(r.from, source{uint32(i), uint32(k)})
		}
	}
	r.keys = sortKeys(r.keys)
	return r, total
}

// planner turns sites into the edits of s.
type planner struct {
	s       *Switch
	machine arch.Machine
	facts   *arch.Facts
	start   int    // of the edits of runs that overlap one another: they may be out of order
	end     uint64 // no run before reaches this address
	mixed   bool   // the edits from start on are out of order
	sorter  sorter
	errs    diag.List
	sink    byte // keeps touch's loads
}

// run adds the edits of one run, and an error for each site that is not as it should be.
func (p *planner) run(sites []Site, move *Move) {
	s := p.s
	prev := uint64(0)
	if n := len(s.edits); n > 0 {
		prev = s.edits[n-1].Addr
	}
	p.end = max(p.end, sites[len(sites)-1].Addr)
	near := p.near(sites, move.Old) && p.near(sites, move.New)
	for i := range sites {
		site := &sites[i]
		if s.length[site.Form] == 0 {
			p.fail(diag.ErrInsn, site.Addr, site.Form, "has no form of %v", p.machine)
			continue
		}
		if site.Addr&(p.facts.InsnAlign-1) != 0 {
			p.fail(diag.ErrAlign, site.Addr, site.Form, "is not aligned to %d", p.facts.InsnAlign)
			continue
		}
		from, to := move.Old, move.New
		if !near || site.Form == insn.FarJump {
			var ok bool
			if from, ok = site.Leads(move.Old); !ok {
				p.unreachable(site, move.Old)
				continue
			}
			if to, ok = site.Leads(move.New); !ok {
				p.unreachable(site, move.New)
				continue
			}
			if from == to {
				continue
			}
		}
		p.mixed = p.mixed || site.Addr < prev
		prev = site.Addr
		s.edits = append(s.edits, Edit{Addr: site.Addr, Old: from, New: to, Form: site.Form})
	}
}

// order puts the edits since the last call in order. It is called where no run
// before reaches into those that follow, which is at most a module's end: sites of
// several symbols mix inside of their module only, and what is sorted stays small.
func (p *planner) order() {
	if p.mixed {
		p.sorter.sort(p.s.edits[p.start:])
	}
	p.start, p.mixed = len(p.s.edits), false
}

// near says that every branch of the run reaches target because the first and the
// last do, with a form's length to spare; a veneer, whose rules are its own, aside.
func (p *planner) near(sites []Site, target uint64) bool {
	first, last := sites[0].Addr, sites[len(sites)-1].Addr
	reach := p.facts.BranchReach - maxLen
	return target == 0 || target&(p.facts.InsnAlign-1) == 0 &&
		target-first+reach < 2*reach && target-last+reach < 2*reach
}

// batch is how many things that lie far apart are brought into the cache together:
// loads close to one another miss at the same time.
const batch = 32

// touchRuns loads the first site of each of the runs [from, to).
func (p *planner) touchRuns(r *runs, from, to int) {
	sum := insn.Form(0)
	for i := from; i < to; i++ {
		sites, _ := r.at(i)
		sum += sites[0].Form
	}
	p.sink = byte(sum)
}

// touch loads a byte of the text of each edit.
func (p *planner) touch(edits []Edit) {
	view, lo, sum := p.s.view, p.s.edits[0].Addr, byte(0)
	for i := range edits {
		if off := edits[i].Addr - lo; off < uint64(len(view)) {
			sum += view[off]
		}
	}
	p.sink = sum
}

// look gets the host's view of the sorted edits, of all at once where they lie in
// one piece of memory. An edit without memory is an error and has an empty view.
func (p *planner) look(mem Memory) {
	s := p.s
	if len(s.edits) == 0 {
		return
	}
	first, last := &s.edits[0], &s.edits[len(s.edits)-1]
	if span := last.Addr - first.Addr; span <= math.MaxUint32 {
		if s.view = mem.Bytes(first.Addr, span+uint64(last.Form.Len())); s.view != nil {
			s.offsets = make([]uint32, len(s.edits))
			return
		}
	}
	s.views = make([][]byte, len(s.edits))
	for i := range s.edits {
		e := &s.edits[i]
		s.views[i] = mem.Bytes(e.Addr, uint64(e.Form.Len()))
		if s.views[i] == nil {
			p.fail(diag.ErrRange, e.Addr, e.Form, "lies outside of the arena")
		}
	}
}

// compare compares the text of the sorted edits with what klink wrote there, adds
// an error for each difference and for edits that share bytes, which would destroy
// one another, and prepares the new instructions.
func (p *planner) compare() {
	s := p.s
	s.heads = make([]head, len(s.edits))
	end := uint64(0)
	var c code
	for i := range s.edits {
		if i%batch == 0 {
			p.touch(s.edits[i:min(i+batch, len(s.edits))])
		}
		e := &s.edits[i]
		if e.Addr < end {
			p.fail(diag.ErrConflict, e.Addr, e.Form, "overlaps the one at %#x", s.edits[i-1].Addr)
		}
		n := int(s.length[e.Form])
		end = e.Addr + uint64(n)
		if s.offsets != nil {
			s.offsets[i] = uint32(e.Addr - s.edits[0].Addr)
		}
		have := s.from(i)
		if len(have) < n {
			continue
		}
		// Reading the target back checks every byte of the form; a trap is none.
		if old, ok := e.Form.Target(have, e.Addr); !ok || old != e.Old || old == 0 {
			p.compareBytes(e, have[:n])
		}
		if e.New == 0 {
			c.bytesOf(e.Form, e.Addr, 0, s.trap)
		} else if !e.Form.Encode(c[:], e.Addr, e.New) {
			p.fail(diag.ErrRange, e.Addr, e.Form, "cannot lead to %#x", e.New)
		}
		s.heads[i] = headOf(c[:], n)
	}
}

// compareBytes adds an error if the edit's text is not, byte by byte, the old one.
func (p *planner) compareBytes(e *Edit, have []byte) {
	var c code
	if want := c.bytesOf(e.Form, e.Addr, e.Old, p.s.trap); !bytes.Equal(have, want) {
		p.fail(diag.ErrTextChanged, e.Addr, e.Form, "holds % x, not % x as klink wrote there; nothing was changed", have, want)
	}
}

// unreachable reports a target that the site cannot lead to.
func (p *planner) unreachable(site *Site, target uint64) {
	if site.Veneer == 0 {
		p.fail(diag.ErrRange, site.Addr, site.Form, "cannot reach %#x (%+#x away), and has no veneer", target, int64(target-site.Addr))
		return
	}
	p.fail(diag.ErrRange, site.Addr, site.Form, "can reach neither %#x nor its veneer at %#x", target, site.Veneer)
}

// maxSpelled is how many errors of a plan are spelled out; the rest are counted.
const maxSpelled = 4096

func (p *planner) fail(kind error, addr uint64, f insn.Form, format string, args ...any) {
	if p.errs.Len() >= maxSpelled {
		p.errs.Add(kind)
		return
	}
	p.errs.Add(diag.New(kind, "", "the site %#x (%v) "+format, append([]any{addr, f}, args...)...))
}

// from returns the host's view of edit i's text, and of what follows it if all edits
// have one view.
func (s *Switch) from(i int) []byte {
	if s.views != nil {
		return s.views[i]
	}
	return s.view[s.offsets[i]:]
}

// Generation returns the number of this switch, at least 1, which no other switch
// planned on the same Index has; later ones have higher numbers.
func (s *Switch) Generation() uint64 { return s.generation }

// Edits returns the edits, sorted by address. They must not be changed.
func (s *Switch) Edits() []Edit { return s.edits }

// Len returns how many sites change.
func (s *Switch) Len() int { return len(s.edits) }

// Bytes returns how many bytes of text differ after the switch from before.
func (s *Switch) Bytes() int {
	var a, b code
	n := 0
	for i := range s.edits {
		e := &s.edits[i]
		from := a.bytesOf(e.Form, e.Addr, e.Old, s.trap)
		to := b.bytesOf(e.Form, e.Addr, e.New, s.trap)
		for k := range from {
			if from[k] != to[k] {
				n++
			}
		}
	}
	return n
}
