package unwind

// Bounds of one function's program. Compilers remember one state, rarely two, and
// their longest programs take a few KiB.
const (
	maxProgram  = 1 << 20 // bytes
	maxRemember = 16      // states that are remembered at a time
)

// how says how a register of the caller is found (DWARF 5, 6.4.1).
type how uint8

// The rules of a column.
const (
	unspecified   how = iota // no rule was given: the ABI says
	undefined                // it is lost
	same                     // it was not changed
	offset                   // it is saved at CFA + n
	valOffset                // it is CFA + n
	inRegister               // it is in column n
	expression               // it is saved at the address that an expression gives
	valExpression            // it is what an expression gives
)

// rule is one column of a row.
type rule struct {
	how  how
	n    int64
	expr span
}

// row is what a table says about one address: where the frame of the caller ends (the
// CFA: its stack pointer before the call), and where its registers are.
type row struct {
	cfa  rule // how: inRegister (column n, plus off) or expression; unspecified: not given
	off  int64
	cols [columns]rule
}

// program is one run of a CIE's and an FDE's instructions.
type program struct {
	t       *Table
	cie     *cie
	row     row
	initial row    // behind the CIE's instructions: what restore goes back to
	stack   []row  // remembered
	loc     uint64 // the address that row is about, at most pc
	pc      uint64
	done    bool // the rows that follow are about addresses behind pc
}

// rowAt returns the row of an FDE for pc, which lies in it.
func (t *Table) rowAt(f *FDE, pc uint64) (*row, error) {
	p := &program{t: t, cie: &t.cies[f.cie], loc: f.Lo, pc: pc}
	if err := p.run(p.cie.program); err != nil {
		return nil, err
	}
	p.initial = p.row
	p.stack, p.loc, p.done = nil, f.Lo, false
	if err := p.run(f.program); err != nil {
		return nil, err
	}
	return &p.row, nil
}

// run executes instructions up to the ones about addresses behind pc.
func (p *program) run(s span) error {
	if s.hi-s.lo > maxProgram {
		return unsupported(s.lo, "%d bytes of instructions are more than klink's limit of %d", s.hi-s.lo, maxProgram)
	}
	c := p.t.cursor(s)
	for c.left() > 0 && !p.done {
		start := c.at
		op := c.u8()
		in, low := &instructions[op&0x3f], int64(0)
		if op >= 0x40 {
			in, low = &packed[op>>6], int64(op&0x3f)
		}
		if in.do == nil {
			return unsupported(start, "the unknown instruction %#x", op)
		}
		a := args{low: low}
		p.operands(&c, in.operands, &a)
		if c.bad {
			return malformed(start, "an instruction that is cut off")
		}
		if err := in.do(p, &a); err != nil {
			return malformed(start, "%v", err)
		}
	}
	return nil
}

// operands reads the operands of an instruction.
func (p *program) operands(c *cursor, kinds string, a *args) {
	for i := range len(kinds) {
		switch kinds[i] {
		case '1', '2', '4':
			a.n[i] = int64(c.fixed(uint64(kinds[i] - '0')))
		case 'u':
			a.n[i] = int64(c.uleb())
		case 's':
			a.n[i] = c.sleb()
		case 'a':
			a.n[i] = int64(c.pointer(p.cie.enc, p.t.addr))
		case 'e':
			a.expr = c.take(c.uleb())
		}
	}
}
