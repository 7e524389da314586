package protocol

// The switch: two of them, one after the other, over the same two sites, while threads
// fetch the instructions there. What a thread fetches may be as old as its last
// barrier; what a trap handler loads is as it is.

// The properties of the switch.
const (
	// InOrder: the two calls of a thread, one after the other, never go to a new
	// provider, then to an old one.
	InOrder Property = "no thread calls new, then old"
	// RightThen: each call goes to a provider that was current at some moment of it.
	RightThen Property = "a call goes to a provider that was current during it"
	// Whole: nobody executes the first unit of one instruction with the rest of another.
	Whole Property = "no instruction is torn"
	// TrapsFound: a trap that a switch has set is handled.
	TrapsFound Property = "no switch's trap is taken for a fault"
)

const (
	switchSites   = 2
	switchThreads = 2
	providers     = 3 // the old one, and one of each switch
	trapUnit      = providers
)

// SwitchOp is one step of the host in a switch.
type SwitchOp uint8

// The steps. Those that write stand for one store each.
const (
	PutRow1 SwitchOp = iota
	PutRow2
	Publish // sets the generation
	Trap1
	Trap2
	Barrier // every thread passes it, one after the other
	Turn
	Tail1
	Tail2
	First1
	First2
	Withdraw
	Restore1 // an abandoned switch's
	Restore2
)

// opNames say what the steps do.
var opNames = []string{
	"writes the row of site 1", "writes the row of site 2", "sets the table's generation",
	"writes the trap of site 1", "writes the trap of site 2", "waits for the barrier", "turns the word",
	"writes the tail of site 1", "writes the tail of site 2", "writes the first unit of site 1", "writes the first unit of site 2",
	"withdraws the table", "puts the first unit of site 1 back", "puts the first unit of site 2 back",
}

// SwitchOrder returns the steps of a switch in their right order, and those that undo
// it before its turn.
func SwitchOrder() (do, undo []SwitchOp) {
	do = []SwitchOp{PutRow1, PutRow2, Publish, Trap1, Trap2, Barrier, Turn, Tail1, Tail2, Barrier, First1, First2, Barrier, Withdraw}
	return do, []SwitchOp{Restore1, Restore2, Barrier, Withdraw}
}

// Switching is the model of two switches.
type Switching struct {
	Do, Undo   []SwitchOp
	NoRecheck  bool // the handler takes a trap without a row for a fault, whatever the text is by now
	NoReread   bool // the handler does not look whether the table changed under it
	OneSwitch  bool // the second is left out
	WholeFirst bool // the first unit is all of the instruction: aarch64's
}

// unit is a set of values that a thread may see: bit v for provider v's, or the trap.
type unit uint8

// site is one site's text.
type site struct {
	First, Tail uint8 // as they are
}

// view is what one thread may see of a site.
type view struct{ First, Tail unit }

// Stages of a thread's call.
const (
	idle     uint8 = iota
	trapped        // it met a trap, and is not in the handler yet
	read           // the handler has read the generation
	answered       // and has looked the site up
	missing        // there was no row; it looks at the text next
)

// caller is a thread.
type caller struct {
	Stage  uint8
	Site   uint8
	Gen    uint8 // that the handler read
	Answer uint8 // the provider that it found, trapUnit if there is no row
	Since  uint8 // the provider that was current when the call began
	Last   uint8 // where the last call went
	View   [switchSites]view
	Behind bool // has not passed the barrier that the host waits for
}

// SwitchState is a state of a Switching.
type SwitchState struct {
	Sites   [switchSites]site
	Rows    [switchSites]uint8 // the switch whose row it is, 0 none
	Gen     uint8              // that the handler finds: 0 is none
	Turned  uint8              // the switch's word
	Current uint8              // the provider
	Nth     uint8              // the switch under way, from 1
	At      uint8              // the step that comes next
	Undoing bool
	First   bool // the first switch was abandoned
	Waiting bool // for a barrier
	Threads [switchThreads]caller
}

// Start implements Model.
func (m Switching) Start() SwitchState {
	s := SwitchState{Nth: 1}
	for i := range s.Threads {
		for j := range s.Sites {
			s.Threads[i].View[j] = view{1, 1}
		}
	}
	return s
}

// base returns the provider that the sites lead to before the switch under way.
func (s *SwitchState) base() uint8 {
	if s.Nth == 1 || s.First {
		return 0
	}
	return 1
}

