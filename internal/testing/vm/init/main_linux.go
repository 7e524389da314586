// Command init is the first process of a virtual machine that tests packages: it
// readies the system, runs the jobs of its plan one after the other as a user
// without rights, says on the console how each ended, and turns the machine off.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/testing/vm"
)

// The user that jobs run as.
const (
	user = 1000
	home = "/home/klink"
	run  = "/run/user/1000"
)

// environ is a job's.
var environ = []string{
	"HOME=" + home, "USER=klink", "LOGNAME=klink", "XDG_RUNTIME_DIR=" + run,
	"PATH=/bin", "TMPDIR=/tmp", "LANG=C.UTF-8",
}

// mounts are made in this order.
var mounts = []struct {
	fstype, target string
	flags          uintptr
	data           string
}{
	{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=755"},
	{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "ptmxmode=666"},
	{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"tmpfs", "/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
}

func main() {
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err) // the kernel's console; the host shows its end
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	panic(err) // the first process must not end: the kernel panics, and the machine ends so
}

// work is everything between the kernel's start and the machine's end.
func work() error {
	if err := prepare(); err != nil {
		return err
	}
	plan, err := readPlan()
	if err != nil {
		return err
	}
	tty, err := os.OpenFile("/dev/ttyAMA0", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	say := func(e vm.Event) error {
		_, err := tty.WriteString(e.Line(plan.Token) + "\n")
		return err
	}
	// The kernel shares the console: from now on it writes its last words only.
	// For this request the buffer's length is the level.
	if _, err := unix.Klogctl(unix.SYSLOG_ACTION_CONSOLE_LEVEL, make([]byte, 1)); err != nil {
		return fmt.Errorf("quieten the kernel: %w", err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	if err := say(vm.Event{Kind: vm.Up, Text: unix.ByteSliceToString(uts.Release[:])}); err != nil {
		return err
	}
	for i, job := range plan.Jobs {
		if err := say(vm.Event{Kind: vm.Start, Job: i}); err != nil {
			return err
		}
		end, err := perform(job)
		if err != nil {
			_ = say(vm.Event{Kind: vm.Over, Text: fmt.Sprintf("%s: %v", job.Name, err)})
			return err
		}
		end.Kind, end.Job = vm.End, i
		if err := say(end); err != nil {
			return err
		}
	}
	return say(vm.Event{Kind: vm.Over})
}

// prepare mounts file systems and makes the user's directories.
func prepare() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, dir := range []string{home, run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, user, user); err != nil {
			return err
		}
	}
	return nil
}

// readPlan takes the plan away with it: jobs must not learn the token.
func readPlan() (vm.Plan, error) {
	var plan vm.Plan
	data, err := os.ReadFile(vm.PlanFile)
	if err != nil {
		return plan, err
	}
	if err := json.Unmarshal(data, &plan); err != nil {
		return plan, fmt.Errorf("%s: %w", vm.PlanFile, err)
	}
	return plan, os.Remove(vm.PlanFile)
}

// perform runs a job until it and all of its processes are gone. An error means that
// the machine cannot go on.
func perform(job vm.Job) (vm.Event, error) {
	kmsg, err := openKernelLog()
	if err != nil {
		return vm.Event{}, err
	}
	defer kmsg.close()
	began := time.Now()
	p, err := start(job)
	if err != nil {
		return vm.Event{Code: 127, Output: err.Error()}, clean()
	}
	end, err := p.wait()
	if err != nil {
		return end, err
	}
	end.Millis = time.Since(began).Milliseconds()
	if vm.Verdict(end) != "" {
		end.Kernel = kmsg.read()
	}
	return end, clean()
}
