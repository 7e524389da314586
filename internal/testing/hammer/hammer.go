package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"klink/internal/arch"
	"klink/internal/kernel"
	"klink/internal/testing/words"
)

// The layout of struct hammer (testdata/objs/hammer/hammer.h, which asserts the same
// numbers), bytes.
const (
	offSettled = 0x00
	offPending = 0x08
	offStop    = 0x10
	offPhase   = 0x14
	offNext    = 0x40
	offThread  = 0x100
	offLog     = 0x1900

	threadSize    = 0x180
	threadCalls   = 0x00
	threadWrong   = 0x08
	threadUnknown = 0x10
	threadNow     = 0x20
	threadGap     = 0x28
	threadRecord  = 0x80
	recordSize    = 0x20
	records       = 8

	maxThreads = 16
	ring       = 16384
	epochSize  = 4 * symbols
	sharedSize = offLog + ring*epochSize

	phaseControl, phaseSwitches = 0, 1
)

// The layout of struct hammer_site, bytes, and its numbers of forms.
const (
	siteSize   = 16
	siteSymbol = 8
	siteForm   = 9
	sitePre    = 11

	formShort = 32
	formEntry = 33
	formFar   = 34
)

// hammer is a kernel in this process, the threads that call in it, and what is known
// about both.
type hammer struct {
	k       *kernel.Kernel
	ctx     context.Context
	objs    string // testdata/objs
	machine arch.Machine
	shared  words.Words // struct hammer
	sites   []site
	threads int
	jobs    []int
	senders int // threads that send packets: the last of the jobs
	model   *model
	epoch   uint64

	commands int
	switches []time.Duration // of every command that moved sites: plan and switch
	switched int             // in a soak: how many there were up to the last look
	moved    int             // sites, all switches together
	traps    uint64          // known after stop
}

// site is one row of hammer_sites, then of run.c's own.
type site struct {
	addr   uint64 // of the site itself; 0 if the table does not say
	symbol int
	form   int
}

// config is what a hammer is made with.
type config struct {
	objs    string // testdata/objs
	threads int
	seed    uint64
	arena   uint64          // bytes; 0: as always
	soak    bool            // callers sleep at times, and the kernel has the network of testdata/objs/net, with traffic
	between []kernel.Source // objects that come between the sites of sites.*.s and those of run.c
}

// start boots the kernel with the hammer's objects and starts its threads; when it
// returns, all of them call.
func start(ctx context.Context, cfg config) (*hammer, error) {
	threads := cfg.threads
	if threads < 1 || threads > maxThreads {
		return nil, fmt.Errorf("%d threads; from 1 to %d", threads, maxThreads)
	}
	k, err := kernel.New(kernel.Config{Machine: kernel.HostMachine(), ArenaSize: cfg.arena})
	if err != nil {
		return nil, err
	}
	h := &hammer{k: k, ctx: ctx, objs: cfg.objs, machine: kernel.HostMachine(), threads: threads, model: newModel(cfg.seed)}
	if err := h.boot(cfg); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	run := "kernel:hammer_run"
	if cfg.soak {
		run = "kernel:hammer_stroll"
	}
	for slot := range threads {
		r, err := k.Call(ctx, kernel.CallRequest{
			Function: run,
			Args:     []kernel.Arg{{Word: uint64(slot)}, {Word: 0}},
			Limit:    -1,
			Detach:   true,
		})
		if err != nil {
			return nil, errors.Join(err, k.Close())
		}
		h.jobs = append(h.jobs, r.Job)
	}
	for slot := range threads {
		for h.shared.Load64(thread(slot, threadCalls)) == 0 {
			if err := h.alive(); err != nil {
				return nil, errors.Join(err, k.Close())
			}
			runtime.Gosched()
		}
	}
	if cfg.soak {
		if err := h.packets(); err != nil {
			return nil, errors.Join(err, k.Close())
		}
	}
	return h, nil
}

