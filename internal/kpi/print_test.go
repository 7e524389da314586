package kpi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestFormats: what snprintf writes, and how long it says that it is. Integers are
// passed as they are in registers.
func TestFormats(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "")
	minus := func(v int64) uint64 { return uint64(-v) }
	s := func(v string) uint64 { return w.text(v) }
	for _, c := range []struct {
		format string
		args   []uint64
		want   string
	}{
		{"", nil, ""},
		{"plain", nil, "plain"},
		{"100%%", nil, "100%"},
		{"%d %i %u", []uint64{1, minus(2), minus(1)}, "1 -2 4294967295"},
		{"%d", []uint64{0xffffffff80000000}, "-2147483648"},
		{"%d", []uint64{0x1_0000_0005}, "5"},
		{"%ld %lu", []uint64{1 << 63, ^uint64(0)}, "-9223372036854775808 18446744073709551615"},
		{"%lld %qd %jd %zd %td", []uint64{minus(1), minus(2), minus(3), minus(4), minus(5)}, "-1 -2 -3 -4 -5"},
		{"%zu %ju %llu", []uint64{1 << 40, 1 << 41, 1 << 42}, "1099511627776 2199023255552 4398046511104"},
		{"%hd %hu", []uint64{0x18000, 0x1ffff}, "-32768 65535"},
		{"%hhd %hhu %hhx", []uint64{0x180, 0x1ff, 0xabc}, "-128 255 bc"},
		{"%x %X %o", []uint64{0xbeef, 0xbeef, 8}, "beef BEEF 10"},
		{"%#x %#X %#o", []uint64{0xbeef, 0xbeef, 8}, "0xbeef 0XBEEF 010"},
		{"%#x %#o %#.0o", []uint64{0, 0, 0}, "0 0 0"},
		{"%#.5o|%#6x", []uint64{8, 10}, "00010|   0xa"},
		{"%lx", []uint64{0x0123456789abcdef}, "123456789abcdef"},
		{"%p %p", []uint64{0xdeadbeef, 0}, "0xdeadbeef 0x0"},
		{"%10p|%-10p|", []uint64{0x10, 0x20}, "      0x10|0x20      |"},
		{"%c%c", []uint64{'a', 'b'}, "ab"},
		{"%3c|%-3c|", []uint64{'a', 'b'}, "  a|b  |"},
		{"%s", []uint64{s("text")}, "text"},
		{"%s", []uint64{0}, "(null)"},
		{"%8s|%-8s|", []uint64{s("ab"), s("cd")}, "      ab|cd      |"},
		{"%.2s|%.0s|%.9s", []uint64{s("abc"), s("abc"), s("abc")}, "ab||abc"},
		{"%*s|%-*s|", []uint64{5, s("a"), 5, s("b")}, "    a|b    |"},
		{"%*d|%.*s", []uint64{minus(4), 7, 2, s("abc")}, "7   |ab"},
		{"%.*d", []uint64{minus(1), 7}, "7"},
		{"%5d|%-5d|%05d", []uint64{42, 42, 42}, "   42|42   |00042"},
		{"%05d|%-05d|%05.3d", []uint64{minus(42), minus(42), minus(42)}, "-0042|-42  | -042"},
		{"%+d|% d|%+ d|%+u", []uint64{1, 1, 1, 1}, "+1| 1|+1|1"},
		{"%+d|% d", []uint64{minus(1), minus(1)}, "-1|-1"},
		{"%.3d|%8.3d|%-8.3d|", []uint64{5, 5, 5}, "005|     005|005     |"},
		{"%.0d|%.0x|%5.0u|", []uint64{0, 0, 0}, "|||"[:2] + "     |"},
		{"%#010x|%#-10x|", []uint64{0xab, 0xab}, "0x000000ab|0xab      |"},
		{"%40d|", []uint64{1}, strings.Repeat(" ", 39) + "1|"},
		{"%040d|", []uint64{minus(1)}, "-" + strings.Repeat("0", 38) + "1|"},
		{"%.40d|", []uint64{minus(1)}, "-" + strings.Repeat("0", 39) + "1|"},
		{"%d %y %d", []uint64{1, 2, 3}, "1 %y %d"},
		{"end %", nil, "end %"},
		{"end %5", nil, "end %5"},
		{"%lc%ls", []uint64{'x', s("y")}, "xy"},
	} {
		const size = 80
		to, b := w.room(size)
		n := w.does("snprintf", append([]uint64{to, size, w.text(c.format)}, c.args...)...)
		got, _, _ := strings.Cut(string(b), "\x00")
		if got != c.want || n&0xffffffff != uint64(len(c.want)) {
			t.Errorf("%q of %#x: %q, length %d; want %q", c.format, c.args, got, int32(n), c.want)
		}
	}
	// Too small a buffer.
	for size, want := range []string{"", "", "1", "12", "123", "1234"} {
		to, b := w.room(16)
		copy(b, "################")
		w.want(5, "snprintf", to, uint64(size), w.text("%d"), 12345)
		full := "################"
		if size > 0 {
			full = want + "\x00" + full[len(want)+1:]
		}
		if string(b) != full {
			t.Errorf("size %d: %q, want %q", size, b, full)
		}
	}
}

