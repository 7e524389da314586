// Package arch holds the facts of the two machines that klink links for.
//
// It is data only: every other package asks it instead of comparing machine
// numbers. Target data, so it compiles and is used on every host.
//
// Layer 0. Imports: nothing of the project.
package arch

import "fmt"

// Machine is an ELF e_machine value; only AMD64 and ARM64 have facts.
type Machine uint16

// The machines that klink links for, numbered as in e_machine (gABI 4.1).
const (
	AMD64 Machine = 62  // EM_X86_64
	ARM64 Machine = 183 // EM_AARCH64
)

// Facts are the constants of one machine that layout and the switch need.
type Facts struct {
	Name        string // as users see it: "x86-64", "aarch64"
	GOARCH      string // as Go and file names spell it
	TrapBytes   []byte // one trap instruction, in memory order; fills freed text
	InsnAlign   uint64 // alignment of an instruction, bytes
	BranchReach uint64 // a direct branch reaches [P-reach, P+reach), bytes
	EntryBytes  uint64 // space of one entry, bytes; also its alignment
	FarEntry    uint64 // space of an entry or veneer that reaches everywhere, bytes
}

// facts: BranchReach of amd64 is rel32's; of arm64 imm26*4's (aaelf64 5.7.6).
var facts = map[Machine]*Facts{
	AMD64: {
		Name: "x86-64", GOARCH: "amd64",
		TrapBytes: []byte{0xcc}, // int3
		InsnAlign: 1, BranchReach: 1 << 31, EntryBytes: 8, FarEntry: 8,
	},
	ARM64: {
		Name: "aarch64", GOARCH: "arm64",
		TrapBytes: []byte{0x80, 0x69, 0x29, 0xd4}, // brk #0x4b4c
		InsnAlign: 4, BranchReach: 1 << 27, EntryBytes: 8, FarEntry: 16,
	},
}

// Facts returns the facts of m, or nil for a machine klink does not link for.
// The result is shared and must not be changed.
func (m Machine) Facts() *Facts { return facts[m] }

// String returns the name users know m by.
func (m Machine) String() string {
	if f := facts[m]; f != nil {
		return f.Name
	}
	return fmt.Sprintf("e_machine %d", uint16(m))
}

// Parse returns the machine that a user names: "x86-64", "amd64", "x86_64",
// "aarch64" or "arm64"; ok is false for any other word.
func Parse(s string) (m Machine, ok bool) {
	switch s {
	case "x86-64", "x86_64", "amd64":
		return AMD64, true
	case "aarch64", "arm64":
		return ARM64, true
	}
	return 0, false
}

// AlignUp rounds v up to a multiple of align, which must be 0 (taken as 1) or
// a power of two. ok is false if the result does not fit 64 bits.
func AlignUp(v, align uint64) (r uint64, ok bool) {
	if align <= 1 {
		return v, true
	}
	r = (v + align - 1) &^ (align - 1)
	return r, r >= v
}
