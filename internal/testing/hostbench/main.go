// Hostbench measures a host: how long a load and an unload take beside how many modules
// are there, what modules, symbols and sites take of memory, and what a switch takes by
// its sites.
//
//	hostbench [-n 51] latency
//	hostbench memory
//	hostbench switch
//	hostbench [-n 51] -klink bin/klink [-dlopen PROGRAM -so FILE] command
//
// latency, memory and switch have the host in this process, command in one of its own,
// which the program klink talks to. What is compared is measured in turns.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"klink/internal/arch"
	"klink/internal/kernel"
	"klink/internal/testing/objbuild"
)

// options are what the command line says.
type options struct {
	n      int
	klink  string
	dlopen string
	so     string
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 51, "how often each thing is timed")
	flag.StringVar(&o.klink, "klink", "bin/klink", "the program klink")
	flag.StringVar(&o.dlopen, "dlopen", "", "a program that loads and unloads -so with dlopen, as a control")
	flag.StringVar(&o.so, "so", "", "a shared object as large as the small module")
	flag.Parse()
	for _, what := range flag.Args() {
		run, ok := map[string]func(options) error{
			"latency": latency, "memory": memory, "switch": switches, "command": command,
		}[what]
		if !ok {
			fmt.Fprintf(os.Stderr, "hostbench: %q: latency, memory, switch or command\n", what)
			os.Exit(2)
		}
		if err := run(o); err != nil {
			fmt.Fprintln(os.Stderr, "hostbench:", err)
			os.Exit(1)
		}
	}
}

// host is a kernel in this process, with a folder for its objects.
type host struct {
	*kernel.Kernel
	ctx context.Context
	folder
}

// folder is where objects are written.
type folder struct {
	dir     string
	machine arch.Machine
}

// batch is how many modules a crowd loads at once.
const batch = 500

