package protocol

// What threads do, and what klink sees of them.

// The names of what labels speak of.
var (
	moduleNames = []string{"nobody", "A", "B", "C", "the kernel"}
	siteNames   = []string{"S", "super_S of A", "super_S of B", "super_S of C", "T", "U"}
)

func (m Module) word() Word { return Word{moduleNames, uint8(m)} }
func (x Site) word() Word   { return Word{siteNames, uint8(x)} }

// thread tells the steps of thread i.
func (w *World) thread(s State, i int, emit Emit[State]) {
	t := &s.Threads[i]
	n := number(i + 1)
	top := t.top()
	if top < 0 {
		w.fromOutside(s, i, emit)
		return
	}
	m, phase := t.Frames[top].Module, t.Frames[top].Phase
	if t.Asleep {
		if !w.Forever {
			to := s
			to.Threads[i].Asleep = false
			emit(to, label("thread %v wakes in %v", n, m.word()), "")
			w.giveUp(s, i, emit)
		}
		return
	}
	// A kernel thread's outermost call is in no gate: FINI stops it.
	own := top == 0 && t.Of == m
	goes := func(p Phase, format string) {
		to := s
		to.Threads[i].Frames[top].Phase = p
		emit(to, label(format, n, m.word()), "")
	}
	switch {
	case phase == Fetched:
		goes(Before, "thread %v enters %v")
	case phase == ToStart:
		goes(Before, "thread %v starts in %v")
	case phase == After:
		w.leave(s, i, top, emit)
		w.giveUp(s, i, emit)
	case phase == Before && w.Gates[m] && !own:
		goes(Gated, "thread %v enters the gate of %v")
		w.giveUp(s, i, emit)
	default:
		w.body(s, i, top, emit)
		if phase == Gated {
			goes(After, "thread %v leaves the gate of %v")
		} else {
			w.leave(s, i, top, emit)
		}
		w.giveUp(s, i, emit)
	}
}

// fromOutside tells what a thread does that is in no module.
func (w *World) fromOutside(s State, i int, emit Emit[State]) {
	if w.KernelCalls || s.Target[CallS] != Nobody { // an entry that leads nowhere is not called
		w.call(s, i, CallS, emit)
	}
	if !w.Private {
		return
	}
	for m := A; m <= moduleTop; m++ {
		if st := s.Parts[m].State; st == Live || st == Catching && w.Mistake == CallWhileCatching {
			to := s
			to.Threads[i].Frames[0] = Frame{m, ToStart}
			emit(to, label("klink call has thread %v start at an address in %v", number(i+1), m.word()), "")
		}
	}
}

// body tells what a thread does in the middle of a module: calls, sleeps, starts threads.
func (w *World) body(s State, i, top int, emit Emit[State]) {
	m := s.Threads[i].Frames[top].Module
	if w.Kinds[m] == Refinement {
		w.call(s, i, superOf(m), emit)
	}
	if w.CallsT == m {
		w.call(s, i, CallT, emit)
	}
	if w.Circle && m == A {
		w.call(s, i, CallU, emit)
	}
	to := s
	to.Threads[i].Asleep = true
	emit(to, label("thread %v falls asleep in %v", number(i+1), m.word()), "")
	if w.Spawns {
		w.spawn(s, m, label("thread %v starts a kernel thread of %v: thread %v", number(i+1), m.word(), Word{}), emit)
	}
}

// spawn gives an idle thread a new start in m. Those who have seen it outside have to
// look again.
func (w *World) spawn(s State, m Module, l Label, emit Emit[State]) {
	for j := range w.Threads {
		if s.Threads[j].top() >= 0 {
			continue
		}
		to := s
		t := &to.Threads[j]
		*t = Thread{Of: m, Seen: t.Seen}
		t.Frames[0] = Frame{m, ToStart}
		if w.Mistake != StartsUnseen && w.Mistake != ProofAtFini {
			t.Seen = 0
		}
		l.Args[l.Count-1] = number(j + 1)
		emit(to, l, "")
	}
}

