// Package protocol holds models of what klink does while threads run: the switch
// (Switching), the count of a gate (Counting), and the unload protocol over switches
// that happen at once (World). They are explored state by state, every order of steps
// that can be, by Explore: that finds no property broken in the real order, and finds
// each of a table of mistakes. They know nothing of package kernel: they say what is
// right, in the words of the design.
//
// In a World there is one symbol, S, which the kernel calls and may provide, and up to
// three modules that provide it one above the other, A below B below C; A may provide a
// second one, T, which another calls. C is not loaded at the start. Threads come through
// the kernel's call of S or its entry, go from a refinement down through super_S, sleep, start
// threads, return, and fault, at any moment; commands unload and load, one step at a
// time, and klink looks at one thread at a time.
//
// Where a rule can be read in two ways, a World goes the one that holds, and the other is
// among the mistakes:
//
//   - a FINI that faults or runs out of time counts as the first error of its command: the
//     modules whose FINI has not begun are put back
//   - what draining text calls, by a name that nobody else provides, drains with it, and
//     draining modules that call one another are proved and reclaimed together
//   - kernel threads are left to FINI only where there is one; those of a module without a
//     modcmd are in the way like any other thread
//   - a thread that got a new start since it was seen outside has not been seen
//   - a kept place counts where it needs something, and not where it is needed
package protocol

// Module is one of those that can be. The kernel is the provider at the bottom.
type Module uint8

// The modules, from the bottom of the stack of S to its top.
const (
	Nobody Module = iota
	A
	B
	C
	Kernel
)

const (
	moduleCount = 5
	moduleTop   = C
)

// Kind is what a module is to S.
type Kind uint8

// The kinds, as package aliasstack has them; Absent is no such module.
const (
	Absent Kind = iota
	Default
	Override
	Refinement
)

// Site is where threads call.
type Site uint8

// The sites: the kernel's call of S, which also stands for its entry; each module's
// super_S; the call of T, which A alone provides; and A's call of U, which B alone does.
const (
	CallS Site = iota
	SuperA
	SuperB
	SuperC
	CallT
	CallU
	siteCount
)

// superOf returns the site of a module's super_S.
func superOf(m Module) Site { return SuperA + Site(m-A) }

// Phase is where a thread is in one of its calls.
type Phase uint8

// The phases. A thread that has fetched a call is on its way by a register, or by what
// the trap handler has decided. One that is to start is seen by its start address alone.
const (
	Fetched Phase = iota + 1
	Before        // in the module, not in its gate yet; or the module has no gate
	Gated
	After // it has left the gate, and not the module
	ToStart
)

// depth is how many calls of a thread stand one above the other at most.
const depth = 3

// threadsMost is how many threads a World has at most.
const threadsMost = 3

// Frame is one call that a thread is in.
type Frame struct {
	Module Module
	Phase  Phase
}

// Thread is one of the runner's. Frames are the outermost first.
type Thread struct {
	Frames [depth]Frame
	Asleep bool
	Of     Module // whose kernel thread it is
	Seen   uint8  // by whom it has been seen outside: a bit a looker
}

// Lookers: the commands by their number, then those below.
const (
	reaper = 2
	loader = 3
)

// ModuleState is how klink ls shows a module; Out is one that is not there.
type ModuleState uint8

// The states.
const (
	Out ModuleState = iota
	Loading
	Live
	Catching
	Draining
	Reclaimed
)

// Fini is how far a module's FINI has come.
type Fini uint8

// NotRun is also the state after a FINI that refused with an errno and was put back.
const (
	NotRun Fini = iota
	Running
	Done
	Failed // it faulted, or ran over its limit: nobody knows how far it came
)

// Part is one module.
type Part struct {
	State  ModuleState
	Pushed bool // it has its place in the stack of S
	Kept   bool // and that place is kept
	Caught bool // CATCH has changed how it behaves
	Fini   Fini
}

// Step is where a command is.
type Step uint8

// The steps of an unload. PutBack and what follows is where it goes when it fails.
const (
	Begin Step = iota
	Catch
	Relink
	Grace
	Finish
	Proof
	Reclaim
	PutBack
	Uncatch
	Refused
	Unloaded
	Drained // its modules, or some of them, are draining
)

