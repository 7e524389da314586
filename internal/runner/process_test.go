package runner

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/diag"
)

// asHost makes the test binary a host that starts a runner, says its pid, and waits.
const asHost = "KLINK_TEST_HOST"

func TestMain(m *testing.M) {
	if os.Getenv(asHost) == "" {
		os.Exit(m.Run())
	}
	new(hostProcess).run()
}

// hostProcess is a testing.TB for a process that is no test: it is killed before it
// would clean up.
type hostProcess struct{ testing.TB }

func (*hostProcess) Helper()        {}
func (*hostProcess) Cleanup(func()) {}
func (*hostProcess) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

func (h *hostProcess) run() {
	_, cfg := prepare(h)
	r, err := Start(cfg)
	if err != nil {
		h.Fatal(err)
	}
	fmt.Println(r.Pid())
	select {}
}

func TestRunnerDiesWithItsHost(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asHost+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !alive(pid) {
		t.Fatalf("no runner %q", line)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	eventually(t, "the runner's end", func() bool { return !alive(pid) })
}

// alive says whether a process runs: a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := b[strings.LastIndexByte(string(b), ')')+2]
	return state != 'Z' && state != 'X'
}

func TestWalls(t *testing.T) {
	w := begin(t)
	up := map[string]bool{}
	for _, wall := range w.Walls() {
		up[wall.Name] = wall.Up
		if wall.Why == "" || wall.Up && strings.Contains(wall.Why, "not have") {
			t.Errorf("%+v", wall)
		}
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		major, min int // the first Linux that has it
	}{{"shared-sealed", 4, 17}, {"windows-sealed", 5, 1}, {"system-calls", 4, 17}, {"resource-limits", 4, 17}, {"no-descriptors", 5, 9}, {"no-exec-gain", 6, 3}} {
		var major, minor int
		if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
			t.Fatal(err)
		}
		if got, want := up[c.name], major > c.major || major == c.major && minor >= c.min; got != want {
			t.Errorf("wall %s is up: %v", c.name, got)
		}
	}
}

// What the system says of a runner: no page can be written and executed, text and
// tables cannot be written, no file is open, and nothing was inherited.
func TestProcess(t *testing.T) {
	w := begin(t)
	pid := strconv.Itoa(w.Pid())
	seen := 0
	for _, line := range maps(t, pid) {
		var lo, hi uint64
		var perm string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &lo, &hi, &perm); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(perm, "w") && strings.Contains(perm, "x") {
			t.Errorf("writable and executable: %s", line)
		}
		for _, c := range []struct {
			addr uint64
			perm string
		}{{textAddr, "r-xs"}, {tablesAddr, "r--s"}, {dataAddr, "rw-s"}, {w.Windows()[0].Addr, "rw-s"}, {w.Windows()[maxWindows-1].Addr, "rw-s"}} {
			if lo <= c.addr && c.addr < hi {
				seen++
				if perm != c.perm {
					t.Errorf("%s", line)
				}
			}
		}
		for _, th := range w.workers {
			if hi > th.stackLo-(32<<20) && lo < th.stackLo {
				t.Errorf("less than 32 MiB below stack %#x: %s", th.stackLo, line)
			}
		}
	}
	if seen != 5 {
		t.Errorf("%d of 5 parts are mapped", seen)
	}
	if fds, err := os.ReadDir("/proc/" + pid + "/fd"); err != nil || len(fds) != 0 {
		t.Errorf("descriptors %v %v", fds, err)
	}
	if env, err := os.ReadFile("/proc/" + pid + "/environ"); err != nil || len(env) != 0 {
		t.Errorf("environment %q %v", env, err)
	}
	if sid, err := unix.Getsid(w.Pid()); err != nil || sid != w.Pid() {
		t.Errorf("session %d %v", sid, err)
	}
	for _, line := range maps(t, "self") {
		if perm := strings.Fields(line)[1]; strings.Contains(perm, "w") && strings.Contains(perm, "x") {
			t.Errorf("in the host: %s", line)
		}
	}
}

func TestPlacesAreRandom(t *testing.T) {
	for _, p := range places {
		seen := map[uint64]bool{}
		for range 8 {
			for _, part := range []struct{ lo, hi, size uint64 }{
				{p.controlLo, p.controlHi, 1 << 24}, {p.stacksLo, p.stacksHi, MaxThreads * stackStride}, {p.windowsLo, p.windowsHi, maxWindows * windowStride},
			} {
				a := within(part.lo, part.hi, part.size)
				if a%granule != 0 || a < part.lo || a+part.size > part.hi {
					t.Errorf("%#x %#x", a, part)
				}
				seen[a] = true
			}
		}
		if len(seen) < 20 {
			t.Errorf("%d of 24 differ", len(seen))
		}
	}
}

