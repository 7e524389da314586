package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const token = "@TOKEN"

func TestLineComesBack(t *testing.T) {
	for _, e := range []Event{
		{Kind: Up, Text: "6.12.95"},
		{Kind: Start},
		{Kind: End, Job: 7, Code: 139, Millis: 1234, Output: "a\n\"b\"\x00\tü\r\n" + token + " 00000000 {}\nPASS\n", Left: []string{"process 9 (x)"}, Kernel: "oops\n"},
		{Kind: Over},
	} {
		line := e.Line(token)
		if strings.ContainsAny(line, "\r\n") {
			t.Errorf("%q is more than a line", line)
		}
		for _, around := range []string{line, line + "\r\n", "[    1.5] random: half a mess" + line + "\n"} {
			got, is, err := ParseLine(token, around)
			if diff := cmp.Diff(e, got); diff != "" || !is || err != nil {
				t.Errorf("%q: %v, %v\n%s", around, is, err, diff)
			}
		}
	}
}

func TestOtherLinesAreNoEvents(t *testing.T) {
	for _, line := range []string{"", "\r\n", "PASS", "ok", Event{Kind: Over}.Line("@OTHER"), `{"Kind":"over"}`, token} {
		if e, is, err := ParseLine(token, line); is || err != nil {
			t.Errorf("%q is taken for %+v, %v", line, e, err)
		}
	}
	if _, is, _ := ParseLine("", " 00000000 {}"); is {
		t.Error("no token is taken for one")
	}
}

func TestDamagedLinesAreErrors(t *testing.T) {
	line := Event{Kind: End, Job: 3, Code: 1, Output: "FAIL"}.Line(token)
	for i := len(token) + 1; i < len(line); i++ {
		if line[i] == ' ' {
			continue
		}
		bad := line[:i] + string(line[i]^1) + line[i+1:]
		if e, is, err := ParseLine(token, bad); is || err == nil {
			t.Fatalf("%q is taken for %+v", bad, e)
		}
		if e, is, err := ParseLine(token, line[:i]); is || err == nil {
			t.Fatalf("%q is taken for %+v", line[:i], e)
		}
	}
}
