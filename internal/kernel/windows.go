package kernel

import (
	"os"

	"golang.org/x/sys/unix"

	"klink/internal/arena"
	"klink/internal/diag"
	"klink/internal/kpi"
	"klink/internal/runner"
)

// Memory that modules share with other programs: the runner's windows, which klink's
// kernel object gives out (internal/kpi/src/share.c).

// Map finds shared memory and returns it as a descriptor that can be read and mapped for
// reading, and can be given to anybody: the caller's to close. What is asked for is a
// variable that holds an address in a window, or an address in one itself.
//
// Errors: those of Read; diag.ErrRange if it is no memory that a module shares now;
// those of Call where there is no runner. What a lost runner shared last can be mapped.
func (k *Kernel) Map(r MapRequest) (*MapReport, *os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.live == nil {
		return nil, nil, k.runs()
	}
	addr, size, err := k.locate(r.What)
	if err != nil {
		return nil, nil, err
	}
	report := &MapReport{Symbol: k.nameAt(addr), Addr: Addr(addr)}
	windows := k.live.run.Windows()
	i := windowAt(windows, addr)
	if i < 0 {
		p, ok := k.pointer(addr, size)
		if !ok {
			return nil, nil, notShared(r.What, "is no variable that holds an address")
		}
		if i = windowAt(windows, p); i < 0 {
			return nil, nil, notShared(r.What, "leads to %#x, which is not shared", p)
		}
		report.Addr = Addr(p)
	}
	s := k.shared(i, windows[i].Size)
	report.Name, report.Offset = s.name, uint64(report.Addr)-windows[i].Addr
	switch {
	case s.home == 0:
		return nil, nil, notShared(r.What, "leads to %#x, which no module shares now", uint64(report.Addr))
	case report.Offset >= s.size:
		return nil, nil, notShared(r.What, "leads to %#x, which is behind the %d bytes shared as %s", uint64(report.Addr), s.size, diag.Quote(s.name))
	}
	report.Size = s.size - report.Offset
	f, err := k.live.run.OpenWindow(i)
	if err != nil {
		return nil, nil, err
	}
	return report, f, nil
}

// notShared is the error for what cannot be mapped.
func notShared(what, format string, args ...any) error {
	return diag.New(diag.ErrRange, "", "%s "+format+"; klink_share gives modules memory that can be mapped",
		append([]any{diag.Escape(what)}, args...)...)
}

// windowAt returns the index of the window in which an address lies, -1 if it is in none.
func windowAt(windows []runner.Span, addr uint64) int {
	for i, w := range windows {
		if addr-w.Addr < w.Size {
			return i
		}
	}
	return -1
}

// pointer reads the word at addr once, if it is one of modules' data that can hold an
// address.
func (k *Kernel) pointer(addr, size uint64) (uint64, bool) {
	b := k.data(addr, 8)
	if size < 8 || b == nil {
		return 0, false
	}
	return load64(b), true
}

// data returns the host's view of n bytes of modules' data, at an address of a word; nil
// if it is not that.
func (k *Kernel) data(addr, n uint64) []byte {
	if lo, hi := k.arena.Span(arena.Data); addr < lo || addr >= hi || addr%8 != 0 {
		return nil
	}
	return k.arena.Bytes(addr, n)
}

// shared is an entry of the kernel object's table of windows, as it was read once.
type shared struct {
	home uint64 // in the module that shares the window; 0: nobody does
	size uint64 // bytes, at most the window's
	name string
}

// shared returns the entry of window i, which has size bytes. Modules can write it: what
// it says is of a length that the host knows, and leads nowhere.
func (k *Kernel) shared(i int, size uint64) shared {
	b := k.windowEntry(i)
	if b == nil {
		return shared{}
	}
	home := load64(b)
	s := shared{home, min(load64(b[8:]), size), unix.ByteSliceToString(append([]byte{}, b[kpi.WindowName:]...))}
	if load64(b) != home { // given back meanwhile
		return shared{}
	}
	return s
}

// windowEntry returns the host's view of the entry of window i, nil if there is none: a
// kernel object of the user's may have names of its own.
func (k *Kernel) windowEntry(i int) []byte {
	m := k.byName[KernelName]
	if m == nil {
		return nil
	}
	at, ok := m.own(kpi.Windows)
	if !ok {
		return nil
	}
	return k.data(at+uint64(i)*kpi.WindowEntry, kpi.WindowEntry)
}

// unshare takes back what a module shares that is being reclaimed: nobody is inside of it
// any more. The caller holds the lock.
func (k *Kernel) unshare(m *module) {
	if k.live == nil {
		return
	}
	for i := range k.live.run.Windows() {
		b := k.windowEntry(i)
		if b == nil {
			continue
		}
		home := load64(b)
		for r, at := range m.at {
			if at != 0 && home-at < m.lm.Size[r] {
				cas64(b, home, 0)
			}
		}
	}
}
