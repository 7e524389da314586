// Package arena owns the memory that everything klink links lies in: two memfds,
// the host's one writable view of each, three regions and their allocators.
//
//	[Base, Base+Size)   text | tables       | data
//	memfd               sealed (one memfd)  | its own memfd
//	the host maps it    RW-    RW-            RW-
//	the runner maps it  R-X    R--            RW-
//
// In the sealed memfd the tables come first, then text. The file grows as text is
// handed out: text beyond does not exist yet, and a thread that gets there is stopped
// by SIGBUS instead of running what zeros mean (docs/adr/0006).
//
// No page is ever writable and executable in one process: the host never maps
// anything executable, and once its view is made a seal refuses every further
// writable one of text and tables. Arena addresses are target addresses: where
// the runner maps the memory, below 2 GiB so that R_X86_64_32 and 32S fit. The
// host's view may lie anywhere; Bytes translates.
//
// Who allocates must know that
//   - text comes filled with trap instructions and goes back to them when freed;
//     freed text is reused last. All of text that exists holds them wherever nothing
//     was put, also what alignment skips: that costs memory, once;
//   - tables and data come zeroed and are zeroed when freed. Free pages of data
//     go back to the system, all but at most 1 MiB; a sealed memfd cannot give any
//     back. The lowest free space is used first, so that pages stay shared.
//
// An Arena is not safe for concurrent use: the kernel makes one change at a time.
// Only Bytes, Span, Base, Size, Machine, Walls and Fds may run beside one another.
//
// Layer 3. Imports: arch, diag.
package arena

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"klink/internal/arch"
	"klink/internal/diag"
)

// Region is one of the three parts of an arena: by what may be done with it.
type Region uint8

// The regions, in the order of their addresses.
const (
	Text    Region = iota // code, veneers, entries: R-X for the runner
	Tables                // GOT, read-only data, the switch's table: R--
	Data                  // RW-
	Regions = 3           // how many there are
)

// String returns "text", "tables" or "data".
func (r Region) String() string { return [...]string{"text", "tables", "data"}[r] }

const (
	// DefaultSize is the size of an arena that asks for none: with 128 MiB of text
	// every aarch64 branch reaches all of it.
	DefaultSize = 512 << 20
	// Align is what Base and Size must be multiples of: the largest page of any target.
	Align = 64 << 10
	// MinBase is the lowest address of an arena.
	MinBase = 0x10000000
	// Limit is the end of the window that an arena lies in: it keeps every address,
	// and a page behind the last one, a positive 32-bit number.
	Limit = 0x7fff0000

	minSize = 4 * Align
)

// Config says which arena to make.
type Config struct {
	Machine arch.Machine // whose trap instruction fills text
	Base    uint64       // lowest address, a multiple of Align in the window; 0: chosen at random
	Size    uint64       // bytes, a multiple of Align; 0: DefaultSize. A quarter each is text and tables, half data
}

// Arena is the memory and its three allocators.
type Arena struct {
	machine    arch.Machine
	base, size uint64
	region     [Regions]region
	mem        memory
	trap       []byte // one chunk of trap instructions
	page       uint64 // bytes of a page of this host
	idle       idle
	walls      []Wall
	closed     bool
}

// region is one part: its allocator, which knows its bounds, and its host view.
type region struct {
	*allocator
	view []byte // of [lo, hi); text from end on must not be touched
	end  uint64 // one past the last byte that exists
}

// chunk is what the length of text grows by a multiple of, bytes. Nearly all of the
// cost of growing is that of its pages, so larger steps would save nothing.
const chunk = Align

// New makes an arena: memory that is never touched costs nothing. A protection
// that this system lacks is no error, Walls tells; the errors are diag.ErrUsage
// for a Config out of bounds, diag.ErrMachine, and diag.ErrIO. The caller closes it.
func New(cfg Config) (*Arena, error) { return newArena(cfg, &linux) }

func newArena(cfg Config, sys *system) (*Arena, error) {
	facts := cfg.Machine.Facts()
	if facts == nil {
		return nil, diag.New(diag.ErrMachine, "", "no arena for %v", cfg.Machine)
	}
	base, size, err := place(cfg.Base, cfg.Size)
	if err != nil {
		return nil, err
	}
	quarter := size / 4 / Align * Align
	mem, walls, err := sys.open(quarter, quarter, size-2*quarter)
	if err != nil {
		return nil, err
	}
	a := &Arena{
		machine: cfg.Machine, base: base, size: size, mem: mem, walls: walls,
		page: sys.page, idle: newIdle((size - 2*quarter) / sys.page),
	}
	for len(a.trap) < chunk {
		a.trap = append(a.trap, facts.TrapBytes...)
	}
	tables, data := base+quarter, base+2*quarter
	a.region = [Regions]region{
		Text:   {newAllocator(base, tables, reusedLast), mem.sealed[quarter:], base},
		Tables: {newAllocator(tables, data, lowestFirst), mem.sealed[:quarter:quarter], data},
		Data:   {newAllocator(data, base+size, lowestFirst), mem.data, base + size},
	}
	return a, nil
}

