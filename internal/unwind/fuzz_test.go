package unwind_test

import (
	"os"
	"testing"

	"klink/internal/arch"
	"klink/internal/unwind"
)

// FuzzStep: whatever the table and the stack, there is an error or a table; each step
// ends in an error or in a caller, whose stack pointer grows unless it was a signal's or
// the innermost frame's.
func FuzzStep(f *testing.F) {
	add := func(m arch.Machine, data []byte) {
		f.Add(m == arch.ARM64, data, uint64(codeAt), uint64(stackAt), uint64(16))
	}
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		add(m, new(builder).usual(m).fde(codeAt, 0x100, 0x41, 0x0e, 16, 0x86, 2, 0x0a, 0x44, 0x0b).data)
		add(m, new(builder).common(m, "zRS", []byte{0x1b}).fde(codeAt, 16, code([]byte{0x0f}, expr(0x77, 0xa0, 1, 0x06, 0x38, 0x22, 0x12, 0x1a))...).data)
		add(m, new(builder).common(m, "zPLR", []byte{0x9b, 1, 2, 3, 4, 0x1b, 0x1b}).fde(codeAt, 9, 0x16, 3, 2, 0x77, 0x10, 0x09, 16, 1).data)
	}
	for _, file := range []string{"cfi.amd64.o", "cfi.arm64.o"} {
		raw, err := os.ReadFile("../../testdata/objs/unwind/" + file)
		if err != nil {
			f.Fatal(err)
		}
		im, err := linked(raw, file)
		if err != nil {
			f.Fatal(err)
		}
		for i := range im.obj.Sections {
			if im.obj.Sections[i].Name == ".eh_frame" {
				r, off, _ := im.Section(0, i)
				add(im.Machine, im.out[r][off:off+im.obj.Sections[i].Size])
			}
		}
	}
	f.Fuzz(func(t *testing.T, arm bool, data []byte, pc, sp, word uint64) {
		m := arch.AMD64
		if arm {
			m = arch.ARM64
		}
		table, err := unwind.Parse(m, data, tableAt)
		if (table == nil) == (err == nil) {
			t.Fatalf("table %v, error %v", table != nil, err)
		}
		if err != nil {
			return
		}
		stack := func(addr uint64) (uint64, bool) { return pc + addr%(word|1)%4096, addr >= sp && addr < sp+1<<16 }
		starts := []uint64{pc}
		for _, fde := range table.FDEs()[:min(table.Len(), 16)] {
			starts = append(starts, fde.Lo, fde.Lo+(fde.Hi-fde.Lo)/2, fde.Hi-1)
		}
		for _, start := range starts {
			regs := unwind.Regs{PC: start, SP: sp, Known: unwind.AllKnown}
			for range 32 {
				caller, err := table.Step(&regs, stack)
				if err != nil {
					break
				}
				if caller.Call && (caller.SP < regs.SP || regs.Call && caller.SP == regs.SP) {
					t.Fatalf("from %#x to %#x", regs.SP, caller.SP)
				}
				regs = caller
			}
		}
	})
}
