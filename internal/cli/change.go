package cli

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/kernel"
)

// The commands that change the image, and what they print.

func (a *app) bootCmd() *cobra.Command {
	var machine string
	var base number
	size, threads := number{size: true}, number{count: true}
	var bare bool
	cmd := &cobra.Command{
		Use:   "boot [FILE…]",
		Short: "start the host, with the kernel's objects",
		Long: `Start the host, and load FILEs as the kernel: one module, named kernel, which stays
until the host halts. Without FILEs the host starts with klink's own kernel object
alone, with --bare empty. If the kernel cannot be loaded there is no host.

A runner process runs the modules' code, if this computer can run the machine's. A
host whose runner was lost is halted first: nothing in it could go on.`,
		Example: `  klink boot kernel.o net.o
  klink boot --machine aarch64 kernel.o
  klink boot --threads 16 kernel.o
  klink boot --arena-base 0x10000000 --arena-size 64M kernel.o
  klink -H test boot`,
		Args: cobra.ArbitraryArgs,
		RunE: run(func(ctx context.Context, args []string) error {
			if _, ok := arch.Parse(machine); machine != "" && !ok {
				return noMachine(machine)
			}
			if err := checkThreads("boot: --threads", threads); err != nil {
				return err
			}
			r := api.StartRequest{Config: api.HostConfig{
				Machine: machine, ArenaBase: kernel.Addr(base.v), ArenaSize: size.v, Bare: bare, Threads: int(threads.v),
			}}
			if len(args) > 0 {
				specs, err := a.specs(args, "kernel", nil, false)
				if err != nil {
					return err
				}
				r.Boot = specs
			}
			h, err := a.sys.Hosts()
			if err != nil {
				return err
			}
			stop := a.progress("booting " + plural(len(args), "file"))
			change, err := api.Boot(ctx, h, a.host, r)
			stop()
			if err != nil {
				return err
			}
			a.printChange(change, "booted")
			return nil
		}),
	}
	cmd.Flags().StringVar(&machine, "machine", "", "link for `MACHINE`, x86-64 or aarch64 (default the first object's)")
	cmd.Flags().Var(&base, "arena-base", "where the arena begins (default random, below 2 GiB)")
	cmd.Flags().Var(&size, "arena-size", "the arena's size: bytes, or 64M")
	cmd.Flags().BoolVar(&bare, "bare", false, "no kernel object of klink's own, and no runner: link only")
	cmd.Flags().Var(&threads, "threads", "how many `THREADS` the runner has (default 128)")
	_ = cmd.RegisterFlagCompletionFunc("machine", cobra.FixedCompletions([]string{"x86-64", "aarch64"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) loadCmd() *cobra.Command {
	var r kernel.LoadRequest
	var as string
	var private, search []string
	var whole bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "load FILE…",
		Short: "load modules, and move the calls to what they provide",
		Long: `Load each FILE, an object or an archive, as a module; all or none. With --as, all
FILEs make one module of that name. Calls to symbols that the modules provide move to
them at once. Names that are missing are looked for in the modules of the -L
directories, then of those in $KLINK_PATH (separated by colons).

If no host runs, an empty one is started.`,
		Example: `  klink load bpf.kmod
  klink load -n bpf.kmod
  klink load --as bpf bpf_core.o bpf_filter.o libbpf.a
  klink load -L /usr/lib/klink --private helper driver.o`,
		Args: atLeastOne("FILE"),
		RunE: run(func(ctx context.Context, args []string) error {
			var err error
			if r.Modules, err = a.specs(args, as, private, whole); err != nil {
				return err
			}
			if r.Search, err = a.searchPath(search); err != nil {
				return err
			}
			if r.Limit, err = limitOf("load", limit); err != nil {
				return err
			}
			stop := a.progress("loading " + plural(len(args), "file"))
			change, err := a.load(ctx, r)
			stop()
			if err != nil {
				return err
			}
			a.printChange(change, "loaded")
			return nil
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&r.DryRun, "dry-run", "n", false, "only say what would be done")
	f.StringVar(&as, "as", "", "make one module of all FILEs, called `NAME`")
	f.StringArrayVar(&private, "private", nil, "keep `NAME` to its module; may be repeated")
	f.BoolVar(&whole, "whole-archive", false, "take all members of archives, not only those needed")
	f.DurationVar(&limit, "limit", kernel.DefaultCallLimit, "how long each module's INIT may take; 0: as long as it does")
	f.StringArrayVarP(&search, "search", "L", nil, "look for missing names in `DIR`; may be repeated")
	_ = cmd.MarkFlagDirname("search")
	_ = cmd.RegisterFlagCompletionFunc("as", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("private", cobra.NoFileCompletions)
	return cmd
}

// load loads through the host, which is started if need be. A plan does not start
// one: an empty kernel in this process makes it.
func (a *app) load(ctx context.Context, r kernel.LoadRequest) (*kernel.Change, error) {
	h, err := a.sys.Hosts()
	if err != nil {
		return nil, err
	}
	if !r.DryRun {
		return api.Load(ctx, h, a.host, r)
	}
	c, err := h.Dial(ctx, a.host)
	if errors.Is(err, diag.ErrNoHost) {
		local := a.sys.Local()
		defer func() { _ = local.Close() }() // it never held anything
		return local.Start(ctx, a.host, api.StartRequest{Load: &r})
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Load(ctx, r)
}

// searchPath returns the directories of -L and KLINK_PATH.
func (a *app) searchPath(dirs []string) ([]kernel.Source, error) {
	for _, d := range dirs {
		if d == "" {
			return nil, usage("-L: the directory's name is empty")
		}
	}
	var out []kernel.Source
	for _, d := range append(dirs, filepath.SplitList(a.sys.Getenv("KLINK_PATH"))...) {
		if d == "" {
			continue // an empty part of KLINK_PATH
		}
		abs, err := a.abs(d)
		if err != nil {
			return nil, err
		}
		out = append(out, kernel.Source{Name: d, Path: abs})
	}
	return out, nil
}

func (a *app) unloadCmd() *cobra.Command {
	var r kernel.UnloadRequest
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "unload MODULE|FILE…",
		Short: "unload modules, and move the calls back",
		Long: `Unload modules, all or none, from wherever they stand in the stacks. A module is
named by its name or by the file that it was loaded from. One that another module
needs stays, and the refusal says who needs what.`,
		Example: `  klink unload bpf
  klink unload -n bpf
  klink unload -w 30s bpf
  klink unload ./bus_space_xh.kmod bus_space_debug`,
		Args:              atLeastOne("MODULE"),
		ValidArgsFunction: a.completeModules,
		RunE: run(func(ctx context.Context, args []string) error {
			if wait <= 0 {
				return usage("unload: -w takes a time above 0")
			}
			r.Wait = int64(wait)
			modules, err := a.modules(args)
			if err != nil {
				return err
			}
			for _, m := range modules {
				r.Modules = append(r.Modules, m.sent)
			}
			change, err := ask(ctx, a, func(c *api.Client) (*kernel.Change, error) { return c.Unload(ctx, r) })
			if err != nil {
				return asTyped(err, modules...)
			}
			a.printChange(change, "unloaded")
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&r.DryRun, "dry-run", "n", false, "only say what would be done")
	cmd.Flags().DurationVarP(&wait, "wait", "w", kernel.DefaultUnloadWait, "how long threads may take to leave, at each step")
	return cmd
}

func (a *app) haltCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "halt",
		Short: "end the host",
		Long:  "End the host, and all that it holds. When the command returns, the host is gone.",
		Example: `  klink halt
  klink -H test halt`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: run(func(ctx context.Context, _ []string) error {
			h, err := a.sys.Hosts()
			if err != nil {
				return err
			}
			if err := h.Halt(ctx, a.host); err != nil {
				return err
			}
			if a.json {
				printJSON(a, struct{}{})
			}
			return nil
		}),
	}
}

// printChange prints what a load or unload did, or would do. did is the command's
// word for it: "booted", "loaded", "unloaded".
func (a *app) printChange(c *kernel.Change, did string) {
	if a.json {
		printJSON(a, c)
		return
	}
	will := did
	if c.DryRun {
		will = "would " + strings.TrimSuffix(did, "ed")
	}
	if did == "booted" && len(c.Loaded) == 0 {
		a.printf("booted, empty\n")
	}
	for _, m := range c.Loaded {
		a.printf("%s %s: %s text, %s, %s\n", will, esc(m.Name), plural(int(m.Text.Size), "byte"),
			plural(m.Count.Provides, "symbol"), plural(m.Count.Sites, "site"))
		if c.DryRun {
			a.printPushes(m)
		}
	}
	for _, m := range c.Unloaded {
		a.printf("%s %s: %s\n", will, esc(m.Name), plural(int(m.Text.Size+m.Tables.Size+m.Data.Size), "byte"))
	}
	for _, m := range c.Moves {
		a.printMove(m)
	}
	for _, h := range c.Hidden {
		a.printf("%s: %s hides the refinement of %s\n", esc(h.Symbol), esc(h.By), names(h.Refinements, "and of"))
	}
	for _, w := range c.Absent {
		a.printf("%s: %s is weak and absent: it stays 0\n", esc(w.Module), esc(w.Symbol))
	}
	if c.Sites+c.Entries > 0 {
		verb := "rewrote"
		if c.DryRun {
			verb = "would rewrite"
		}
		what := plural(c.Sites, "site")
		if c.Entries > 0 {
			what += " and " + plural(c.Entries, "entry")
		}
		a.printf("%s %s, %s\n", verb, what, plural(c.Bytes, "byte"))
	}
}

// printPushes prints where a plan's module would stand in each stack.
func (a *app) printPushes(m kernel.ModuleInfo) {
	t := table{indent: "  "}
	for _, p := range m.Provides {
		place := "below the current one"
		if p.Current {
			place = "becomes current"
		}
		t.row(esc(p.Symbol), p.Kind, place)
	}
	t.print(&a.out, false)
}

// printMove prints "bpf_attach: kernel → bpf, 3 sites in kernel". A symbol that
// comes or goes and that nobody called is no news.
func (a *app) printMove(m kernel.MoveInfo) {
	if m.Sites == 0 && (m.From == "" || m.To == "") {
		return
	}
	who := func(module string) string {
		if module == "" {
			return "nobody"
		}
		return esc(module)
	}
	a.printf("%s", esc(m.Symbol))
	if m.Of != "" {
		a.printf(" of %s", esc(m.Of))
	}
	a.printf(": %s → %s, %s", who(m.From), who(m.To), plural(m.Sites, "site"))
	if len(m.In) > 0 {
		a.printf(" in %s", names(m.In, "and"))
	}
	a.printf("\n")
}

// maxNames is how many names of modules a line holds; the rest are counted.
const maxNames = 8

// names returns "a, b and c", escaped; of many, the first few.
func names(s []string, and string) string {
	var b strings.Builder
	n := min(len(s), maxNames)
	for i, name := range s[:n] {
		switch {
		case i == 0:
		case i == len(s)-1:
			b.WriteString(" " + and + " ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(esc(name))
	}
	if more := len(s) - n; more > 0 {
		b.WriteString(" and " + plural(more, "other"))
	}
	return b.String()
}
