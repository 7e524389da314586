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
	// 8, and stays valid while a Switch that was planned on it is used. What lies
	// between two sites that are there is there, too.
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
// the site's veneer. 0 is a trap instead of the instruction. An arena lies below 2 GiB,
// so half a word holds each: a switch of 100,000 sites goes over these more often than
// over anything else.
type Edit struct {
	Addr, Old, New uint32
	Form           insn.Form
}

// old and fresh return, in c, the bytes at the site before and after the switch.
func (e *Edit) old(c *code, trap []byte) []byte {
	return c.bytesOf(e.Form, uint64(e.Addr), uint64(e.Old), trap)
}

func (e *Edit) fresh(c *code, trap []byte) []byte {
	return c.bytesOf(e.Form, uint64(e.Addr), uint64(e.New), trap)
}

// maxLen is the length of the longest form, a veneer, and headLen more than that of
// every other, bytes.
const (
	maxLen  = 16
	headLen = 8
)

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

// Switch is a planned switch: edits that were compared with the text. It is valid
// until the text of its sites changes, or until the next Plan on its index, and can be
// run once.
type Switch struct {
	index      *Index
	generation uint64
	trap       []byte // one trap instruction; its length is what one store can change
	view       []byte // of all edits, from the first on
	room
	ran    bool
	turned bool
}

// room is the arrays of a switch, by edit. They are kept from one switch to the next:
// making and zeroing them would cost as much as comparing the sites.
type room struct {
	edits   []Edit
	heads   []head   // so that Run only stores
	offsets []uint32 // where it is in view: Run goes over memory three times, and an Edit is larger
}

// maxKept is how many edits the arrays that are kept have room for at most.
const maxKept = 1 << 18

// take returns arrays with room for n edits: those of the index, or new ones.
func (x *Index) take(n int) room {
	if r := x.room; cap(r.edits) >= n {
		return room{r.edits[:0], r.heads[:0], r.offsets[:0]}
	}
	r := room{make([]Edit, 0, n), make([]head, 0, n), make([]uint32, 0, n)}
	if n <= maxKept {
		x.room = r
	}
	return r
}

// Plan returns the switch that makes the moves, by the sites that x lists. It
// writes nothing but takes a new generation number from x. Its cost goes by the
// sites of the moved slots alone. Errors, all of one plan reported together:
//   - diag.ErrTextChanged: a site does not hold what klink wrote there
//   - diag.ErrRange: neither provider nor veneer is in a site's reach, or no memory is at the site,
//     or an address is not below 4 GiB
//   - diag.ErrInsn, diag.ErrAlign, diag.ErrConflict: the index is wrong: a site has
//     no form of machine m, or is misaligned, or overlaps another
func Plan(mem Memory, m arch.Machine, x *Index, moves []Move) (*Switch, error) {
	facts := m.Facts()
	if facts == nil {
		return nil, diag.New(diag.ErrMachine, "", "no switch on %v", m)
	}
	x.generation++
	runs, total := gather(x, moves)
	s := &Switch{index: x, generation: x.generation, trap: facts.TrapBytes, room: x.take(total)}
	p := planner{s: s, machine: m, facts: facts, moves: moves, codecs: codecs[m], mask: facts.InsnAlign - 1}
	p.look(mem, runs)
	for i := 0; i < len(runs.keys); i += batch {
		p.runs(runs, i, min(i+batch, len(runs.keys)))
	}
	p.compare()
	if len(s.edits) > 0 && s.view == nil && p.errs.Len() == 0 {
		return nil, diag.New(diag.ErrRange, "", "the sites do not lie in one piece of memory")
	}
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
	last  *list // the one that reaches highest
}

// source says where a list is: in users[move].lists.
type source struct{ move, list uint32 }

// at returns the i-th run and its move's index.
func (r *runs) at(i int) (l *list, move uint32) {
	s := r.from[r.keys[i].index()]
	return &r.users[s.move].lists[s.list], s.move
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
			l := &u.lists[k]
			r.keys = append(r.keys, keyOf(l.first, len(r.from)))
			r.from = append(r.from, source{uint32(i), uint32(k)})
			if r.last == nil || l.last > r.last.last {
				r.last = l
			}
		}
	}
	var spare []key
	r.keys = sortKeys(r.keys, &spare)
	return r, total
}

