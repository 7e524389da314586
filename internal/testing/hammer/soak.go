package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"klink/internal/kernel"
)

// The soak: loads and unloads under traffic, so many that whatever they left behind
// would show. Now and then all modules leave, and what host and runner hold is compared
// with what they held after the warm-up.

// soakArena is the arena's size, bytes: so small that text comes to be used again and
// again in the course of a soak. Freed text is used again last, so up to then each load
// has pages in memory that were not before; never more than that.
const soakArena = 64 << 20

// soakShared is what host and runner can have in memory of files at most: the arena, the
// threads' stacks as far as they are used, the control page, the log, their programs.
const soakShared = soakArena + 16<<20

// netEvery is how many cycles of the hammer's modules come between two of the packet
// filter of testdata/objs/net, which has CATCH and FINI, a gate, sleepers in it, a
// kernel thread, locks, and memory of its own.
const netEvery = 5

// usage is what a process holds.
type usage struct {
	rss  uint64 // bytes of its own that are in memory
	shm  uint64 // bytes in memory of files, the arena among them: until all of it has been used once, more and more
	fds  int
	maps int // lines of /proc/PID/maps
	task int // threads
}

// sample is what both processes hold while no module is loaded.
type sample struct {
	cycle        int
	host, runner usage
	heap         uint64 // of the host after a collection, bytes
	routine      int    // goroutines
	arena        [3]uint64
	entries      int
	wrong        uint64 // calls
	calls        uint64
}

// slack is by how much what the Go runtime decides on may differ between two looks that
// found the same. Nothing else may differ at all. With 10^5 cycles a leak of a few bytes
// in each is more.
var slack = struct {
	hostRSS, runnerRSS, heap uint64
	hostMaps, hostTask       int
	routine                  int
}{hostRSS: 16 << 20, runnerRSS: 128 << 10, heap: 1 << 20, hostMaps: 12, hostTask: 6, routine: 2}

// soak makes so many cycles, each a load and an unload, and looks every so many; the
// first look is what the others are compared with. It prints a line a look. An error
// says what has grown, or gone wrong.
func (h *hammer) soak(cycles, every int, out io.Writer) error {
	fmt.Fprintf(out, "%10s %16s %6s   %-37s %-37s %10s %9s %7s %8s\n", "cycles", "calls", "wrong",
		"host: own, shared, fds, maps, tasks", "runner: own, shared, fds, maps, tasks", "heap", "goroutine", "entries", "arena")
	var base *sample
	for done := 0; done < cycles; {
		for next := min(done+every, cycles); done < next; done++ {
			if err := h.cycle(done); err != nil {
				return fmt.Errorf("cycle %d: %w", done, err)
			}
		}
		s, err := h.look(done)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, s)
		if base == nil {
			base = s
		}
		if err := s.grown(base); err != nil {
			return err
		}
	}
	return nil
}

// cycle makes commands until one has unloaded something; every so often it is the
// filter that comes and goes.
func (h *hammer) cycle(n int) error {
	if n%netEvery == 0 {
		return h.filter()
	}
	for {
		c, err := h.step()
		if err != nil || !c.load {
			return err
		}
	}
}

// enxio is what a reader gets when the filter goes away.
const enxio = -6

// quiet is an interface without traffic: who waits for a packet there sleeps.
const quiet = 1

