package reloc

// The relocation types of aarch64, after ELF for the Arm 64-bit Architecture
// (aaelf64), section 5.7.
//
// What surprises:
//
//   - P is the address of the instruction itself: there is no bias in the addend.
//   - A page is 4 KiB in formulas, whatever pages memory is mapped in.
//   - "_NC" types are the lower parts of an address whose upper part another type
//     checks. They never overflow, but a load's offset must still be a multiple of
//     its size, or it cannot be encoded.
//   - The manual asks every branch's value to be a multiple of 4. GNU ld and lld both
//     drop the low bits for CALL26, JUMP26 and TSTBR14, and so does klink; they
//     disagree for CONDBR19, where klink follows the manual.
//   - A signed MOVW type decides by the sign of its value between MOVZ and MOVN, and
//     MOVN takes the complement: the range of G0 is -2^16 to 2^16, 17 bits in a
//     16-bit field.
//   - GDAT(S + A) is a GOT slot that holds S + A. Today's manual wants A to be 0; older
//     ones did not, so the slot takes the addend and the field never sees it.
//     GOTPCREL32 is the exception: the slot holds S, and A moves the field.
//   - CALL26 and JUMP26 out of reach get a veneer, never an error, so both linkers
//     accept any value for them; their limits here say when a veneer is needed.
//   - A weak symbol that nobody defines is at 0 for an absolute type, at the place for one
//     with P (5.6.1): ADRP and ADD of it are no null pointer, which is why compilers load
//     such addresses through the GOT or from a literal pool. See Formula.FromPlace.
//   - Type 256 was the null type before 0 was, and must still be read as such.

// Where aaelf64 defines the types.
const (
	arm64Null = "aaelf64 5.7.4 Static miscellaneous relocations"
	arm64Data = "aaelf64 5.7.5 Static Data relocations"
	arm64Code = "aaelf64 5.7.6 Static AArch64 relocations"
)

// Limits that several rows share: a signed field of n bits reaches from -1<<(n-1)
// up to 1<<(n-1)-1.
const (
	reach16 = 1 << 15 // TBZ, 14 bits of words
	reach21 = 1 << 20 // ADR, load literal, conditional branch
	reach28 = 1 << 27 // B, BL
	reach33 = 1 << 32 // ADRP
	lo15Max = 1<<15 - 1
)

