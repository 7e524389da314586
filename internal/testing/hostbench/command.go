package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"klink/internal/kernel"
)

// hostName is what the host of its own is called; others on the machine are left alone.
const hostName = "hostbench"

// contender is a process that is timed from before its start to after its end.
type contender struct {
	name  string
	argv  []string
	times []time.Duration
}

// command times whole commands against a host in a process of its own: start, talk,
// answer, end. Beside them the least that a process takes, and klink without a host.
func command(o options) error {
	dir, err := os.MkdirTemp("", "hostbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := folder{dir: dir, machine: kernel.HostMachine()}
	klink, err := filepath.Abs(o.klink)
	if err != nil {
		return err
	}
	host := func(args ...string) []string {
		return append([]string{klink, "-H", fmt.Sprint(hostName, os.Getpid())}, args...)
	}
	base, err := f.base()
	if err != nil {
		return err
	}
	small, err := f.small()
	if err != nil {
		return err
	}
	head("whole commands, modules there", "to the first")
	for _, n := range crowds {
		if err := execute(host("boot", base.Files[0].Path)); err != nil {
			return err
		}
		list := []*contender{
			{name: "a process that does nothing", argv: []string{"/bin/true"}},
			{name: "klink version, no host asked", argv: []string{klink, "version", "--json"}},
			{name: "klink jobs: a round trip", argv: host("jobs")},
			{name: "klink load", argv: host("load", small.Files[0].Path)},
			{name: "klink unload", argv: host("unload", "small")},
		}
		if o.dlopen != "" {
			list = append(list, &contender{name: "dlopen and dlclose in C", argv: []string{o.dlopen, o.so}})
		}
		err := f.fill(n, host)
		if err == nil {
			err = turns(list, o.n)
		}
		if herr := execute(host("halt")); err == nil {
			err = herr
		}
		if err != nil {
			return err
		}
		first := quantile(list[0].times, 0.5)
		for _, c := range list {
			row(fmt.Sprintf("%s, %d", c.name, n), c.times, fmt.Sprintf("%.2f", float64(quantile(c.times, 0.5))/float64(first)))
		}
	}
	return nil
}

// fill loads n modules by commands.
func (f folder) fill(n int, host func(...string) []string) error {
	for i := 0; i < n; {
		args := []string{"load"}
		for ; len(args) <= batch && i < n; i++ {
			m, err := f.one(i)
			if err != nil {
				return err
			}
			args = append(args, m.Files[0].Path)
		}
		if err := execute(host(args...)); err != nil {
			return err
		}
	}
	return nil
}

// turns runs every contender once to warm up, then n times in turns.
func turns(list []*contender, n int) error {
	for i := range n + 1 {
		for _, c := range list {
			if err := timed(&c.times, func() error { return execute(c.argv) }); err != nil {
				return err
			}
			if i == 0 {
				c.times = nil
			}
		}
	}
	return nil
}

func execute(argv []string) error {
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%.500s", argv[0], err, out.String())
	}
	return nil
}
