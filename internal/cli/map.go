package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/diag"
	"klink/internal/kernel"
)

func (a *app) mapCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "map SYMBOL [-- PROGRAM [ARG…]]",
		Short: "let a program read memory that a module shares",
		Long: `Run PROGRAM with memory that a module shares (klink_share in klink/klink.h), to be mapped
and read while the module's threads write it. PROGRAM finds in its environment

    KLINK_MAP_FD      a descriptor of a file in which the memory lies; it can be read, and
                      mapped for reading, and nothing else
    KLINK_MAP_OFFSET  where in the file it begins, bytes
    KLINK_MAP_SIZE    how many bytes it has

and klink ends with its exit code. SYMBOL is a variable that holds the memory's address: a
name, MODULE:NAME, or an address. Without PROGRAM the memory is printed once, as klink read
prints what lies in modules.

The memory stays mapped, and readable, for as long as PROGRAM likes: when the module is
unloaded, too.`,
		Example: `  klink map bus_space_trace:ring
  klink map bus_space_trace:ring -- ./ringread 100
  klink map --json bus_space_trace:ring`,
		Args: func(cmd *cobra.Command, args []string) error {
			n, dash := len(args), cmd.ArgsLenAtDash()
			if dash >= 0 {
				n = dash
			}
			switch {
			case n != 1 || args[0] == "":
				return usage("map: name one SYMBOL; a PROGRAM stands behind --")
			case dash == len(args):
				return usage("map: name a PROGRAM behind --")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault // the program, its files
			}
			return a.completeAny(cmd, args, prefix)
		},
		RunE: run(func(ctx context.Context, args []string) error {
			var path string
			if len(args) > 1 { // before the host is asked: a word is off
				var err error
				if path, err = a.sys.LookPath(args[1]); err != nil {
					return diag.New(diag.ErrNotFound, "", "no program %s", diag.Quote(args[1]))
				}
			}
			var f *os.File
			rep, err := ask(ctx, a, func(c *api.Client) (rep *kernel.MapReport, err error) {
				rep, f, err = c.Map(ctx, kernel.MapRequest{What: args[0]})
				return rep, err
			})
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // it was only read
			if path != "" {
				return a.runMapped(ctx, append([]string{path}, args[2:]...), rep, f)
			}
			return a.dumpMapped(rep, f)
		}),
	}
}

// The descriptor that a program gets, and the variables that say so.
const (
	mapFd     = 3
	envFd     = "KLINK_MAP_FD"
	envOffset = "KLINK_MAP_OFFSET"
	envSize   = "KLINK_MAP_SIZE"
)

// runMapped runs a program with shared memory.
func (a *app) runMapped(ctx context.Context, argv []string, rep *kernel.MapReport, f *os.File) error {
	// An interrupt is the program's; we end when it does.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := a.sys.Spawn(ctx, argv, []string{
		fmt.Sprintf("%s=%d", envFd, mapFd), fmt.Sprintf("%s=%d", envOffset, rep.Offset), fmt.Sprintf("%s=%d", envSize, rep.Size),
	}, f)
	switch {
	case err != nil:
		return diag.New(diag.ErrIO, "", "cannot run %s: %v", diag.Quote(argv[0]), err)
	case code != 0:
		return quietExit(code)
	}
	return nil
}

// mapDump is what klink map --json prints.
type mapDump struct {
	*kernel.MapReport
	Bytes []byte `json:"bytes"`
}

// dumpMapped prints shared memory as it is now.
func (a *app) dumpMapped(rep *kernel.MapReport, f *os.File) error {
	b := make([]byte, min(rep.Size, maxDump))
	if _, err := io.ReadFull(io.NewSectionReader(f, int64(rep.Offset), int64(rep.Size)), b); err != nil {
		return diag.New(diag.ErrIO, "", "cannot read the shared memory: %v", err)
	}
	if a.json {
		printJSON(a, mapDump{rep, b})
		return nil
	}
	a.printMemory(&kernel.ReadReport{Addr: rep.Addr, Symbol: cmp.Or(rep.Symbol, rep.Name), Bytes: b})
	return nil
}

// maxDump is more than a host shares at once, bytes.
const maxDump = 1 << 24
