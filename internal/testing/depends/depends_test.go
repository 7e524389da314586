package main

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

// driver is a Linux module made here.
type driver struct {
	name    string
	depends string   // its depends= line
	exports []string // functions
	calls   []string
	weak    []string // called, but weakly
}

var drivers = []driver{
	{name: "zbase", exports: []string{"base_get", "base_put"}, calls: []string{"printk"}},
	{name: "mid", depends: "zbase", exports: []string{"mid_get"}, calls: []string{"base_get", "printk"}},
	{name: "aother", depends: "mid,zbase", exports: []string{"other_get"}, calls: []string{"base_put", "mid_get"}},
	{name: "user", depends: "aother,zbase", calls: []string{"other_get", "base_get"}, weak: []string{"nobody"}},
	{name: "alone", calls: []string{"kmalloc"}},
}

// build makes the object.
func (d *driver) build(m arch.Machine) []byte {
	b := objbuild.New(m)
	call, typ, at, addend := []byte{0xe8, 0, 0, 0, 0}, uint32(elf.R_X86_64_PLT32), uint64(1), int64(-4)
	if m == arch.ARM64 {
		call, typ, at, addend = []byte{0, 0, 0, 0x94}, uint32(elf.R_AARCH64_CALL26), 0, 0
	}
	names := slices.Concat(d.calls, d.weak)
	b.Text(".text", slices.Repeat(call, len(names)+1+len(d.exports)))
	b.Global("init_module", 0, 4)
	for i, s := range d.exports {
		b.Global(s, uint64(len(call)*(len(names)+i)), 4)
	}
	for i, s := range names {
		b.Reloc(uint64(len(call)*i)+at, typ, s, addend)
		if slices.Contains(d.weak, s) {
			b.WeakUndef(s)
		} else {
			b.Undef(s)
		}
	}
	b.Reloc(uint64(len(call)*len(names))+at, typ, "init_module", addend)
	b.Data(".gnu.linkonce.this_module", make([]byte, 64))
	b.Rodata(".modinfo", []byte("license=none\x00depends="+d.depends+"\x00name="+d.name+"\x00"))
	if len(d.exports) > 0 {
		b.Rodata("__ksymtab", make([]byte, 12*len(d.exports)))
		rel := uint32(elf.R_X86_64_PC32)
		if m == arch.ARM64 {
			rel = uint32(elf.R_AARCH64_PREL32)
		}
		for i, s := range d.exports {
			b.Reloc(uint64(12*i), rel, s, 0)
		}
	}
	return b.Bytes()
}

// folder writes drivers and their Module.symvers.
func folder(t *testing.T, m arch.Machine, list []driver) (dir, symvers string) {
	t.Helper()
	dir = t.TempDir()
	lines := "0x1\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x2\tkmalloc\tvmlinux\tEXPORT_SYMBOL\t\n0x3\tinit_task\tvmlinux\tEXPORT_SYMBOL\t\n"
	for i := range list {
		d := &list[i]
		if err := os.WriteFile(filepath.Join(dir, d.name+".ko"), d.build(m), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, s := range d.exports {
			lines += fmt.Sprintf("0x9\t%s\tdrivers/%s/%s\tEXPORT_SYMBOL_GPL\t\n", s, d.name, d.name)
		}
	}
	symvers = filepath.Join(dir, "Module.symvers")
	if err := os.WriteFile(symvers, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, symvers
}

func TestDepends(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		t.Run(m.Facts().GOARCH, func(t *testing.T) {
			r, err := run(folder(t, m, drivers))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.lines) > 0 || r.equal != 5 || r.depends != 5 || r.closure != 6 || r.loaded != 6 || r.most != 3 || r.exports != 4 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestDiffers: what does not agree is named.
func TestDiffers(t *testing.T) {
	for _, c := range []struct {
		change func(list []driver)
		want   string
	}{
		{func(list []driver) { list[1].depends = "" }, "mid: klink loads zbase, which it does not depend on"},
		{func(list []driver) { list[4].depends = "zbase" }, "alone: depends on zbase, which klink does not load"},
		{func(list []driver) { list[0].depends = "mid" }, "mid: zbase comes before mid, on which it depends"},
		{func(list []driver) { list[4].calls = []string{"missing"} }, "alone: refused: "},
	} {
		list := slices.Clone(drivers)
		c.change(list)
		r, err := run(folder(t, arch.AMD64, list))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(r.lines, "\n"), c.want) || r.equal == r.modules {
			t.Errorf("want %q in %+v", c.want, r)
		}
	}
	dir, symvers := folder(t, arch.AMD64, drivers)
	if err := os.WriteFile(symvers, []byte("0x1\tprintk\tvmlinux\n0x2\tkmalloc\tvmlinux\n0x3\tbase_get\tdrivers/zbase\n0x4\tmid_put\tdrivers/mid\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := run(dir, symvers)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(r.lines, "\n")
	for _, want := range []string{`zbase: provides base_put, which Module.symvers gives to ""`, "mid: does not provide mid_put"} {
		if !strings.Contains(all, want) {
			t.Errorf("want %q in %s", want, all)
		}
	}
}
