package link_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// extent is what lies at [lo, hi) of a block.
type extent struct {
	what   string
	lo, hi uint64
	align  uint64
	bytes  bool // has bytes
}

// randomUnit draws objects with sections of all kinds, COMMON symbols, GOT slots,
// stubs and veneers.
func randomUnit(rt *rapid.T) link.Unit {
	u := link.Unit{Name: "m", Far: rapid.Bool().Draw(rt, "far")}
	m := rapid.SampledFrom([]arch.Machine{arch.AMD64, arch.ARM64}).Draw(rt, "machine")
	for oi := range rapid.IntRange(1, 4).Draw(rt, "objects") {
		b := objbuild.New(m).Undef("f").Undef("g")
		if rapid.Bool().Draw(rt, "common") {
			b.Common("c", 1<<rapid.IntRange(0, 8).Draw(rt, "align"), rapid.Uint64Range(0, 100).Draw(rt, "size"))
		}
		for range rapid.IntRange(0, 12).Draw(rt, "sections") {
			s := objbuild.Section{
				Name:  rapid.SampledFrom([]string{".text", ".text.x", "set", "other_set", ".data", ".bss", ".rodata", ".x"}).Draw(rt, "name"),
				Type:  rapid.SampledFrom([]uint32{objbuild.Progbits, objbuild.Nobits}).Draw(rt, "type"),
				Flags: objbuild.Alloc | rapid.SampledFrom([]uint64{0, objbuild.Write, objbuild.Exec}).Draw(rt, "flags"),
				Align: 1 << rapid.IntRange(0, 13).Draw(rt, "align"),
				Size:  rapid.Uint64Range(0, 300).Draw(rt, "size"),
			}
			if s.Type == objbuild.Progbits {
				s.Data = make([]byte, s.Size)
			}
			b.Add(s)
			if s.Data == nil || s.Size < 8 {
				continue
			}
			switch rapid.IntRange(0, 5).Draw(rt, "relocation") {
			case 0:
				b.Reloc(0, map[arch.Machine]uint32{arch.AMD64: xGOTPCREL, arch.ARM64: aGOTPCREL32}[m], rapid.SampledFrom([]string{"f", "g"}).Draw(rt, "of"), 0)
			case 1:
				if m == arch.ARM64 && s.Flags&objbuild.Exec != 0 {
					s.Data[3], s.Data[7] = 0x54, 0x94 // b.cond; bl
					b.Reloc(0, aCOND, "f", 0).Reloc(4, aCALL, "g", 0)
				}
			case 2:
				if s.Flags&objbuild.Exec != 0 {
					b.Local("ifunc", 0, 0).As(objbuild.IFunc)
				}
			}
		}
		o, err := elfload.Parse(string(rune('a'+oi))+".o", "", b.Bytes())
		if err != nil {
			rt.Fatalf("%v", err)
		}
		u.Objects = append(u.Objects, o)
	}
	return u
}

// TestLayout: whatever the sections, nothing overlaps, everything is aligned, bytes end
// before the NOBITS tail, and sections of one name lie side by side.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		u := randomUnit(rt)
		m, err := link.Gather(u)
		if err != nil {
			rt.Fatalf("%v", err)
		}
		var all [link.Regions][]extent
		for oi, o := range m.Objects() {
			for si := range o.Sections {
				s := &o.Sections[si]
				r, off, kept := m.Section(oi, si)
				if kept != (s.Flags&elfload.Alloc != 0) {
					rt.Fatalf("section %s: placed %v", s.Name, kept)
				}
				if kept {
					all[r] = append(all[r], extent{s.Name, off, off + s.Size, s.Align, s.Type != elfload.Nobits || r != link.Data})
				}
			}
		}
		for _, c := range m.Commons() {
			all[link.Data] = append(all[link.Data], extent{"COMMON", c.Off, c.Off + c.Size, 1, false})
		}
		off, size := m.GOT()
		all[link.Tables] = append(all[link.Tables], extent{"GOT", off, off + size, 8, true})
		for r := range all {
			checkBlock(rt, m, link.Region(r), all[r])
		}
		checkBounds(rt, m, all)
		checkLinked(rt, m)
	})
}

// checkBlock checks the extents of one block.
func checkBlock(rt *rapid.T, m *link.Module, r link.Region, list []extent) {
	slices.SortStableFunc(list, func(a, b extent) int { return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi)) })
	end := uint64(0)
	tail := false
	var seen []string
	for _, e := range list {
		if e.lo < end || e.hi > m.Size[r] {
			rt.Fatalf("%v: %+v overlaps what ends at %d, or leaves the block of %d", r, e, end, m.Size[r])
		}
		if e.align > 1 && (e.lo%e.align != 0 || m.Align[r]%e.align != 0) {
			rt.Fatalf("%v: %+v is not aligned, in a block aligned to %d", r, e, m.Align[r])
		}
		if e.bytes && e.hi > e.lo && (tail || e.hi > m.Init[r]) {
			rt.Fatalf("%v: %+v has bytes, but Init is %d", r, e, m.Init[r])
		}
		if !e.bytes && e.hi > e.lo {
			tail = true
			if e.lo < m.Init[r] {
				rt.Fatalf("%v: %+v is known to be zero, but Init is %d", r, e, m.Init[r])
			}
		}
		key := e.what
		if !e.bytes {
			key += " (NOBITS)"
		}
		if e.hi > e.lo && (len(seen) == 0 || seen[len(seen)-1] != key) {
			if slices.Contains(seen, key) {
				rt.Fatalf("%v: the sections %s are apart", r, key)
			}
			seen = append(seen, key)
		}
		end = e.hi
	}
	if m.Init[r] > m.Size[r] {
		rt.Fatalf("%v: Init %d of %d", r, m.Init[r], m.Size[r])
	}
}

// checkBounds checks that no set of a C name is torn apart between tables and data.
func checkBounds(rt *rapid.T, m *link.Module, all [link.Regions][]extent) {
	for _, set := range []string{"set", "other_set"} {
		has := func(r link.Region) bool {
			return slices.ContainsFunc(all[r], func(e extent) bool { return e.what == set })
		}
		if !has(link.Text) && has(link.Tables) && has(link.Data) {
			rt.Fatalf("the sections %q lie in tables and in data", set)
		}
	}
}

// checkLinked links the module; the veneers must not lie in anybody's way.
func checkLinked(rt *rapid.T, m *link.Module) {
	im, err := apply(m, [link.Regions]uint64{textAt, textAt + 1<<24, textAt + 1<<25}, nil, false)
	if err != nil {
		rt.Fatalf("%v", err)
	}
	veneers := 0
	for _, s := range im.sites {
		if to, ok := s.Form.Target(im.out[link.Text][s.Addr-textAt:], s.Addr); !ok || to != provider && to != s.Veneer {
			rt.Fatalf("site %+v leads to %#x", s, to)
		}
		if s.Form.Len() == 16 {
			veneers++
		}
	}
	if veneers != len(m.Veneers()) {
		rt.Fatalf("%d of %d veneers are sites", veneers, len(m.Veneers()))
	}
}
