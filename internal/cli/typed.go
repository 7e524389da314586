package cli

import (
	"slices"
	"strings"

	"klink/internal/api"
	"klink/internal/diag"
)

// typed is a path as the user typed it and as it was sent: absolute, because a host
// has a working directory of its own. What is no path is sent as it is.
type typed struct{ sent, typed string }

// module returns a module's name, or the path of a file that it was loaded from.
func (a *app) module(name string) (typed, error) {
	if !strings.Contains(name, "/") {
		return typed{name, name}, nil
	}
	path, err := a.abs(name)
	return typed{path, name}, err
}

// modules is module for several.
func (a *app) modules(names []string) ([]typed, error) {
	list := make([]typed, len(names))
	for i, name := range names {
		var err error
		if list[i], err = a.module(name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// asTyped returns err with the paths as the user typed them: where a line quotes one,
// or begins with one or with a file in it.
func asTyped(err error, paths ...typed) error {
	paths = slices.DeleteFunc(slices.Clone(paths), func(p typed) bool { return p.sent == p.typed })
	if len(paths) == 0 {
		return err
	}
	f := *api.NewFault(err)
	f.Lines = slices.Clone(f.Lines)
	for i, line := range f.Lines {
		f.Lines[i] = lineAsTyped(line, paths)
	}
	return &f
}

// lineAsTyped is asTyped for one line.
func lineAsTyped(line string, paths []typed) string {
	best := typed{}
	for _, p := range paths {
		line = strings.ReplaceAll(line, diag.Quote(p.sent), diag.Quote(p.typed))
		rest, ok := strings.CutPrefix(line, diag.Escape(p.sent))
		if ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "/")) && len(p.sent) > len(best.sent) {
			best = p
		}
	}
	if best.sent == "" {
		return line
	}
	rest := strings.TrimPrefix(line, diag.Escape(best.sent))
	if rest[0] == '/' {
		best.typed = strings.TrimRight(best.typed, "/")
	}
	return diag.Escape(best.typed) + rest
}
