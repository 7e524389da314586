package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/oracle"
)

// tally is what a folder, or all of them, came to.
type tally struct {
	objects, equal, refused, different, unhidden int
	relocations, bytes, followed                 int64
	reasons                                      map[string][]string // of refusals: the objects
	lines                                        []string            // what differs
	types                                        map[typeKey]int
}

// typeKey is a relocation type of a machine.
type typeKey struct {
	machine arch.Machine
	typ     uint32
}

// threadLocal is the one reason for which an object may be refused.
const threadLocal = "thread-local storage (TLS)"

func newTally() *tally {
	return &tally{reasons: map[string][]string{}, types: map[typeKey]int{}}
}

// add counts one object.
func (t *tally) add(file string, o outcome) {
	t.objects++
	if o.hidden > 0 {
		t.unhidden++
	}
	switch {
	case o.refusal != nil:
		t.refused++
		r := reason(o.refusal)
		t.reasons[r] = append(t.reasons[r], file)
	case o.err != nil:
		t.different++
		t.lines = append(t.lines, fmt.Sprintf("different: %s: %v", file, o.err))
	case !o.result.Equal():
		t.different++
		form := ""
		if o.live {
			form = "without --static: "
		}
		t.lines = append(t.lines, fmt.Sprintf("different: %s: %s%v", file, form, o.result))
	default:
		t.equal++
	}
	if r := o.result; r != nil {
		t.relocations += int64(r.Relocations)
		t.bytes += r.Bytes
		t.followed += int64(r.Followed)
		for typ, n := range r.Types {
			t.types[typeKey{o.machine, typ}] += n
		}
	}
}

// reason is why an object was refused, without its place: so that objects that are
// refused for one reason come together.
func reason(refusal error) string {
	text := refusal.Error()
	var e *diag.Error
	if errors.As(refusal, &e) {
		text = e.Text
	}
	if strings.Contains(text, "(TLS)") {
		return threadLocal
	}
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// sum adds a folder's counts.
func (t *tally) sum(o *tally) {
	if t.reasons == nil {
		*t = *newTally()
	}
	t.objects += o.objects
	t.equal += o.equal
	t.refused += o.refused
	t.different += o.different
	t.unhidden += o.unhidden
	t.relocations += o.relocations
	t.bytes += o.bytes
	t.followed += o.followed
	for r, files := range o.reasons {
		t.reasons[r] = append(t.reasons[r], files...)
	}
	for k, n := range o.types {
		t.types[k] += n
	}
}

// bad is how many objects are not as they should be.
func (t *tally) bad() int { return t.different + t.refused - len(t.reasons[threadLocal]) }

func (t *tally) print(corpus, goarch string) {
	fmt.Printf(format, corpus, goarch, t.objects, t.relocations, t.bytes, t.equal, t.refused, t.different, t.followed, t.unhidden)
}

// report is a line for each reason of refusals and each object that differs, sorted.
func (t *tally) report() []string {
	var lines []string
	for _, r := range slices.Sorted(maps.Keys(t.reasons)) {
		files := t.reasons[r]
		slices.Sort(files)
		lines = append(lines, fmt.Sprintf("refused, %d: %s: %s", len(files), r, strings.Join(files, " ")))
	}
	slices.Sort(t.lines)
	return append(lines, t.lines...)
}

// printTypes lists the relocations by machine and type.
func (t *tally) printTypes() {
	keys := slices.SortedFunc(maps.Keys(t.types), func(a, b typeKey) int {
		return cmp.Or(cmp.Compare(a.machine, b.machine), cmp.Compare(a.typ, b.typ))
	})
	for _, k := range keys {
		fmt.Printf("%-40s %10d\n", oracle.TypeName(k.machine, k.typ), t.types[k])
	}
}
