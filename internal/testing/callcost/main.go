// Callcost measures what calls cost under klink, and what it costs to move them.
//
//	callcost -objs testdata/objs [cost] [switch] [gate]
//
// cost times a call through a site beside a call that a static linker bound, a vector
// of operations, a PLT and a hook with a reference count, in turns. switch moves 1,000
// sites that a thread runs through without pause, then 100,000. gate times going in and
// out of a gate beside other ways to count who is inside, in turns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"klink/internal/arch"
	"klink/internal/kernel"
	"klink/internal/testing/words"
)

func main() {
	objs := flag.String("objs", "testdata/objs", "folder of the fixtures")
	rounds := flag.Int("rounds", 401, "how often each loop is timed, at most 1024")
	calls := flag.Int("calls", 20000, "of each loop, a multiple of 8")
	pairRounds := flag.Int("pair-rounds", 101, "how often each loop of pairs is timed, at most 256")
	switches := flag.Int("switches", 200, "of 1,000 sites")
	flag.Parse()
	what := flag.Args()
	if len(what) == 0 {
		what = []string{"cost", "switch", "gate"}
	}
	for _, w := range what {
		var err error
		switch w {
		case "cost":
			err = with(*objs, os.Stdout, func(b *bench) error { return b.costs(*rounds, *calls) })
		case "switch":
			err = with(*objs, os.Stdout, func(b *bench) error { return b.switching(*switches, 1000, 100_000) })
		case "gate":
			err = with(*objs, os.Stdout, func(b *bench) error { return b.pairs(*pairRounds, *calls) })
		default:
			err = fmt.Errorf("%q: cost, switch or gate", w)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "callcost:", err)
			os.Exit(1)
		}
	}
}

// The layout of struct callcost (testdata/objs/callcost/rounds.c, which asserts the
// same numbers), bytes.
const (
	offStop  = 0x00
	offPhase = 0x04
	offNow   = 0x08
	offWalks = 0x10
	offGap   = 0x30
	offPer   = 0x50
	offCount = 0x58 // of samples
	offTicks = 0x80

	loops      = 6
	maxRounds  = 1024
	offSample  = offTicks + maxRounds*loops*8
	maxSamples = 4096
	sharedSize = offSample + maxSamples*8
)

// bench is a kernel in this process.
type bench struct {
	k       *kernel.Kernel
	ctx     context.Context
	objs    string
	dir     string    // for objects that are made up
	out     io.Writer // for tables
	machine arch.Machine
	shared  words.Words // struct callcost
}

// with boots the kernel with the fixtures, calls f, and ends it. Tables go to out.
func with(objs string, out io.Writer, f func(*bench) error) (err error) {
	m := kernel.HostMachine()
	b := &bench{ctx: context.Background(), objs: objs, out: out, machine: m}
	if b.dir, err = os.MkdirTemp("", "callcost"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.k, err = kernel.New(kernel.Config{Machine: m}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.k.Close()) }()
	if _, err := b.k.Boot(b.ctx, []kernel.ModuleSpec{{Files: []kernel.Source{b.file("rounds.o"), b.file("cost.o")}}}); err != nil {
		return err
	}
	at, size, err := b.symbol(kernel.KernelName, "callcost")
	if err != nil {
		return err
	}
	if size != sharedSize {
		return fmt.Errorf("struct callcost has %d bytes, not %d: build the fixtures again", size, sharedSize)
	}
	b.shared = b.k.Data(at, size)
	return f(b)
}

// file names a fixture: "cost.o" is cost.amd64.o on that machine.
func (b *bench) file(name string) kernel.Source {
	ext := filepath.Ext(name)
	name = name[:len(name)-len(ext)] + "." + b.machine.Facts().GOARCH + ext
	return kernel.Source{Name: name, Path: filepath.Join(b.objs, "callcost", name)}
}

func (b *bench) symbol(module, name string) (at kernel.Addr, size uint64, err error) {
	syms, err := b.k.Symbols([]string{name}, module)
	if err != nil {
		return 0, 0, err
	}
	return syms[0].Addr, syms[0].Size, nil
}

// load loads one module under that name.
func (b *bench) load(name string, file kernel.Source) (*kernel.Change, error) {
	return b.k.Load(b.ctx, kernel.LoadRequest{Modules: []kernel.ModuleSpec{{As: name, Files: []kernel.Source{file}}}})
}

func (b *bench) unload(module string) (*kernel.Change, error) {
	return b.k.Unload(b.ctx, kernel.UnloadRequest{Modules: []string{module}})
}

// call calls a function of the kernel, and makes an error of a fault.
func (b *bench) call(function string, args ...uint64) (*kernel.CallReport, error) {
	r, err := b.k.Call(b.ctx, request(function, args))
	if err != nil {
		return nil, err
	}
	return r, finished(r)
}

func request(function string, args []uint64) kernel.CallRequest {
	r := kernel.CallRequest{Function: kernel.KernelName + ":" + function, Limit: -1}
	for _, a := range args {
		r.Args = append(r.Args, kernel.Arg{Word: a})
	}
	return r
}

// finished returns an error for a call that did not return.
func finished(r *kernel.CallReport) error {
	switch {
	case len(r.Faults) > 0:
		f := r.Faults[0]
		return fmt.Errorf("%s was given up: %s at %s+%#x", r.Function, f.What, f.At.Func, f.At.Offset)
	case r.State != kernel.JobDone:
		return fmt.Errorf("%s: %s %s", r.Function, r.State, r.Lost)
	}
	return nil
}

// quantile returns the p-quantile of v, which is not changed.
func quantile[T int64 | float64](v []T, p float64) T {
	s := slices.Sorted(slices.Values(v))
	return s[min(len(s)-1, int(p*float64(len(s))))]
}