// TestLines: lines come whole, in the order of their writers.
func TestLines(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	long := strings.Repeat("0123456789", 100)
	j := w.call("say", 0, w.text("one\ntwo\n\nfour: "+long+"\nfi"))
	w.value(j)
	// The same thread goes on, but not with the line of another call.
	w.does("say", w.text("ve\n"))
	w.says("ve")
	want := []string{"one", "two", "", "four: " + long, "fi", "ve"}
	w.lines = 0
	if got := w.said(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPartsOfLines(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	const n, writers = 200, 4
	var jobs []interface{ Thread() int }
	for range writers {
		j := w.call("say_parts", 0, n)
		defer w.value(j)
		jobs = append(jobs, j)
	}
	next := map[int]int{}
	total, lost := 0, uint64(0)
	w.eventually("all lines", func() bool {
		lines, l := w.Lines(w.lines, 1<<20)
		w.lines += uint64(len(lines)) + l
		lost += l
		for _, line := range lines {
			if want := fmt.Sprintf("<%d>", next[line.Thread]); line.Text != want {
				t.Fatalf("thread %d said %q, want %q", line.Thread, line.Text, want)
			}
			next[line.Thread]++
			total++
		}
		return total == n*writers || lost > 0
	})
	if lost > 0 || len(next) != len(jobs) {
		t.Errorf("%d lines lost, %d writers", lost, len(next))
	}
}

// TestBadString: a pointer that is none is the fault of who printed it.
func TestBadString(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	if f := w.faults("say_bad"); f.Signal != 11 || f.Addr != 40 {
		t.Errorf("fault %v", f)
	}
	w.does("say", w.text("well\n"))
	w.says("well")
}

func TestPanic(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	w.panics("kernel panic: thread", "die", w.text("the reason"))
	if err := w.Err(); !strings.HasSuffix(err.Error(), "the reason: 42") {
		t.Errorf("lost: %v", err)
	}
}

// TestOneCallEnds: by abort, and by a canary that was written over.
func TestOneCallEnds(t *testing.T) {
	t.Parallel()
	w := begin(t, "threads.o", "threads_init")
	if f := w.faults("stop"); f.Signal != 4 {
		t.Errorf("abort: %v", f)
	}
	w.says("abort: thread")
	w.want('x', "smash", 16)
	if f := w.faults("smash", 40); f.Signal != 4 {
		t.Errorf("a smashed stack: %v", f)
	}
	w.says("was overwritten")
	if w.get(w.fn("__stack_chk_guard")) == 0x4b4e4c4b00c0ffee {
		t.Error("the canary was not set")
	}
}
