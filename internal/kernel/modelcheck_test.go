package kernel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"klink/internal/arch"
	"klink/internal/insn"

	"pgregory.net/rapid"
)

// check compares every instruction, pointer and entry in the arena, and what the host
// says about them, with the model.
func (w *world) check(t *rapid.T) {
	var want []SiteInfo
	counts := map[string]int{} // of sites, by "f" or "m:super_f"
	for _, m := range w.mods {
		veneers := map[string]uint64{}
		n := len(want)
		for i, u := range m.uses {
			if s := w.checkUse(t, m, i, u, veneers); s != nil {
				want = append(want, *s)
				counts[m.key(u.symbol)]++
			}
		}
		if info, err := w.Info(m.name); err != nil || info.Count.Sites != len(want)-n || info.State != stateLive {
			t.Errorf("info of %s: %d sites and %v, want %d sites", m.name, info.Count.Sites, err, len(want)-n)
		}
	}
	want = append(want, w.wantEntries(t)...)
	w.checkSites(t, want)
	w.checkAlias(t, counts)
	var names, got []string
	for _, m := range w.mods {
		names = append(names, m.name)
	}
	for _, m := range w.List() {
		got = append(got, m.Name)
	}
	if d := diff(names, got); d != "" {
		t.Errorf("list:\n%s", d)
	}
}

// key names the slot of a symbol as m refers to it.
func (m *resident) key(symbol string) string {
	if strings.HasPrefix(symbol, "super_") {
		return m.name + ":" + symbol
	}
	return symbol
}

// checkUse decodes one reference. It returns the site that it is, or whose veneer it
// is the first to use, nil if neither.
func (w *world) checkUse(t *rapid.T, m *resident, i int, u use, veneers map[string]uint64) *SiteInfo {
	at := m.text + m.offsets[i]
	if u.how == pointer {
		at = m.data + m.offsets[i]
	}
	var want uint64
	site := &SiteInfo{Addr: Addr(at), Module: m.name, In: plus("run", at-m.text-m.runAt()), Symbol: u.symbol}
	absent := m.absent[u.symbol]
	if !absent {
		by, symbol := follows(w.mods, m, u.symbol)
		want = by.address(symbol)
		site.Target, site.Provider, site.Name = Addr(want), by.name, "impl_"+symbol
	}
	got := w.decode(t, u.how, at)
	switch {
	case u.how.branches() && absent:
		if got != 0 {
			t.Errorf("%s: the branch at %#x to absent %s leads to %#x", m.name, at, u.symbol, got)
		}
		return nil
	case u.how.short(w.machine):
		v, seen := veneers[u.symbol]
		if seen && v != got {
			t.Errorf("%s: two veneers of %s: %#x and %#x", m.name, u.symbol, v, got)
		}
		veneers[u.symbol] = got
		to, ok := insn.FarJump.Target(w.bytes(got, 16), got)
		if !ok || to != want || got < m.text {
			t.Errorf("%s: the veneer of %s at %#x leads to %#x, want %#x", m.name, u.symbol, got, to, want)
		}
		site.Addr, site.In, site.Form = Addr(got), u.symbol+"@veneer", insn.FarJump.String()
		if seen {
			return nil
		}
		return site
	case u.how.branches():
		if got != want {
			t.Errorf("%s: the branch at %#x to %s leads to %#x, want %#x", m.name, at, u.symbol, got, want)
		}
		site.Form = u.how.form(w.machine)
		if w.machine == arch.AMD64 && u.how >= gotCall && w.entries[u.symbol] == 0 && m.weakly(u.symbol) && !m.provides(u.symbol) {
			// A call through the GOT stays one if the name is absent, which is not known
			// yet when entries are taken: this one is behind the GOT slot only.
			slot, _ := w.stacks.Lookup(u.symbol)
			w.entries[u.symbol] = w.Kernel.entries.at[slot]
		}
		return site
	case absent && w.machine == arch.ARM64 && u.how == lea: // ADRP and ADD: the page of the place and no more (aaelf64 5.6.1)
		want = at &^ 0xfff
	case absent:
	case m.named[u.symbol] != nil:
		want = m.named[u.symbol].address(u.symbol)
	default:
		key := m.key(u.symbol)
		if w.entries[key] == 0 {
			w.entries[key] = got
		}
		want = w.entries[key]
	}
	if got != want {
		t.Errorf("%s: the address of %s at %#x is %#x, want %#x", m.name, u.symbol, at, got, want)
	}
	return nil
}

// String shows a toy when a test fails.
func (y *toy) String() string { return fmt.Sprintf("%s gives %v uses %v", y.name, y.gives, y.uses) }

// provides says that the toy itself gives a symbol.
func (y *toy) provides(symbol string) bool {
	return slices.ContainsFunc(y.gives, func(g give) bool { return g.symbol == symbol })
}

// runAt is where the references start.
func (y *toy) runAt() uint64 {
	n := uint64(0)
	for _, g := range y.gives {
		if !g.data {
			n += funcSize
		}
	}
	return n
}

