package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"klink/internal/arch"
)

// set is one set of tests: what becomes a line a machine of the table.
type set struct {
	name    string
	folder  string // below the corpus's
	lit     bool   // LLVM's way, else binutils'
	machine string // binutils: GOARCH of the assembler
}

// sets are the tests, in the order of the table.
var sets = []set{
	{name: "jitlink", folder: "llvm/llvm/test/ExecutionEngine/JITLink", lit: true},
	{name: "runtimedyld", folder: "llvm/llvm/test/ExecutionEngine/RuntimeDyld", lit: true},
	{name: "lld", folder: "llvm/lld/test/ELF", lit: true},
	{name: "ld-aarch64", folder: "binutils/ld/testsuite/ld-aarch64", machine: "arm64"},
	{name: "ld-x86-64", folder: "binutils/ld/testsuite/ld-x86-64", machine: "amd64"},
	{name: "ld-elf-amd64", folder: "binutils/ld/testsuite/ld-elf", machine: "amd64"},
	{name: "ld-elf-arm64", folder: "binutils/ld/testsuite/ld-elf", machine: "arm64"},
	{name: "gas-aarch64", folder: "binutils/gas/testsuite/gas/aarch64", machine: "arm64"},
	{name: "gas-x86-64", folder: "binutils/gas/testsuite/gas/i386", machine: "amd64"},
	{name: "gas-elf-amd64", folder: "binutils/gas/testsuite/gas/elf", machine: "amd64"},
	{name: "gas-elf-arm64", folder: "binutils/gas/testsuite/gas/elf", machine: "arm64"},
}

// assemblers are GNU as, by GOARCH.
var assemblers = map[string][]string{
	"amd64": {"x86_64-linux-gnu-as", "as"},
	"arm64": {"aarch64-linux-gnu-as", "as"},
}

// llvmTools are the programs of LLVM that tests run, by the name they have there.
var llvmTools = map[string]string{"llvm-mc": "llvm-mc-19", "yaml2obj": "yaml2obj-19"}

// maker assembles one set.
type maker struct {
	ctx   context.Context
	set   set
	from  string            // the set's folder
	to    string            // objects go to to/GOARCH
	tools map[string]string // as lit.tools

	mu     sync.Mutex
	seen   map[[32]byte]bool
	counts made
}

// made is what became of a set's tests.
type made struct {
	tests, objects, others int // others: objects of other machines and formats
	failed                 []string
}

// assemble makes the objects of a set. Equal ones are kept once.
func assemble(ctx context.Context, s set, corpus, to string) (*made, error) {
	m := &maker{ctx: ctx, set: s, from: filepath.Join(corpus, s.folder), to: to, seen: map[[32]byte]bool{}}
	if err := m.findTools(); err != nil {
		return nil, err
	}
	for _, a := range []string{"amd64", "arm64"} {
		if err := os.MkdirAll(filepath.Join(to, a), 0o777); err != nil {
			return nil, err
		}
	}
	var jobs []func() error
	var err error
	if s.lit {
		jobs, err = m.litJobs()
	} else {
		jobs, err = m.gasJobs()
	}
	if err != nil {
		return nil, err
	}
	m.counts.tests = len(jobs)
	if err := each(len(jobs), func(i int) error { return jobs[i]() }); err != nil {
		return nil, err
	}
	slices.Sort(m.counts.failed)
	return &m.counts, nil
}

// findTools looks for the programs.
func (m *maker) findTools() error {
	m.tools = map[string]string{}
	if m.set.lit {
		for as, name := range llvmTools {
			path, err := exec.LookPath(name)
			if err != nil {
				return fmt.Errorf("%w (scripts/tools.sh rare brings it)", err)
			}
			m.tools[as] = path
		}
		return nil
	}
	for _, name := range assemblers[m.set.machine] {
		if path, err := exec.LookPath(name); err == nil {
			m.tools["as"] = path
			return nil
		}
	}
	return fmt.Errorf("no GNU as for %s on PATH", m.set.machine)
}

// ours matches what a test says that is for a machine of klink's.
var ours = regexp.MustCompile(`(?i)x86[-_]64|amd64|aarch64|arm64`)

