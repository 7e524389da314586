package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
)

// esc makes a name fit for a terminal.
func esc(name string) string { return diag.Escape(name) }

// printf adds a line or a part of one to the command's output.
func (a *app) printf(format string, args ...any) {
	a.out.WriteString(printableText(fmt.Sprintf(format, args...)))
}

// encodeJSON returns v indented, with a newline at its end. Names in it may be anything:
// what does not print is escaped, beyond what JSON demands too.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil { // klink's own types only
		panic("BUG: " + err.Error())
	}
	dark := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(b.Bytes(), dark) {
		return b.Bytes()
	}
	var clean []byte // these stand in strings only
	for _, r := range b.String() {
		if !dark(r) {
			clean = utf8.AppendRune(clean, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			clean = fmt.Appendf(clean, `\u%04x`, unit)
		}
	}
	return clean
}

// printJSON prints v. A nil slice is an empty list to programs.
func printJSON[T any](a *app, v T) { a.out.Write(encodeJSON(v)) }

// list returns s, or an empty slice for nil: JSON's [] rather than null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// plural returns "1 site", "2 sites".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "y") {
		what = strings.TrimSuffix(what, "y") + "ie"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// bytesOf returns a size: exact below 100,000 bytes, beyond that as people say it.
func bytesOf(n uint64) string {
	scaled := func(unit uint64, suffix string) string {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(unit)), ".0") + suffix
	}
	switch {
	case n < 100_000:
		return fmt.Sprint(n)
	case n < 1<<20:
		return scaled(1<<10, "K")
	case n < 1<<30:
		return scaled(1<<20, "M")
	}
	return scaled(1<<30, "G")
}

// table is text in columns, two spaces apart; those that are empty in every row are
// left out. The last cell of a row that is shorter than others may run on beyond its
// column.
type table struct {
	right  map[int]bool // columns of numbers
	indent string
	rows   [][]string
	strong map[int]bool // rows to emphasise
}

// row adds a row; cells may be empty. What could steer a terminal is escaped.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

// print writes t; emphasised rows are bold if colour says so.
func (t *table) print(w io.Writer, colour bool) {
	columns := 0
	for _, r := range t.rows {
		columns = max(columns, len(r))
	}
	width, used := make([]int, columns), make([]bool, columns)
	for _, r := range t.rows {
		for i, c := range r {
			used[i] = used[i] || c != ""
			if i < len(r)-1 || len(r) == columns {
				width[i] = max(width[i], utf8.RuneCountInString(c))
			}
		}
	}
	for n, r := range t.rows {
		var b strings.Builder
		for i, c := range r {
			if !used[i] {
				continue
			}
			pad := strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(c)))
			if t.right[i] {
				c = pad + c
			} else {
				c += pad
			}
			b.WriteString(c + "  ")
		}
		line := strings.TrimRight(t.indent+b.String(), " ")
		if colour && t.strong[n] {
			line = bold(line)
		}
		fmt.Fprintln(w, line)
	}
}

func bold(s string) string { return "\x1b[1m" + s + "\x1b[0m" }

// colour reports whether the output may carry emphasis.
func (a *app) colour() bool {
	return isTerminal(a.sys.Out) && a.sys.Getenv("NO_COLOR") == "" && a.sys.Getenv("TERM") != "dumb"
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// progress shows on a terminal that a command is still at work, once that takes
// longer than a second. The function it returns ends that; call it once.
func (a *app) progress(what string) (stop func()) {
	if a.json || !isTerminal(a.sys.Err) {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-done:
				if n > 1 {
					_, _ = io.WriteString(a.sys.Err, "\r\x1b[K") // a terminal that has gone shows nothing anyway
				}
				return
			case <-tick.C:
				_, _ = fmt.Fprintf(a.sys.Err, "\r\x1b[K%s… %d s", what, n)
			}
		}
	}()
	return func() { close(done); <-ended }
}
