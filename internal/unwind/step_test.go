package unwind_test

import (
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/unwind"
)

// Numbers of registers in Regs.R.
const (
	rax, rcx, rdx, rbx = 0, 1, 2, 3
	rbp, rdi, r10, r12 = 5, 7, 10, 12
)

// stackAt is a stack pointer.
const stackAt = 0x7000_0000_1000

func TestStep(t *testing.T) {
	regs := func(change func(*unwind.Regs)) unwind.Regs {
		r := unwind.Regs{PC: codeAt + 0x20, SP: stackAt, Known: unwind.AllKnown}
		for i := range r.R {
			r.R[i] = 0x1000 + uint64(i)
		}
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		machine      arch.Machine
		instructions []byte
		regs         unwind.Regs
		stack        memory
		pc, sp       uint64
		r            map[int]uint64 // what must be known of these registers
		lost         []int          // and not of these
	}{
		"a leaf that pushed nothing": {
			machine: arch.AMD64, regs: regs(func(*unwind.Regs) {}),
			stack: memory{stackAt: 0x10002000}, pc: 0x10002000, sp: stackAt + 8,
			r: map[int]uint64{rbx: 0x1003, rbp: 0x1005, r12: 0x100c}, lost: []int{rax, rcx, rdx, rdi, r10},
		},
		"a frame pointer": { // def_cfa rbp+16; offset rbp at c-16; offset rbx at c-24
			machine: arch.AMD64, instructions: []byte{0x0c, 6, 16, 0x86, 2, 0x83, 3},
			regs:  regs(func(r *unwind.Regs) { r.R[rbp] = stackAt + 0x50 }),
			stack: memory{stackAt + 0x58: 0x10002000, stackAt + 0x50: 0xb9, stackAt + 0x48: 0xb8},
			pc:    0x10002000, sp: stackAt + 0x60, r: map[int]uint64{rbp: 0xb9, rbx: 0xb8, r12: 0x100c},
		},
		"a call looks at the row of the call": { // advance_loc 0x20; def_cfa_offset 64: about the next instruction
			machine: arch.AMD64, instructions: []byte{0x60, 0x0e, 64},
			regs:  regs(func(r *unwind.Regs) { r.Call = true }),
			stack: memory{stackAt: 0x10002000}, pc: 0x10002000, sp: stackAt + 8,
		},
		"a fault looks at the row of its instruction": {
			machine: arch.AMD64, instructions: []byte{0x60, 0x0e, 64},
			regs:  regs(func(*unwind.Regs) {}),
			stack: memory{stackAt + 56: 0x10002000}, pc: 0x10002000, sp: stackAt + 64,
		},
		"a realigned stack": { // def_cfa_expression breg6 -8, deref; expression rbp: breg6 0
			machine: arch.AMD64, instructions: code([]byte{0x0f}, expr(0x76, 0x78, 0x06), []byte{0x10, 6}, expr(0x76, 0)),
			regs:  regs(func(r *unwind.Regs) { r.R[rbp] = stackAt + 0x40 }),
			stack: memory{stackAt + 0x38: stackAt + 0x100, stackAt + 0x40: 0xb9, stackAt + 0xf8: 0x10002000},
			pc:    0x10002000, sp: stackAt + 0x100, r: map[int]uint64{rbp: 0xb9},
		},
		"a procedure linkage table": { // rsp+8 + ((rip & 15) >= 11) << 3, in its second half
			machine: arch.AMD64, instructions: code([]byte{0x0f}, expr(0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22)),
			regs:  regs(func(r *unwind.Regs) { r.PC = codeAt + 0x2b }),
			stack: memory{stackAt + 8: 0x10002000}, pc: 0x10002000, sp: stackAt + 16,
		},
		"everything but an address": { // val_offset rbx = c-16; register r12 in rdi; undefined rbp; same_value rdi; restore rbp
			machine: arch.AMD64, instructions: []byte{0x14, 3, 2, 0x09, 12, 5, 0x07, 6, 0x08, 5, 0x16, 13, 2, 0x23, 1},
			regs:  regs(func(*unwind.Regs) {}),
			stack: memory{stackAt: 0x10002000}, pc: 0x10002000, sp: stackAt + 8,
			r: map[int]uint64{rbx: stackAt - 8, r12: 0x1007, rdi: 0x1007, 13: stackAt + 9}, lost: []int{rbp},
		},
		"saved below the stack": { // def_cfa_offset 8; offset rbx at c-24: popped, and gone
			machine: arch.AMD64, instructions: []byte{0x83, 3},
			regs:  regs(func(*unwind.Regs) {}),
			stack: memory{stackAt: 0x10002000}, pc: 0x10002000, sp: stackAt + 8, lost: []int{rbx},
		},
		"longjmp": { // def_cfa rdi+0; register rsp in r8; register ra in rdx; offset rbx at c+0
			machine: arch.AMD64, instructions: []byte{0x0c, 5, 0, 0x09, 7, 8, 0x09, 16, 1, 0x83, 0},
			regs:  regs(func(r *unwind.Regs) { r.R[rdi], r.R[8], r.R[rdx] = 0x5000, stackAt+0x800, 0x10002000 }),
			stack: memory{0x5000: 0xb8}, pc: 0x10002000, sp: stackAt + 0x800, r: map[int]uint64{rbx: 0xb8},
		},
		"a leaf of aarch64": {
			machine: arch.ARM64, regs: regs(func(r *unwind.Regs) { r.R[30] = 0x10002000 }),
			pc: 0x10002000, sp: stackAt, r: map[int]uint64{19: 0x1013, 29: 0x101d}, lost: []int{0, 18, 30},
		},
		"a signed return address": { // negate_ra_state; def_cfa_offset 32; offset x29 at c-32; offset x30 at c-24
			machine: arch.ARM64, instructions: []byte{0x2d, 0x0e, 32, 0x9d, 4, 0x9e, 3},
			regs:  regs(func(r *unwind.Regs) { r.Call = true }),
			stack: memory{stackAt: 0xfd, stackAt + 8: 0xabcd_0000_1000_2000}, pc: 0x10002000, sp: stackAt + 32,
			r: map[int]uint64{29: 0xfd, 30: 0xabcd_0000_1000_2000}, lost: []int{1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := function(t, c.machine, c.instructions...).Step(&c.regs, c.stack.read)
			if err != nil {
				t.Fatal(err)
			}
			if got.PC != c.pc || got.SP != c.sp || !got.Call {
				t.Errorf("got pc %#x, sp %#x, by a call: %v; want %#x, %#x, true", got.PC, got.SP, got.Call, c.pc, c.sp)
			}
			for n, want := range c.r {
				if got.Known>>n&1 == 0 || got.R[n] != want {
					t.Errorf("register %d is %#x, want %#x (known: %#x)", n, got.R[n], want, got.Known)
				}
			}
			for _, n := range c.lost {
				if got.Known>>n&1 != 0 {
					t.Errorf("register %d is known", n)
				}
			}
		})
	}
}