// place checks base and size, and chooses where they are 0.
func place(base, size uint64) (uint64, uint64, error) {
	if size == 0 {
		size = DefaultSize
	}
	if size%Align != 0 || size < minSize || size > Limit-MinBase {
		return 0, 0, diag.New(diag.ErrUsage, "",
			"arena size %#x is not a multiple of %#x from %#x to %#x", size, Align, minSize, Limit-MinBase)
	}
	last := Limit - size
	if base == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, 0, diag.New(diag.ErrIO, "", "choosing the arena's base: %v", err)
		}
		// The bias of % is below 2^-48 here.
		return MinBase + binary.LittleEndian.Uint64(b[:])%((last-MinBase)/Align+1)*Align, size, nil
	}
	if base%Align != 0 || base < MinBase || base > last {
		return 0, 0, diag.New(diag.ErrUsage, "",
			"arena base %#x is not a multiple of %#x from %#x to %#x (size %#x)", base, Align, MinBase, last, size)
	}
	return base, size, nil
}

// Machine returns the machine whose code the arena holds.
func (a *Arena) Machine() arch.Machine { return a.machine }

// Base returns the lowest address.
func (a *Arena) Base() uint64 { return a.base }

// Size returns the size of the three regions together, bytes.
func (a *Arena) Size() uint64 { return a.size }

// Span returns the bounds [lo, hi) of region r.
func (a *Arena) Span(r Region) (lo, hi uint64) { return a.region[r].lo, a.region[r].hi }

// Walls returns the protections an arena can have, always all of them and in the
// same order, and which of them this system gave. The result must not be changed.
func (a *Arena) Walls() []Wall { return a.walls }

// Fds returns the file descriptors of the two memfds, text with tables (see Offsets)
// and data, to be handed to the runner. The arena keeps owning them; they are closed
// on exec. Data begins at offset 0 of its file.
func (a *Arena) Fds() (text, data int) { return a.mem.sealedFd, a.mem.dataFd }

// Offsets returns where text and tables begin in the sealed memfd, bytes, both
// multiples of Align. Whoever maps text maps all of its span at once: the file may end
// before, and what the arena adds later shows in the mapping.
func (a *Arena) Offsets() (text, tables uint64) {
	lo, hi := a.Span(Tables)
	return hi - lo, 0
}

// Alloc returns the address of size fresh bytes in region r at a multiple of align
// (0 or a power of two). Sizes are rounded up to 8 bytes. A size of 0 allocates
// nothing and returns a valid address, which others may share. Text reads as trap
// instructions, tables and data read as zeros. The error is diag.ErrNoSpace, with
// the numbers, or what the system said when text was to grow; diag.ErrUsage for an
// align that is no power of two.
func (a *Arena) Alloc(r Region, size, align uint64) (addr uint64, err error) {
	if bits.OnesCount64(align) > 1 {
		return 0, diag.New(diag.ErrUsage, "", "%s: alignment %#x is no power of two", r, align)
	}
	g := &a.region[r]
	addr, ok := g.alloc(size, align)
	if !ok {
		return 0, diag.New(diag.ErrNoSpace, "",
			"%s: no room for %d bytes aligned to %d: %d of %d bytes are free, the largest hole has %d (--arena-size sets the size at boot)",
			r, size, max(align, 1), g.hi-g.lo-g.used, g.hi-g.lo, g.largest())
	}
	if size == 0 {
		return addr, nil
	}
	size = alignUp(size, granule)
	switch r {
	case Text:
		if err := a.growText(addr + size); err != nil {
			g.free(addr, size)
			return 0, err
		}
	case Data:
		a.takeData(addr, addr+size)
	}
	return addr, nil
}

// Free gives back the block of size bytes (as asked of Alloc) at addr in region r.
// Text is overwritten with trap instructions, the others with zeros. A size of 0 does nothing. It panics
// for anything but a block that Alloc returned, whole.
func (a *Arena) Free(r Region, addr, size uint64) {
	if size == 0 {
		return
	}
	g := &a.region[r]
	lo, hi := g.free(addr, size)
	end := alignUp(addr+size, granule)
	switch r {
	case Text:
		for at := addr; at < end; at += chunk {
			copy(g.view[at-g.lo:end-g.lo], a.trap)
		}
	case Tables:
		clear(g.view[addr-g.lo : end-g.lo])
	case Data:
		a.giveData(addr, end, lo, hi)
	}
}

