package patch

import (
	"math/bits"
	"slices"
)

// key is an address, relative to what all keys of a list have in common, in the upper
// half, and where what it belongs to stands in the unsorted list.
type key uint64

// keyOf makes a key. Addresses are below 4 GiB.
func keyOf(addr uint64, index int) key { return key(addr<<32 | uint64(index)) }

func (k key) addr() uint64 { return uint64(k >> 32) }
func (k key) index() int   { return int(uint32(k)) }

// maxDigit is the widest digit of the sort, bits: a table of counts that still fits the
// first cache.
const maxDigit = 11

// radixFrom is the length from which counting digits beats comparing.
const radixFrom = 64

// sortKeys sorts keys by address. The result lies in keys or in room, and the other of
// the two is room then. Comparing would cost 17 steps a site for 100,000 sites; the
// addresses of one arena differ in at most 29 bits, those of one module in some 18, and
// as few digits as these need are counted.
func sortKeys(keys []key, room *[]key) []key {
	if len(keys) < radixFrom {
		slices.Sort(keys)
		return keys
	}
	lo, hi := keys[0].addr(), keys[0].addr()
	for _, k := range keys {
		lo, hi = min(lo, k.addr()), max(hi, k.addr())
	}
	width := bits.Len64(hi - lo)
	passes := (width + maxDigit - 1) / maxDigit
	if passes == 0 {
		return keys
	}
	digit := (width + passes - 1) / passes
	other := slices.Grow((*room)[:0], len(keys))[:len(keys)]
	var counts [1 << maxDigit]uint32
	for pass := range passes {
		at, mask := counts[:1<<digit], uint64(1)<<digit-1
		shift := pass * digit
		clear(at)
		for _, k := range keys {
			at[(k.addr()-lo)>>shift&mask]++
		}
		sum := uint32(0)
		for d, n := range at {
			at[d] = sum
			sum += n
		}
		for _, k := range keys {
			d := (k.addr() - lo) >> shift & mask
			other[at[d]] = k
			at[d]++
		}
		keys, other = other, keys
	}
	*room = other
	return keys
}

// sorter sorts edits; its room is kept from one call to the next.
type sorter struct {
	keys, spare []key
	mixed       []Edit
}

// sort sorts edits by address, in place.
func (r *sorter) sort(edits []Edit) {
	r.keys = slices.Grow(r.keys[:0], len(edits))[:len(edits)]
	for i := range edits {
		r.keys[i] = keyOf(uint64(edits[i].Addr), i)
	}
	r.mixed = append(r.mixed[:0], edits...)
	r.keys = sortKeys(r.keys, &r.spare)
	for i, k := range r.keys {
		edits[i] = r.mixed[k.index()]
	}
}
