package main

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(sampled{m}, map[string]func(){"klink": main, "readimage": readImage, "into": into})
}

// Each script has hosts of its own, which end with it. Beside testscript's own
// commands there are:
//
//	exits N klink ARG…   run it; the exit code must be N. For stdout, stderr and cmp
//	                     it is as if exec had run it
//	killhost NAME        end the host's process at once, with SIGKILL
//	killrunner NAME      end the process that runs the host's modules, with SIGKILL
//	signalhost NAME      send it SIGTERM and wait until it is gone
//	nohost NAME          fail if the host's process runs
//	runner VAR NAME      set VAR to the process that runs the host's modules
//	norunner PID         wait until it is gone
//	eventually REGEXP COMMAND…
//	                     run it again and again until its output matches, with ! until
//	                     it does not; the exit code does not matter
//	capture VAR REGEXP   set VAR to what the group matches in the last stdout
//	comes FILE REGEXP    wait until the file's text matches
//	mode FILE MODE       fail unless the file's type and permissions are MODE: "Srw-------"
//	objs MACHINE OBJ…    copy fixtures here, without the machine in their names:
//	                     "objs arm64 bpf/kernel.o" makes kernel.o of bpf/kernel.arm64.o
//	cut FILE N NEW       copy the first N bytes of FILE
//	makeobj MACHINE FILE WORD…
//	                     write an object of small functions, a WORD each: func=F, weak=F,
//	                     protected=F (weak, too), notype=F, with ">G" at the end if F calls
//	                     G; wrong=F>G has the relocation of a call, but no call; data=D is
//	                     data, pointer=S holds an address, so does ctor=F in .init_array.
//	                     Names are written as in Go strings.
//
// And there is a program, "exec readimage FILE", which prints the ELF file that
// klink link -o wrote, as debug/elf reads it; and "exec into FILE COMMAND…", which
// writes the command's stdout to the file as it comes.
//
// $MACHINE is the machine that runs here, as objs wants it: amd64 or arm64. objs is
// testdata/objs of the repository, read-only by agreement; $RUN is where the
// hosts' sockets are.
func TestScripts(t *testing.T) {
	objs, err := filepath.Abs("../../testdata/objs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(objs); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			run, err := os.MkdirTemp("", "klink")
			if err != nil {
				return err
			}
			e.Defer(func() {
				killAll(filepath.Join(run, "klink"))
				if err := os.RemoveAll(run); err != nil {
					t.Errorf("remove %s: %v", run, err)
				}
			})
			e.Setenv("XDG_RUNTIME_DIR", run)
			e.Setenv("RUN", filepath.Join(run, "klink"))
			e.Setenv("OBJS", "objs")
			e.Setenv("MACHINE", runtime.GOARCH)
			e.Setenv("KLINK_HOST", "")
			e.Setenv("KLINK_PATH", "")
			return os.Symlink(objs, filepath.Join(e.WorkDir, "objs"))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":      cmdExits,
			"killhost":   func(ts *testscript.TestScript, neg bool, args []string) { endHost(ts, neg, args, syscall.SIGKILL) },
			"signalhost": func(ts *testscript.TestScript, neg bool, args []string) { endHost(ts, neg, args, syscall.SIGTERM) },
			"killrunner": cmdKillRunner,
			"nohost":     cmdNoHost,
			"runner":     cmdRunner,
			"norunner":   cmdNoRunner,
			"eventually": cmdEventually,
			"capture":    cmdCapture,
			"comes":      cmdComes,
			"mode":       cmdMode,
			"objs":       cmdObjs,
			"cut":        cmdCut,
			"makeobj":    cmdMakeObj,
		},
	})
}

// cmdExits is "exits N COMMAND…".
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// hostPid returns the process of the host whose lock this is, or 0 if there is none.
func hostPid(lock string) (int, error) {
	f, err := os.Open(lock)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, nil // nobody holds it; closing gives it back
	}
	b, err := os.ReadFile(lock)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// endProcess sends the process a signal and waits until it is gone.
func endProcess(pid int, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// killAll ends the hosts whose locks are in dir.
func killAll(dir string) {
	locks, _ := filepath.Glob(filepath.Join(dir, "*.lock"))
	for _, l := range locks {
		if pid, err := hostPid(l); err == nil && pid > 0 {
			_ = endProcess(pid, syscall.SIGKILL) // the script's end; nothing more can be done
		}
	}
}

// lockOf returns the path of a host's lock.
func lockOf(ts *testscript.TestScript, name string) string {
	return filepath.Join(ts.Getenv("RUN"), name+".lock")
}

// endHost is killhost and signalhost.
func endHost(ts *testscript.TestScript, neg bool, args []string, sig syscall.Signal) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killhost NAME, signalhost NAME")
	}
	pid, err := hostPid(lockOf(ts, args[0]))
	ts.Check(err)
	if pid == 0 {
		ts.Fatalf("no host %s", args[0])
	}
	ts.Check(endProcess(pid, sig))
}

// cmdNoHost is "nohost NAME".
func cmdNoHost(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: nohost NAME")
	}
	pid, err := hostPid(lockOf(ts, args[0]))
	ts.Check(err)
	if (pid == 0) == neg {
		ts.Fatalf("the host's process is %d", pid)
	}
}

