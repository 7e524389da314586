package kernel

import (
	"slices"
	"strings"
	"unicode/utf8"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
)

// batch is the modules that one command links together, on their way from files to
// bytes. The host and `klink link` share it; they differ in where modules lie and
// in what becomes of names that nobody provides.
type batch struct {
	machine arch.Machine
	stacks  *aliasstack.Table
	loaded  map[aliasstack.ModuleID]*module // those that were there before
	fresh   []*module
	byID    map[aliasstack.ModuleID]*module // fresh ones
	change  *aliasstack.Change
	was     map[aliasstack.SlotID]aliasstack.Provider // who provided the slots that get another provider, where somebody did

	define map[string]uint64              // values of missing names
	trap   bool                           // missing names get trap entries
	static bool                           // bind to definitions, no entries
	entry  func(aliasstack.SlotID) uint64 // canonical address of a slot that wantEntries named
}

// read parses and gathers the specs, all modules at the same time. far says whether
// direct branches may have to reach further than they can, given the bytes of text;
// distant has the names that may lie out of their reach whatever the text.
func read(specs []ModuleSpec, mem memory, static bool, far func(m arch.Machine, text uint64) bool, distant map[string]bool) ([]*module, error) {
	objects := make([][]*elfload.Object, len(specs))
	err := parallel(len(specs), func(i int) (err error) {
		objects[i], err = readObjects(specs[i], mem)
		return err
	})
	if err != nil {
		return nil, err
	}
	text := uint64(0)
	for _, list := range objects {
		for _, o := range list {
			text += textSize(o)
		}
	}
	mods := make([]*module, len(specs))
	err = parallel(len(specs), func(i int) error {
		name := moduleName(specs[i])
		lm, err := link.Gather(link.Unit{
			Name: name, Objects: objects[i], Private: specs[i].Private, Static: static, Far: far(objects[i][0].Machine, text), Distant: distant,
		})
		if err == nil {
			name = nameOf(specs[i], lm)
		}
		mods[i] = &module{name: name, state: stateLoading, files: specs[i].Files, spec: specs[i], lm: lm, objects: objects[i]}
		return err
	})
	return mods, err
}

// file returns the name of a module's first file, for messages.
func (m *module) file() string {
	if len(m.files) == 0 {
		return ""
	}
	return m.files[0].Name
}

// sound checks what the user says of modules: names that commands can tell apart
// and from paths, and private names that somebody defines.
func sound(fresh []*module) error {
	var errs diag.List
	names := map[string]bool{}
	for _, m := range fresh {
		switch {
		case m.name == "" || strings.ContainsAny(m.name, "/:") || !utf8.ValidString(m.name):
			errs.Add(diag.New(diag.ErrUsage, m.file(), "%s is no name for a module: it must not be empty or have / or : in it; --as gives another", diag.Quote(m.name)))
		case names[m.name]:
			errs.Add(diag.New(diag.ErrConflict, m.file(), "two modules of one command are named %s", diag.Quote(m.name)))
		}
		names[m.name] = true
		for _, private := range m.spec.Private {
			if !slices.ContainsFunc(fresh, func(o *module) bool { return o.defines(private) }) {
				errs.Add(diag.New(diag.ErrNotFound, "", "--private %s: no module of this command defines it", diag.Escape(private)))
			}
		}
	}
	return errs.Err()
}

// defines says that a module has a definition of a name.
func (m *module) defines(name string) bool {
	id, ok := m.lm.Lookup(name)
	return ok && m.lm.Names[id].Defined()
}

// textSize returns the bytes of an object's executable sections.
func textSize(o *elfload.Object) (n uint64) {
	for i := range o.Sections {
		if s := &o.Sections[i]; s.Flags&elfload.Exec != 0 && s.Type != elfload.Nobits {
			n += s.Size
		}
	}
	return n
}

// number gives the fresh modules their ids, counting from next.
func (b *batch) number(next aliasstack.ModuleID) {
	b.byID = make(map[aliasstack.ModuleID]*module, len(b.fresh))
	for i, m := range b.fresh {
		m.id = next + aliasstack.ModuleID(i)
		b.byID[m.id] = m
	}
}

// module returns a fresh or loaded module.
func (b *batch) module(id aliasstack.ModuleID) *module {
	if m := b.byID[id]; m != nil {
		return m
	}
	return b.loaded[id]
}

