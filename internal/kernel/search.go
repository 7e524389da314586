package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
)

// Modules that alone provide a name which is missing are found in the search
// directories and loaded with the ones that need it.

// searchable are the suffixes of files that a search looks into.
var searchable = []string{".kmod", ".o", ".ko"}

// searchMissing adds, until nothing is missing or nothing is found, the modules of
// the search directories that alone provide what the fresh modules need. A name that
// two files provide is left missing, and the error names both.
func (k *Kernel) searchMissing(fresh []*module, dirs []Source) ([]*module, error) {
	var index map[string][]Source // by provided name
	taken := map[string]bool{}
	for _, m := range fresh {
		for _, f := range m.files {
			taken[f.Path] = true
		}
	}
	for {
		missing := k.missingNames(fresh)
		if len(missing) == 0 {
			return fresh, nil
		}
		if index == nil {
			index = indexDirs(dirs, fresh[0].lm.Machine)
		}
		var add []ModuleSpec
		var errs diag.List
		for _, name := range missing {
			found := index[name]
			switch {
			case len(found) == 0 || taken[found[0].Path]:
			case len(found) > 1:
				errs.Add(diag.New(diag.ErrConflict, "", "%s is missing, and both %s and %s provide it: load one of them",
					diag.Quote(name), diag.Escape(found[0].Name), diag.Escape(found[1].Name)))
			default:
				taken[found[0].Path] = true
				add = append(add, ModuleSpec{Files: found})
			}
		}
		if err := errs.Err(); err != nil {
			return nil, err
		}
		if len(add) == 0 {
			return fresh, nil // the load itself reports what is missing
		}
		more, err := read(add, newMemory, false, k.far)
		if err != nil {
			return nil, err
		}
		fresh = append(more, fresh...)
	}
}

// missingNames lists the names that fresh modules need strictly and that neither
// they nor the live modules provide, sorted.
func (k *Kernel) missingNames(fresh []*module) []string {
	offered := map[string]bool{}
	for _, m := range fresh {
		for _, id := range m.lm.Offers() {
			offered[m.lm.Names[id].Name] = true
		}
	}
	var missing []string
	for _, m := range fresh {
		for i := range m.lm.Names {
			n := &m.lm.Names[i]
			if n.Uses == 0 || n.Bind != link.Stack || weakly(n) || offered[n.Name] {
				continue
			}
			slot, ok := k.stacks.Lookup(n.Name)
			if !ok || k.stacks.Current(slot) == (aliasstack.Provider{}) {
				missing = append(missing, n.Name)
			}
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// indexDirs reads the objects of the directories and says which names each provides.
// A file that is no sound object of the machine provides nothing: it was not named
// by the user, so it is no error either.
func indexDirs(dirs []Source, machine arch.Machine) map[string][]Source {
	index := map[string][]Source{}
	seen := map[fileID]bool{}
	for _, dir := range dirs {
		list, err := os.ReadDir(dir.Path)
		if err != nil {
			continue
		}
		for _, e := range list {
			if !slices.Contains(searchable, strings.ToLower(filepath.Ext(e.Name()))) {
				continue
			}
			src := Source{Name: filepath.Join(dir.Name, e.Name()), Path: filepath.Join(dir.Path, e.Name())}
			id, ok := identity(src.Path)
			if !ok || seen[id] {
				continue
			}
			seen[id] = true
			for _, name := range providesOf(src, machine) {
				index[name] = append(index[name], src)
			}
		}
	}
	return index
}

// fileID is the identity of a file: one that is reached on two ways, through a
// directory named twice or a link, is no ambiguity.
type fileID struct{ dev, ino uint64 }

// identity returns the identity of the file at a path; ok is false if it cannot be
// looked at.
func identity(path string) (id fileID, ok bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileID{}, false
	}
	return fileID{st.Dev, st.Ino}, true
}

// providesOf returns the names that the object in a file would provide.
func providesOf(src Source, machine arch.Machine) []string {
	raw, err := readFile(src, newMemory)
	if err != nil {
		return nil
	}
	o, err := elfload.Parse(src.Name, "", raw)
	if err != nil || o.Machine != machine {
		return nil
	}
	lm, err := link.Gather(link.Unit{Name: moduleName(ModuleSpec{Files: []Source{src}}), Objects: []*elfload.Object{o}})
	if err != nil {
		return nil
	}
	var provided []string
	for _, id := range lm.Offers() {
		provided = append(provided, lm.Names[id].Name)
	}
	return provided
}