// call has a thread fetch the instruction at a site. A call of what the kernel provides
// comes back at once.
func (w *World) call(s State, i int, x Site, emit Emit[State]) {
	t := &s.Threads[i]
	top := t.top() + 1
	to := s.Target[x]
	l := label("thread %v fetches the call of %v, to %v", number(i+1), x.word(), to.word())
	switch {
	case to == Nobody:
		emit(s, l, RightProvider)
	case to == Kernel || top == depth:
	case s.Parts[to].Fini != NotRun && !w.Lies:
		emit(s, l, Counted)
	default:
		t.Frames[top] = Frame{to, Fetched}
		emit(s, l, "")
	}
}

// leave has a thread return from its innermost call.
func (w *World) leave(s State, i, top int, emit Emit[State]) {
	t := &s.Threads[i]
	m := t.Frames[top].Module
	t.Frames[top] = Frame{}
	if top == 0 {
		t.end()
	}
	emit(s, label("thread %v returns from %v", number(i+1), m.word()), "")
}

// giveUp has all of a thread's calls end by a fault in the innermost, or by their time
// limit. What it held is settled: it is in no gate any more.
func (w *World) giveUp(s State, i int, emit Emit[State]) {
	s.Threads[i].end()
	emit(s, label("thread %v faults, or its time is over: its calls end", number(i+1)), "")
}

// sees says by which of its calls a look, that of the proof or that of grace, finds a
// thread in m: bits by Phase.
func (w *World) sees(t *Thread, m Module, proof bool) uint8 {
	top := t.top()
	if top < 0 {
		return 0
	}
	seen := *t
	switch {
	case w.Mistake == LookAtPCs && proof:
		if f := t.Frames[top]; t.Asleep || f.Module != m || f.Phase == Fetched || f.Phase == ToStart {
			return 0 // of a sleeper, and of one that is yet to come, it is elsewhere
		}
		return 1 << t.Frames[top].Phase
	case w.Mistake == LookAtInnermost:
		seen.Frames = [depth]Frame{t.Frames[top]}
	}
	phases := seen.in(m)
	if w.Mistake == ForgetToStart {
		phases &^= 1 << ToStart
	}
	return phases
}

// graceful says that a look finds nothing of m in a thread that grace has to wait for.
func (w *World) graceful(t *Thread, m Module) bool {
	switch phases := w.sees(t, m, false); {
	case phases == 0, phases&(1<<Gated) != 0, t.Of == m && (w.Gates[m] || w.Mistake == PlainKthreadsExempt):
		return true // a kernel thread is for its module's FINI to end, if there is one
	case w.Mistake == SleepersAreOutside:
		return t.Asleep
	case w.Mistake == AnyGateCounts:
		for _, f := range t.Frames {
			if f.Phase == Gated {
				return true
			}
		}
	}
	return false
}

// outside says that a look finds a thread outside of m.
func (w *World) outside(t *Thread, m Module) bool {
	return w.sees(t, m, true) == 0 || w.Mistake == KthreadsExempt && t.Of == m
}

// clear forgets what a looker has seen.
func (s *State) clear(looker int) {
	for i := range s.Threads {
		s.Threads[i].Seen &^= 1 << looker
	}
}

// allSeen says that a looker has seen every thread.
func (w *World) allSeen(s *State, looker int) bool {
	for i := range w.Threads {
		if s.Threads[i].Seen&(1<<looker) == 0 {
			return false
		}
	}
	return true
}

// look tells the looks at threads that were not seen yet, and that pass.
func (w *World) look(s State, looker int, format string, pass func(*Thread) bool, emit Emit[State]) {
	for i := range w.Threads {
		t := &s.Threads[i]
		if t.Seen&(1<<looker) == 0 && pass(t) {
			to := s
			to.Threads[i].Seen |= 1 << looker
			emit(to, label(format, number(i+1)), "")
		}
	}
}
