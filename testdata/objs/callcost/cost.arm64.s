// What a call costs: loops that differ in nothing but how they call a function that
// adds one. void cost_X(u64 n): n calls, n a multiple of 8, at least 8.
//
// Every loop starts a block of 1024 bytes, aligned to it, and its function stands at
// 960 in the same block, so that loops that call alike are alike to the processor. The
// local names are bound by the assembler, as a static linker binds a call.
	.text

// the function, at its place in the block; and the loop's end
	.macro	function block, name, global=0
	.org	costs + \block * 1024 + 960
	.if	\global
	.weak	\name
	.type	\name, %function
	.endif
\name:
	add	x1, x1, #1
	ret
	.if	\global
	.size	\name, . - \name
	.endif
	.endm

	.macro	loop	block, name
	.org	costs + \block * 1024
	.globl	\name
	.type	\name, %function
\name:
	.cfi_startproc
	stp	x29, x30, [sp, #-16]!
	.cfi_adjust_cfa_offset 16
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	mov	x1, #0
	adrp	x9, cells
	add	x9, x9, :lo12:cells
	.p2align 6
1:
	.endm

	.macro	next	name
	subs	x0, x0, #8
	b.hi	1b
	ldp	x29, x30, [sp], #16
	.cfi_restore x29
	.cfi_restore x30
	.cfi_adjust_cfa_offset -16
	ret
	.cfi_endproc
	.size	\name, . - \name
	.endm

	.balign	4096
costs:
// a call that the assembler bound
	loop	0, cost_static
	.rept	8
	bl	static_f
	.endr
	next	cost_static
	function 0, static_f

// the same once more
	loop	1, cost_control
	.rept	8
	bl	control_f
	.endr
	next	cost_control
	function 1, control_f

// a site
	loop	2, cost_site
	.rept	8
	bl	callcost_f
	.endr
	next	cost_site
	function 2, callcost_f, 1

// through a vector of operations, as bpf_ops->bpf_mtap() was
	loop	3, cost_vector
	.rept	8
	ldr	x10, [x9]		// ops
	ldr	x10, [x10, #8]
	blr	x10
	.endr
	next	cost_vector
	function 3, vector_f

// through a stub that jumps through the GOT
	loop	4, cost_plt
	.rept	8
	bl	stub
	.endr
	next	cost_plt
	.balign	16
stub:	adrp	x16, slot
	ldr	x17, [x16, :lo12:slot]
	add	x16, x16, :lo12:slot
	br	x17
	function 4, plt_f

// through a hook with a count of references
	loop	5, cost_hook
	.rept	8
	add	x10, x9, #192		// hook_references
3:	ldxr	x11, [x10]
	add	x11, x11, #1
	stlxr	w12, x11, [x10]
	cbnz	w12, 3b
	ldr	x11, [x9, #136]		// hook_set
	cbz	x11, 2f
	ldr	x11, [x9, #128]		// hook
	blr	x11
2:	add	x10, x9, #192
3:	ldxr	x11, [x10]
	sub	x11, x11, #1
	stlxr	w12, x11, [x10]
	cbnz	w12, 3b
	.endr
	next	cost_hook
	function 5, hook_f
	.org	costs + 6 * 1024 + 512

	.data
	.balign	64
cells:
ops:	.quad	operations
operations:
	.quad	0, vector_f
	.balign	64
slot:	.quad	plt_f
	.balign	64
hook:	.quad	hook_f
hook_set:
	.quad	1
	.balign	64
hook_references:
	.quad	0
	.section .note.GNU-stack, "", %progbits
