package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
)

// TestModuleNames: a name that a command would take for a path, or for MODULE:FUNCTION,
// is refused, and so is a private name that nobody defines.
func TestModuleNames(t *testing.T) {
	w := newWorkshop(t, arch.AMD64)
	spec := w.specs(&toy{name: "a", gives: []give{{symbol: "f"}}})[0]
	for _, name := range []string{"a/b", "a:b", "x\xff"} {
		spec.As = name
		for what, link := range map[string]func() error{
			"load": func() error {
				_, err := newKernelFor(t).Load(t.Context(), LoadRequest{Modules: []ModuleSpec{spec}})
				return err
			},
			"link": func() error { _, err := Link(LinkRequest{Modules: []ModuleSpec{spec}}); return err },
		} {
			if err := link(); !errors.Is(err, diag.ErrUsage) || !strings.Contains(err.Error(), "is no name for a module") {
				t.Errorf("%s --as %q: %v", what, name, err)
			}
		}
	}
	spec.As, spec.Private = "a", []string{"f", "nosuch"}
	if _, err := Link(LinkRequest{Modules: []ModuleSpec{spec}}); !errors.Is(err, diag.ErrNotFound) || err.Error() != "--private nosuch: no module of this command defines it" {
		t.Errorf("%v", err)
	}
	spec.Private = nil
	if _, err := Link(LinkRequest{Modules: []ModuleSpec{spec, spec}}); !errors.Is(err, diag.ErrConflict) {
		t.Errorf("the same file twice: %v", err)
	}
}

func newKernelFor(t *testing.T) *Kernel {
	t.Helper()
	k, err := New(Config{Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// TestImageGaps: what lies between modules in the text of an image traps, and a name
// that the command gave a value is in the symbol table.
func TestImageGaps(t *testing.T) {
	eachMachine(t, func(t *testing.T, m arch.Machine) {
		w := newWorkshop(t, m)
		a := &toy{name: "a", gives: []give{{symbol: "f"}}, uses: []use{{symbol: "g", how: call}}}
		b := &toy{name: "b", gives: []give{{symbol: "h"}}}
		out := w.path("image")
		r := w.link(LinkRequest{Modules: w.specs(a, b), Define: map[string]uint64{"g": 0x10000400}, Output: out})
		l := w.read(out)
		if g := l.syms["g"]; g.Value != 0x10000400 || g.Section != elf.SHN_ABS {
			t.Errorf("g is %+v", g)
		}
		text, err := l.Section(".text").Data()
		if err != nil {
			t.Fatal(err)
		}
		if uint64(len(text)) != r.Text.Size {
			t.Errorf("%d bytes of text, want %d", len(text), r.Text.Size)
		}
		for i := 0; i+8 <= len(text); i++ {
			if bytes.Equal(text[i:i+8], make([]byte, 8)) {
				t.Errorf("zeros at %#x of the text", i)
				break
			}
		}
	})
}
