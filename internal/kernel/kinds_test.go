package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/testing/objbuild"
)

// The special kinds of symbols and sections, in objects of real compilers, run and
// unloaded again.

// remove unloads modules.
func (b *liveBench) remove(names ...string) error {
	_, err := b.Unload(b.tb.Context(), UnloadRequest{Modules: names})
	return err
}

func (b *liveBench) mustRemove(names ...string) {
	b.tb.Helper()
	if err := b.remove(names...); err != nil {
		b.tb.Fatal(err)
	}
}

// bringAs loads fixtures as one module.
func (b *liveBench) bringAs(as string, names ...string) {
	b.tb.Helper()
	spec := ModuleSpec{As: as}
	for _, n := range names {
		spec.Files = append(spec.Files, liveFixture(b.tb, n))
	}
	if _, err := b.Load(b.tb.Context(), LoadRequest{Modules: []ModuleSpec{spec}}); err != nil {
		b.tb.Fatal(err)
	}
}

// want calls a function, as often as there are values.
func (b *liveBench) want(function string, arg uint64, values ...int32) {
	b.tb.Helper()
	for i, want := range values {
		if got := int32(b.value(function, arg)); got != want {
			b.tb.Errorf("call %d of %s(%d) is %d, want %d", i, function, arg, got, want)
		}
	}
}

// gone is the last word of each test: no module, no provider and no site is left.
func (b *liveBench) gone() {
	b.tb.Helper()
	for _, m := range b.List() {
		if m.Name != "kernel" {
			b.tb.Errorf("%s is still there", m.Name)
		}
	}
	sites, err := b.Sites(SitesRequest{})
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, s := range sites {
		if s.Module != "kernel" && s.Module != "" {
			b.tb.Errorf("a site is still there: %+v", s)
		}
	}
}

// TestRunIFunc: calls, pointers, and a local IFUNC lead to what the resolver answered,
// which it may take from the module's own, relocated, data.
func TestRunIFunc(t *testing.T) {
	b := newLive(t)
	for _, c := range []string{"many", "many_clang"} {
		b.mustBring("ifunc/" + c + ".kmod")
		b.want("many_one", 20, 10)
		b.want("many_calls", 20, 33)
		for i, want := range []int64{-5, -5} {
			if got := b.value("many_through", uint64(i), 5); int64(int32(got)) != want {
				t.Errorf("%s: through pointer %d: %d, want %d", c, i, got, want)
			}
		}
		b.mustRemove(c)
	}
	b.gone()
}

// TestRunCommon: COMMON is zeroed at each load, one object for all of a module, and bound
// to an object of its name that another module has.
func TestRunCommon(t *testing.T) {
	b := newLive(t)
	for range 2 {
		b.mustBring("common/small.o")
		b.want("small_bump", 0, 1, 2)
		b.mustRemove("small")
	}
	for _, large := range []string{"common/large.o", "common/large_clang.o"} {
		b.bringAs("both", "common/small.o", large)
		b.want("small_bump", 0, 1)
		b.want("large_bump", 0, 2)
		b.want("small_bump", 0, 3)
		b.mustRemove("both")
	}
	b.mustBring("common/defined.o", "common/small.o")
	b.want("small_bump", 0, 41, 42)
	if _, err := b.bring("common/large.o"); !errors.Is(err, diag.ErrConflict) {
		t.Errorf("a COMMON symbol larger than the object of its name: %v", err)
	}
	if err := b.remove("defined"); !errors.Is(err, diag.ErrNeeded) {
		t.Errorf("the object leaves before who refers to it: %v", err)
	}
	b.mustRemove("small", "defined")
	b.gone()
}

// TestRunComdat: inline functions, a template and virtual tables of two objects. one(3)
// is 2·9+1 and 3+7 for the template's maximum, and twice what helper's static counts.
func TestRunComdat(t *testing.T) {
	const one, two = "_Z3onei", "_Z3twoi"
	b := newLive(t)
	for _, c := range [][2]string{{"one", "two"}, {"one_O0", "two_clang"}, {"one_O0", "two"}, {"one", "two_clang"}} {
		files := []string{"comdat/" + c[0] + ".o", "comdat/" + c[1] + ".o"}
		b.bringAs("both", files...)
		b.want(one, 3, 32, 36, 40)
		b.mustRemove("both")
		// Two modules have two copies of the functions; and of the counter, which is one for
		// all only where it is GNU_UNIQUE: g++ makes it so, clang leaves it to the group.
		b.mustBring(files...)
		if c[1] == "two" {
			b.want(one, 3, 32, 36, 40)
			b.want(two, 3, 17) // 2·0 + 1+7 + 9
		} else {
			b.want(one, 3, 31, 33, 35)
		}
		if err := b.remove(c[1]); !errors.Is(err, diag.ErrNeeded) {
			t.Errorf("%s leaves before %s, which calls it: %v", c[1], c[0], err)
		}
		b.mustRemove(c[0], c[1])
	}
	b.gone()
}

// TestRunGNUUnique: a static variable of an inline function is one for all modules, as
// long as one of them is there.
func TestRunGNUUnique(t *testing.T) {
	b := newLive(t)
	for range 2 {
		b.mustBring("gnu_unique/one.kmod", "gnu_unique/two.kmod", "gnu_unique/three_pic.kmod")
		b.want("_Z10unique_onev", 0, 6)
		b.want("_Z10unique_twov", 0, 7)
		b.want("_Z12unique_threev", 0, 8)
		b.mustRemove("two")
		b.want("_Z12unique_threev", 0, 9)
		b.want("_Z10unique_onev", 0, 10)
		b.mustRemove("three_pic")
		b.mustRemove("one")
	}
	b.gone()
}