// withHost boots a kernel that gives f and quiet, weakly, and calls do with it.
func withHost(do func(h *host) error) (err error) {
	h := &host{ctx: context.Background(), folder: folder{machine: kernel.HostMachine()}}
	if h.dir, err = os.MkdirTemp("", "hostbench"); err != nil {
		return err
	}
	defer os.RemoveAll(h.dir)
	if h.Kernel, err = kernel.New(kernel.Config{Machine: h.machine}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	base, err := h.base()
	if err != nil {
		return err
	}
	if _, err := h.Boot(h.ctx, []kernel.ModuleSpec{base}); err != nil {
		return err
	}
	return do(h)
}

// crowd loads the modules from number first up to before number end.
func (h *host) crowd(first, end int, make func(i int) (kernel.ModuleSpec, error)) error {
	for first < end {
		var r kernel.LoadRequest
		for ; len(r.Modules) < batch && first < end; first++ {
			m, err := make(first)
			if err != nil {
				return err
			}
			r.Modules = append(r.Modules, m)
		}
		if _, err := h.Load(h.ctx, r); err != nil {
			return err
		}
		for _, m := range r.Modules {
			os.Remove(m.Files[0].Path)
		}
	}
	return nil
}

// load loads one module.
func (h *host) load(m kernel.ModuleSpec) (*kernel.Change, error) {
	return h.Load(h.ctx, kernel.LoadRequest{Modules: []kernel.ModuleSpec{m}})
}

// unload unloads one module.
func (h *host) unload(name string) (*kernel.Change, error) {
	return h.Unload(h.ctx, kernel.UnloadRequest{Modules: []string{name}})
}

// code is what objects are made of on one machine.
type code struct {
	ret, call          []byte
	field              uint64 // of the call's relocation, from its start, bytes
	callType, wordType uint32
	addend             int64
}

var codes = map[arch.Machine]*code{
	arch.AMD64: {ret: []byte{0xc3}, call: []byte{0xe8, 0, 0, 0, 0}, field: 1, callType: 4, wordType: 1, addend: -4}, // R_X86_64_PLT32, R_X86_64_64
	arch.ARM64: {ret: []byte{0xc0, 0x03, 0x5f, 0xd6}, call: []byte{0, 0, 0, 0x94}, callType: 283, wordType: 257},    // R_AARCH64_CALL26, R_AARCH64_ABS64
}

// write puts an object into the folder and returns the module that it is.
func (f folder) write(name string, object []byte) (kernel.ModuleSpec, error) {
	path := filepath.Join(f.dir, name+".kmod")
	return kernel.ModuleSpec{As: name, Files: []kernel.Source{{Name: name + ".kmod", Path: path}}}, os.WriteFile(path, object, 0o600)
}

// base is the kernel's object: f and quiet, both weak.
func (f folder) base() (kernel.ModuleSpec, error) {
	ret := codes[f.machine].ret
	n := uint64(len(ret))
	b := objbuild.New(f.machine).Text(".text", slices.Concat(ret, ret)).Weak("f", 0, n).Weak("quiet", n, n)
	return f.write("base", b.Bytes())
}

// member is module i of a crowd: it gives so many functions of its own, calls f so often,
// and has a pointer to it.
func (f folder) member(i, functions, calls int) (kernel.ModuleSpec, error) {
	c := codes[f.machine]
	var text []byte
	for range functions {
		text = append(text, c.ret...)
	}
	at := uint64(len(text))
	for range calls {
		text = append(text, c.call...)
	}
	name := fmt.Sprintf("m%d", i)
	b := objbuild.New(f.machine).Text(".text", append(text, c.ret...))
	for j := range functions {
		b.Global(fmt.Sprintf("%s_f%d", name, j), uint64(j*len(c.ret)), uint64(len(c.ret)))
	}
	for j := range calls {
		b.Reloc(at+uint64(j*len(c.call))+c.field, c.callType, "f", c.addend)
	}
	b.Data(".data", make([]byte, 8)).Reloc(0, c.wordType, "f", 0).Undef("f")
	return f.write(name, b.Bytes())
}

// one is a member of one function and one call.
func (f folder) one(i int) (kernel.ModuleSpec, error) { return f.member(i, 1, 1) }

// small is the module that is loaded and unloaded: it overrides quiet, which nobody
// calls, gives a function of its own, calls both that and f, and has a pointer to f.
func (f folder) small() (kernel.ModuleSpec, error) {
	c := codes[f.machine]
	n, l := uint64(len(c.ret)), uint64(len(c.call))
	b := objbuild.New(f.machine).Text(".text", slices.Concat(c.ret, c.ret, c.call, c.call, c.ret)).
		Global("own", 0, n).Global("quiet", n, n).
		Reloc(2*n+c.field, c.callType, "f", c.addend).Reloc(2*n+l+c.field, c.callType, "own", c.addend)
	b.Data(".data", make([]byte, 8)).Reloc(0, c.wordType, "f", 0).Undef("f")
	return f.write("small", b.Bytes())
}

// over is the module that overrides f.
func (f folder) over() (kernel.ModuleSpec, error) {
	ret := codes[f.machine].ret
	return f.write("over", objbuild.New(f.machine).Text(".text", ret).Global("f", 0, uint64(len(ret))).Bytes())
}

// quantile returns the p-quantile of v, which stays as it is.
func quantile[T cmp.Ordered](v []T, p float64) T {
	s := slices.Sorted(slices.Values(v))
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

// timed adds to list how long f took.
func timed(list *[]time.Duration, f func() error) error {
	start := time.Now()
	err := f()
	*list = append(*list, time.Since(start))
	return err
}

// row prints a line of a table.
func row(name string, v []time.Duration, rest string) {
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	fmt.Printf("%-38s %10.1f µs %10.1f µs %10.1f µs  %s\n", name, us(quantile(v, 0.5)), us(slices.Min(v)), us(quantile(v, 0.9)), rest)
}

// head prints the line above.
func head(what, rest string) {
	fmt.Printf("%-38s %13s %13s %13s  %s\n", what, "median", "least", "90 %", rest)
}
