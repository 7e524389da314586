# What a Linux module looks like: its own record, an export table, init_module.
	.section .init.text,"ax",@progbits
	.globl	init_module
	.type	init_module, @function
init_module:
	call	exported
	call	_printk
	xorl	%eax, %eax
	ret
	.size	init_module, .-init_module
	.section .exit.text,"ax",@progbits
	.globl	cleanup_module
	.type	cleanup_module, @function
cleanup_module:
	jmp	not_exported
	.size	cleanup_module, .-cleanup_module
	.text
	.globl	exported, not_exported
	.type	exported, @function
exported:
	jmp	not_exported
	.size	exported, .-exported
	.type	not_exported, @function
not_exported:
	ret
	.size	not_exported, .-not_exported
	.section __ksymtab_strings,"aMS",@progbits,1
__kstrtab_exported:
	.asciz	"exported"
__kstrtabns_exported:
	.asciz	""
	.section ___ksymtab+exported,"a"
	.balign	4
__ksymtab_exported:
	.long	exported - .
	.long	__kstrtab_exported - .
	.long	__kstrtabns_exported - .
	.section .modinfo,"a",@progbits
	.asciz	"license=BSD"
	.asciz	"depends="
	.asciz	"name=linux_module"
	.section .gnu.linkonce.this_module,"aw",@progbits
	.balign	64
	.globl	__this_module
	.type	__this_module, @object
__this_module:
	.zero	24
	.asciz	"linux_module"
	.balign	64
	.zero	128
	.quad	init_module
	.zero	56
	.quad	cleanup_module
	.zero	120
	.size	__this_module, .-__this_module
	.section .note.GNU-stack,"",@progbits
