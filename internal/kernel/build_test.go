package kernel

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/link"
	"klink/internal/testing/objbuild"

	"github.com/google/go-cmp/cmp"
)

// machines are the two that every test of this package runs on.
var machines = []arch.Machine{arch.AMD64, arch.ARM64}

// eachMachine runs a test for both machines.
func eachMachine(t *testing.T, f func(t *testing.T, m arch.Machine)) {
	t.Helper()
	for _, m := range machines {
		t.Run(m.Facts().GOARCH, func(t *testing.T) { f(t, m) })
	}
}

// toy is a module made of real instructions, small enough to be foretold: functions
// and data that it gives, and references in a local function "run" and in .data.
type toy struct {
	name  string
	gives []give
	uses  []use

	offsets []uint64 // of the uses, in .text or .data
	dataAt  []uint64 // of the data among gives, in .data
}

// give is one definition. A function's implementation also has the local name
// "impl_" + symbol.
type give struct {
	symbol string
	weak   bool
	data   bool
}

// use is one reference.
type use struct {
	symbol string // "super_f" for the layer below
	how    how
	weak   bool // STB_WEAK, if the module does not define it
}

// how says which instruction, or datum, refers.
type how uint8

const (
	call    how = iota
	tail        // jump
	cond        // x86-64: jcc; aarch64: b.eq, ±1 MiB
	bit         // x86-64: jcc; aarch64: tbz, ±32 KiB
	gotCall     // x86-64: call through the GOT, relaxed; aarch64: call
	gotTail     // x86-64: jump through the GOT, relaxed; aarch64: jump
	lea         // takes the address
	gotLoad     // loads the address from the GOT
	pointer     // a pointer in .data
	hows
)

// branches says that a reference of this kind is a site, or (short on aarch64) one
// that goes through a veneer.
func (h how) branches() bool { return h < lea }

func (h how) short(m arch.Machine) bool { return m == arch.ARM64 && (h == cond || h == bit) }

// form is how listings show a branch of this kind.
func (h how) form(m arch.Machine) string {
	if m == arch.AMD64 {
		return [...]string{call: "call", tail: "jmp", cond: "je", bit: "jne", gotCall: "call", gotTail: "jmp"}[h]
	}
	return [...]string{call: "bl", tail: "b", gotCall: "bl", gotTail: "b"}[h]
}

// piece is the code of a reference: bytes, where the relocated field starts, the
// relocation type and addend of each field.
type piece struct {
	code   []byte
	fields []field
}

type field struct {
	off    uint64
	typ    uint32
	addend int64
}

// words encodes aarch64 instructions.
func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

// pieces are the references of both machines, by kind; numbers of relocation types are
// the psABIs'.
var pieces = map[arch.Machine][hows]piece{
	arch.AMD64: {
		call:    {[]byte{0xe8, 0, 0, 0, 0}, []field{{1, 4, -4}}},              // call f            R_X86_64_PLT32
		tail:    {[]byte{0xe9, 0, 0, 0, 0}, []field{{1, 2, -4}}},              // jmp f             R_X86_64_PC32
		cond:    {[]byte{0x0f, 0x84, 0, 0, 0, 0}, []field{{2, 4, -4}}},        // je f              R_X86_64_PLT32
		bit:     {[]byte{0x0f, 0x85, 0, 0, 0, 0}, []field{{2, 4, -4}}},        // jne f             R_X86_64_PLT32
		gotCall: {[]byte{0xff, 0x15, 0, 0, 0, 0}, []field{{2, 41, -4}}},       // call *f@GOT(%rip) R_X86_64_GOTPCRELX
		gotTail: {[]byte{0xff, 0x25, 0, 0, 0, 0}, []field{{2, 41, -4}}},       // jmp *f@GOT(%rip)  R_X86_64_GOTPCRELX
		lea:     {[]byte{0x48, 0x8d, 0x05, 0, 0, 0, 0}, []field{{3, 2, -4}}},  // lea f(%rip), %rax R_X86_64_PC32
		gotLoad: {[]byte{0x48, 0x8b, 0x05, 0, 0, 0, 0}, []field{{3, 42, -4}}}, // mov f@GOT(%rip)   R_X86_64_REX_GOTPCRELX
		pointer: {make([]byte, 8), []field{{0, 1, 0}}},                        // .quad f           R_X86_64_64
	},
	arch.ARM64: {
		call:    {words(0x94000000), []field{{0, 283, 0}}},                          // bl f               R_AARCH64_CALL26
		tail:    {words(0x14000000), []field{{0, 282, 0}}},                          // b f                R_AARCH64_JUMP26
		cond:    {words(0x54000000), []field{{0, 280, 0}}},                          // b.eq f             R_AARCH64_CONDBR19
		bit:     {words(0x36000000), []field{{0, 279, 0}}},                          // tbz w0, #0, f      R_AARCH64_TSTBR14
		gotCall: {words(0x94000000), []field{{0, 283, 0}}},                          //
		gotTail: {words(0x14000000), []field{{0, 282, 0}}},                          //
		lea:     {words(0x90000000, 0x91000000), []field{{0, 275, 0}, {4, 277, 0}}}, // adrp x0, f; add x0, x0, :lo12:f
		gotLoad: {words(0x90000000, 0xf9400000), []field{{0, 311, 0}, {4, 312, 0}}}, // adrp x0, :got:f; ldr x0, [x0, :got_lo12:f]
		pointer: {make([]byte, 8), []field{{0, 257, 0}}},                            // .quad f            R_AARCH64_ABS64
	},
}

