package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// Commands of scripts about modules that run.

// patience is how long a script waits for what must come: far longer than anything takes.
const patience = 2 * time.Minute

// cmdEventually is "eventually REGEXP COMMAND…": run the command, whatever its exit code,
// until its output, and what it says on stderr, matches; with ! until it does not.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP command…")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	pause := 5 * time.Millisecond
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		pause = min(2*pause, time.Second)
		_ = ts.Exec(args[1], args[2:]...) // its output counts
		if re.MatchString(ts.ReadFile("stdout")+ts.ReadFile("stderr")) != neg {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("not within %v", patience)
		}
	}
}

// cmdCapture is "capture VAR REGEXP": set the variable to what the expression's group
// matches in the last command's stdout.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VAR REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("no match for %s with one group", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// cmdComes is "comes FILE REGEXP".
func cmdComes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: comes FILE REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		switch {
		case re.Match(text):
			return
		case time.Now().After(end):
			ts.Fatalf("not within %v: %v\n%s", patience, err, text)
		}
	}
}

// into is the program into.
func into() {
	if err := execInto(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// execInto becomes another program, whose stdout is the file.
func execInto(file string, argv []string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := unix.Dup3(int(f.Fd()), 1, 0); err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

// runnerPid returns the process that runs a host's modules.
func runnerPid(ts *testscript.TestScript, host string) int {
	ts.Check(ts.Exec("klink", "-H", host, "version", "--json"))
	m := regexp.MustCompile(`"pid": (\d+)`).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("host %s has no runner", host)
	}
	pid, err := strconv.Atoi(m[1])
	ts.Check(err)
	return pid
}

// cmdRunner is "runner VAR NAME".
func cmdRunner(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: runner VAR name")
	}
	ts.Setenv(args[0], strconv.Itoa(runnerPid(ts, args[1])))
}

// cmdKillRunner is "killrunner NAME".
func cmdKillRunner(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killrunner name")
	}
	ts.Check(syscall.Kill(runnerPid(ts, args[0]), syscall.SIGKILL))
}

// cmdNoRunner is "norunner PID": wait until it has ended.
func cmdNoRunner(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: norunner pid")
	}
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	ts.Check(err)
	defer func() { _ = unix.Close(fd) }()
	// The number may be another process's already.
	if comm, err := os.ReadFile("/proc/" + args[0] + "/comm"); err != nil || strings.TrimSpace(string(comm)) != "klink-runner" {
		return
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	}
	ts.Check(err)
	if n == 0 {
		ts.Fatalf("runner %d still runs", pid)
	}
}