// plan asks the alias stacks what the fresh modules would change. Refusals of the
// stacks and names that nobody provides are reported together.
func (b *batch) plan() error {
	reqs := make([]aliasstack.Request, len(b.fresh))
	data := b.dataDefinitions()
	for i, m := range b.fresh {
		reqs[i] = b.request(m, data)
	}
	c, err := b.stacks.PlanLoad(reqs, aliasstack.LoadOptions{KeepMissing: b.trap})
	b.change = c
	var errs diag.List
	errs.Add(err)
	errs.Add(b.missing())
	if err := errs.Err(); err != nil {
		return err
	}
	b.was = map[aliasstack.SlotID]aliasstack.Provider{}
	for _, mv := range c.Moves() {
		if leads(mv.From) {
			b.was[mv.Slot] = mv.From
		}
		if m := b.loaded[mv.From.Module]; m != nil && b.stacks.Kept(m.id) {
			// Its own calls by that name would be led into modules that are not ready.
			name, _ := b.slotName(mv.Slot)
			errs.Add(diag.New(diag.ErrBusy, b.module(mv.To.Module).file(), "%s is provided by %s alone, which is %s", diag.Quote(name), diag.Escape(m.name), m.state))
		}
	}
	if err := errs.Err(); err != nil {
		return err
	}
	for _, a := range c.Absent() {
		m := b.byID[a.Module]
		if id, _ := m.lm.Lookup(a.Name); m.lm.Names[id].Weak { // else only unwind tables name it: nobody misses it
			m.absent = append(m.absent, a.Name)
		}
	}
	return parallel(len(b.fresh), func(i int) error {
		b.findSlots(b.fresh[i])
		return nil
	})
}

// before returns what a slot leads to until the switch: the provider that it had. A
// slot that nobody provided leads to the fresh module at once, so that the module can
// call itself by name.
func (b *batch) before(s aliasstack.SlotID) aliasstack.Provider {
	if p, ok := b.was[s]; ok {
		return p
	}
	return b.current(s)
}

// current returns the provider that fresh modules find in a slot: none if only modules
// that have left provide it.
func (b *batch) current(s aliasstack.SlotID) aliasstack.Provider {
	if !b.change.Provided(s) {
		return aliasstack.Provider{}
	}
	return b.change.Current(s)
}

// missing returns the errors for names that the fresh modules need and nobody
// provides; nil if there are none.
func (b *batch) missing() error {
	var errs diag.List
	if b.change == nil {
		return nil
	}
	for _, miss := range b.change.Missing() {
		lm := b.byID[miss.Module].lm
		id, _ := lm.Lookup(miss.Name)
		errs.Add(lm.Missing(id))
	}
	return errs.Err()
}

// dataDef is a data definition in the batch: whose, and how large.
type dataDef struct {
	owner  *module
	size   uint64
	common bool
}

// dataDefinitions finds, for COMMON symbols to bind to, the best definition of each
// data name among the fresh modules: a real one before a COMMON one, then the first.
func (b *batch) dataDefinitions() map[string]dataDef {
	defs := map[string]dataDef{}
	for _, m := range b.fresh {
		for _, c := range m.lm.Commons() {
			defs[c.Name] = dataDef{}
		}
	}
	if len(defs) == 0 {
		return nil
	}
	for _, m := range b.fresh {
		for _, id := range m.lm.Offers() {
			n := &m.lm.Names[id]
			old, wanted := defs[n.Name]
			if !wanted || n.Class != aliasstack.Data {
				continue
			}
			_, size, _ := m.lm.Own(id, m.at)
			_, common := m.lm.IsCommon(id)
			if old.owner == nil || old.common && !common {
				defs[n.Name] = dataDef{m, size, common}
			}
		}
	}
	return defs
}

// bindsElsewhere says that a COMMON symbol of m is an existing object of its name.
func (b *batch) bindsElsewhere(m *module, id link.NameID, data map[string]dataDef) bool {
	size, common := m.lm.IsCommon(id)
	if !common {
		return false
	}
	name := m.lm.Names[id].Name
	if slot, ok := b.stacks.Lookup(name); ok && b.stacks.Provided(slot) {
		if p := b.stacks.Current(slot); p.Module != 0 && p.Class == aliasstack.Data {
			owner := b.loaded[p.Module]
			_, have, _ := owner.lm.Own(owner.offers[p.Offer], owner.at)
			return have >= size
		}
	}
	d := data[name]
	return d.owner != nil && d.owner != m && d.size >= size
}

// request lists what a fresh module offers and needs.
func (b *batch) request(m *module, data map[string]dataDef) aliasstack.Request {
	req := aliasstack.Request{ID: m.id, Name: m.name}
	req.File = m.file()
	req.Requires = b.requiredBy(m)
	m.offers = m.offers[:0]
	for _, id := range m.lm.Offers() {
		if n := &m.lm.Names[id]; !b.bindsElsewhere(m, id, data) {
			m.offers = append(m.offers, id)
			req.Offers = append(req.Offers, aliasstack.Offer{Name: n.Name, Kind: n.Kind, Class: n.Class})
		}
	}
	for i := range m.lm.Names {
		n := &m.lm.Names[i]
		switch {
		case n.Uses == 0:
		case n.Bind == link.Stack:
			if _, ok := b.define[n.Name]; !ok || n.Defined() {
				req.Needs = append(req.Needs, aliasstack.Need{Name: n.Name, Weak: b.mayBeAbsent(n)})
			}
		case n.Bind == link.Super:
			req.Supers = append(req.Supers, n.Of)
		}
	}
	return req
}

