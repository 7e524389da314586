package kernel

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"klink/internal/aliasstack"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
)

// symbol is one symbol of a loaded module, for people: listings, disassembly, names
// of places.
type symbol struct {
	addr, size uint64
	name       string
	typ        string
	bind       string
	section    string
	code       bool
	end        uint64 // of its section
	extent     uint64 // bytes that it covers: size, else up to the next symbol or the section's end
}

// symbols returns a module's symbols sorted by address; at one address functions
// before others, a private name (the implementation) before the names that alias it,
// then by name. They are worked out anew: only people ask.
func (m *module) symbols() []symbol {
	var list []symbol
	for oi, o := range m.objects {
		for i := range o.Symbols {
			s := &o.Symbols[i]
			if s.Where != elfload.InSection || s.Name == "" && s.Type != elfload.SectionSym || strings.HasPrefix(s.Name, "$") {
				continue // "$x" and "$d" map code and data (aaelf64 5.5.4)
			}
			r, off, kept := m.lm.Section(oi, int(s.Section))
			if !kept {
				continue
			}
			sec := &o.Sections[s.Section]
			sym := symbol{addr: m.lm.Symbol(oi, i, m.at), size: s.Size, name: s.Name, section: sec.Name,
				code: sec.Flags&elfload.Exec != 0, typ: typeName(s.Type), bind: "local", end: m.at[r] + off + sec.Size}
			if s.Type == elfload.IFunc { // its value is the stub that the resolver's answer goes to
				sym.size, sym.end = link.StubSize, sym.addr+link.StubSize
			}
			if s.Type == elfload.SectionSym {
				sym.name, sym.size = sec.Name, sec.Size
			}
			if i >= o.Locals {
				sym.bind = m.bindOf(s.Name)
			}
			list = append(list, sym)
		}
	}
	for _, v := range m.lm.Veneers() {
		addr := m.at[link.Text] + v.Off
		list = append(list, symbol{addr: addr, size: veneerLen, name: m.lm.Names[v.Name].Name + veneerSuffix, typ: "veneer", bind: "local", section: "VENEER", code: true, end: addr + veneerLen})
	}
	commons := m.lm.Commons()
	if len(commons) > 0 {
		commons = m.ownCommons(commons)
	}
	for _, c := range commons {
		list = append(list, symbol{addr: m.at[link.Data] + c.Off, size: c.Size, name: c.Name, typ: "data", bind: m.bindOf(c.Name), section: "COMMON"})
	}
	slices.SortFunc(list, func(a, b symbol) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(typeRank[a.typ], typeRank[b.typ]),
			cmp.Compare(bindRank[a.bind], bindRank[b.bind]), cmp.Compare(a.name, b.name))
	})
	setExtents(list)
	return list
}

// veneerSuffix follows the name of the symbol whose veneer it is.
const veneerSuffix = "@veneer"

// ownCommons leaves out the COMMON symbols that are another module's object.
func (m *module) ownCommons(list []link.CommonBlock) []link.CommonBlock {
	own := make(map[string]bool, len(m.offers))
	for _, id := range m.offers {
		own[m.lm.Names[id].Name] = true
	}
	return slices.DeleteFunc(list, func(c link.CommonBlock) bool {
		id, ok := m.lm.Lookup(c.Name)
		return ok && m.lm.Names[id].Offered && !own[c.Name]
	})
}

// setExtents works out what sorted symbols cover: hand-written assembly gives its
// functions no sizes.
func setExtents(list []symbol) {
	const none = ^uint64(0)
	here, next := none, none // addresses of the symbol last seen, and of the next one above it
	for i := len(list) - 1; i >= 0; i-- {
		s := &list[i]
		s.extent = s.size
		if s.typ == "section" {
			continue
		}
		if s.addr < here {
			here, next = s.addr, here
		}
		if s.code && s.size == 0 {
			s.extent = max(min(next, s.end), s.addr) - s.addr
		}
	}
}

// bindOf says how a module gives one of its global names: the kind of provider, or
// "private".
func (m *module) bindOf(name string) string {
	id, ok := m.lm.Lookup(name)
	if !ok || !m.lm.Names[id].Offered {
		return "private"
	}
	return m.lm.Names[id].Kind.String()
}

// typeNames are the symbol types as users see them.
var typeNames = map[elfload.SymType]string{
	elfload.NoType: "notype", elfload.ObjectType: "data", elfload.Func: "func",
	elfload.SectionSym: "section", elfload.IFunc: "ifunc", elfload.CommonType: "data",
}

// typeRank orders symbols of one address: what names a place best comes first.
var typeRank = map[string]int{"func": 0, "ifunc": 1, "veneer": 1, "data": 2, "notype": 3, "section": 4}

// bindRank puts an implementation's own name before those it is provided under: a
// stub's strong name before its weak aliases.
var bindRank = map[string]int{"local": 0, "private": 1, "override": 2, "refinement": 3, "default": 4}

func typeName(t elfload.SymType) string { return cmp.Or(typeNames[t], "other") }

// names finds the symbol that covers an address: a cache over modules' symbols for
// the length of one question.
type names struct {
	mods  []*module // sorted by text address
	table map[*module][]symbol
}

func (k *Kernel) names() *names {
	n := &names{mods: slices.Concat(k.inOrder(), k.initing), table: map[*module][]symbol{}}
	slices.SortFunc(n.mods, func(a, b *module) int { return cmp.Compare(a.at[link.Text], b.at[link.Text]) })
	return n
}