// filter loads the packet filter, has two threads fall asleep in it, one of them a kernel
// thread, and unloads it.
func (h *hammer) filter() error {
	call := func(r kernel.CallRequest, args ...uint64) (*kernel.CallReport, error) {
		for _, a := range args {
			r.Args = append(r.Args, kernel.Arg{Word: a})
		}
		c, err := h.k.Call(h.ctx, r)
		if err == nil && len(c.Faults) > 0 {
			err = fmt.Errorf("%s: %s", r.Function, c.Faults[0].What)
		}
		return c, err
	}
	if _, err := h.k.Load(h.ctx, kernel.LoadRequest{Modules: []kernel.ModuleSpec{{Files: []kernel.Source{h.fixture("net", "bpf", ".kmod")}}}}); err != nil {
		return err
	}
	reader, err := call(kernel.CallRequest{Function: "bpf_read", Limit: -1, Detach: true}, quiet)
	if err == nil {
		_, err = call(kernel.CallRequest{Function: "net_attach"}, quiet)
	}
	if err == nil {
		_, err = call(kernel.CallRequest{Function: "bpf_asleep", Limit: int64(time.Minute)}, 2)
	}
	if err == nil {
		_, err = h.k.Unload(h.ctx, kernel.UnloadRequest{Modules: []string{"bpf"}, Wait: int64(time.Minute)})
	}
	if err != nil {
		return err
	}
	r, err := h.k.Wait(h.ctx, kernel.WaitRequest{Jobs: []int{reader.Job}})
	if err == nil && (r[0].State != kernel.JobDone || r[0].Values[0].Value != enxio) {
		err = fmt.Errorf("a reader ended as %s with %+v", r[0].State, r[0].Values)
	}
	return err
}

// look unloads everything and says what is held then.
func (h *hammer) look(cycle int) (*sample, error) {
	if c, some := h.model.empty(); some {
		if err := h.give(c); err != nil {
			return nil, err
		}
	}
	s := &sample{cycle: cycle, wrong: h.wrong(), calls: h.calls()}
	h.switched += len(h.switches) // or the list of their times would be what grows
	h.switches = h.switches[:0]
	// Kernel threads that have left the filter may still be on their way to their end.
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		t, err := h.k.Threads()
		if err != nil {
			return nil, err
		}
		if len(t.Threads) <= h.threads+h.senders {
			break
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%d threads run; %d are the hammer's", len(t.Threads), h.threads+h.senders)
		}
	}
	st := h.k.Status()
	for i := range s.arena {
		s.arena[i] = st.Regions[i].Used
	}
	sites, err := h.k.Sites(kernel.SitesRequest{})
	if err != nil {
		return nil, err
	}
	for _, site := range sites {
		if site.Module == "" {
			s.entries++
		}
	}
	runtime.GC()
	runtime.GC() // what finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.heap, s.routine = m.HeapAlloc, runtime.NumGoroutine()
	if s.host, err = process(os.Getpid()); err == nil {
		s.runner, err = process(st.Runner.Pid)
	}
	return s, err
}

// process looks into /proc.
func process(pid int) (u usage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	maps, err := os.ReadFile(dir + "/maps")
	u.maps = strings.Count(string(maps), "\n")
	statm, e := os.ReadFile(dir + "/statm")
	err = cmp.Or(err, e)
	if f := strings.Fields(string(statm)); len(f) > 2 { // proc(5): size, resident, shared
		all, _ := strconv.ParseUint(f[1], 10, 64)
		shared, _ := strconv.ParseUint(f[2], 10, 64)
		u.rss, u.shm = (all-shared)*uint64(os.Getpagesize()), shared*uint64(os.Getpagesize())
	}
	for name, n := range map[string]*int{"/fd": &u.fds, "/task": &u.task} {
		list, e := os.ReadDir(dir + name)
		err = cmp.Or(err, e)
		*n = len(list)
	}
	return u, err
}

