package runner

import (
	"testing"

	"golang.org/x/sys/unix"
)

// way is a system call that leads, or might lead, out of a runner.
type way struct {
	name string
	nr   uint64
	args []uint64
}

const (
	rw  = unix.PROT_READ | unix.PROT_WRITE
	rx  = unix.PROT_READ | unix.PROT_EXEC
	rwx = rw | unix.PROT_EXEC
)

// host is the process that none of them shall reach.
var host = uint64(unix.Getpid())

var waysOut = []way{
	{"openat", unix.SYS_OPENAT, []uint64{^uint64(99), dataAddr}},
	{"memfd_create", unix.SYS_MEMFD_CREATE, []uint64{dataAddr, 0}},
	{"mmap exec", unix.SYS_MMAP, []uint64{0, 4096, rx, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0)}},
	{"mmap rwx", unix.SYS_MMAP, []uint64{0, 4096, rwx, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0)}},
	{"mmap", unix.SYS_MMAP, []uint64{0, 4096, rw, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0)}},
	{"mprotect text", unix.SYS_MPROTECT, []uint64{textAddr, 65536, rw}},
	{"mprotect data", unix.SYS_MPROTECT, []uint64{dataAddr, 65536, rx}},
	{"mprotect runner", unix.SYS_MPROTECT, []uint64{0x200000, 65536, rw}},
	{"pkey_mprotect", unix.SYS_PKEY_MPROTECT, []uint64{dataAddr, 65536, rx, 0}},
	{"munmap", unix.SYS_MUNMAP, []uint64{textAddr, 65536}},
	{"mremap", unix.SYS_MREMAP, []uint64{textAddr, 65536, 131072, 1}},
	{"remap_file_pages", unix.SYS_REMAP_FILE_PAGES, []uint64{dataAddr, 65536, 0, 1}},
	{"madvise", unix.SYS_MADVISE, []uint64{textAddr, 65536, unix.MADV_DONTNEED}},
	{"shmat", unix.SYS_SHMAT, []uint64{0, 0, 0}},
	{"brk", unix.SYS_BRK, []uint64{0}},
	{"ptrace host", unix.SYS_PTRACE, []uint64{unix.PTRACE_ATTACH, host}},
	{"kill host", unix.SYS_KILL, []uint64{host, 9}},
	{"tkill host", unix.SYS_TKILL, []uint64{host, 9}},
	{"tgkill host", unix.SYS_TGKILL, []uint64{host, host, 9}},
	{"tgkill nobody", unix.SYS_TGKILL, []uint64{0, 0, 9}},
	{"rt_sigqueueinfo", unix.SYS_RT_SIGQUEUEINFO, []uint64{host, 9, dataAddr}},
	{"pidfd_open", unix.SYS_PIDFD_OPEN, []uint64{host, 0}},
	{"pidfd_getfd", unix.SYS_PIDFD_GETFD, []uint64{3, 3, 0}},
	{"process_vm_readv", unix.SYS_PROCESS_VM_READV, []uint64{host, dataAddr, 1, dataAddr, 1, 0}},
	{"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, []uint64{host, dataAddr, 1, dataAddr, 1, 0}},
	{"process_madvise", unix.SYS_PROCESS_MADVISE, []uint64{3, dataAddr, 1, 4, 0}},
	{"socket", unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_STREAM}},
	{"connect", unix.SYS_CONNECT, []uint64{3, dataAddr, 16}},
	{"execve", unix.SYS_EXECVE, []uint64{dataAddr, 0, 0}},
	{"execveat", unix.SYS_EXECVEAT, []uint64{3, dataAddr, 0, 0, 0}},
	{"clone", unix.SYS_CLONE, []uint64{17, 0}},
	{"clone3", unix.SYS_CLONE3, []uint64{dataAddr, 88}},
	{"prctl", unix.SYS_PRCTL, []uint64{unix.PR_SET_DUMPABLE, 1}},
	{"seccomp", unix.SYS_SECCOMP, []uint64{0, 0, 0}},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, []uint64{8, dataAddr}},
	{"bpf", unix.SYS_BPF, []uint64{0, dataAddr, 64}},
	{"userfaultfd", unix.SYS_USERFAULTFD, []uint64{0}},
	{"keyctl", unix.SYS_KEYCTL, []uint64{0}},
	{"personality", unix.SYS_PERSONALITY, []uint64{0x0040000}},
	{"unshare", unix.SYS_UNSHARE, []uint64{unix.CLONE_NEWUSER}},
	{"setns", unix.SYS_SETNS, []uint64{3, 0}},
	{"setuid", unix.SYS_SETUID, []uint64{0}},
	{"capset", unix.SYS_CAPSET, []uint64{dataAddr, dataAddr}},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, []uint64{dataAddr, 0, 0, 0, 0}},
	{"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, []uint64{0, dataAddr, 0, 8}},
	{"rt_sigaction", unix.SYS_RT_SIGACTION, []uint64{11, dataAddr, 0, 8}},
	{"sigaltstack", unix.SYS_SIGALTSTACK, []uint64{dataAddr, 0}},
	{"exit", unix.SYS_EXIT, []uint64{0}},
	{"exit_group", unix.SYS_EXIT_GROUP, []uint64{0}},
	{"prlimit64", unix.SYS_PRLIMIT64, []uint64{0, 7, dataAddr}},
	{"read", unix.SYS_READ, []uint64{3, dataAddr, 8}},
	{"write", unix.SYS_WRITE, []uint64{2, dataAddr, 8}},
	{"ioctl", unix.SYS_IOCTL, []uint64{0, 0x5412, dataAddr}},
	{"close", unix.SYS_CLOSE, []uint64{3}},
	{"mount", unix.SYS_MOUNT, []uint64{dataAddr, dataAddr, dataAddr, 0, 0}},
	{"reboot", unix.SYS_REBOOT, []uint64{0}},
	{"setpriority", unix.SYS_SETPRIORITY, []uint64{0, 0, 0}},
	{"sched_setaffinity", unix.SYS_SCHED_SETAFFINITY, []uint64{host, 8, dataAddr}},
	{"set_robust_list", unix.SYS_SET_ROBUST_LIST, []uint64{dataAddr, 24}},
	{"futex lock_pi", unix.SYS_FUTEX, []uint64{dataAddr, 6, 0, 0}},
	{"futex requeue", unix.SYS_FUTEX, []uint64{dataAddr, 3, 1, 1, dataAddr + 64}},
	{"membarrier register", unix.SYS_MEMBARRIER, []uint64{1 << 4, 0}},
	{"no such call", 4000, nil},
}

// The ways out of a runner: each system call ends in SIGSYS, naming its number.
func TestWaysOut(t *testing.T) {
	w := begin(t, func(c *Config) { c.Threads = 2 })
	copy(w.data, "/etc/passwd\x00")
	for _, c := range append(waysOut, machineWays...) {
		j := w.call("ask", 0, append([]uint64{c.nr}, c.args...)...)
		res := w.end(j)
		if f := res.Fault; f == nil || f.Signal != int(unix.SIGSYS) || f.Nr != c.nr {
			t.Errorf("%s: %+v, %v", c.name, res, f)
		}
	}
	w.well()
	if err := unix.Kill(w.Pid(), 0); err != nil {
		t.Error(err)
	}
	// What it may do, it can.
	if got := int64(w.does("ask", unix.SYS_SCHED_YIELD)); got != 0 {
		t.Errorf("sched_yield: %d", got)
	}
	if got := int64(w.does("ask", unix.SYS_MEMBARRIER, 1<<5)); got != 0 {
		t.Errorf("membarrier: %d", got)
	}
	if got := int64(w.does("ask", unix.SYS_CLOCK_GETTIME, 1, dataAddr+64)); got != 0 {
		t.Errorf("clock_gettime: %d", got)
	}
}
