package runner

import (
	"fmt"
	"time"
)

// Regs are a thread's registers.
type Regs struct {
	PC, SP, Flags uint64
	R             [31]uint64 // x86-64: the 16 of ModRM's order (rax rcx rdx rbx rsp rbp rsi rdi r8…r15); aarch64: x0…x30
}

// Fault is what ended a call: a signal, with the state of its thread then.
type Fault struct {
	Signal  int    // Linux's number: SIGSEGV 11, SIGBUS 7, SIGILL 4, SIGFPE 8, SIGTRAP 5, SIGSYS 31
	Code    int32  // si_code
	Addr    uint64 // si_addr; of SIGSYS the address of the system call
	Trapno  uint64 // x86-64: the exception's number
	Error   uint64 // x86-64: its error code; aarch64: ESR, 0 if the system gave none
	Nr      uint64 // of SIGSYS: the number of the system call
	Regs    Regs
	Stack   []byte // from StackAddr towards the stack's top, at most 64 KiB; empty if SP lay outside of the stack
	Limit   bool   // no fault of the code: its time limit, or Stop, ended it
	Asleep  bool   // and it slept then, in the kernel object
	Why     string // the wait's name, escaped
	Spilled bool   // the stack was deeper than Stack shows

	StackAddr        uint64 // of Stack's first byte: SP, rounded down to 8
	StackLo, StackHi uint64 // the thread's stack
}

// maxFaultStack is how much of a stack a Fault keeps.
const maxFaultStack = 64 << 10

// State says what a thread of the pool was found doing.
type State int

// A thread of the pool is in one of these.
const (
	Idle     State = iota // in the runner's own code, with no call
	Running               // in a call, and was stopped by a signal for the look
	Sleeping              // in a call, asleep in the kernel object; it was not woken
	Faulted               // in a call that has faulted and is being given up
)

var stateNames = [...]string{"idle", "running", "sleeping", "faulted"}

// String returns the state in one word.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// View is where a thread was at one moment during Inspect. All of it but State, Fn,
// Job and Since is what the thread's memory said: hostile.
type View struct {
	State     State
	Fn        uint64        // what its call called; 0 if idle
	Job       *Job          // the call's; nil if idle
	Regs      Regs          // if sleeping those that a call preserves; the others are 0
	Stack     []byte        // all from StackAddr to the stack's top; empty if SP lay outside of the stack
	StackAddr uint64        // of Stack's first byte: SP less the red zone (x86-64: 128 bytes), rounded down to 8
	SleepOn   uint64        // address of the object that it sleeps for
	SleepWhy  string        // the wait's name, escaped; "" if it has none
	Since     time.Duration // how long it has been asleep; else since the call began
	Gates     []uint64      // the states of the gates that it is in, as the kernel object notes them
}

// readRegs copies registers out of shared memory.
func (c *ctlRegs) read() (r Regs) {
	r.PC, r.SP, r.Flags = c.pc.Load(), c.sp.Load(), c.flags.Load()
	for i := range r.R {
		r.R[i] = c.r[i].Load()
	}
	return r
}

// String returns what happened and where in a few words.
func (f *Fault) String() string {
	return fmt.Sprintf("signal %d at %#x, address %#x", f.Signal, f.Regs.PC, f.Addr)
}

// fault copies the record of the fault that w's thread waits with.
func (w *worker) fault(stacks memory) *Fault {
	c := w.ctl
	f := &Fault{
		Signal: int(c.signo.Load()), Code: c.code.Load(), Addr: c.addr.Load(),
		Trapno: c.trapno.Load(), Error: c.error.Load(), Nr: c.nr.Load(),
		Regs: c.faultRegs.read(), StackLo: w.stackLo, StackHi: w.stackHi,
	}
	f.StackAddr, f.Stack = w.stack(stacks, f.Regs.SP, maxFaultStack)
	f.Spilled = f.StackAddr+uint64(len(f.Stack)) < f.StackHi && len(f.Stack) > 0
	return f
}

// stack copies w's stack from sp, rounded down to 8, towards its top, at most limit
// bytes; nothing if sp lies outside.
func (w *worker) stack(stacks memory, sp, limit uint64) (addr uint64, b []byte) {
	sp &^= 7
	if sp < w.stackLo || sp >= w.stackHi {
		return sp, nil
	}
	return sp, stacks.copyWords(w.stackOff+(sp-w.stackLo), min(w.stackHi-sp, limit))
}
