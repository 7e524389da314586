package kernel

// What the threads of a host do, and who is inside of its gates: what Threads answers.
// Times are in nanoseconds, counts of clock ticks that never go back.

// What a thread that is not idle was found doing.
const (
	ThreadRunning = "running"
	ThreadAsleep  = "asleep"  // in the kernel object; it was not woken for the look
	ThreadFaulted = "faulted" // its call is being given up
	ThreadUnseen  = "unseen"  // it did not stop to be looked at; Note says more
)

// What a gate is.
const (
	GateOpen     = "open"
	GateCatching = "catching" // threads go in and out by its mutex
)

// ThreadsReport is what the runner's threads did while they were looked at one after
// the other, and the gates as they stood after that. All of it but numbers, states of
// threads and what the host itself called is what the modules' memory said.
type ThreadsReport struct {
	Threads []ThreadInfo `json:"threads"`        // those that are not idle, by their numbers
	Idle    int          `json:"idle"`           // how many are
	Gates   []GateInfo   `json:"gates"`          // sorted by module and name
	Note    string       `json:"note,omitempty"` // why the list of gates could not be followed to its end
}

// ThreadInfo is one thread. What it runs is the call of a job (Job, Function, Module as
// the job's report has them), a kernel thread (Kernel), or a function that the host has
// called itself, such as a modcmd.
type ThreadInfo struct {
	Thread   int          `json:"thread"`
	State    string       `json:"state"`
	Since    int64        `json:"since"`            // how long it has been asleep, else how long ago its call began
	Job      int          `json:"job,omitempty"`    // 0: it serves none
	Kernel   bool         `json:"kernel,omitempty"` // a kernel thread, which a module started
	Name     string       `json:"name,omitempty"`   // the kernel thread's, escaped
	Function string       `json:"function,omitempty"`
	Module   string       `json:"module,omitempty"`  // that Function is of; "" if none is known
	Modules  []ThreadIn   `json:"modules,omitempty"` // that it is in, innermost first; neighbours differ
	At       *FrameInfo   `json:"at,omitempty"`      // its innermost frame outside of klink's own kernel object; if all are in there, the innermost
	Sleep    *ThreadSleep `json:"sleep,omitempty"`
	Gates    []string     `json:"gates,omitempty"` // names of those that it is inside of, each once; the address of one that is not listed
	Note     string       `json:"note,omitempty"`
}

// ThreadIn is a module in which a thread has frames.
type ThreadIn struct {
	Module string `json:"module"`
	Guess  bool   `json:"guess,omitempty"` // found by scanning the stack, for there were no unwind tables
}

// ThreadSleep is what a thread sleeps for.
type ThreadSleep struct {
	Why string `json:"why"` // the wait's name, escaped
	On  Addr   `json:"on"`  // the object's address
}

// GateInfo is one gate (internal/kpi/include/klink/gate.h).
type GateInfo struct {
	Name      string `json:"name"`             // escaped
	Module    string `json:"module,omitempty"` // whose it is; "" if that module is not there any more
	Addr      Addr   `json:"addr"`             // of the module's struct gate
	State     string `json:"state"`
	Inside    int64  `json:"inside"`    // Entrances less Exits
	Entrances uint64 `json:"entrances"` // of all threads; summed after the exits, so that nobody inside is missed
	Exits     uint64 `json:"exits"`
	ByMutex   uint64 `json:"byMutex"` // how many of both went by the mutex
}