// cmdMode is "mode FILE MODE".
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	fi, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprint(fi.Mode()); got != args[1] {
		ts.Fatalf("%s: mode %s, want %s", args[0], got, args[1])
	}
}

// machines are the names of machines in those of fixtures.
var machines = map[string]arch.Machine{"amd64": arch.AMD64, "arm64": arch.ARM64}

// cmdObjs is "objs MACHINE OBJ…".
func cmdObjs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || machines[args[0]] == 0 {
		ts.Fatalf("usage: objs amd64|arm64 DIR/NAME.o…")
	}
	for _, name := range args[1:] {
		ext := filepath.Ext(name)
		b, err := os.ReadFile(ts.MkAbs(filepath.Join(ts.Getenv("OBJS"), strings.TrimSuffix(name, ext)+"."+args[0]+ext)))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(filepath.Base(name)), b, 0o666))
	}
}

// cmdCut is "cut FILE N NEW".
func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut FILE N NEW")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if n < 0 || n > len(b) {
		ts.Fatalf("%s has %d bytes", args[0], len(b))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), b[:n], 0o666))
}

// codes are small functions: one that returns, and one that calls another first.
var codes = map[arch.Machine]struct {
	ret, call []byte
	at        uint64 // of the call's relocation
	typ       uint32
	addend    int64
	word      uint32 // type of a 64-bit address
}{
	arch.AMD64: {
		ret:  []byte{0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc}, // ret; int3…
		call: []byte{0xe8, 0, 0, 0, 0, 0xc3, 0xcc, 0xcc},             // call g; ret; int3…
		at:   1, typ: uint32(elf.R_X86_64_PLT32), addend: -4, word: uint32(elf.R_X86_64_64),
	},
	arch.ARM64: {
		ret:  []byte{0xc0, 0x03, 0x5f, 0xd6, 0, 0, 0, 0}, // ret; udf #0
		call: []byte{0, 0, 0, 0x94, 0xc0, 3, 0x5f, 0xd6}, // bl g; ret
		typ:  uint32(elf.R_AARCH64_CALL26), word: uint32(elf.R_AARCH64_ABS64),
	},
}

// cmdMakeObj is "makeobj MACHINE FILE WORD…".
func cmdMakeObj(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || machines[args[0]] == 0 {
		ts.Fatalf("usage: makeobj amd64|arm64 FILE WORD…")
	}
	m := machines[args[0]]
	b := objbuild.New(m)
	for i, word := range args[2:] {
		what, quoted, _ := strings.Cut(word, "=")
		name, err := strconv.Unquote(`"` + quoted + `"`)
		ts.Check(err)
		switch what {
		case "data":
			b.Data(fmt.Sprintf(".data.%d", i), make([]byte, 8)).Global(name, 0, 8).As(objbuild.Object)
			continue
		case "pointer":
			b.Data(fmt.Sprintf(".data.%d", i), make([]byte, 8)).Reloc(0, codes[m].word, name, 0)
			continue
		case "ctor":
			b.Data(".init_array", make([]byte, 8)).Reloc(0, codes[m].word, name, 0)
			continue
		}
		name, callee, calls := strings.Cut(name, ">")
		code, section := codes[m].ret, fmt.Sprintf(".text.%d", i)
		if calls && what != "wrong" {
			code, section = codes[m].call, ".text."+callee
		}
		b.Text(section, code)
		switch what {
		case "func", "wrong":
			b.Global(name, 0, 8)
		case "weak":
			b.Weak(name, 0, 8)
		case "protected":
			b.Weak(name, 0, 8).Protected()
		case "notype":
			b.Global(name, 0, 0).As(objbuild.NoType)
		default:
			ts.Fatalf("%s is none of func, weak, protected, notype, wrong, data, pointer, ctor", what)
		}
		if calls {
			b.Reloc(codes[m].at, codes[m].typ, callee, codes[m].addend).Undef(callee)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o666))
}

// readImage is the program readimage.
func readImage() {
	if err := printImage(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// printImage prints what debug/elf finds in a file: header, segments, sections with
// addresses, symbols, and the bytes of small sections.
func printImage(file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	fmt.Printf("%v %v %v entry %#x\n", f.Class, f.Type, f.Machine, f.Entry)
	for _, p := range f.Progs {
		fmt.Printf("%v %v at %#x, %d of %d bytes, align %#x\n", p.Type, p.Flags, p.Vaddr, p.Filesz, p.Memsz, p.Align)
	}
	for _, s := range f.Sections {
		if s.Addr == 0 {
			continue
		}
		fmt.Printf("%s %v %v at %#x, %d bytes", s.Name, s.Type, s.Flags, s.Addr, s.Size)
		if s.Type != elf.SHT_NOBITS {
			b, err := s.Data()
			if err != nil {
				return err
			}
			if len(b) <= 32 {
				fmt.Printf(": %x", b)
			}
		}
		fmt.Println()
	}
	syms, err := f.Symbols()
	for _, s := range syms {
		where := fmt.Sprint(s.Section)
		if int(s.Section) < len(f.Sections) && s.Section != 0 {
			where = f.Sections[s.Section].Name
		}
		fmt.Printf("%#x %d %v %v %s %s\n", s.Value, s.Size, elf.ST_TYPE(s.Info), elf.ST_BIND(s.Info), where, s.Name)
	}
	return err
}