// A place that is taken is not the last.
func TestNextPlace(t *testing.T) {
	was := places
	defer func() { places = was }()
	good := was[0]
	for _, bad := range []place{ // control, then the first stack, then the first window, over data
		{dataAddr, dataAddr + 1<<20 + 3<<17, good.stacksLo, good.stacksHi, good.windowsLo, good.windowsHi},
		{good.controlLo, good.controlHi, dataAddr + stackSize - stackStride, dataAddr + stackSize + 7*stackStride + granule, good.windowsLo, good.windowsHi},
		{good.controlLo, good.controlHi, good.stacksLo, good.stacksHi, dataAddr, dataAddr + maxWindows*windowStride + granule},
	} {
		places = []place{bad, was[1]}
		w := begin(t)
		w.well()
		if at := w.ctl.config().control.Load(); at < was[1].controlLo || at >= was[1].controlHi {
			t.Errorf("control at %#x", at)
		}
	}
	places = []place{{dataAddr, dataAddr + 1<<20 + 3<<17, good.stacksLo, good.stacksHi, good.windowsLo, good.windowsHi}}
	_, cfg := prepare(t)
	if _, err := Start(cfg); !errors.Is(err, diag.ErrIO) || !strings.Contains(err.Error(), "the runner cannot start: data: file exists") {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		kind   error
		part   string
	}{
		{"too many threads", func(c *Config) { c.Threads = MaxThreads + 1 }, diag.ErrUsage, "1 to 1024 threads, not 1025"},
		{"fewer than none", func(c *Config) { c.Threads = -1 }, diag.ErrUsage, "not -1"},
		{"table elsewhere", func(c *Config) { c.Table = dataAddr }, diag.ErrUsage, "outside of the tables"},
		{"table misaligned", func(c *Config) { c.Table += 8 }, diag.ErrUsage, "misaligned"},
		{"no data", func(c *Config) { c.DataFd = -1 }, diag.ErrIO, "the runner cannot start: data: bad file descriptor"},
		{"parts that overlap", func(c *Config) { c.Tables.Addr, c.Table = textAddr, textAddr }, diag.ErrIO, "the runner cannot start: tables: file exists"},
		{"an odd size", func(c *Config) { c.Text.Size++ }, diag.ErrIO, "the runner cannot start: config: invalid argument"},
		{"text over the runner", func(c *Config) { c.Text.Addr = 0x200000 }, diag.ErrIO, "the runner cannot start: text: file exists"},
	} {
		_, cfg := prepare(t)
		c.change(&cfg)
		r, err := Start(cfg)
		if err == nil {
			t.Errorf("%s: started; %v", c.name, r.Close())
			continue
		}
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestProgramThatIsNone(t *testing.T) {
	was := program
	defer func() { program = was }()
	program = []byte("no program")
	_, cfg := prepare(t)
	if _, err := Start(cfg); !errors.Is(err, diag.ErrIO) || !strings.Contains(err.Error(), "execve: exec format error") {
		t.Error(err)
	}
	program = nil
	if err := Available(machine); !errors.Is(err, diag.ErrMachine) {
		t.Error(err)
	}
}

// A runner that says nothing is waited for no longer than the limit.
func TestStartEnds(t *testing.T) {
	was := startLimit
	defer func() { startLimit = was }()
	startLimit = 20 * time.Millisecond
	r := paper()
	r.ctl.config().step.Store(3)
	if err := r.await(); err == nil || err.Error() != "text: no end after 20ms" {
		t.Error(err)
	}
}

func TestAvailable(t *testing.T) {
	other := map[arch.Machine]arch.Machine{arch.AMD64: arch.ARM64, arch.ARM64: arch.AMD64}[machine]
	if err := Available(machine); err != nil {
		t.Error(err)
	}
	err := Available(other)
	if !errors.Is(err, diag.ErrMachine) || !strings.Contains(err.Error(), "this computer cannot run "+other.String()+" code") {
		t.Error(err)
	}
}

// Close leaves no goroutine, descriptor or mapping behind, and can be called again.
func TestCloseLeavesNothing(t *testing.T) {
	count := func() (goroutines, fds, views int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range maps(t, "self") {
			if strings.Contains(line, "memfd:klink-control") || strings.Contains(line, "memfd:klink-stacks") {
				views++
			}
		}
		return runtime.NumGoroutine(), len(entries), views
	}
	_, cfg := prepare(t)
	goroutines, fds, views := count()
	for range 5 {
		r, err := Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{Runner: r, t: t, fn: map[string]uint64{}}
		_, at := code(t)
		j, err := r.Begin(Call{Fn: textAddr + at["spin"], Limit: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if _, f, _ := count(); f != fds+maxWindows {
			t.Errorf("%d descriptors, before %d", f, fds)
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		wantLost(t, w.end(j).Err, "the runner was closed")
		wantLost(t, r.Err(), "the runner was closed")
	}
	eventually(t, "everything is given back", func() bool {
		g, f, v := count()
		return g <= goroutines && f == fds && v == views
	})
}
