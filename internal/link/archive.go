package link

import (
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
	definer := map[string]int32{} // of each name: a taken object, else the first member that was offered
	var work []int
	take := func(i int) {
		taken[i] = true
		work = append(work, i)
		eachDefined(c.objects[i], func(name string) { definer[name] = int32(i) })
	}
	for i, o := range c.objects {
		if !taken[i] {
			eachDefined(o, func(name string) {
				if _, ok := definer[name]; !ok {
					definer[name] = int32(i)
				}
			})
		}
	}
	for i, named := range c.taken {
		if named {
			take(i)
		}
	}
	for ; len(work) > 0; work = work[1:] {
		o := c.objects[work[0]]
		for i := range o.Symbols[o.Locals:] {
			s := &o.Symbols[o.Locals+i]
			if s.Where != elfload.Undefined || s.Bind == elfload.Weak {
				continue
			}
			if d, ok := definer[s.Name]; ok && !taken[d] {
				take(int(d))
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

// eachDefined calls f with every name that an object defines for others.
func eachDefined(o *elfload.Object, f func(name string)) {
	for i := range o.Symbols[o.Locals:] {
		if s := &o.Symbols[o.Locals+i]; s.Where != elfload.Undefined && s.Name != "" {
			f(s.Name)
		}
	}
}
