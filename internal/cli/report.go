package cli

import (
	"fmt"
	"strings"
	"time"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// What became of calls, in words.

// small is how far from 0 a value may be to be printed in decimal only.
const small = 9999

// valueText returns a value in decimal and, if it may be an address or a set of bits,
// in hex. A negative int comes in the lower half of the register only; no address does.
func valueText(v int64) string {
	if v >= -small && v <= small {
		return fmt.Sprint(v)
	}
	if v>>32 == 0 && int32(v) >= -small && int32(v) < 0 {
		return fmt.Sprintf("%d (%#x, as an int %d)", v, uint64(v), int32(v))
	}
	return fmt.Sprintf("%d (%#x)", v, uint64(v))
}

// took returns a time, ns, with about four digits.
func took(ns int64) string {
	d := time.Duration(ns)
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// printCall prints what the calls returned: one value, or a table with at most so
// many distinct ones.
func (a *app) printCall(r *kernel.CallReport, values uint64) {
	if r.Threads <= 1 && r.Times <= 1 {
		for _, v := range r.Values {
			a.printf("%s\n", valueText(v.Value))
		}
		return
	}
	t := table{}
	t.row("calls", fmt.Sprint(r.Calls))
	t.row("time", took(r.Time))
	if r.Time > 0 {
		t.row("rate", fmt.Sprintf("%.0f calls/s", float64(r.Calls)/time.Duration(r.Time).Seconds()))
	}
	t.row("falls", fmt.Sprint(r.Falls))
	if r.Traps > 0 {
		t.row("traps", fmt.Sprint(r.Traps))
	}
	t.print(&a.out, false)
	shown := r.Values[:min(uint64(len(r.Values)), values)]
	if len(shown) > 0 {
		t = table{right: map[int]bool{0: true, 1: true}}
		t.row("VALUE", "COUNT")
		for _, v := range shown {
			t.row(valueText(v.Value), fmt.Sprint(v.Count))
		}
		t.print(&a.out, false)
	}
	if more := len(r.Values) - len(shown); more > 0 {
		a.printf("and %d more\n", more)
	}
	if r.Unlisted > 0 {
		a.printf("and %s with values that are not listed\n", plural(int(r.Unlisted), "call"))
	}
}

// detailed is an error about which there is more to say to people than its lines.
type detailed struct {
	error
	text string // whole lines
}

func (d *detailed) Unwrap() error { return d.error }

// gaveUp returns the error for those of the reports whose calls did not all return;
// nil if they did. That a call faulted or was lost outweighs that another one still runs.
func gaveUp(reps []kernel.CallReport) error {
	var errs, running diag.List
	var text strings.Builder
	for _, r := range reps {
		switch r.State {
		case kernel.JobFaulted, kernel.JobLost:
			groups, heads := groupFaults(r.Faults)
			for i, g := range groups {
				errs.Add(diag.New(diag.ErrFault, "", "%s", heads[i]))
				fmt.Fprintln(&text, heads[i])
				if len(reps) > 1 {
					fmt.Fprintf(&text, "  in job %d, %s\n", r.Job, esc(r.Function))
				}
				faultText(&text, g)
			}
			if r.State == kernel.JobLost || len(groups) == 0 {
				err := diag.New(diag.ErrFault, "", "job %d: %s faulted", r.Job, esc(r.Function))
				if r.State == kernel.JobLost {
					err = diag.New(diag.ErrLost, "", "%s; klink boot starts afresh", printable(r.Lost))
				}
				errs.Add(err)
				fmt.Fprintf(&text, "klink: %s\n", err)
			}
		case kernel.JobRunning:
			running.Add(diag.New(diag.ErrBusy, "", "job %d still runs", r.Job))
		}
	}
	if errs.Len() == 0 {
		return running.Err()
	}
	return &detailed{errs.Err(), text.String()}
}

// groupFaults returns one fault of each kind and place, and its line: threads that
// do the same fault alike.
func groupFaults(faults []kernel.FaultInfo) (groups []kernel.FaultInfo, heads []string) {
	type kind struct {
		what, note string
		at         kernel.Addr
	}
	index, count := map[kind]int{}, []int{}
	for _, f := range faults {
		k := kind{f.What, f.Note, f.At.Addr}
		i, seen := index[k]
		if !seen {
			i = len(groups)
			index[k] = i
			groups, count = append(groups, f), append(count, 0)
		}
		count[i]++
	}
	for i, f := range groups {
		head := placeText(f.At) + ": " + printable(f.What)
		if f.At.Module != "" {
			head = esc(f.At.Module) + ": " + head
		}
		if s := sourceText(f.At); s != "" {
			head += " (" + s + ")"
		}
		if count[i] > 1 {
			head += ", in " + plural(count[i], "thread")
		}
		heads = append(heads, head)
	}
	return groups, heads
}

// placeText returns "f+0x1a", or the address where no function is known.
func placeText(f kernel.FrameInfo) string {
	if f.Func == "" {
		return f.Addr.String()
	}
	return fmt.Sprintf("%s+%#x", esc(f.Func), f.Offset)
}

// sourceText returns "bpf.c:42", or "".
func sourceText(f kernel.FrameInfo) string {
	if f.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", esc(f.File), f.Line)
}

// registersPerRow is how many registers stand in a line.
const registersPerRow = 4

// maxTrace is how many callers are printed: a recursion without end has thousands.
const maxTrace = 32

// faultText writes what stands below the line of a fault: note, registers, callers.
func faultText(w *strings.Builder, f kernel.FaultInfo) {
	if f.Note != "" {
		fmt.Fprintf(w, "  %s\n", printable(f.Note))
	}
	t := table{indent: "  "}
	for i := 0; i < len(f.Regs); i += registersPerRow {
		var row []string
		for _, r := range f.Regs[i:min(i+registersPerRow, len(f.Regs))] {
			row = append(row, esc(r.Name), fmt.Sprintf("%016x", uint64(r.Value)))
		}
		t.row(row...)
	}
	t.print(w, false)
	for i, c := range f.Trace[:min(len(f.Trace), maxTrace)] {
		guess := ""
		if c.Guess {
			guess = "? "
		}
		var in []string
		if c.Module != "" {
			in = append(in, esc(c.Module))
		}
		if s := sourceText(c); s != "" {
			in = append(in, s)
		}
		fmt.Fprintf(w, "  #%d %s%s", i+1, guess, placeText(c))
		if len(in) > 0 {
			fmt.Fprintf(w, " (%s)", strings.Join(in, ", "))
		}
		fmt.Fprintln(w)
	}
	if more := len(f.Trace) - maxTrace; more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
}
