package reloc

// The relocation types of x86-64, after the System V ABI, AMD64 Architecture
// Processor Supplement (psABI), section 4.4.
//
// What surprises:
//
//   - P is the address of the field, but the machine counts from the end of the
//     instruction. The difference sits in the addend: a branch to S has A = -4, and
//     `cmpq $0, x@GOTPCREL(%rip)` has -5, for the immediate behind the field.
//   - PLT32 does not mean that there is a PLT. Assemblers emit it for every direct
//     branch to a name since binutils 2.31, PC32 before, so PC32 may be a branch too
//     and only the opcode tells.
//   - 32 zero-extends and 32S sign-extends: `mov $f, %eax` has the one, `mov $f, %rax`
//     the other. An address below 2 GiB fits both.
//   - GOTPCRELX and REX_GOTPCRELX are GOTPCREL and a promise: the field is the
//     displacement of one of a few instructions, which a linker may rewrite so that
//     the slot is not needed (psABI B.2).
//   - The psABI defines only RELA entries. NetBSD's kernel reads REL ones as well;
//     they carry the sign-extended field as their addend.
//   - The G of the psABI is an offset into the GOT. Ours is the slot's address.

// Where the psABI defines the types.
const (
	amd64Types = "psABI 4.4.1 Relocation Types"
	amd64Large = "psABI 4.4.2 Large Models"
)

// Ranges that several rows share.
const (
	int8Min, int8Max   = -1 << 7, 1<<7 - 1
	int16Min, int16Max = -1 << 15, 1<<15 - 1
	int32Min, int32Max = -1 << 31, 1<<31 - 1
	uint8Max           = 1<<8 - 1
	uint16Max          = 1<<16 - 1
	uint32Max          = 1<<32 - 1
)

