package kernel

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"klink/internal/aliasstack"
	"klink/internal/diag"
	"klink/internal/insn"
)

// entrySuffix follows the name of the symbol whose entry is meant.
const entrySuffix = "@entry"

// maxListing bounds one disassembly, bytes of text.
const maxListing = 1 << 20

// Disassemble lists one function as it stands in the arena: what is "f" (the current
// provider of f, else the only function of that name), "module:f", an address
// "0x…" in the function, or "f@entry", the canonical address.
func (k *Kernel) Disassemble(what string) (*Listing, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := k.names()
	if name, ok := strings.CutSuffix(what, entrySuffix); ok {
		return k.listEntry(names, name)
	}
	m, s, err := k.function(names, what)
	if err != nil {
		return nil, err
	}
	l := &Listing{Module: m.name, Func: s.name, Addr: Addr(s.addr), Size: s.size}
	sites := k.sitesIn(m, s.addr, s.addr+s.size)
	l.Lines = k.lines(names, s.addr, s.size, sites)
	return l, nil
}

// function finds the function that a user names.
func (k *Kernel) function(names *names, what string) (*module, *symbol, error) {
	if strings.HasPrefix(what, "0x") {
		addr, err := strconv.ParseUint(what, 0, 64)
		if err != nil {
			return nil, nil, diag.New(diag.ErrUsage, "", "%s is no address", diag.Quote(what))
		}
		if m := names.module(addr); m != nil {
			if s := names.function(m, func(s *symbol) bool { return addr >= s.addr && addr-s.addr < max(s.size, 1) }); s != nil {
				return m, s, nil
			}
		}
		return nil, nil, diag.New(diag.ErrNotFound, "", "no function at %s", what)
	}
	if mod, f, ok := strings.Cut(what, ":"); ok && k.byName[mod] != nil {
		m := k.byName[mod]
		if s := names.function(m, func(s *symbol) bool { return s.name == f }); s != nil {
			return m, s, nil
		}
		return nil, nil, diag.New(diag.ErrNotFound, "", "no function %s in %s", diag.Quote(f), diag.Escape(mod))
	}
	if slot, ok := k.stacks.Lookup(what); ok {
		if p := k.stacks.Current(slot); p.Module != 0 && p.Class == aliasstack.Func {
			m, addr := k.modules[p.Module], k.providerAddr(p)
			if s := names.function(m, func(s *symbol) bool { return s.addr == addr }); s != nil {
				return m, s, nil
			}
		}
	}
	var found *module
	var sym *symbol
	for _, m := range k.inOrder() {
		if s := names.function(m, func(s *symbol) bool { return s.name == what }); s != nil {
			if found != nil {
				return nil, nil, diag.New(diag.ErrUsage, "", "%s is in %s and in %s: say which as MODULE:FUNCTION", diag.Quote(what), diag.Escape(found.name), diag.Escape(m.name))
			}
			found, sym = m, s
		}
	}
	if found == nil {
		return nil, nil, diag.New(diag.ErrNotFound, "", "no function %s", diag.Quote(what))
	}
	return found, sym, nil
}

// function returns the first code symbol of a module that matches, its size being
// what it covers.
func (n *names) function(m *module, match func(*symbol) bool) *symbol {
	for _, s := range n.symbols(m) {
		if !s.code || s.typ == "section" {
			continue
		}
		s.size = s.extent
		if match(&s) {
			s.size = min(s.size, maxListing)
			return &s
		}
	}
	return nil
}

// listEntry lists the entry of a symbol.
func (k *Kernel) listEntry(names *names, name string) (*Listing, error) {
	slot, ok := k.stacks.Lookup(name)
	at, has := k.entries.at[slot]
	if !ok || !has {
		return nil, diag.New(diag.ErrNotFound, "", "%s has no entry: nobody takes its address", diag.Quote(name))
	}
	l := &Listing{Func: name + entrySuffix, Addr: Addr(at), Size: uint64(k.entries.form.Len())}
	l.Lines = k.lines(names, at, l.Size, map[uint64]string{at: name})
	return l, nil
}

// sitesIn returns the sites of a module in a range of addresses and what each refers to.
func (k *Kernel) sitesIn(m *module, lo, hi uint64) map[uint64]string {
	in := map[uint64]string{}
	for _, slot := range m.slots {
		name := k.refName(slot)
		for _, s := range k.sites.Sites(uint32(m.id), uint32(slot)) {
			if s.Addr >= lo && s.Addr < hi {
				in[s.Addr] = name
			}
		}
	}
	return in
}

// lines disassembles a range, resolving what branches lead to.
func (k *Kernel) lines(names *names, addr, size uint64, sites map[uint64]string) []InstInfo {
	var out []InstInfo
	entries := sync.OnceValue(k.entryNames)
	code := k.arena.Bytes(addr, size)
	for _, in := range insn.Disassemble(k.machine, code, addr, nil) {
		at := addr + in.Off
		line := InstInfo{Addr: Addr(at), Bytes: fmt.Sprintf("%x", in.Bytes), Text: in.Text, Symbol: sites[at]}
		if in.HasTarget {
			to := in.Target
			if symbol, dest, ok := k.behindVeneer(names, to); ok {
				line.Symbol, to = symbol, dest
			}
			if t := names.module(to); t != nil {
				line.Module, line.Target = t.name, names.in(t, to)
				if name := names.other(t, to, strings.TrimPrefix(line.Symbol, "super_")); line.Symbol != "" && name != "" {
					line.Target = name // the implementation behind the alias
				}
			} else {
				line.Target = entries()[to]
			}
		}
		out = append(out, line)
	}
	return out
}

// behindVeneer returns where the veneer at an address leads, and for which symbol;
// ok is false if there is none.
func (k *Kernel) behindVeneer(names *names, addr uint64) (symbol string, dest uint64, ok bool) {
	m := names.module(addr)
	if m == nil {
		return "", 0, false
	}
	symbol, ok = strings.CutSuffix(names.in(m, addr), veneerSuffix)
	if !ok {
		return "", 0, false
	}
	dest, ok = farTarget(k.arena.Bytes(addr, veneerLen), addr)
	return symbol, dest, ok
}

// entryNames returns what each entry is called, by its address: "f@entry",
// "super_f@entry".
func (k *Kernel) entryNames() map[uint64]string {
	names := make(map[uint64]string, len(k.entries.at))
	for s, at := range k.entries.at {
		names[at] = k.refName(s) + entrySuffix
	}
	return names
}

// refName returns how references name a slot: "f", or "super_f".
func (k *Kernel) refName(s aliasstack.SlotID) string {
	name, super := k.stacks.SlotName(s)
	if super != 0 {
		return superPrefix + name
	}
	return name
}
