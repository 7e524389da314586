package link

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"

	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/reloc"
)

// How errors are made. A hostile file can hold millions of mistakes, each of them in
// a place that takes a search to describe: only the first maxReported of one pass over
// a module are worked out, the others are counted.

// maxReported bounds the errors of one pass that are worked out in full. It is above
// what is printed, so that sorting and leaving out equal lines still sees enough.
const maxReported = 3 * diag.MaxErrors

// full says that enough errors were worked out; if so, it counts one more.
func full(errs *diag.List) bool {
	if errs.Len() < maxReported {
		return false
	}
	errs.Count(1)
	return true
}

// refuseTLS reports the module's first use of thread-local storage.
func (g *gatherer) refuseTLS(o *elfload.Object, what string) {
	if !g.tls {
		g.tls = true
		g.errs.Add(diag.New(diag.ErrUnsupported, o.Name(), "%s: thread-local storage (TLS) is not supported", what))
	}
}

// refuseType reports a relocation type that klink does not apply.
func (g *gatherer) refuseType(at ref, r *elfload.Reloc) {
	why, ok := reloc.Refused(g.Machine, r.Type)
	if !ok {
		why = "unknown relocation type"
	}
	if strings.Contains(why, "TLS") {
		o := &g.objs[at.obj]
		g.refuseTLS(o.Object, reloc.TypeName(g.Machine, r.Type)+" against "+diag.Quote(o.symbolName(r.Sym)))
		return
	}
	g.fail(at, diag.ErrUnsupported, why)
}

// fail reports something wrong at a relocation.
func (g *gatherer) fail(at ref, kind error, text string) {
	if !full(&g.errs) {
		g.errs.Add(g.errorAt(at, kind, text))
	}
}

// errorAt makes an error that names a relocation's place, function, type and symbol.
func (m *Module) errorAt(at ref, kind error, text string) *diag.Error {
	o := &m.objs[at.obj]
	s := &o.Sections[at.sec]
	r := s.Relocs.At(int(at.idx))
	return &diag.Error{Kind: kind, File: o.Name(), Section: s.Name, Offset: r.Offset, Func: o.functionOver(at.sec, r.Offset),
		Reloc: reloc.TypeName(m.Machine, r.Type), Symbol: o.symbolName(r.Sym), Text: text}
}

// Missing makes the error for a name that the module needs and nobody provides.
func (m *Module) Missing(id NameID) error {
	n := &m.Names[id]
	if n.first.obj < 0 {
		return &diag.Error{Kind: diag.ErrUndefined, File: m.objs[0].Name(), Symbol: n.Name, Text: "no provider"}
	}
	return m.errorAt(n.first, diag.ErrUndefined, "no provider")
}

// symbolName returns a symbol's name as messages show it; a section symbol's is
// its section's.
func (o *object) symbolName(sym uint32) string {
	s := &o.Symbols[sym]
	if s.Name == "" && s.Where == elfload.InSection {
		return o.Sections[s.Section].Name
	}
	return s.Name
}

// functions are an object's functions in the order of their places. They are made
// when the first message asks for them, which most objects never see.
type functions struct {
	once sync.Once
	list []uint32 // symbol indices
}

// maxFunctions bounds the functions that are sorted for messages; those of an object
// with more (a generated one, or none of a compiler's) go without the function's name.
const maxFunctions = 1 << 18

// maxNested bounds how many functions that start before a place are tried. Functions
// lie side by side; only hand-written assembly nests a few.
const maxNested = 32

// weakness is 1 for a weak symbol, else 0.
func weakness(s *elfload.Symbol) int {
	if s.Bind == elfload.Weak {
		return 1
	}
	return 0
}

// functionOver names the function that covers an offset of a section, "" if none
// does; of several the one that starts last.
func (o *object) functionOver(sec uint32, off uint64) string {
	o.functions.once.Do(o.sortFunctions)
	list := o.functions.list
	i := sort.Search(len(list), func(i int) bool {
		s := &o.Symbols[list[i]]
		return s.Section > sec || s.Section == sec && s.Value > off
	})
	for n := 0; i > 0 && n < maxNested; n++ {
		i--
		s := &o.Symbols[list[i]]
		if s.Section != sec {
			break
		}
		if off-s.Value < s.Size {
			return s.Name
		}
	}
	return ""
}

// sortFunctions makes the list of functions: by section and offset; of those at one
// place one that is not weak (the implementation rather than its alias), else the
// first in the symbol table, comes last, where the search meets it first.
func (o *object) sortFunctions() {
	var list []uint32
	for i := range o.Symbols {
		if s := &o.Symbols[i]; s.Where == elfload.InSection && s.Type == elfload.Func && s.Size > 0 {
			if len(list) == maxFunctions {
				return
			}
			list = append(list, uint32(i))
		}
	}
	slices.SortFunc(list, func(a, b uint32) int {
		x, y := &o.Symbols[a], &o.Symbols[b]
		return cmp.Or(cmp.Compare(x.Section, y.Section), cmp.Compare(x.Value, y.Value),
			cmp.Compare(weakness(y), weakness(x)), cmp.Compare(b, a))
	})
	o.functions.list = list
}