// litJobs lists the tests of LLVM.
func (m *maker) litJobs() ([]func() error, error) {
	var jobs []func() error
	err := filepath.WalkDir(m.from, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "Inputs":
			return fs.SkipDir
		case d.IsDir() || !slices.Contains([]string{".s", ".test", ".yaml"}, filepath.Ext(path)):
			return nil
		}
		if text, err := os.ReadFile(path); err != nil || !ours.Match(text) {
			return err
		}
		jobs = append(jobs, func() error { return m.litTest(path) })
		return nil
	})
	return jobs, err
}

// litTest makes the objects of one test of LLVM.
func (m *maker) litTest(path string) error {
	dir, err := os.MkdirTemp("", "klink-rare.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l := &lit{ctx: m.ctx, source: path, dir: dir, tools: m.tools, define: map[string]uint64{}}
	if err := l.run(); err != nil {
		return err
	}
	rel, _ := filepath.Rel(m.from, path)
	m.note(rel, l.failed)
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		part, _ := filepath.Rel(dir, file)
		if l.crafted {
			part += craftedSuffix
		}
		return m.keep(rel+"@"+strings.TrimPrefix(part, filepath.Base(path)+"."), file, l.define)
	})
}

// gasJobs lists the tests of binutils.
func (m *maker) gasJobs() ([]func() error, error) {
	sources, err := gasSources(m.from)
	if err != nil {
		return nil, err
	}
	var jobs []func() error
	for i, s := range sources {
		jobs = append(jobs, func() error { return m.gasTest(i, s) })
	}
	return jobs, nil
}

// gasTest makes the object of one source.
func (m *maker) gasTest(i int, s source) error {
	dir, err := os.MkdirTemp("", "klink-rare.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "a.o")
	l := &lit{ctx: m.ctx, dir: dir, cwd: dir}
	args := append(slices.Clone(s.as), "-I", m.from, "-o", out, s.path)
	if _, _, err := l.tool(m.tools["as"], args, nil); err != nil {
		return err
	}
	m.note(filepath.Base(s.path), l.failed)
	if _, err := os.Stat(out); err != nil {
		return nil // not assembled
	}
	return m.keep(fmt.Sprintf("%s@%d", filepath.Base(s.path), i), out, nil)
}

// note keeps what failed.
func (m *maker) note(test string, failed []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range failed {
		m.counts.failed = append(m.counts.failed, test+": "+f)
	}
}

// keep copies an object of one of klink's machines, of whatever class and byte order,
// unless the set has it already; beside it goes what the test says of names.
func (m *maker) keep(name, file string, define map[string]uint64) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	machine, isObject := machineOf(data)
	if !isObject {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	facts := machine.Facts()
	if facts == nil {
		m.counts.others++
		return nil
	}
	sum := sha256.Sum256(data)
	if m.seen[sum] {
		return nil
	}
	m.seen[sum] = true
	m.counts.objects++
	name = strings.NewReplacer("/", "_", ".tmp", "").Replace(name)
	to := filepath.Join(m.to, facts.GOARCH, name)
	if len(define) > 0 {
		said, err := json.Marshal(define)
		if err == nil {
			err = os.WriteFile(to+definesSuffix, said, 0o666)
		}
		if err != nil {
			return err
		}
	}
	return os.WriteFile(to+".o", data, 0o666)
}

// craftedSuffix ends the names, before .o, of objects that no assembler made.
const craftedSuffix = ".crafted"

// definesSuffix ends the name of the file, in JSON, with the values that a test gives to
// names.
const definesSuffix = ".define"

// machineOf returns e_machine of an ELF file of type ET_REL, in either byte order.
func machineOf(data []byte) (m arch.Machine, ok bool) {
	const (
		eiData, eType, eMachine, head = 5, 16, 18, 52
		etRel, bigEndian              = 1, 2
	)
	if len(data) < head || !bytes.HasPrefix(data, []byte("\x7fELF")) {
		return 0, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if data[eiData] == bigEndian {
		order = binary.BigEndian
	}
	return arch.Machine(order.Uint16(data[eMachine:])), order.Uint16(data[eType:]) == etRel
}

// each calls f for 0 to n-1 on all processors, and returns its errors.
func each(n int, f func(i int) error) error {
	work := make(chan int)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range work {
				errs[i] = f(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	return errors.Join(errs...)
}
