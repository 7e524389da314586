package kernel

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"klink/internal/aliasstack"
	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/patch"
)

// superPrefix is what a layer puts before S to call the layer below.
const superPrefix = "super_"

// List describes every module, in the order of loading, without its provides, needs
// and sections.
func (k *Kernel) List() []ModuleInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := []ModuleInfo{}
	for _, m := range k.inOrder() {
		list = append(list, m.brief())
	}
	for _, m := range k.initing {
		list = append(list, m.brief())
	}
	if k.live.lost() != nil {
		for i := range list {
			list[i].State = stateLost
		}
	}
	return list
}

// brief describes a module in numbers.
func (m *module) brief() ModuleInfo {
	info := ModuleInfo{Name: m.name, State: m.state}
	for _, o := range m.objects {
		info.Files = append(info.Files, o.Name())
	}
	for r, span := range []*SpanInfo{&info.Text, &info.Tables, &info.Data} {
		*span = SpanInfo{Addr(m.at[r]), m.lm.Size[r]}
	}
	_, got := m.lm.GOT()
	info.Count = ModuleCounts{Provides: len(m.offers), Sites: m.nsites, Relocs: m.lm.Relocs, Veneers: len(m.lm.Veneers()), GOT: int(got / 8)}
	for i := range m.lm.Names {
		if n := &m.lm.Names[i]; n.Uses != 0 && (n.Bind == link.Stack || n.Bind == link.Super) {
			info.Count.Needs++
		}
	}
	return info
}

// Info describes one module, named or by the path of a file of its, in full.
func (k *Kernel) Info(name string) (*ModuleInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, err := k.find(name)
	if err != nil {
		return nil, err
	}
	info := m.brief()
	users := map[aliasstack.ModuleID]bool{}
	for i, id := range m.offers {
		n := &m.lm.Names[id]
		addr, _, _ := m.lm.Own(id, m.at)
		slot, _ := k.stacks.Lookup(n.Name)
		cur := k.stacks.Current(slot)
		info.Provides = append(info.Provides, ProvideInfo{n.Name, n.Kind.String(), n.Class.String(), Addr(addr),
			cur.Module == m.id && cur.Offer == int32(i)})
		if cur.Module == m.id {
			for _, u := range k.stacks.Users(slot) {
				users[u] = u != m.id
			}
		}
	}
	sort.Slice(info.Provides, func(i, j int) bool { return info.Provides[i].Symbol < info.Provides[j].Symbol })
	for i := range m.lm.Names {
		if n := &m.lm.Names[i]; n.Uses != 0 && (n.Bind == link.Stack || n.Bind == link.Super) {
			info.Needs = append(info.Needs, n.Name)
		}
	}
	sort.Strings(info.Needs)
	info.Absent = append(info.Absent, m.absent...)
	for u, is := range users {
		if is {
			info.UsedBy = append(info.UsedBy, k.modules[u].name)
		}
	}
	sort.Strings(info.UsedBy)
	for oi, o := range m.objects {
		for si := range o.Sections {
			if r, off, kept := m.lm.Section(oi, si); kept {
				info.Sections = append(info.Sections, SectionInfo{o.Name(), o.Sections[si].Name, Addr(m.at[r] + off), o.Sections[si].Size})
			}
		}
	}
	slices.SortStableFunc(info.Sections, func(a, b SectionInfo) int { return cmp.Compare(a.Addr, b.Addr) })
	return &info, nil
}

// calls counts the sites of a slot, entries left out.
func (k *Kernel) calls(s aliasstack.SlotID) int {
	n := k.sites.Count(uint32(s))
	if _, ok := k.entries.at[s]; ok && n > 0 {
		n--
	}
	return n
}

