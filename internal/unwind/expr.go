package unwind

import "klink/internal/diag"

// maxDepth bounds the stack of an expression. There are no jumps among the operations
// that are known, so an expression ends when its bytes do.
const maxDepth = 64

// The operations that are no table row (DWARF 5, 7.7.1).
const (
	opAddr      = 0x03
	opDeref     = 0x06
	opDup       = 0x12
	opDrop      = 0x13
	opOver      = 0x14
	opPick      = 0x15
	opSwap      = 0x16
	opRot       = 0x17
	opPlusConst = 0x23
	opLit       = 0x30
	opBreg      = 0x70
	opBregx     = 0x92
	opNop       = 0x96
)

// constants are the operations that push the number that follows them.
var constants = [256]func(*cursor) uint64{
	opAddr: func(c *cursor) uint64 { return c.fixed(8) },
	0x08:   func(c *cursor) uint64 { return c.fixed(1) }, // const1u
	0x09:   func(c *cursor) uint64 { return uint64(c.signed(1)) },
	0x0a:   func(c *cursor) uint64 { return c.fixed(2) },
	0x0b:   func(c *cursor) uint64 { return uint64(c.signed(2)) },
	0x0c:   func(c *cursor) uint64 { return c.fixed(4) },
	0x0d:   func(c *cursor) uint64 { return uint64(c.signed(4)) },
	0x0e:   func(c *cursor) uint64 { return c.fixed(8) },
	0x0f:   func(c *cursor) uint64 { return c.fixed(8) },       // const8s
	0x10:   (*cursor).uleb,                                     // constu
	0x11:   func(c *cursor) uint64 { return uint64(c.sleb()) }, // consts
}

// unaryOps are the operations that replace the topmost number.
var unaryOps = [256]func(a uint64) uint64{
	0x19: func(a uint64) uint64 { return uint64(max(int64(a), -int64(a))) }, // abs
	0x1f: func(a uint64) uint64 { return -a },                               // neg
	0x20: func(a uint64) uint64 { return ^a },                               // not
}

// binaryOps are the operations that replace the two topmost numbers, a below b.
// Comparisons are signed (DWARF 5, 2.5.1.5).
var binaryOps = [256]func(a, b uint64) uint64{
	0x1a: func(a, b uint64) uint64 { return a & b },
	0x1c: func(a, b uint64) uint64 { return a - b },
	0x1e: func(a, b uint64) uint64 { return a * b },
	0x21: func(a, b uint64) uint64 { return a | b },
	0x22: func(a, b uint64) uint64 { return a + b },
	0x24: func(a, b uint64) uint64 { return a << b },
	0x25: func(a, b uint64) uint64 { return a >> b },
	0x26: func(a, b uint64) uint64 { return uint64(int64(a) >> b) },
	0x27: func(a, b uint64) uint64 { return a ^ b },
	0x29: func(a, b uint64) uint64 { return truth(a == b) },
	0x2a: func(a, b uint64) uint64 { return truth(int64(a) >= int64(b)) },
	0x2b: func(a, b uint64) uint64 { return truth(int64(a) > int64(b)) },
	0x2c: func(a, b uint64) uint64 { return truth(int64(a) <= int64(b)) },
	0x2d: func(a, b uint64) uint64 { return truth(int64(a) < int64(b)) },
	0x2e: func(a, b uint64) uint64 { return truth(a != b) },
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// evaluator is one evaluation: a stack of numbers. A pop of nothing gives 0 and sets
// bad, like a cursor.
type evaluator struct {
	*stepper
	nums [maxDepth]uint64
	n    int
	bad  bool
}

func (e *evaluator) push(v uint64) {
	if e.n == maxDepth {
		e.bad = true
		return
	}
	e.nums[e.n] = v
	e.n++
}

func (e *evaluator) pop() uint64 {
	if e.n == 0 {
		e.bad = true
		return 0
	}
	e.n--
	return e.nums[e.n]
}

// peek pushes a copy of the number that is i below the top.
func (e *evaluator) peek(i int) {
	if i >= e.n {
		e.bad = true
		return
	}
	e.push(e.nums[e.n-1-i])
}

// evaluate computes an expression; first, if not nil, is pushed before it starts.
func (s *stepper) evaluate(expr span, first *uint64) (uint64, error) {
	e := evaluator{stepper: s}
	if first != nil {
		e.push(*first)
	}
	c := s.t.cursor(expr)
	for c.left() > 0 {
		at := c.at
		if err := e.operation(c.u8(), at, &c); err != nil {
			return 0, err
		}
		if e.bad || c.bad {
			return 0, malformed(at, "an expression that is cut off, or whose stack runs out")
		}
	}
	v := e.pop()
	if e.bad {
		return 0, malformed(expr.lo, "an expression without a value")
	}
	return v, nil
}

// operation executes the operation op, which stands at an offset.
func (e *evaluator) operation(op byte, at uint32, c *cursor) error {
	switch {
	case constants[op] != nil:
		e.push(constants[op](c))
	case unaryOps[op] != nil:
		e.push(unaryOps[op](e.pop()))
	case binaryOps[op] != nil:
		b, a := e.pop(), e.pop()
		e.push(binaryOps[op](a, b))
	case op >= opLit && op < opLit+32:
		e.push(uint64(op - opLit))
	case op >= opBreg && op < opBreg+32:
		return e.register(uint64(op-opBreg), c.sleb())
	default:
		return e.other(op, at, c)
	}
	return nil
}

// other executes the operations that belong to no family.
func (e *evaluator) other(op byte, at uint32, c *cursor) error {
	switch op {
	case opDeref:
		v, err := e.load(e.pop())
		e.push(v)
		return err
	case opBregx:
		column := c.uleb()
		return e.register(column, c.sleb())
	case opPlusConst:
		e.push(e.pop() + c.uleb())
	case opDup:
		e.peek(0)
	case opOver:
		e.peek(1)
	case opPick:
		e.peek(int(c.u8()))
	case opDrop:
		e.pop()
	case opSwap:
		b, a := e.pop(), e.pop()
		e.push(b)
		e.push(a)
	case opRot:
		t, b, a := e.pop(), e.pop(), e.pop()
		e.push(t)
		e.push(a)
		e.push(b)
	case opNop:
	default:
		return unsupported(at, "an expression with the unknown operation %#x", op)
	}
	return nil
}

// register pushes what a register holds, plus n.
func (e *evaluator) register(column uint64, n int64) error {
	v, ok := e.t.machine.get(e.regs, column)
	if !ok {
		return diag.New(diag.ErrMalformed, "", "the unwind table for %#x: %v", e.regs.PC, errRegister)
	}
	e.push(v + uint64(n))
	return nil
}
