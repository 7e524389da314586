# What a call costs: loops that differ in nothing but how they call a function that
# adds one. void cost_X(u64 n): n calls, n a multiple of 8, at least 8.
#
# Every loop starts a block of 512 bytes, aligned to it, and its function stands at
# 448 in the same block, so that loops that call alike are alike to the processor. The
# local names are bound by the assembler, as a static linker binds a call.
	.text

# the function, at its place in the block; and the loop's end
	.macro	function block, name, global=0
	.org	costs + \block * 512 + 448, 0xcc
	.if	\global
	.weak	\name
	.type	\name, @function
	.endif
\name:
	add	$1, %rax
	ret
	.if	\global
	.size	\name, . - \name
	.endif
	.endm

	.macro	loop	block, name
	.org	costs + \block * 512, 0xcc
	.globl	\name
	.type	\name, @function
\name:
	.cfi_startproc
	xor	%eax, %eax
	.p2align 6
1:
	.endm

	.macro	next	name
	sub	$8, %rdi
	ja	1b
	ret
	.cfi_endproc
	.size	\name, . - \name
	.endm

	.balign	4096, 0xcc
costs:
# a call that the assembler bound
	loop	0, cost_static
	.rept	8
	call	static_f
	.endr
	next	cost_static
	function 0, static_f

# the same once more
	loop	1, cost_control
	.rept	8
	call	control_f
	.endr
	next	cost_control
	function 1, control_f

# a site
	loop	2, cost_site
	.rept	8
	call	callcost_f
	.endr
	next	cost_site
	function 2, callcost_f, 1

# through a vector of operations, as bpf_ops->bpf_mtap() was
	loop	3, cost_vector
	.rept	8
	mov	ops(%rip), %rcx
	call	*8(%rcx)
	.endr
	next	cost_vector
	function 3, vector_f

# through a stub that jumps through the GOT
	loop	4, cost_plt
	.rept	8
	call	stub
	.endr
	next	cost_plt
	.balign	16
stub:	jmp	*slot(%rip)
	function 4, plt_f

# through a hook with a count of references
	loop	5, cost_hook
	.rept	8
	lock incq hook_references(%rip)
	cmpb	$0, hook_set(%rip)
	je	2f
	mov	hook(%rip), %rcx
	call	*%rcx
2:	lock decq hook_references(%rip)
	.endr
	next	cost_hook
	function 5, hook_f
	.org	costs + 6 * 512, 0xcc

	.data
	.balign	64
ops:	.quad	operations
operations:
	.quad	0, vector_f
	.balign	64
slot:	.quad	plt_f
	.balign	64
hook:	.quad	hook_f
hook_set: .quad	1
	.balign	64
hook_references:
	.quad	0
	.section .note.GNU-stack, "", @progbits
