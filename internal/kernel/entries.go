package kernel

import (
	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/arena"
	"klink/internal/insn"
)

// entryPool owns the entries: canonical addresses of symbols, each a jump in the
// arena that leads to the current provider. An entry belongs to its slot until the
// host halts; only those of a module's super_S are given back with the module.
//
// Entries are cut from blocks of text, because a block each would cost the arena a
// table row and a cache line for eight bytes. Not safe for concurrent use.
type entryPool struct {
	arena *arena.Arena
	form  insn.Form // of an entry's jump
	size  uint64    // bytes of one entry
	free  []uint64  // addresses of entries that belong to nobody, the longest free first; they hold traps
	at    map[aliasstack.SlotID]uint64
}

// entryBlock is how much text is taken from the arena for entries at once, bytes.
const entryBlock = 4096

func newEntryPool(m arch.Machine, a *arena.Arena) entryPool {
	lo, hi := a.Span(arena.Text)
	form, size := entryForm(m, hi-lo)
	return entryPool{arena: a, form: form, size: size, at: map[aliasstack.SlotID]uint64{}}
}

// entryForm returns the jump that entries are made of and the room for one, when
// text spans the given bytes.
func entryForm(m arch.Machine, text uint64) (insn.Form, uint64) {
	f := m.Facts()
	switch {
	case m == arch.AMD64:
		return insn.Jmp32, f.EntryBytes
	case text <= f.BranchReach:
		return insn.B, f.EntryBytes
	}
	return insn.FarJump, f.FarEntry
}

// take gives a slot an entry, filled with traps.
func (p *entryPool) take(s aliasstack.SlotID) (uint64, error) {
	if len(p.free) == 0 {
		block, err := p.arena.Alloc(arena.Text, entryBlock, p.size)
		if err != nil {
			return 0, err
		}
		for off := uint64(0); off+p.size <= entryBlock; off += p.size {
			p.free = append(p.free, block+off)
		}
	}
	addr := p.free[0]
	p.free = p.free[1:]
	p.at[s] = addr
	return addr, nil
}

// drop takes the entry of a slot back and fills it with traps.
func (p *entryPool) drop(s aliasstack.SlotID) {
	if addr, ok := p.at[s]; ok {
		p.trap(s)
		delete(p.at, s)
		p.free = append(p.free, addr)
	}
}

// trap fills the entry of a slot, if it has one, with traps: nobody provides it.
func (p *entryPool) trap(s aliasstack.SlotID) {
	addr, ok := p.at[s]
	if !ok {
		return
	}
	fillTraps(p.arena.Bytes(addr, p.size), p.form.Machine())
}

// fillTraps fills b with trap instructions.
func fillTraps(b []byte, m arch.Machine) {
	trap := m.Facts().TrapBytes
	for n := 0; n < len(b); {
		n += copy(b[n:], trap)
	}
}
