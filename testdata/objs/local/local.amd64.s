# References to local and section symbols: they never switch.
	.text
	.type	hidden_helper, @function
hidden_helper:
	ret
	.size	hidden_helper, .-hidden_helper
	.globl	local_user
	.type	local_user, @function
local_user:
	call	hidden_helper
	call	far_helper
	jmp	.Lfar
	leaq	.Ldata(%rip), %rax
	movl	value(%rip), %eax
	movb	$1, value+3(%rip)		# the place is not the instruction's end
	ret
	.size	local_user, .-local_user
	.section .text.far,"ax",@progbits
	.type	far_helper, @function
far_helper:
	nop
.Lfar:	ret
	.size	far_helper, .-far_helper
	.data
value:	.long	5
.Ldata:	.quad	value, .Lfar, local_user, .text.far+1
	.section .empty,"a",@progbits
.Lnothing:
	.data
	.quad	.Lnothing
	.section .note.GNU-stack,"",@progbits