// function is a body of funcSize bytes.
var function = map[arch.Machine][]byte{
	arch.AMD64: {0xb8, 1, 0, 0, 0, 0xc3, 0x90, 0x90}, // mov $1, %eax; ret; nop; nop
	arch.ARM64: words(0x52800020, 0xd65f03c0),        // mov w0, #1; ret
}

const funcSize = 8

// build makes the object.
func (y *toy) build(m arch.Machine) []byte {
	var text, data []byte
	y.offsets, y.dataAt = make([]uint64, len(y.uses)), make([]uint64, len(y.gives))
	for _, g := range y.gives {
		if !g.data {
			text = append(text, function[m]...)
		}
	}
	run := uint64(len(text))
	for i, u := range y.uses {
		to := &text
		if u.how == pointer {
			to = &data
		}
		y.offsets[i] = uint64(len(*to))
		*to = append(*to, pieces[m][u.how].code...)
	}
	text = append(text, function[m]...)
	for i, g := range y.gives {
		if g.data {
			y.dataAt[i] = uint64(len(data))
			data = append(data, make([]byte, 8)...)
		}
	}

	b := objbuild.New(m).Text(".text", text)
	b.Local("run", run, uint64(len(text))-run)
	off := uint64(0)
	for _, g := range y.gives {
		if !g.data {
			b.Local("impl_"+g.symbol, off, funcSize)
			y.symbol(b, g, off, funcSize)
			off += funcSize
		}
	}
	y.relocate(b, m, false)
	if len(data) > 0 {
		b.Data(".data", data)
		for i, g := range y.gives {
			if g.data {
				y.symbol(b, g, y.dataAt[i], 8)
			}
		}
		y.relocate(b, m, true)
	}
	y.undefined(b)
	return b.Bytes()
}

func (y *toy) symbol(b *objbuild.Builder, g give, off, size uint64) {
	if g.weak {
		b.Weak(g.symbol, off, size)
	} else {
		b.Global(g.symbol, off, size)
	}
}

// relocate adds the relocations of the current section.
func (y *toy) relocate(b *objbuild.Builder, m arch.Machine, data bool) {
	for i, u := range y.uses {
		if (u.how == pointer) == data {
			for _, f := range pieces[m][u.how].fields {
				b.Reloc(y.offsets[i]+f.off, f.typ, u.symbol, f.addend)
			}
		}
	}
}

// undefined adds the symbols that the toy refers to and does not give.
func (y *toy) undefined(b *objbuild.Builder) {
	seen := map[string]bool{}
	for _, g := range y.gives {
		seen[g.symbol] = true
	}
	for _, u := range y.uses {
		switch {
		case seen[u.symbol]:
		case y.weakly(u.symbol):
			b.WeakUndef(u.symbol)
		default:
			b.Undef(u.symbol)
		}
		seen[u.symbol] = true
	}
}

// weakly says that a symbol the toy does not give may be absent.
func (y *toy) weakly(symbol string) bool {
	return !slices.ContainsFunc(y.uses, func(u use) bool { return u.symbol == symbol && !u.weak })
}

// funcAt returns where a given function or datum is, from the start of .text or .data.
func (y *toy) at(symbol string) (off uint64, data bool) {
	for i, g := range y.gives {
		if g.data {
			if g.symbol == symbol {
				return y.dataAt[i], true
			}
			continue
		}
		if g.symbol == symbol {
			return off, false
		}
		off += funcSize
	}
	panic("the toy does not give " + symbol)
}

// bench is a host with a folder for its files.
type bench struct {
	testing.TB
	*Kernel
	machine arch.Machine
	dir     string
	files   int
}

