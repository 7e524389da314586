package unwind

import "errors"

// instruction is one call frame instruction: what its operands are, a letter each
// (1, 2, 4: an unsigned number of so many bytes; u, s: a LEB128 number, unsigned or
// signed; a: an address; e: an expression), and what it does to the row.
type instruction struct {
	operands string
	do       func(*program, *args) error
}

// args are the operands of one instruction.
type args struct {
	low  int64 // the one in a packed opcode
	n    [2]int64
	expr span
}

// packed are the instructions that keep an operand in their lowest 6 bits, by the
// two others.
var packed = [4]instruction{
	1: {"", func(p *program, a *args) error { return p.advance(uint64(a.low)) }},           // advance_loc
	2: {"u", func(p *program, a *args) error { return p.save(a.low, offset, a.n[0]) }},     // offset
	3: {"", func(p *program, a *args) error { return p.set(a.low, p.initialRule(a.low)) }}, // restore
}

// instructions are the others, by opcode (DWARF 5, 7.24; LSB 10.6.1.1.3 for the GNU
// ones; aadwarf64 4.4 for those of aarch64). A return address's signature is cut off
// whether it has one or not, and args_size is for landing pads: neither needs a row.
var instructions = [64]instruction{
	0x00: {"", (*program).nothing},  // nop
	0x01: {"a", (*program).setLoc},  // set_loc
	0x02: {"1", (*program).move},    // advance_loc1
	0x03: {"2", (*program).move},    // advance_loc2
	0x04: {"4", (*program).move},    // advance_loc4
	0x05: {"uu", (*program).offset}, // offset_extended
	0x06: {"u", (*program).restore}, // restore_extended
	0x07: {"u", (*program).undefined},
	0x08: {"u", (*program).sameValue},
	0x09: {"uu", (*program).register},
	0x0a: {"", (*program).rememberState},
	0x0b: {"", (*program).restoreState},
	0x0c: {"uu", (*program).defCFA},
	0x0d: {"u", (*program).defCFARegister},
	0x0e: {"u", (*program).defCFAOffset},
	0x0f: {"e", (*program).defCFAExpression},
	0x10: {"ue", (*program).expression},
	0x11: {"us", (*program).offset},   // offset_extended_sf
	0x12: {"us", (*program).defCFAsf}, // def_cfa_sf
	0x13: {"s", (*program).defCFAOffsetSf},
	0x14: {"uu", (*program).valOffset},
	0x15: {"us", (*program).valOffset}, // val_offset_sf
	0x16: {"ue", (*program).valExpression},
	0x2c: {"", (*program).nothing},          // AARCH64_negate_ra_state_with_pc
	0x2d: {"", (*program).nothing},          // AARCH64_negate_ra_state
	0x2e: {"u", (*program).nothing},         // GNU_args_size
	0x2f: {"uu", (*program).negativeOffset}, // GNU_negative_offset_extended
}

// What is wrong with a program whose bytes are all there.
var (
	errBackwards = errors.New("set_loc goes backwards")
	errTooDeep   = errors.New("too many states are remembered")
	errNoState   = errors.New("restore_state without remember_state")
	errNoCFA     = errors.New("no CFA is defined")
	errCFAColumn = errors.New("the CFA depends on a register that is not known")
	errRAColumn  = errors.New("the return address is in a register that is not known")
	errRegister  = errors.New("a value is in a register that is not known")
)

func (p *program) nothing(*args) error { return nil }

// advance moves on by n units of code; done if that is behind pc.
func (p *program) advance(n uint64) error {
	room := p.pc - p.loc
	if unit := p.cie.codeAlign; n != 0 && unit > room/n {
		p.done = true
		return nil
	}
	p.loc += n * p.cie.codeAlign
	return nil
}

func (p *program) move(a *args) error { return p.advance(uint64(a.n[0])) }

func (p *program) setLoc(a *args) error {
	to := uint64(a.n[0])
	if to < p.loc {
		return errBackwards
	}
	if p.done = to > p.pc; !p.done {
		p.loc = to
	}
	return nil
}

// set gives a column its rule.
func (p *program) set(column int64, r rule) error {
	if uint64(column) < columns {
		p.row.cols[column] = r
	}
	return nil
}

// save sets a rule whose number counts in units of data.
func (p *program) save(column int64, how how, n int64) error {
	return p.set(column, rule{how: how, n: n * p.cie.dataAlign})
}

// initialRule returns the rule that a column has from the CIE.
func (p *program) initialRule(column int64) rule {
	if uint64(column) < columns {
		return p.initial.cols[column]
	}
	return rule{}
}

func (p *program) offset(a *args) error         { return p.save(a.n[0], offset, a.n[1]) }
func (p *program) negativeOffset(a *args) error { return p.save(a.n[0], offset, -a.n[1]) }
func (p *program) valOffset(a *args) error      { return p.save(a.n[0], valOffset, a.n[1]) }
func (p *program) restore(a *args) error        { return p.set(a.n[0], p.initialRule(a.n[0])) }
func (p *program) undefined(a *args) error      { return p.set(a.n[0], rule{how: undefined}) }
func (p *program) sameValue(a *args) error      { return p.set(a.n[0], rule{how: same}) }
func (p *program) register(a *args) error       { return p.set(a.n[0], rule{how: inRegister, n: a.n[1]}) }

func (p *program) expression(a *args) error {
	return p.set(a.n[0], rule{how: expression, expr: a.expr})
}

func (p *program) valExpression(a *args) error {
	return p.set(a.n[0], rule{how: valExpression, expr: a.expr})
}

func (p *program) rememberState(*args) error {
	if len(p.stack) == maxRemember {
		return errTooDeep
	}
	p.stack = append(p.stack, p.row)
	return nil
}

// restoreState brings all columns and the CFA back.
func (p *program) restoreState(*args) error {
	last := len(p.stack) - 1
	if last < 0 {
		return errNoState
	}
	p.row = p.stack[last]
	p.stack = p.stack[:last]
	return nil
}

// The instructions of the CFA. Those that give only its register or only its offset
// leave the other as it was, also while an expression stands in between.

func (p *program) defCFA(a *args) error {
	p.row.cfa, p.row.off = rule{how: inRegister, n: a.n[0]}, a.n[1]
	return nil
}

func (p *program) defCFAsf(a *args) error {
	p.row.cfa, p.row.off = rule{how: inRegister, n: a.n[0]}, a.n[1]*p.cie.dataAlign
	return nil
}

func (p *program) defCFARegister(a *args) error {
	p.row.cfa = rule{how: inRegister, n: a.n[0]}
	return nil
}

func (p *program) defCFAOffset(a *args) error {
	p.row.off = a.n[0]
	return nil
}

func (p *program) defCFAOffsetSf(a *args) error {
	p.row.off = a.n[0] * p.cie.dataAlign
	return nil
}

func (p *program) defCFAExpression(a *args) error {
	p.row.cfa = rule{how: expression, expr: a.expr}
	return nil
}
