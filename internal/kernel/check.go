package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/insn"
	"klink/internal/link"
)

// Check says about each file, alone and without a host, what loading it would mean:
// what would be refused whatever else is loaded, and which calls and tests can never
// follow a switch because the assembler or the compiler has bound them.
func Check(files []Source) ([]CheckReport, error) {
	reports := make([]CheckReport, len(files))
	err := parallel(len(files), func(i int) error {
		rep, err := check(files[i])
		if err != nil {
			return err
		}
		reports[i] = *rep
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reports, nil
}

// Levels of findings.
const (
	levelError   = "error"
	levelWarning = "warning"
	levelNote    = "note"
)

func check(src Source) (*CheckReport, error) {
	rep := &CheckReport{File: src.Name, Findings: []Finding{}}
	objects, err := readObjects(ModuleSpec{Files: []Source{src}, WholeArchive: true}, newMemory)
	if errors.Is(err, diag.ErrNotFound) || errors.Is(err, diag.ErrIO) {
		return nil, err
	}
	if err != nil {
		rep.errors(err)
		return rep, nil
	}
	rep.Machine = objects[0].Machine.String()
	lm, err := link.Gather(link.Unit{Name: src.Name, Objects: objects})
	if err != nil {
		rep.errors(err)
		return rep, nil
	}
	for i := range lm.Names {
		n := &lm.Names[i]
		if n.Offered {
			rep.Provides = append(rep.Provides, ProvideInfo{Symbol: n.Name, Kind: n.Kind.String(), Class: n.Class.String()})
		}
		if n.Uses != 0 && (n.Bind == link.Stack || n.Bind == link.Super) && !n.Defined() {
			rep.Needs = append(rep.Needs, n.Name)
			switch {
			case n.Weak:
				rep.add(levelNote, src.Name, diag.Quote(n.Name)+" is weak: if nobody provides it when this is loaded, it is 0 for good",
					"a default stub, __weak_alias, can be overridden later")
			case weakly(n):
				rep.add(levelNote, src.Name, diag.Quote(n.Name)+" is named by unwind tables only: if nobody provides it, it is 0 there", "")
			}
		}
	}
	slices.SortFunc(rep.Provides, func(a, b ProvideInfo) int { return cmp.Compare(a.Symbol, b.Symbol) })
	slices.Sort(rep.Needs)
	rep.tryLink(lm)
	for oi, o := range objects {
		rep.boundBranches(lm, oi, o)
	}
	return rep, nil
}

func (r *CheckReport) add(level, place, text, hint string) {
	r.Findings = append(r.Findings, Finding{level, place, text, hint})
}

// errors adds every root cause of an error that would be shown, each at its place.
func (r *CheckReport) errors(err error) {
	causes := []error{err}
	var list *diag.Errors
	if errors.As(err, &list) {
		causes = list.Unwrap()
	}
	for i, cause := range causes {
		var e *diag.Error
		switch {
		case i == diag.MaxErrors:
			r.add(levelError, r.File, fmt.Sprintf("and %d more", list.Len()-i), "")
			return
		case errors.As(cause, &e):
			r.add(levelError, e.Place(), e.Message(), "")
		default:
			r.add(levelError, r.File, cause.Error(), "")
		}
	}
}

// tryLink links the module alone, with a made-up function for each name that it
// needs, for the errors that only show when values are computed.
func (r *CheckReport) tryLink(lm *link.Module) {
	in := link.Input{Answers: make([]link.Answer, len(lm.Names))}
	at := uint64(DefaultBase)
	var out [link.Regions][]byte
	for reg := range in.At {
		at, _ = arch.AlignUp(at, max(lm.Align[reg], filePage))
		in.At[reg] = at
		at += lm.Size[reg]
		out[reg] = make([]byte, lm.Init[reg])
	}
	at, _ = arch.AlignUp(at, filePage)
	for i := range lm.Names {
		n := &lm.Names[i]
		switch {
		case n.Defined():
			addr, size, _ := lm.Own(link.NameID(i), in.At)
			in.Answers[i] = link.Answer{Branch: addr, Address: addr, Size: size}
			if n.Class == aliasstack.Func && (n.Bind == link.Stack || n.Bind == link.Super) {
				in.Answers[i].Slot = 1 // any: its branches are sites, as they will be in a host
			}
		case weakly(n):
			in.Answers[i] = link.Answer{Absent: true}
		default:
			in.Answers[i] = link.Answer{Branch: at, Address: at}
		}
	}
	if _, err := lm.Apply(&in, out); err != nil {
		r.errors(err)
	}
}

// boundBranches reports the jumps that the assembler bound to a symbol which the
// module provides: they carry no relocation, so they stay when the symbol moves.
func (r *CheckReport) boundBranches(lm *link.Module, oi int, o *elfload.Object) {
	for si := range o.Sections {
		s := &o.Sections[si]
		if _, _, kept := lm.Section(oi, si); !kept || s.Flags&elfload.Exec == 0 || len(s.Data) == 0 {
			continue
		}
		starts := providedAt(lm, o, uint32(si))
		if len(starts) == 0 {
			continue
		}
		relocated := map[uint64]bool{}
		for i := 0; i < s.Relocs.Len(); i++ {
			relocated[s.Relocs.At(i).Offset] = true
		}
		for _, b := range insn.BoundBranches(o.Machine, s.Data, 0, func(off uint64) bool { return relocated[off] }) {
			sym := starts[b.Target]
			if sym == nil || b.Off >= sym.Value && b.Off-sym.Value < sym.Size {
				continue // not the start of a provided function, or a loop inside it
			}
			place := fmt.Sprintf("%s:(%s+%#x)", diag.Escape(o.Name()), diag.Escape(s.Name), b.Off)
			r.add(levelWarning, place, fmt.Sprintf("%s: the assembler bound this to %s: it stays there whoever provides it", b.Text, diag.Quote(sym.Name)),
				"assemble with -Wa,-mshared, or compile with -fPIC or -ffunction-sections")
		}
	}
}

// providedAt returns, by offset, the functions of a section that the module provides
// and whose references switch.
func providedAt(lm *link.Module, o *elfload.Object, sec uint32) map[uint64]*elfload.Symbol {
	at := map[uint64]*elfload.Symbol{}
	for i := range o.Symbols[o.Locals:] {
		s := &o.Symbols[o.Locals+i]
		if s.Where != elfload.InSection || s.Section != sec {
			continue
		}
		if id, ok := lm.Lookup(s.Name); ok && lm.Names[id].Offered && lm.Names[id].Bind == link.Stack && lm.Names[id].Class == aliasstack.Func {
			if old := at[s.Value]; old == nil || old.Bind == elfload.Weak && s.Bind != elfload.Weak {
				at[s.Value] = s // the assembler binds to strong names only
			}
		}
	}
	return at
}
