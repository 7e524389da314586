package kernel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/link"
	"klink/internal/runner"
	"klink/internal/unwind"
)

// What a fault was, and where: from registers and stack to functions and source lines.

// maxTrace is how many callers a report names at most.
const maxTrace = 64

// faultInfo describes a fault of thread i; limit is the call's. The lock must not be held.
func (k *Kernel) faultInfo(i int, f *runner.Fault, limit time.Duration) FaultInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := k.names()
	pc := f.Regs.PC // of a trap it is the trap itself
	info := FaultInfo{Thread: i, What: k.what(f, limit), At: k.frame(names, pc), Note: k.faultNote(f, pc), Regs: registers(k.machine, &f.Regs)}
	info.Trace = k.backtrace(names, f)
	return info
}

// what names a fault.
func (k *Kernel) what(f *runner.Fault, limit time.Duration) string {
	switch sig := syscall.Signal(f.Signal); {
	case f.Limit && limit > 0:
		return fmt.Sprintf("time limit of %v", limit)
	case f.Limit:
		return "stopped"
	case sig == unix.SIGSYS:
		return fmt.Sprintf("system call %d%s", f.Nr, systemCall(f.Nr))
	case f.Regs.SP < f.StackLo || (sig == unix.SIGSEGV || sig == unix.SIGBUS) && f.Addr < f.StackLo && f.StackLo-f.Addr <= stackGuard:
		return fmt.Sprintf("stack overflow: all %d KiB are used", (f.StackHi-f.StackLo)>>10)
	case sig == unix.SIGSEGV || sig == unix.SIGBUS:
		return fmt.Sprintf("%s: %s", unix.SignalName(sig), access(k.machine, f))
	default:
		return unix.SignalName(sig)
	}
}

// stackGuard is how far below a stack an access counts as an overflow of it, bytes: the
// unmapped room that the runner leaves there.
const stackGuard = 32 << 20

// access says what a SIGSEGV or SIGBUS was about, as far as the machine tells.
func access(m arch.Machine, f *runner.Fault) string {
	verb := "access to"
	switch {
	case f.Addr == f.Regs.PC:
		verb = "running code at"
	case m == arch.AMD64 && f.Trapno == 14: // Intel SDM 3A 4.7: bit 1 of the error code is W
		verb = "reading"
		if f.Error&2 != 0 {
			verb = "writing"
		}
	case m == arch.AMD64: // a general protection fault: si_addr says nothing
		return "access through an address that is none (not canonical)"
	case f.Error>>26 == 0x24: // ESR_EL1.EC of a data abort; bit 6 is WnR (Arm ARM D24.2.40)
		verb = "reading"
		if f.Error&(1<<6) != 0 {
			verb = "writing"
		}
	}
	return fmt.Sprintf("%s address %#x", verb, f.Addr)
}

// faultNote says what klink knows of the addresses of a fault.
func (k *Kernel) faultNote(f *runner.Fault, pc uint64) string {
	switch syscall.Signal(f.Signal) {
	case unix.SIGTRAP, unix.SIGSEGV, unix.SIGBUS, unix.SIGILL:
	default:
		return ""
	}
	if f.Limit {
		return ""
	}
	if slot, ok := k.entries.slotOf(pc); ok {
		name, _ := k.stacks.SlotName(slot)
		return fmt.Sprintf("nobody provides %s", diag.Quote(name))
	}
	if lo, hi := k.textSpan(); pc >= lo && pc < hi && k.textOwner(pc) == nil {
		if name, ok := k.gone.at(pc); ok {
			return fmt.Sprintf("unloaded module %s", diag.Escape(name))
		}
		return "text that belongs to no module"
	}
	return ""
}

// textSpan returns the bounds of the arena's text.
func (k *Kernel) textSpan() (lo, hi uint64) { return k.arena.Span(0) }

// textOwner returns the module whose text an address lies in: loaded, being loaded, or
// draining; nil if in none's.
func (k *Kernel) textOwner(addr uint64) *module {
	for _, m := range k.initing {
		if m.holds(addr) {
			return m
		}
	}
	for _, m := range k.modules {
		if m.holds(addr) {
			return m
		}
	}
	return nil
}