// arm64Rows stands in the order of the manual's tables.
var arm64Rows = []Row{
	{Type: 0, Name: "R_AARCH64_NONE", Source: arm64Null, Note: "keeps the symbol's section alive, writes nothing"},
	{Type: 256, Name: "R_AARCH64_NULL", Source: arm64Null, Note: "withdrawn; the same as NONE"},

	// Data. ABS16 and ABS32 at their negative limits: GNU ld refuses, lld accepts, the
	// manual lets a narrow value be either signed or unsigned. PREL16 and PREL32 in the
	// upper half of the unsigned range: lld accepts, GNU ld refuses, and so does the
	// manual, which had the wider range once.
	{Type: 257, Name: "R_AARCH64_ABS64", Formula: Abs, Field: Word64, Kind: KindAddress, Source: arm64Data},
	{Type: 258, Name: "R_AARCH64_ABS32", Formula: Abs, Field: Word32, Min: int32Min, Max: uint32Max,
		Kind: KindAddress, Source: arm64Data, Note: "lld's limits; GNU ld wants 0 at least"},
	{Type: 259, Name: "R_AARCH64_ABS16", Formula: Abs, Field: Word16, Min: int16Min, Max: uint16Max,
		Kind: KindAddress, Source: arm64Data, Note: "lld's limits; GNU ld wants 0 at least"},
	{Type: 260, Name: "R_AARCH64_PREL64", Formula: PCRel, Field: Word64, Kind: KindAddress, Source: arm64Data},
	{Type: 261, Name: "R_AARCH64_PREL32", Formula: PCRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindAddress, Source: arm64Data, Note: "GNU ld's limits; lld accepts up to 0xffffffff"},
	{Type: 262, Name: "R_AARCH64_PREL16", Formula: PCRel, Field: Word16, Min: int16Min, Max: int16Max,
		Kind: KindAddress, Source: arm64Data, Note: "GNU ld's limits; lld accepts up to 0xffff"},
	{Type: 314, Name: "R_AARCH64_PLT32", Formula: PLTRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindAddress, Source: arm64Data, Note: "a data word: a table of offsets to functions"},

	// Unsigned group: an address by MOVZ and up to three MOVK.
	{Type: 263, Name: "R_AARCH64_MOVW_UABS_G0", Formula: Abs, Field: MovG0, Max: uint16Max,
		Kind: KindAddress, Source: arm64Code, insn: armMovK0},
	{Type: 264, Name: "R_AARCH64_MOVW_UABS_G0_NC", Formula: Abs, Field: MovG0,
		Kind: KindAddress, Source: arm64Code, insn: armMovK0},
	{Type: 265, Name: "R_AARCH64_MOVW_UABS_G1", Formula: Abs, Field: MovG1, Max: uint32Max,
		Kind: KindAddress, Source: arm64Code, insn: armMovK1},
	{Type: 266, Name: "R_AARCH64_MOVW_UABS_G1_NC", Formula: Abs, Field: MovG1,
		Kind: KindAddress, Source: arm64Code, insn: armMovK1},
	{Type: 267, Name: "R_AARCH64_MOVW_UABS_G2", Formula: Abs, Field: MovG2, Max: 1<<48 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armMovK2},
	{Type: 268, Name: "R_AARCH64_MOVW_UABS_G2_NC", Formula: Abs, Field: MovG2,
		Kind: KindAddress, Source: arm64Code, insn: armMovK2},
	{Type: 269, Name: "R_AARCH64_MOVW_UABS_G3", Formula: Abs, Field: MovG3,
		Kind: KindAddress, Source: arm64Code, insn: armMovK3},

	// Signed group.
	{Type: 270, Name: "R_AARCH64_MOVW_SABS_G0", Formula: Abs, Field: MovSignedG0, Min: -1 << 16, Max: 1<<16 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armMovN0},
	{Type: 271, Name: "R_AARCH64_MOVW_SABS_G1", Formula: Abs, Field: MovSignedG1, Min: -1 << 32, Max: 1<<32 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armMovN1},
	{Type: 272, Name: "R_AARCH64_MOVW_SABS_G2", Formula: Abs, Field: MovSignedG2, Min: -1 << 48, Max: 1<<48 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armMovN2},

	// PC-relative addresses and their lower parts.
	{Type: 273, Name: "R_AARCH64_LD_PREL_LO19", Formula: PCRel, Field: Imm19, Min: -reach21, Max: reach21 - 1, Align: 4,
		Kind: KindAddress, Source: arm64Code, insn: armLit},
	{Type: 274, Name: "R_AARCH64_ADR_PREL_LO21", Formula: PCRel, Field: Adr21, Min: -reach21, Max: reach21 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armADR},
	{Type: 275, Name: "R_AARCH64_ADR_PREL_PG_HI21", Formula: PageRel, Field: Adrp21, Min: -reach33, Max: reach33 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armADRP},
	{Type: 276, Name: "R_AARCH64_ADR_PREL_PG_HI21_NC", Formula: PageRel, Field: Adrp21,
		Kind: KindAddress, Source: arm64Code, insn: armADRP},
	{Type: 277, Name: "R_AARCH64_ADD_ABS_LO12_NC", Formula: Abs, Field: Lo12,
		Kind: KindAddress, Source: arm64Code, insn: armADD},
	{Type: 278, Name: "R_AARCH64_LDST8_ABS_LO12_NC", Formula: Abs, Field: Lo12,
		Kind: KindAddress, Source: arm64Code, insn: armLDST8},
	{Type: 284, Name: "R_AARCH64_LDST16_ABS_LO12_NC", Formula: Abs, Field: Lo12Half, Align: 2,
		Kind: KindAddress, Source: arm64Code, insn: armLDST16},
	{Type: 285, Name: "R_AARCH64_LDST32_ABS_LO12_NC", Formula: Abs, Field: Lo12Word, Align: 4,
		Kind: KindAddress, Source: arm64Code, insn: armLDST32},
	{Type: 286, Name: "R_AARCH64_LDST64_ABS_LO12_NC", Formula: Abs, Field: Lo12Xword, Align: 8,
		Kind: KindAddress, Source: arm64Code, insn: armLDST64},
	{Type: 299, Name: "R_AARCH64_LDST128_ABS_LO12_NC", Formula: Abs, Field: Lo12Quad, Align: 16,
		Kind: KindAddress, Source: arm64Code, insn: armLDST128},

	// Control flow. CONDBR19 of a misaligned value: GNU ld drops the low bits, lld
	// refuses; the table's heading says that all offsets are multiples of 4.
	{Type: 279, Name: "R_AARCH64_TSTBR14", Formula: PCRel, Field: Branch14, Min: -reach16, Max: reach16 - 1,
		Kind: KindShortBranch, Source: arm64Code, insn: armTest, Note: "low two bits are dropped"},
	{Type: 280, Name: "R_AARCH64_CONDBR19", Formula: PCRel, Field: Imm19, Min: -reach21, Max: reach21 - 1, Align: 4,
		Kind: KindShortBranch, Source: arm64Code, insn: armCond, Note: "lld's alignment; GNU ld drops the low two bits"},
	{Type: 282, Name: "R_AARCH64_JUMP26", Formula: PCRel, Field: Branch26, Min: -reach28, Max: reach28 - 1,
		Kind: KindBranch, Source: arm64Code, insn: armBranch, Note: "low two bits are dropped; out of range it needs a veneer"},
	{Type: 283, Name: "R_AARCH64_CALL26", Formula: PCRel, Field: Branch26, Min: -reach28, Max: reach28 - 1,
		Kind: KindBranch, Source: arm64Code, insn: armBranch, Note: "low two bits are dropped; out of range it needs a veneer"},

	// PC-relative group.
	{Type: 287, Name: "R_AARCH64_MOVW_PREL_G0", Formula: PCRel, Field: MovSignedG0, Min: -1 << 16, Max: 1<<16 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armMovN0},
	{Type: 288, Name: "R_AARCH64_MOVW_PREL_G0_NC", Formula: PCRel, Field: MovG0,
		Kind: KindAddress, Source: arm64Code, insn: armMovK0},
	{Type: 289, Name: "R_AARCH64_MOVW_PREL_G1", Formula: PCRel, Field: MovSignedG1, Min: -1 << 32, Max: 1<<32 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armMovN1},
	{Type: 290, Name: "R_AARCH64_MOVW_PREL_G1_NC", Formula: PCRel, Field: MovG1,
		Kind: KindAddress, Source: arm64Code, insn: armMovK1},
	{Type: 291, Name: "R_AARCH64_MOVW_PREL_G2", Formula: PCRel, Field: MovSignedG2, Min: -1 << 48, Max: 1<<48 - 1,
		Kind: KindAddress, Source: arm64Code, insn: armMovN2},
	{Type: 292, Name: "R_AARCH64_MOVW_PREL_G2_NC", Formula: PCRel, Field: MovG2,
		Kind: KindAddress, Source: arm64Code, insn: armMovK2},
	{Type: 293, Name: "R_AARCH64_MOVW_PREL_G3", Formula: PCRel, Field: MovSignedG3,
		Kind: KindAddress, Source: arm64Code, insn: armMovN3},

	// Offset of a slot in the GOT, as a group.
	{Type: 300, Name: "R_AARCH64_MOVW_GOTOFF_G0", Formula: SlotGOTOff, Field: MovSignedG0, Min: -1 << 16, Max: 1<<16 - 1,
		Kind: KindGOT, Source: arm64Code, insn: armMovN0},
	{Type: 301, Name: "R_AARCH64_MOVW_GOTOFF_G0_NC", Formula: SlotGOTOff, Field: MovG0,
		Kind: KindGOT, Source: arm64Code, insn: armMovK0},
	{Type: 302, Name: "R_AARCH64_MOVW_GOTOFF_G1", Formula: SlotGOTOff, Field: MovSignedG1, Min: -1 << 32, Max: 1<<32 - 1,
		Kind: KindGOT, Source: arm64Code, insn: armMovN1},
	{Type: 303, Name: "R_AARCH64_MOVW_GOTOFF_G1_NC", Formula: SlotGOTOff, Field: MovG1,
		Kind: KindGOT, Source: arm64Code, insn: armMovK1},
	{Type: 304, Name: "R_AARCH64_MOVW_GOTOFF_G2", Formula: SlotGOTOff, Field: MovSignedG2, Min: -1 << 48, Max: 1<<48 - 1,
		Kind: KindGOT, Source: arm64Code, insn: armMovN2},
	{Type: 305, Name: "R_AARCH64_MOVW_GOTOFF_G2_NC", Formula: SlotGOTOff, Field: MovG2,
		Kind: KindGOT, Source: arm64Code, insn: armMovK2},
	{Type: 306, Name: "R_AARCH64_MOVW_GOTOFF_G3", Formula: SlotGOTOff, Field: MovSignedG3,
		Kind: KindGOT, Source: arm64Code, insn: armMovN3},

	// GOT, data and instructions.
	{Type: 307, Name: "R_AARCH64_GOTREL64", Formula: GOTRel, Field: Word64, Kind: KindAddress, Source: arm64Code},
	{Type: 308, Name: "R_AARCH64_GOTREL32", Formula: GOTRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindAddress, Source: arm64Code},
	{Type: 315, Name: "R_AARCH64_GOTPCREL32", Formula: SlotRel, Field: Word32, Min: int32Min, Max: int32Max,
		Kind: KindGOT, Source: arm64Code, Note: "a data word; the addend moves the field, not the slot"},
	{Type: 309, Name: "R_AARCH64_GOT_LD_PREL19", Formula: SlotPlace, Field: Imm19, Min: -reach21, Max: reach21 - 1, Align: 4,
		Kind: KindGOT, Source: arm64Code, insn: armLitX},
	{Type: 310, Name: "R_AARCH64_LD64_GOTOFF_LO15", Formula: SlotGOTOff, Field: Lo15Xword, Max: lo15Max, Align: 8,
		Kind: KindGOT, Source: arm64Code, insn: armLDRX},
	{Type: 311, Name: "R_AARCH64_ADR_GOT_PAGE", Formula: SlotPageRel, Field: Adrp21, Min: -reach33, Max: reach33 - 1,
		Kind: KindGOT, Source: arm64Code, insn: armADRP},
	{Type: 312, Name: "R_AARCH64_LD64_GOT_LO12_NC", Formula: SlotAbs, Field: Lo12Xword, Align: 8,
		Kind: KindGOT, Source: arm64Code, insn: armLDRX},
	{Type: 313, Name: "R_AARCH64_LD64_GOTPAGE_LO15", Formula: SlotGOTPage, Field: Lo15Xword, Max: lo15Max, Align: 8,
		Kind: KindGOT, Source: arm64Code, insn: armLDRX},
}

