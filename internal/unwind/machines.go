package unwind

import "klink/internal/arch"

// columns is how many columns of a row are followed; what tables say of others
// (vector registers, pseudo-registers) is passed over.
const columns = 32

// noReg stands in machine.regs where a column is no general register.
const noReg = -1

// machine says what the columns of a machine mean.
type machine struct {
	regs   [columns]int8 // by column: the register's number in Regs.R
	sp     uint64        // the column of the stack pointer
	pc     uint64        // the column of the program counter, columns if it has none
	saved  uint32        // by register number: a function leaves it as it found it
	signed bool          // return addresses may carry a signature in bits 48 to 63
	pushed bool          // a call pushes the return address, so even a leaf has a frame
}

// machines: the columns of x86-64 are numbered by its psABI, figure 3.36, R by the
// instructions' own numbers; those of aarch64 by aadwarf64 4.1, the same as R's.
var machines = map[arch.Machine]*machine{
	arch.AMD64: {
		//             rax rdx rcx rbx rsi rdi rbp rsp
		regs: columnsOf(0, 2, 1, 3, 6, 7, 5, noReg, 8, 9, 10, 11, 12, 13, 14, 15),
		sp:   7, pc: 16, saved: 1<<3 | 1<<5 | 0xf000, pushed: true, // rbx, rbp, r12 to r15
	},
	arch.ARM64: {
		regs: columnsOf(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
			16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30),
		sp: 31, pc: columns, saved: 0x3ff80000, signed: true, // x19 to x29
	},
}

// columnsOf fills up a list of registers.
func columnsOf(list ...int8) (r [columns]int8) {
	n := copy(r[:], list)
	for i := n; i < columns; i++ {
		r[i] = noReg
	}
	return r
}

// get returns what a column holds; ok is false if that is not known.
func (m *machine) get(r *Regs, column uint64) (v uint64, ok bool) {
	switch {
	case column == m.sp:
		return r.SP, true
	case column == m.pc:
		return r.PC, true
	case column >= columns || m.regs[column] == noReg:
		return 0, false
	}
	n := m.regs[column]
	return r.R[n], r.Known>>n&1 != 0
}

// Address returns the address that a word of a stack or of a register of machine m
// may hold: on aarch64 bits 48 to 63 are cleared, where pointer authentication signs.
func Address(m arch.Machine, word uint64) uint64 {
	if f := machines[m]; f != nil {
		return f.address(word)
	}
	return word
}

func (m *machine) address(word uint64) uint64 {
	if m.signed {
		return word & (1<<48 - 1)
	}
	return word
}