// runnerCode is what a place in the runner's own code is called: a call begins and ends
// there, and what klink's kernel object asks for is done there.
const runnerCode = "klink's runner"

// frame describes a place in code.
func (k *Kernel) frame(names *names, addr uint64) FrameInfo {
	info := FrameInfo{Addr: Addr(addr)}
	m := k.textOwner(addr)
	if m == nil {
		if slot, ok := k.entries.slotOf(addr); ok {
			name, _ := k.stacks.SlotName(slot)
			info.Func, info.Offset = name+entrySuffix, addr-k.entries.at[slot]
		}
		if lo, hi := runner.Code(); addr >= lo && addr < hi {
			info.Func, info.Offset = runnerCode, addr-lo
		}
		return info
	}
	info.Module = m.name
	place := names.in(m, addr)
	info.Func = place
	if f, off, ok := strings.Cut(place, "+0x"); ok {
		info.Func = f
		_, _ = fmt.Sscanf(off, "%x", &info.Offset)
	}
	info.File, info.Line = k.line(m, addr)
	return info
}

// line returns the source line of an address in a module's text, "" and 0 where its
// objects have none. A table that is malformed is as good as none.
func (k *Kernel) line(m *module, addr uint64) (file string, line int) {
	if m.lines == nil {
		m.lines = make([]*lineTable, len(m.objects))
	}
	for i := range m.objects {
		if !m.covers(i, addr) {
			continue
		}
		if m.lines[i] == nil {
			t := k.readLines(m, i)
			if k.lined += t.size(); k.lined > maxLinesKept { // begin anew: compressed, they may come from little
				for _, other := range append(k.inOrder(), k.initing...) {
					clear(other.lines)
				}
				k.lined = t.size()
			}
			m.lines[i] = t
		}
		file, line, _ = m.lines[i].at(addr)
	}
	return file, line
}

// readLines reads the line tables of an object; what cannot be read is an empty table.
func (k *Kernel) readLines(m *module, object int) *lineTable {
	debug, err := m.lm.Debug(object, m.at, lineSections...)
	if err != nil {
		return new(lineTable)
	}
	t, err := newLines(debug)
	if err != nil {
		return new(lineTable)
	}
	return t
}

// covers says that an address lies in a section of object i.
func (m *module) covers(i int, addr uint64) bool {
	o := m.objects[i]
	for si := range o.Sections {
		if r, off, kept := m.lm.Section(i, si); kept && addr-(m.at[r]+off) < o.Sections[si].Size {
			return true
		}
	}
	return false
}

// String returns "bpf: bpf_mtap+0x1a (bpf.c:42)", or the address outside of modules.
func (f FrameInfo) String() string {
	s := diag.Escape(plus(f.Func, f.Offset))
	switch {
	case f.Func == "":
		return f.Addr.String()
	case f.Module != "":
		s = diag.Escape(f.Module) + ": " + s
	}
	if f.File != "" {
		s += fmt.Sprintf(" (%s:%d)", diag.Escape(f.File), f.Line)
	}
	return s
}

// backtrace describes the callers.
func (k *Kernel) backtrace(names *names, f *runner.Fault) []FrameInfo {
	var trace []FrameInfo
	k.callers(names, &f.Regs, func(addr uint64) (uint64, bool) { return stackWord(f, addr) }, func(pc uint64, guess bool) bool {
		info := k.frame(names, pc-1) // the call, not what comes after it
		info.Addr, info.Offset, info.Guess = Addr(pc), info.Offset+1, guess
		trace = append(trace, info)
		return len(trace) < maxTrace
	})
	return trace
}

