# Every call frame instruction that assemblers know, and those that they do not, by
# .cfi_escape. Nobody runs this: a nop a row.

	.text
	.globl	directives
	.type	directives, @function
directives:
	.cfi_startproc
	nop
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	nop
	.cfi_def_cfa_register %rbp
	.cfi_rel_offset %rbx, 8
	nop
	.cfi_remember_state
	.cfi_restore %rbx
	.cfi_def_cfa %rsp, 8
	nop
	.cfi_restore_state
	.cfi_adjust_cfa_offset 8
	nop
	.cfi_undefined %r12
	.cfi_same_value %r13
	.cfi_register %r14, %rdi
	.cfi_val_offset %r15, -32
	nop
	.cfi_restore %r14
	.cfi_offset %xmm6, -64
	nop
	.cfi_escape 0x2e, 0x10			# GNU_args_size 16
	.cfi_escape 0x06, 12			# restore_extended r12
	nop
	.cfi_endproc
	.size	directives, . - directives

	.globl	escapes
	.type	escapes, @function
escapes:
	.cfi_startproc
	nop
	.cfi_escape 0x05, 3, 3			# offset_extended rbx, 3 * -8
	.cfi_escape 0x2f, 12, 4			# GNU_negative_offset_extended r12, -4 * -8
	nop
	.cfi_escape 0x11, 13, 0x7f		# offset_extended_sf r13, -1 * -8
	.cfi_escape 0x12, 6, 0x7c		# def_cfa_sf rbp, -4 * -8
	nop
	.cfi_escape 0x13, 0x7a			# def_cfa_offset_sf -6 * -8
	.cfi_escape 0x14, 14, 5			# val_offset r14, 5 * -8
	.cfi_escape 0x15, 15, 0x7e		# val_offset_sf r15, -2 * -8
	nop
	.cfi_escape 0x0f, 3, 0x76, 0x78, 0x06	# def_cfa_expression breg6 -8, deref
	.cfi_escape 0x10, 6, 2, 0x76, 0		# expression rbp, breg6 0
	.cfi_escape 0x16, 3, 2, 0x77, 0x10	# val_expression rbx, breg7 16
	nop
	.cfi_escape 0x0d, 7			# def_cfa_register rsp
	.cfi_escape 0x0e, 8			# def_cfa_offset 8
	nop
	.cfi_escape 0x0a, 0x0a, 0xc3, 0x0b	# remember, remember, restore rbx, restore_state
	nop
	.cfi_escape 0xc6, 0x0b			# restore rbp, restore_state
	nop
	.cfi_escape 0x02, 1, 0x0e, 24		# advance_loc1 by a nop, def_cfa_offset 24
	.cfi_escape 0x03, 1, 0, 0x0e, 32	# advance_loc2, def_cfa_offset 32
	.cfi_escape 0x04, 1, 0, 0, 0, 0x0e, 40	# advance_loc4, def_cfa_offset 40
	nop
	nop
	nop
	nop
	.cfi_endproc
	.size	escapes, . - escapes

	.globl	interrupted
	.type	interrupted, @function
interrupted:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_escape 0x0f, 4, 0x77, 0xa0, 1, 0x06	# def_cfa_expression breg7 160, deref
	.cfi_escape 0x10, 16, 3, 0x77, 0xa8, 1		# expression ra, breg7 168
	nop
	.cfi_endproc
	.size	interrupted, . - interrupted

	.globl	outermost
	.type	outermost, @function
outermost:
	.cfi_startproc
	.cfi_undefined %rip
	nop
	.cfi_endproc
	.size	outermost, . - outermost

	.section .note.GNU-stack,"",@progbits
