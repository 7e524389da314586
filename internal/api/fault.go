package api

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"klink/internal/diag"
)

// The exit codes of a command.
const (
	ExitDone     = 0
	ExitRefused  = 1
	ExitUsage    = 2
	ExitNotFound = 3
	ExitBusy     = 4
	ExitNoHost   = 5
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
// error with several root causes is of the first one's kind; it has the exit code
// that all of them have, or else that of a refusal.
func NewFault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var list *diag.Errors
	if !errors.As(err, &list) || len(list.Unwrap()) == 0 {
		k := kindOf(err)
		return &Fault{Kind: k.name, Exit: k.exit, Lines: diag.Lines(err)}
	}
	first := kindOf(list.Unwrap()[0])
	f = &Fault{Kind: first.name, Exit: first.exit, Lines: list.Lines()}
	for _, cause := range list.Unwrap() {
		if kindOf(cause).exit != f.Exit {
			f.Exit = ExitRefused
		}
	}
	return f
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

// kindOf returns the row of the first sentinel that err is.
func kindOf(err error) kind {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return kind{k.name, k.exit, k.status}
		}
	}
	return kind{kindInternal, ExitRefused, http.StatusInternalServerError}
}
