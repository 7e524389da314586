package kernel

import (
	"encoding/binary"
	"testing"

	"klink/internal/arch"
	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/insn"
	"klink/internal/testing/objbuild"
)

// TestFar: in text longer than an aarch64 branch reaches, a call goes to its provider
// while that is near, and through its module's veneer while it is far.
func TestFar(t *testing.T) {
	b := newBenchOf(t, arch.ARM64, Config{Bare: true, Machine: arch.ARM64, ArenaBase: 0x20000000, ArenaSize: 1 << 30})
	b.mustLoad(
		&toy{name: "near", gives: []give{{symbol: "f", weak: true}}},
		&toy{name: "user", uses: []use{{symbol: "f", how: call}, {symbol: "f", how: tail}, {symbol: "f", how: bit}, {symbol: "f", how: pointer}}})
	if _, err := b.arena.Alloc(arena.Text, 128<<20, 8); err != nil {
		t.Fatal(err)
	}
	check := func(provider string, far bool) {
		t.Helper()
		sites, err := b.Sites(SitesRequest{Symbols: []string{"f"}})
		if err != nil {
			t.Fatal(err)
		}
		forms := map[string]int{}
		for _, s := range sites {
			forms[s.Form]++
			p, err := b.Info(provider)
			if err != nil {
				t.Fatal(err)
			}
			if s.Provider != provider || s.Target != p.Text.Addr || (s.Veneer != 0) != (far && s.Form != "veneer") {
				t.Errorf("%+v, want %s at %v", s, provider, p.Text.Addr)
			}
			if s.Veneer == 0 {
				continue
			}
			if to, ok := insn.FarJump.Target(b.bytes(uint64(s.Veneer), 16), uint64(s.Veneer)); !ok || Addr(to) != s.Target {
				t.Errorf("the veneer at %v leads to %#x", s.Veneer, to)
			}
		}
		// The module's veneer, the one near its tbz, and the entry, which reaches everywhere.
		if forms["bl"] != 1 || forms["b"] != 1 || forms["veneer"] != 3 {
			t.Errorf("%v", forms)
		}
	}
	check("near", false)
	before := b.snapshot()
	b.mustLoad(&toy{name: "remote", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "super_f", how: call}}})
	check("remote", true)
	below, err := b.Sites(SitesRequest{Module: "remote"})
	if err != nil || len(below) != 2 || below[0].Provider != "near" || below[0].Veneer != below[1].Addr || below[1].Target != below[0].Target {
		t.Errorf("%+v, %v", below, err)
	}
	b.mustUnload("remote")
	check("near", false)
	if d := diff(before, b.snapshot()); d != "" {
		t.Errorf("there and back:\n%s", d)
	}
}

// TestCommon: a COMMON symbol is bound to an object of its name that is large enough,
// loaded before or with it; a smaller one is in its way.
func TestCommon(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		b := newBench(t, m)
		common := func(name string, size uint64) ModuleSpec {
			o := objbuild.New(m).Common("buf", 8, size).Data(".data", make([]byte, 8)).Reloc(0, pieces[m][pointer].fields[0].typ, "buf", 0)
			return b.object(name, o)
		}
		load := func(specs ...ModuleSpec) error {
			_, err := b.Load(t.Context(), LoadRequest{Modules: specs})
			return err
		}
		if err := load(common("small", 16), b.object("real", objbuild.New(m).Data(".data", make([]byte, 32)).Global("buf", 0, 32))); err != nil {
			t.Fatal(err)
		}
		if err := load(common("later", 32)); err != nil {
			t.Fatal(err)
		}
		list, err := b.Alias([]string{"buf"}, false)
		if err != nil || len(list[0].Providers) != 1 || list[0].Providers[0].Module != "real" || len(list[0].Users) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, name := range []string{"small", "later"} {
			info, err := b.Info(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := binary.LittleEndian.Uint64(b.bytes(uint64(info.Data.Addr), 8)); Addr(got) != list[0].Providers[0].Addr {
				t.Errorf("%s's pointer is %#x, want %v", name, got, list[0].Providers[0].Addr)
			}
		}
		refused(t, load(common("large", 33)), diag.ErrConflict, `"buf" is data of module real`)
		_, err = b.Unload(t.Context(), UnloadRequest{Modules: []string{"real"}})
		refused(t, err, diag.ErrNeeded, `"buf"`, "later, small")
		b.mustUnload("later", "real", "small")
	})
}
