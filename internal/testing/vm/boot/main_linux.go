// Command boot runs test programs in a virtual machine and says how each ended: one
// line if well, all that it printed if not. scripts/vm.sh builds what it needs.
//
// stdin names the programs, one a line, of words between tabs: the package's folder
// below the tree, the program's file, its arguments. The exit code is 0 if every
// program ran and passed and the machine turned itself off, else 1; 2 for a wrong use.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"klink/internal/testing/vm"
)

// options are the command line's.
type options struct {
	qemu, cpu, memory  string
	kernel, init, tree string
	console            string
	limit              time.Duration
	verbose            bool
	stdout, stderr     io.Writer
	programs           []program
}

// program is a line of stdin.
type program struct {
	folder, file string
	args         []string
}

func main() {
	o := options{stdout: os.Stdout, stderr: os.Stderr}
	flag.StringVar(&o.qemu, "qemu", "qemu-system-aarch64", "the emulator")
	flag.StringVar(&o.cpu, "cpu", "cortex-a57", "the processor it shows")
	flag.StringVar(&o.memory, "memory", "2048", "of the machine, in MiB")
	flag.StringVar(&o.kernel, "kernel", "", "Linux")
	flag.StringVar(&o.init, "init", "", "the first process, package init")
	flag.StringVar(&o.tree, "tree", ".", "the repository's root, copied into the machine")
	flag.StringVar(&o.console, "console", "", "keep all that the console showed in this `file`")
	flag.DurationVar(&o.limit, "limit", 25*time.Minute, "of everything")
	flag.BoolVar(&o.verbose, "v", false, "show the output of what passed, too")
	flag.Parse()
	if flag.NArg() > 0 || o.kernel == "" || o.init == "" {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	if o.programs, err = readPrograms(os.Stdin); err == nil {
		err = o.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// readPrograms reads stdin.
func readPrograms(r io.Reader) ([]program, error) {
	var list []program
	for s := bufio.NewScanner(r); s.Scan(); {
		words := strings.Split(s.Text(), "\t")
		if len(words) < 2 {
			return nil, fmt.Errorf("not a folder and a file: %q", s.Text())
		}
		list = append(list, program{words[0], words[1], words[2:]})
	}
	if len(list) == 0 {
		return nil, errors.New("no packages to test")
	}
	return list, nil
}

// run packs, boots and follows.
func (o *options) run() error {
	// A kernel's command line would show the token to every job; a file does not.
	plan := vm.Plan{Token: "@" + rand.Text()}
	for _, p := range o.programs {
		argv := append([]string{vm.TestsDir + "/" + filepath.Base(p.file)}, p.args...)
		plan.Jobs = append(plan.Jobs, vm.Job{Name: p.folder, Dir: vm.TreeDir + "/" + p.folder, Argv: argv})
	}
	initrd, err := o.pack(plan)
	if initrd != "" {
		defer os.Remove(initrd)
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	return o.boot(ctx, initrd, plan)
}