// wantEntries decodes every entry and returns what the host should say of each.
func (w *world) wantEntries(t *rapid.T) []SiteInfo {
	var want []SiteInfo
	taken := map[uint64]string{}
	for key, at := range w.entries {
		if other, ok := taken[at]; ok {
			t.Errorf("%s and %s share the entry at %#x", key, other, at)
		}
		taken[at] = key
		mod, symbol, super := strings.Cut(key, ":")
		var m *resident
		if !super {
			symbol = key
		} else {
			m = w.mods[slices.IndexFunc(w.mods, func(m *resident) bool { return m.name == mod })]
		}
		s := SiteInfo{Addr: Addr(at), In: "entry", Form: entryName[w.machine], Symbol: symbol}
		code := w.bytes(at, 8)
		by, name := follows(w.mods, m, symbol)
		if by == nil {
			if !traps(w.machine, code) {
				t.Errorf("the entry of %s, which nobody provides, holds % x", key, code)
			}
			want = append(want, s)
			continue
		}
		s.Target, s.Provider, s.Name = Addr(by.address(name)), by.name, "impl_"+name
		if got := w.decode(t, tail, at); Addr(got) != s.Target {
			t.Errorf("the entry of %s leads to %#x, want %v", key, got, s.Target)
		}
		want = append(want, s)
	}
	return want
}

var entryName = map[arch.Machine]string{arch.AMD64: "jmp", arch.ARM64: "b"}

func (w *world) checkSites(t *rapid.T, want []SiteInfo) {
	got, err := w.Sites(SitesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(want, func(a, b SiteInfo) int { return int(int64(a.Addr) - int64(b.Addr)) })
	if d := diff(append([]SiteInfo{}, want...), got); d != "" {
		t.Errorf("sites:\n%s", d)
	}
}

// checkAlias compares all stacks.
func (w *world) checkAlias(t *rapid.T, counts map[string]int) {
	want := []AliasInfo{}
	for _, symbol := range symbols {
		list := stack(w.mods, symbol)
		if len(list) == 0 {
			continue
		}
		info := AliasInfo{Symbol: symbol, Class: "func", Entry: Addr(w.entries[symbol]), Sites: counts[symbol]}
		for _, m := range w.mods {
			if m.refers(symbol) {
				info.Users = append(info.Users, m.name)
			}
		}
		slices.Sort(info.Users)
		super := 0
		for i := len(list) - 1; i >= 0; i-- {
			p := AliasProvider{Module: list[i].by.name, Kind: list[i].kind.String(), Addr: Addr(list[i].by.address(symbol)),
				Name: "impl_" + symbol, Current: i == len(list)-1, Super: super, Sites: super}
			if p.Current {
				p.Sites += info.Sites
			}
			if list[i].data {
				info.Class, p.Name = "data", ""
			}
			super = counts[list[i].by.name+":super_"+symbol]
			info.Providers = append(info.Providers, p)
		}
		want = append(want, info)
	}
	got, err := w.Alias(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(want, got); d != "" {
		t.Errorf("alias:\n%s", d)
	}
}

// decode reads, with no help from the code under test, what the reference at an
// address means: where a branch leads (0: nowhere), or the address that is taken.
func (w *world) decode(t *rapid.T, h how, at uint64) uint64 {
	le := binary.LittleEndian
	c := w.bytes(at, 8)
	if h == pointer {
		return le.Uint64(c)
	}
	if w.machine == arch.AMD64 {
		rel := func(off uint64) uint64 { return at + off + 4 + uint64(int64(int32(le.Uint32(c[off:])))) }
		switch {
		case c[0] == 0xe8, c[0] == 0xe9: // jmp that was a jump through the GOT has a nop behind it
			if h == gotTail && c[5] != 0x90 {
				t.Errorf("no nop behind the relaxed jump at %#x: % x", at, c)
			}
			return rel(1)
		case c[0] == 0x67 && c[1] == 0xe8, c[0] == 0x0f && c[1]&0xf0 == 0x80:
			return rel(2)
		case c[0] == 0xff && (c[1] == 0x15 || c[1] == 0x25):
			return w.word(rel(2))
		case c[0] == 0x48 && c[1] == 0x8d:
			return rel(3)
		case c[0] == 0x48 && c[1] == 0x8b:
			return w.word(rel(3))
		}
		t.Fatalf("% x at %#x is none of the toy's instructions", c, at)
	}
	word := le.Uint32(c)
	signed := func(v uint32, shift, width uint) uint64 {
		return uint64(int64(int32(v<<(32-shift-width))>>(32-width))) * 4
	}
	switch {
	case word == 0xd503201f: // nop
		return 0
	case word&0x7c000000 == 0x14000000:
		return at + signed(word, 0, 26)
	case word>>24 == 0x54:
		return at + signed(word, 5, 19)
	case word>>24 == 0x36:
		return at + signed(word, 5, 14)
	case word&0x9f000000 == 0x90000000:
		pages := uint64(word>>29&3) | signed(word, 5, 19)
		page := at&^0xfff + uint64(int64(pages<<43)>>43)<<12
		next := le.Uint32(c[4:])
		if next>>22 == 0x3e5 { // ldr x0, [x0, #imm]
			return w.word(page + uint64(next>>10&0xfff)*8)
		}
		return page + uint64(next>>10&0xfff)
	}
	t.Fatalf("%#x at %#x is none of the toy's instructions", word, at)
	return 0
}