// growText makes sure that text exists up to hi, and that all of it that is new holds
// trap instructions. For the moment between the two it reads as zeros; nothing leads
// there yet.
func (a *Arena) growText(hi uint64) error {
	g := &a.region[Text]
	if hi <= g.end {
		return nil
	}
	end := alignUp(hi, chunk)
	tables := g.hi - g.lo // which come before it in the file, and are as long
	if err := a.mem.grow(tables+g.end-g.lo, end-g.end); err != nil {
		return diag.New(diag.ErrNoSpace, "", "text: no memory for %d bytes more: %v", end-g.end, err)
	}
	for at := g.end; at < end; at += chunk {
		copy(g.view[at-g.lo:], a.trap)
	}
	g.end = end
	return nil
}

// takeData makes the fresh block [lo, hi) of data read as zeros: the runner could
// write there while nobody owned it.
func (a *Arena) takeData(lo, hi uint64) {
	g := &a.region[Data]
	from, to := lo&^(a.page-1), alignUp(hi, a.page)
	a.idle.set((from-g.lo)/a.page, (to-g.lo)/a.page, false)
	a.zero(lo, hi)
}

// giveData makes the freed block [lo, hi) of data, which lies in the free run
// [runLo, runHi), read as zeros, and sees to it that pages return to the system.
func (a *Arena) giveData(lo, hi, runLo, runHi uint64) {
	g := &a.region[Data]
	a.zero(lo, hi)
	from := max(alignUp(runLo, a.page), lo&^(a.page-1))
	to := min(runHi&^(a.page-1), alignUp(hi, a.page))
	if from < to {
		a.idle.set((from-g.lo)/a.page, (to-g.lo)/a.page, true)
		if hi-lo >= returnNow { // zero has returned the pages that are the block's alone
			a.idle.set((alignUp(lo, a.page)-g.lo)/a.page, (hi&^(a.page-1)-g.lo)/a.page, false)
		}
	}
	if uint64(a.idle.count)*a.page > maxIdle {
		a.idle.each(func(from, to uint64) {
			// A refusal leaves zeroed memory in place, which is what is needed.
			_ = a.mem.punch(from*a.page, (to-from)*a.page)
		})
	}
}

// zero makes [lo, hi) of data read as zeros; of a large range by returning its pages.
func (a *Arena) zero(lo, hi uint64) {
	g := &a.region[Data]
	from, to := alignUp(lo, a.page), hi&^(a.page-1)
	if hi-lo >= returnNow && from < to && a.mem.punch(from-g.lo, to-from) == nil {
		clear(g.view[lo-g.lo : from-g.lo])
		clear(g.view[to-g.lo : hi-g.lo])
		return
	}
	clear(g.view[lo-g.lo : hi-g.lo])
}

// Bytes returns the host's view of the n bytes at addr, to read and to write; nil
// if they do not lie in one region, for text that does not exist (only what was never
// handed out), or after Close. The view is only valid until
// Close and keeps the alignment of addr (up to a page of the host). What the
// runner can write (data) may change under the reader.
func (a *Arena) Bytes(addr, n uint64) []byte {
	for r := range a.region {
		g := &a.region[r]
		if addr >= g.lo && addr < g.hi && (n == 0 || addr < g.end && n <= g.end-addr) && g.view != nil {
			off := addr - g.lo
			return g.view[off : off+n : off+n]
		}
	}
	return nil
}

// RegionStats is the state of one region; sizes in bytes.
type RegionStats struct {
	Region  Region
	Lo, Hi  uint64 // bounds
	Used    uint64 // in blocks, each rounded up to 8
	Free    uint64 // Hi - Lo - Used
	Largest uint64 // the longest free run
	High    uint64 // the most of the region that ever was in use: highest address used, minus Lo
	Blocks  int    // how many there are
	Holes   int    // free runs
}

// Stats returns the state of each region, in the order of their addresses.
func (a *Arena) Stats() []RegionStats {
	all := make([]RegionStats, Regions)
	for r := range all {
		g := &a.region[r]
		all[r] = RegionStats{
			Region: Region(r), Lo: g.lo, Hi: g.hi,
			Used: g.used, Free: g.hi - g.lo - g.used, Largest: g.largest(),
			High: g.high - g.lo, Blocks: len(g.blocks), Holes: g.runs(),
		}
	}
	return all
}

// Close unmaps the views and closes the memfds; a second Close does nothing. Every
// slice that Bytes returned is invalid from then on: reading it faults.
func (a *Arena) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	for r := range a.region {
		a.region[r].view = nil
	}
	return a.mem.close()
}
