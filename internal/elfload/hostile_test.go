package elfload_test

import (
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/hostile"
	"klink/internal/testing/objbuild"
)

// base is the object that most cases spoil: sections 1 .text, 2 .data, 3 .rela.text,
// 4 .rela.data, 5 .symtab, 6 .strtab, 7 .shstrtab; symbols 1 l, 2 f, 3 u.
func base() *objbuild.Builder {
	return objbuild.New(arch.AMD64).
		Text(".text", make([]byte, 16)).Global("f", 0, 16).Local("l", 0, 0).Reloc(1, plt32, "u", -4).Reloc(6, plt32, "l", -4).
		Data(".data", make([]byte, 8)).Reloc(0, abs64, "f", 0).
		Undef("u")
}

// TestHostileFiles: what the parser is to refuse it refuses, with the whole message; the
// other files it takes, and its objects keep their promises.
func TestHostileFiles(t *testing.T) {
	for _, f := range hostile.Files() {
		t.Run(f.Name, func(t *testing.T) {
			o, err := elfload.Parse("a.o", "", f.Raw)
			if f.Stage == hostile.Parse {
				checkRefused(t, o, err, f.Kind, f.Want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkObject(t, o)
		})
	}
	o, err := elfload.Parse("a.o", "", objbuild.Archive())
	checkRefused(t, o, err, diag.ErrUnsupported, `a.o: an archive, where an object is expected`)
}

// ordered is an SHF_LINK_ORDER section.
func ordered(name string, link uint32) objbuild.Section {
	return objbuild.Section{Name: name, Type: objbuild.Progbits, Flags: objbuild.Alloc | objbuild.LinkOrder, Data: make([]byte, 4), Link: link}
}

func lines(l ...string) string { return strings.Join(l, "\n") }

// TestManyErrors: a file that is wrong everywhere gets a bounded answer.
func TestManyErrors(t *testing.T) {
	b := base()
	for range 1000 {
		b.Symbol(objbuild.Symbol{Name: "x", Bind: 13})
	}
	_, err := elfload.Parse("a.o", "", b.Bytes())
	if n := len(diag.Lines(err)); n != diag.MaxErrors {
		t.Errorf("%d lines", n)
	}
}
