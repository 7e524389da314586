package kernel

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
)

// Modules that others require by name, and modules that alone provide a name which is
// missing, are found in the search directories and loaded with the ones that need them.

// searchable are the suffixes of files that a search looks into.
var searchable = []string{".kmod", ".o", ".ko"}

// searchMissing adds, until nothing is missing or nothing is found, the modules of the
// search directories that the fresh ones require, or that alone provide what those need.
// What was found comes first, each module after those that it needs: nobody named it, so
// nobody gave it another place. A required module that is neither loaded nor found is an
// error. A name that nobody provides is left to the load, which reports all of them. Where
// two files would do, the error names both.
func (k *Kernel) searchMissing(fresh []*module, dirs []Source) ([]*module, error) {
	s := &search{k: k, dirs: dirs, taken: map[string]bool{}}
	for _, m := range fresh {
		for _, f := range m.files {
			s.taken[f.Path] = true
		}
	}
	var found []*module
	for all := fresh; ; all = append(slices.Clip(found), fresh...) {
		add, err := s.next(all)
		if err != nil {
			return nil, err
		}
		if len(add) == 0 {
			return append(initOrder(found), fresh...), nil
		}
		more, err := read(add, newMemory, false, k.far, nil)
		if err != nil {
			return nil, err
		}
		found = append(more, found...)
	}
}

// search is one search under way.
type search struct {
	k     *Kernel
	dirs  []Source
	found *index          // nil before somebody asks
	taken map[string]bool // paths of files that are being loaded
}

// next returns the modules to load with the fresh ones: those that they require, and if
// there are none of these the providers of what is missing.
func (s *search) next(fresh []*module) (add []ModuleSpec, err error) {
	var errs diag.List
	take := func(name, is, both string, files []Source) (found bool) {
		files = slices.DeleteFunc(slices.Clone(files), func(f Source) bool { return s.taken[f.Path] })
		switch len(files) {
		case 0:
			return false
		case 1:
			s.taken[files[0].Path] = true
			add = append(add, ModuleSpec{Files: files})
		default:
			errs.Add(diag.New(diag.ErrConflict, "", "%s is %s, and both %s and %s %s: load one of them",
				diag.Quote(name), is, diag.Escape(files[0].Name), diag.Escape(files[1].Name), both))
		}
		return true
	}
	for _, r := range s.k.missingRequired(fresh) {
		if !take(r.name, "required", "are modules of that name", s.index(fresh).modules[r.name]) {
			errs.Add(diag.New(diag.ErrUndefined, r.by.file(), "requires the module %s, which is not loaded%s", diag.Quote(r.name), s.hint()))
		}
	}
	if len(add) > 0 || errs.Len() > 0 || len(s.dirs) == 0 {
		return add, errs.Err()
	}
	for _, name := range s.k.missingNames(fresh) {
		take(name, "missing", "provide it", s.index(fresh).providers[name])
	}
	return add, errs.Err()
}

// hint says how a required module could be found.
func (s *search) hint() string {
	if len(s.dirs) == 0 {
		return "; -L names directories to look in"
	}
	return " and not in the directories of -L"
}

// index returns what the directories hold.
func (s *search) index(fresh []*module) *index {
	if s.found == nil {
		s.found = s.k.indexDirs(s.dirs, fresh[0].lm.Machine)
	}
	return s.found
}

// requirement is a module that another one requires and that is not there.
type requirement struct {
	name string
	by   *module
}