// file names a fixture of the hammer's own.
func (h *hammer) file(stem, ext string) kernel.Source { return h.fixture("hammer", stem, ext) }

// fixture names a fixture of the machine in a folder of testdata/objs.
func (h *hammer) fixture(dir, stem, ext string) kernel.Source {
	name := fmt.Sprintf("%s.%s%s", stem, h.machine.Facts().GOARCH, ext)
	return kernel.Source{Name: name, Path: filepath.Join(h.objs, dir, name)}
}

// boot loads the kernel and finds what it shares with this program.
func (h *hammer) boot(cfg config) error {
	spec := kernel.ModuleSpec{Files: slices.Concat([]kernel.Source{h.file("sites", ".o")}, cfg.between, []kernel.Source{h.file("run", ".o")})}
	if cfg.soak {
		spec.Files = append(spec.Files, h.fixture("net", "kernel", ".o"), h.file("stroll", ".o"))
	}
	if _, err := h.k.Boot(h.ctx, []kernel.ModuleSpec{spec}); err != nil {
		return err
	}
	shared, err := h.data("hammer")
	if err != nil {
		return err
	}
	if len(shared) != sharedSize {
		return fmt.Errorf("struct hammer has %d bytes, not %d: build the fixtures again", len(shared), sharedSize)
	}
	h.shared = words.Words(shared)
	table, err := h.data("hammer_sites")
	if err != nil {
		return err
	}
	for row := range slices.Chunk(table, siteSize) {
		s := site{symbol: int(row[siteSymbol]), form: int(row[siteForm])}
		if s.form < formShort {
			s.addr = binary.LittleEndian.Uint64(row) + uint64(row[sitePre])
		}
		h.sites = append(h.sites, s)
	}
	for i := range symbols {
		h.sites = append(h.sites, site{symbol: i, form: formFar})
	}
	return nil
}

// data returns the live bytes of an object of the kernel.
func (h *hammer) data(name string) ([]byte, error) {
	syms, err := h.k.Symbols([]string{name}, kernel.KernelName)
	if err != nil {
		return nil, err
	}
	b := h.k.Data(syms[0].Addr, syms[0].Size)
	if b == nil {
		return nil, fmt.Errorf("%s does not lie in data", name)
	}
	return b, nil
}

// step makes one random command, and returns it.
func (h *hammer) step() (command, error) {
	c := h.model.choose()
	return c, h.give(c)
}

// give makes a command that the model has made. It says first what will be right after
// it, and says afterwards that nothing else is right any more.
func (h *hammer) give(c command) error {
	h.epoch++
	at := offLog + h.epoch%ring*epochSize
	for s, g := range h.model.current() {
		h.shared.Store32(at+uint64(4*s), g)
	}
	h.shared.Store64(offPending, h.epoch)
	change, err := h.do(c)
	if err != nil {
		return fmt.Errorf("command %d, %v: %w", h.epoch, c, err)
	}
	h.shared.Store64(offSettled, h.epoch)
	h.commands++
	if t := change.Switch; t != nil {
		h.switches = append(h.switches, time.Duration(t.Plan+t.Total))
		h.moved += t.Sites
	}
	return h.alive()
}

// do loads or unloads.
func (h *hammer) do(c command) (*kernel.Change, error) {
	if c.load {
		var r kernel.LoadRequest
		for _, i := range c.modules {
			h.shared.Store64(offNext+uint64(8*i), uint64(h.model.gen[i]))
			r.Modules = append(r.Modules, kernel.ModuleSpec{Files: []kernel.Source{h.file(modules[i].name, ".kmod")}})
		}
		return h.k.Load(h.ctx, r)
	}
	var r kernel.UnloadRequest
	for _, i := range c.modules {
		r.Modules = append(r.Modules, modules[i].name)
	}
	change, err := h.k.Unload(h.ctx, r)
	if err != nil {
		return nil, err
	}
	if len(change.Unloaded) != len(c.modules) {
		return nil, fmt.Errorf("%d of %d modules were unloaded", len(change.Unloaded), len(c.modules))
	}
	return change, nil
}

