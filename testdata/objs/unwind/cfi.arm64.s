// Every call frame instruction that assemblers know, and those that they do not, by
// .cfi_escape. Nobody runs this: a nop a row.

	.text
	.globl	directives
	.type	directives, %function
directives:
	.cfi_startproc
	nop
	.cfi_def_cfa_offset 32
	.cfi_offset x29, -32
	.cfi_offset x30, -24
	nop
	.cfi_def_cfa_register x29
	.cfi_rel_offset x19, 8
	nop
	.cfi_remember_state
	.cfi_restore x19
	.cfi_def_cfa sp, 0
	nop
	.cfi_restore_state
	.cfi_adjust_cfa_offset 8
	nop
	.cfi_undefined x20
	.cfi_same_value x21
	.cfi_register x22, x9
	.cfi_val_offset x23, -32
	nop
	.cfi_restore x22
	.cfi_offset d8, -64
	nop
	.cfi_escape 0x2e, 0x10			// GNU_args_size 16
	.cfi_escape 0x06, 20			// restore_extended x20
	nop
	.cfi_endproc
	.size	directives, . - directives

	.globl	signed_a
	.type	signed_a, %function
signed_a:
	.cfi_startproc
	nop
	.cfi_negate_ra_state
	nop
	.cfi_def_cfa_offset 16
	.cfi_offset x30, -16
	nop
	.cfi_negate_ra_state
	.cfi_restore x30
	.cfi_def_cfa_offset 0
	nop
	.cfi_endproc
	.size	signed_a, . - signed_a

	.globl	signed_b
	.type	signed_b, %function
signed_b:
	.cfi_startproc
	.cfi_b_key_frame
	nop
	.cfi_negate_ra_state
	nop
	.cfi_endproc
	.size	signed_b, . - signed_b

	.globl	escapes
	.type	escapes, %function
escapes:
	.cfi_startproc
	nop
	.cfi_escape 0x05, 19, 3			// offset_extended x19, 3 * -8
	.cfi_escape 0x2f, 20, 4			// GNU_negative_offset_extended x20, -4 * -8
	nop
	.cfi_escape 0x11, 21, 0x7f		// offset_extended_sf x21, -1 * -8
	.cfi_escape 0x12, 29, 0x7c		// def_cfa_sf x29, -4 * -8
	nop
	.cfi_escape 0x13, 0x7a			// def_cfa_offset_sf -6 * -8
	.cfi_escape 0x14, 22, 5			// val_offset x22, 5 * -8
	.cfi_escape 0x15, 23, 0x7e		// val_offset_sf x23, -2 * -8
	nop
	.cfi_escape 0x0f, 3, 0x8d, 0x78, 0x06	// def_cfa_expression breg29 -8, deref
	.cfi_escape 0x10, 29, 2, 0x8d, 0	// expression x29, breg29 0
	.cfi_escape 0x16, 19, 2, 0x8f, 0x10	// val_expression x19, breg31 16
	nop
	.cfi_escape 0x0d, 31			// def_cfa_register sp
	.cfi_escape 0x0e, 16			// def_cfa_offset 16
	nop
	.cfi_escape 0x02, 1, 0x0e, 24		// advance_loc1 by a nop, def_cfa_offset 24
	.cfi_escape 0x03, 1, 0, 0x0e, 32	// advance_loc2, def_cfa_offset 32
	.cfi_escape 0x04, 1, 0, 0, 0, 0x0e, 40	// advance_loc4, def_cfa_offset 40
	nop
	nop
	nop
	nop
	.cfi_endproc
	.size	escapes, . - escapes

	.globl	outermost
	.type	outermost, %function
outermost:
	.cfi_startproc
	.cfi_undefined x30
	nop
	.cfi_endproc
	.size	outermost, . - outermost

	.section .note.GNU-stack,"",%progbits