// callers finds the return addresses of a thread with these registers, word being its
// stack's, and shows them innermost first until visit says that it has enough: by unwind
// tables as far as they lead, from there (guess) by looking for them on the stack. The
// caller holds the lock.
func (k *Kernel) callers(names *names, r *runner.Regs, word func(uint64) (uint64, bool), visit func(pc uint64, guess bool) bool) {
	regs := unwindRegs(k.machine, r)
	sp, found := r.SP, false
	for {
		caller, ok := k.step(names.module(regs.Lookup()), &regs, word)
		if !ok && !found {
			caller, ok = k.wildCall(regs, word)
		}
		if !ok {
			break
		}
		if names.module(caller.PC-1) == nil {
			return // the runner's own code: the call began here
		}
		regs, sp, found = caller, caller.SP, true
		if !visit(caller.PC, false) {
			return
		}
	}
	if lr := regs.R[30] & addressBits[k.machine]; !found && k.machine == arch.ARM64 {
		// A leaf keeps its return address in x30; elsewhere x30 leads back into the function.
		m := names.module(lr)
		if m != nil && k.afterCall(m, lr) && k.frame(names, lr-1).Func != k.frame(names, r.PC).Func && !visit(lr, true) {
			return
		}
	}
	for addr := sp; ; addr += 8 {
		w, ok := word(addr)
		if !ok {
			return
		}
		w &= addressBits[k.machine]
		if m := names.module(w); m != nil && k.afterCall(m, w) && !visit(w, true) {
			return
		}
	}
}

// wildCall returns the caller of code that is in no module: a call that went astray has
// just left its return address.
func (k *Kernel) wildCall(regs unwind.Regs, word func(uint64) (uint64, bool)) (unwind.Regs, bool) {
	if k.textOwner(regs.PC) != nil {
		return regs, false
	}
	back, ok := regs.R[30]&addressBits[k.machine], true
	if k.machine == arch.AMD64 {
		back, ok = word(regs.SP)
		regs.SP += 8
	}
	m := k.textOwner(back)
	regs.PC, regs.Call = back, true
	return regs, ok && m != nil && k.afterCall(m, back)
}

// step unwinds one frame by the tables of the module that it is in.
func (k *Kernel) step(m *module, regs *unwind.Regs, word func(uint64) (uint64, bool)) (unwind.Regs, bool) {
	if m == nil {
		return unwind.Regs{}, false
	}
	for _, t := range k.unwindTables(m) {
		if _, ok := t.Find(regs.Lookup()); ok {
			caller, err := t.Step(regs, word)
			return caller, err == nil && caller.SP >= regs.SP // a leaf of aarch64 has no frame
		}
	}
	return unwind.Regs{}, false
}

// afterCall says that an address in text is where a call returns to: the instruction
// before it is one, as far as its bytes tell.
func (k *Kernel) afterCall(m *module, addr uint64) bool {
	back := min(addr-m.at[link.Text], 7)
	b := k.arena.Bytes(addr-back, back)
	n := len(b)
	switch {
	case k.machine == arch.ARM64:
		if n < 4 || addr&3 != 0 {
			return false
		}
		w := uint32(b[n-4]) | uint32(b[n-3])<<8 | uint32(b[n-2])<<16 | uint32(b[n-1])<<24
		return w>>26 == 0x25 || w&0xfffffc1f == 0xd63f0000 // bl, blr
	case n >= 5 && b[n-5] == 0xe8: // call rel32
		return true
	}
	for i := 2; i <= min(n, 7); i++ { // call r/m64: ff /2
		if b[n-i] == 0xff && i >= 2 && b[n-i+1]>>3&7 == 2 {
			return true
		}
	}
	return false
}

// stackWord reads a word of a fault's copy of the stack.
func stackWord(f *runner.Fault, addr uint64) (uint64, bool) {
	off := addr - f.StackAddr
	if addr < f.StackAddr || off > uint64(len(f.Stack)) || uint64(len(f.Stack))-off < 8 {
		return 0, false
	}
	w := uint64(0)
	for i, b := range f.Stack[off : off+8] {
		w |= uint64(b) << (8 * i)
	}
	return w, true
}

// unwindRegs returns the registers as the unwinder wants them.
func unwindRegs(_ arch.Machine, r *runner.Regs) unwind.Regs {
	return unwind.Regs{PC: r.PC, SP: r.SP, R: r.R, Known: unwind.AllKnown}
}

