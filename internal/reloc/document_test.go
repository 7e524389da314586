package reloc

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"klink/internal/arch"
)

var update = flag.Bool("update", false, "write docs/relocations.md instead of comparing it")

// documentPath is the generated page.
const documentPath = "../../docs/relocations.md"

// head opens the page.
const head = `# Relocation types

Generated from the table in internal/reloc by ` + "`go generate ./internal/reloc`" + `; do not edit.

A fix-up computes the formula's value, checks that it is a multiple of *align* and in *range* (the upper
limit is exclusive), and writes it into the field at the place. S is the symbol's address, A the addend, P
the address of the place, L the symbol's entry (or S, where a branch is bound directly), G the address of the
symbol's GOT slot, GOT that of the GOT, Z the symbol's size. Page() clears the low 12 bits. Where a formula
of aarch64 has G but no A, the slot holds S + A. A weak symbol that nobody defines is at 0; on aarch64 the
formulas with S, or L, and P take it at P, so that a distance to it is A, and a branch becomes a NOP. A field of an instruction is given as bits of the value X and
the bits of the word that they go to.
`

// document returns the page.
func document() string {
	var b strings.Builder
	b.WriteString(head)
	for _, m := range machines {
		fmt.Fprintf(&b, "\n## %v: %d types that klink links\n\n", m, len(Rows(m)))
		b.WriteString("| no. | type | formula | field | range | align | kind | defined in | remark |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
		for _, r := range Rows(m) {
			fmt.Fprintf(&b, "| %d | %s | %v | %v | %s | %d | %v | %s | %s |\n",
				r.Type, name(m, r.Name), r.Formula, r.Field, RangeText(r), r.Align, r.Kind, r.Source, r.Note)
		}
		fmt.Fprintf(&b, "\n## %v: %d types that klink refuses by name\n\n", m, len(refusedOf(m)))
		b.WriteString("| no. | type | why |\n|---|---|---|\n")
		for _, r := range refusedOf(m) {
			fmt.Fprintf(&b, "| %d | %s | %s |\n", r.typ, name(m, TypeName(m, r.typ)), r.reason)
		}
	}
	return b.String()
}

// name returns a type's name without what all names of its machine begin with.
func name(m arch.Machine, s string) string {
	prefix := map[arch.Machine]string{arch.AMD64: amd64Prefix, arch.ARM64: arm64Prefix}[m]
	s = strings.TrimPrefix(s, prefix)
	if strings.HasPrefix(s, "<") {
		return "–"
	}
	return s
}

// TestDocument compares docs/relocations.md with the table.
func TestDocument(t *testing.T) {
	want := document()
	if *update {
		if err := os.WriteFile(documentPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s does not match the table: run go generate ./internal/reloc", documentPath)
	}
}
