// Package diag is how klink says what is wrong: errors with a position in GNU
// ld's shape, sentinels to test for, and a list that gathers every root cause of
// one command.
//
// Layer 0. Imports: nothing of the project. Values are immutable once made,
// except List, which one goroutine at a time may use.
package diag

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// The kinds of error. Every error that klink reports to a user is, by
// errors.Is, one of them; the command's exit code follows from it.
var (
	ErrMalformed   = errors.New("malformed")              // the file breaks the ELF or ar format
	ErrUnsupported = errors.New("unsupported")            // well-formed, but klink does not link it
	ErrUndefined   = errors.New("no provider")            // a name that nobody provides
	ErrDuplicate   = errors.New("duplicate definition")   // two definitions where one may be
	ErrRange       = errors.New("out of range")           // a value does not fit its field
	ErrAlign       = errors.New("misaligned")             // a value or place is not aligned as its type demands
	ErrInsn        = errors.New("unexpected instruction") // the bytes at a place are not what its type implies
	ErrTextChanged = errors.New("text changed")           // a site does not hold what klink wrote there
	ErrConflict    = errors.New("conflict")               // the rules of the stacks forbid it
	ErrNeeded      = errors.New("needed")                 // somebody needs what would leave
	ErrNoSpace     = errors.New("no space")               // the arena is full
	ErrMachine     = errors.New("wrong machine")          // an object of another machine than the host's
	ErrNotFound    = errors.New("not found")              // no such module, symbol or file
	ErrBusy        = errors.New("busy")                   // already booted, or another change is under way
	ErrNoHost      = errors.New("no host")                // no host runs under that name
	ErrUsage       = errors.New("usage")                  // the command's words are off
	ErrIO          = errors.New("input/output")           // the system refused to read or write
	ErrRefused     = errors.New("refused by the module")  // a module's own errno
	ErrFault       = errors.New("fault")                  // a call into a module faulted, or ran over its limit
	ErrLost        = errors.New("runner lost")            // the process that runs module code has died
	ErrDraining    = errors.New("draining")               // a module is out of use and waits for threads to leave
)

// Error is one root cause, with the place in an object where it was found.
// Fields left zero are left out of the text.
type Error struct {
	Kind    error  // one of the sentinels above
	File    string // the object as the user named it, with "(member)" for one of an archive
	Section string // section of the place
	Offset  uint64 // offset of the place in Section, bytes; printed when Section is set
	Func    string // the function that contains the place
	Reloc   string // the relocation's name: "R_X86_64_PLT32"
	Symbol  string // the symbol it is against
	Text    string // what is wrong
}

// Error returns one line in GNU ld's shape; names are escaped:
//
//	bpf.kmod:(.text+0x1a): in function "f": R_X86_64_PLT32 against "bar": no provider
func (e *Error) Error() string {
	if e.File == "" {
		return e.Message()
	}
	return e.Place() + ": " + e.Message()
}

// Place returns where it was found, escaped: "bpf.kmod:(.text+0x1a)", "bpf.kmod", or "".
func (e *Error) Place() string {
	if e.Section == "" || e.File == "" {
		return Escape(e.File)
	}
	return fmt.Sprintf("%s:(%s+%#x)", Escape(e.File), Escape(e.Section), e.Offset)
}

// Message returns Error without the place.
func (e *Error) Message() string {
	var b strings.Builder
	if e.Func != "" {
		fmt.Fprintf(&b, "in function %s: ", Quote(e.Func))
	}
	switch {
	case e.Reloc != "" && e.Symbol != "":
		fmt.Fprintf(&b, "%s against %s: ", e.Reloc, Quote(e.Symbol))
	case e.Reloc != "":
		b.WriteString(e.Reloc + ": ")
	case e.Symbol != "":
		b.WriteString(Quote(e.Symbol) + ": ")
	}
	if e.Text == "" && e.Kind != nil {
		b.WriteString(e.Kind.Error())
	}
	b.WriteString(e.Text)
	return b.String()
}

// Unwrap returns the kind, so that errors.Is(err, diag.ErrRange) works.
func (e *Error) Unwrap() error { return e.Kind }