// requiredBy returns the modules that m's MODULE record requires, as far as they are there.
func (b *batch) requiredBy(m *module) []aliasstack.ModuleID {
	var ids []aliasstack.ModuleID
	for _, name := range m.required() {
		for _, o := range b.fresh {
			if o.name == name {
				ids = append(ids, o.id)
			}
		}
		for id, o := range b.loaded {
			if o.name == name {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// weakly says that a name may be absent: all references are weak, or only unwind
// tables name it.
func weakly(n *link.Name) bool { return n.Weak || n.Uses&link.UsedStrictly == 0 }

// mayBeAbsent is weakly, except that with trap entries for missing names only what
// is weak by its symbol stays absent.
func (b *batch) mayBeAbsent(n *link.Name) bool { return n.Weak || !b.trap && weakly(n) }

// findSlots notes for every name of a fresh module which slot it follows, 0 if none.
func (b *batch) findSlots(m *module) {
	m.follows = make([]aliasstack.SlotID, len(m.lm.Names))
	for i := range m.lm.Names {
		switch n := &m.lm.Names[i]; {
		case n.Uses == 0:
		case n.Bind == link.Stack:
			m.follows[i], _ = b.change.Slot(n.Name)
		case n.Bind == link.Super:
			m.follows[i], _ = b.change.Super(m.id, n.Of)
		}
	}
}

// wantEntries lists the slots whose canonical address the fresh modules take, each
// once, in the order of modules and names.
func (b *batch) wantEntries() []aliasstack.SlotID {
	seen := map[aliasstack.SlotID]bool{}
	var slots []aliasstack.SlotID
	for _, m := range b.fresh {
		for i := range m.lm.Names {
			n, s := &m.lm.Names[i], m.follows[i]
			if s == 0 || seen[s] {
				continue
			}
			p := b.current(s)
			switch {
			case p.Module == 0 && b.mayBeAbsent(n):
				continue // absent
			case p.Module != 0 && (p.Class == aliasstack.Data || n.Uses&link.UsedByAddress == 0 || b.static):
				continue
			}
			seen[s] = true
			slots = append(slots, s)
		}
	}
	return slots
}

// address returns where a provider is, and its size.
func (b *batch) address(p aliasstack.Provider) (addr, size uint64) {
	if p.Module == 0 {
		return 0, 0
	}
	m := b.module(p.Module)
	addr, size, _ = m.lm.Own(m.offers[p.Offer], m.at)
	return addr, size
}

// answers says what each name of a fresh module means.
func (b *batch) answers(m *module) []link.Answer {
	answers := make([]link.Answer, len(m.lm.Names))
	for i := range m.lm.Names {
		n := &m.lm.Names[i]
		if n.Uses != 0 && (n.Bind == link.Stack || n.Bind == link.Super) {
			answers[i] = b.answer(m, link.NameID(i))
		}
	}
	return answers
}

func (b *batch) answer(m *module, id link.NameID) link.Answer {
	n := &m.lm.Names[id]
	if b.static && n.Defined() {
		addr, size, _ := m.lm.Own(id, m.at)
		return link.Answer{Branch: addr, Address: addr, Size: size}
	}
	slot := m.follows[id]
	p := aliasstack.Provider{}
	if slot != 0 {
		p = b.before(slot)
	}
	addr, size := b.address(p)
	switch {
	case p.Module == 0:
		if v, ok := b.define[n.Name]; ok {
			return link.Answer{Branch: v, Address: v}
		}
		if b.mayBeAbsent(n) {
			return link.Answer{Absent: true}
		}
		e := b.entry(slot)
		return link.Answer{Branch: e, Address: e, Slot: slot}
	case p.Class == aliasstack.Data:
		return link.Answer{Branch: addr, Address: addr, Size: size}
	case b.static:
		return link.Answer{Branch: addr, Address: addr, Size: size}
	}
	a := link.Answer{Branch: addr, Size: size, Slot: slot, Other: p.Module != m.id}
	if n.Uses&link.UsedByAddress != 0 {
		a.Address = b.entry(slot)
	}
	return a
}

// apply links every fresh module into the memory that out gives for it.
func (b *batch) apply(out func(m *module) [link.Regions][]byte) error {
	return parallel(len(b.fresh), func(i int) error {
		m := b.fresh[i]
		res, err := m.lm.Apply(&link.Input{At: m.at, Answers: b.answers(m), Static: b.static}, out(m))
		if err != nil {
			return err
		}
		m.result, m.nsites = res, len(res.Sites)
		return nil
	})
}
