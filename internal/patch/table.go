package patch

import (
	"encoding/binary"
	"fmt"

	"klink/internal/insn"
)

// The table of a switch as the runner's trap handler reads it: struct klink_table and
// struct klink_row of ../runner/src/control.h. The host alone can write there.

// Sizes of the table's head and of one row, bytes.
const (
	TableSize = 32
	RowSize   = 16
)

// PutRows writes rows to the start of dst, RowSize bytes each, in their order:
//
//	0   u32 addr, of the site
//	4   u32 old, where it led; 0 is a trap
//	8   u32 new
//	12  u32 form, insn.Form's number
//
// all little-endian. It panics if dst is too short.
func PutRows(dst []byte, rows []Edit) {
	if uint64(len(dst))/RowSize < uint64(len(rows)) {
		panic(fmt.Sprintf("patch: %d bytes for %d rows", len(dst), len(rows)))
	}
	for i := range rows {
		e, row := &rows[i], dst[:RowSize]
		binary.LittleEndian.PutUint64(row, uint64(e.Addr)|uint64(e.Old)<<32)
		binary.LittleEndian.PutUint64(row[8:], uint64(e.New)|uint64(e.Form)<<32)
		dst = dst[RowSize:]
	}
}

// Rows reads rows that PutRows wrote; what is left of b behind the last whole row is
// ignored. It is for tests and for people: a switch keeps its own.
func Rows(b []byte) []Edit {
	rows := make([]Edit, len(b)/RowSize)
	for i := range rows {
		word := func(k int) uint32 { return binary.LittleEndian.Uint32(b[i*RowSize+4*k:]) }
		rows[i] = Edit{Addr: word(0), Old: word(1), New: word(2), Form: insn.Form(word(3))}
	}
	return rows
}