// last returns how many switches there are.
func (m Switching) last() uint8 {
	if m.OneSwitch {
		return 1
	}
	return 2
}

// Next implements Model.
func (m Switching) Next(s SwitchState, emit Emit[SwitchState]) {
	for i := range s.Threads {
		m.thread(s, i, emit)
	}
	if s.Nth > m.last() {
		return
	}
	if s.Waiting {
		m.pass(s, emit)
		return
	}
	ops := m.Do
	if s.Undoing {
		ops = m.Undo
	}
	op := ops[s.At]
	to := s
	m.apply(&to, op)
	if !to.Waiting {
		m.advance(&to, len(ops))
	}
	emit(to, label("host, switch %v: %v", number(int(s.Nth)), Word{opNames, uint8(op)}), "")
	if op == Turn && !s.Undoing { // a barrier or the turn reported an error
		s.Undoing, s.At = true, 0
		emit(s, label("host, switch %v: an error, it is abandoned", number(int(s.Nth))), "")
	}
}

// advance goes on to the next step, or to the next switch.
func (m Switching) advance(s *SwitchState, ops int) {
	if s.At++; int(s.At) < ops {
		return
	}
	s.First = s.First || s.Undoing && s.Nth == 1
	s.Nth, s.At, s.Undoing = s.Nth+1, 0, false
}

// apply does what a step does.
func (m Switching) apply(s *SwitchState, op SwitchOp) {
	switch op {
	case PutRow1, PutRow2:
		s.Rows[op-PutRow1] = s.Nth
	case Publish:
		s.Gen = s.Nth
	case Trap1, Trap2:
		s.first(int(op-Trap1), trapUnit)
	case Tail1, Tail2:
		if !m.WholeFirst {
			s.tail(int(op-Tail1), s.Nth)
		}
	case First1, First2:
		s.first(int(op-First1), s.Nth)
	case Restore1, Restore2:
		s.first(int(op-Restore1), s.base())
	case Turn:
		s.Turned, s.Current = s.Nth, s.Nth
	case Withdraw:
		s.Gen = 0
	case Barrier:
		s.Waiting = true
		for i := range s.Threads {
			s.Threads[i].Behind = true
		}
	}
}

// first and tail write a part of a site: threads may see the new one from now on, and
// what they could see before until they pass a barrier.
func (s *SwitchState) first(i int, v uint8) {
	s.Sites[i].First = v
	for t := range s.Threads {
		s.Threads[t].View[i].First |= 1 << v
	}
}

func (s *SwitchState) tail(i int, v uint8) {
	s.Sites[i].Tail = v
	for t := range s.Threads {
		s.Threads[t].View[i].Tail |= 1 << v
	}
}

// pass has each thread pass the barrier, whatever it is at.
func (m Switching) pass(s SwitchState, emit Emit[SwitchState]) {
	waits := false
	for i := range s.Threads {
		if !s.Threads[i].Behind {
			continue
		}
		waits = true
		to := s
		t := &to.Threads[i]
		t.Behind = false
		for j, x := range s.Sites {
			t.View[j] = view{1 << x.First, 1 << x.Tail}
		}
		emit(to, label("thread %v passes the barrier", number(i+1)), "")
	}
	if waits {
		return
	}
	s.Waiting = false
	ops := len(m.Do)
	if s.Undoing {
		ops = len(m.Undo)
	}
	m.advance(&s, ops)
	emit(s, label("host: all have passed the barrier"), "")
}

// thread tells the steps of thread i.
func (m Switching) thread(s SwitchState, i int, emit Emit[SwitchState]) {
	t := &s.Threads[i]
	switch t.Stage {
	case idle:
		for j := range s.Sites {
			m.fetch(s, i, j, emit)
		}
	case trapped:
		to := s
		to.Threads[i].Stage, to.Threads[i].Gen = read, s.Gen
		emit(to, label("thread %v is in the trap handler, reads generation %v", number(i+1), number(int(s.Gen))), "")
	case read:
		to := s
		x := &to.Threads[i]
		x.Stage, x.Answer = answered, trapUnit
		if t.Gen != 0 && s.Rows[t.Site] != 0 {
			row := s.Rows[t.Site]
			if x.Answer = row; s.Turned != t.Gen {
				x.Answer = row - 1
				if row == 2 && s.First {
					x.Answer = 0
				}
			}
		}
		emit(to, label("thread %v looks its site up", number(i+1)), "")
	case answered:
		m.decide(s, i, emit)
	case missing:
		m.fault(s, i, emit)
	}
}

