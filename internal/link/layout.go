package link

import (
	"cmp"
	"slices"

	"klink/internal/diag"
	"klink/internal/elfload"
)

// maxBlock bounds a module's block with its NOBITS tail, bytes. It is far beyond any
// arena; it keeps sums of hostile sizes from wrapping.
const maxBlock = 1 << 40

// veneerSize is the space of one veneer, bytes: ldr x16, #8; br x16; .quad target.
const veneerSize = 16

// regionOf says where a section goes by its flags.
func regionOf(s *elfload.Section) Region {
	switch {
	case s.Flags&elfload.Exec != 0:
		return Text
	case s.Flags&elfload.Write != 0, s.Type == elfload.Nobits:
		return Data
	}
	return Tables
}

// placed is one section in layout's order.
type placed struct {
	obj, sec int32
	rank     int32 // of its name, by first appearance: sections of one name lie side by side
	tail     int8  // 1: NOBITS of the data block: last, so that the block's bytes end before it
}

// layout gives every kept section, COMMON symbol, GOT slot, veneer and stub its
// place in one of the module's three blocks.
func (g *gatherer) layout() {
	var order [Regions][]placed
	ranks := map[string]int32{}
	for oi := range g.objs {
		o := &g.objs[oi]
		for si := range o.Sections {
			if !o.places[si].kept {
				continue
			}
			s := &o.Sections[si]
			rank, ok := ranks[s.Name]
			if !ok {
				rank = int32(len(ranks))
				ranks[s.Name] = rank
			}
			r := g.regionOf(s)
			p := placed{obj: int32(oi), sec: int32(si), rank: rank}
			if r == Data && s.Type == elfload.Nobits {
				p.tail = 1
			}
			order[r] = append(order[r], p)
		}
	}
	islands := g.islands()
	for r := range order {
		list := order[r]
		slices.SortFunc(list, func(a, b placed) int {
			return cmp.Or(cmp.Compare(a.tail, b.tail), cmp.Compare(a.rank, b.rank), cmp.Compare(a.obj, b.obj), cmp.Compare(a.sec, b.sec))
		})
		g.Align[r] = 1
		for _, p := range list {
			if !g.placeSection(Region(r), p, islands) {
				return
			}
		}
	}
	g.layoutText()
	g.layoutTables()
	g.layoutData()
	g.checkSize()
}

// maxGaps is how many bytes of a block may be gaps for alignment beside what stands in
// the files; a small file could else ask for a large image of nothing.
const maxGaps = 64 << 20

// checkSize refuses blocks whose bytes are out of proportion.
func (g *gatherer) checkSize() {
	for r, n := range g.Init {
		if n > g.fileBytes+maxGaps {
			g.errs.Add(diag.New(diag.ErrNoSpace, g.objs[0].Name(), "%#x bytes of %v, most of them gaps for alignment, are more than klink places for files of %#x bytes",
				n, Region(r), g.fileBytes))
		}
	}
}

// islands lists the veneers of each section that has its own.
func (g *gatherer) islands() map[[2]int32][]int32 {
	m := map[[2]int32][]int32{}
	for i, v := range g.veneers {
		if v.obj >= 0 {
			k := [2]int32{v.obj, int32(v.sec)}
			m[k] = append(m[k], int32(i))
		}
	}
	return m
}

// placeSection appends a section to its block, and behind it its veneers. It
// returns false after it has reported a block without bounds.
func (g *gatherer) placeSection(r Region, p placed, islands map[[2]int32][]int32) bool {
	o := &g.objs[p.obj]
	s := &o.Sections[p.sec]
	a := s.Align
	if r == Text {
		a = max(a, g.Machine.Facts().InsnAlign) // whatever the file says: branches must decode
	}
	off := align(g.Size[r], a)
	if s.Size > maxBlock || a > maxBlock || off+s.Size > maxBlock {
		g.errs.Add(diag.New(diag.ErrNoSpace, o.Name(), "section %s: %#x bytes, aligned to %#x, are more than klink places", diag.Quote(s.Name), s.Size, s.Align))
		return false
	}
	o.places[p.sec] = place{off: off, region: r, kept: true}
	g.Align[r] = max(g.Align[r], a)
	g.Size[r] = off + s.Size
	if p.tail == 0 {
		g.Init[r] = g.Size[r]
	}
	if b, ok := g.bounds[s.Name]; ok && b.region == r {
		g.bounds[s.Name] = bound{r, min(b.lo, off), max(b.hi, g.Size[r])}
	}
	if r == Text {
		for _, v := range islands[[2]int32{p.obj, p.sec}] {
			g.placeVeneer(v)
		}
	}
	return true
}

func (g *gatherer) placeVeneer(i int32) {
	off := align(g.Size[Text], veneerSize)
	g.veneers[i].off = off
	g.Align[Text] = max(g.Align[Text], veneerSize)
	g.Size[Text] = off + veneerSize
}

// layoutText appends IFUNC stubs and the veneers of the whole module.
func (g *gatherer) layoutText() {
	if len(g.stubs) > 0 {
		g.stubOff = align(g.Size[Text], StubSize)
		g.Size[Text] = g.stubOff + uint64(len(g.stubs))*StubSize
		g.Align[Text] = max(g.Align[Text], StubSize)
	}
	for i := range g.veneers {
		if g.veneers[i].obj < 0 {
			g.placeVeneer(int32(i))
		}
	}
	g.Init[Text] = g.Size[Text]
}

// gotReach is how far LD64_GOTPAGE_LO15 looks from the page of the GOT (aaelf64
// 5.7.6): a GOT that starts in its first page and ends within 32 KiB is in reach.
const gotReach = 1 << 15

// layoutTables appends the GOT. It is there even when it has no slot, because
// _GLOBAL_OFFSET_TABLE_ needs an address.
func (g *gatherer) layoutTables() {
	a, size := uint64(8), uint64(len(g.gots))*8
	if size > gotReach-4096 {
		a = 4096
	}
	g.gotOff = align(g.Size[Tables], a)
	g.Size[Tables] = g.gotOff + size
	g.Init[Tables] = g.Size[Tables]
	g.Align[Tables] = max(g.Align[Tables], a)
}

// layoutData appends the COMMON symbols that no definition replaced.
func (g *gatherer) layoutData() {
	var kept []common
	for i := range g.Names {
		n := &g.Names[i]
		if n.def.kind != defCommon {
			continue
		}
		c := g.commons[n.def.sym]
		c.off = align(g.Size[Data], max(c.align, 1))
		g.Size[Data] = c.off + c.size
		g.Align[Data] = max(g.Align[Data], c.align)
		if g.Size[Data] > maxBlock {
			g.errs.Add(&diag.Error{Kind: diag.ErrNoSpace, File: g.objs[n.def.obj].Name(), Symbol: n.Name,
				Text: "more data than klink places"})
			return
		}
		n.def.sym = uint32(len(kept))
		kept = append(kept, c)
	}
	g.commons = kept
}
