package unwind_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/unwind"
)

// tableAt is where the tables of these tests lie, codeAt the code that they describe.
const (
	tableAt = 0x20000000
	codeAt  = 0x10000000
)

// builder makes an .eh_frame by hand.
type builder struct {
	data []byte
	cie  int // offset of the last CIE
}

// entry appends a length and what is behind it, padded with nops.
func (b *builder) entry(body []byte) *builder {
	for (len(body)+4)%8 != 0 {
		body = append(body, 0)
	}
	b.data = binary.LittleEndian.AppendUint32(b.data, uint32(len(body)))
	b.data = append(b.data, body...)
	return b
}

// raw appends a CIE from its version on.
func (b *builder) raw(body ...byte) *builder {
	b.cie = len(b.data)
	return b.entry(append([]byte{0, 0, 0, 0}, body...))
}

// common appends a CIE as compilers write it for a machine, with more instructions.
func (b *builder) common(m arch.Machine, aug string, augData []byte, more ...byte) *builder {
	body := append([]byte{1}, aug+"\x00"...)
	ra, initial := byte(16), []byte{0x0c, 7, 8, 0x90, 1} // def_cfa rsp+8; offset ra at c-8
	if m == arch.ARM64 {
		ra, initial = 30, []byte{0x0c, 31, 0} // def_cfa sp+0
	}
	body = append(body, 1, 0x78, ra, byte(len(augData))) // code 1, data -8
	body = append(append(append(body, augData...), initial...), more...)
	return b.raw(body...)
}

// usual appends the CIE with the augmentation "zR" and addresses like gcc's.
func (b *builder) usual(m arch.Machine) *builder { return b.common(m, "zR", []byte{0x1b}) }

// fde appends an FDE of the last CIE, whose addresses are PC-relative in 4 bytes.
func (b *builder) fde(lo uint64, n uint32, instructions ...byte) *builder {
	at := len(b.data) + 4
	body := binary.LittleEndian.AppendUint32(nil, uint32(at-b.cie))
	body = binary.LittleEndian.AppendUint32(body, uint32(lo-tableAt-uint64(at)-4))
	body = binary.LittleEndian.AppendUint32(body, n)
	return b.entry(append(append(body, 0), instructions...))
}

// parse parses what was built, which must be sound.
func (b *builder) parse(t *testing.T, m arch.Machine) *unwind.Table {
	t.Helper()
	table, err := unwind.Parse(m, b.data, tableAt)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// function is a table of one function of 0x100 bytes at codeAt.
func function(t *testing.T, m arch.Machine, instructions ...byte) *unwind.Table {
	t.Helper()
	return new(builder).usual(m).fde(codeAt, 0x100, instructions...).parse(t, m)
}

// memory is a stack: words by address.
type memory map[uint64]uint64

func (m memory) read(addr uint64) (uint64, bool) {
	v, ok := m[addr]
	return v, ok
}

// wantError compares an error's kind and a part of its text.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if err == nil || !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want %v: …%s…", err, kind, text)
	}
}

// expr returns an expression as an operand: its length, then its bytes.
func expr(ops ...byte) []byte { return append([]byte{byte(len(ops))}, ops...) }

// code puts instructions together.
func code(parts ...[]byte) []byte { return slices.Concat(parts...) }
