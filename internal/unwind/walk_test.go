package unwind_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/unwind"

	"pgregory.net/rapid"
)

// frameOf is a function of a fixture, with a row that a stack can be made for.
type frameOf struct {
	table *unwind.Table
	pc    uint64
	row   unwind.Row
}

// framesOf collects rows of fixtures for one machine: all, and those in which another
// function can be called.
func framesOf(t *testing.T, m arch.Machine) (frames, calling []frameOf) {
	t.Helper()
	for _, dir := range []string{"unwind", "matrix", "rust", "bpf"} {
		for _, file := range fixtures(t, dir) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			im, err := linked(raw, file)
			if err != nil || im.Machine != m || strings.Contains(file, "cfi") { // which is no compiler's
				continue
			}
			table, _ := im.table(t)
			if table == nil {
				continue
			}
			for _, f := range table.FDEs() {
				for pc := f.Lo; pc < f.Hi; pc += m.Facts().InsnAlign {
					row, err := table.RowAt(f, pc)
					if err != nil {
						t.Fatal(err)
					}
					if !plain(m, row) {
						continue
					}
					frames = append(frames, frameOf{table, pc, row})
					if calls(m, row) {
						calling = append(calling, frameOf{table, pc, row})
					}
				}
			}
		}
	}
	if len(frames) < 5000 || len(calling) < 2000 {
		t.Fatalf("only %d rows, %d of them with room for a call", len(frames), len(calling))
	}
	return frames, calling
}

// plain says that a row has rules of the usual kind alone, and that its frame's end
// follows from what the function itself holds.
func plain(m arch.Machine, row unwind.Row) bool {
	for _, r := range row.Cols {
		if r != "u" && r[0] != 'c' {
			return false
		}
	}
	return !row.Expr && (!conventions[m].saved[int(row.CFA)] || row.Cols[row.CFA] != "u")
}

// calls says that a function may be at a call: what is saved lies above its stack
// pointer, the register that leads to its end survives, and on aarch64 the return
// address is saved.
func calls(m arch.Machine, row unwind.Row) bool {
	abi := conventions[m]
	if m == arch.ARM64 && row.Cols[30] == "u" || int(row.CFA) != abi.sp && !abi.saved[int(row.CFA)] {
		return false
	}
	for _, r := range row.Cols {
		if r != "u" && int(row.CFA) == abi.sp && saved(r) < -row.Off {
			return false
		}
	}
	return true
}

// saved returns N of "c+N".
func saved(rule string) int64 {
	n, err := strconv.ParseInt(rule[1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// TestWalk makes stacks of real functions, stopped at any of their instructions, and
// walks them: each step must find the caller's address, stack pointer and the registers
// that calls preserve.
func TestWalk(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		t.Run(m.Facts().GOARCH, func(t *testing.T) {
			frames, calling := framesOf(t, m)
			rapid.Check(t, func(t *rapid.T) { walk(t, m, frames, calling) })
		})
	}
}

// convention is what the psABI of a machine says, by column: where R keeps it, and
// whether calls preserve it.
type convention struct {
	number map[int]int
	saved  map[int]bool
	sp     int
}

var conventions = map[arch.Machine]convention{
	arch.AMD64: {
		number: map[int]int{0: 0, 1: 2, 2: 1, 3: 3, 4: 6, 5: 7, 6: 5, 8: 8, 9: 9, 10: 10, 11: 11, 12: 12, 13: 13, 14: 14, 15: 15},
		saved:  map[int]bool{3: true, 6: true, 12: true, 13: true, 14: true, 15: true}, sp: 7,
	},
	arch.ARM64: {
		number: map[int]int{
			0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 10: 10, 11: 11, 12: 12, 13: 13, 14: 14, 15: 15, 16: 16, 17: 17, 18: 18,
			19: 19, 20: 20, 21: 21, 22: 22, 23: 23, 24: 24, 25: 25, 26: 26, 27: 27, 28: 28, 29: 29, 30: 30,
		},
		saved: map[int]bool{19: true, 20: true, 21: true, 22: true, 23: true, 24: true, 25: true, 26: true, 27: true, 28: true, 29: true}, sp: 31,
	},
}

// walk builds a stack from its outermost frame inwards: the registers that a function
// found when it was called are put where its row says, until the innermost one is
// reached; then it walks back.
func walk(t *rapid.T, m arch.Machine, frames, calling []frameOf) {
	abi := conventions[m]
	word := rapid.Uint64Range(1, 1<<40)
	at := unwind.Regs{PC: 0x10002000, SP: 0x7000_0100_0000, Call: true}
	for n := range abi.saved {
		at.R[abi.number[n]] = word.Draw(t, "register")
	}
	stack := memory{}
	type stop struct {
		frameOf
		regs, caller unwind.Regs
	}
	var stops []stop
	depth := rapid.IntRange(1, 8).Draw(t, "depth")
	for i := range depth {
		from := calling
		if i == depth-1 {
			from = frames
		}
		f := from[rapid.IntRange(0, len(from)-1).Draw(t, "frame")]
		regs := enter(m, f.row, &at, stack)
		if regs.PC = f.pc; i < depth-1 {
			regs.PC++
			regs.Call = true
		}
		stops = append(stops, stop{f, regs, at})
		at = regs
	}
	regs := at
	for i := len(stops) - 1; i >= 0; i-- {
		s := stops[i]
		got, err := s.table.Step(&regs, stack.read)
		if err != nil {
			t.Fatalf("frame %d at %#x: %v", i, regs.PC, err)
		}
		if got.PC != s.caller.PC || got.SP != s.caller.SP || !got.Call {
			t.Fatalf("frame %d: got pc %#x sp %#x, want %#x %#x", i, got.PC, got.SP, s.caller.PC, s.caller.SP)
		}
		for c := range abi.saved {
			n := abi.number[c]
			if got.R[n] != s.caller.R[n] || got.Known>>n&1 == 0 {
				t.Fatalf("frame %d: register %d is %#x, want %#x (known: %#x)", i, n, got.R[n], s.caller.R[n], got.Known)
			}
		}
		regs = got
	}
}

// enter returns the registers of a function that was called with those of its caller
// and is stopped where the row holds, and puts onto the stack what the row says that it
// saved.
func enter(m arch.Machine, row unwind.Row, caller *unwind.Regs, stack memory) unwind.Regs {
	abi := conventions[m]
	regs := *caller
	regs.Known, regs.Call = unwind.AllKnown, false
	cfa := caller.SP
	if m == arch.ARM64 {
		regs.R[30] = caller.PC
	}
	for c, rule := range row.Cols {
		if rule == "u" {
			continue
		}
		v := caller.PC
		if n, is := abi.number[c]; is && uint64(c) != row.RA {
			v = caller.R[n]
			regs.R[n] = 0xdead // it has other things to keep there
		}
		stack[cfa+uint64(saved(rule))] = v
	}
	base := cfa - uint64(row.Off)
	regs.SP = base
	if int(row.CFA) != abi.sp {
		regs.R[abi.number[int(row.CFA)]] = base
		regs.SP = cfa - 0x400 // below everything that was saved
	}
	return regs
}
