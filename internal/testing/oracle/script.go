package oracle

import (
	"debug/elf"
	"fmt"
	"sort"
	"strings"
)

// place is one thing that the script pins.
type place struct {
	name string
	addr uint64
	size uint64
}

// makeScript writes the linker script that pins each section, the GOT and each
// name. The sections' order is by address, which ld needs to lay out its file.
// _GLOBAL_OFFSET_TABLE_ is not set by the script: ld puts it at the start of
// .got.plt (x86-64) or .got (aarch64), which therefore come first.
func makeScript(m elf.Machine, sections []place, symbols []place, got uint64) (string, error) {
	var b strings.Builder
	for _, s := range symbols {
		if strings.ContainsAny(s.name, "\"\\\n\r\x00") || s.name == "" {
			return "", fmt.Errorf("symbol %q cannot stand in a linker script", s.name)
		}
		fmt.Fprintf(&b, "\"%s\" = 0x%x;\n", s.name, s.addr)
	}
	b.WriteString("SECTIONS\n{\n")
	sorted := append([]place(nil), sections...)
	end := got
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].addr < sorted[j].addr })
	for _, s := range sorted {
		// The assignment keeps an empty section, whose address may matter.
		fmt.Fprintf(&b, "  %s 0x%x : SUBALIGN(1) { *(%s) . = .; }\n", s.name, s.addr, s.name)
		end = max(end, s.addr+s.size)
	}
	gotOrder := "*(.got) *(.got.plt)"
	if m == elf.EM_X86_64 {
		gotOrder = "*(.got.plt) *(.got)"
	}
	fmt.Fprintf(&b, "  .got 0x%x : SUBALIGN(1) { %s *(.igot) *(.igot.plt) }\n", got, gotOrder)
	// Whatever else ld makes (entries of IFUNCs and their relocations), out of the way.
	rest := (end + 0x400000) &^ 0xfff
	fmt.Fprintf(&b, "  .plt 0x%x : { *(.plt) *(.iplt) *(.plt.*) }\n", rest)
	fmt.Fprintf(&b, "  .rela 0x%x : { *(.rela.*) }\n", rest+0x100000)
	b.WriteString("  /DISCARD/ : { *(*) }\n}\n")
	return b.String(), nil
}