// TestSignalFrame: behind a signal frame the registers are those of an instruction that
// was interrupted, all of them, on whatever stack.
func TestSignalFrame(t *testing.T) {
	const where = 0x7100_0000_0000
	b := new(builder).common(arch.AMD64, "zRS", []byte{0x1b})
	// def_cfa_expression breg7 160, deref; expression ra: breg7 168; expression rax: breg7 144
	b.fde(codeAt, 16, code([]byte{0x0f}, expr(0x77, 0xa0, 1, 0x06), []byte{0x10, 16}, expr(0x77, 0xa8, 1), []byte{0x10, 0}, expr(0x77, 0x90, 1))...)
	table := b.parse(t, arch.AMD64)
	regs := unwind.Regs{PC: codeAt, SP: where, Known: unwind.AllKnown}
	got, err := table.Step(&regs, memory{where + 160: stackAt, where + 168: 0x10002000, where + 144: 7}.read)
	if err != nil || got.PC != 0x10002000 || got.SP != stackAt || got.Call || got.R[rax] != 7 || got.Known&1 == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got.Lookup() != 0x10002000 {
		t.Error("an interrupted instruction is looked up by the address before it")
	}
}

func TestStepErrors(t *testing.T) {
	full := memory{}
	for a := uint64(stackAt - 0x1000); a < stackAt+0x1000; a += 8 {
		full[a] = 0x10002000
	}
	for name, c := range map[string]struct {
		machine      arch.Machine
		instructions []byte
		change       func(*unwind.Regs)
		stack        memory
		kind         error
		text         string
	}{
		"outermost":             {arch.AMD64, []byte{0x07, 16}, nil, full, unwind.ErrEnd, "outermost"},
		"no table":              {arch.AMD64, nil, func(r *unwind.Regs) { r.PC = codeAt + 0x100 }, full, diag.ErrNotFound, "no unwind table describes the code at 0x10000100"},
		"a call behind it":      {arch.AMD64, nil, func(r *unwind.Regs) { r.PC, r.Call = codeAt, true }, full, diag.ErrNotFound, "0x10000000"},
		"stack overrun":         {arch.AMD64, nil, nil, memory{}, diag.ErrRange, "keeps something at 0x700000001000, outside of the stack"},
		"stack goes down":       {arch.AMD64, []byte{0x13, 1}, nil, full, diag.ErrRange, "with the stack pointer 0x700000001000 ends at 0x700000000ff8"},
		"stack stands still":    {arch.AMD64, []byte{0x0e, 0}, nil, full, diag.ErrRange, "ends at"},
		"calls without frames":  {arch.ARM64, nil, func(r *unwind.Regs) { r.Call = true }, full, diag.ErrRange, "ends at"},
		"unknown register":      {arch.AMD64, []byte{0x0d, 10}, func(r *unwind.Regs) { r.Known = 0 }, full, diag.ErrMalformed, "the CFA depends on a register that is not known"},
		"unknown column":        {arch.AMD64, []byte{0x0c, 40, 0}, nil, full, diag.ErrMalformed, "the CFA depends on a register that is not known"},
		"RA in nowhere":         {arch.AMD64, []byte{0x09, 16, 40}, nil, full, diag.ErrMalformed, "a value is in a register that is not known"},
		"RA unchanged":          {arch.AMD64, []byte{0x08, 16}, nil, full, diag.ErrMalformed, "the return address is in a register that is not known"},
		"unknown instruction":   {arch.AMD64, []byte{0x3c}, nil, full, diag.ErrUnsupported, ".eh_frame+0x29: the unknown instruction 0x3c"},
		"cut off":               {arch.AMD64, []byte{0, 0, 0, 0, 0, 0, 0x0c}, nil, full, diag.ErrMalformed, ".eh_frame+0x2f: an instruction that is cut off"},
		"restored too often":    {arch.AMD64, []byte{0x0a, 0x0b, 0x0b}, nil, full, diag.ErrMalformed, ".eh_frame+0x2b: restore_state without remember_state"},
		"remembered too often":  {arch.AMD64, []byte{10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10}, nil, full, diag.ErrMalformed, "too many states"},
		"backwards":             {arch.AMD64, []byte{0x44, 0x01, 0xc6, 0xff, 0xff, 0xef}, nil, full, diag.ErrMalformed, "set_loc goes backwards"},
		"no operation":          {arch.AMD64, code([]byte{0x0f}, expr(0x28, 0, 0)), nil, full, diag.ErrUnsupported, "the unknown operation 0x28"},
		"empty expression":      {arch.AMD64, []byte{0x0f, 0}, nil, full, diag.ErrMalformed, "an expression without a value"},
		"too few numbers":       {arch.AMD64, code([]byte{0x0f}, expr(0x30, 0x22)), nil, full, diag.ErrMalformed, "whose stack runs out"},
		"too many numbers":      {arch.AMD64, code([]byte{0x0f}, expr(make68(0x31)...)), nil, full, diag.ErrMalformed, "whose stack runs out"},
		"picks nothing":         {arch.AMD64, code([]byte{0x0f}, expr(0x30, 0x15, 9)), nil, full, diag.ErrMalformed, "whose stack runs out"},
		"half a constant":       {arch.AMD64, code([]byte{0x0f}, expr(0x0c, 1)), nil, full, diag.ErrMalformed, "cut off"},
		"reads elsewhere":       {arch.AMD64, code([]byte{0x0f}, expr(0x30, 0x06)), nil, full, diag.ErrRange, "at 0x0, outside of the stack"},
		"unknown in expression": {arch.ARM64, code([]byte{0x0f}, expr(0x92, 46, 0)), nil, full, diag.ErrMalformed, "a value is in a register that is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			regs := unwind.Regs{PC: codeAt + 0x20, SP: stackAt, Known: unwind.AllKnown}
			if c.change != nil {
				c.change(&regs)
			}
			_, err := function(t, c.machine, c.instructions...).Step(&regs, c.stack.read)
			wantError(t, err, c.kind, c.text)
		})
	}
	table := new(builder).raw(1, 0, 1, 0x78, 16).entry([]byte{20, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}).parse(t, arch.AMD64)
	_, err := table.Step(&unwind.Regs{PC: codeAt}, full.read)
	wantError(t, err, diag.ErrMalformed, "no CFA is defined")
}

