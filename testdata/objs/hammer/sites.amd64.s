# The hammer's sites: for every form one at each offset of a cache line, and one
# across the end of a page at each of its splits. Each lies in a function of its own,
#
#	u64 site(u64 flags, u64 token)
#
# which returns what hammer_N(flags, token) does; a conditional one sets the processor's
# flags first, and returns HAMMER_UNTAKEN if it was not taken and left them as they
# were. The table hammer_sites (struct hammer_site) has a row for each.
	.altmacro
	.text
	.balign	4096, 0xcc
hammer_text:
	.cfi_startproc

# row N FORM COND PRE: the table's row of a function that starts here.
	.macro	row	n, form, cond, pre
.Lsite\@:
	.pushsection .data.hammer_sites, "aw"
	.quad	.Lsite\@
	.byte	\n, \form, \cond, \pre
	.long	0
	.popsection
	.endm

# (No & below: .altmacro joins words at it.)
# The forms. The functions start PRE bytes before the site.
	.set	call32_pre, 1
	.macro	call32	n, cc
	row	\n, 1, 16, 1
	push	%rcx
	.cfi_adjust_cfa_offset 8
	call	hammer_\n
	pop	%rcx
	.cfi_adjust_cfa_offset -8
	ret
	.endm

	.set	jmp32_pre, 0
	.macro	jmp32	n, cc
	row	\n, 2, 16, 0
	jmp	hammer_\n
	.endm

	.set	addrcall32_pre, 1
	.macro	addrcall32 n, cc
	row	\n, 3, 16, 1
	push	%rcx
	.cfi_adjust_cfa_offset 8
	call	*hammer_\n@GOTPCREL(%rip)
	pop	%rcx
	.cfi_adjust_cfa_offset -8
	ret
	.endm

	.set	jmpnop32_pre, 0
	.macro	jmpnop32 n, cc
	row	\n, 4, 16, 0
	jmp	*hammer_\n@GOTPCREL(%rip)
	.endm

	.set	jcc32_pre, 2
	.macro	jcc32	n, cc
	row	\n, 8, \cc, 2
	push	%rdi
	.cfi_adjust_cfa_offset 8
	popfq
	.cfi_adjust_cfa_offset -8
	.byte	0x0f, 0x80 + \cc		# jCC hammer_N
	.reloc	., R_X86_64_PLT32, hammer_\n - 4
	.long	0
	pushfq
	.cfi_adjust_cfa_offset 8
	pop	%rax
	.cfi_adjust_cfa_offset -8
	xor	%rdi, %rax
	and	$0x8d5, %eax			# CF PF AF ZF SF OF: not one changed
	not	%rax
	ret
	.endm

# in_line Q: site Q of 5 * 64: form Q / 64 at offset Q % 64 of a cache line.
	.macro	in_line	q
	.set	o, \q % 64
	.set	n, (o + o / 8) % 8
	.set	cc, (o + o / 16) % 16
	.if	\q < 64
	placed	call32, %o, %n, %cc
	.elseif	\q < 128
	placed	jmp32, %o, %n, %cc
	.elseif	\q < 192
	placed	addrcall32, %o, %n, %cc
	.elseif	\q < 256
	placed	jmpnop32, %o, %n, %cc
	.elseif	\q < 320
	placed	jcc32, %o, %n, %cc
	.endif
	.endm

	.macro	placed	form, o, n, cc
	.balign	64, 0xcc
	.fill	(64 + \o - \form\()_pre) % 64, 1, 0xcc
	\form	\n, \cc
	.endm

# across FORM LEN: a site at each split of FORM's LEN bytes across the end of a page.
# Between the pages' ends lie 14 of the sites above.
	.set	page, 0
	.set	next, 0
	.macro	across	form, len
	.set	split, 1
	.rept	\len - 1
	.rept	14
	in_line	%next
	.set	next, next + 1
	.endr
	.set	page, page + 1
	.set	n, page % 8
	.set	cc, page * 5 % 16
	at_end	\form, %n, %cc
	.set	split, split + 1
	.endr
	.endm

	.macro	at_end	form, n, cc
	.org	hammer_text + page * 4096 - split - \form\()_pre, 0xcc
	\form	\n, \cc
	.endm

	.section .data.hammer_sites, "aw"
	.balign	64
	.globl	hammer_sites
	.type	hammer_sites, @object
hammer_sites:
	.text

	across	call32, 5
	across	jmp32, 5
	across	addrcall32, 6
	across	jmpnop32, 6
	across	jcc32, 6
	.if	next < 320
	.error	"not every offset has a site"
	.endif
	.cfi_endproc

# The entries, which pointers lead through.
	.section .data.hammer_sites, "aw"
	.macro	entry	n
	.quad	hammer_\n
	.byte	\n, 33, 16, 0
	.long	0
	.endm
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	entry	\n
	.endr
	.set	bytes, . - hammer_sites
	.size	hammer_sites, bytes

	.section .rodata
	.balign	8
	.globl	hammer_nsites
	.type	hammer_nsites, @object
	.size	hammer_nsites, 8
hammer_nsites:
	.quad	bytes / 16
	.section .note.GNU-stack, "", @progbits
