package protocol

// The properties of the protocol.
const (
	// ReclaimedText: no thread is inside of text that was reclaimed, so none executes it.
	ReclaimedText Property = "no thread is inside of reclaimed text"
	// Dangling: no site, entry, kept place or super_S that may still be followed does.
	Dangling Property = "nothing leads to reclaimed text"
	// Counted: FINI runs when everybody who came by an old call has been counted or has
	// left, and nobody comes after that.
	Counted Property = "nobody enters once FINI has begun"
	// FiniOnce: FINI is not called after it succeeded, faulted or ran out of time.
	FiniOnce Property = "FINI is called once, but after an errno"
	// RightProvider: every site of a module that is not leaving leads to the provider
	// that the stack says; after a put back as before it. No call fails.
	RightProvider Property = "every site leads to the provider that its stack says"
	// Places: there is one override at most, a refinement has something below it, what is
	// referred to is there; however the commands under way end.
	Places Property = "the stacks keep their rules, kept places included"
	// Usable: a module whose unload was refused or failed is live and as it was, or it is
	// draining and out of every stack.
	Usable Property = "who was not unloaded is usable, or draining"
	// Answered: a command that says that modules are unloaded has reclaimed them.
	Answered Property = "no success is reported that was none"
)

// Check implements Model.
func (w *World) Check(s State) Property {
	for i := range w.Threads {
		for _, f := range s.Threads[i].Frames {
			if f.Module != Nobody && s.Parts[f.Module].State == Reclaimed {
				return ReclaimedText
			}
		}
	}
	if !s.Lost {
		for _, check := range []func(*State) Property{w.dangling, w.places, w.right} {
			if p := check(&s); p != "" {
				return p
			}
		}
	}
	for m := A; m <= moduleTop; m++ {
		p := &s.Parts[m]
		if p.State == Live && (!p.Pushed || p.Kept) || p.State >= Draining && (p.Pushed || p.Kept) {
			return Usable
		}
	}
	return w.answered(&s)
}

// dangling looks where the sites lead whose text may still run.
func (w *World) dangling(s *State) Property {
	for x := range siteCount {
		m := w.owner(x)
		if m == Nobody || m != Kernel && (s.Parts[m].State == Out || s.Parts[m].State == Reclaimed) {
			continue
		}
		if to := s.Target[x]; to != Nobody && to != Kernel && s.Parts[to].State == Reclaimed {
			return Dangling
		}
	}
	return ""
}

// places looks at the stack of S.
func (w *World) places(s *State) Property {
	overrides := 0
	for m := A; m <= moduleTop; m++ {
		p := &s.Parts[m]
		if p.Pushed && w.Kinds[m] == Override {
			overrides++
		}
		if p.Pushed && !p.Kept && w.Kinds[m] == Refinement && s.Target[superOf(m)] == Nobody {
			return Places
		}
	}
	if overrides > 1 || w.KernelCalls && s.Target[CallS] == Nobody {
		return Places
	}
	return ""
}

// right looks whether the sites follow the stack. Those of a leaving module may go on to
// lead to others that leave with it.
func (w *World) right(s *State) Property {
	for x := range siteCount {
		if !w.exists(s, x) || s.Target[x] == w.leadsTo(s, x) {
			continue
		}
		if m, to := w.owner(x), s.Target[x]; m != Kernel && s.Parts[m].leaving() && to != Kernel && to != Nobody && s.Parts[to].leaving() {
			continue
		}
		return RightProvider
	}
	return ""
}

// usable looks at modules that a command gives back. If UNCATCH failed, and that is
// reported, they are caught.
func usable(s *State, mods []Module, caught bool) Property {
	for _, m := range mods {
		p := s.Parts[m]
		if p.Caught && !caught {
			return Usable
		}
		if p.Caught = false; p != (Part{State: Live, Pushed: true}) {
			return Usable
		}
	}
	return ""
}

// answered looks at the commands that have ended well.
func (w *World) answered(s *State) Property {
	for i, mods := range w.Unloads {
		if s.Unloads[i].Step != Unloaded {
			continue
		}
		for _, m := range mods {
			if s.Parts[m].State != Reclaimed {
				return Answered
			}
		}
	}
	return ""
}

// finiBegins looks at who is in m when its FINI begins. The module's own kernel threads
// are its FINI's affair.
func (w *World) finiBegins(s *State, m Module) Property {
	if s.Parts[m].Fini == Done || s.Parts[m].Fini == Failed {
		return FiniOnce
	}
	for i := range w.Threads {
		t := &s.Threads[i]
		for n, f := range t.Frames {
			if f.Module == m && (f.Phase == Fetched || f.Phase == Before || f.Phase == ToStart) && (n > 0 || t.Of != m) {
				return Counted
			}
		}
	}
	return ""
}