// Command is one unload.
type Command struct {
	At    uint8 // index in the order of steps; what follows the last is Unloaded
	Step  Step
	Next  uint8 // module that comes next, in Finish and Catch
	Ended uint8 // how many modules, from the first, do not come back
	Stuck uint8 // those of them whose FINI failed: bits by number
}

// LoadStep is how far the load has come.
type LoadStep uint8

// The steps of a load. It fails by Discarding.
const (
	NotBegun LoadStep = iota
	Initing
	Discarding
	Loaded
	NotLoaded
)

// State is a state of a World.
type State struct {
	Threads [threadsMost]Thread
	Parts   [moduleCount]Part // by Module, A to C
	Target  [siteCount]Module
	Unloads [2]Command
	Load    LoadStep
	Reaping Module // the draining module that the reaper is looking for threads in
	Lost    bool   // the runner died
}

// World is the model of the protocol: who is there, which commands there are, and how
// klink goes about them.
type World struct {
	Threads       int
	Kinds         [moduleCount]Kind
	Gates         [moduleCount]bool // the module has a modcmd and a gate; else neither
	KernelDefault bool              // the kernel provides S
	KernelCalls   bool              // its text refers to S; else S is only called by its entry
	Circle        bool              // A calls U, which B alone provides
	OwnStay       bool              // of modules that leave together, the super_S stay bound to one another
	CallsT        Module            // who calls T, which A alone provides
	Unloads       [][]Module        // at most two; each command's in the order of FINI
	Loads         bool              // a command loads C

	Spawns  bool // module code starts kernel threads
	Private bool // functions are called by their addresses: threads that are to start in a module
	Forever bool // sleepers outside of gates never wake, those in gates only by FINI
	Lies    bool // a FINI may say that it is done while threads are inside
	Loss    bool // the runner may die

	Order []Step // of an unload
	Mistake
}

// Mistake is one thing that klink does wrong.
type Mistake uint8

// The mistakes that are not wrong orders of steps.
const (
	None                 Mistake = iota
	LookAtPCs                    // a look sees program counters only
	LookAtInnermost              // and only the innermost call of a thread
	ForgetToStart                // and not who is still to start
	AnyGateCounts                // grace takes a thread that is in any module's gate
	SleepersAreOutside           // grace takes any sleeper
	KthreadsExempt               // the proof passes over kernel threads of the module, as grace does
	StartsUnseen                 // a thread that was seen outside and then got a new start is not looked at again
	ProofAtFini                  // the proof only waits for those who were inside when FINI began
	ForgetSupers                 // putting back moves the sites of S, not those of super_S
	ForgetUncatch                // putting back leaves the module caught
	PutBackOwnMoves              // putting back undoes the command's own moves, whatever was loaded since
	FiniAgain                    // a draining module is tried again from FINI on
	KeptUncounted                // kept places do not count for what may leave
	KeptProvides                 // and the other way round: a kept place is enough for those who need one
	KeptIsFree                   // an override may be pushed beside a kept one
	BindToKept                   // what is loaded binds to kept places
	BindToKeptAlone              // what is loaded finds names that only a kept module provides
	LoadingUnmoved               // sites of a module that is still being loaded are not moved by others' switches
	LoadingUncounted             // nor does what it needs count
	PlanOnce                     // what may leave is asked at the beginning of a command only
	DrainingHoldsNothing         // what a draining module calls may leave
	ReapAlone                    // draining modules are reclaimed one by one, each when no other calls it
	NextFiniAfterFailed          // when a FINI fails the next module's is run all the same
	HeldReclaimed                // modules of one command are reclaimed although a draining one of it calls them
	CallWhileCatching            // functions of a module are called by their addresses although it is leaving
	NoLimit                      // grace has no time limit
	PlainKthreadsExempt          // grace takes kernel threads of a module that has no FINI to end them
)

// UnloadOrder returns the steps of an unload in their right order.
func UnloadOrder() []Step { return []Step{Catch, Relink, Grace, Finish, Proof, Reclaim} }

// Start implements Model.
func (w *World) Start() State {
	var s State
	for m := A; m <= moduleTop; m++ {
		if w.Kinds[m] != Absent && (m != C || !w.Loads) {
			s.Parts[m] = Part{State: Live, Pushed: true}
		}
	}
	for i := len(w.Unloads); i < len(s.Unloads); i++ {
		s.Unloads[i].Step = Unloaded
	}
	if !w.Loads {
		s.Load = Loaded
	}
	w.retarget(&s, nil)
	return s
}

