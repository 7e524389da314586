package runner

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Line is a line of the log.
type Line struct {
	Number uint64        // 0, 1, …; a number that is missing is a line that was lost
	Time   time.Duration // since Start
	Thread int           // that wrote it; -1: the host, or nobody of the pool
	Text   string        // without its newline; what does not print is escaped: "\x1b"
}

const (
	keptLines = 8192
	maxJoined = 4096            // bytes of a line that is made of parts
	slotWait  = time.Second     // how long the consumer waits for a slot whose writer does not finish
	mostAhead = uint64(1) << 32 // more lines than that were not written between two looks
)

// messages is the log: the lines that modules wrote, copied out of shared memory as
// they come, and those of the host.
type messages struct {
	mu    sync.Mutex
	lines []Line        // sorted by Number; at most twice keptLines
	next  uint64        // number of the next line
	more  chan struct{} // closed when a line comes; nil: nobody waits

	// The waiter's:
	tail    uint64         // the next slot to be read
	stuck   time.Duration  // since when it waits for that slot to be complete; 0: it does not
	alarm   *time.Timer    // that ends the wait
	partial map[int][]byte // by thread: the parts of a line that goes on
}

// Lines returns the lines with numbers of at least from, oldest first, at most most,
// and how many between from and the last of them were lost: overwritten before they
// were read, or pushed out by newer ones (at least 8,192 are kept). It never waits, and works
// after the runner's end.
func (r *Runner) Lines(from uint64, most int) (lines []Line, lost uint64) {
	l := &r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	first := sort.Search(len(l.lines), func(i int) bool { return l.lines[i].Number >= from })
	lines = append(lines, l.lines[first:min(len(l.lines), first+min(max(most, 0), 2*keptLines))]...)
	end := l.next
	if n := len(lines); n > 0 {
		end = lines[n-1].Number + 1
	} else if first < len(l.lines) {
		end = from // none was asked for
	}
	if end > from {
		lost = end - from - uint64(len(lines))
	}
	return lines, lost
}

// More returns a channel that is closed as soon as there is news for Lines(from): a
// line with a number of at least from, or the loss of one.
func (r *Runner) More(from uint64) <-chan struct{} {
	l := &r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next > from {
		c := make(chan struct{})
		close(c)
		return c
	}
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return l.more
}

// Print adds a line of the host's own.
func (r *Runner) Print(text string) {
	r.log.add(monotonic()-r.born, -1, []byte(text))
}

// add appends a line; text may end with a newline.
func (l *messages) add(at time.Duration, thread int, text []byte) {
	line := Line{Time: at, Thread: thread, Text: printable(bytes.TrimSuffix(text, []byte("\n")))}
	l.mu.Lock()
	defer l.mu.Unlock()
	line.Number = l.next
	if len(l.lines) == 2*keptLines { // seldom, so that a line costs no copy of all
		l.lines = l.lines[:copy(l.lines, l.lines[keptLines:])]
	}
	l.lines = append(l.lines, line)
	l.skip(1)
}

// skip gives out n numbers and tells who waits; mu is held.
func (l *messages) skip(n uint64) {
	l.next += n
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// miss counts n lines as lost.
func (l *messages) miss(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skip(n)
}

// collect reads the slots that were written since the last time. At the end of the
// runner (last) nobody will finish a slot that is not complete. Only the waiter calls it.
func (l *messages) collect(r *Runner, last bool) {
	head := r.mail.logHead.Load()
	ahead := head - l.tail
	switch {
	case ahead == 0:
		return
	case ahead > mostAhead: // no count of lines: begin anew there
		l.miss(1)
		l.tail, l.stuck = head, 0
		return
	case ahead > logSlots:
		l.miss(ahead - logSlots)
		l.tail, l.stuck = head-logSlots, 0
	}
	for ; l.tail != head; l.tail++ {
		switch l.slot(r, l.tail) {
		case slotRead:
		case slotGone:
			l.miss(1)
		case slotOpen:
			now := monotonic()
			if l.stuck == 0 {
				l.stuck = now
				l.wake(r)
			}
			if !last && now-l.stuck < slotWait {
				return
			}
			l.miss(1)
		}
		l.stuck = 0
	}
}

// wake has the waiter look again when a slot that is not complete has had its time.
// Who completes it wakes the waiter before that.
func (l *messages) wake(r *Runner) {
	nudge := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.cause == nil {
			r.nudge()
		}
	}
	if l.alarm == nil {
		l.alarm = time.AfterFunc(slotWait, nudge)
	} else {
		l.alarm.Reset(slotWait)
	}
}

// rest stops the alarm: the waiter ends.
func (l *messages) rest() {
	if l.alarm != nil {
		l.alarm.Stop()
	}
}

// What became of a slot.
type slotState int

const (
	slotRead slotState = iota
	slotOpen           // it is being written
	slotGone           // a later line is there
)

// slot reads slot number n.
func (l *messages) slot(r *Runner, n uint64) slotState {
	s := r.ctl.line(r.cfg.logOff(), int(n%logSlots))
	seq := s.seq.Load()
	switch {
	case seq == 0 || seq <= n:
		return slotOpen
	case seq != n+1:
		return slotGone
	}
	at, length, thread := time.Duration(s.time.Load()), s.length.Load(), s.thread.Load()
	text := loadWords(s.text[:])
	if s.seq.Load() != seq {
		return slotGone
	}
	text = text[:min(length&^lineGoesOn, maxLineText)]
	who := -1
	if thread < uint32(len(r.workers)) {
		who = int(thread)
	}
	whole := append(l.partial[who], text...)
	if length&lineGoesOn != 0 && len(whole) < maxJoined {
		if l.partial == nil {
			l.partial = map[int][]byte{}
		}
		l.partial[who] = whole
		return slotRead
	}
	delete(l.partial, who)
	now := monotonic()
	l.add(min(max(at-r.born, 0), now-r.born), who, whole)
	return slotRead
}

// cString returns b up to its first NUL.
func cString(b []byte) []byte {
	before, _, _ := bytes.Cut(b, []byte{0})
	return before
}

// printable returns text fit for a terminal: what does not print is escaped as in a
// Go string. Quotes and backslashes stay, unlike in diag.Escape: this is text, not a
// name in a message.
func printable(text []byte) string {
	var b []byte
	for len(text) > 0 {
		c, n := utf8.DecodeRune(text)
		switch {
		case c == utf8.RuneError && n == 1:
			b = fmt.Appendf(b, `\x%02x`, text[0])
		case c == '\t' || strconv.IsPrint(c):
			b = append(b, text[:n]...)
		default:
			q := strconv.QuoteRune(c)
			b = append(b, q[1:len(q)-1]...)
		}
		text = text[n:]
	}
	return string(b)
}
