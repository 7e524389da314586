package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// The exit codes of a command.
const (
	ExitDone     = 0
	ExitRefused  = 1
	ExitUsage    = 2
	ExitNotFound = 3
	ExitBusy     = 4
	ExitNoHost   = 5
	ExitFault    = 6 // or the runner died
	ExitDraining = 7
)

// kindInternal names an error that is none of diag's sentinels: klink's own fault.
const kindInternal = "internal"

// kinds is the one mapping from sentinels to what a command ends with. Every
// sentinel of diag has a row.
var kinds = []struct {
	err    error
	name   string // on the wire and in --json
	exit   int
	status int // of the HTTP answer
}{
	{diag.ErrMalformed, "malformed", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrUnsupported, "unsupported", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrUndefined, "undefined", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrDuplicate, "duplicate", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrRange, "range", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrAlign, "align", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrInsn, "insn", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrTextChanged, "text-changed", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrConflict, "conflict", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrNeeded, "needed", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrNoSpace, "no-space", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrMachine, "machine", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrNotFound, "not-found", ExitNotFound, http.StatusNotFound},
	{diag.ErrBusy, "busy", ExitBusy, http.StatusConflict},
	{diag.ErrNoHost, "no-host", ExitNoHost, http.StatusServiceUnavailable},
	{diag.ErrUsage, "usage", ExitUsage, http.StatusBadRequest},
	{diag.ErrIO, "io", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrRefused, "refused", ExitRefused, http.StatusUnprocessableEntity},
	{diag.ErrFault, "fault", ExitFault, http.StatusUnprocessableEntity},
	{diag.ErrLost, "lost", ExitFault, http.StatusServiceUnavailable},
	{diag.ErrDraining, "draining", ExitDraining, http.StatusConflict},
	{fs.ErrNotExist, "not-found", ExitNotFound, http.StatusNotFound}, // the system's own words for the same
	{errInternal, kindInternal, ExitRefused, http.StatusInternalServerError},
}

// errInternal is what a Fault of the kind "internal" is.
var errInternal = errors.New("internal error")

// Fault is an error as it crosses the wire. It is immutable.
type Fault struct {
	Kind  string   `json:"kind"`  // "undefined", "not-found", …: the sentinel
	Exit  int      `json:"exit"`  // the command's exit code
	Lines []string `json:"lines"` // at least one; sorted, names escaped

	Faults []kernel.FaultInfo `json:"faults,omitempty"` // of module code, in the order of their lines
}

// sound says that a fault which came over the wire is one that klink writes: it says
// something, and ends a command with one of klink's codes. Any other would end it with what
// the system makes of the number: 256 is success.
func (f *Fault) sound() bool {
	return f != nil && len(f.Lines) > 0 && f.Exit >= ExitRefused && f.Exit <= ExitDraining
}

// Error returns the lines.
func (f *Fault) Error() string { return strings.Join(f.Lines, "\n") }

// Is reports whether target is the sentinel that the fault's kind names.
func (f *Fault) Is(target error) bool {
	for _, k := range kinds {
		if k.name == f.Kind && k.err == target {
			return true
		}
	}
	return false
}

// NewFault returns err as it crosses the wire; a Fault is returned as it is. An
// error with several root causes, Faults among them, has the lines of all and is of
// the first one's kind; it has the exit code that all of them have, or else that of
// a refusal.
func NewFault(err error) *Fault {
	var several interface{ Unwrap() []error }
	var f *Fault
	if !errors.As(err, &several) && errors.As(err, &f) {
		return f
	}
	var causes diag.List
	gather(&causes, err)
	var list *diag.Errors
	if !errors.As(causes.Err(), &list) || !madeOf(err) {
		k := kindOf(err)
		return &Fault{Kind: k.name, Exit: k.exit, Lines: diag.Lines(err), Faults: faultsOf(err)}
	}
	f = &Fault{Lines: diag.Lines(list)}
	for i, cause := range list.Unwrap() {
		f.Faults = append(f.Faults, faultsOf(cause)...)
		k := kindOf(cause)
		if i == 0 {
			f.Kind, f.Exit = k.name, k.exit
		}
		if k.exit != f.Exit {
			f.Exit = ExitRefused
		}
	}
	return f
}

// faultsOf returns the faults of module code that one root cause tells of.
func faultsOf(err error) []kernel.FaultInfo {
	var k *kernel.Faulted
	var f *Fault
	switch {
	case errors.As(err, &k):
		return []kernel.FaultInfo{k.Info}
	case errors.As(err, &f):
		return f.Faults
	}
	return nil
}

// madeOf reports whether there are a list or Faults in err: then their lines are
// shown, not what is around them.
func madeOf(err error) bool {
	var list *diag.Errors
	var f *Fault
	return errors.As(err, &list) || errors.As(err, &f)
}

// gather adds the root causes of err to l. A Fault is taken apart: each of its lines
// was a cause, and those it only counts are counted.
func gather(l *diag.List, err error) {
	if !madeOf(err) {
		l.Add(err)
		return
	}
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		for _, cause := range several.Unwrap() {
			gather(l, cause)
		}
		if list, ok := several.(*diag.Errors); ok {
			l.Count(list.Len() - len(list.Unwrap()))
		}
		return
	}
	var f *Fault
	errors.As(err, &f)
	faults := f.Faults // which line is whose is not known
	for _, line := range f.Lines {
		if n := counted(line); n > 0 {
			l.Count(n)
		} else {
			l.Add(&Fault{Kind: f.Kind, Exit: f.Exit, Lines: []string{line}, Faults: faults})
			faults = nil
		}
	}
}

// counted returns n of diag's last line, "and n more", else 0.
func counted(line string) int {
	var n int
	if _, err := fmt.Sscanf(line, "and %d more", &n); err != nil || line != fmt.Sprintf("and %d more", n) {
		return 0
	}
	return n
}

// Exit returns the exit code for err; nil is 0.
func Exit(err error) int {
	if err == nil {
		return ExitDone
	}
	return NewFault(err).Exit
}

// kind is a row of kinds, less its sentinel.
type kind struct {
	name         string
	exit, status int
}

// kindOf returns the row of the first sentinel that err is. A Fault has its own kind
// and exit code, even if this klink knows none such.
func kindOf(err error) kind {
	found := kind{kindInternal, ExitRefused, http.StatusInternalServerError}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			found = kind{k.name, k.exit, k.status}
			break
		}
	}
	var f *Fault
	if errors.As(err, &f) {
		found.name, found.exit = f.Kind, f.Exit
	}
	return found
}
