package kernel

// What commands that run module code ask and are answered. Times are in
// nanoseconds, counts of clock ticks that never go back.

// CallRequest asks for calls of one function.
type CallRequest struct {
	// Function is "S", called through S's entry, so that each call goes to the provider
	// then current; "module:f", that module's own definition, private ones too; or "0x…",
	// an address in text.
	Function string `json:"function"`
	Args     []Arg  `json:"args,omitempty"`    // at most MaxArgs
	Threads  int    `json:"threads,omitempty"` // how many call at the same time; 0: 1
	Times    uint64 `json:"times,omitempty"`   // how often each of them does; 0: once
	Limit    int64  `json:"limit,omitempty"`   // for all of a thread's calls together, ns; 0: DefaultCallLimit, below 0: none
	Detach   bool   `json:"detach,omitempty"`  // answer when they have begun
}

// MaxArgs is how many arguments a call has at most: those that both machines pass in
// registers are 6, the runner passes 2 more on the stack of x86-64.
const MaxArgs = 8

// DefaultCallLimit is how long the calls of one thread may take, ns.
const DefaultCallLimit = 10_000_000_000

// Arg is one argument: a word, or a text that is put into the modules' memory for as
// long as the call takes, of which the function gets the address.
type Arg struct {
	Word   uint64 `json:"word,string"`
	Text   string `json:"text,omitempty"`
	IsText bool   `json:"isText,omitempty"`
}

// Job states.
const (
	JobRunning = "running"
	JobDone    = "done"    // every call returned
	JobFaulted = "faulted" // at least one thread's call was given up
	JobLost    = "lost"    // the runner died
)

// CallReport is what became, or has become so far, of a CallRequest.
type CallReport struct {
	Job      int         `json:"job"` // its number, counted from 1 as long as the host lives
	Function string      `json:"function"`
	Module   string      `json:"module,omitempty"` // that provided it when the calls began
	State    string      `json:"state"`
	Threads  int         `json:"threads"`
	Times    uint64      `json:"times"`
	Calls    uint64      `json:"calls"`              // that returned, all threads together
	Time     int64       `json:"time"`               // since they began, until the last ended, ns
	Values   []ValueInfo `json:"values,omitempty"`   // distinct results, sorted as signed numbers
	Unlisted uint64      `json:"unlisted,omitempty"` // results beyond the 255 distinct ones a thread can list
	Falls    uint64      `json:"falls"`              // how often a thread's result was lower than its one before
	Traps    uint64      `json:"traps"`              // how often a thread met a switch under way
	Faults   []FaultInfo `json:"faults,omitempty"`   // one a thread, in the order of threads
	Lost     string      `json:"lost,omitempty"`     // why the runner died
}

// ValueInfo is one result and how often it came.
type ValueInfo struct {
	Value int64  `json:"value,string"`
	Count uint64 `json:"count"`
}

// FaultInfo is why and where a call was given up.
type FaultInfo struct {
	Thread int         `json:"thread"`
	What   string      `json:"what"` // "SIGSEGV: writing address 0x0", "time limit of 10s", "system call 257 (openat)"
	At     FrameInfo   `json:"at"`
	Note   string      `json:"note,omitempty"`  // what else is known: "the address belonged to module X, unloaded since"
	Regs   []RegInfo   `json:"regs"`            // in the machine's order
	Trace  []FrameInfo `json:"trace,omitempty"` // callers, innermost first
}

// RegInfo is one register.
type RegInfo struct {
	Name  string `json:"name"`
	Value Addr   `json:"value"`
}

// FrameInfo is a place in code.
type FrameInfo struct {
	Addr   Addr   `json:"addr"`
	Module string `json:"module,omitempty"` // "" outside of every module
	Func   string `json:"func,omitempty"`
	Offset uint64 `json:"offset"`          // in Func
	File   string `json:"file,omitempty"`  // where the object has DWARF
	Line   int    `json:"line,omitempty"`  // counted from 1
	Guess  bool   `json:"guess,omitempty"` // found by scanning the stack, for there were no unwind tables
}

// WaitRequest asks for the end of jobs.
type WaitRequest struct {
	Stop  bool  `json:"stop,omitempty"`  // give up what still runs, as if its limit were over
	Jobs  []int `json:"jobs,omitempty"`  // none: all that run now
	Limit int64 `json:"limit,omitempty"` // how long to wait, ns; 0: as long as it takes
}

// LogRequest asks for lines that modules printed.
type LogRequest struct {
	From uint64 `json:"from,omitempty"` // number of the first line wanted; lines count from 0
	Max  int    `json:"max,omitempty"`  // at most so many; 0: all there are
	Wait int64  `json:"wait,omitempty"` // if there are none, how long to wait for one, ns
}

// LogReport is a piece of the log.
type LogReport struct {
	Lines []LogLine `json:"lines"`
	Next  uint64    `json:"next"` // From of the next request
	Lost  uint64    `json:"lost"` // lines before Next, and not before From, that were overwritten before they were read
}

// LogLine is one line that a module, or the host, printed.
type LogLine struct {
	Number uint64 `json:"number"`
	Time   int64  `json:"time"`   // since the host started, ns
	Thread int    `json:"thread"` // -1: the host
	Text   string `json:"text"`   // escaped
}

// ReadRequest asks for memory.
type ReadRequest struct {
	What string `json:"what"`          // "S", "module:S" or "0x…"
	Len  uint64 `json:"len,omitempty"` // bytes; 0: the symbol's size, 64 for an address
}

// ReadReport is a piece of memory.
type ReadReport struct {
	Addr   Addr   `json:"addr"`
	Symbol string `json:"symbol,omitempty"` // "bpf:stats+0x8"
	Bytes  []byte `json:"bytes"`
}

// MapRequest asks for memory that a module shares with other programs.
type MapRequest struct {
	// What is "S" or "module:S", a variable that holds an address there; or "0x…", an
	// address there or that of such a variable.
	What string `json:"what"`
}

// MapReport says what the file that comes with it holds.
type MapReport struct {
	Symbol string `json:"symbol,omitempty"` // the variable: "bus_space_trace:ring"
	Name   string `json:"name"`             // that the module gave the memory; it may be any bytes
	Addr   Addr   `json:"addr"`             // where modules have it
	Offset uint64 `json:"offset"`           // where it begins in the file, bytes
	Size   uint64 `json:"size"`             // bytes, up to the end of what was shared
}
