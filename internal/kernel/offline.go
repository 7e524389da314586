package kernel

import (
	"cmp"
	"slices"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/insn"
	"klink/internal/link"
)

// Linking without a host: the same batch as a load, laid out one module behind the
// other from a base address, region by region, and written to files instead of an
// arena.

// DefaultBase is where Link starts unless told otherwise.
const DefaultBase = 0x10000000

// filePage is the alignment of the three regions in memory and in the file, bytes.
const filePage = 4096

// offline is one link without a host.
type offline struct {
	*batch
	base      uint64
	spans     [link.Regions]SpanInfo
	entryForm insn.Form
	entrySize uint64
	entryBase uint64
	slots     []aliasstack.SlotID // those that have an entry, in the order of their addresses
	index     []uint64            // by slot: address of its entry, 0 for none
	externals []external          // sorted by name
	end       uint64              // of what has bytes: the rest of the last data block is NOBITS
}

// external is a name that nobody provides and that got a trap entry.
type external struct {
	name string
	addr uint64
}

// Link links modules without a host, for either machine on any computer, and writes
// what r asks for. The files are complete or absent: an image is written beside its
// name and moved there when it is whole.
func Link(r LinkRequest) (*LinkReport, error) {
	var mem slab
	mem.reserve(r.Size)
	return linkIn(r, mem.take)
}

// linkIn is Link with memory for the files.
func linkIn(r LinkRequest, mem memory) (*LinkReport, error) {
	if len(r.Modules) == 0 {
		return nil, diag.New(diag.ErrUsage, "", "nothing to link")
	}
	far := func(m arch.Machine, text uint64) bool { return text > m.Facts().BranchReach/4*3 }
	base := cmp.Or(r.Base, DefaultBase)
	fresh, err := read(r.Modules, mem, r.Static, far, distant(r.Define, base))
	if err != nil {
		return nil, err
	}
	l := &offline{base: base, batch: &batch{
		machine: fresh[0].lm.Machine, stacks: aliasstack.New(), fresh: fresh, define: r.Define, static: r.Static, trap: r.TrapExternals}}
	if err := l.admissible(); err != nil {
		return nil, err
	}
	l.number(1)
	if err := l.plan(); err != nil {
		return nil, err
	}
	l.slots = l.wantEntries()
	if err := l.place(); err != nil {
		return nil, err
	}
	if err := l.write(r); err != nil {
		return nil, err
	}
	return l.linkReport(), nil
}

// distant returns the names whose values a branch of an image at base may not reach. With
// text of more than 3/4 of the reach every name has a veneer; so 1/4 is left.
func distant(define map[string]uint64, base uint64) map[string]bool {
	quarter := arch.ARM64.Facts().BranchReach / 4
	far := map[string]bool{}
	for name, v := range define {
		if v-base > quarter && base-v > quarter {
			far[name] = true
		}
	}
	return far
}

// admissible refuses objects of two machines, and names that mean nothing.
func (l *offline) admissible() error {
	var errs diag.List
	for _, m := range l.fresh {
		if m.lm.Machine != l.machine {
			errs.Add(diag.New(diag.ErrMachine, m.file(), "is for %v, but %s is for %v", m.lm.Machine, diag.Escape(l.fresh[0].file()), l.machine))
		}
	}
	errs.Add(sound(l.fresh))
	return errs.Err()
}

// place gives every block and entry its address. Everything of a region is
// contiguous, and the regions follow one another.
func (l *offline) place() error {
	at, ok := l.base, true
	up := func(align uint64) {
		r, fits := arch.AlignUp(at, align)
		at, ok = r, ok && fits
	}
	for r := range l.spans {
		up(filePage)
		l.spans[r].Addr = Addr(at)
		for _, m := range l.fresh {
			up(m.lm.Align[r])
			m.at[r] = at
			if m.lm.Init[r] > 0 {
				l.end = at + m.lm.Init[r]
			}
			at += m.lm.Size[r]
			ok = ok && at >= m.at[r]
		}
		if link.Region(r) == link.Text {
			l.entryForm, _ = entryForm(l.machine, at-uint64(l.spans[r].Addr))
			l.entrySize = externalAlign
			up(l.entrySize)
			l.placeEntries(at)
			at += uint64(len(l.slots)) * l.entrySize
			if len(l.slots) > 0 {
				l.end = at
			}
		}
		l.spans[r].Size = at - uint64(l.spans[r].Addr)
	}
	if !ok || at > maxAddress {
		return diag.New(diag.ErrNoSpace, "", "the image does not fit: it would end at %#x", at)
	}
	if l.end < uint64(l.spans[0].Addr) {
		l.end = uint64(l.spans[0].Addr)
	}
	return nil
}

// externalAlign is the room of an entry, bytes: a missing name may be data, and a
// 16-byte load of it must be aligned.
const externalAlign = 16

// maxAddress bounds an image: user space addresses of both machines are below.
const maxAddress = 1 << 56

// placeEntries numbers the entries from an address on.
func (l *offline) placeEntries(at uint64) {
	l.entryBase = at
	top := aliasstack.SlotID(0)
	for _, s := range l.slots {
		top = max(top, s)
	}
	l.index = make([]uint64, top+1)
	for i, s := range l.slots {
		l.index[s] = at + uint64(i)*l.entrySize
		if l.change.Current(s).Module == 0 {
			name, _ := l.change.SlotName(s)
			l.externals = append(l.externals, external{name, l.index[s]})
		}
	}
	l.entry = func(s aliasstack.SlotID) uint64 { return l.index[s] }
	slices.SortFunc(l.externals, func(a, b external) int { return cmp.Compare(a.name, b.name) })
}

// entryBytes makes the text of the entries.
func (l *offline) entryBytes() []byte {
	b := make([]byte, uint64(len(l.slots))*l.entrySize)
	trap := l.machine.Facts().TrapBytes
	for n := 0; n < len(b); {
		n += copy(b[n:], trap)
	}
	for i, s := range l.slots {
		if p := l.change.Current(s); p.Module != 0 {
			to, _ := l.address(p)
			l.entryForm.Encode(b[uint64(i)*l.entrySize:], l.index[s], to)
		}
	}
	return b
}

// linkReport says what was made.
func (l *offline) linkReport() *LinkReport {
	r := &LinkReport{
		Machine: l.machine.String(), Modules: len(l.fresh), Entries: len(l.slots) - len(l.externals), Externals: len(l.externals),
		Text: l.spans[link.Text], Tables: l.spans[link.Tables], Data: l.spans[link.Data],
	}
	for _, m := range l.fresh {
		for oi, o := range m.objects {
			r.Objects++
			for si := range o.Sections {
				if _, _, kept := m.lm.Section(oi, si); kept {
					r.Sections++
				}
			}
		}
		r.Relocs += m.lm.Relocs
		r.Sites += m.nsites
		for _, name := range m.absent {
			r.Absent = append(r.Absent, AbsentInfo{m.name, name})
		}
	}
	return r
}
