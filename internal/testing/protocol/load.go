package protocol

// The load of C.

// mayPush says that C may be pushed now, and that it finds what it needs, whichever way
// the other commands under way end.
func (w *World) mayPush(s *State) bool {
	for m := A; m < C; m++ {
		p := &s.Parts[m]
		if w.Kinds[C] == Override && w.Kinds[m] == Override && p.Pushed && (!p.Kept || w.Mistake != KeptIsFree) {
			return false
		}
	}
	if w.CallsT == C && (!s.Parts[A].Pushed || s.Parts[A].Kept && w.Mistake != BindToKeptAlone) {
		return false
	}
	return w.Kinds[C] != Refinement || w.below(s, C, w.Mistake == BindToKept) != Nobody
}

// load tells the steps of the load.
func (w *World) load(s State, emit Emit[State]) {
	switch s.Load {
	case NotBegun:
		if !w.mayPush(&s) {
			s.Load = NotLoaded
			emit(s, label("load of C: refused"), "")
			return
		}
		s.Load = Initing
		s.Parts[C].State = Loading
		if w.Kinds[C] == Refinement {
			s.Target[SuperC] = w.below(&s, C, w.Mistake == BindToKept)
		}
		if w.CallsT == C {
			s.Target[CallT] = A
		}
		emit(s, label("load of C: its sites are bound, INIT begins"), "")
	case Initing:
		w.init(s, emit)
	case Discarding:
		w.discard(s, emit)
	}
}

// init runs INIT of C.
func (w *World) init(s State, emit Emit[State]) {
	if w.Spawns {
		w.spawn(s, C, label("INIT starts a kernel thread of %v: thread %v", C.word(), Word{}), emit)
	}
	failed := s
	failed.Load = Discarding
	failed.clear(loader)
	emit(failed, label("load of C: INIT fails"), "")
	if w.Mistake != PlanOnce && !w.mayPush(&s) {
		emit(failed, label("load of C: INIT is done, but C may not be pushed any more"), "")
		return
	}
	s.Load = Loaded
	s.Parts[C] = Part{State: Live, Pushed: true}
	w.retarget(&s, func(x Site) bool { return x == SuperC && w.Mistake == BindToKept })
	emit(s, label("load of C: INIT is done; the switch"), "")
}

// discard takes C away again after the proof that nobody is inside.
func (w *World) discard(s State, emit Emit[State]) {
	w.look(s, loader, "load of C: the proof finds thread %v outside", func(t *Thread) bool { return w.outside(t, C) }, emit)
	clean := w.allSeen(&s, loader)
	s.Load = NotLoaded
	s.clear(loader)
	if clean {
		s.Parts[C] = Part{State: Reclaimed}
		emit(s, label("load of C: it is reclaimed"), "")
		return
	}
	s.Parts[C] = Part{State: Draining}
	emit(s, label("load of C: the proof runs out of time, it drains"), "")
}