// fetch tells what thread i may find at site j.
func (m Switching) fetch(s SwitchState, i, j int, emit Emit[SwitchState]) {
	t := &s.Threads[i]
	for first := range uint8(trapUnit) {
		if t.View[j].First&(1<<first) == 0 {
			continue
		}
		if m.WholeFirst {
			m.arrive(s, i, first, s.Current, emit, label("thread %v calls through site %v, to provider %v", number(i+1), number(j+1), number(int(first))))
			continue
		}
		for tail := range uint8(providers) {
			if t.View[j].Tail&(1<<tail) == 0 {
				continue
			}
			if first != tail {
				emit(s, label("thread %v executes site %v: the first unit of %v with the tail of %v", number(i+1), number(j+1), number(int(first)), number(int(tail))), Whole)
				continue
			}
			m.arrive(s, i, tail, s.Current, emit, label("thread %v calls through site %v, to provider %v", number(i+1), number(j+1), number(int(tail))))
		}
	}
	if t.View[j].First&(1<<trapUnit) != 0 {
		x := &s.Threads[i]
		x.Stage, x.Site, x.Since = trapped, uint8(j), s.Current
		emit(s, label("thread %v meets the trap at site %v", number(i+1), number(j+1)), "")
	}
}

// arrive ends a call of thread i, that began when since was current, at provider v.
func (m Switching) arrive(s SwitchState, i int, v, since uint8, emit Emit[SwitchState], l Label) {
	t := &s.Threads[i]
	broken := Property("")
	switch {
	case v < t.Last:
		broken = InOrder
	case v < since, v > s.Current, v == 1 && s.First:
		broken = RightThen
	}
	*t = caller{Last: v, View: t.View, Behind: t.Behind}
	emit(s, l, broken)
}

// decide is the handler when it has its answer.
func (m Switching) decide(s SwitchState, i int, emit Emit[SwitchState]) {
	t := &s.Threads[i]
	n := number(i + 1)
	switch {
	case !m.NoReread && s.Gen != t.Gen:
		t.Stage = trapped
		emit(s, label("thread %v finds the table changed, and looks again", n), "")
	case t.Answer != trapUnit:
		m.arrive(s, i, t.Answer, t.Since, emit, label("thread %v goes to provider %v", n, number(int(t.Answer))))
	case m.NoRecheck:
		emit(s, label("thread %v finds no row for site %v", n, number(int(t.Site)+1)), TrapsFound)
	case s.Sites[t.Site].First != trapUnit:
		// It executes the site anew: that is the same call.
		*t = caller{Last: t.Last, View: t.View, Behind: t.Behind}
		emit(s, label("thread %v finds no row and no trap: it goes back to the site", n), "")
	default:
		t.Stage = missing
		emit(s, label("thread %v finds no row, and a trap", n), "")
	}
}

// fault is the handler that found neither a row nor an instruction.
func (m Switching) fault(s SwitchState, i int, emit Emit[SwitchState]) {
	t := &s.Threads[i]
	if s.Gen == t.Gen {
		emit(s, label("thread %v takes the trap at site %v for a fault", number(i+1), number(int(t.Site)+1)), TrapsFound)
		return
	}
	t.Stage = trapped
	emit(s, label("thread %v: a switch has begun meanwhile, it looks again", number(i+1)), "")
}

// Check implements Model: all that can be broken is broken by a step.
func (m Switching) Check(SwitchState) Property { return "" }

// Over implements Model.
func (m Switching) Over(s SwitchState) bool { return s.Nth > m.last() }

// Canonical implements Model: the threads are put in order.
func (m Switching) Canonical(s SwitchState) SwitchState {
	if after(&s.Threads[0], &s.Threads[1]) {
		s.Threads[0], s.Threads[1] = s.Threads[1], s.Threads[0]
	}
	return s
}

// word puts what tells threads apart into a number.
func (t *caller) word() uint64 {
	w := uint64(t.Stage) | uint64(t.Site)<<4 | uint64(t.Gen)<<8 | uint64(t.Answer)<<12 | uint64(t.Since)<<16 | uint64(t.Last)<<20
	for i, v := range t.View {
		w |= uint64(v.First|v.Tail<<4) << (24 + 8*i)
	}
	if t.Behind {
		w |= 1 << 40
	}
	return w
}

// after says that a belongs behind b.
func after(a, b *caller) bool { return a.word() > b.word() }
