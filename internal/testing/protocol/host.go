package protocol

import "slices"

// What the host does: unloads, the load, and the reaper of what drains.

// Next implements Model.
func (w *World) Next(s State, emit Emit[State]) {
	if s.Lost {
		return
	}
	for i := range w.Threads {
		w.thread(s, i, emit)
	}
	for c := range w.Unloads {
		w.unload(s, c, emit)
	}
	w.load(s, emit)
	w.reap(s, emit)
	if w.Loss {
		emit(w.lose(s), label("the runner dies"), "")
	}
}

// lose ends everything: nothing runs any more, and commands that had not ended say so.
func (w *World) lose(s State) State {
	s.Threads = [threadsMost]Thread{}
	s.Reaping, s.Lost = Nobody, true
	for i := range w.Unloads {
		if c := &s.Unloads[i]; c.Step < Refused {
			*c = Command{Step: Refused}
		}
	}
	if s.Load < Loaded {
		s.Load = NotLoaded
	}
	for m := range s.Parts {
		s.Parts[m] = Part{State: s.Parts[m].State}
		if s.Parts[m].State != Reclaimed {
			s.Parts[m] = Part{}
		}
	}
	return s
}

// unload tells the steps of command c.
func (w *World) unload(s State, c int, emit Emit[State]) {
	cmd := &s.Unloads[c]
	mods := w.Unloads[c]
	say := func(format string, broken Property) {
		emit(s, label("unload %v: "+format, number(c+1)), broken)
	}
	switch cmd.Step {
	case Begin:
		if slices.ContainsFunc(mods, func(m Module) bool { return s.Parts[m].State != Live }) || !w.mayLeave(&s, mods) {
			cmd.Step = Refused
			say("refused", "")
			return
		}
		for _, m := range mods {
			s.Parts[m].State = Catching
		}
		cmd.Step = w.Order[0]
		say("begins", "")
	case Catch:
		w.catch(s, c, emit)
	case Relink:
		if w.Mistake != PlanOnce && !w.mayLeave(&s, mods) {
			cmd.Step = Uncatch
			say("is refused now", "")
			return
		}
		for _, m := range mods {
			s.Parts[m].Kept = true
		}
		w.retarget(&s, func(x Site) bool {
			m := w.owner(x)
			if m == Kernel || m == Nobody {
				return false
			}
			return w.Mistake == LoadingUnmoved && s.Parts[m].State == Loading || w.OwnStay && isSuper(x) && slices.Contains(mods, m)
		})
		w.advance(&s, c)
		say("the switch: its places are kept", "")
	case Grace:
		w.grace(s, c, emit)
	case Finish:
		w.finish(s, c, emit)
	case Proof:
		w.proof(s, c, emit)
	case Reclaim:
		w.reclaim(&s, c)
		say("reclaims what nobody is inside of", "")
	case PutBack:
		w.putBack(&s, c)
		say("the switch back", "")
	case Uncatch:
		w.uncatch(s, c, emit)
	}
}

// advance goes on to the step that comes next in the order.
func (w *World) advance(s *State, c int) {
	cmd := &s.Unloads[c]
	cmd.At++
	cmd.Next = 0
	if int(cmd.At) == len(w.Order) {
		cmd.Step = Unloaded
		return
	}
	cmd.Step = w.Order[cmd.At]
	if cmd.Step != Proof || w.Mistake != ProofAtFini {
		s.clear(c)
	}
}

// mayLeave says that modules may leave, whichever way the other commands under way end:
// a kept place, and what is still being loaded, counts where it needs something, and does
// not count where somebody needs it.
func (w *World) mayLeave(s *State, mods []Module) bool {
	leaves := func(m Module) bool { return slices.Contains(mods, m) }
	needs := func(m Module) bool {
		p := &s.Parts[m]
		switch {
		case leaves(m):
			return false
		case p.State == Draining:
			return w.Mistake != DrainingHoldsNothing
		case p.State == Loading:
			return w.Mistake != LoadingUncounted
		}
		return p.Pushed && (!p.Kept || w.Mistake != KeptUncounted)
	}
	provider := w.KernelDefault
	for m := A; m <= moduleTop; m++ {
		if w.Kinds[m] == Refinement && needs(m) && !provider {
			return false
		}
		p := &s.Parts[m]
		provider = provider || p.Pushed && !leaves(m) && (!p.Kept || w.Mistake == KeptProvides)
	}
	if w.KernelCalls && !provider {
		return false
	}
	if w.Circle && leaves(B) && needs(A) {
		return false
	}
	return w.CallsT == Nobody || !leaves(A) || !needs(w.CallsT)
}