// Over implements Model: every command has ended, and what drained is reclaimed.
func (w *World) Over(s State) bool {
	if s.Lost {
		return true
	}
	for i := range w.Unloads {
		if s.Unloads[i].Step < Refused {
			return false
		}
	}
	for m := A; m <= moduleTop; m++ {
		if s.Parts[m].State == Draining && !w.Forever { // else some sleep for good
			return false
		}
	}
	return s.Load >= Loaded
}

// Canonical implements Model: the threads are put in order.
func (w *World) Canonical(s State) State {
	t := s.Threads[:w.Threads]
	for i := 1; i < len(t); i++ {
		for j := i; j > 0 && t[j].word() < t[j-1].word(); j-- {
			t[j], t[j-1] = t[j-1], t[j]
		}
	}
	return s
}

// word puts a thread into a number.
func (t *Thread) word() uint64 {
	w := uint64(t.Seen) | uint64(t.Of)<<8
	for i, f := range t.Frames {
		w |= uint64(f.Module)<<(16+8*i) | uint64(f.Phase)<<(20+8*i)
	}
	if t.Asleep {
		w |= 1 << 40
	}
	return w
}

// top returns the number of the thread's innermost frame, -1 if it is outside of all.
func (t *Thread) top() int {
	for i := depth - 1; i >= 0; i-- {
		if t.Frames[i].Module != Nobody {
			return i
		}
	}
	return -1
}

// end ends all calls of a thread.
func (t *Thread) end() { *t = Thread{Seen: t.Seen} }

// in returns the phases that the thread is in m by, as bits.
func (t *Thread) in(m Module) (phases uint8) {
	for _, f := range t.Frames {
		if f.Module == m {
			phases |= 1 << f.Phase
		}
	}
	return phases
}

// below returns the provider of S that is nearest below m, m itself excluded, in the
// order of the stack; kept says whether kept places count. Nobody: there is none.
func (w *World) below(s *State, m Module, kept bool) Module {
	for n := m - 1; n >= A && n < Kernel; n-- {
		if p := &s.Parts[n]; p.Pushed && (kept || !p.Kept) {
			return n
		}
	}
	if w.KernelDefault {
		return Kernel
	}
	return Nobody
}

// owner returns whose text a site is in.
func (w *World) owner(x Site) Module {
	switch x {
	case CallS:
		return Kernel
	case CallT:
		return w.CallsT
	case CallU:
		if w.Circle {
			return A
		}
		return Nobody
	}
	return A + Module(x-SuperA)
}

// isSuper says that a site is one of super_S.
func isSuper(x Site) bool { return x >= SuperA && x <= SuperC }

// leaving says that a module's places are skipped, and its text is still there.
func (p *Part) leaving() bool { return p.Kept || p.State == Draining }

// exists says that a site is there: that its module is. Those of a draining one follow
// the stacks as any others.
func (w *World) exists(s *State, x Site) bool {
	m := w.owner(x)
	switch {
	case m == Kernel:
		return true
	case m == Nobody, isSuper(x) && w.Kinds[m] != Refinement:
		return false
	}
	st := s.Parts[m].State
	return st != Out && st != Reclaimed
}

// leadsTo returns where a site has to lead by the stack. A name that nobody but leaving
// modules provide stays bound as it is for those.
func (w *World) leadsTo(s *State, x Site) Module {
	switch x {
	case CallS:
		return w.below(s, moduleTop+1, false)
	case CallT:
		return A
	case CallU:
		return B
	}
	return w.below(s, w.owner(x), false)
}

// retarget is a switch: it lets every site that follows the stacks lead to where it has
// to, but for those that skip names.
func (w *World) retarget(s *State, skip func(Site) bool) {
	for x := range siteCount {
		if !w.exists(s, x) || skip != nil && skip(x) {
			continue
		}
		to := w.leadsTo(s, x)
		if m := w.owner(x); to == Nobody && m != Kernel && s.Parts[m].leaving() {
			continue // its super_S stays bound
		}
		s.Target[x] = to
	}
}
