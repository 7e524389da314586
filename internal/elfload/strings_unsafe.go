package elfload

import "unsafe"

// stringOf returns b as a string that shares its memory: a file's names are used in
// place, because a copy of a 64 MiB string table would not fit the memory limit.
func stringOf(b []byte) string {
	// SAFETY: b is part of the file's bytes, which the callers of Parse and Members
	// promise not to change; unsafe.SliceData of an empty slice is never dereferenced.
	return unsafe.String(unsafe.SliceData(b), len(b))
}
