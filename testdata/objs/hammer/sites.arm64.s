// The hammer's sites: BL and B at each word of a cache line and at both ends of a page,
// and short branches, whose veneers are the sites, in several sections: each has veneers
// of its own. Each lies in a function of its own,
//
//	u64 site(u64 flags, u64 token)
//
// which returns what hammer_N(flags, token) does, or HAMMER_UNTAKEN if a conditional
// branch was not taken; b.cond gets its flags from x0. The table hammer_sites (struct
// hammer_site) has a row for each.
	.altmacro

// row N FORM COND PRE: the table's row of a function that starts here.
	.macro	row	n, form, cond, pre
.Lsite\@:
	.pushsection .data.hammer_sites, "aw"
	.quad	.Lsite\@
	.byte	\n, \form, \cond, \pre
	.word	0
	.popsection
	.endm

// The forms. The functions start PRE bytes before the site.
	.set	call_pre, 4
	.macro	call	n
	row	\n, 5, 16, 4
	stp	x29, x30, [sp, #-16]!
	.cfi_adjust_cfa_offset 16
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	bl	hammer_\n
	ldp	x29, x30, [sp], #16
	.cfi_restore x29
	.cfi_restore x30
	.cfi_adjust_cfa_offset -16
	ret
	.endm

	.set	tail_pre, 0
	.macro	tail	n
	row	\n, 6, 16, 0
	b	hammer_\n
	.endm

// short N COND INSN: a short branch, and what follows if it is not taken.
	.macro	short	n, cond, insn
	row	\n, 32, \cond, 0
	msr	nzcv, x0
	insn
	mov	x0, #-1
	ret
	.endm

	.section .data.hammer_sites, "aw"
	.balign	64
	.globl	hammer_sites
	.type	hammer_sites, %object
hammer_sites:

	.text
	.balign	4096
hammer_text:
	.cfi_startproc
	.set	i, 0
	.macro	in_line	form, i
	.balign	64
	.fill	(64 + 4 * \i - \form\()_pre) % 64 / 4, 4, 0xd4200000 | 0x4b4c << 5
	\form	%(\i + 3) % 8
	.endm
	.rept	16
	in_line	call, %i
	in_line	tail, %i
	.set	i, i + 1
	.endr

// at OFFSET FORM N: a site at this offset from the first page's end.
	.macro	at	offset, form, n
	.org	hammer_text + 4096 + \offset - \form\()_pre
	\form	\n
	.endm
	at	-20, tail, 6
	at	-4, tail, 7
	at	0, tail, 0
	at	8188, call, 1
	at	12288, call, 2
	.cfi_endproc

// Short branches of every kind, those of one section through the veneers of that section.
	.macro	branches section
	.section .text.hammer_\section, "ax"
	.balign	64
	.cfi_startproc
	short	0, 32, <cbz x0, hammer_0>
	short	1, 33, <cbnz x0, hammer_1>
	short	2, 67, <tbz x0, 3, hammer_2>
	short	3, 131, <tbnz x0, 3, hammer_3>
	short	4, 104, <tbz x0, 40, hammer_4>
	short	5, 168, <tbnz x0, 40, hammer_5>
	short	6, 0, <b.eq hammer_6>
	short	7, 1, <b.ne hammer_7>
	short	1, 2, <b.cs hammer_1>
	short	2, 3, <b.cc hammer_2>
	short	3, 4, <b.mi hammer_3>
	short	4, 5, <b.pl hammer_4>
	short	5, 6, <b.vs hammer_5>
	short	6, 7, <b.vc hammer_6>
	short	7, 8, <b.hi hammer_7>
	short	0, 9, <b.ls hammer_0>
	short	2, 10, <b.ge hammer_2>
	short	3, 11, <b.lt hammer_3>
	short	4, 12, <b.gt hammer_4>
	short	5, 13, <b.le hammer_5>
	.cfi_endproc
	.endm
	.irp	section, 0, 1, 2, 3
	branches \section
	.endr

// The entries, which pointers lead through.
	.section .data.hammer_sites, "aw"
	.macro	entry	n
	.quad	hammer_\n
	.byte	\n, 33, 16, 0
	.word	0
	.endm
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	entry	\n
	.endr
	.set	bytes, . - hammer_sites
	.size	hammer_sites, bytes

	.section .rodata
	.balign	8
	.globl	hammer_nsites
	.type	hammer_nsites, %object
	.size	hammer_nsites, 8
hammer_nsites:
	.quad	bytes / 16
	.section .note.GNU-stack, "", %progbits