// grown says what is more than at the first look.
func (s *sample) grown(base *sample) error {
	var errs []error
	complain := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("after %d cycles: "+format, append([]any{s.cycle}, args...)...))
	}
	if s.wrong > 0 {
		complain("%d calls went wrong", s.wrong)
	}
	type row struct {
		what           string
		now, was, more uint64
	}
	rows := []row{
		{"memory of the host", s.host.rss, base.host.rss, slack.hostRSS},
		{"shared memory of the host", s.host.shm, 0, soakShared},
		{"shared memory of the runner", s.runner.shm, 0, soakShared},
		{"memory of the runner", s.runner.rss, base.runner.rss, slack.runnerRSS},
		{"descriptors of the host", uint64(s.host.fds), uint64(base.host.fds), 0},
		{"descriptors of the runner", uint64(s.runner.fds), uint64(base.runner.fds), 0},
		{"mappings of the host", uint64(s.host.maps), uint64(base.host.maps), uint64(slack.hostMaps)},
		{"mappings of the runner", uint64(s.runner.maps), uint64(base.runner.maps), 0},
		{"threads of the host", uint64(s.host.task), uint64(base.host.task), uint64(slack.hostTask)},
		{"threads of the runner", uint64(s.runner.task), uint64(base.runner.task), 0},
		{"entries", uint64(s.entries), uint64(base.entries), 0},
		{"heap", s.heap, base.heap, slack.heap},
		{"goroutines", uint64(s.routine), uint64(base.routine), uint64(slack.routine)},
	}
	for i := range s.arena {
		rows = append(rows, row{"arena region " + strconv.Itoa(i), s.arena[i], base.arena[i], 0})
	}
	for _, r := range rows {
		if r.now > r.was+r.more {
			complain("%s: %d, after the warm-up %d", r.what, r.now, r.was)
		}
	}
	return errors.Join(errs...)
}

// String is a line of the table.
func (s *sample) String() string {
	use := func(u *usage) string {
		return fmt.Sprintf("%5.1f + %4.1f MiB %4d %4d %4d", float64(u.rss)/(1<<20), float64(u.shm)/(1<<20), u.fds, u.maps, u.task)
	}
	return fmt.Sprintf("%10s %16s %6d   %-37s %-37s %6.2f MiB %9d %7d %8d", grouped(uint64(s.cycle)), grouped(s.calls), s.wrong,
		use(&s.host), use(&s.runner), float64(s.heap)/(1<<20), s.routine, s.entries, s.arena[0]+s.arena[1]+s.arena[2])
}

// packets starts the traffic that the filter sees.
func (h *hammer) packets() error {
	r, err := h.k.Call(h.ctx, kernel.CallRequest{Function: "net_stroll", Args: []kernel.Arg{{Word: 0}}, Limit: -1, Detach: true})
	if err != nil {
		return err
	}
	h.jobs, h.senders = append(h.jobs, r.Job), 1
	return nil
}

// account says how many packets there were. Once the traffic has ended it is an error if
// one of them got lost.
func (h *hammer) account() (sent uint64, err error) {
	for name, v := range map[string]*uint64{"net_sent": &sent, "net_lost": new(uint64)} {
		r, err := h.k.Call(h.ctx, kernel.CallRequest{Function: name})
		switch {
		case err != nil:
			return 0, err
		case len(r.Values) != 1:
			return 0, fmt.Errorf("%s returns %+v", name, r.Values)
		case name == "net_lost" && r.Values[0].Value != 0:
			return 0, fmt.Errorf("%d packets went astray", r.Values[0].Value)
		}
		*v = uint64(r.Values[0].Value)
	}
	return sent, nil
}

// runSoak soaks and prints the table.
func runSoak(cfg config, cycles, every int) error {
	cfg.arena, cfg.soak = soakArena, true
	h, err := start(context.Background(), cfg)
	if err != nil {
		return err
	}
	began := time.Now()
	err = h.soak(cycles, every, os.Stdout)
	err = errors.Join(err, h.stop())
	for _, c := range h.complaints() {
		fmt.Println(c)
	}
	if n := h.unchecked(); n > h.calls()/1_000_000 {
		err = errors.Join(err, fmt.Errorf("%d calls could not be checked", n))
	}
	packets, e := h.account()
	fmt.Printf("soak on %v: %d threads, seed %d: %s cycles in %.1f s, %s commands, %s switches, %s traps, %s calls, %s packets\n",
		h.machine, h.threads, cfg.seed, grouped(uint64(cycles)), time.Since(began).Seconds(), grouped(uint64(h.commands)),
		grouped(uint64(h.switched)), grouped(h.traps), grouped(h.calls()), grouped(packets))
	return errors.Join(err, e, h.close())
}