// String is the command as a user would type it.
func (c command) String() string {
	s := "unload"
	if c.load {
		s = "load"
	}
	for _, i := range c.modules {
		s += " " + modules[i].name
	}
	return s
}

// alive returns an error if a thread calls no more.
func (h *hammer) alive() error {
	for _, j := range h.k.Jobs() {
		if j.State != kernel.JobRunning {
			return ended(&j)
		}
	}
	return nil
}

// ended says why a job should not have ended.
func ended(j *kernel.CallReport) error {
	switch {
	case len(j.Faults) > 0:
		f := j.Faults[0]
		return fmt.Errorf("a thread of the hammer was given up: %s at %s+%#x (%v) %s", f.What, f.At.Func, f.At.Offset, f.At.Addr, f.Note)
	case j.Lost != "":
		return errors.New(j.Lost)
	}
	return fmt.Errorf("a thread of the hammer returned: %s", j.State)
}

// phase says which longest gap counts from now on.
func (h *hammer) phase(p uint32) { h.shared.Store32(offPhase, p) }

// thread returns the address of a word of a thread's part.
func thread(slot int, off uint64) uint64 { return offThread + uint64(slot)*threadSize + off }

// sum adds up a word of all threads.
func (h *hammer) sum(off uint64) (n uint64) {
	for slot := range h.threads {
		n += h.shared.Load64(thread(slot, off))
	}
	return n
}

func (h *hammer) calls() uint64     { return h.sum(threadCalls) }
func (h *hammer) wrong() uint64     { return h.sum(threadWrong) }
func (h *hammer) unchecked() uint64 { return h.sum(threadUnknown) }

// gap returns the longest time between two calls of one thread in a phase, ticks.
func (h *hammer) gap(phase int) (t uint64) {
	for slot := range h.threads {
		t = max(t, h.shared.Load64(thread(slot, threadGap+uint64(8*phase))))
	}
	return t
}

// now returns the ticks of thread 0's latest call.
func (h *hammer) now() uint64 { return h.shared.Load64(thread(0, threadNow)) }

// stop ends the threads and counts the traps that they met.
func (h *hammer) stop() error {
	h.shared.Store32(offStop, 1)
	reports, err := h.k.Wait(h.ctx, kernel.WaitRequest{Jobs: h.jobs})
	for i := range reports {
		h.traps += reports[i].Traps
		if reports[i].State != kernel.JobDone {
			err = errors.Join(err, ended(&reports[i]))
		}
	}
	return err
}

// close ends the kernel.
func (h *hammer) close() error { return h.k.Close() }

// complaints describes the first calls of each thread that went wrong.
func (h *hammer) complaints() (list []string) {
	for slot := range h.threads {
		n := min(h.shared.Load64(thread(slot, threadWrong)), records)
		for i := range n {
			list = append(list, h.complaint(slot, thread(slot, threadRecord+i*recordSize)))
		}
	}
	return list
}

func (h *hammer) complaint(slot int, at uint64) string {
	value, lo, hi, row := h.shared.Load64(at), h.shared.Load64(at+8), h.shared.Load64(at+16), h.shared.Load64(at+24)
	if row >= uint64(len(h.sites)) {
		return fmt.Sprintf("thread %d: site %d of %d", slot, row, len(h.sites))
	}
	s := &h.sites[row]
	right := ""
	for e := lo; e <= hi && e < lo+4; e++ {
		right += fmt.Sprintf(" %d", h.shared.Load32(offLog+e%ring*epochSize+uint64(4*s.symbol)))
	}
	return fmt.Sprintf("thread %d: hammer_%d through the %s at %#x returned generation %#x; right in epochs %d to %d were%s",
		slot, s.symbol, formName(s.form), s.addr, value, lo, hi, right)
}
