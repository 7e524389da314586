package runner

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// paper is a log without a runner: its slots are written by the test.
func paper() *Runner {
	cfg := Config{Threads: 2}
	m := make(memory, cfg.controlSize())
	return &Runner{cfg: cfg, ctl: m, mail: m.mail(), workers: make([]*worker, 2), cause: lost("never was")}
}

// fill writes words from text.
func fill(words []atomic.Uint64, text string) {
	for i := range words {
		var v uint64
		for k := range 8 {
			if 8*i+k < len(text) {
				v |= uint64(text[8*i+k]) << (8 * k)
			}
		}
		words[i].Store(v)
	}
}

// write writes a slot, as the kernel object does.
func (r *Runner) write(thread int, text string, goesOn bool) {
	n := r.mail.logHead.Add(1) - 1
	r.slotAt(n, thread, text, goesOn).Store(n + 1)
}

// slotAt writes all of slot n but its number.
func (r *Runner) slotAt(n uint64, thread int, text string, goesOn bool) (seq *atomic.Uint64) {
	s := r.ctl.line(r.cfg.logOff(), int(n%logSlots))
	s.seq.Store(0)
	s.time.Store(uint64(r.born + time.Microsecond))
	s.thread.Store(uint32(thread))
	length := uint32(len(text))
	if goesOn {
		length |= lineGoesOn
	}
	s.length.Store(length)
	fill(s.text[:], text)
	return &s.seq
}

// text returns the log as one text, a line a line: "number thread text".
func (r *Runner) all() string {
	var b strings.Builder
	lines, lost := r.Lines(0, 1<<30)
	for _, l := range lines {
		fmt.Fprintf(&b, "%d %d %s\n", l.Number, l.Thread, l.Text)
	}
	if lost > 0 {
		fmt.Fprintf(&b, "lost %d\n", lost)
	}
	return b.String()
}

