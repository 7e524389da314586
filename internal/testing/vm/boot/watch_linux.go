package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"klink/internal/testing/vm"
)

// keepLines is how much of the console is shown when the machine fails.
const keepLines = 40

// boot runs the machine and follows its console until its end.
func (o *options) boot(ctx context.Context, initrd string, plan vm.Plan) error {
	// The parent-death signal comes when this thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, o.qemu,
		"-M", "virt", "-cpu", o.cpu, "-smp", "1", "-m", o.memory, "-accel", "tcg",
		"-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", o.kernel, "-initrd", initrd,
		"-append", "console=ttyAMA0 loglevel=4 panic=-1 oops=panic")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = o.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	c := &console{token: plan.Token, report: vm.Report{Jobs: plan.Jobs}, began: time.Now(), o: o}
	if o.console != "" {
		if c.copy, err = os.Create(o.console); err != nil {
			return err
		}
		defer c.copy.Close()
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	followed := c.follow(out)
	if followed != nil {
		_ = cmd.Process.Kill() // what it would still say counts no more
	}
	ended := cmd.Wait()
	return c.judge(ctx, followed, ended)
}

// console is what is known of the machine.
type console struct {
	token  string
	report vm.Report
	began  time.Time
	last   []string // its last lines that are no events
	copy   *os.File // or nil
	o      *options
}

// follow reads the console to its end; an error is a wrong event.
func (c *console) follow(out io.Reader) error {
	for r := bufio.NewReaderSize(out, 64<<10); ; {
		line, err := r.ReadString('\n')
		if c.copy != nil {
			if _, err := c.copy.WriteString(line); err != nil {
				return err
			}
		}
		e, is, bad := vm.ParseLine(c.token, line)
		switch {
		case bad != nil:
			return bad
		case is:
			if err := c.report.Add(e); err != nil {
				return err
			}
			c.show(e)
		case strings.TrimSpace(line) != "":
			c.last = append(c.last, strings.TrimRight(line, "\r\n"))
			c.last = c.last[max(0, len(c.last)-keepLines):]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// show prints what people want to know of an event.
func (c *console) show(e vm.Event) {
	w := c.o.stdout
	switch e.Kind {
	case vm.Up:
		fmt.Fprintf(w, "vm: Linux %s on %s, up after %.1fs\n", e.Text, c.o.cpu, time.Since(c.began).Seconds())
	case vm.End:
		name, seconds := c.report.Jobs[e.Job].Name, float64(e.Millis)/1000
		why := vm.Verdict(e)
		switch {
		case why == "" && strings.HasPrefix(e.Output, "testing: warning: no tests to run"):
			fmt.Fprintf(w, "ok    %-28s %7.2fs  no tests to run\n", name, seconds)
		case why == "":
			fmt.Fprintf(w, "ok    %-28s %7.2fs\n", name, seconds)
		default:
			fmt.Fprintf(w, "FAIL  %-28s %7.2fs  %s\n", name, seconds, why)
		}
		if why != "" || c.o.verbose {
			indent(w, "      ", e.Output)
			indent(w, "      kernel: ", e.Kernel)
		}
	}
}

// judge says in one error what went wrong, if anything did.
func (c *console) judge(ctx context.Context, followed, ended error) error {
	err := followed
	if err == nil {
		err = c.report.Err()
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("not done after %v", c.o.limit)
		if job, ok := c.report.Running(); ok {
			err = fmt.Errorf("%w: %s was running", err, job.Name)
		}
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case err == nil && ended != nil:
		err = fmt.Errorf("%s: %w", c.o.qemu, ended)
	}
	seconds := time.Since(c.began).Seconds()
	if err == nil {
		fmt.Fprintf(c.o.stdout, "vm: all of %d packages passed; off after %.1fs\n", len(c.report.Jobs), seconds)
		return nil
	}
	if !c.report.Complete() && len(c.last) > 0 {
		fmt.Fprintln(c.o.stdout, "vm: the console's last lines:")
		indent(c.o.stdout, "      ", strings.Join(c.last, "\n"))
	}
	return fmt.Errorf("%w (after %.1fs)", err, seconds)
}

func indent(w io.Writer, prefix, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(w, "%s%s\n", prefix, strings.TrimRight(line, "\n"))
	}
}
