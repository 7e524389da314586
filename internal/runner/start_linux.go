package runner

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
)

// monotonic returns CLOCK_MONOTONIC, which runner and host share.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // a clock that always exists
	return time.Duration(ts.Nano())
}

// errnoText returns what a word of the runner says as an errno.
func errnoText(errno int32) string {
	if errno <= 0 || errno > 4095 {
		return fmt.Sprintf("error %d", errno)
	}
	return syscall.Errno(errno).Error()
}

// stepName names a step of the runner's start.
func stepName(step uint32) string {
	if step >= uint32(len(steps)) {
		return fmt.Sprintf("step %d", step)
	}
	return steps[step]
}

// open makes the shared memory and starts the process. On an error nothing is left.
func (r *Runner) open(where place) (err error) {
	var fds []int
	defer func() {
		for _, fd := range fds {
			err = errors.Join(err, unix.Close(fd))
		}
		if err != nil {
			err = errors.Join(err, unmap(r.ctl), unmap(r.stacks), r.closeWindows())
		}
	}()
	var sealed error
	share := func(name string, size uint64) (view memory, fd int, err error) {
		fd, err = memfd(name, size)
		if err != nil {
			return nil, -1, err
		}
		fds = append(fds, fd)
		sealed = errors.Join(sealed, seal(fd, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL))
		view, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
		return view, fd, err
	}
	var control, stacks int
	if r.ctl, control, err = share("klink-control", r.cfg.controlSize()); err != nil {
		return err
	}
	if r.stacks, stacks, err = share("klink-stacks", r.cfg.stacksSize()); err != nil {
		return err
	}
	if err = r.makeWindows(within(where.windowsLo, where.windowsHi, maxWindows*windowStride)); err != nil {
		return err
	}
	r.mail = r.ctl.mail()
	r.fill(where)
	binary, err := programFile()
	if err != nil {
		return err
	}
	fds = append(fds, binary)
	wall := Wall{"shared-sealed", true, "nobody can resize the memory of control and stacks"}
	if sealed != nil {
		wall = Wall{"shared-sealed", false, sealed.Error()}
	}
	r.walls = append(r.walls, wall)

	var files [fdWindows + maxWindows]uintptr
	for i := range files {
		files[i] = ^uintptr(0) // closed
	}
	files[fdProgram], files[fdControl], files[fdStacks] = uintptr(binary), uintptr(control), uintptr(stacks)
	files[fdSealed], files[fdData] = uintptr(r.cfg.SealedFd), uintptr(r.cfg.DataFd)
	for i, w := range r.windows {
		files[fdWindows+i] = uintptr(w.fd)
	}
	r.proc, err = spawn(files[:])
	return err
}

func unmap(m memory) error {
	if m == nil {
		return nil
	}
	return unix.Munmap(m)
}

func seal(fd, seals int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("F_ADD_SEALS: %w", err)
	}
	return nil
}

// memfd makes a file of size bytes that is no program. A kernel before 6.3 does not
// know MFD_NOEXEC_SEAL and says EINVAL.
func memfd(name string, size uint64) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return -1, errors.Join(fmt.Errorf("ftruncate: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// programFile returns a sealed memfd with the runner in it.
func programFile() (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate("klink-runner", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("klink-runner", flags)
	}
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	for rest := program; len(rest) > 0 && err == nil; {
		var n int
		n, err = unix.Write(fd, rest)
		rest = rest[max(n, 0):]
	}
	if err == nil {
		err = seal(fd, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// process is the runner's process.
type process struct {
	pid    int
	ended  chan struct{} // closed when it is dead and buried
	status unix.WaitStatus

	mu     sync.Mutex // no signal is sent while the pid is given back
	buried bool
}

// spawn executes the file of files[fdProgram] with files as its descriptors, no
// environment and no terminal, so that it dies with this process.
//
// The parent-death signal comes when the *thread* that forked ends. So a goroutine
// keeps that thread for as long as the child lives, and waits for it there.
func spawn(files []uintptr) (*process, error) {
	p := &process{ended: make(chan struct{})}
	forked := make(chan error)
	go func() {
		runtime.LockOSThread()
		pid, err := syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", fdProgram), []string{"klink-runner"}, &syscall.ProcAttr{
			Files: files,
			Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
		})
		if err != nil {
			if _, statErr := os.Stat("/proc/self/fd"); statErr != nil {
				err = fmt.Errorf("%w (it needs /proc)", err)
			}
			forked <- fmt.Errorf("execve: %w", err)
			return
		}
		p.pid = pid
		forked <- nil
		p.wait()
		close(p.ended)
		// The thread ends with the goroutine: it was never unlocked.
	}()
	if err := <-forked; err != nil {
		return nil, err
	}
	return p, nil
}

// wait waits for the process's end. It looks first and takes the pid away only when
// nobody sends a signal to it.
func (p *process) wait() {
	for errors.Is(unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if _, err := unix.Wait4(p.pid, &p.status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.buried = true
}

// obituary says how the process ended, after ended.
func (p *process) obituary() string {
	if p.status.Signaled() {
		return fmt.Sprintf("was killed by signal %d", p.status.Signal())
	}
	return fmt.Sprintf("ended with status %d", p.status.ExitStatus())
}

// kill ends the process.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.buried {
		_ = unix.Kill(p.pid, unix.SIGKILL) // an own child that is not buried: always there
	}
}

// signal sends sig to one thread of the process.
func (p *process) signal(tid int, sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.buried {
		_ = unix.Tgkill(p.pid, tid, sig) // a thread that has ended is found out otherwise
	}
}

// tasks returns the tids of a process.
func tasks(pid int) ([]int, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, diag.New(diag.ErrIO, "", "the runner's threads: %v", err)
	}
	var tids []int
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, diag.New(diag.ErrIO, "", "%s: %v", dir, err)
		}
		tids = append(tids, tid)
	}
	return tids, nil
}
