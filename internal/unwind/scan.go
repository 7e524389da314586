package unwind

import (
	"encoding/binary"

	"klink/internal/arch"
)

// Scan is what is left where there are no tables: it shows each whole word of stack,
// bytes that lie at address addr in a thread of machine m, to found as the address that
// it may be (see Address), from the bottom up, and says whether found said yes to one.
// Words lie at multiples of 8.
func Scan(m arch.Machine, stack []byte, addr uint64, found func(addr uint64) bool) bool {
	for at := -addr & 7; at+8 <= uint64(len(stack)); at += 8 {
		if found(Address(m, binary.LittleEndian.Uint64(stack[at:]))) {
			return true
		}
	}
	return false
}