func wantLog(t *testing.T, r *Runner, want ...string) {
	t.Helper()
	if got := strings.TrimSuffix(r.all(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("log is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestLog(t *testing.T) {
	r := paper()
	r.write(0, "one\n", false)
	r.write(1, "two \"quoted\\\" \xff\x1b[31m\tünï\u202e", false)
	r.Print("klink: host\n")
	r.log.collect(r, false)
	r.write(7, "three", false) // a thread that does not exist
	r.log.collect(r, false)
	wantLog(t, r, "0 -1 klink: host", "1 0 one", `2 1 two "quoted\" \xff\x1b[31m	ünï\u202e`, "3 -1 three")
	if lines, lost := r.Lines(2, 1); len(lines) != 1 || lines[0].Number != 2 || lost != 0 || lines[0].Time != time.Microsecond {
		t.Errorf("%v %d", lines, lost)
	}
	for _, from := range []uint64{4, 5, 1 << 60} {
		if lines, lost := r.Lines(from, 10); len(lines) != 0 || lost != 0 {
			t.Errorf("from %d: %v %d", from, lines, lost)
		}
	}
	if lines, lost := r.Lines(0, 0); len(lines) != 0 || lost != 0 {
		t.Errorf("none wanted: %v %d", lines, lost)
	}
}

func TestLogMore(t *testing.T) {
	r := paper()
	select {
	case <-r.More(0):
		t.Fatal("more of nothing")
	default:
	}
	c := r.More(0)
	r.Print("x")
	<-c
	<-r.More(0)
	select {
	case <-r.More(1):
		t.Error("more than there is")
	default:
	}
}

func TestLogJoinsParts(t *testing.T) {
	r := paper()
	r.write(0, "a long ", true)
	r.write(1, "between\n", false)
	r.write(0, "line", true)
	r.log.collect(r, false)
	r.write(0, "\n", false)
	r.write(0, "next", false)
	r.log.collect(r, false)
	wantLog(t, r, "0 1 between", "1 0 a long line", "2 0 next")
	// One without end does not fill memory.
	for range 10 * maxJoined / 100 {
		r.write(1, strings.Repeat("x", 100), true)
		r.log.collect(r, false)
	}
	lines, _ := r.Lines(3, 100)
	for _, l := range lines {
		if len(l.Text) < maxJoined || len(l.Text) > maxJoined+maxLineText {
			t.Errorf("a line of %d bytes", len(l.Text))
		}
	}
	if len(lines) != 9 {
		t.Errorf("%d lines", len(lines))
	}
}

func TestLogLosses(t *testing.T) {
	r := paper()
	// Overwritten before they were read.
	for i := range logSlots + 3 {
		r.write(0, fmt.Sprint(i), false)
	}
	r.log.collect(r, false)
	lines, lost := r.Lines(0, 1<<30)
	if len(lines) != logSlots || lost != 3 || lines[0].Number != 3 || lines[0].Text != "3" {
		t.Errorf("%d lines from %v, %d lost", len(lines), lines[0], lost)
	}
	// Pushed out by later ones.
	for i := range 3*keptLines + 5 {
		r.Print(fmt.Sprint(i))
	}
	lines, lost = r.Lines(0, 1<<30)
	if n := len(lines); n < keptLines || n > 2*keptLines || lines[n-1].Text != fmt.Sprint(3*keptLines+4) ||
		uint64(n)+lost != 3*keptLines+5+logSlots+3 || lines[0].Number != lost {
		t.Errorf("%d lines from %v, %d lost", n, lines[0], lost)
	}
}

func TestLogOpenSlot(t *testing.T) {
	r := paper()
	n := r.mail.logHead.Add(1) - 1
	seq := r.slotAt(n, 0, "slow", false)
	r.write(1, "fast", false)
	r.log.collect(r, false)
	wantLog(t, r, "")
	if r.log.alarm == nil {
		t.Error("nobody looks again")
	}
	seq.Store(n + 1)
	r.log.collect(r, false)
	wantLog(t, r, "0 0 slow", "1 1 fast")
	// One that is never finished is lost, in time or at the end.
	for _, last := range []bool{false, true} {
		r.mail.logHead.Add(1)
		r.write(1, "after", false)
		r.log.collect(r, false)
		if !last {
			r.log.stuck -= slotWait
		}
		r.log.collect(r, last)
	}
	wantLog(t, r, "0 0 slow", "1 1 fast", "3 1 after", "5 1 after", "lost 2")
	r.log.rest()
}

func TestLogHeadIsNonsense(t *testing.T) {
	r := paper()
	for _, head := range []uint64{1 << 31, 1 << 63, 5, ^uint64(0), 0, 1 << 40, 1 << 32} {
		r.mail.logHead.Store(head)
		r.log.collect(r, false)
	}
	r.write(0, "still here", false)
	r.log.collect(r, false)
	n := r.mail.logHead.Add(1) - 1
	seq := r.slotAt(n, 1, "too long", false)
	r.ctl.line(r.cfg.logOff(), int(n%logSlots)).length.Store(lineGoesOn - 1)
	seq.Store(n + 1)
	r.log.collect(r, false)
	lines, _ := r.Lines(0, 1<<30)
	if n := len(lines); n < 2 || lines[n-2].Text != "still here" || !strings.HasPrefix(lines[n-1].Text, "too long") {
		t.Errorf("%d lines", n)
	}
	r.log.rest()
}

func TestLogOfRunner(t *testing.T) {
	w := begin(t)
	news := w.More(0)
	w.write(3, "hello from a thread", false)
	w.nudge() // as writers do
	<-news
	wantLog(t, w.Runner, "0 3 hello from a thread")
	// The last words of a runner are read, and can be when it is gone.
	w.write(2, "last words", false)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Print("klink: it is gone")
	wantLog(t, w.Runner, "0 3 hello from a thread", "1 2 last words", "2 -1 klink: it is gone")
}