// planner turns sites into the edits of s.
type planner struct {
	s       *Switch
	machine arch.Machine
	facts   *arch.Facts
	moves   []Move
	codecs  *[256]codec
	mask    uint64 // the bits that are 0 in an instruction's address
	base    uint64 // address of the view's first byte
	mem     Memory
	end     uint64 // one past the last edit that was compared
	last    uint64 // address of a site above or at all that were added
	start   int    // the edits from here on may be out of order
	done    int    // the edits from here on were not compared yet
	mixed   bool   // the edits from start on are out of order
	sorter  sorter
	errs    diag.List
	sink    byte // keeps touch's loads
}

// block is how many sites are turned into edits, and then compared, at a time: what
// one step wrote is still in the first cache when the next one reads it, and the loads
// of as many places of text miss together.
const block = 256

// run adds the edits of one run, and an error for each site that is not as it should
// be. Where the edits since the last comparison are all that can come below next, where
// the next run starts, they are put in order and compared. Sites of several symbols mix
// inside of their module only: what waits, and is sorted, stays small.
func (p *planner) run(l *list, move *Move, next uint64) {
	sites := l.sites
	near := p.near(l, move.Old) && p.near(l, move.New)
	for len(sites) > 0 {
		n := min(block, len(sites))
		if near {
			p.add(sites[:n], move)
		} else {
			for i := range n {
				p.addFar(&sites[i], move)
			}
		}
		p.last = max(p.last, sites[n-1].Addr)
		sites = sites[n:]
		if p.last < next && (len(sites) == 0 || p.last < sites[0].Addr) {
			p.order()
			if len(p.s.edits)-p.done >= block {
				p.compare()
			}
		}
	}
}

// add adds the edits of sites whose branches all reach the move's providers.
func (p *planner) add(sites []Site, move *Move) {
	edits := p.s.edits
	prev := uint64(0)
	if n := len(edits); n > p.start {
		prev = uint64(edits[n-1].Addr)
	}
	for i := range sites {
		site := &sites[i]
		if !p.codecs[site.Form].branch || site.Addr&p.mask != 0 {
			p.s.edits = edits
			p.addFar(site, move)
			edits = p.s.edits
			continue
		}
		p.mixed = p.mixed || site.Addr < prev
		prev = site.Addr
		edits = append(edits, Edit{uint32(site.Addr), uint32(move.Old), uint32(move.New), site.Form})
	}
	p.s.edits = edits
}

// addFar adds the edit of one site, or an error, or nothing if the site leads to its
// veneer before and after.
func (p *planner) addFar(site *Site, move *Move) {
	switch {
	case p.codecs[site.Form].length == 0:
		p.fail(diag.ErrInsn, site.Addr, site.Form, "has no form of %v", p.machine)
		return
	case site.Addr&p.mask != 0:
		p.fail(diag.ErrAlign, site.Addr, site.Form, "is not aligned to %d", p.facts.InsnAlign)
		return
	}
	from, ok := site.Leads(move.Old)
	if !ok {
		p.unreachable(site, move.Old)
		return
	}
	to, ok := site.Leads(move.New)
	if !ok {
		p.unreachable(site, move.New)
		return
	}
	if from == to {
		return
	}
	if from|to > math.MaxUint32 {
		p.fail(diag.ErrRange, site.Addr, site.Form, "leads from %#x to %#x: not below 4 GiB", from, to)
		return
	}
	s := p.s
	if n := len(s.edits); n > p.start {
		p.mixed = p.mixed || site.Addr < uint64(s.edits[n-1].Addr)
	}
	s.edits = append(s.edits, Edit{uint32(site.Addr), uint32(from), uint32(to), site.Form})
}

// order puts the edits since the last call in order.
func (p *planner) order() {
	if p.mixed {
		p.sorter.sort(p.s.edits[p.start:])
		p.mixed = false
	}
	p.start = len(p.s.edits)
}

// near says that every branch of the run reaches target because the first and the
// last do, with a form's length to spare; a veneer, whose rules are its own, aside.
func (p *planner) near(l *list, target uint64) bool {
	reach := p.facts.BranchReach - maxLen
	return target == 0 || target&p.mask == 0 && target <= math.MaxUint32 &&
		target-l.first+reach < 2*reach && target-l.last+reach < 2*reach
}

