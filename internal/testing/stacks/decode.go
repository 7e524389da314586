package main

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"klink/internal/arch"
)

// Reading instructions and fields as they stand in memory. The encodings are the
// architecture manuals' and the psABIs'; nothing is shared with klink's own.

// What an object may hold that the model has no rule for; such an object is left out.
var (
	errTLS    = errors.New("thread-local storage")
	errSymbol = errors.New("a kind of symbol that the model has no rule for")
	errReloc  = errors.New("a relocation that the model has no rule for")
)

// shape is how a reference shows in memory.
type shape uint8

const (
	branch  shape = iota // a direct branch, which leads to the provider
	short                // aarch64: a branch of short reach, which may lead to a veneer
	gotCall              // x86-64: a call or jump through the GOT, made direct
	abs64                // 8 bytes: the address
	abs32                // 4 bytes: the address
	rel32                // 4 bytes: the address, from the place
	page                 // aarch64: ADRP, the address's page
	low                  // aarch64: the address's low 12 bits, in ADD, LDR or STR
	gotRel               // x86-64: the GOT slot that holds the address, from the place
	gotPage              // aarch64: ADRP, the GOT slot's page
	gotLow               // aarch64: LDR, the GOT slot's low 12 bits
)

// branches says that a reference of this shape is, or leads to, a site.
func (s shape) branches() bool { return s <= gotCall }

// throughGOT says that it takes two references of such shapes to find the GOT slot.
func (s shape) throughGOT() bool { return s == gotPage || s == gotLow }

// shapes are those that the type alone decides.
var shapes = map[arch.Machine]map[uint32]shape{
	arch.AMD64: {
		uint32(elf.R_X86_64_64): abs64, uint32(elf.R_X86_64_32): abs32, uint32(elf.R_X86_64_32S): abs32,
		uint32(elf.R_X86_64_PC32): rel32, uint32(elf.R_X86_64_PLT32): rel32,
		uint32(elf.R_X86_64_GOTPCREL): gotRel, uint32(elf.R_X86_64_GOTPCRELX): gotRel, uint32(elf.R_X86_64_REX_GOTPCRELX): gotRel,
	},
	arch.ARM64: {
		uint32(elf.R_AARCH64_CALL26): branch, uint32(elf.R_AARCH64_JUMP26): branch,
		uint32(elf.R_AARCH64_CONDBR19): short, uint32(elf.R_AARCH64_TSTBR14): short,
		uint32(elf.R_AARCH64_ABS64): abs64, uint32(elf.R_AARCH64_ABS32): abs32, uint32(elf.R_AARCH64_PREL32): rel32,
		uint32(elf.R_AARCH64_ADR_PREL_PG_HI21): page, uint32(elf.R_AARCH64_ADD_ABS_LO12_NC): low,
		uint32(elf.R_AARCH64_LDST8_ABS_LO12_NC): low, uint32(elf.R_AARCH64_LDST16_ABS_LO12_NC): low, uint32(elf.R_AARCH64_LDST32_ABS_LO12_NC): low,
		uint32(elf.R_AARCH64_LDST64_ABS_LO12_NC): low, uint32(elf.R_AARCH64_LDST128_ABS_LO12_NC): low,
		uint32(elf.R_AARCH64_ADR_GOT_PAGE): gotPage, uint32(elf.R_AARCH64_LD64_GOT_LO12_NC): gotLow,
	},
}

// shapeOf says how a reference shows. On x86-64 the bytes before the field decide: the
// same types stand below branches and below addresses.
func shapeOf(m arch.Machine, s *section, r *reference) (shape, error) {
	sh, ok := shapes[m][r.typ]
	if !ok {
		return 0, fmt.Errorf("%w: type %d", errReloc, r.typ)
	}
	if uint64(len(s.data)) < r.off+4 {
		return 0, fmt.Errorf("%w: outside of its section", errReloc)
	}
	if m == arch.ARM64 || !s.exec || r.off < 2 || sh != rel32 && sh != gotRel {
		if sh == rel32 && s.exec && r.off == 1 && (s.data[0] == 0xe8 || s.data[0] == 0xe9) {
			return branch, nil
		}
		return sh, nil
	}
	b0, b1 := s.data[r.off-2], s.data[r.off-1]
	switch {
	case sh == gotRel && b0 == 0xff && (b1 == 0x15 || b1 == 0x25) && r.typ == uint32(elf.R_X86_64_GOTPCRELX):
		return gotCall, nil
	case sh == rel32 && (b1 == 0xe8 || b1 == 0xe9 || b0 == 0x0f && b1&0xf0 == 0x80):
		return branch, nil
	}
	return sh, nil
}