// module returns the module whose text an address lies in, nil if in none's.
func (n *names) module(addr uint64) *module {
	i := sort.Search(len(n.mods), func(i int) bool { return n.mods[i].at[link.Text] > addr })
	for i--; i >= 0; i-- {
		m := n.mods[i]
		if m.lm.Size[link.Text] > 0 {
			if addr-m.at[link.Text] < m.lm.Size[link.Text] {
				return m
			}
			return nil
		}
	}
	return nil
}

func (n *names) symbols(m *module) []symbol {
	list, ok := n.table[m]
	if !ok {
		list = m.symbols()
		n.table[m] = list
	}
	return list
}

// in names a place in a module's text: "f", "f+0x1a", or ".text+0x40" where no
// function covers it. Of several names of one function the first in the order of
// symbols is taken.
func (n *names) in(m *module, addr uint64) string {
	list := n.symbols(m)
	section := ""
	for i := sort.Search(len(list), func(i int) bool { return list[i].addr > addr }) - 1; i >= 0; i-- {
		s := &list[i]
		if s.typ == "section" {
			if section == "" && addr-s.addr < s.size {
				section = plus(s.name, addr-s.addr)
			}
			continue
		}
		if !s.code || s.typ == "data" || addr-s.addr >= s.size && addr != s.addr && s.size != 0 {
			continue
		}
		for i > 0 && list[i-1].addr == s.addr && typeRank[list[i-1].typ] <= typeRank[s.typ] {
			i--
		}
		return plus(list[i].name, addr-list[i].addr)
	}
	if section == "" {
		return plus("text", addr-m.at[link.Text])
	}
	return section
}

func plus(name string, off uint64) string {
	if off == 0 {
		return name
	}
	return fmt.Sprintf("%s+%#x", name, off)
}

// other returns the name of the function at an address that is not the given one
// and no more an alias than that: the implementation behind it. "" if there is none.
func (n *names) other(m *module, addr uint64, not string) string {
	list := n.symbols(m)
	i := sort.Search(len(list), func(i int) bool { return list[i].addr >= addr })
	best, bestRank, ownRank := "", 0, len(bindRank)
	for ; i < len(list) && list[i].addr == addr; i++ {
		s := &list[i]
		switch rank := bindRank[s.bind]; {
		case s.typ == "section":
		case s.name == not:
			ownRank = rank
		case best == "":
			best, bestRank = s.name, rank
		}
	}
	if bestRank > ownRank {
		return "" // an alias of the given one
	}
	return best
}

// Symbols lists the symbols of loaded modules that match one of the patterns
// (path.Match syntax; none means all), or that cover an address given as "0x…", of
// one module if it is not "", sorted by address. Mapping symbols and section symbols
// are left out. A pattern other than "*" that nothing matches is an error.
func (k *Kernel) Symbols(patterns []string, of string) ([]SymInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	mods := k.inOrder()
	if of != "" {
		m, err := k.find(of)
		if err != nil {
			return nil, err
		}
		mods = []*module{m}
	}
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	var errs diag.List
	matches := make([]func(*symbol) bool, len(patterns))
	for i, p := range patterns {
		var err error
		matches[i], err = matcher(p)
		errs.Add(err)
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	out := []SymInfo{}
	found := make([]bool, len(patterns))
	for _, m := range mods {
		for _, s := range m.symbols() {
			listed := false
			for i, match := range matches {
				if match(&s) {
					found[i], listed = true, true
				}
			}
			if listed {
				out = append(out, k.symInfo(m, &s))
			}
		}
	}
	for i, p := range patterns {
		if !found[i] && p != "*" {
			errs.Add(diag.New(diag.ErrNotFound, "", "no symbol %s", diag.Quote(p)))
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b SymInfo) int { return cmp.Compare(a.Addr, b.Addr) })
	return out, nil
}

// matcher makes a predicate of a pattern or an address.
func matcher(p string) (func(*symbol) bool, error) {
	if strings.HasPrefix(p, "0x") {
		addr, err := strconv.ParseUint(p, 0, 64)
		if err != nil {
			return nil, diag.New(diag.ErrUsage, "", "%s is no address", diag.Quote(p))
		}
		return func(s *symbol) bool {
			return s.typ != "section" && (addr == s.addr || addr-s.addr < s.size)
		}, nil
	}
	if _, err := path.Match(p, ""); err != nil {
		return nil, diag.New(diag.ErrUsage, "", "%s is no pattern", diag.Quote(p))
	}
	return func(s *symbol) bool {
		ok, _ := path.Match(p, s.name)
		return ok && s.typ != "section"
	}, nil
}

func (k *Kernel) symInfo(m *module, s *symbol) SymInfo {
	info := SymInfo{Name: s.name, Addr: Addr(s.addr), Size: s.size, Module: m.name, Type: s.typ, Bind: s.bind, Section: s.section}
	if slot, ok := k.stacks.Lookup(s.name); ok && s.bind != "local" && s.bind != "private" {
		info.Current = k.stacks.Current(slot).Module == m.id
	}
	return info
}

// providerAddr returns where a provider is; 0 for none.
func (k *Kernel) providerAddr(p aliasstack.Provider) uint64 {
	m := k.modules[p.Module]
	if m == nil {
		return 0
	}
	addr, _, _ := m.lm.Own(m.offers[p.Offer], m.at)
	return addr
}
