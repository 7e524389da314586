package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/diag"
	"klink/internal/kernel"
)

// The commands that run modules' code, or wait for it.

// maxThreads is how many threads a runner has at most.
const maxThreads = 1024

// defaultValues is how many distinct values are printed.
const defaultValues = 10

func (a *app) callCmd() *cobra.Command {
	var r kernel.CallRequest
	threads, times, values := number{count: true}, number{count: true}, number{count: true, v: defaultValues, set: true}
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "call FUNCTION [ARG…]",
		Short: "call a function, and print what it returns",
		Long: `Call FUNCTION and print its value, as a signed number. FUNCTION is a symbol, called
through its entry as modules that hold its address call it, so that each call goes to
the provider then current; or MODULE:NAME, a module's own function; or an address.

An ARG is a number (42, -1, 0x2a, 0o52, 0b101010, 'c') or a text, "abc" with its quotes,
written as in C; of a text the function gets the address. A shell takes quotes away:
write '"abc"'. There are 8 at most.

With -j or -n many calls are made: each of -j THREADS makes -n TIMES of them, and a
table shows how many returned, how fast, and each distinct value with its count. falls
counts how often a thread got a lower value than just before.

A call that faults, or takes longer than --limit, is given up, and nothing else. The
place, the registers and the callers are printed, and the command exits with 6; a
caller marked with ? was found by looking through the stack, and may be none.`,
		Example: `  klink call bpf_attach
  klink call sum 1 0x10 '"abc"'
  klink call -j 4 -n 1e6 --limit 1m if_input
  klink call --detach kernel:traffic`,
		Args:              atLeastOne("FUNCTION"),
		ValidArgsFunction: a.completeFunction,
		RunE: run(func(ctx context.Context, args []string) error {
			var err error
			if r.Args, err = callArgs(args[1:]); err != nil {
				return err
			}
			switch {
			case args[0] == "":
				return usage("call: the function's name is empty")
			case times.set && times.v == 0:
				return usage("call: -n takes a number from 1 on")
			}
			if err := checkThreads("call: -j", threads); err != nil {
				return err
			}
			r.Function, r.Threads, r.Times = unmarked(args[0]), int(threads.v), times.v
			if r.Limit, err = limitOf("call", limit); err != nil {
				return err
			}
			stop := a.progress("calling " + esc(r.Function))
			rep, err := ask(ctx, a, func(c *api.Client) (*kernel.CallReport, error) { return c.Call(ctx, r) })
			stop()
			if err != nil {
				return err
			}
			switch {
			case a.json:
				printJSON(a, rep)
			case r.Detach:
				a.printf("job %d\n", rep.Job)
			default:
				a.printCall(rep, values.v)
			}
			if r.Detach { // it may have ended already: klink wait tells
				return nil
			}
			return gaveUp([]kernel.CallReport{*rep})
		}),
	}
	f := cmd.Flags()
	f.VarP(&threads, "threads", "j", "call on `THREADS` threads at the same time (default 1)")
	f.VarP(&times, "times", "n", "make `TIMES` calls on each, 1000 or 1e3 (default 1)")
	f.DurationVar(&limit, "limit", kernel.DefaultCallLimit, "how long all the calls of a thread may take; 0: as long as they do")
	f.BoolVar(&r.Detach, "detach", false, "do not wait, print the job's number for klink wait")
	f.Var(&values, "values", "print at most `N` distinct values")
	_ = cmd.RegisterFlagCompletionFunc("threads", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("times", cobra.NoFileCompletions)
	return cmd
}

// checkThreads refuses a number of threads that no runner has.
func checkThreads(flag string, n number) error {
	if n.set && (n.v == 0 || n.v > maxThreads) {
		return usage("%s takes 1 to %d", flag, maxThreads)
	}
	return nil
}

// limitOf returns a time limit as requests have it, where 0 is the host's default.
func limitOf(command string, d time.Duration) (int64, error) {
	switch {
	case d < 0:
		return 0, usage("%s: the time limit %v is below 0", command, d)
	case d == 0:
		return -1, nil
	}
	return int64(d), nil
}

// callArgs reads the arguments of a call; all that are off are reported.
func callArgs(words []string) ([]kernel.Arg, error) {
	if len(words) > kernel.MaxArgs {
		return nil, usage("call: %d arguments; a call has at most %d", len(words), kernel.MaxArgs)
	}
	var out []kernel.Arg
	var errs diag.List
	for _, w := range words {
		arg, err := callArg(unmarked(w))
		errs.Add(err)
		out = append(out, arg)
	}
	return out, errs.Err()
}

