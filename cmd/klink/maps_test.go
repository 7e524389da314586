package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// While the tests run, a sampler reads the memory maps of every host and every runner
// that they start. No page may be writable and executable, in either; the text that
// both share is writable in no runner and executable in no host.

// Between two looks at all processes is a pause, of sampleEvery or, where looking takes
// long, of so many times as long: the tests need the processors, too.
const (
	sampleEvery = 5 * time.Millisecond
	pauseTimes  = 9
)

// What the maps call the files of the arena's text and of the runner's program.
const (
	textFile    = "/memfd:klink-text"
	programFile = "/memfd:klink-runner"
)

// sampled runs the tests with a sampler beside them.
type sampled struct{ m *testing.M }

// Run implements testscript.TestingM: 0, or what the process exits with.
func (s sampled) Run() int {
	flag.Parse()
	program, err := klinkFile()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the sampler of maps:", err)
		return 1
	}
	sampler := &sampler{program: program, bad: map[string]bool{}, hosts: map[int]bool{}, runners: map[int]bool{}}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		sampler.run(stop)
	}()
	code := s.m.Run()
	close(stop)
	<-stopped
	lines := sampler.report(runsAll())
	for _, line := range lines {
		fmt.Fprintln(os.Stderr, line)
	}
	if code == 0 && len(lines) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: the sampler of maps")
		return 1
	}
	return code
}

// klinkFile returns what tells the processes of the scripts: testscript's copy of this
// program, under the name by which they run it.
func klinkFile() (os.FileInfo, error) {
	path, err := exec.LookPath("klink")
	if err != nil {
		return nil, err
	}
	return os.Stat(path)
}

// runsAll says that no flag picks single scripts or tests.
func runsAll() bool {
	for _, name := range []string{"test.run", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// sampler looks at maps. It belongs to one goroutine, and then to who waited for it.
type sampler struct {
	program        os.FileInfo
	rounds         int
	bad            map[string]bool // what it found, each once
	hosts, runners map[int]bool    // pids that had the arena's text in their maps
}

// run looks until stop is closed.
func (s *sampler) run(stop <-chan struct{}) {
	for {
		began := time.Now()
		if err := s.round(); err != nil {
			s.bad["the sampler of maps: "+err.Error()] = true
		}
		s.rounds++
		select {
		case <-stop:
			return
		case <-time.After(max(sampleEvery, pauseTimes*time.Since(began))):
		}
	}
}

// report returns what is wrong. A sampler that has met no host or no runner in a run of
// all tests is broken itself.
func (s *sampler) report(all bool) []string {
	var lines []string
	for line := range s.bad {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	if all && (len(s.hosts) == 0 || len(s.runners) == 0) {
		lines = append(lines, fmt.Sprintf("the sampler of maps met %d hosts and %d runners in %d rounds", len(s.hosts), len(s.runners), s.rounds))
	}
	return lines
}

// round looks at each process once.
func (s *sampler) round() error {
	proc, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer func() { _ = proc.Close() }() // it was only read
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := s.look(pid); err != nil {
			return err
		}
	}
	return nil
}

// kind is what a process is.
type kind int

const (
	nobody kind = iota // of no concern, or gone
	command
	runner
)

// kind says what a process is: one that runs klink, as command or as host; or the runner
// of one.
func (s *sampler) kind(pid int) kind {
	if s.runsKlink(pid) {
		return command
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err == nil && strings.HasPrefix(exe, programFile) && s.runsKlink(parent(pid)) {
		return runner
	}
	return nobody
}

func (s *sampler) runsKlink(pid int) bool {
	st, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && os.SameFile(st, s.program)
}

// parent returns the parent of a process, 0 if it is gone.
func parent(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may be anything; behind it are state and parent.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1]) // 0 if it is no number
	return ppid
}

// look reads the maps of one process, if it is one of ours. A process may end, or
// execute another program, at any moment: what was found counts if it is the same before
// and after.
func (s *sampler) look(pid int) error {
	k := s.kind(pid)
	if k == nobody {
		return nil
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	bad, text := wrong(k, string(maps))
	if !text && len(bad) == 0 || s.kind(pid) != k {
		return nil
	}
	for _, line := range bad {
		s.bad[line] = true
	}
	switch {
	case text && k == runner:
		s.runners[pid] = true
	case text:
		s.hosts[pid] = true
	}
	return nil
}

// wrong returns what must not be in the maps of a process, and whether the arena's text
// is among them as it is in a host, or in a runner.
func wrong(k kind, maps string) (bad []string, text bool) {
	who, never := "host", byte('x')
	if k == runner {
		who, never = "runner", 'w'
	}
	for line := range strings.Lines(maps) {
		fields := strings.Fields(line) // addresses, rwxp, offset, device, inode, name
		if len(fields) < 5 {
			continue
		}
		rights, name := fields[1], strings.Join(fields[5:], " ")
		has := func(r byte) bool { return strings.IndexByte(rights, r) >= 0 }
		isText := strings.HasPrefix(name, textFile)
		if has('w') && has('x') {
			bad = append(bad, fmt.Sprintf("a %s had a page both writable and executable: %s %s", who, rights, name))
		}
		if isText && has(never) {
			bad = append(bad, fmt.Sprintf("a %s had the arena's text as %s", who, rights))
		}
		text = text || isText && (k == runner && has('x') || k == command && has('w'))
	}
	return bad, text
}

// TestWrong: the sampler's eye.
func TestWrong(t *testing.T) {
	const head, tail = "20000000-28000000 ", " 08000000 00:01 1042 "
	for _, c := range []struct {
		kind         kind
		rights, name string
		bad          int
		text         bool
	}{
		{command, "rw-s", textFile + " (deleted)", 0, true},
		{command, "r--s", textFile + " (deleted)", 0, false},
		{command, "r-xs", textFile + " (deleted)", 1, false},
		{command, "rwxs", textFile + " (deleted)", 2, true},
		{command, "rwxp", "", 1, false},
		{command, "r-xp", "/usr/bin/klink", 0, false},
		{runner, "r-xs", textFile + " (deleted)", 0, true},
		{runner, "r--s", textFile + " (deleted)", 0, false},
		{runner, "rw-s", textFile + " (deleted)", 1, false},
		{runner, "rwxs", textFile + " (deleted)", 2, true},
		{runner, "rw-s", "/memfd:klink-data (deleted)", 0, false},
		{runner, "rwxp", "[stack]", 1, false},
	} {
		bad, text := wrong(c.kind, head+c.rights+tail+c.name+"\n")
		if len(bad) != c.bad || text != c.text {
			t.Errorf("%v %s %s: %q, text %v", c.kind, c.rights, c.name, bad, text)
		}
	}
}
