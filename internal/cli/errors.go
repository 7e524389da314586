package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"klink/internal/api"
	"klink/internal/diag"
)

// usage returns an error about the command's words.
func usage(format string, args ...any) error {
	return diag.New(diag.ErrUsage, "", format, args...)
}

// quietExit is an exit code whose reason has been printed already.
type quietExit int

func (q quietExit) Error() string { return fmt.Sprintf("exit %d", int(q)) }

// exitCode returns what a command that ended with err exits with.
func exitCode(err error) int {
	var q quietExit
	if errors.As(err, &q) {
		return int(q)
	}
	return api.Exit(err)
}

// complain prints err, a line a root cause; with --json, as JSON.
func (a *app) complain(err error) {
	if err == nil {
		return
	}
	var s *stopped
	if errors.As(err, &s) {
		err = s.cause
	}
	f := &api.Fault{Kind: "findings", Exit: exitCode(err)} // a quietExit's
	var q quietExit
	if !errors.As(err, &q) {
		f = api.NewFault(err)
	}
	var b strings.Builder
	plain := f.Lines
	var d *detailed
	if errors.As(err, &d) {
		b.WriteString(d.text)
		plain = nil
	}
	for _, line := range plain {
		if line = printable(line); line == "" {
			continue
		}
		if needsPrefix(f, line) {
			b.WriteString("klink: ")
		}
		b.WriteString(line + "\n")
	}
	for _, fault := range f.Faults {
		if len(f.Faults) > 1 || len(f.Lines) > 1 {
			fmt.Fprintf(&b, "at %s:\n", printable(fault.At.String()))
		}
		faultText(&b, fault)
	}
	lines := f.Lines
	if s != nil {
		b.WriteString(s.line + "\n")
		lines = append(slices.Clone(lines), s.line)
	}
	if len(lines) == 0 {
		return
	}
	text := []byte(b.String())
	if a.json {
		text = encodeJSON(struct {
			Error *api.Fault `json:"error"`
		}{&api.Fault{Kind: f.Kind, Exit: f.Exit, Lines: lines, Faults: f.Faults}})
	}
	_, _ = a.sys.Err.Write(text) // nobody is left to tell
}

// needsPrefix reports whether a line lacks a place: lines about files, modules and
// symbols begin with theirs, "bpf.kmod: …"; the others get klink's name.
func needsPrefix(f *api.Fault, line string) bool {
	if strings.HasPrefix(line, "and ") && strings.HasSuffix(line, " more") {
		return false
	}
	if f.Is(diag.ErrUsage) || f.Is(diag.ErrNoHost) || f.Is(diag.ErrBusy) {
		return true
	}
	first, rest, _ := strings.Cut(line, " ")
	return !strings.HasSuffix(first, ":") || rest == ""
}

// printableText is printable for a text of several lines.
func printableText(s string) string {
	if !strings.Contains(s, "\n") {
		return printable(s)
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = printable(l)
	}
	return strings.Join(lines, "\n")
}

// printable replaces whatever could steer a terminal. Names are escaped where a
// line is made; this is the second wall, for text from elsewhere: all that a command
// prints goes through it, in printf and in table.row.
func printable(s string) string {
	clean := true
	for _, r := range s {
		clean = clean && r != utf8.RuneError && (unicode.IsPrint(r) || r == '\t')
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError || !unicode.IsPrint(r) && r != '\t' {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		} else {
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}