// callArg reads one argument.
func callArg(w string) (kernel.Arg, error) {
	switch {
	case strings.HasPrefix(w, `"`):
		text, err := strconv.Unquote(w)
		if err != nil {
			return kernel.Arg{}, usage("%s is not a text as in C: quotes around it, and \\ before quotes in it", printable(w))
		}
		if !utf8.ValidString(text) {
			return kernel.Arg{}, usage("%s is not UTF-8", printable(w))
		}
		return kernel.Arg{Text: text, IsText: true}, nil
	case len(w) > 2 && w[0] == '\'' && w[len(w)-1] == '\'':
		if c, _, rest, err := strconv.UnquoteChar(w[1:len(w)-1], '\''); err == nil && rest == "" {
			return kernel.Arg{Word: uint64(c)}, nil
		}
	}
	if v, err := strconv.ParseUint(w, 0, 64); err == nil {
		return kernel.Arg{Word: v}, nil
	}
	v, err := strconv.ParseInt(w, 0, 64)
	switch {
	case err == nil:
		return kernel.Arg{Word: uint64(v)}, nil
	case errors.Is(err, strconv.ErrRange):
		return kernel.Arg{}, usage("%s does not fit 64 bits", printable(w))
	}
	return kernel.Arg{}, usage(`%s is no number; texts are quoted: '"abc"'`, diag.Quote(w))
}

// mark stands before a negative argument of klink call while options are told from
// arguments: -1 is no option. No argument of a program has it.
const mark = "\x00"

// marked returns args with negative numbers marked if they are those of klink call.
func marked(root *cobra.Command, args []string) []string {
	out := append([]string{}, args...) // not nil, which would mean os.Args to cobra
	if cmd, _, err := root.Find(args); err != nil || cmd.Name() != "call" {
		return out
	}
	for i, w := range out {
		if v, err := strconv.ParseInt(w, 0, 64); strings.HasPrefix(w, "-") && (err == nil && v <= 0 || errors.Is(err, strconv.ErrRange)) {
			out[i] = mark + w
		}
	}
	return out
}

// unmarked returns an argument as it was typed.
func unmarked(arg string) string { return strings.TrimPrefix(arg, mark) }

func (a *app) jobsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "jobs",
		Short: "list the calls under way",
		Long: `List the jobs: the calls of each klink call that still run, and those of klink call
--detach that have ended and that nobody has waited for. klink wait prints their
results.`,
		Example: `  klink jobs
  klink jobs --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: run(func(ctx context.Context, _ []string) error {
			jobs, err := ask(ctx, a, func(c *api.Client) ([]kernel.CallReport, error) { return c.Jobs(ctx) })
			if err != nil {
				return err
			}
			if a.json {
				printJSON(a, list(jobs))
				return nil
			}
			t := table{right: map[int]bool{0: true, 4: true, 5: true, 6: true}}
			t.row("JOB", "FUNCTION", "MODULE", "STATE", "THREADS", "CALLS", "TIME")
			for _, j := range jobs {
				t.row(fmt.Sprint(j.Job), esc(j.Function), orDash(j.Module), j.State, fmt.Sprint(j.Threads), fmt.Sprint(j.Calls), took(j.Time))
			}
			if len(jobs) > 0 {
				t.print(&a.out, false)
			}
			return nil
		}),
	}
}

func (a *app) waitCmd() *cobra.Command {
	var r kernel.WaitRequest
	var limit time.Duration
	values := number{count: true, v: defaultValues, set: true}
	cmd := &cobra.Command{
		Use:   "wait [JOB…]",
		Short: "wait for calls, and print what they returned",
		Long: `Wait until the JOBs, or all that run now, have ended, and print their results as klink
call does. With --stop their calls are given up first, as by a time limit. The command
exits with 6 if one of them faulted or was stopped, and with 4 if --limit is over
before all have ended; those go on.`,
		Example: `  klink wait
  klink wait 3 4
  klink wait --limit 1s 3
  klink wait --stop 3`,
		ValidArgsFunction: a.completeJobs,
		RunE: run(func(ctx context.Context, args []string) error {
			var errs diag.List
			for _, w := range args {
				n, err := strconv.ParseInt(w, 10, 32)
				if err != nil || n < 1 {
					errs.Add(usage("wait: %s is not the number of a job; klink jobs lists them", diag.Quote(w)))
				}
				if !slices.Contains(r.Jobs, int(n)) {
					r.Jobs = append(r.Jobs, int(n))
				}
			}
			if err := errs.Err(); err != nil {
				return err
			}
			if limit < 0 {
				return usage("wait: the time limit %v is below 0", limit)
			}
			r.Limit = int64(limit)
			stop := a.progress("waiting")
			reps, err := ask(ctx, a, func(c *api.Client) ([]kernel.CallReport, error) { return c.Wait(ctx, r) })
			stop()
			if err != nil {
				return err
			}
			if a.json {
				printJSON(a, list(reps))
				return gaveUp(reps)
			}
			for _, rep := range reps {
				if len(reps) > 1 || rep.State == kernel.JobRunning {
					a.printf("job %d: %s, %s, %s\n", rep.Job, esc(rep.Function), rep.State, took(rep.Time))
				}
				if rep.State != kernel.JobRunning {
					a.printCall(&rep, values.v)
				}
			}
			return gaveUp(reps)
		}),
	}
	cmd.Flags().BoolVar(&r.Stop, "stop", false, "give up the calls that still run")
	cmd.Flags().DurationVar(&limit, "limit", 0, "how long to wait (default as long as it takes)")
	cmd.Flags().Var(&values, "values", "print at most `N` distinct values of each")
	return cmd
}
