package vm

import "testing"

// good is what a machine says that ran two jobs.
var good = []Event{
	{Kind: Up},
	{Kind: Start, Job: 0}, {Kind: End, Job: 0, Output: "PASS\n"},
	{Kind: Start, Job: 1}, {Kind: End, Job: 1, Output: "some text\nPASS\n"},
	{Kind: Over},
}

// tell makes a report of the events, up to the first error.
func tell(events []Event) (*Report, error) {
	r := &Report{Jobs: []Job{{Name: "one"}, {Name: "two"}}}
	for _, e := range events {
		if err := r.Add(e); err != nil {
			return r, err
		}
	}
	return r, r.Err()
}

func TestReport(t *testing.T) {
	if r, err := tell(good); err != nil || !r.Complete() {
		t.Fatal(err)
	}
	for n := range good {
		if r, err := tell(good[:n]); err == nil || r.Complete() {
			t.Errorf("%d of %d events are taken for all", n, len(good))
		}
	}
	// Each event once more, or one left out, or two the other way round.
	for i := range good {
		var twice, without []Event
		twice = append(append(append(twice, good[:i+1]...), good[i]), good[i+1:]...)
		without = append(append(without, good[:i]...), good[i+1:]...)
		for name, list := range map[string][]Event{"twice": twice, "without": without} {
			if _, err := tell(list); err == nil {
				t.Errorf("event %d %s is no error", i, name)
			}
		}
		if i > 0 {
			swapped := append([]Event(nil), good...)
			swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
			if _, err := tell(swapped); err == nil {
				t.Errorf("events %d and %d swapped are no error", i-1, i)
			}
		}
	}
}

func TestReportErrors(t *testing.T) {
	with := func(i int, e Event) []Event {
		list := append([]Event(nil), good...)
		list[i] = e
		return list
	}
	for want, events := range map[string][]Event{
		"the machine did not come up":                                     nil,
		"the machine ended while one ran":                                 good[:2],
		"the machine ended after 1 of 2 packages":                         good[:3],
		"the machine ended after 2 of 2 packages":                         good[:5],
		"1 of 2 packages failed":                                          with(4, Event{Kind: End, Job: 1, Code: 1, Output: "PASS"}),
		"the machine gave up: no memory":                                  with(3, Event{Kind: Over, Text: "no memory"}),
		`the machine says "start" of job 2, which is not what comes next`: with(3, Event{Kind: Start, Job: 2}),
		`the machine says "" of job 0, which is not what comes next`:      with(3, Event{}),
	} {
		if _, err := tell(events); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		want string
		end  Event
	}{
		{"", Event{Output: "PASS\n"}},
		{"", Event{Output: "goos: linux\nPASS"}},
		{"exit code 1", Event{Code: 1, Output: "--- FAIL: TestX\nFAIL\n"}},
		{"exit code 1", Event{Code: 1, Output: "PASS\n"}},
		{"ended by signal 11", Event{Code: 139}},
		{"ended without PASS", Event{Output: "PASS\nand more"}},
		{"ended without PASS", Event{Output: "BYPASS"}},
		{"left behind process 9 (x)", Event{Output: "PASS\n", Left: []string{"process 9 (x)"}}},
		{"exit code 2; left behind a, b", Event{Code: 2, Left: []string{"a", "b"}}},
	} {
		if got := Verdict(c.end); got != c.want {
			t.Errorf("%+v: %q, want %q", c.end, got, c.want)
		}
	}
}
