package runner

import "sync/atomic"

// The memory that host, runner and kernel object share: src/control.h, which says
// what each word means. A test parses that file and compares every offset, size and
// number with these.

const (
	magic  = 0x4b4e4c4b
	layout = 2

	fdProgram = 3
	fdSealed  = 4
	fdData    = 5
	fdStacks  = 6
	fdControl = 7
	fdWindows = 8 // and those behind it

	maxWindows = 8

	mailOff    = 0x1000
	threadsOff = 0x2000
	threadSize = 0x2000
	valuesOff  = 0x1000

	sigPark  = 10
	sigLimit = 12

	wallMdwe    = 1
	wallSeccomp = 2
	wallLimits  = 4
	wallFds     = 8

	cmdBarrier = 1
	cmdFlush   = 2

	lineGoesOn = 0x80000000

	nValues = 255
	nHeld   = 24
	nGates  = 16

	maxPanicText = 256
	maxLineText  = 232
	lineSize     = 256
)

// What the words of config.ready say.
const (
	readyUp     = 1
	readyFailed = 2
)

// steps names the steps of the runner's start by their numbers in config.step.
var steps = [...]string{
	"start",
	"config", "control", "text", "tables", "data", "stacks", "windows",
	"descriptors", "barriers", "signals", "threads", "limits", "mdwe", "seal", "seccomp", "up",
}

// The first and the last step that maps memory at an address.
const (
	stepControl = 2
	stepWindows = 7
)

type ctlConfig struct {
	magic, layout                                      atomic.Uint32
	control, controlSize                               atomic.Uint64
	text, textSize, textOff                            atomic.Uint64
	tables, tablesSize, tablesOff                      atomic.Uint64
	data, dataSize                                     atomic.Uint64
	stacks, stackStride, stackSkip, stackSize, altSize atomic.Uint64
	table                                              atomic.Uint64
	canary                                             atomic.Uint64
	threads, logSlots                                  atomic.Uint32
	log                                                atomic.Uint64
	windows, windowStride, windowSize                  atomic.Uint64
	windowCount, pad                                   atomic.Uint32
	step                                               atomic.Uint32
	error                                              atomic.Int32
	walls                                              atomic.Uint32
	ready                                              atomic.Uint32
}

type ctlMail struct {
	events    atomic.Uint32
	hostWaits atomic.Uint32
	panic     atomic.Uint32
	pad0      [13]atomic.Uint32
	cmdSeq    atomic.Uint32
	cmd       atomic.Uint32
	cmdArg    [4]atomic.Uint64
	pad1      [3]atomic.Uint64
	ackSeq    atomic.Uint32
	ackError  atomic.Int32
	pad2      [7]atomic.Uint64
	logHead   atomic.Uint64
	pad3      [7]atomic.Uint64
	panicText [maxPanicText / 8]atomic.Uint64 // chars
}

type ctlLine struct {
	seq    atomic.Uint64
	time   atomic.Uint64
	length atomic.Uint32
	thread atomic.Uint32
	text   [maxLineText / 8]atomic.Uint64 // chars
}

type ctlRegs struct {
	pc, sp, flags atomic.Uint64
	r             [31]atomic.Uint64
}

type ctlValue struct{ value, count atomic.Uint64 }

type ctlValues struct {
	used, pad atomic.Uint64
	v         [nValues]ctlValue
}

type ctlGate struct{ gate, depth atomic.Uint64 }

type ctlThread struct {
	self             atomic.Uint64
	pad0             atomic.Uint64
	index, tid       atomic.Uint32
	stackLo, stackHi atomic.Uint64
	canary           atomic.Uint64
	control          atomic.Uint64
	pad1             atomic.Uint64

	post        atomic.Uint32
	pad2        atomic.Uint32
	fn          atomic.Uint64
	arg         [8]atomic.Uint64
	times       atomic.Uint64
	limit       atomic.Uint32
	park        atomic.Uint32
	unpark      atomic.Uint32
	release     atomic.Uint32
	spawned     atomic.Uint32
	spawnAnswer atomic.Int32
	deadline    atomic.Uint64
	pad3        atomic.Uint64

	done     atomic.Uint32
	status   atomic.Uint32
	fault    atomic.Uint32
	parked   atomic.Uint32
	result   atomic.Uint64
	calls    atomic.Uint64
	falls    atomic.Uint64
	unlisted atomic.Uint64
	traps    atomic.Uint64
	pad4     atomic.Uint64

	enterSp   atomic.Uint64
	critical  atomic.Uint32
	spawn     atomic.Uint32
	spawnFn   atomic.Uint64
	spawnArg  atomic.Uint64
	spawnName atomic.Uint64
	pad5      [3]atomic.Uint64

	sleep, pad6 atomic.Uint32
	sleepOn     atomic.Uint64
	sleepWhy    atomic.Uint64
	sleepSince  atomic.Uint64
	sleepRegs   ctlRegs
	pad7        [10]atomic.Uint64

	held   [nHeld]atomic.Uint64
	gate   [nGates]ctlGate
	kernel [16]atomic.Uint64
	pad8   [32]atomic.Uint64

	faultRegs     ctlRegs
	signo         atomic.Uint32
	code          atomic.Int32
	addr          atomic.Uint64
	trapno, error atomic.Uint64
	nr            atomic.Uint64
	pad9          [9]atomic.Uint64

	parkRegs ctlRegs
	pad10    [238]atomic.Uint64
}