// New returns an Error of the kind about file (may be "") whose text is the
// formatted message.
func New(kind error, file, format string, args ...any) *Error {
	return &Error{Kind: kind, File: file, Text: fmt.Sprintf(format, args...)}
}

// MaxErrors is how many errors of one command are printed; the rest are counted.
const MaxErrors = 20

// List gathers the root causes of one command. The zero value is empty.
// It keeps every error's identity but prints at most MaxErrors, sorted, with
// equal lines once.
type List struct {
	errs  []error
	extra int // errors not kept: a hostile file can cause millions
}

// maxKept bounds the memory of a List; far above MaxErrors so that sorting and
// removing equal lines still sees enough.
const maxKept = 4096

// Add appends err; nil is ignored, another List is taken apart.
func (l *List) Add(err error) {
	if err == nil {
		return
	}
	var other *Errors
	if errors.As(err, &other) {
		l.errs = append(l.errs, other.errs...)
		l.extra += other.extra
		return
	}
	if len(l.errs) >= maxKept {
		l.extra++
		return
	}
	l.errs = append(l.errs, err)
}

// Count adds n errors that nobody worked out: they are counted, not shown.
func (l *List) Count(n int) { l.extra += n }

// Len returns how many errors were added.
func (l *List) Len() int { return len(l.errs) + l.extra }

// Err returns nil if nothing was added, else an *Errors with what was.
func (l *List) Err() error {
	if len(l.errs) == 0 {
		return nil
	}
	seen := make(map[string]bool, len(l.errs))
	e := &Errors{extra: l.extra}
	for _, err := range l.errs {
		if s := err.Error(); !seen[s] {
			seen[s] = true
			e.errs = append(e.errs, err)
		}
	}
	sort.SliceStable(e.errs, func(i, j int) bool { return less(e.errs[i], e.errs[j]) })
	return e
}

// less orders errors as a reader looks for them: by file, section, offset (as a
// number), then text.
func less(a, b error) bool {
	var x, y *Error
	if errors.As(a, &x) && errors.As(b, &y) {
		if x.File != y.File {
			return x.File < y.File
		}
		if x.Section != y.Section {
			return x.Section < y.Section
		}
		if x.Offset != y.Offset {
			return x.Offset < y.Offset
		}
	}
	return a.Error() < b.Error()
}

// Errors is what List.Err returns: at least one error, sorted, each line once.
type Errors struct {
	errs  []error
	extra int
}

// Len returns how many there are, those that nobody worked out too.
func (e *Errors) Len() int { return len(e.errs) + e.extra }

// Error returns Lines joined by newlines.
func (e *Errors) Error() string { return strings.Join(e.Lines(), "\n") }

// Lines returns at most MaxErrors lines and, if there were more, a last one that
// counts them.
func (e *Errors) Lines() []string {
	n := min(len(e.errs), MaxErrors)
	lines := make([]string, 0, n+1)
	for _, err := range e.errs[:n] {
		lines = append(lines, err.Error())
	}
	if more := e.Len() - n; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// Unwrap returns the errors, so that errors.Is and errors.As look into each.
func (e *Errors) Unwrap() []error { return e.errs }

// Lines returns the lines to print for any error: those of an Errors, else one.
func Lines(err error) []string {
	var list *Errors
	if errors.As(err, &list) {
		return list.Lines()
	}
	return strings.Split(err.Error(), "\n")
}

// maxName is how much of a name from a file is shown, bytes.
const maxName = 256

// Escape makes a name from a file fit for a terminal: control characters,
// non-ASCII bytes that are no UTF-8, quotes and backslashes are escaped as in a
// Go string, and a very long name is cut with "…".
func Escape(s string) string {
	cut := ""
	if len(s) > maxName {
		s, cut = s[:maxName], "…"
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			q := strconv.Quote(s)
			return q[1:len(q)-1] + cut
		}
	}
	return s + cut
}

// Quote returns Escape(s) in double quotes.
func Quote(s string) string { return `"` + Escape(s) + `"` }
