package main

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"klink/internal/arch"
	"klink/internal/insn"
)

// at makes memory of bytes at an address.
func at(base uint64, b []byte) memory {
	return func(addr, n uint64) []byte {
		if addr < base || addr-base > uint64(len(b)) || uint64(len(b))-(addr-base) < n {
			return nil
		}
		return b[addr-base:][:n]
	}
}

// TestJump: the decoder here and golang.org/x/arch read branches alike.
func TestJump(t *testing.T) {
	const base = 0x20000000
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		word := rng.Uint32()
		for _, w := range []uint32{word&0x83ffffff | 0x14000000, word&0x00ffffef | 0x54000000, word&0x81ffffff | 0x34000000, word&0x81ffffff | 0x36000000} {
			b := binary.LittleEndian.AppendUint32(nil, w)
			in := insn.Disassemble(arch.ARM64, b, base, nil)[0]
			if to, err := at(base, b).jump(arch.ARM64, base, 0); in.HasTarget && (err != nil || to != in.Target) {
				t.Fatalf("%08x: %#x, %v, want %#x (%s)", w, to, err, in.Target, in.Text)
			}
		}
		for _, head := range [][]byte{{0xe8}, {0xe9}, {0x0f, 0x80 | byte(word)&15}} {
			b := binary.LittleEndian.AppendUint32(head, word)
			in := insn.Disassemble(arch.AMD64, b, base, nil)[0]
			if to, err := at(base, b).jump(arch.AMD64, base, uint64(len(head))); err != nil || to != in.Target || !in.HasTarget {
				t.Fatalf("% x: %#x, %v, want %#x (%s)", b, to, err, in.Target, in.Text)
			}
		}
	}
	for _, b := range [][]byte{{0x0f, 0x1f, 0, 0, 0, 0}, {0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc}} {
		if to, err := at(base, b).jump(arch.AMD64, base, 2); err == nil {
			t.Errorf("% x leads to %#x", b, to)
		}
	}
	if to, err := at(base, words(0xd503201f)).jump(arch.ARM64, base, 0); err == nil {
		t.Errorf("nop leads to %#x", to)
	}
	veneer := words(0x54000040, 0xd503201f, 0x58000050, 0xd61f0200, 0x12345678, 1)
	if to, err := at(base, veneer).jump(arch.ARM64, base, 0); err != nil || to != 0x112345678 {
		t.Errorf("veneer: %#x, %v", to, err)
	}
}