// unwindTables returns a module's parsed unwind tables. Those that are malformed are as
// good as none.
func (k *Kernel) unwindTables(m *module) []*unwind.Table {
	if m.unwound {
		return m.unwind
	}
	m.unwound = true
	for _, s := range m.lm.UnwindTables(m.at) {
		b := k.arena.Bytes(s.Addr, s.Size)
		if b == nil {
			continue
		}
		if t, err := unwind.Parse(k.machine, b, s.Addr); err == nil {
			m.unwind = append(m.unwind, t)
		}
	}
	return m.unwind
}

// The machines' registers in the order in which people read them, as indices into
// runner.Regs.R.
var amd64Regs = []struct {
	name string
	i    int
}{
	{"rax", 0}, {"rbx", 3}, {"rcx", 1}, {"rdx", 2}, {"rsi", 6}, {"rdi", 7}, {"rbp", 5}, {"rsp", 4},
	{"r8", 8}, {"r9", 9}, {"r10", 10}, {"r11", 11}, {"r12", 12}, {"r13", 13}, {"r14", 14}, {"r15", 15},
}

// registers lists a machine's registers.
func registers(m arch.Machine, r *runner.Regs) []RegInfo {
	var list []RegInfo
	if m == arch.ARM64 {
		for i := range 31 {
			list = append(list, RegInfo{fmt.Sprintf("x%d", i), Addr(r.R[i])})
		}
		return append(list, RegInfo{"sp", Addr(r.SP)}, RegInfo{"pc", Addr(r.PC)}, RegInfo{"pstate", Addr(r.Flags)})
	}
	for _, reg := range amd64Regs {
		list = append(list, RegInfo{reg.name, Addr(r.R[reg.i])})
	}
	return append(list, RegInfo{"rip", Addr(r.PC)}, RegInfo{"rflags", Addr(r.Flags)})
}

// registersPerLine is how many registers stand in a line of the log.
const registersPerLine = 4

// logFault puts a fault into the log, for those whom no command tells.
func (k *Kernel) logFault(f FaultInfo) {
	k.live.run.Print(fmt.Sprintf("klink: thread %d: %s in %s%s", f.Thread, f.What, f.At, prefixed("; ", f.Note)))
	for regs := range slices.Chunk(f.Regs, registersPerLine) {
		var line strings.Builder
		for _, r := range regs {
			fmt.Fprintf(&line, "  %-6s %016x", r.Name, uint64(r.Value))
		}
		k.live.run.Print("klink: " + line.String())
	}
	for i, c := range f.Trace {
		k.live.run.Print(fmt.Sprintf("klink:   #%d %s", i+1, c))
	}
}

// prefixed returns s with a prefix, "" if it is empty.
func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// history remembers whose text was where, the youngest last.
type history struct{ spans []goneSpan }

type goneSpan struct {
	name     string
	lo, size uint64
}

// maxHistory is how many unloaded modules are remembered.
const maxHistory = 1024

// add remembers a module that is reclaimed.
func (h *history) add(name string, lo, size uint64) {
	if size == 0 {
		return
	}
	if len(h.spans) == maxHistory {
		h.spans = slices.Delete(h.spans, 0, 1)
	}
	h.spans = append(h.spans, goneSpan{name, lo, size})
}

// at returns the module that had an address last.
func (h *history) at(addr uint64) (string, bool) {
	for _, s := range slices.Backward(h.spans) {
		if addr-s.lo < s.size {
			return s.name, true
		}
	}
	return "", false
}

// slotOf returns the slot whose entry an address lies in.
func (p *entryPool) slotOf(addr uint64) (aliasstack.SlotID, bool) {
	for s, at := range p.at {
		if addr-at < p.size {
			return s, true
		}
	}
	return 0, false
}

// systemCall names a system call as strace does, " (openat)", or "".
func systemCall(nr uint64) string {
	i, ok := slices.BinarySearchFunc(systemCalls, nr, func(c sysCall, nr uint64) int { return cmp.Compare(c.nr, nr) })
	if !ok {
		return ""
	}
	return " (" + systemCalls[i].name + ")"
}

type sysCall struct {
	nr   uint64
	name string
}
