// Package aliasstack keeps, for every symbol name, the alias stack: the modules
// that provide it, bottom to top, the top one being current. It decides what may
// be pushed, what may leave, and which symbols follow a new provider when
// something does. It knows names, modules and rules; addresses, memory and files
// are other packages' business.
//
// # Pushing
//
//	offer       stack empty                stack holds functions               stack holds data
//	default     becomes current            very bottom, below older defaults   very bottom
//	override    becomes current            on top; refused if an override is   refused
//	                                       anywhere in the stack
//	refinement  refused: nothing to refine on top of anything                  refused
//
// An offer whose class (function or data) is not the stack's is refused. A
// provider whose module refers to super_S is a refinement of S, whatever kind its
// offer states. The modules of one command push in the command's order.
//
// Two consequences that the code leans on: all defaults of a stack lie below all
// other providers, the newest at the bottom, so nothing is ever pushed in the
// middle; and the bottom of a stack is never a refinement.
//
// # References
//
// A need binds to the symbol, never to a provider, after all modules of the
// command have pushed. A strong need without provider is missing; a weak one is
// absent: it is 0 for its module for good and no reference. A need that is bound
// to data names that very provider's object, which therefore stays.
//
// # Leaving
//
// A provider leaves from any place. Its module is refused to leave if
//
//	some stack would have no provider left while a staying module refers to that symbol (weakly or not)
//	a staying refinement would have nothing below it
//	a staying module's relocations name its data, whatever else is on the stack
//	a staying module requires it
//
// Modules that leave in one command do not hold one another.
//
// # Kept places
//
// PlanUnload takes modules out at once. In two steps, PlanLeave makes them kept:
// nobody enters them any more, but their places stay in the stacks until
// PlanForget takes them out, or PlanReturn makes them live again. In between,
// anything else may be loaded, leave, return and be forgotten.
//
//	                     a kept place
//	current              is skipped; if all are kept, the symbol goes on leading where it led
//	super_S of others    is skipped
//	push                 counts: positions, the override, and the class are those of all places
//	refine, need         does not count: it is nothing to refine; a need of it is missing or absent
//	                     (missing also with KeepMissing), a requirement of its module is refused
//	leave                does not count for others: the last live provider may not leave users behind
//
//	                     a kept module
//	needs, names, super  hold others as if it stayed: it may return; its references by name go
//	or requires          where everybody's go
//	super_S of its own   stays bound to what it is bound to; only if that leaves in another command
//	                     does it go on to the next live provider below, and without one that
//	                     command is refused: threads still in the kept module must not
//	                     enter the other one once it has left
//	leaving              is refused: it has left
//
// So nobody outside of the modules that left in one command follows one of these:
// PlanForget of all of them is never refused and moves no slot that anybody who
// stays follows. Of only some of them, it is refused while others of them follow
// those (by a super_S, by a name that nobody live provides, or by data) or require
// them: these are forgotten with them, or return first.
//
// PlanReturn is never refused to kept modules. If some return alone, and nobody
// live provides what they follow, they follow what is kept until somebody does.
//
// # super_S
//
// super_S of module M follows the nearest live provider below M's own in the stack
// of S. It has a slot of its own per (M, S).
//
// # Plans
//
// A plan is a Change, an overlay over the stacks that the command touches; the
// Table changes only by Commit. The cost of planning, Moves and Commit follows from
// what is loaded or unloaded and what the answer names, not from how many modules
// there are, how deep a stack is, or how many refer to a name; kept places beside
// those that change are walked over one by one, and so are kept users of a symbol
// whose last live provider leaves.
//
// Layer 1. Imports: diag. A Table may be read by any number of goroutines while
// none is in Commit; a Change belongs to one goroutine, but its Slot, SlotName, Super,
// Current, Provided and Below may be asked by any number beside one another.
package aliasstack

import "fmt"

// ModuleID identifies a module. The caller chooses it and never uses it again for
// another module; 0 is none.
type ModuleID uint32

// SlotID identifies what sites follow: there is a slot for every symbol name, and
// one per (module, S) for super_S. Slot ids are small and dense, fit to index a
// slice; 0 is none. A name keeps its slot for ever; the super slots of a module
// that left are free to be used again for another symbol.
type SlotID uint32

// Kind is how a provider stands to the others of its symbol.
type Kind uint8

// The kinds; the package comment has their rules.
const (
	Default    Kind = iota // what there is when nobody offers better
	Override               // the real implementation, one per stack
	Refinement             // a layer over whatever is there
)

// kindNames are indexed by Kind.
var kindNames = [...]string{Default: "default", Override: "override", Refinement: "refinement"}

// String returns "default", "override" or "refinement".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Class tells functions from data. All providers of one stack are of one class.
type Class uint8

// The classes.
const (
	Func Class = iota
	Data
)

// classNames are indexed by Class.
var classNames = [...]string{Func: "func", Data: "data"}

// String returns "func" or "data".
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Provider is one module's definition of a symbol. The zero Provider is none.
type Provider struct {
	Module ModuleID
	Offer  int32 // index into the module's Request.Offers
	Kind   Kind  // as it counts: Refinement if the module refers to super_S
	Class  Class
}

// Offer is a name that a module provides to all.
type Offer struct {
	Name  string
	Kind  Kind
	Class Class
}

// Need is a name that a module refers to from an allocated section and does not
// bind privately. A name that it provides itself is a need only if the module
// refers to it.
type Need struct {
	Name string
	Weak bool // may do without a provider
}

// Request describes one module to be loaded. The Table keeps the slices: they must
// not change any more.
type Request struct {
	ID       ModuleID
	Name     string     // the module's name, for messages
	File     string     // what messages begin with; Name if ""
	Offers   []Offer    // no name twice
	Needs    []Need     // a name given twice counts once, as strong if either is
	Supers   []string   // each S, of Offers, for which the module refers to super_S
	Requires []ModuleID // modules that must be there as long as this one
}

// LoadOptions change how PlanLoad treats needs.
type LoadOptions struct {
	// KeepMissing makes a strong need without provider a reference to the empty
	// slot of its name, instead of an entry of Missing; not if a kept module
	// provides it: that slot leads there.
	KeepMissing bool
}

// Move is one slot that follows another provider than before.
type Move struct {
	Slot     SlotID
	From, To Provider // the zero Provider: nobody
}

// Missing is a need without provider.
type Missing struct {
	Module ModuleID
	Name   string
}

// Hidden is a new override on top of refinements: nothing reaches them any more
// through their symbol.
type Hidden struct {
	Name        string
	By          ModuleID
	Refinements []ModuleID // the hidden ones, top first
}