// newBench makes a host of a small arena at a fixed address, closed at the test's end.
func newBench(t testing.TB, m arch.Machine) *bench {
	return newBenchOf(t, m, Config{Bare: true, Machine: m, ArenaBase: 0x20000000, ArenaSize: 16 << 20})
}

func newBenchOf(t testing.TB, m arch.Machine, cfg Config) *bench {
	t.Helper()
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{TB: t, Kernel: k, machine: m, dir: t.TempDir()}
}

// file writes an object and returns how to name it in a request.
func (b *bench) file(name string, object []byte) Source {
	return writeObject(b.TB, b.dir, name, object)
}

func writeObject(t testing.TB, dir, name string, object []byte) Source {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, object, 0o644); err != nil {
		t.Fatal(err)
	}
	return Source{Name: name, Path: path}
}

// spec builds a toy and returns it as a module of its name.
func (b *bench) spec(y *toy) ModuleSpec {
	b.files++
	return ModuleSpec{As: y.name, Files: []Source{b.file(fmt.Sprintf("toy%d.o", b.files), y.build(b.machine))}}
}

// object is spec for an object of another making.
func (b *bench) object(name string, o *objbuild.Builder) ModuleSpec {
	return ModuleSpec{As: name, Files: []Source{b.file(name+".o", o.Bytes())}}
}

// load loads toys in one command.
func (b *bench) load(toys ...*toy) (*Change, error) {
	var r LoadRequest
	for _, y := range toys {
		r.Modules = append(r.Modules, b.spec(y))
	}
	return b.Load(b.Context(), r)
}

func (b *bench) mustLoad(toys ...*toy) *Change {
	b.Helper()
	c, err := b.load(toys...)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b *bench) mustUnload(names ...string) *Change {
	b.Helper()
	c, err := b.Unload(b.Context(), UnloadRequest{Modules: names})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// bytes reads the arena.
func (b *bench) bytes(addr, n uint64) []byte {
	b.Helper()
	p := b.arena.Bytes(addr, n)
	if p == nil {
		b.Fatalf("%d bytes at %#x are outside of the arena", n, addr)
	}
	return p
}

func (b *bench) word(addr uint64) uint64 { return binary.LittleEndian.Uint64(b.bytes(addr, 8)) }

// snapshot is everything that a refused command must leave as it was.
type snapshot struct {
	List    []ModuleInfo
	Alias   []AliasInfo
	Sites   []SiteInfo
	Symbols []SymInfo
	Memory  map[string]string // bytes of modules' blocks and entries, by name
	Index   map[aliasstack.SlotID]int
}

func (b *bench) snapshot() *snapshot {
	b.Helper()
	s := &snapshot{List: b.List(), Memory: map[string]string{}, Index: map[aliasstack.SlotID]int{}}
	var err error
	if s.Alias, err = b.Alias(nil, true); err != nil {
		b.Fatal(err)
	}
	if s.Sites, err = b.Sites(SitesRequest{}); err != nil {
		b.Fatal(err)
	}
	if s.Symbols, err = b.Symbols(nil, ""); err != nil {
		b.Fatal(err)
	}
	for _, m := range s.List {
		for r, span := range [link.Regions]SpanInfo{m.Text, m.Tables, m.Data} {
			if span.Size > 0 {
				s.Memory[m.Name+"."+link.Region(r).String()] = string(b.bytes(uint64(span.Addr), span.Size))
			}
		}
	}
	for slot, at := range b.entries.at {
		s.Memory[fmt.Sprintf("entry %d at %#x", slot, at)] = string(b.bytes(at, b.entries.size))
		s.Index[slot] = b.sites.Count(uint32(slot))
	}
	return s
}

// diff is cmp.Diff, which takes its time even when there is none.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

// traps says that memory holds nothing but traps.
func traps(m arch.Machine, b []byte) bool {
	trap := m.Facts().TrapBytes
	for i := range b {
		if b[i] != trap[i%len(trap)] {
			return false
		}
	}
	return true
}

// unplaced is a copy of a report without what a dry run may say differently: flags,
// and addresses of text, because freed text is used last.
func unplaced(c *Change) *Change {
	if c == nil {
		return nil
	}
	r := *c
	r.DryRun, r.Switch = false, nil
	r.Bytes = 0 // of displacements, which depend on where the new text is
	r.Loaded, r.Moves = slices.Clone(c.Loaded), slices.Clone(c.Moves)
	for i := range r.Loaded {
		r.Loaded[i].State, r.Loaded[i].Text.Addr = "", 0
		r.Loaded[i].Provides = nil // what a plan says more
	}
	for i := range r.Moves {
		r.Moves[i].Target = 0
	}
	return &r
}
