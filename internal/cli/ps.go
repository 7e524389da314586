package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/kernel"
)

func (a *app) psCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "ps",
		Short: "list the threads that run modules' code, and the gates",
		Long: `List the threads that are not idle: what each runs (a job's call, a module's kernel
thread, or a function that klink itself called), the modules that it is in, innermost
first, its innermost function there, what it sleeps for, and the gates that it is
inside of. SINCE is how long it has been asleep, else how long ago its call began. A
module or place marked with ? was found by looking through the stack, and may be none.

Then the gates (klink/gate.h): whose they are, whether threads are being caught, how
many are inside, how often threads went in and out, and how much of that by the mutex.

Sleepers are not woken to be looked at. A thread in the kernel's own functions for
modules is shown where it called them.`,
		Example: `  klink ps
  klink ps --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: run(func(ctx context.Context, _ []string) error {
			rep, err := ask(ctx, a, func(c *api.Client) (*kernel.ThreadsReport, error) { return c.Threads(ctx) })
			if err != nil {
				return err
			}
			if a.json {
				printJSON(a, rep)
				return nil
			}
			a.printThreads(rep)
			a.printGates(rep)
			return nil
		}),
	}
}

// printThreads prints the threads in a table, and how many there are beside them.
func (a *app) printThreads(r *kernel.ThreadsReport) {
	t := table{right: map[int]bool{0: true}}
	t.row("THREAD", "STATE", "SINCE", "RUNS", "IN", "AT", "ASLEEP ON", "GATES")
	for _, i := range r.Threads {
		since, sleeps := took(i.Since), "-"
		if i.State == kernel.ThreadUnseen {
			since = "-"
		}
		if i.Sleep != nil {
			if sleeps = printable(i.Sleep.Why); sleeps == "" {
				sleeps = i.Sleep.On.String()
			}
		}
		gates := make([]string, len(i.Gates))
		for g, name := range i.Gates {
			gates[g] = printable(name)
		}
		t.row(fmt.Sprint(i.Thread), i.State, since, runsText(i), stackText(i.Modules), atText(i.At), sleeps, strings.Join(gates, ", "))
	}
	if len(r.Threads) > 0 {
		t.print(&a.out, false)
	}
	for _, i := range r.Threads {
		if i.Note != "" {
			a.printf("%s\n", printable(i.Note))
		}
	}
	a.printf("%s idle\n", plural(r.Idle, "thread"))
}

// runsText returns what a thread was given to do.
func runsText(t kernel.ThreadInfo) string {
	switch {
	case t.Kernel:
		return strings.TrimRight(orDash(t.Module)+": kernel thread "+printable(t.Name), " ")
	case t.Job > 0:
		return fmt.Sprintf("job %d: %s", t.Job, esc(t.Function))
	case t.Function == "":
		return "-"
	}
	return orDash(t.Module) + ": " + esc(t.Function)
}

// stackText returns a stack of modules, each called by the next.
func stackText(in []kernel.ThreadIn) string {
	if len(in) == 0 {
		return "-"
	}
	words := make([]string, len(in))
	for i, m := range in {
		words[i] = guessed(esc(m.Module), m.Guess)
	}
	return strings.Join(words, " ← ")
}

// guessed marks what was found by looking through the stack.
func guessed(s string, guess bool) string {
	if guess {
		return "?" + s
	}
	return s
}

// atText returns a place as MODULE:FUNCTION+OFFSET.
func atText(f *kernel.FrameInfo) string {
	if f == nil {
		return "-"
	}
	return guessed(orDash(f.Module)+":"+placeText(*f), f.Guess)
}

// printGates prints the gates in a table, if there are any, and what is wrong with them.
func (a *app) printGates(r *kernel.ThreadsReport) {
	t := table{right: map[int]bool{3: true, 4: true, 5: true, 6: true}}
	t.row("GATE", "MODULE", "STATE", "INSIDE", "ENTRANCES", "EXITS", "BY MUTEX")
	for _, g := range r.Gates {
		t.row(printable(g.Name), orDash(g.Module), g.State, fmt.Sprint(g.Inside), fmt.Sprint(g.Entrances), fmt.Sprint(g.Exits), fmt.Sprint(g.ByMutex))
	}
	if len(r.Gates) > 0 {
		a.printf("\n")
		t.print(&a.out, false)
	}
	if r.Note != "" {
		a.printf("%s\n", printable(r.Note))
	}
}
