package patch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"klink/internal/diag"
)

// Steps is the half of a switch that happens where the threads run. A method
// returns once every thread of the runner has seen what it does. Publish and Turn
// that return an error did nothing that a thread could have seen. A barrier that
// returns one after the turn says that the runner is lost: Run finishes the text
// then for the next runner, in an order that no running thread would survive.
type Steps interface {
	// Publish puts the table of switch gen where the trap handler finds it. rows
	// are sorted by address and must be neither kept nor changed.
	Publish(gen uint64, rows []Edit) error
	// Sync makes every thread see the text as it stands now before it executes
	// another instruction.
	Sync() error
	// Turn stores the switch's word: the one instant from which on traps lead to
	// the new targets.
	Turn(gen uint64) error
	// Withdraw takes the table of gen away. A thread may still handle a trap that
	// it met before: its site is no trap any more, and it returns there.
	Withdraw(gen uint64) error
}

// Alone returns the steps for a host without a runner: nobody executes the text,
// so there is nobody to tell.
func Alone() Steps { return alone{} }

type alone struct{}

func (alone) Publish(uint64, []Edit) error { return nil }
func (alone) Sync() error                  { return nil }
func (alone) Turn(uint64) error            { return nil }
func (alone) Withdraw(uint64) error        { return nil }

// Run makes the switch. Either it happens, whole, or it does not:
//
//   - an error before the turn puts the old text back and is returned; Turned is
//     false then, and no thread ever went to a new target
//   - an error after the turn cannot stop it any more: the rest is done as far as
//     it goes, all text is the new one, and the error is returned; Turned is true
//
// A switch without edits takes no step at all. Run panics when it is called again, or
// after another Plan on the same index.
func (s *Switch) Run(steps Steps) error {
	if s.ran {
		panic("patch: a switch was run twice")
	}
	if s.generation != s.index.generation {
		panic("patch: a switch was run after another was planned")
	}
	s.ran = true
	if len(s.edits) == 0 {
		s.turned = true
		return nil
	}
	gen := s.generation

	// 1. The handler must know every site before the first trap stands.
	if err := steps.Publish(gen, s.edits); err != nil {
		return s.failed("publish", err)
	}

	// 2. One store a site; from the barrier on no thread executes an old instruction.
	s.trapAll()
	if err := steps.Sync(); err != nil {
		return s.putBack(steps, s.failed("first barrier", err))
	}

	// 3. The instant.
	if err := steps.Turn(gen); err != nil {
		return s.putBack(steps, s.failed("turn", err))
	}
	s.turned = true

	// 4. Nobody executes a tail while its first unit is a trap; nobody may see a
	// new first unit before the tail behind it; and nobody may lose the table
	// while a trap stands.
	var errs []error
	s.writeTails()
	if err := steps.Sync(); err != nil {
		errs = append(errs, s.failed("second barrier", err))
	}
	s.writeFirsts()
	if err := steps.Sync(); err != nil {
		errs = append(errs, s.failed("third barrier", err))
	}
	if err := steps.Withdraw(gen); err != nil {
		errs = append(errs, s.failed("withdraw", err))
	}
	return errors.Join(errs...)
}

// Turned says whether the switch has happened, in whatever way Run ended.
func (s *Switch) Turned() bool { return s.turned }

// failed says which step failed and keeps err's kind; one without becomes diag.ErrIO.
func (s *Switch) failed(step string, err error) error {
	var known *diag.Error
	if !errors.As(err, &known) {
		err = diag.New(diag.ErrIO, "", "%v", err)
	}
	outcome := "did not happen"
	if s.turned {
		outcome = "happened, but"
	}
	return fmt.Errorf("switch %d of %d sites %s (%s): %w", s.generation, len(s.edits), outcome, step, err)
}

// putBack undoes the traps: the tails were not touched yet, so the old first units
// make the old text whole. Errors on the way are added to why; nothing is left to
// do about them here.
func (s *Switch) putBack(steps Steps, why error) error {
	s.restoreFirsts()
	errs := []error{why}
	if err := steps.Sync(); err != nil {
		errs = append(errs, s.failed("barrier after putting back", err))
	}
	if err := steps.Withdraw(s.generation); err != nil {
		errs = append(errs, s.failed("withdraw after putting back", err))
	}
	return errors.Join(errs...)
}

// trapAll writes a trap over the first unit of every site.
func (s *Switch) trapAll() {
	if len(s.trap) == 1 {
		trap := s.trap[0]
		for _, off := range s.offsets {
			s.view[off] = trap
		}
		return
	}
	trap := binary.LittleEndian.Uint32(s.trap)
	for _, off := range s.offsets {
		store4(s.view[off:], trap)
	}
}

// writeTails writes what follows the first unit of every site.
func (s *Switch) writeTails() {
	for i, h := range s.heads {
		switch h.length() {
		case 5: // x86-64: an opcode and a displacement
			binary.LittleEndian.PutUint32(s.from(i)[1:], h.from(1))
		case 6: // x86-64: and a prefix before it, or a nop behind it
			to := s.from(i)
			binary.LittleEndian.PutUint32(to[1:], h.from(1))
			to[5] = byte(h >> (5 * 8))
		case maxLen:
			s.writeVeneer(i)
		}
	}
}

// writeVeneer writes what follows the first word of an aarch64 veneer. A thread may
// stand between its two instructions, so the second is stored only if it differs
// (to or from a trap), and the literal in one store.
func (s *Switch) writeVeneer(i int) {
	var c code
	e := &s.edits[i]
	to, b := s.from(i), e.fresh(&c, s.trap)
	if string(to[4:8]) != string(b[4:8]) {
		store4(to[4:], binary.LittleEndian.Uint32(b[4:]))
	}
	store8(to[8:], binary.LittleEndian.Uint64(b[8:]))
}

// writeFirsts writes the first unit of every site: from here on it is the new instruction.
func (s *Switch) writeFirsts() {
	if len(s.trap) == 1 {
		for i, h := range s.heads {
			s.from(i)[0] = byte(h)
		}
		return
	}
	for i, h := range s.heads {
		store4(s.from(i), h.first())
	}
}

// restoreFirsts writes the old first unit of every site.
func (s *Switch) restoreFirsts() {
	var c code
	for i := range s.edits {
		e := &s.edits[i]
		to, old := s.from(i), e.old(&c, s.trap)
		if len(s.trap) == 1 {
			to[0] = old[0]
		} else {
			store4(to, binary.LittleEndian.Uint32(old))
		}
	}
}
