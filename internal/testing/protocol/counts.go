package protocol

// The counting of a gate: each thread counts its entrances and exits in a slot of its
// own, and who waits sums all slots, one after the other, while they come and go.

// AllOut says that the sums are believed only if they tell of a moment that was.
const AllOut Property = "a gate that is said to be empty was empty at some moment of the count"

// countThreads and countMost bound the model: threads, and entrances of each. Two do:
// one that stays inside, and one that comes and goes.
const (
	countThreads = 3
	countMost    = 2
)

// CountState is a state of a Counting.
type CountState struct {
	In, Out       [countThreads]uint8
	Read          uint8 // slots that were read so far, of both sums
	Entered, Left uint8 // the sums
	Empty         bool  // nobody was inside at some moment since the count began
}

// Counting is the model of one count. The zero Counting sums the exits first, as
// gate_drain does.
type Counting struct {
	EntrancesFirst bool
}

// Start implements Model.
func (Counting) Start() CountState { return CountState{Empty: true} }

// Next implements Model.
func (m Counting) Next(s CountState, emit Emit[CountState]) {
	for i := range s.In {
		to := s
		if s.In[i] > s.Out[i] {
			to.Out[i]++
			emit(to.noted(), label("thread %v exits", number(i+1)), "")
		} else if s.In[i] < countMost {
			to.In[i]++
			emit(to, label("thread %v enters", number(i+1)), "")
		}
	}
	slot, second := int(s.Read%countThreads), s.Read >= countThreads
	switch {
	case s.Read == 0:
		s.Empty = s.In == s.Out
		fallthrough
	case s.Read < 2*countThreads:
		s.Read++
		if second == m.EntrancesFirst {
			s.Left += s.Out[slot]
			emit(s, label("the count adds thread %v's exits: %v", number(slot+1), number(int(s.Left))), "")
		} else {
			s.Entered += s.In[slot]
			emit(s, label("the count adds thread %v's entrances: %v", number(slot+1), number(int(s.Entered))), "")
		}
	}
}

// noted notes a moment at which nobody is inside.
func (s CountState) noted() CountState {
	s.Empty = s.Empty || s.In == s.Out
	return s
}

// Check implements Model.
func (Counting) Check(s CountState) Property {
	if s.Read == 2*countThreads && s.Entered == s.Left && !s.Empty {
		return AllOut
	}
	return ""
}

// Over implements Model.
func (Counting) Over(s CountState) bool { return s.Read == 2*countThreads }

// Canonical implements Model. Slots are read in their order, so threads differ.
func (Counting) Canonical(s CountState) CountState { return s }

// number is a Word that prints as itself.
func number(n int) Word { return Word{Value: uint8(n)} }
