package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"klink/internal/api"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/kernel"
)

// OS returns the system that the klink program runs in.
func OS() System {
	return System{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Getenv: os.Getenv, Getwd: os.Getwd,
		Build: Build{Version: version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH},
		Hosts: func() (api.Hosts, error) {
			dir, err := api.RuntimeDir(os.Getenv)
			if err != nil {
				return nil, err
			}
			return &api.Sockets{Dir: dir, Command: hostCommand}, nil
		},
		Local:   func() *api.Local { return api.NewLocal(newKernel, os.Stderr) },
		RunHost: func(name string) error { return api.RunHost(name, newKernel) },
		Check: func(files []kernel.Source) ([]kernel.CheckReport, error) {
			defer collectLate(sizeOf(files))()
			return kernel.Check(files)
		},
		Link: func(r kernel.LinkRequest) (*kernel.LinkReport, error) {
			var files []kernel.Source
			for _, m := range r.Modules {
				files = append(files, m.Files...)
			}
			r.Size = sizeOf(files)
			defer collectLate(r.Size)()
			return kernel.Link(r)
		},
		LookPath: exec.LookPath,
		Execute: func(ctx context.Context, argv []string, out io.Writer) error {
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.Stdout, cmd.Stderr = out, out
			return cmd.Run()
		},
		Spawn: spawn,
	}
}

// spawnGrace is how long a program that was told to end may take.
const spawnGrace = 5 * time.Second

// spawn is System.Spawn.
func spawn(ctx context.Context, argv, env []string, file *os.File) (code int, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), env...), []*os.File{file}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = spawnGrace
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_ = cmd.Wait() // how it ended is in its state
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return 0, fmt.Errorf("no state of process %d", cmd.Process.Pid)
	case status.Signaled():
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// tables is how much memory a link takes beside its files before garbage is
// collected, bytes. 1,121 kernel modules of 90 MB stay below it, so none is collected
// for them; what a hostile file asks for does not, and 64 MiB of it stay below 256 MiB.
const tables = 136 << 20

// collectLate makes the garbage collector wait until a link of files of so many bytes
// has used its share of memory: all of it is in use until the link ends, so that
// collecting early is work for nothing. It returns what puts the collector back.
func collectLate(size int64) (restore func()) {
	oldLimit, oldPercent := debug.SetMemoryLimit(tables+size), debug.SetGCPercent(-1)
	return func() {
		debug.SetMemoryLimit(oldLimit)
		debug.SetGCPercent(oldPercent)
	}
}

// sizeOf adds up the bytes of files, as far as they are there.
func sizeOf(files []kernel.Source) (size int64) {
	for _, f := range files {
		if st, err := os.Stat(f.Path); err == nil {
			size += st.Size()
		}
	}
	return size
}

// hostCommand returns the program of a host process: this one.
func hostCommand(name string) (path string, args []string, err error) {
	path, err = os.Executable()
	if err != nil {
		return "", nil, diag.New(diag.ErrIO, "", "cannot find klink's own program: %v", err)
	}
	return path, []string{"-H", name, "host"}, nil
}

// newKernel makes the kernel of a host.
func newKernel(c api.HostConfig) (api.Service, error) {
	cfg := kernel.Config{ArenaBase: uint64(c.ArenaBase), ArenaSize: c.ArenaSize, Bare: c.Bare, Threads: c.Threads}
	if c.Machine != "" {
		m, ok := arch.Parse(c.Machine)
		if !ok {
			return nil, diag.New(diag.ErrUsage, "", "no machine %s", diag.Quote(c.Machine))
		}
		cfg.Machine = m
	}
	k, err := kernel.New(cfg)
	if err != nil {
		return nil, err // not a nil *Kernel in a Service
	}
	return k, nil
}

// version returns klink's version as the Go command recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
