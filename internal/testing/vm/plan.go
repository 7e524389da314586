// Package vm is what the two sides of a virtual machine say to each other: the host,
// package boot, hands a Plan in and reads Events on the machine's console; the
// machine's first process, package init, reads the one and writes the others.
// Imported by those two only.
package vm

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Where things lie in the machine.
const (
	PlanFile = "/vm/plan.json" // readable by root only
	TestsDir = "/vm/tests"     // the programs of jobs
	TreeDir  = "/klink"        // the repository's files
)

// Plan is what the machine does before it turns itself off.
type Plan struct {
	Token string // see Event.Line
	Jobs  []Job
}

// Job is a program to run.
type Job struct {
	Name string   // for people: "internal/arena"
	Dir  string   // its working directory, absolute
	Argv []string // Argv[0] is the program's absolute path
}

// Kind says what an Event tells.
type Kind string

// The kinds of events, in the order in which they come.
const (
	Up    Kind = "up"    // the machine is ready; Text is the kernel's release
	Start Kind = "start" // Job begins
	End   Kind = "end"   // Job ended
	Over  Kind = "over"  // all jobs were run, or Text says why not; the machine turns itself off
)

// Event is one thing that happened in the machine.
type Event struct {
	Kind   Kind
	Job    int      `json:",omitempty"` // the index in Plan.Jobs: of Start and End
	Code   int      `json:",omitempty"` // of End: the exit code, 128+n after signal n, 127 if it could not start
	Millis int64    `json:",omitempty"` // of End: how long the job took, in milliseconds
	Output string   `json:",omitempty"` // of End: stdout and stderr, shortened in the middle
	Left   []string `json:",omitempty"` // of End: processes that outlived the job, killed since
	Kernel string   `json:",omitempty"` // of End: the kernel's messages meanwhile, if the job failed
	Text   string   `json:",omitempty"` // of Up and Over
}

// Line is the event as it is written on the console, without a newline. The console
// is the kernel's, too: the token, which nobody else knows, and a checksum keep
// anything else on it from being taken for an event.
func (e Event) Line(token string) string {
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return fmt.Sprintf("%s %08x %s", token, sum(body), body)
}

// ParseLine reads what Line wrote, wherever in the line it begins. It reports false
// for any other line, and an error for one that has the token and is damaged.
func ParseLine(token, line string) (Event, bool, error) {
	_, rest, ok := strings.Cut(line, token+" ")
	if token == "" || !ok {
		return Event{}, false, nil
	}
	check, body, _ := strings.Cut(strings.TrimRight(rest, "\r\n"), " ")
	var e Event
	if want, err := strconv.ParseUint(check, 16, 32); err != nil || uint32(want) != sum([]byte(body)) {
		return Event{}, false, fmt.Errorf("a damaged line on the console: %.80q", rest)
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		return Event{}, false, fmt.Errorf("on the console: %w", err)
	}
	return e, true, nil
}

func sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