// calls says that a site of m leads to other.
func (w *World) calls(s *State, m, other Module) bool {
	for x := range siteCount {
		if w.owner(x) == m && w.exists(s, x) && s.Target[x] == other {
			return true
		}
	}
	return false
}

// heldByDraining says that a draining module calls m.
func (w *World) heldByDraining(s *State, m Module) bool {
	for d := A; d <= moduleTop; d++ {
		if d != m && s.Parts[d].State == Draining && w.calls(s, d, m) {
			return true
		}
	}
	return false
}

// catch sends CATCH to the next module; one without a modcmd has nothing to be told.
func (w *World) catch(s State, c int, emit Emit[State]) {
	cmd, mods := &s.Unloads[c], w.Unloads[c]
	m := mods[cmd.Next]
	on := func(s State) State {
		if cmd := &s.Unloads[c]; int(cmd.Next)+1 < len(mods) {
			cmd.Next++
		} else {
			w.advance(&s, c)
		}
		return s
	}
	if !w.Gates[m] {
		emit(on(s), label("unload %v: %v has nothing to catch", number(c+1), m.word()), "")
		return
	}
	failed := s
	failed.Unloads[c].Step = Uncatch
	emit(failed, label("unload %v: CATCH of %v returns an errno", number(c+1), m.word()), "")
	failed.Parts[m].Caught = true
	emit(failed, label("unload %v: CATCH of %v faults, or its time is over", number(c+1), m.word()), "")
	s.Parts[m].Caught = true
	emit(on(s), label("unload %v: CATCH of %v", number(c+1), m.word()), "")
}

// grace waits until every thread has been seen where it need not be waited for.
func (w *World) grace(s State, c int, emit Emit[State]) {
	if w.allSeen(&s, c) {
		w.advance(&s, c)
		emit(s, label("unload %v: grace is over", number(c+1)), "")
		return
	}
	w.look(s, c, "unload "+digits[c]+": grace finds thread %v outside, or in a gate, or the module's own", func(t *Thread) bool {
		return !slices.ContainsFunc(w.Unloads[c], func(m Module) bool { return !w.graceful(t, m) })
	}, emit)
	if w.Mistake != NoLimit {
		s.Unloads[c].Step = PutBack
		s.clear(c)
		emit(s, label("unload %v: grace runs out of time, or the client goes away", number(c+1)), "")
	}
}

// digits are for labels whose other words come later.
var digits = []string{"1", "2"}

// finish runs the FINIs, one after the other. After the first that does not succeed the
// modules behind it are put back.
func (w *World) finish(s State, c int, emit Emit[State]) {
	cmd, mods := &s.Unloads[c], w.Unloads[c]
	m := mods[cmd.Next]
	p := &s.Parts[m]
	if p.Fini != Running {
		w.finiStarts(s, c, emit)
		return
	}
	for i := range w.Threads {
		if t := &s.Threads[i]; w.Forever && t.Asleep && (t.Of == m || t.in(m)&(1<<Gated) != 0) {
			to := s
			to.Threads[i].Asleep = false
			emit(to, label("FINI of %v wakes thread %v", m.word(), number(i+1)), "")
		}
	}
	next := func(s State, more bool) State {
		cmd := &s.Unloads[c]
		cmd.Next++
		cmd.Ended = cmd.Next
		switch {
		case int(cmd.Next) == len(mods):
			w.advance(&s, c)
		case !more:
			cmd.Step = PutBack
		}
		return s
	}
	if w.Lies || !w.Gates[m] || w.finiCanEnd(&s, m) {
		to := s
		to.Parts[m].Fini = Done
		emit(next(to, true), label("unload %v: FINI of %v is done", number(c+1), m.word()), "")
	}
	if !w.Gates[m] {
		return
	}
	to := s
	to.Parts[m].Fini = Failed
	to.Unloads[c].Stuck |= 1 << cmd.Next
	emit(next(to, w.Mistake == NextFiniAfterFailed), label("unload %v: FINI of %v faults, or its time is over", number(c+1), m.word()), "")
	p.Fini = NotRun
	cmd.Step = PutBack
	emit(s, label("unload %v: FINI of %v returns an errno", number(c+1), m.word()), "")
}