// Alias describes the stacks of symbols: those named; with all every one that
// anybody provides; else those with more than one provider.
func (k *Kernel) Alias(symbols []string, all bool) ([]AliasInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs diag.List
	named := len(symbols) > 0
	if !named {
		symbols = k.stacks.Names()
	}
	list := []AliasInfo{}
	names := k.names()
	for _, name := range symbols {
		slot, ok := k.stacks.Lookup(name)
		stack := []aliasstack.Provider{}
		if ok {
			stack = k.stacks.Stack(slot)
		}
		switch {
		case named && len(stack) == 0:
			errs.Add(diag.New(diag.ErrNotFound, "", "nobody provides %s", diag.Quote(name)))
		case named, all && len(stack) > 0, len(stack) > 1:
			list = append(list, k.aliasInfo(names, name, slot, stack))
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return list, nil
}

func (k *Kernel) aliasInfo(names *names, name string, slot aliasstack.SlotID, stack []aliasstack.Provider) AliasInfo {
	info := AliasInfo{Symbol: name, Class: stack[0].Class.String(), Entry: Addr(k.entries.at[slot]), Sites: k.calls(slot)}
	for _, u := range k.stacks.Users(slot) {
		info.Users = append(info.Users, k.modules[u].name)
	}
	sort.Strings(info.Users)
	above := 0 // super_ sites of the layer above
	for _, p := range stack {
		m := k.modules[p.Module]
		addr := k.providerAddr(p)
		ap := AliasProvider{Module: m.name, Kind: p.Kind.String(), Addr: Addr(addr), Name: names.other(m, addr, name), Current: p == k.stacks.Current(slot), Super: above, Sites: above}
		if ap.Current {
			ap.Sites += info.Sites
		}
		above = k.superCalls(p.Module, name)
		info.Providers = append(info.Providers, ap)
	}
	return info
}

// superCalls counts the sites through which a module calls the layer below.
func (k *Kernel) superCalls(id aliasstack.ModuleID, name string) int {
	for _, s := range k.stacks.Supers(id) {
		if n, _ := k.stacks.SlotName(s); n == name {
			return k.calls(s)
		}
	}
	return 0
}

// Sites lists sites, sorted by address: those that refer to one of the symbols
// (super_S means that of every layer), or all; in the text of one module, or of all
// with the entries.
func (k *Kernel) Sites(r SitesRequest) ([]SiteInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var in *module
	if r.Module != "" {
		m, err := k.find(r.Module)
		if err != nil {
			return nil, err
		}
		in = m
	}
	slots, err := k.siteSlots(r.Symbols, in)
	if err != nil {
		return nil, err
	}
	list := []SiteInfo{}
	names := k.names()
	for _, s := range slots {
		show := func(owner uint32, sites []patch.Site) {
			m := k.owner(aliasstack.ModuleID(owner))
			for _, site := range sites {
				list = append(list, k.siteInfo(names, s, m, site))
			}
		}
		if in == nil {
			k.sites.Each(uint32(s), show)
		} else {
			show(uint32(in.id), k.sites.Sites(uint32(in.id), uint32(s)))
		}
	}
	slices.SortFunc(list, func(a, b SiteInfo) int { return cmp.Compare(a.Addr, b.Addr) })
	return list, nil
}

// siteSlots returns the slots of the symbols, each once; if none is named, all that
// have sites in the module, or anywhere if it is nil.
func (k *Kernel) siteSlots(symbols []string, in *module) ([]aliasstack.SlotID, error) {
	if len(symbols) == 0 && in != nil {
		return in.slots, nil
	}
	seen := map[aliasstack.SlotID]bool{}
	var slots []aliasstack.SlotID
	add := func(s aliasstack.SlotID) {
		if !seen[s] {
			seen[s] = true
			slots = append(slots, s)
		}
	}
	if len(symbols) == 0 {
		for _, m := range k.inOrder() {
			for _, s := range m.slots {
				add(s)
			}
		}
		for s := range k.entries.at {
			add(s)
		}
		return slots, nil
	}
	var errs diag.List
	for _, name := range symbols {
		slot, known := k.stacks.Lookup(name)
		known = known && (k.stacks.Current(slot).Module != 0 || k.sites.Count(uint32(slot)) > 0)
		if known {
			add(slot)
		}
		if s, isSuper := strings.CutPrefix(name, superPrefix); isSuper {
			for _, m := range k.inOrder() {
				for _, ss := range k.stacks.Supers(m.id) {
					if n, _ := k.stacks.SlotName(ss); n == s {
						add(ss)
						known = true
					}
				}
			}
		}
		if !known {
			errs.Add(diag.New(diag.ErrNotFound, "", "nobody provides or calls %s", diag.Quote(name)))
		}
	}
	return slots, errs.Err()
}

// siteInfo reads a site as it stands.
func (k *Kernel) siteInfo(names *names, slot aliasstack.SlotID, m *module, site patch.Site) SiteInfo {
	name, _ := k.stacks.SlotName(slot)
	info := SiteInfo{Addr: Addr(site.Addr), In: "entry", Form: site.Form.String(), Symbol: k.refName(slot)}
	if m != nil {
		info.Module = m.name
		info.In = names.in(m, site.Addr)
	}
	target, ok := site.Form.Target(k.arena.Bytes(site.Addr, uint64(site.Form.Len())), site.Addr)
	if !ok {
		return info // a trap: nobody provides it
	}
	if target == site.Veneer && site.Veneer != 0 {
		info.Veneer = Addr(target)
		target, _ = farTarget(k.arena.Bytes(target, veneerLen), target)
	}
	info.Target = Addr(target)
	t := names.module(target)
	if p := k.stacks.Current(slot); k.providerAddr(p) == target && k.modules[p.Module] != nil {
		t = k.modules[p.Module] // whose a place is tells no more if it is behind the last byte: a label there
	}
	if t != nil {
		info.Provider = t.name
		info.Name = names.other(t, target, name)
		if info.Name == "" {
			info.Name = name
		}
	}
	return info
}
