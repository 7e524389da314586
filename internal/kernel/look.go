package kernel

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"klink/internal/aliasstack"
	"klink/internal/arena"
	"klink/internal/diag"
)

// What modules print, and what their memory holds.

// Log returns lines that modules, and the host, printed, from r.From on; if there are
// none it waits for one, up to r.Wait or until ctx ends. Errors: those of Call where
// nothing runs; diag.ErrLost for who waits for a line of a runner that is lost.
func (k *Kernel) Log(ctx context.Context, r LogRequest) (*LogReport, error) {
	k.mu.Lock()
	l := k.live
	err := k.runs()
	k.mu.Unlock()
	if l == nil {
		return nil, err // what a lost runner printed can still be read
	}
	most := r.Max
	if most <= 0 {
		most = math.MaxInt
	}
	more := l.run.More(r.From)
	lines, lost := l.run.Lines(r.From, most)
	if len(lines) == 0 && lost == 0 && r.Wait > 0 {
		timer := time.NewTimer(time.Duration(r.Wait))
		defer timer.Stop()
		select {
		case <-more:
		case <-timer.C:
		case <-l.run.Gone():
			return nil, bootAgain(l.run.Err())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		lines, lost = l.run.Lines(r.From, most)
	}
	report := &LogReport{Lines: []LogLine{}, Next: r.From + lost + uint64(len(lines)), Lost: lost}
	for _, line := range lines {
		report.Lines = append(report.Lines, LogLine{Number: line.Number, Time: int64(line.Time), Thread: line.Thread, Text: line.Text})
	}
	return report, nil
}

// maxRead bounds one look into memory, bytes.
const maxRead = 1 << 20

// readUnknown is how much of what has no size is read, bytes.
const readUnknown = 64

// Read returns memory as it stands: text, tables or data.
func (k *Kernel) Read(r ReadRequest) (*ReadReport, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	addr, size, err := k.locate(r.What)
	if err != nil {
		return nil, err
	}
	n := r.Len
	if n == 0 {
		n = min(size, maxRead)
	}
	if n > maxRead {
		return nil, diag.New(diag.ErrUsage, "", "%d bytes; at most %d are read at once", n, maxRead)
	}
	b := k.arena.Bytes(addr, n)
	if b == nil {
		return nil, diag.New(diag.ErrRange, "", "the %d bytes at %#x do not lie in one region of the arena", n, addr)
	}
	report := &ReadReport{Addr: Addr(addr), Bytes: append([]byte{}, b...)}
	report.Symbol = k.nameAt(addr)
	return report, nil
}

// locate finds what a user wants to read: "S", "module:S" or "0x…".
func (k *Kernel) locate(what string) (addr, size uint64, err error) {
	if k.arena == nil {
		return 0, 0, diag.New(diag.ErrNotFound, "", "nothing is loaded")
	}
	if strings.HasPrefix(what, "0x") {
		if addr, err = strconv.ParseUint(what, 0, 64); err != nil {
			return 0, 0, diag.New(diag.ErrUsage, "", "%s is no address", diag.Quote(what))
		}
		return addr, readUnknown, nil
	}
	if slot, ok := k.stacks.Lookup(what); ok {
		if p := k.stacks.Current(slot); p.Module != 0 {
			m := k.modules[p.Module]
			addr, size, _ := m.lm.Own(m.offers[p.Offer], m.at)
			return addr, sizeOr(size), nil
		}
	}
	mods, name := k.inOrder(), what
	if mod, s, ok := strings.Cut(what, ":"); ok && k.byName[mod] != nil {
		mods, name = []*module{k.byName[mod]}, s
	}
	var in *module
	for _, m := range mods {
		for _, s := range m.symbols() {
			if s.name != name || s.typ == "section" {
				continue
			}
			if in != nil && in != m {
				return 0, 0, diag.New(diag.ErrUsage, "", "%s is in %s and in %s: say which as MODULE:SYMBOL", diag.Quote(name), diag.Escape(in.name), diag.Escape(m.name))
			}
			in, addr, size = m, s.addr, s.extent
			break
		}
	}
	if in == nil {
		return 0, 0, diag.New(diag.ErrNotFound, "", "no symbol %s", diag.Quote(what))
	}
	return addr, sizeOr(size), nil
}

// sizeOr returns size, or what is read of what has none.
func sizeOr(size uint64) uint64 {
	if size == 0 {
		return readUnknown
	}
	return size
}

// nameAt names the symbol that covers an address as "module:symbol+0x8"; "" if none does.
func (k *Kernel) nameAt(addr uint64) string {
	for _, m := range k.inOrder() {
		covered := false
		for r, at := range m.at {
			covered = covered || addr-at < m.lm.Size[r]
		}
		if !covered {
			continue
		}
		best := ""
		for _, s := range m.symbols() {
			if s.typ != "section" && s.addr <= addr && addr-s.addr < max(s.extent, 1) {
				best = m.name + ":" + plus(s.name, addr-s.addr)
			}
		}
		return best
	}
	return ""
}

// Data returns the host's live view of n bytes at addr, which modules may write at any
// time; nil if they do not lie in one region. It is for programs that drive a kernel in
// their own process, and valid until Close.
func (k *Kernel) Data(addr Addr, n uint64) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if lo, hi := k.arena.Span(arena.Data); uint64(addr) < lo || uint64(addr) >= hi {
		return nil
	}
	return k.arena.Bytes(uint64(addr), n)
}

// owner returns the module that sites of that id belong to: a loaded one, or one that
// is being loaded; nil for the entries.
func (k *Kernel) owner(id aliasstack.ModuleID) *module {
	if m := k.modules[id]; m != nil {
		return m
	}
	for _, m := range k.initing {
		if m.id == id {
			return m
		}
	}
	return nil
}
