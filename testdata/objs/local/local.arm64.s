// References to local and section symbols: they never switch.
	.text
	.type	hidden_helper, %function
hidden_helper:
	ret
	.size	hidden_helper, .-hidden_helper
	.globl	local_user
	.type	local_user, %function
local_user:
	bl	hidden_helper
	bl	far_helper
	b	.Lfar
	adrp	x0, .Ldata
	add	x0, x0, :lo12:.Ldata
	adrp	x1, value
	ldr	w1, [x1, :lo12:value]
	ret
	.size	local_user, .-local_user
	.section .text.far,"ax",%progbits
	.type	far_helper, %function
far_helper:
	nop
.Lfar:	ret
	.size	far_helper, .-far_helper
	.data
	.balign 8
value:	.long	5
	.balign 8
.Ldata:	.quad	value, .Lfar, local_user, .text.far+4
	.section .empty,"a",%progbits
.Lnothing:
	.data
	.quad	.Lnothing
	.section .note.GNU-stack,"",%progbits
