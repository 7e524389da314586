package link

import (
	"hash/maphash"
	"math/bits"
	"slices"

	"klink/internal/elfload"
)

// Candidates picks the objects of one module: those that were named, and of
// archives the members that something needs, as ordinary linkers do: a member is
// taken when it defines a name that is still undefined, strongly, among those taken.
// Where several members define a name, the first offered is meant.
// The zero value is empty; nil objects are ignored.
type Candidates struct {
	objects []*elfload.Object // in the command's order
	taken   []bool
}

// Take adds an object that belongs to the module in any case.
func (c *Candidates) Take(o *elfload.Object) { c.add(o, true) }

// Offer adds an archive member that is taken if it is needed.
func (c *Candidates) Offer(o *elfload.Object) { c.add(o, false) }

func (c *Candidates) add(o *elfload.Object, take bool) {
	if o != nil {
		c.objects = append(c.objects, o)
		c.taken = append(c.taken, take)
	}
}

// Select returns the objects that make the module, in the order in which they were
// added. The slice is the caller's.
func (c *Candidates) Select() []*elfload.Object {
	if !slices.Contains(c.taken, false) {
		return slices.Clone(c.objects) // no archive: the names need not be looked at
	}
	taken := slices.Clone(c.taken)
	definers := newDefiners(c.objects)
	for i, named := range c.taken {
		definers.enter(i, named)
	}
	var work []int
	for i, named := range c.taken {
		if named {
			work = append(work, i)
		}
	}
	for ; len(work) > 0; work = work[1:] {
		o := c.objects[work[0]]
		for i := range o.Symbols[o.Locals:] {
			s := &o.Symbols[o.Locals+i]
			if s.Where != elfload.Undefined || s.Bind == elfload.Weak {
				continue
			}
			if d := definers.find(s.Name).object - 1; d >= 0 && !taken[d] {
				taken[d] = true
				definers.enter(int(d), true)
				work = append(work, int(d))
			}
		}
	}
	var r []*elfload.Object
	for i, o := range c.objects {
		if taken[i] {
			r = append(r, o)
		}
	}
	return r
}

// definers says which object defines a name: one that is taken, else the first member
// that was offered. It is a hash table of symbol numbers, open and sized beforehand: a
// file of 64 MiB can define 2.7 million names, for which a map of strings needs several
// times the time and the memory.
type definers struct {
	objects []*elfload.Object
	seed    maphash.Seed
	rows    []definer // a power of two
}

// definer is one name's row: a symbol of an object.
type definer struct {
	hash   uint32
	object int32 // number plus 1; 0 is no row
	symbol uint32
}

// newDefiners makes an empty table for the names of the objects.
func newDefiners(objects []*elfload.Object) *definers {
	d := &definers{objects: objects, seed: maphash.MakeSeed()}
	n := 0
	for _, o := range objects {
		for i := range o.Symbols[o.Locals:] {
			if o.Symbols[o.Locals+i].Where != elfload.Undefined {
				n++
			}
		}
	}
	d.rows = make([]definer, 1<<bits.Len(uint(n+n/4)))
	return d
}

// find returns the row of a name; the row that it would have if it is not there.
func (d *definers) find(name string) *definer {
	h := maphash.String(d.seed, name)
	hash, mask := uint32(h>>32), uint64(len(d.rows)-1)
	for at := h & mask; ; at = (at + 1) & mask {
		r := &d.rows[at]
		if r.object == 0 {
			r.hash = hash
			return r
		}
		if r.hash == hash && d.objects[r.object-1].Symbols[r.symbol].Name == name {
			return r
		}
	}
}

// enter enters what an object defines: in place of what is there, or beside it.
func (d *definers) enter(object int, replace bool) {
	o := d.objects[object]
	for i := o.Locals; i < len(o.Symbols); i++ {
		if s := &o.Symbols[i]; s.Where != elfload.Undefined {
			if r := d.find(s.Name); replace || r.object == 0 {
				r.object, r.symbol = int32(object)+1, uint32(i)
			}
		}
	}
}
