// A relocation that writes nothing, in front of one that does: it only keeps its symbol
// alive. An assembler's .reloc makes it.
	.text
	.globl	none
none:
	.reloc	., R_AARCH64_NONE, kept
	b	callee
	.section .note.GNU-stack,"",%progbits
