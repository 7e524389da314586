package oracle

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"sort"
	"strings"
)

// Compare links the object objPath with ld at the addresses of
// dumpDir/layout.json and compares every allocated section of the dump with
// ld's bytes. The dump holds this one object; of an archive, extract the members
// first. An error means that no comparison took place; differences are in the
// Result. Safe for concurrent use.
func Compare(ctx context.Context, ld Linker, objPath, dumpDir string) (*Result, error) {
	layout, err := readLayout(dumpDir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(objPath)
	if err != nil {
		return nil, err
	}
	if layout.Live && len(layout.Objects) == 1 {
		if data, err = liveForm(ld, data, layout, dumpDir); err != nil {
			return nil, fmt.Errorf("%s: %w", objPath, err)
		}
	}
	c, err := newComparison(ld, data, layout, dumpDir)
	if err == nil {
		err = c.jumps(layout)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", objPath, err)
	}
	if err := c.link(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", objPath, err)
	}
	for _, s := range c.sections {
		if err := c.section(s); err != nil {
			return nil, fmt.Errorf("%s: %w", objPath, err)
		}
	}
	c.halves()
	c.result.Slots = len(c.reached)
	c.result.SlotsMade = len(c.gotBytes) / 8
	return &c.result, nil
}

// comparison is the state of one Compare.
type comparison struct {
	ld       Linker
	data     []byte
	obj      *object
	layout   Object
	dir      string
	got      GOT
	gotBytes []byte
	sections []Section
	at       map[int]uint64    // section index → address
	stubs    map[int]uint64    // symbol index of an IFUNC → address of its stub
	names    map[string]uint64 // what the object does not define: externals, COMMON, bounds
	reached  map[uint64]bool   // GOT slots that fields led to
	absent   map[string]bool   // those of names that nobody defines
	out      map[string]*elf.Section
	pages    map[slotKey][]half
	lows     map[slotKey][]half
	result   Result
}

func newComparison(ld Linker, data []byte, l *Layout, dir string) (*comparison, error) {
	if len(l.Objects) != 1 || len(l.GOTs) > 1 {
		return nil, fmt.Errorf("layout.json has %d objects and %d GOTs, want one object", len(l.Objects), len(l.GOTs))
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if f.Machine != ld.machine {
		return nil, fmt.Errorf("object of %v, linker for %v", f.Machine, ld.machine)
	}
	obj, err := parse(f)
	if err != nil {
		return nil, err
	}
	c := &comparison{
		ld: ld, data: data, obj: obj, layout: l.Objects[0], dir: dir,
		at: map[int]uint64{}, stubs: map[int]uint64{}, names: map[string]uint64{}, absent: map[string]bool{}, reached: map[uint64]bool{},
		out:   map[string]*elf.Section{},
		pages: map[slotKey][]half{}, lows: map[slotKey][]half{},
	}
	c.result.Types = map[uint32]int{}
	if len(l.GOTs) == 1 {
		c.got = l.GOTs[0]
		if c.gotBytes, err = contents(dir, c.got.File, uint64(c.got.Size)); err != nil {
			return nil, err
		}
	}
	if err := c.place(); err != nil {
		return nil, err
	}
	for _, s := range c.layout.IFuncs {
		if s.Symbol <= 0 || s.Symbol >= len(c.obj.symbols) {
			return nil, fmt.Errorf("layout.json: no symbol %d in the object", s.Symbol)
		}
		c.stubs[s.Symbol] = uint64(s.Addr)
	}
	for i, s := range c.obj.symbols {
		if _, ok := c.stubs[i]; !ok && elf.ST_TYPE(s.Info) == elf.STT_GNU_IFUNC && s.Section != elf.SHN_UNDEF {
			return nil, fmt.Errorf("layout.json has no stub for the IFUNC %s", s.Name)
		}
	}
	c.apart()
	return c, c.define(l.Externals)
}

// place checks the layout's sections against the object's and fills in at.
func (c *comparison) place() error {
	c.sections = append(c.sections, c.layout.Sections...)
	sort.Slice(c.sections, func(i, j int) bool { return c.sections[i].Index < c.sections[j].Index })
	for _, s := range c.sections {
		if s.Index <= 0 || s.Index >= len(c.obj.file.Sections) {
			return fmt.Errorf("layout.json: no section %d in the object", s.Index)
		}
		if _, twice := c.at[s.Index]; twice {
			return fmt.Errorf("layout.json: section %d twice", s.Index)
		}
		c.at[s.Index] = uint64(s.Addr)
	}
	for i, s := range c.obj.file.Sections {
		addr, ok := c.at[i]
		if !ok && s.Flags&elf.SHF_ALLOC != 0 && s.Flags&shfExclude == 0 && s.Size > 0 {
			c.result.Absent = append(c.result.Absent, fmt.Sprintf("%s[%d]", s.Name, i))
		}
		if ok && s.Addralign > 1 && addr%s.Addralign != 0 {
			c.differ(Difference{Section: fmt.Sprintf("%s[%d]", s.Name, i), What: "address",
				Want: fmt.Sprintf("a multiple of 0x%x", s.Addralign), Got: fmt.Sprintf("0x%x", addr)})
		}
	}
	return nil
}

// apart requires that no two of the sections, COMMON symbols, stubs and the GOT share a
// byte. Of a stub only the first is known to be one.
func (c *comparison) apart() {
	var all []place
	for _, s := range c.sections {
		all = append(all, place{fmt.Sprintf("%s[%d]", s.Name, s.Index), uint64(s.Addr), uint64(s.Size)})
	}
	for _, s := range c.layout.Commons {
		all = append(all, place{s.Name, uint64(s.Addr), uint64(s.Size)})
	}
	for i, addr := range c.stubs {
		all = append(all, place{"the stub of " + c.obj.symbols[i].Name, addr, 1})
	}
	all = append(all, place{"the GOT", uint64(c.got.Addr), uint64(len(c.gotBytes))})
	sort.SliceStable(all, func(i, j int) bool { return all[i].addr < all[j].addr })
	end, last := uint64(0), ""
	for _, p := range all {
		if p.size == 0 {
			continue
		}
		if p.addr < end {
			c.differ(Difference{Section: p.name, What: "address", Want: "not in " + last, Got: fmt.Sprintf("0x%x", p.addr)})
		}
		end, last = p.addr+p.size, p.name
	}
}

// define fills in names. A weak undefined symbol without an address in the layout is
// 0; a strong one is an error.
func (c *comparison) define(externals []External) error {
	for _, e := range externals {
		c.names[e.Name] = uint64(e.Addr)
	}
	for _, e := range c.layout.Commons {
		c.names[e.Name] = uint64(e.Addr)
	}
	var missing []string
	for _, s := range c.obj.symbols[1:] {
		if !c.elsewhere(s) || s.Name == "" {
			continue
		}
		if _, ok := c.names[s.Name]; ok || s.Name == "_GLOBAL_OFFSET_TABLE_" {
			continue
		}
		switch addr, ok := c.bound(s.Name); {
		case ok:
			c.names[s.Name] = addr
		case elf.ST_BIND(s.Info) == elf.STB_WEAK:
			c.names[s.Name] = 0
			c.absent[s.Name] = true
		case c.used(s.Name):
			missing = append(missing, s.Name)
		}
	}
	// Any linker may define this one; ld does so itself.
	delete(c.names, "_GLOBAL_OFFSET_TABLE_")
	if len(missing) > 0 {
		return fmt.Errorf("layout.json has no address for %s", strings.Join(missing, ", "))
	}
	return nil
}

// elsewhere reports whether a symbol lies in no section of the object: undefined, or
// COMMON, for which x86-64 has a second index (psABI 4.2.1, SHN_X86_64_LCOMMON).
func (c *comparison) elsewhere(s elf.Symbol) bool {
	return s.Section == elf.SHN_UNDEF || s.Section == elf.SHN_COMMON || s.Section == 0xff02 && c.ld.machine == elf.EM_X86_64
}

// used reports whether a relocation of an allocated section needs the symbol's address;
// one that writes nothing (NONE) does not.
func (c *comparison) used(name string) bool {
	for _, rs := range c.obj.relocs {
		for _, r := range rs {
			if r.typ != 0 && c.obj.symbols[r.symbol].Name == name {
				return true
			}
		}
	}
	return false
}

// bound returns the address of __start_X or __stop_X, where X is the name of
// sections of the object.
func (c *comparison) bound(name string) (uint64, bool) {
	x, start := strings.CutPrefix(name, "__start_")
	x, stop := strings.CutPrefix(x, "__stop_")
	if start == stop {
		return 0, false
	}
	lowest, highest, found := uint64(0), uint64(0), false
	for _, s := range c.sections {
		if c.obj.file.Sections[s.Index].Name != x {
			continue
		}
		if !found || uint64(s.Addr) < lowest {
			lowest = uint64(s.Addr)
		}
		highest = max(highest, uint64(s.Addr+s.Size))
		found = true
	}
	if start {
		return lowest, found
	}
	return highest, found
}

// link runs ld and fills in out.
func (c *comparison) link(ctx context.Context) error {
	neutral, err := neutralise(c.data)
	if err != nil {
		return err
	}
	if err := c.settle(neutral); err != nil {
		return err
	}
	var places, symbols []place
	for _, s := range c.sections {
		places = append(places, place{sectionName(s.Index), uint64(s.Addr), uint64(s.Size)})
	}
	for name, addr := range c.names {
		// What an aarch64 reference to an undefined weak symbol is depends on the reference
		// (aaelf64 5.6.1), so it stays undefined for ld. x86-64's is 0, as anywhere else,
		// and ld would rewrite GOT loads of what is undefined.
		if !c.absent[name] || c.ld.machine != elf.EM_AARCH64 {
			symbols = append(symbols, place{name: name, addr: addr})
		}
	}
	sort.Slice(symbols, func(i, j int) bool { return symbols[i].name < symbols[j].name })
	script, err := makeScript(c.ld.machine, places, symbols, c.gotAddr())
	if err != nil {
		return err
	}
	f, log, err := c.ld.run(ctx, neutral, script)
	if err != nil {
		return err
	}
	c.result.Log = log
	for _, s := range f.Sections {
		c.out[s.Name] = s
	}
	return nil
}

// settle takes from ld's copy what two linkers may do in ways of their own: an IFUNC
// becomes an ordinary symbol at its stub's address, or wherever the one that defines it
// puts it, and a branch that must become a NOP is one already and has no relocation. The
// symbol stays in its section, wherever its value leads: GNU ld for aarch64 crashes over a
// branch to a local absolute one.
func (c *comparison) settle(neutral []byte) error {
	le := binary.LittleEndian
	for i, s := range c.obj.symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_GNU_IFUNC && s.Section == elf.SHN_UNDEF {
			neutral[c.obj.symtab+uint64(i)*symSize+symInfo] = s.Info&0xf0 | byte(elf.STT_FUNC)
		}
	}
	for i, addr := range c.stubs {
		sym := neutral[c.obj.symtab+uint64(i)*symSize:]
		sym[symInfo] = sym[symInfo]&0xf0 | byte(elf.STT_FUNC)
		if base, ok := c.at[int(c.obj.symbols[i].Section)]; ok {
			le.PutUint64(sym[symValue:], addr-base)
			continue
		}
		le.PutUint16(sym[symShndx:], uint16(elf.SHN_ABS))
		le.PutUint64(sym[symValue:], addr)
	}
	for _, rs := range c.obj.relocs {
		for _, r := range rs {
			if !c.nothingToCall(r) {
				continue
			}
			sec := c.obj.file.Sections[r.section]
			if sec.Type == elf.SHT_NOBITS || r.offset > sec.Size || sec.Size-r.offset < 4 {
				return fmt.Errorf("section %s: relocation at 0x%x beyond its end", sec.Name, r.offset)
			}
			le.PutUint32(neutral[sec.Offset+r.offset:], nop)
			le.PutUint32(neutral[r.record+relaInfo:], 0) // R_AARCH64_NONE
		}
	}
	return nil
}

// nothingToCall says that a relocation is an aarch64 branch to a weak symbol that
// nobody defines: a NOP, whatever the instruction was (aaelf64 5.7.6).
func (c *comparison) nothingToCall(r reloc) bool {
	return c.ld.machine == elf.EM_AARCH64 && arm64Branches[r.typ] && c.absent[c.obj.symbols[r.symbol].Name]
}

// gotAddr is where ld's GOT goes: at the loader's, or near the sections where
// the loader made none.
func (c *comparison) gotAddr() uint64 {
	if c.got.Addr != 0 {
		return uint64(c.got.Addr)
	}
	end := uint64(0)
	for _, s := range c.sections {
		end = max(end, uint64(s.Addr+s.Size))
	}
	return (end + 0x1fff) &^ 0xfff
}

// section compares one section: its address, size and bytes.
func (c *comparison) section(s Section) error {
	c.result.Sections++
	name := fmt.Sprintf("%s[%d]", s.Name, s.Index)
	relocs := c.obj.relocs[s.Index]
	c.result.Relocations += len(relocs)
	for _, r := range relocs {
		c.result.Types[r.typ]++
	}
	theirs := c.out[sectionName(s.Index)]
	if theirs == nil {
		return fmt.Errorf("ld's output has no section %d (%s): %s", s.Index, s.Name, firstLines(c.result.Log, 3))
	}
	if theirs.Addr != uint64(s.Addr) {
		return fmt.Errorf("ld put section %s at 0x%x, not at 0x%x: %s", name, theirs.Addr, uint64(s.Addr), firstLines(c.result.Log, 3))
	}
	if theirs.Size != uint64(s.Size) {
		c.differ(Difference{Section: name, What: "size",
			Want: fmt.Sprintf("0x%x", theirs.Size), Got: fmt.Sprintf("0x%x", uint64(s.Size))})
		return nil
	}
	c.result.Bytes += int64(theirs.Size)
	if s.File == "" && theirs.Type == elf.SHT_NOBITS && len(relocs) == 0 {
		return nil // zeros both: some tests have gigabytes of them
	}
	got, err := contents(c.dir, s.File, uint64(s.Size))
	if err != nil {
		return err
	}
	want := make([]byte, theirs.Size)
	if theirs.Type != elf.SHT_NOBITS {
		if want, err = theirs.Data(); err != nil {
			return fmt.Errorf("ld's section %s: %w", name, err)
		}
	}
	masked := make([]byte, len(got)) // bits that are not compared
	for _, r := range relocs {
		if err := c.mask(r, name, got, masked); err != nil {
			return err
		}
	}
	c.bytes(name, want, got, masked, relocs)
	return nil
}

// differ records a difference.
func (c *comparison) differ(d Difference) {
	c.result.Differences = append(c.result.Differences, d)
}

// bytes compares the bits that are not masked, and records each run of
// differing bytes, cut where a relocation's field begins.
func (c *comparison) bytes(name string, want, got, masked []byte, relocs []reloc) {
	fields := map[uint64]string{}
	begins := map[uint64]bool{}
	for i := 0; i < len(want); {
		if (want[i]^got[i])&^masked[i] == 0 {
			i++
			continue
		}
		if len(fields) == 0 && len(relocs) > 0 { // only now: most sections are equal
			for _, r := range relocs {
				begins[r.offset] = true
				for k := 0; k < c.fieldSize(r.typ); k++ {
					fields[r.offset+uint64(k)] = c.describe(r)
				}
			}
		}
		j := i + 1
		for j < len(want) && (want[j]^got[j])&^masked[j] != 0 && !begins[uint64(j)] && j-i < 16 {
			j++
		}
		c.differ(Difference{Section: name, Offset: uint64(i), What: "bytes",
			Want: fmt.Sprintf("% x", want[i:j]), Got: fmt.Sprintf("% x", got[i:j]), Reloc: fields[uint64(i)]})
		i = j
	}
}

func (c *comparison) fieldSize(typ uint32) int {
	if n, ok := fieldSizes[c.ld.machine][typ]; ok {
		return n
	}
	return 4
}

// describe names a relocation as messages do.
func (c *comparison) describe(r reloc) string {
	sym := c.obj.symbols[r.symbol]
	name := sym.Name
	if elf.ST_TYPE(sym.Info) == elf.STT_SECTION && int(sym.Section) < len(c.obj.file.Sections) {
		name = c.obj.file.Sections[sym.Section].Name
	}
	return fmt.Sprintf("%s against %q%+d", relocName(c.ld.machine, r.typ), name, r.addend)
}

// mask marks what is not comparable of the field of r, and follows it instead to the
// GOT slot that it leads to.
func (c *comparison) mask(r reloc, name string, got, masked []byte) error {
	size := uint64(c.fieldSize(r.typ))
	if r.offset > uint64(len(got)) || uint64(len(got))-r.offset < size {
		return fmt.Errorf("section %s: relocation at 0x%x beyond its end", name, r.offset)
	}
	bits := masked[r.offset : r.offset+size]
	if rule, ok := slots(c.ld.machine)[r.typ]; ok {
		c.result.Masked++
		for i := range bits {
			bits[i] |= byte(rule.mask >> (8 * i))
		}
		c.follow(r, rule, name, got)
	}
	return nil
}
