package elfload

import (
	"bytes"
	"fmt"
)

// badName says why there is no name at an offset of a string table.
type badName int

const (
	nameOK       badName = iota
	nameOutside          // the offset is not in the table
	nameTooLong          // more than maxName bytes
	namesTooMany         // the file's names together take more than maxNames bytes
)

// String returns the reason as messages show it, to go on "its name at 0x… ".
func (b badName) String() string {
	switch b {
	case nameOutside:
		return "lies outside of the string table"
	case nameTooLong:
		return fmt.Sprintf("is longer than klink's limit of %#x bytes", maxName)
	case namesTooMany:
		return fmt.Sprintf("brings the file's names to more than klink's limit of %#x bytes", maxNames)
	}
	return "is fine"
}

// nameAt returns the NUL-terminated string at off in tab, which is empty or ends in a
// NUL, without a copy. budget is how
// many bytes of names may still be read and is lowered: millions of symbols may share
// one long name, and looking for its end each time must not take for ever.
// Offset 0 is no name whatever the table holds there (gABI 4.16).
func nameAt(tab []byte, off uint32, budget *int) (string, badName) {
	if off == 0 {
		return "", nameOK
	}
	if uint64(off) >= uint64(len(tab)) {
		return "", nameOutside
	}
	s := tab[off:]
	if len(s) > maxName+1 {
		s = s[:maxName+1]
	}
	n := bytes.IndexByte(s, 0)
	if n < 0 {
		return "", nameTooLong
	}
	if *budget -= n; *budget < 0 {
		return "", namesTooMany
	}
	return stringOf(s[:n]), nameOK
}