// TestRunInitArray: constructors have run when a load is over, in the order of their
// priorities, and destructors when an unload is; a second load runs them anew.
func TestRunInitArray(t *testing.T) {
	b := newLive(t)
	for i := range 2 {
		b.mustBring("init_array/order_kernel.o") // has room for one round
		b.mustBring("init_array/order.kmod")
		b.mustRemove("order")
		if got := fmt.Sprint(b.words("order", 10)); got != "[1 2 3 4 10 20 34 33 32 31]" {
			t.Errorf("round %d: %v", i, got)
		}
		b.mustBring("init_array/order_cxx.kmod")
		b.want("order_sum", 0, 130)
		b.mustRemove("order_cxx")
		b.mustRemove("order_kernel")
	}
	b.gone()
}

// words reads n 32-bit words at a symbol.
func (b *liveBench) words(symbol string, n int) []int32 {
	b.tb.Helper()
	syms, err := b.Symbols([]string{symbol}, "")
	if err != nil || len(syms) != 1 {
		b.tb.Fatalf("%s: %v, %v", symbol, syms, err)
	}
	var list []int32
	for i := range n {
		raw := b.arena.Bytes(uint64(syms[0].Addr)+uint64(4*i), 4)
		list = append(list, int32(raw[0])|int32(raw[1])<<8|int32(raw[2])<<16|int32(raw[3])<<24)
	}
	return list
}

// Chains through an object of more sections than e_shnum and st_shndx can count: function
// n calls function n-chainStep and adds 1, the first ones return 0. Every fourth one is
// global, as is the last, and the others are local.
const (
	chainSections = 65400
	chainStep     = 1024 // a multiple of 4: a chain is all global, or all local
)

// chainCode is a function's code, where in it the call's field is, its type and addend, and
// the code of those that return 0.
var chainCode = map[arch.Machine]struct {
	code, end string
	at        uint64
	typ       uint32
	addend    int64
}{
	arch.AMD64: {"\xe8\x00\x00\x00\x00\x83\xc0\x01\xc3", "\x31\xc0\xc3", 1, 4, -4},                                                                  // call; add $1,%eax; ret
	arch.ARM64: {"\xfd\x7b\xbf\xa9\x00\x00\x00\x94\x00\x04\x00\x11\xfd\x7b\xc1\xa8\xc0\x03\x5f\xd6", "\x00\x00\x80\x52\xc0\x03\x5f\xd6", 4, 283, 0}, // stp; bl; add w0,w0,#1; ldp; ret
}

// chains builds the object, with relocations against symbols in sections of all indices.
func chains(m arch.Machine) *objbuild.Builder {
	c := chainCode[m]
	b := objbuild.New(m)
	name := func(n int) string { return fmt.Sprintf("link%d", n) }
	for n := range chainSections {
		code := c.code
		if n < chainStep {
			code = c.end
		}
		b.Text(".text."+name(n), []byte(code))
		if n%4 == 0 || n == chainSections-1 {
			b.Global(name(n), 0, uint64(len(code)))
		} else {
			b.Local(name(n), 0, uint64(len(code)))
		}
		if n >= chainStep {
			b.Reloc(c.at, c.typ, name(n-chainStep), c.addend)
		}
	}
	return b
}

// TestRunManySections runs both chains of the object of 65,400 sections.
func TestRunManySections(t *testing.T) {
	b := newLive(t)
	file := filepath.Join(t.TempDir(), "chains.o")
	if err := os.WriteFile(file, chains(HostMachine()).Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := ModuleSpec{As: "chains", Files: []Source{{Name: "chains.o", Path: file}}}
	if _, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}}); err != nil {
		t.Fatal(err)
	}
	last := chainSections - 1 // a chain of local symbols
	b.want(fmt.Sprint("link", last), 0, int32(last/chainStep))
	b.want(fmt.Sprint("link", last-3), 0, int32((last-3)/chainStep)) // one of global ones
	b.want("link0", 0, 0)
	b.mustRemove("chains")
	b.gone()
}

// TestManySections links the same object for the other machine, where it cannot run: each
// global function's call leads to the global function one step before it.
func TestManySections(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		if m == HostMachine() {
			return // TestRunManySections
		}
		b := newBench(t, m)
		before := b.snapshot()
		if _, err := b.Load(t.Context(), LoadRequest{Modules: []ModuleSpec{b.object("chains", chains(m))}}); err != nil {
			t.Fatal(err)
		}
		syms, err := b.Symbols(nil, "chains")
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]Addr{}
		for _, s := range syms {
			at[s.Name] = s.Addr
		}
		sites, err := b.Sites(SitesRequest{Module: "chains"})
		if err != nil {
			t.Fatal(err)
		}
		if want := (chainSections - chainStep) / 4; len(sites) != want {
			t.Errorf("%d sites, want %d", len(sites), want)
		}
		for _, s := range sites {
			if s.Target != at[s.Symbol] || s.Target == 0 {
				t.Fatalf("%+v leads not to %v", s, at[s.Symbol])
			}
		}
		b.mustUnload("chains")
		if d := diff(before, b.snapshot()); d != "" {
			t.Errorf("there and back:\n%s", d)
		}
	})
}