// amd64Rows is sorted by type.
var amd64Rows = []Row{
	{Type: 0, Name: "R_X86_64_NONE", Source: amd64Types, Note: "keeps the symbol's section alive, writes nothing"},
	{Type: 1, Name: "R_X86_64_64", Formula: Abs, Field: Word64, Kind: KindAddress, Source: amd64Types},
	{Type: 2, Name: "R_X86_64_PC32", Formula: PCRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindMaybeBranch, Source: amd64Types, Note: "behind e8, e9 or 0f 80..8f it is a branch"},
	{Type: 3, Name: "R_X86_64_GOT32", Formula: SlotOff, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindGOT, Source: amd64Types},
	{Type: 4, Name: "R_X86_64_PLT32", Formula: PLTRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindBranch, Source: amd64Types, insn: x86Branch,
		Note: "in data (a table of offsets to functions) it takes the address of the entry"},
	{Type: 6, Name: "R_X86_64_GLOB_DAT", Formula: Sym, Field: Word64, Kind: KindAddress, Source: amd64Types,
		Note: "a dynamic type that NetBSD's kernel accepts in a module; the addend is not used"},
	{Type: 7, Name: "R_X86_64_JUMP_SLOT", Formula: Sym, Field: Word64, Kind: KindAddress, Source: amd64Types,
		Note: "a dynamic type that NetBSD's kernel accepts in a module; the addend is not used"},
	{Type: 9, Name: "R_X86_64_GOTPCREL", Formula: SlotRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindGOT, Source: amd64Types},
	{Type: 10, Name: "R_X86_64_32", Formula: Abs, Field: Word32, Max: uint32Max, Kind: KindAddress, Source: amd64Types,
		Note: "must zero-extend to the value"},
	{Type: 11, Name: "R_X86_64_32S", Formula: Abs, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindAddress, Source: amd64Types, Note: "must sign-extend to the value"},
	// 16 and 8: below -0x8000 (-0x80) GNU ld accepts and lld refuses. The psABI only
	// says that the linker truncates, and asks for a check of 32 and 32S alone, so klink
	// accepts what GNU ld does; both refuse the values outside of these limits.
	{Type: 12, Name: "R_X86_64_16", Formula: Abs, Field: Word16, Min: -1 << 16, Max: uint16Max,
		Kind: KindAddress, Source: amd64Types, Note: "truncates; GNU ld's limits, lld wants -0x8000 at least"},
	// PC16: in [0x8000, 0x10000) GNU ld accepts and lld refuses. The psABI lists it with
	// the PC-relative types and lets only 16 and 8 truncate, so its value must
	// sign-extend, as with PC8, where the two agree.
	{Type: 13, Name: "R_X86_64_PC16", Formula: PCRel, Field: Word16, Min: int16Min, Max: int16Max,
		Kind: KindAddress, Source: amd64Types, Note: "lld's limits; GNU ld accepts [-0x10000, 0x10000)"},
	{Type: 14, Name: "R_X86_64_8", Formula: Abs, Field: Word8, Min: -1 << 8, Max: uint8Max,
		Kind: KindAddress, Source: amd64Types, Note: "truncates; GNU ld's limits, lld wants -0x80 at least"},
	{Type: 15, Name: "R_X86_64_PC8", Formula: PCRel, Field: Word8, Min: int8Min, Max: int8Max,
		Kind: KindAddress, Source: amd64Types},
	{Type: 24, Name: "R_X86_64_PC64", Formula: PCRel, Field: Word64, Kind: KindAddress, Source: amd64Types},
	{Type: 25, Name: "R_X86_64_GOTOFF64", Formula: GOTRel, Field: Word64, Kind: KindAddress, Source: amd64Types},
	{Type: 26, Name: "R_X86_64_GOTPC32", Formula: GOTBaseRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindGOTBase, Source: amd64Types},
	{Type: 27, Name: "R_X86_64_GOT64", Formula: SlotOff, Field: Word64, Kind: KindGOT, Source: amd64Large},
	{Type: 28, Name: "R_X86_64_GOTPCREL64", Formula: SlotRel, Field: Word64, Kind: KindGOT, Source: amd64Large},
	{Type: 29, Name: "R_X86_64_GOTPC64", Formula: GOTBaseRel, Field: Word64, Kind: KindGOTBase, Source: amd64Large},
	{Type: 30, Name: "R_X86_64_GOTPLT64", Formula: SlotOff, Field: Word64, Kind: KindGOT, Source: amd64Large,
		Note: "deprecated; the same as GOT64"},
	{Type: 31, Name: "R_X86_64_PLTOFF64", Formula: PLTGOTRel, Field: Word64, Kind: KindAddress, Source: amd64Large,
		Note: "the code adds it to the GOT's address and calls through a register"},
	{Type: 32, Name: "R_X86_64_SIZE32", Formula: Size, Field: Word32, Max: uint32Max, Kind: KindSize, Source: amd64Types},
	{Type: 33, Name: "R_X86_64_SIZE64", Formula: Size, Field: Word64, Kind: KindSize, Source: amd64Types},
	{Type: 41, Name: "R_X86_64_GOTPCRELX", Formula: SlotRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindRelaxable, Source: amd64Types + "; B.2", insn: x86RIP},
	{Type: 42, Name: "R_X86_64_REX_GOTPCRELX", Formula: SlotRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindRelaxable, Source: amd64Types + "; B.2", insn: x86RexRIP},
}

var amd64Index = build(amd64Rows)

// amd64Fits says whether the bytes before a field end an instruction that rule
// allows. Only bytes before the field can tell: behind it may be an immediate or
// the next instruction.
func amd64Fits(rule insnRule, before []byte, exec bool) Verdict {
	n := len(before)
	switch rule {
	case x86Branch:
		if !exec {
			return OK
		}
		return okIf(n >= 1 && (before[n-1] == 0xe8 || before[n-1] == 0xe9) || // call, jmp rel32
			n >= 2 && before[n-2] == 0x0f && before[n-1]&0xf0 == 0x80 || // jcc rel32
			n >= 2 && before[n-2] == 0xc7 && before[n-1] == 0xf8) // xbegin rel32, which gas gives PLT32 as well
	case x86RIP:
		return okIf(n >= 2 && ripRelative(before[n-1]))
	case x86RexRIP:
		return okIf(n >= 3 && ripRelative(before[n-1]) && before[n-3]&0xf0 == 0x40)
	}
	return OK
}

// ripRelative says that a ModRM byte means disp32(%rip): mod 00, rm 101.
func ripRelative(modrm byte) bool { return modrm&0xc7 == 0x05 }

// okIf returns OK or BadInsn.
func okIf(ok bool) Verdict {
	if ok {
		return OK
	}
	return BadInsn
}
