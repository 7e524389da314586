package unwind

import (
	"errors"

	"klink/internal/diag"
)

// Regs are the registers of one frame: of a thread that was stopped, or of a caller as
// far as they are known.
type Regs struct {
	PC    uint64     // where the frame goes on
	SP    uint64     // its stack pointer
	R     [31]uint64 // x86-64: rax rcx rdx rbx rsp rbp rsi rdi r8 … r15, as instructions number them; aarch64: x0 … x30
	Known uint32     // bit n: R[n] is known. Of x86-64's rsp only SP counts
	Call  bool       // PC is where a call returns to: what belongs to it is the call before it
}

// AllKnown is Regs.Known of a thread that was stopped.
const AllKnown = 1<<31 - 1

// ErrEnd is returned by Step for the outermost frame: its table says that there is no
// caller.
var ErrEnd = errors.New("the outermost frame")

// RedZone is how far below the stack pointer of the innermost frame a Stack should reach,
// bytes: on x86-64 leaves may keep what they like there (psABI 3.2.2), and at the end of
// a function tables look there for registers that were just popped.
const RedZone = 128

// Stack reads the word at an address of the stack that is walked; ok is false where it
// does not reach.
type Stack func(addr uint64) (word uint64, ok bool)

// Lookup returns the address by which the code of a frame is found in tables, of
// unwinding or of lines.
func (r *Regs) Lookup() uint64 {
	if r.Call {
		return r.PC - 1
	}
	return r.PC
}

// Step returns the registers of the caller of the frame with the registers regs. A
// register that calls do not preserve and that no rule restores is not known of the
// caller; nor is one whose rule leads nowhere, for in the last instructions of a function
// tables say of registers that are restored already that they are saved, by then below
// the stack pointer. The return address of a caller has no signature (aarch64).
//
// The error is ErrEnd, or by errors.Is diag.ErrNotFound (no FDE describes the code),
// diag.ErrMalformed or diag.ErrUnsupported (the table), or diag.ErrRange (the stack is
// not what the table says). With each step by a call the stack pointer grows, but
// through the innermost frame and signal frames it may not: who steps in a loop bounds
// the number of frames.
func (t *Table) Step(regs *Regs, stack Stack) (caller Regs, err error) {
	f, ok := t.Find(regs.Lookup())
	if !ok {
		return Regs{}, diag.New(diag.ErrNotFound, "", "no unwind table describes the code at %#x", regs.PC)
	}
	row, err := t.rowAt(&f, regs.Lookup())
	if err != nil {
		return Regs{}, err
	}
	s := stepper{t: t, regs: regs, row: row, stack: stack}
	if err := s.findCFA(); err != nil {
		return Regs{}, err
	}
	if err := s.registers(&caller); err != nil {
		return Regs{}, err
	}
	// A frame that has called another has room at least for its own return address. One
	// that has not may have none, if calls do not push.
	ci := &t.cies[f.cie]
	if !ci.signal && (caller.SP < regs.SP || caller.SP == regs.SP && (regs.Call || t.machine.pushed)) {
		return Regs{}, diag.New(diag.ErrRange, "", "the frame at %#x with the stack pointer %#x ends at %#x", regs.PC, regs.SP, caller.SP)
	}
	caller.Call = !ci.signal
	caller.PC, err = s.returnAddress(ci.ra)
	if err != nil {
		return Regs{}, err
	}
	return caller, nil
}

// stepper is one Step.
type stepper struct {
	t     *Table
	regs  *Regs
	row   *row
	stack Stack
	cfa   uint64
}

// findCFA computes the CFA.
func (s *stepper) findCFA() error {
	switch r := &s.row.cfa; r.how {
	case inRegister:
		v, ok := s.t.machine.get(s.regs, uint64(r.n))
		if !ok {
			return s.broken(errCFAColumn)
		}
		s.cfa = v + uint64(s.row.off)
		return nil
	case expression:
		v, err := s.evaluate(r.expr, nil)
		s.cfa = v
		return err
	}
	return s.broken(errNoCFA)
}

// registers fills in all registers of the caller but PC. Only SP must be found.
func (s *stepper) registers(caller *Regs) error {
	m := s.t.machine
	caller.SP = s.cfa
	for c := range s.row.cols {
		r := &s.row.cols[c]
		n := m.regs[c]
		if uint64(c) == m.sp && r.how > same {
			v, _, err := s.value(m.sp, r)
			if err != nil {
				return err
			}
			caller.SP = v
		}
		if n == noReg || r.how == unspecified && m.saved>>n&1 == 0 {
			continue
		}
		if v, ok, err := s.value(uint64(c), r); ok && err == nil {
			caller.R[n] = v
			caller.Known |= 1 << n
		}
	}
	return nil
}

// returnAddress finds where the caller goes on.
func (s *stepper) returnAddress(column uint64) (uint64, error) {
	r := &s.row.cols[column]
	if r.how == undefined {
		return 0, ErrEnd
	}
	v, ok, err := s.value(column, r)
	if err == nil && !ok {
		err = s.broken(errRAColumn)
	}
	return s.t.machine.address(v), err
}

// value applies the rule of a column; ok is false if it is lost.
func (s *stepper) value(column uint64, r *rule) (v uint64, ok bool, err error) {
	switch r.how {
	case unspecified, same:
		if column != s.t.machine.pc { // which no call leaves as it was
			v, ok = s.t.machine.get(s.regs, column)
		}
		return v, ok, nil
	case offset:
		v, err = s.load(s.cfa + uint64(r.n))
	case valOffset:
		v = s.cfa + uint64(r.n)
	case inRegister:
		if v, ok = s.t.machine.get(s.regs, uint64(r.n)); !ok {
			err = s.broken(errRegister)
		}
	case expression:
		if v, err = s.evaluate(r.expr, &s.cfa); err == nil {
			v, err = s.load(v)
		}
	case valExpression:
		v, err = s.evaluate(r.expr, &s.cfa)
	default: // undefined
		return 0, false, nil
	}
	return v, err == nil, err
}

// load reads a word of the stack.
func (s *stepper) load(addr uint64) (uint64, error) {
	v, ok := s.stack(addr)
	if !ok {
		return 0, diag.New(diag.ErrRange, "", "the frame at %#x keeps something at %#x, outside of the stack", s.regs.PC, addr)
	}
	return v, nil
}

// broken says what is wrong with the row.
func (s *stepper) broken(why error) error {
	return diag.New(diag.ErrMalformed, "", "the unwind table for %#x: %v", s.regs.PC, why)
}
