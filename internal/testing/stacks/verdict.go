package main

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"klink/internal/diag"
)

// What klink says when it refuses, read back into the model's facts.

// lines are klink's refusals: the fact, and the pattern of its line. Groups are who (a
// file or modules), the symbol, and the other modules.
var lines = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"loaded", regexp.MustCompile(`^(?P<who>\S+): a module named "\S+" is already loaded$`)},
	{"twice", regexp.MustCompile(`^(?P<who>\S+): two modules of one command are named \S+$`)},
	{"override", regexp.MustCompile(`^(?P<who>\S+): "(?P<symbol>\S+)" already has an override, from module (?P<others>[^;]+); --private \S+ keeps this one to its own module$`)},
	{"class", regexp.MustCompile(`^(?P<who>\S+): "(?P<symbol>\S+)" is (?:a function, but data|data, but a function) in module (?P<others>[^;]+); --private .*$`)},
	{"data", regexp.MustCompile(`^(?P<who>\S+): "(?P<symbol>\S+)" is data of module (?P<others>[^,]+), which no \w+ can replace; --private .*$`)},
	{"alone", regexp.MustCompile(`^(?P<who>\S+): "(?P<symbol>\S+)": nothing to refine: no module provides it$`)},
	{"later", regexp.MustCompile(`^(?P<who>\S+): "(?P<symbol>\S+)": nothing to refine yet: module (?P<others>\S+), which provides it, comes later in the command$`)},
	{"missing", regexp.MustCompile(`^(?P<who>[^:\s]+):(?:\(\S+\):)? .*"(?P<symbol>\S+)": no provider$`)},
	{"below", regexp.MustCompile(`^(?P<who>[^:]+): "(?P<symbol>\S+)" would have nothing left below the refinement of modules? (?P<others>.+)$`)},
	{"needed", regexp.MustCompile(`^(?P<who>[^:]+): "(?P<symbol>\S+)" would have no provider left, but is needed by modules? (?P<others>.+)$`)},
	{"named", regexp.MustCompile(`^(?P<who>[^:]+): "(?P<symbol>\S+)" is data that the relocations of modules? (?P<others>.+) name$`)},
}

// fileSuffix is what the files of modules are called, the module's name being before it.
const fileSuffix = ".o"

// verdictOf reads an error of klink's; a line that no pattern knows stays as it is.
func verdictOf(err error) verdict {
	if err == nil {
		return nil
	}
	errs := []error{err}
	var list *diag.Errors
	if errors.As(err, &list) {
		errs = list.Unwrap()
	}
	var v verdict
	for _, e := range errs {
		v = append(v, factOf(e.Error()))
	}
	return v.sorted()
}

// factOf reads one line.
func factOf(line string) string {
	for _, l := range lines {
		m := l.pattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		group := func(name string) string {
			if i := l.pattern.SubexpIndex(name); i >= 0 {
				return m[i]
			}
			return ""
		}
		var one verdict
		one.add(l.what, strings.TrimSuffix(group("who"), fileSuffix), group("symbol"), slices.DeleteFunc(strings.Split(group("others"), ", "), func(s string) bool { return s == "" })...)
		return one[0]
	}
	return line
}