// into returns how far into its symbol a reference points, what belongs to the
// instruction taken off.
func (r *reference) into(m arch.Machine) int64 {
	switch {
	case m != arch.AMD64, r.shape != rel32 && !r.shape.branches():
		return r.addend
	case r.shape == gotCall:
		return 0
	case r.shape == rel32 && r.addend >= -8 && r.addend <= -4:
		return 0 // an immediate may follow the field
	}
	return r.addend + 4
}

// memory reads target memory.
type memory func(addr, n uint64) []byte

func (mem memory) u32(addr uint64) uint32 {
	if b := mem(addr, 4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (mem memory) u64(addr uint64) uint64 {
	if b := mem(addr, 8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// signed returns the n low bits of v as a signed number.
func signed(v uint64, n uint) uint64 { return uint64(int64(v<<(64-n)) >> (64 - n)) }

// jump decodes the branch instruction at an address, whose rel32 of x86-64 is skip bytes
// further on, and returns where it leads. A veneer on the way is followed.
func (mem memory) jump(m arch.Machine, at, skip uint64) (uint64, error) {
	if m == arch.AMD64 {
		b := mem(at, skip+4)
		if b == nil {
			return 0, fmt.Errorf("no memory at %#x", at)
		}
		ok := skip == 1 && (b[0] == 0xe8 || b[0] == 0xe9) || skip == 2 && (b[0] == 0x0f && b[1]&0xf0 == 0x80 || b[0] == 0x67 && b[1] == 0xe8)
		if !ok {
			return 0, fmt.Errorf("% x at %#x is no direct branch", b, at)
		}
		return at + skip + 4 + signed(uint64(binary.LittleEndian.Uint32(b[skip:])), 32), nil
	}
	w := mem.u32(at)
	to := uint64(0)
	switch {
	case w&0x7c000000 == 0x14000000: // B, BL
		to = at + signed(uint64(w), 26)<<2
	case w&0xff000010 == 0x54000000, w&0x7e000000 == 0x34000000: // B.cond, CBZ, CBNZ
		to = at + signed(uint64(w>>5), 19)<<2
	case w&0x7e000000 == 0x36000000: // TBZ, TBNZ
		to = at + signed(uint64(w>>5), 14)<<2
	default:
		return 0, fmt.Errorf("%08x at %#x is no direct branch", w, at)
	}
	if mem.u32(to) == 0x58000050 && mem.u32(to+4) == 0xd61f0200 { // ldr x16, #8; br x16
		to = mem.u64(to + 8)
	}
	return to, nil
}

// field decodes the part of an address that a reference of some other shape holds: of a
// page all but the low 12 bits, of a low part those only, as mask says. At p the place is.
func (mem memory) field(r *reference, m arch.Machine, p uint64) (value, mask uint64, err error) {
	const lowMask = 0xfff
	switch r.shape {
	case abs64:
		return mem.u64(p) - uint64(r.addend), ^uint64(0), nil
	case abs32:
		return uint64(mem.u32(p)) - uint64(r.addend), ^uint64(0), nil // the arena lies below 2 GiB
	case rel32:
		return p + signed(uint64(mem.u32(p)), 32) - uint64(r.addend), ^uint64(0), nil
	case gotRel:
		return mem.u64(p + signed(uint64(mem.u32(p)), 32) - uint64(r.addend)), ^uint64(0), nil
	case page, gotPage:
		w := mem.u32(p)
		if w&0x9f000000 != 0x90000000 {
			return 0, 0, fmt.Errorf("%08x at %#x is no ADRP", w, p)
		}
		imm := uint64(w>>5)&0x7ffff<<2 | uint64(w>>29)&3
		return p&^lowMask + signed(imm, 21)<<12, ^uint64(lowMask), nil
	case low, gotLow:
		w := mem.u32(p)
		imm := uint64(w>>10) & lowMask
		switch {
		case w&0x7f800000 == 0x11000000: // ADD, immediate
		case w&0x3b000000 == 0x39000000: // LDR, STR, unsigned offset: scaled by the size, of a vector's 16 bytes too
			scale := w >> 30
			if w&0x04800000 == 0x04800000 && scale == 0 {
				scale = 4
			}
			imm = imm << scale & lowMask
		default:
			return 0, 0, fmt.Errorf("%08x at %#x is neither ADD nor a load or store", w, p)
		}
		return imm, lowMask, nil
	}
	return 0, 0, fmt.Errorf("shape %d is no address", r.shape)
}

// traps says that memory holds nothing but traps: INT3, or BRK #imm.
func traps(m arch.Machine, b []byte) bool {
	if m == arch.AMD64 {
		for _, c := range b {
			if c != 0xcc {
				return false
			}
		}
		return true
	}
	for ; len(b) >= 4; b = b[4:] {
		if binary.LittleEndian.Uint32(b)&0xffe0001f != 0xd4200000 {
			return false
		}
	}
	return true
}
