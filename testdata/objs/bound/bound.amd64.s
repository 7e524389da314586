# A conditional jump that the assembler binds, and one to a local name, which
# is no name that could be provided by others.
	.text
	.globl	target, bound_jcc
	.type	target, @function
target:
	ret
	.size	target, .-target
	.type	local_target, @function
local_target:
	ret
	.size	local_target, .-local_target
	.type	bound_jcc, @function
bound_jcc:
	testl	%edi, %edi
	je	target
	jne	local_target
	jmp	target
	.size	bound_jcc, .-bound_jcc
	.section .note.GNU-stack,"",@progbits