// missingRequired lists the modules that fresh modules require and that are neither
// loaded nor among them, each once, sorted by name.
func (k *Kernel) missingRequired(fresh []*module) []requirement {
	there := map[string]bool{}
	for _, m := range fresh {
		there[m.name] = true
	}
	var missing []requirement
	for _, m := range fresh {
		for _, name := range m.required() {
			if !there[name] && k.byName[name] == nil {
				there[name] = true
				missing = append(missing, requirement{name, m})
			}
		}
	}
	slices.SortFunc(missing, func(a, b requirement) int { return cmp.Compare(a.name, b.name) })
	return missing
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

// index is what the files of directories would be, were they loaded.
type index struct {
	modules   map[string][]Source // by module name
	providers map[string][]Source // by provided name
}

// glance is what one file would be, were it loaded, as far as a search asks. A file that
// is no sound object is nothing: it was not named by the user, so it is no error either.
type glance struct {
	machine   arch.Machine // 0: nothing
	name      string       // of its MODULE record, "" if it has none
	providers []string     // names that it provides
	stable    bool         // it may be taken from memory the next time
}

// candidate is one file of the directories.
type candidate struct {
	src Source
	id  fileID
	*glance
}

// indexDirs says what each object of the directories would be. Files that have not changed
// since the last search are not read again.
func (k *Kernel) indexDirs(dirs []Source, machine arch.Machine) *index {
	list := listDirs(dirs)
	_ = parallel(len(list), func(i int) error {
		f := &list[i]
		if f.glance = k.looked[f.id]; f.glance == nil {
			f.glance = glanceAt(f.src, f.id)
		}
		return nil
	})
	x := &index{map[string][]Source{}, map[string][]Source{}}
	k.looked = make(map[fileID]*glance, len(list)) // of this search only: it does not grow
	for _, f := range list {
		if f.stable {
			k.looked[f.id] = f.glance
		}
		if f.machine != machine {
			continue
		}
		name := cmp.Or(f.name, moduleName(ModuleSpec{Files: []Source{f.src}}))
		x.modules[name] = append(x.modules[name], f.src)
		for _, name := range f.providers {
			x.providers[name] = append(x.providers[name], f.src)
		}
	}
	return x
}

// listDirs lists the files of directories that a search looks into, each once.
func listDirs(dirs []Source) (list []candidate) {
	type file struct{ dev, ino uint64 } // one that is reached on two ways is no ambiguity
	seen := map[file]bool{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir.Path)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !slices.Contains(searchable, strings.ToLower(filepath.Ext(e.Name()))) {
				continue
			}
			src := Source{Name: filepath.Join(dir.Name, e.Name()), Path: filepath.Join(dir.Path, e.Name())}
			id, ok := identity(src.Path)
			if !ok || seen[file{id.dev, id.ino}] {
				continue
			}
			seen[file{id.dev, id.ino}] = true
			list = append(list, candidate{src: src, id: id})
		}
	}
	return list
}

// fileID is the identity of a file as it was at one moment: whoever writes to it changes
// one of the times.
type fileID struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// identity returns the identity of the file at a path; ok is false if it cannot be
// looked at.
func identity(path string) (id fileID, ok bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileID{}, false
	}
	return fileID{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}, true
}

// settled is how long ago a file must have changed for its times to show the next change:
// they are as coarse as the file system makes them, 2 s at worst.
const settled = 3 * time.Second

// glanceAt reads a file that had the identity just now.
func glanceAt(src Source, id fileID) *glance {
	g := &glance{stable: time.Since(time.Unix(id.ctime.Unix())) > settled}
	raw, err := readFile(src, newMemory)
	if err != nil {
		g.stable = false // who may read it, its times do not say
		return g
	}
	o, err := elfload.Parse(src.Name, "", raw)
	if err != nil {
		return g
	}
	lm, err := link.Gather(link.Unit{Name: moduleName(ModuleSpec{Files: []Source{src}}), Objects: []*elfload.Object{o}})
	if err != nil {
		return g
	}
	g.machine = o.Machine
	if info := lm.Info(); info != nil {
		g.name = strings.Clone(info.Name)
	}
	for _, id := range lm.Offers() {
		g.providers = append(g.providers, strings.Clone(lm.Names[id].Name)) // not the file's bytes
	}
	return g
}
