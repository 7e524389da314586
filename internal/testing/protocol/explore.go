package protocol

import (
	"fmt"
	"slices"
	"strings"
)

// Property names what must never be broken.
type Property string

// What Explore itself finds broken; the models name the rest.
const (
	// Ends: from every state the end can still be reached, so whoever is not kept
	// from running for ever gets there.
	Ends Property = "every command ends"
)

// Label says what one step is, in words that are only put together for a trace.
type Label struct {
	Format string // of fmt, with a %v for each argument
	Args   [4]Word
	Count  int // of arguments
}

// Word is a number that a label prints; its model says how.
type Word struct {
	Names []string
	Value uint8
}

// String implements fmt.Stringer.
func (w Word) String() string {
	if w.Names == nil {
		return fmt.Sprint(w.Value)
	}
	return w.Names[w.Value]
}

// label makes a Label.
func label(format string, args ...Word) Label {
	l := Label{Format: format, Count: len(args)}
	copy(l.Args[:], args)
	return l
}

// String puts the words together.
func (l Label) String() string {
	args := make([]any, l.Count)
	for i := range args {
		args[i] = l.Args[i]
	}
	return fmt.Sprintf(l.Format, args...)
}

// Emit is told of one step out of a state. Broken is what the step itself breaks, ""
// if nothing.
type Emit[S comparable] func(to S, l Label, broken Property)

// Model is a finite model with states of type S, which hold all of a state by value.
type Model[S comparable] interface {
	// Start returns the first state.
	Start() S
	// Next tells every step that is possible in s. Its order is always the same.
	Next(s S, emit Emit[S])
	// Check returns what is broken in s, "" if nothing is.
	Check(s S) Property
	// Over says that nothing that s is about is left to be done.
	Over(s S) bool
	// Canonical returns the state that stands for s and for all that differ from it in
	// nothing but the numbers of the threads.
	Canonical(s S) S
}

// Result is what an exploration found.
type Result struct {
	States int      // that were reached, those that stand for others counted once
	Depth  int      // steps to the state that is farthest from the start, of those reached
	Broken Property // "" if no property is
	Trace  []string // the shortest way there, a line a step
}

// String shows the trace with numbered steps.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d states, %d steps deep", r.States, r.Depth)
	if r.Broken != "" {
		fmt.Fprintf(&b, "; broken after %d steps: %s", len(r.Trace), r.Broken)
	}
	for i, line := range r.Trace {
		fmt.Fprintf(&b, "\n%4d. %s", i+1, line)
	}
	return b.String()
}

// explorer is one exploration under way. States are numbered as they are found.
type explorer[S comparable] struct {
	model  Model[S]
	number map[S]int32
	states []S
	parent []int32
	depth  []int32
	edges  []int32 // the successors of all states, one state's behind the other's
	first  []int32 // where a state's successors begin in edges

	broken Property
	at     int32 // where it is broken, or from where the step goes that breaks it
	byStep bool
}

// Explore goes through every state that the model can reach, nearest first, until one
// is broken. So the trace it returns is a shortest one. Properties in ignore are not
// looked at. If nothing is broken, it looks whether the end can be reached from
// everywhere.
func Explore[S comparable](m Model[S], ignore ...Property) Result {
	e := &explorer[S]{model: m, number: map[S]int32{}}
	e.find(m.Start(), -1)
	for at := int32(0); int(at) < len(e.states) && e.broken == ""; at++ {
		e.first = append(e.first, int32(len(e.edges)))
		if p := m.Check(e.states[at]); p != "" && !slices.Contains(ignore, p) {
			e.broken, e.at = p, at
			break
		}
		m.Next(e.states[at], func(to S, _ Label, broken Property) {
			if broken != "" && !slices.Contains(ignore, broken) {
				if e.broken == "" {
					e.broken, e.at, e.byStep = broken, at, true
				}
				return
			}
			e.edges = append(e.edges, e.find(to, at))
		})
	}
	if e.broken == "" && !slices.Contains(ignore, Ends) {
		e.stuck()
	}
	r := Result{States: len(e.states), Depth: int(e.depth[len(e.depth)-1]), Broken: e.broken}
	if e.broken != "" {
		r.Trace = e.trace()
	}
	return r
}

// find returns the number of a state, a new one if it has none.
func (e *explorer[S]) find(s S, from int32) int32 {
	s = e.model.Canonical(s)
	n, ok := e.number[s]
	if ok {
		return n
	}
	n = int32(len(e.states))
	e.number[s] = n
	e.states = append(e.states, s)
	e.parent = append(e.parent, from)
	depth := int32(0)
	if from >= 0 {
		depth = e.depth[from] + 1
	}
	e.depth = append(e.depth, depth)
	return n
}

// stuck looks for the first state from which no way leads to the end: it goes from all
// states that are over backwards.
func (e *explorer[S]) stuck() {
	e.first = append(e.first, int32(len(e.edges)))
	start := make([]int32, len(e.states)+1) // of a state's predecessors
	for _, to := range e.edges {
		start[to+1]++
	}
	for i := range e.states {
		start[i+1] += start[i]
	}
	before := make([]int32, len(e.edges))
	fill := slices.Clone(start)
	for from := range e.states {
		for _, to := range e.edges[e.first[from]:e.first[from+1]] {
			before[fill[to]] = int32(from)
			fill[to]++
		}
	}
	ends := make([]bool, len(e.states))
	var queue []int32
	for i, s := range e.states {
		if e.model.Over(s) {
			ends[i] = true
			queue = append(queue, int32(i))
		}
	}
	for len(queue) > 0 {
		n := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, from := range before[start[n]:start[n+1]] {
			if !ends[from] {
				ends[from] = true
				queue = append(queue, from)
			}
		}
	}
	if i := slices.Index(ends, false); i >= 0 {
		e.broken, e.at = Ends, int32(i)
	}
}

// trace walks from the start to where it is broken. The states that were kept have lost
// the threads' own numbers, so the steps are taken once more with those.
func (e *explorer[S]) trace() []string {
	var way []int32
	for at := e.at; at > 0; at = e.parent[at] {
		way = append(way, at)
	}
	slices.Reverse(way)
	var lines []string
	now := e.model.Start()
	for _, n := range way {
		here, found := now, false
		e.model.Next(here, func(to S, l Label, broken Property) {
			if !found && e.model.Canonical(to) == e.states[n] {
				found, now = true, to
				lines = append(lines, l.String())
			}
		})
		if !found {
			panic("protocol: a step of the trace cannot be found again")
		}
	}
	if e.byStep {
		found := false
		e.model.Next(now, func(_ S, l Label, broken Property) {
			if !found && broken == e.broken {
				found = true
				lines = append(lines, l.String())
			}
		})
	}
	return lines
}