// finiStarts begins the FINI of the command's next module.
func (w *World) finiStarts(s State, c int, emit Emit[State]) {
	mods := w.Unloads[c]
	m := mods[s.Unloads[c].Next]
	broken := w.finiBegins(&s, m)
	s.Parts[m].Fini = Running
	if w.Mistake == ProofAtFini {
		s.clear(c)
		for i := range w.Threads {
			if t := &s.Threads[i]; w.outside(t, m) {
				t.Seen |= 1 << c
			}
		}
	}
	emit(s, label("unload %v: FINI of %v begins", number(c+1), m.word()), broken)
}

// finiCanEnd says that an honest FINI of m can return: entrances equal exits, and the
// module's kernel threads have ended.
func (w *World) finiCanEnd(s *State, m Module) bool {
	for i := range w.Threads {
		if t := &s.Threads[i]; t.Of == m || t.in(m)&(1<<Gated) != 0 {
			return false
		}
	}
	return true
}

// proof waits until every thread has been seen outside of the modules that have ended.
func (w *World) proof(s State, c int, emit Emit[State]) {
	cmd := &s.Unloads[c]
	ended := w.Unloads[c][:cmd.Ended]
	if w.allSeen(&s, c) {
		w.advance(&s, c)
		emit(s, label("unload %v: proof is there", number(c+1)), "")
		return
	}
	w.look(s, c, "unload "+digits[c]+": the proof finds thread %v outside", func(t *Thread) bool {
		return !slices.ContainsFunc(ended, func(m Module) bool { return !w.outside(t, m) })
	}, emit)
	for i, m := range ended {
		for j := range w.Threads {
			if t := &s.Threads[j]; t.Seen&(1<<c) == 0 && !w.outside(t, m) {
				cmd.Stuck |= 1 << i
			}
		}
	}
	w.advance(&s, c)
	emit(s, label("unload %v: the proof runs out of time", number(c+1)), "")
}

// reclaim gives the modules' text back, but those that somebody is inside of, and those
// that these call: they drain.
func (w *World) reclaim(s *State, c int) {
	cmd := &s.Unloads[c]
	ended := w.Unloads[c]
	if cmd.Ended > 0 { // else the order has no FINI
		ended = ended[:cmd.Ended]
	}
	stuck := cmd.Stuck
	for again := w.Mistake != HeldReclaimed; again; {
		again = false
		for i, m := range ended {
			for j, d := range ended {
				if stuck&(1<<j) != 0 && stuck&(1<<i) == 0 && w.calls(s, d, m) {
					stuck |= 1 << i
					again = true
				}
			}
		}
	}
	for i, m := range ended {
		p := &s.Parts[m]
		p.Pushed, p.Kept, p.Caught = false, false, false
		if p.State = Reclaimed; stuck&(1<<i) != 0 {
			p.State = Draining
		}
	}
	w.advance(s, c)
	if cmd.Step == Unloaded {
		back := len(ended) < len(w.Unloads[c])
		switch *cmd = (Command{Step: Unloaded}); {
		case stuck != 0:
			cmd.Step = Drained
		case back:
			cmd.Step = Refused
		}
	}
}

