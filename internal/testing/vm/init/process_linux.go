package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/testing/vm"
)

// grace is how long a job's other processes may take to end after it.
const grace = 10 * time.Second

// process is a job that runs.
type process struct {
	pid    int
	output <-chan string // one value, once no process can write any more
}

// start runs a job in a session of its own, its output into a pipe.
func start(job vm.Job) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	// Not os/exec: orphans become this process's children, so the wait is for any child.
	pid, err := syscall.ForkExec(job.Argv[0], job.Argv, &syscall.ProcAttr{
		Dir:   job.Dir,
		Env:   environ,
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: user, Gid: user}},
	})
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("%s in %s: %w", job.Argv[0], job.Dir, err)
	}
	output := make(chan string, 1)
	go func() {
		defer r.Close()
		var b bounded
		for buf := make([]byte, 64<<10); ; {
			n, err := r.Read(buf)
			b.write(buf[:n])
			if err != nil {
				output <- b.String()
				return
			}
		}
	}()
	return &process{pid, output}, nil
}

// wait reaps until neither the job nor anything that it started is left; what does
// not end by itself is named and killed.
func (p *process) wait() (vm.Event, error) {
	var end vm.Event
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return end, fmt.Errorf("wait: %w", err)
		case pid != p.pid:
			continue
		}
		end.Code = status.ExitStatus()
		if status.Signaled() {
			end.Code = 128 + int(status.Signal())
		}
		break
	}
	if !reaped(grace) {
		end.Left = others()
		if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return end, fmt.Errorf("kill what is left: %w", err)
		}
		if !reaped(grace) {
			return end, fmt.Errorf("%v cannot be killed", others())
		}
	}
	end.Output = <-p.output
	return end, nil
}

// reaped waits until there are no children and reports false after the time is over.
func reaped(limit time.Duration) bool {
	for stop := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.ECHILD) {
				return true
			}
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if time.Now().After(stop) {
			return false
		}
	}
}

// others names the processes besides this one, each with its state and its tasks' waits.
func others() []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if pid == os.Getpid() || err != nil || len(cmdline) == 0 { // the kernel's threads have none
			continue
		}
		args := strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")
		found = append(found, fmt.Sprintf("process %d (%.100s)", pid, args))
	}
	return found
}

// clean empties the directories that jobs may write.
func clean() error {
	for _, dir := range []string{home, run, "/tmp", "/dev/shm"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// bounded keeps the beginning and the end of what is written.
type bounded struct {
	head, tail []byte
	lost       int
}

// How much of a job's output is kept, in bytes.
const (
	maxHead = 256 << 10
	maxTail = 768 << 10
)

func (b *bounded) write(p []byte) {
	n := min(len(p), maxHead-len(b.head))
	b.head = append(b.head, p[:n]...)
	b.tail = append(b.tail, p[n:]...)
	if over := len(b.tail) - maxTail; over > 0 {
		b.lost += over
		b.tail = append(b.tail[:0], b.tail[over:]...)
	}
}

func (b *bounded) String() string {
	cut := ""
	if b.lost > 0 {
		cut = fmt.Sprintf("\n[… %d bytes …]\n", b.lost)
	}
	return strings.ToValidUTF8(string(b.head)+cut+string(b.tail), "?")
}

// kernelLog reads the kernel's messages from the time when it was opened.
type kernelLog struct{ fd int }

func openKernelLog() (*kernelLog, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/kmsg: %w", err)
	}
	_, err = unix.Seek(fd, 0, unix.SEEK_END)
	return &kernelLog{fd}, err
}

func (k *kernelLog) close() { _ = unix.Close(k.fd) }

// read returns the messages' texts, a line each: a record is "numbers;text\n", each
// further line begins with a blank.
func (k *kernelLog) read() string {
	var b bounded
	for buf := make([]byte, 8<<10); ; {
		n, err := unix.Read(k.fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE): // records were overwritten: go on with what there is
			b.write([]byte("[…]\n"))
		case err != nil || n <= 0:
			return b.String()
		default:
			_, text, _ := bytes.Cut(buf[:n], []byte(";"))
			line, _, _ := bytes.Cut(text, []byte("\n"))
			b.write(append(line, '\n'))
		}
	}
}