// batch is how many runs, each of which has its sites elsewhere, are brought into the
// cache together: loads close to one another miss at the same time.
const batch = 32

// runs adds the edits of the runs [from, to), at most batch.
func (p *planner) runs(r *runs, from, to int) {
	var lists [batch]*list
	var moves [batch]uint32
	sum := insn.Form(0)
	for i := range to - from {
		l, move := r.at(from + i)
		lists[i], moves[i] = l, move
		sum += l.sites[0].Form + l.sites[len(l.sites)/2].Form + l.sites[len(l.sites)-1].Form
	}
	p.sink = byte(sum)
	for i := range to - from {
		next := uint64(math.MaxUint64)
		if from+i+1 < len(r.keys) {
			next = r.keys[from+i+1].addr()
		}
		p.run(lists[i], &p.moves[moves[i]], next)
	}
}

// touch loads a byte of the text of each edit.
func (p *planner) touch(edits []Edit) {
	view, base, sum := p.s.view, p.base, byte(0)
	for i := range edits {
		if off := uint64(edits[i].Addr) - base; off < uint64(len(view)) {
			sum += view[off]
		}
	}
	p.sink = sum
}

// look gets the host's view of all text from the first site to the last.
func (p *planner) look(mem Memory, r *runs) {
	if r.last == nil {
		return
	}
	p.mem, p.base = mem, r.keys[0].addr()
	last := &r.last.sites[len(r.last.sites)-1]
	p.s.view = mem.Bytes(p.base, last.Addr-p.base+uint64(p.codecs[last.Form].length))
}

// compare compares the text of the edits that were put in order with what klink wrote
// there, adds an error for each difference and for edits that share bytes, which would
// destroy one another, and prepares the new instructions.
func (p *planner) compare() {
	s := p.s
	edits := s.edits[p.done:]
	s.heads, s.offsets = s.heads[:len(s.edits)], s.offsets[:len(s.edits)]
	heads, offsets := s.heads[p.done:][:len(edits)], s.offsets[p.done:][:len(edits)]
	view, base, end := s.view, p.base, p.end
	p.touch(edits)
	for i := range edits {
		e := &edits[i]
		c := &p.codecs[e.Form]
		addr := uint64(e.Addr)
		off := addr - base
		if addr < end {
			p.fail(diag.ErrConflict, addr, e.Form, "overlaps the one at %#x", s.edits[p.done+i-1].Addr)
		}
		end = addr + uint64(c.length)
		offsets[i] = uint32(off)
		if !c.branch || off+headLen > uint64(len(view)) {
			heads[i] = p.compareBytes(e)
			continue
		}
		old, fresh := c.trap, c.trap
		if e.Old != 0 {
			old = c.word(addr, uint64(e.Old))
		}
		if e.New != 0 {
			fresh = c.word(addr, uint64(e.New))
		}
		if (binary.LittleEndian.Uint64(view[off:])^old)&c.mask != 0 {
			p.compareBytes(e)
		}
		heads[i] = head(fresh | uint64(c.length)<<headBits)
	}
	p.end, p.done = end, len(s.edits)
}

// compareBytes adds an error if the edit's text is not, byte by byte, the old one. It
// returns the head of the new one.
func (p *planner) compareBytes(e *Edit) head {
	var c code
	off, n := uint64(e.Addr)-p.base, uint64(e.Form.Len())
	var have []byte
	if off+n <= uint64(len(p.s.view)) {
		have = p.s.view[off : off+n]
	} else if have = p.mem.Bytes(uint64(e.Addr), n); have == nil {
		p.fail(diag.ErrRange, uint64(e.Addr), e.Form, "lies outside of the arena")
		return 0
	}
	if want := e.old(&c, p.s.trap); !bytes.Equal(have, want) {
		p.fail(diag.ErrTextChanged, uint64(e.Addr), e.Form, "holds % x, not % x as klink wrote there; nothing was changed", have, want)
	}
	return headOf(e.fresh(&c, p.s.trap))
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

// from returns the host's view of edit i's text, and of what follows it.
func (s *Switch) from(i int) []byte { return s.view[s.offsets[i]:] }

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
		from, to := e.old(&a, s.trap), e.fresh(&b, s.trap)
		for k := range from {
			if from[k] != to[k] {
				n++
			}
		}
	}
	return n
}
