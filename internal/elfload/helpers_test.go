package elfload_test

import (
	"debug/elf"
	"errors"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

const (
	plt32  = uint32(elf.R_X86_64_PLT32)
	abs64  = uint32(elf.R_X86_64_64)
	call26 = uint32(elf.R_AARCH64_CALL26)
)

// full returns a builder of an object that has one of everything: sections 1 .text,
// 2 .data, 3 .bss, 4 .text.g, 5 .debug_info, 6 .tdata, 7 .ordered, then .rela.text,
// .rela.data, .rel.debug_info, .rela.text.g, .group, .symtab, .strtab, .shstrtab.
func full(m arch.Machine) *objbuild.Builder {
	call, addr := plt32, abs64
	if m == arch.ARM64 {
		call, addr = call26, uint32(elf.R_AARCH64_ABS64)
	}
	return objbuild.New(m).
		SourceFile("a.c").
		Text(".text", make([]byte, 32)).
		Global("f", 0, 16).Local("h", 16, 16).
		Reloc(4, call, "g", -4).Reloc(20, call, "ext", -4).Reloc(28, call, ".data", 4).
		Data(".data", make([]byte, 24)).
		Weak("d", 8, 8).
		Reloc(8, addr, "f", 0).Reloc(16, 0, "", 0).
		Bss(".bss", 4096).
		Global("zeros", 0, 4096).
		Text(".text.g", make([]byte, 8)).
		Global("g", 0, 8).Hidden().Reloc(0, call, "wk", -4).
		Debug(".debug_info", make([]byte, 16)).Rel().
		Local("dbg", 16, 0).As(objbuild.NoType).Reloc(8, addr, "h", 0).
		Add(objbuild.Section{Name: ".tdata", Type: objbuild.Progbits, Flags: objbuild.Alloc | objbuild.Write | objbuild.TLS, Data: make([]byte, 8)}).
		Global("tls", 0, 8).
		Add(objbuild.Section{Name: ".ordered", Type: objbuild.Progbits, Flags: objbuild.Alloc | objbuild.LinkOrder, Data: make([]byte, 8), Link: 1}).
		Undef("ext").WeakUndef("wk").Abs("abs", 0xfee1dead).Common("com", 32, 100).
		Group("g", true, ".text.g")
}

// mustParse parses good bytes.
func mustParse(t testing.TB, raw []byte) *elfload.Object {
	t.Helper()
	o, err := elfload.Parse("a.o", "", raw)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return o
}

// section returns the section of that name.
func section(t testing.TB, o *elfload.Object, name string) *elfload.Section {
	t.Helper()
	for i := range o.Sections {
		if o.Sections[i].Name == name {
			return &o.Sections[i]
		}
	}
	t.Fatalf("no section %q", name)
	return nil
}

// symbol returns the symbol of that name.
func symbol(t testing.TB, o *elfload.Object, name string) elfload.Symbol {
	t.Helper()
	for _, s := range o.Symbols {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no symbol %q", name)
	return elfload.Symbol{}
}

// checkRefused compares an error with the kind and lines it should have.
func checkRefused(t *testing.T, o *elfload.Object, err error, kind error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted; want %s", want)
	}
	if o != nil {
		t.Error("an object beside the error")
	}
	if got := strings.Join(diag.Lines(err), "\n"); got != want {
		t.Errorf("error\n got: %s\nwant: %s", got, want)
	}
	if !errors.Is(err, kind) {
		t.Errorf("error is not %q", kind)
	}
	for _, line := range diag.Lines(err) {
		if strings.ContainsAny(line, "\x00\x1b") {
			t.Errorf("control characters in %q", line)
		}
	}
}

// checkObject verifies everything that an Object promises.
func checkObject(t testing.TB, o *elfload.Object) {
	t.Helper()
	if o.Machine.Facts() == nil || len(o.Sections) == 0 || len(o.Symbols) == 0 {
		t.Fatalf("machine %v, %d sections, %d symbols", o.Machine, len(o.Sections), len(o.Symbols))
	}
	if o.Locals < 1 || o.Locals > len(o.Symbols) {
		t.Fatalf("%d of %d symbols are local", o.Locals, len(o.Symbols))
	}
	for i := range o.Sections {
		checkSection(t, o, i)
	}
	for i := range o.Symbols {
		checkSymbol(t, o, i)
	}
	members := map[uint32]bool{}
	for g := range o.Groups {
		if o.Groups[g].Signature == "" {
			t.Errorf("group %d has no signature", g)
		}
		for _, m := range o.Groups[g].Members {
			if m == 0 || members[m] || o.Sections[m].Group != int32(g) {
				t.Errorf("group %d: member %d", g, m)
			}
			members[m] = true
		}
	}
}

func checkSection(t testing.TB, o *elfload.Object, i int) {
	t.Helper()
	s := &o.Sections[i]
	switch {
	case s.Align == 0 || s.Align&(s.Align-1) != 0 || s.Align > 1<<24:
		t.Errorf("section %d: alignment %#x", i, s.Align)
	case s.Size > 1<<32:
		t.Errorf("section %d: size %#x", i, s.Size)
	case s.Type == elfload.Nobits || s.Type == elfload.Null:
		if s.Data != nil || s.Relocs.Len() != 0 {
			t.Errorf("section %d has bytes or relocations", i)
		}
	case uint64(len(s.Data)) != s.Size || cap(s.Data) != len(s.Data):
		t.Errorf("section %d: size %#x, %#x bytes, capacity %#x", i, s.Size, len(s.Data), cap(s.Data))
	case int64(s.Link) >= int64(len(o.Sections)):
		t.Errorf("section %d: link %d", i, s.Link)
	}
	if s.Group < -1 || int(s.Group) >= len(o.Groups) {
		t.Errorf("section %d: group %d", i, s.Group)
	}
	for n := 0; n < s.Relocs.Len(); n++ {
		r := s.Relocs.At(n)
		if r.Offset >= s.Size || int64(r.Sym) >= int64(len(o.Symbols)) {
			t.Fatalf("section %d: relocation %d: %+v", i, n, r)
		}
	}
}

func checkSymbol(t testing.TB, o *elfload.Object, i int) {
	t.Helper()
	s := &o.Symbols[i]
	_ = o.NameOf(uint32(i))
	if (s.Bind == elfload.Local) != (i < o.Locals) || len(s.Name) > 64<<10 || s.Bind != elfload.Local && s.Name == "" {
		t.Errorf("symbol %d: %+v", i, *s)
	}
	if s.Where != elfload.InSection {
		if s.Section != 0 || s.Where == elfload.Undefined && i != 0 && s.Bind == elfload.Local {
			t.Errorf("symbol %d: %+v", i, *s)
		}
		if s.Where == elfload.Common && (s.Value == 0 || s.Value&(s.Value-1) != 0 || s.Size > 1<<32) {
			t.Errorf("symbol %d: %+v", i, *s)
		}
		return
	}
	size := o.Sections[s.Section].Size
	if s.Section == 0 || s.Value > size || s.Size > size-s.Value {
		t.Errorf("symbol %d: %+v in %#x bytes", i, *s, size)
	}
}
