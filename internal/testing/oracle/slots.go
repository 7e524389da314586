package oracle

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// slotKey names one GOT slot.
type slotKey struct {
	symbol int
	addend int64
}

// half is one field of a pair that together give a slot's address.
type half struct {
	value uint64
	where Difference // filled in but for Want and Got
}

// follow looks into the slot that a field leads to. The two halves of an
// aarch64 pair are kept for halves.
func (c *comparison) follow(r reloc, rule slotRule, name string, got []byte) {
	where := Difference{Section: name, Offset: r.offset, What: "slot", Reloc: c.describe(r)}
	v := field(got[r.offset:], rule.size)
	addr := rule.addr(v, r, c.at[r.section]+r.offset, uint64(c.got.Addr))
	// In the small model the addend is added to the address that the slot holds,
	// so each addend has a slot of its own; x86-64 adds it to the slot's address.
	key := slotKey{symbol: r.symbol}
	if c.ld.machine == elf.EM_AARCH64 {
		key.addend = r.addend
	}
	switch rule.part {
	case group:
		c.result.Followed++
		c.some(key, half{addr, where}, func(slot uint64) bool { return rule.fits(v, slot-uint64(c.got.Addr)) })
	case page:
		c.pages[key] = append(c.pages[key], half{addr, where})
	case low:
		c.lows[key] = append(c.lows[key], half{addr, where})
	default:
		c.result.Followed++
		c.slot(addr, key, where)
	}
}

// slot requires that the slot at addr holds key's address.
func (c *comparison) slot(addr uint64, key slotKey, where Difference) {
	c.reached[addr] = true
	g := uint64(c.got.Addr)
	if addr < g || addr-g > uint64(len(c.gotBytes)) || uint64(len(c.gotBytes))-(addr-g) < 8 {
		where.Want = fmt.Sprintf("a slot in [0x%x,0x%x)", g, g+uint64(len(c.gotBytes)))
		where.Got = fmt.Sprintf("0x%x", addr)
		c.differ(where)
		return
	}
	want, err := c.address(key)
	if err != nil {
		where.Want, where.Got = err.Error(), fmt.Sprintf("0x%x", addr)
		c.differ(where)
		return
	}
	if have := binary.LittleEndian.Uint64(c.gotBytes[addr-g:]); have != want {
		where.Want = fmt.Sprintf("0x%x", want)
		where.Got = fmt.Sprintf("0x%x (slot 0x%x)", have, addr)
		c.differ(where)
	}
}

var errNoAddress = errors.New("a symbol with an address")

// address is S (aarch64: S+A) of a symbol.
func (c *comparison) address(key slotKey) (uint64, error) {
	sym := c.obj.symbols[key.symbol]
	if stub, ok := c.stubs[key.symbol]; ok {
		return stub + uint64(key.addend), nil
	}
	switch {
	case c.elsewhere(sym):
		return c.names[sym.Name] + uint64(key.addend), nil
	case sym.Section == elf.SHN_ABS:
		return sym.Value + uint64(key.addend), nil
	default:
		base, ok := c.at[int(sym.Section)]
		if !ok {
			return 0, errNoAddress
		}
		return base + sym.Value + uint64(key.addend), nil
	}
}

// halves puts the pages and low parts of each slot together: any page with any
// low part must give the slot. A half whose other half the object does not have must be
// that of a slot which holds the address.
func (c *comparison) halves() {
	for _, key := range sortedKeys(c.pages) {
		for _, p := range c.pages[key] {
			c.result.Followed++
			if len(c.lows[key]) == 0 {
				c.some(key, p, func(slot uint64) bool { return slot&^0xfff == p.value })
			}
			for _, l := range distinct(c.lows[key]) {
				c.slot(p.value+l.value, key, p.where)
			}
		}
	}
	for _, key := range sortedKeys(c.lows) {
		pages := distinct(c.pages[key])
		for _, l := range c.lows[key] {
			c.result.Followed++
			if len(pages) == 0 {
				c.some(key, l, func(slot uint64) bool { return slot&0xfff == l.value })
			} else {
				c.slot(pages[0].value+l.value, key, l.where)
			}
		}
	}
}

// some requires that one of the slots that match holds key's address.
func (c *comparison) some(key slotKey, h half, match func(slot uint64) bool) {
	want, err := c.address(key)
	if err != nil {
		h.where.Want, h.where.Got = err.Error(), fmt.Sprintf("0x%x", h.value)
		c.differ(h.where)
		return
	}
	for at := 0; at+8 <= len(c.gotBytes); at += 8 {
		slot := uint64(c.got.Addr) + uint64(at)
		if match(slot) && binary.LittleEndian.Uint64(c.gotBytes[at:]) == want {
			c.reached[slot] = true
			return
		}
	}
	h.where.Want, h.where.Got = fmt.Sprintf("part of the address of a slot that holds 0x%x", want), fmt.Sprintf("0x%x", h.value)
	c.differ(h.where)
}

func sortedKeys(m map[slotKey][]half) []slotKey {
	keys := make([]slotKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].symbol != keys[j].symbol {
			return keys[i].symbol < keys[j].symbol
		}
		return keys[i].addend < keys[j].addend
	})
	return keys
}

// distinct returns one half for each value.
func distinct(hs []half) []half {
	seen := map[uint64]bool{}
	var out []half
	for _, h := range hs {
		if !seen[h.value] {
			seen[h.value] = true
			out = append(out, h)
		}
	}
	return out
}