// putBack makes the places current again of the modules that have not ended. In a circle
// they may call one that has: then there is no way back, they drain.
func (w *World) putBack(s *State, c int) {
	cmd := &s.Unloads[c]
	for i := int(cmd.Ended); i < len(w.Unloads[c]); i++ {
		for _, ended := range w.Unloads[c][:cmd.Ended] {
			if m := w.Unloads[c][i]; w.calls(s, m, ended) {
				cmd.Stuck |= 1<<len(w.Unloads[c]) - 1<<cmd.Ended
				cmd.Ended = uint8(len(w.Unloads[c]))
				w.toProof(s, c)
				return
			}
		}
	}
	for _, m := range w.Unloads[c][cmd.Ended:] {
		s.Parts[m].Kept = false
	}
	switch w.Mistake {
	case ForgetSupers:
		w.retarget(s, func(x Site) bool { return x != CallS && x != CallT })
	case PutBackOwnMoves:
		// Before them C was not there.
		was := *s
		was.Parts[C] = Part{}
		for x := range siteCount {
			if w.exists(&was, x) {
				s.Target[x] = w.leadsTo(&was, x)
			}
		}
	default:
		w.retarget(s, nil)
	}
	cmd.Step = Uncatch
}

// toProof goes on with the proof of those that have ended.
func (w *World) toProof(s *State, c int) {
	s.Unloads[c].At, s.Unloads[c].Step = uint8(slices.Index(w.Order, Proof)), Proof
	s.clear(c)
}

// uncatch sends UNCATCH to the modules that stay.
func (w *World) uncatch(s State, c int, emit Emit[State]) {
	cmd := &s.Unloads[c]
	stay := w.Unloads[c][cmd.Ended:]
	for _, m := range stay {
		s.Parts[m].State = Live
	}
	if cmd.Ended > 0 {
		w.toProof(&s, c)
	} else {
		*cmd = Command{Step: Refused}
	}
	caught := slices.ContainsFunc(stay, func(m Module) bool { return s.Parts[m].Caught })
	if caught {
		emit(s, label("unload %v: UNCATCH fails, and that is reported; they are live all the same", number(c+1)), usable(&s, stay, true))
	}
	for _, m := range stay {
		s.Parts[m].Caught = s.Parts[m].Caught && w.Mistake == ForgetUncatch
	}
	emit(s, label("unload %v: UNCATCH, they are live again", number(c+1)), usable(&s, stay, false))
}

// closure returns m and all draining modules that call it, or one of those: they are
// proved and reclaimed as one, for they may call one another in a circle.
func (w *World) closure(s *State, m Module) []Module {
	list := []Module{m}
	if w.Mistake == HeldReclaimed || w.Mistake == ReapAlone {
		return list
	}
	for i := 0; i < len(list); i++ {
		for d := A; d <= moduleTop; d++ {
			if s.Parts[d].State == Draining && !slices.Contains(list, d) && w.calls(s, d, list[i]) {
				list = append(list, d)
			}
		}
	}
	return list
}

// reap looks for draining modules that all threads have left.
func (w *World) reap(s State, emit Emit[State]) {
	if s.Reaping == Nobody {
		for m := A; m <= moduleTop; m++ {
			if s.Parts[m].State == Draining {
				broken := Property("")
				if w.Mistake == FiniAgain {
					broken = w.finiBegins(&s, m)
				}
				to := s
				to.Reaping = m
				to.clear(reaper)
				emit(to, label("the reaper begins with %v", m.word()), broken)
			}
		}
		return
	}
	mods := w.closure(&s, s.Reaping)
	outside := func(t *Thread) bool {
		return !slices.ContainsFunc(mods, func(m Module) bool { return !w.outside(t, m) })
	}
	w.look(s, reaper, "the reaper finds thread %v outside", outside, emit)
	reaped := s.Reaping
	held := w.Mistake == ReapAlone && w.heldByDraining(&s, reaped)
	if w.allSeen(&s, reaper) && !held {
		for _, m := range mods {
			s.Parts[m] = Part{State: Reclaimed, Fini: s.Parts[m].Fini}
		}
		s.Reaping = Nobody
		s.clear(reaper)
		emit(s, label("%v has drained and is reclaimed", reaped.word()), "")
		return
	}
	for i := range w.Threads {
		if t := &s.Threads[i]; held || t.Seen&(1<<reaper) == 0 && !outside(t) {
			s.Reaping = Nobody
			s.clear(reaper)
			emit(s, label("the reaper finds thread %v inside, and tries again later", number(i+1)), "")
			return
		}
	}
}
