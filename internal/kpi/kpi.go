// Package kpi is the kernel's side for modules: the headers that module authors
// include, and klink's own kernel object, which implements them.
//
// The object is C and assembly (src), built by scripts/kpi.sh for both machines and
// embedded; it is linked with the user's kernel objects into the module "kernel", like
// any other object. All of its definitions are weak, so theirs win. It shares the
// memory that internal/runner/src/control.h describes with the host and the runner;
// names.txt and arm64_names.txt list what it provides.
//
// What the host has to know of it beside that:
//
//   - HeapLo and HeapHi are u64 data words: the host stores the bounds of zeroed memory
//     for kmem there, before anything runs.
//   - Its init_array sets the stack protector's canary: it runs before other code does.
//   - Settle is the function, without arguments, that the runner calls on the thread of
//     every call that was given up.
//   - A kernel thread is started by a call of ThreadMain, whose one argument is the
//     address of its struct lwp (include/sys/lwp.h). The first word there is the module's
//     function, which is what the thread is for, and the address at which it is still to
//     start.
//   - Gates is the u64 head of a list of struct gate_state (src/gate.c), which also is
//     what klink_thread.gate points to: u32 slots at 4, next at 8, the module's struct
//     gate at 16, an address in the module whose gate it is at 24, u32 caught at 32, the
//     entrances and exits that went by the mutex at 40, the name (32 bytes,
//     NUL-terminated) at 72; from 128 on 64 bytes a thread, entrances at 0, exits at 8.
//   - Windows is a table with an entry (WindowEntry bytes) for each of the runner's
//     windows (src/share.c): at 0 u64 an address in the module that shares it, 0 if nobody
//     does; at 8 u64 the bytes that it asked for; at WindowName the name, 32 bytes,
//     NUL-terminated. The host makes entries free, by a 0 at 0, and does nothing else to them.
//
// Layer 3. Imports: arch, diag. Everything here is safe for concurrent use.
package kpi

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"

	"klink/internal/arch"
	"klink/internal/diag"
)

// Names of the kernel object that the host uses; see the package's description.
const (
	HeapLo     = "klink_heap_lo"
	HeapHi     = "klink_heap_hi"
	Settle     = "klink_settle"
	ThreadMain = "klink_kthread_main"
	Gates      = "gate_list"
	Windows    = "klink_windows"
)

// The table of windows; see the package's description.
const (
	WindowEntry = 56
	WindowName  = 24
)

//go:embed klink.amd64.o klink.arm64.o
var objects embed.FS

//go:embed include
var headers embed.FS

// Object returns the kernel object for m, a relocatable ELF file; nil for a machine
// that klink does not link for. The slice is the caller's.
func Object(m arch.Machine) []byte {
	f := m.Facts()
	if f == nil {
		return nil
	}
	b, err := objects.ReadFile("klink." + f.GOARCH + ".o")
	if err != nil {
		return nil
	}
	return b
}

// Headers returns the headers for module authors: sys/module.h, klink/gate.h and so on.
func Headers() fs.FS {
	sub, err := fs.Sub(headers, "include")
	if err != nil {
		panic("BUG: " + err.Error()) // the name is a valid path
	}
	return sub
}

// WriteHeaders writes all headers below dir, which it makes if need be. Files of other
// names there are left alone. It gives diag.ErrIO when the system refuses something.
func WriteHeaders(dir string) error {
	h := Headers()
	return fs.WalkDir(h, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if d.IsDir() {
			return wrap(os.MkdirAll(to, 0o777))
		}
		b, err := fs.ReadFile(h, name)
		if err != nil {
			return err
		}
		return wrap(os.WriteFile(to, b, 0o666))
	})
}

// wrap makes a diag.ErrIO of an error of the system.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return diag.New(diag.ErrIO, "", "cannot write headers: %v", err)
}

// CompileFlags returns the flags with which a C compiler of the gcc family makes a
// module for m of one file, include being the folder that WriteHeaders wrote to. The
// caller adds the compiler's own include folder (-isystem), the source and the output.
// clang's assembler has no -mshared and needs none: leave out Shared for it.
//
// The slice is the caller's; nil for a machine that klink does not link for.
func CompileFlags(m arch.Machine, include string) []string {
	if m.Facts() == nil {
		return nil
	}
	flags := []string{
		"-c", "-O2", "-g",
		// A kernel's environment: no libc, its headers neither.
		"-ffreestanding", "-nostdinc", "-I", include,
		"-D_KERNEL", "-D_MODULE", "-DDIAGNOSTIC",
		// Addresses are fixed at load and below 2 GiB: direct calls, no GOT.
		"-fno-pic", "-fno-pie",
		// Each variable has one home.
		"-fno-common",
		// Threads inside are found by unwinding their stacks.
		"-fasynchronous-unwind-tables",
		// Kernel code casts between structures.
		"-fno-strict-aliasing",
	}
	if m == arch.AMD64 {
		flags = append(flags, Shared)
	}
	return flags
}

// Shared is the flag that makes GNU as keep the relocations of jumps to global names of
// the same file; without it they cannot follow their symbols.
const Shared = "-Wa,-mshared"
