# A relocation that writes nothing, in front of one that does: it only keeps its symbol
# alive. An assembler's .reloc makes it.
	.text
	.globl	none
none:
	.reloc	., R_X86_64_NONE, kept
	jmp	callee
	.section .note.GNU-stack,"",%progbits