// make68 returns 68 times b.
func make68(b byte) []byte {
	r := make([]byte, 68)
	for i := range r {
		r[i] = b
	}
	return r
}

func TestOperations(t *testing.T) {
	for name, c := range map[string]struct {
		ops  []byte
		want int64
	}{
		"addr":               {[]byte{0x03, 8, 7, 6, 5, 4, 3, 2, 1}, 0x0102030405060708},
		"const1u, const1s":   {[]byte{0x08, 0xff, 0x09, 0xff, 0x22}, 254},
		"const2u, const2s":   {[]byte{0x0a, 0xff, 0xff, 0x0b, 0xff, 0xff, 0x22}, 65534},
		"const4u, const4s":   {[]byte{0x0c, 0xff, 0xff, 0xff, 0xff, 0x0d, 0xff, 0xff, 0xff, 0xff, 0x22}, 1<<32 - 2},
		"const8u, const8s":   {[]byte{0x0e, 1, 0, 0, 0, 0, 0, 0, 0x80, 0x0f, 1, 0, 0, 0, 0, 0, 0, 0x80, 0x22}, 2},
		"constu, consts":     {[]byte{0x10, 0x80, 1, 0x11, 0x7f, 0x22}, 127},
		"lit":                {[]byte{0x30, 0x4f, 0x22}, 31},
		"dup":                {[]byte{0x33, 0x12, 0x1e}, 9},
		"drop":               {[]byte{0x33, 0x34, 0x13}, 3},
		"over":               {[]byte{0x33, 0x34, 0x14, 0x22, 0x1c}, 3 - (4 + 3)},
		"pick":               {[]byte{0x33, 0x34, 0x35, 0x15, 2}, 3},
		"swap":               {[]byte{0x33, 0x38, 0x16, 0x1c}, 5},
		"rot":                {[]byte{0x31, 0x32, 0x34, 0x17, 0x1c, 0x1c}, 4 - (1 - 2)},
		"abs":                {[]byte{0x09, 0xfd, 0x19}, 3},
		"and":                {[]byte{0x36, 0x33, 0x1a}, 2},
		"or":                 {[]byte{0x36, 0x33, 0x21}, 7},
		"xor":                {[]byte{0x36, 0x33, 0x27}, 5},
		"neg":                {[]byte{0x36, 0x1f}, -6},
		"not":                {[]byte{0x36, 0x20}, ^6},
		"plus_uconst":        {[]byte{0x36, 0x23, 0x81, 1}, 6 + 129},
		"shl":                {[]byte{0x36, 0x33, 0x24}, 48},
		"shl by all":         {[]byte{0x36, 0x08, 64, 0x24}, 0},
		"shr":                {[]byte{0x09, 0xff, 0x08, 60, 0x25}, 15},
		"shra":               {[]byte{0x09, 0x80, 0x33, 0x26}, -16},
		"eq, ne":             {[]byte{0x33, 0x33, 0x29, 0x33, 0x33, 0x2e, 0x32, 0x24, 0x22}, 1},
		"ge, gt":             {[]byte{0x09, 0xff, 0x30, 0x2a, 0x33, 0x33, 0x2b, 0x22, 0x31, 0x31, 0x2a, 0x22}, 1},
		"le, lt":             {[]byte{0x09, 0xff, 0x30, 0x2d, 0x33, 0x33, 0x2d, 0x22, 0x31, 0x31, 0x2c, 0x22}, 2},
		"breg, bregx, deref": {[]byte{0x77, 16, 0x06, 0x92, 3, 1, 0x22}, 0x500 + 0x1003 + 1},
		"nop":                {[]byte{0x96, 0x35}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			table := function(t, arch.AMD64, code([]byte{0x16, 12}, expr(append([]byte{0x13}, c.ops...)...))...)
			regs := unwind.Regs{PC: codeAt, SP: stackAt, Known: unwind.AllKnown}
			regs.R[rbx] = 0x1003
			got, err := table.Step(&regs, memory{stackAt: 1, stackAt + 16: 0x500}.read)
			if err != nil || int64(got.R[r12]) != c.want {
				t.Errorf("got %#x, %v; want %#x", got.R[r12], err, c.want)
			}
		})
	}
}