var arm64Index = build(arm64Rows)

// pattern is a set of instruction words: those with word&mask == value.
type pattern struct{ mask, value uint32 }

// arm64Insns are the words that each rule allows (Arm ARM C4.1, encoding index).
// Both linkers take BL under JUMP26 and B under CALL26, and so does klink. The
// shift of a MOVW must be the one of its type's group: an assembler cannot write
// another, and with another the sum of the group would be wrong.
var arm64Insns = [insnRules][]pattern{
	armBranch: {{0x7c000000, 0x14000000}},
	armCond: {
		{0xff000000, 0x54000000}, // B.cond, BC.cond
		{0x7e000000, 0x34000000}, // CBZ, CBNZ
	},
	armTest:    {{0x7e000000, 0x36000000}},
	armLit:     {{0x3b000000, 0x18000000}}, // LDR, LDRSW, PRFM, and LDR of SIMD registers
	armLitX:    {{0xff000000, 0x58000000}},
	armADR:     {{0x9f000000, 0x10000000}},
	armADRP:    {{0x9f000000, 0x90000000}},
	armADD:     {{0x5fc00000, 0x11000000}},
	armLDST8:   {{0xff000000, 0x39000000}, {0xff800000, 0x3d000000}}, // general register; SIMD B
	armLDST16:  {{0xff000000, 0x79000000}, {0xff800000, 0x7d000000}},
	armLDST32:  {{0xff000000, 0xb9000000}, {0xff800000, 0xbd000000}},
	armLDST64:  {{0xff000000, 0xf9000000}, {0xff800000, 0xfd000000}}, // with PRFM
	armLDST128: {{0xff800000, 0x3d800000}},
	armLDRX:    {{0xffc00000, 0xf9400000}},
	armMovK0:   {{0x5fe00000, 0x52800000}},
	armMovK1:   {{0x5fe00000, 0x52a00000}},
	armMovK2:   {{0x5fe00000, 0x52c00000}},
	armMovK3:   {{0x5fe00000, 0x52e00000}},
	armMovN0:   {{0x3fe00000, 0x12800000}},
	armMovN1:   {{0x3fe00000, 0x12a00000}},
	armMovN2:   {{0x3fe00000, 0x12c00000}},
	armMovN3:   {{0x3fe00000, 0x12e00000}},
}
