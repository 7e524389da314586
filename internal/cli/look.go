package cli

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/diag"
	"klink/internal/kernel"
)

// The commands that look at the image.

func (a *app) lsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "list the modules",
		Long: `List the modules in the order they were loaded: state, where the text lies, sizes of
text, tables and data, how many symbols a module provides and how many sites its text
has. If the runner is lost, so are the modules' states, and a line says why.`,
		Example: `  klink ls
  klink ls --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: run(func(ctx context.Context, _ []string) error {
			var status kernel.Status
			mods, err := ask(ctx, a, func(c *api.Client) ([]kernel.ModuleInfo, error) {
				mods, err := c.List(ctx)
				if err == nil && !a.json {
					status, err = c.Status(ctx)
				}
				return mods, err
			})
			if err != nil {
				return err
			}
			if a.json {
				printJSON(a, list(mods))
				return nil
			}
			t := table{right: map[int]bool{3: true, 4: true, 5: true, 6: true, 7: true}}
			t.row("MODULE", "STATE", "ADDRESS", "TEXT", "TABLES", "DATA", "SYMBOLS", "SITES", "FILE")
			for _, m := range mods {
				where := "-"
				if m.Text.Size > 0 {
					where = m.Text.Addr.String()
				}
				t.row(esc(m.Name), m.State, where, bytesOf(m.Text.Size), bytesOf(m.Tables.Size), bytesOf(m.Data.Size),
					fmt.Sprint(m.Count.Provides), fmt.Sprint(m.Count.Sites), files(m.Files))
			}
			if len(mods) > 0 {
				t.print(&a.out, false)
			}
			if r := status.Runner; r.State == kernel.RunnerLost {
				a.printf("%s; klink boot starts afresh\n", printable(r.Why))
			}
			return nil
		}),
	}
}

// files returns the first file and how many more there are.
func files(f []string) string {
	switch len(f) {
	case 0:
		return ""
	case 1:
		return esc(f[0])
	}
	return fmt.Sprintf("%s +%d", esc(f[0]), len(f)-1)
}

func (a *app) infoCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "info MODULE|FILE…",
		Short: "describe modules",
		Long: `Describe modules: files, places, what they provide and need, who uses them. A module
is named by its name or by the file that it was loaded from.`,
		Example: `  klink info bpf
  klink info ./bpf.kmod
  klink info --json kernel bpf`,
		Args:              atLeastOne("MODULE"),
		ValidArgsFunction: a.completeModules,
		RunE: run(func(ctx context.Context, args []string) error {
			modules, err := a.modules(args)
			if err != nil {
				return err
			}
			infos, err := ask(ctx, a, func(c *api.Client) ([]*kernel.ModuleInfo, error) {
				var out []*kernel.ModuleInfo
				var errs diag.List
				for _, name := range modules {
					m, err := c.Info(ctx, name.sent)
					errs.Add(err)
					out = append(out, m)
				}
				return out, errs.Err()
			})
			if err != nil {
				return asTyped(err, modules...)
			}
			if a.json {
				printJSON(a, infos)
				return nil
			}
			for i, m := range infos {
				if i > 0 {
					a.printf("\n")
				}
				a.printInfo(m)
			}
			return nil
		}),
	}
}

// infoTitle returns the first cell of a line of printInfo, as wide as the widest.
func infoTitle(title string) string { return fmt.Sprintf("%-*s", len("provides"), title) }

// printInfo prints one module. Each block has columns of its own: a long name in one
// tears no other apart.
func (a *app) printInfo(m *kernel.ModuleInfo) {
	a.printf("%s: %s\n", esc(m.Name), m.State)
	block := func(title string, n int, cells func(i int) []string) {
		t := table{indent: "  "}
		for i := range n {
			t.row(append([]string{infoTitle(title)}, cells(i)...)...)
			title = ""
		}
		t.print(&a.out, false)
	}
	one := func(s ...string) func(int) []string { return func(i int) []string { return []string{esc(s[i])} } }
	block("files", len(m.Files), one(m.Files...))
	spans := table{indent: "  "}
	for _, p := range []struct {
		title string
		span  kernel.SpanInfo
	}{{"text", m.Text}, {"tables", m.Tables}, {"data", m.Data}} {
		if p.span.Size > 0 {
			spans.row(infoTitle(p.title), p.span.Addr.String(), plural(int(p.span.Size), "byte"))
		}
	}
	spans.print(&a.out, false)
	block("counts", 1, one(strings.Join([]string{
		plural(m.Count.Sites, "site"), plural(m.Count.Relocs, "relocation"),
		plural(m.Count.Veneers, "veneer"), plural(m.Count.GOT, "GOT slot"),
	}, ", ")))
	block("provides", len(m.Provides), func(i int) []string {
		p := m.Provides[i]
		current := ""
		if p.Current {
			current = "current"
		}
		return []string{p.Addr.String(), p.Kind, p.Class, esc(p.Symbol), current}
	})
	block("needs", len(m.Needs), one(m.Needs...))
	block("absent", len(m.Absent), one(m.Absent...))
	block("used by", len(m.UsedBy), one(m.UsedBy...))
	var sections []kernel.SectionInfo
	for _, s := range m.Sections {
		if s.Size > 0 { // compilers make empty ones for every object
			sections = append(sections, s)
		}
	}
	block("sections", len(sections), func(i int) []string {
		s := sections[i]
		return []string{s.Addr.String(), plural(int(s.Size), "byte"), esc(s.Name), esc(s.File)}
	})
}

func (a *app) aliasCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "alias [SYMBOL…]",
		Short: "show who provides a symbol, newest first",
		Long: `Show the alias stack of each SYMBOL, top first: * marks the current provider, then
come kind, module, address, the implementation's own name and how many sites lead
there. Without SYMBOL, the symbols that have more than one provider; with -a, all.`,
		Example: `  klink alias bpf_attach
  klink alias
  klink alias -a --json`,
		ValidArgsFunction: a.completeSymbols,
		RunE: run(func(ctx context.Context, args []string) error {
			if all && len(args) > 0 {
				return usage("alias: -a shows all symbols; name some or give -a, not both")
			}
			stacks, err := ask(ctx, a, func(c *api.Client) ([]kernel.AliasInfo, error) { return c.Alias(ctx, args, all) })
			if err != nil {
				return err
			}
			if a.json {
				printJSON(a, list(stacks))
				return nil
			}
			for _, s := range stacks {
				a.printStack(s)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show all symbols")
	return cmd
}

// printStack prints one alias stack.
func (a *app) printStack(s kernel.AliasInfo) {
	a.printf("%s: %s, %s", esc(s.Symbol), s.Class, plural(s.Sites, "site"))
	if s.Entry != 0 {
		a.printf(", entry %s", s.Entry)
	}
	if len(s.Users) > 0 {
		a.printf(", used by %s", names(s.Users, "and"))
	}
	a.printf("\n")
	t := table{strong: map[int]bool{}}
	for i, p := range s.Providers {
		mark, sites := " ", ""
		if p.Current {
			mark = "*"
			t.strong[i] = true
		}
		switch {
		case p.Super > 0 && p.Super >= p.Sites:
			sites = plural(p.Super, "site") + " as super"
		case p.Super > 0:
			sites = fmt.Sprintf("%s, %d as super", plural(p.Sites, "site"), p.Super)
		case p.Sites > 0:
			sites = plural(p.Sites, "site")
		}
		t.row(mark+" "+p.Kind, esc(p.Module), p.Addr.String(), esc(p.Name), sites)
	}
	t.print(&a.out, a.colour())
}

func (a *app) sitesCmd() *cobra.Command {
	var r kernel.SitesRequest
	cmd := &cobra.Command{
		Use:   "sites [SYMBOL…]",
		Short: "list the call instructions that follow a symbol",
		Long: `List the sites of SYMBOLs, or all: where each branch stands, what it refers to, and
where it leads now, read from the instruction itself.`,
		Example: `  klink sites bpf_attach
  klink sites -m kernel`,
		ValidArgsFunction: a.completeSymbols,
		RunE: run(func(ctx context.Context, args []string) error {
			in, err := a.module(r.Module)
			if err != nil {
				return err
			}
			r.Symbols, r.Module = args, in.sent
			sites, err := ask(ctx, a, func(c *api.Client) ([]kernel.SiteInfo, error) { return c.Sites(ctx, r) })
			if err != nil {
				return asTyped(err, in)
			}
			sort.SliceStable(sites, func(i, j int) bool { return sites[i].Addr < sites[j].Addr })
			if a.json {
				printJSON(a, list(sites))
				return nil
			}
			t := table{}
			t.row("ADDRESS", "MODULE", "IN", "FORM", "SYMBOL", "TARGET", "PROVIDER", "NAME")
			for _, s := range sites {
				form := s.Form
				if s.Veneer != 0 {
					form += " by " + s.Veneer.String()
				}
				t.row(s.Addr.String(), orDash(s.Module), esc(s.In), form, esc(s.Symbol), s.Target.String(), orDash(s.Provider), esc(s.Name))
			}
			if len(sites) > 0 {
				t.print(&a.out, false)
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&r.Module, "module", "m", "", "only sites in `MODULE`")
	_ = cmd.RegisterFlagCompletionFunc("module", a.completeModules)
	return cmd
}

// orDash returns a name, or "-" where there is none.
func orDash(name string) string {
	if name == "" {
		return "-"
	}
	return esc(name)
}

func (a *app) symCmd() *cobra.Command {
	var module string
	cmd := &cobra.Command{
		Use:   "sym [PATTERN…]",
		Short: "list symbols, by name or address",
		Long: `List the symbols of the loaded modules, local ones too. A PATTERN is a name in which
*, ? and [a-z] match as in a shell, or an address, "0x…", for the symbol there. The
current provider of a name is marked with *.`,
		Example: `  klink sym 'bpf_*'
  klink sym 0x10000480
  klink sym -m bpf`,
		ValidArgsFunction: a.completeSymbols,
		RunE: run(func(ctx context.Context, args []string) error {
			of, err := a.module(module)
			if err != nil {
				return err
			}
			syms, err := ask(ctx, a, func(c *api.Client) ([]kernel.SymInfo, error) { return c.Symbols(ctx, args, of.sent) })
			if err != nil {
				return asTyped(err, of)
			}
			sort.SliceStable(syms, func(i, j int) bool { return syms[i].Addr < syms[j].Addr })
			if a.json {
				printJSON(a, list(syms))
				return nil
			}
			t := table{right: map[int]bool{1: true}}
			t.row("ADDRESS", "SIZE", "TYPE", "BIND", "MODULE", "SECTION", "NAME")
			for _, s := range syms {
				name := esc(s.Name)
				if s.Current {
					name += " *"
				}
				t.row(s.Addr.String(), fmt.Sprint(s.Size), s.Type, s.Bind, esc(s.Module), esc(s.Section), name)
			}
			if len(syms) > 0 {
				t.print(&a.out, false)
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&module, "module", "m", "", "only symbols of `MODULE`")
	_ = cmd.RegisterFlagCompletionFunc("module", a.completeModules)
	return cmd
}

func (a *app) disCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "dis FUNCTION",
		Short: "disassemble a function as it stands",
		Long: `Disassemble a function as it stands in the arena. After a branch come the function it
leads to now, that function's module and, if the branch is a site, the symbol it
follows. FUNCTION is a symbol (its current provider's code), MODULE:NAME, or an
address in the function.`,
		Example: `  klink dis if_input
  klink dis kernel:if_input
  klink dis 0x10000040`,
		Args:              exactlyOne("FUNCTION"),
		ValidArgsFunction: a.completeFunction,
		RunE: run(func(ctx context.Context, args []string) error {
			l, err := ask(ctx, a, func(c *api.Client) (*kernel.Listing, error) { return c.Disassemble(ctx, args[0]) })
			if err != nil {
				return err
			}
			if a.json {
				printJSON(a, l)
				return nil
			}
			a.printListing(l)
			return nil
		}),
	}
}

// printListing prints code as objdump does, with the branches resolved.
func (a *app) printListing(l *kernel.Listing) {
	of := ""
	if l.Module != "" { // an entry is in no module
		of = esc(l.Module) + ":"
	}
	a.printf("%s %s%s, %s\n", l.Addr, of, esc(l.Func), plural(int(l.Size), "byte"))
	t := table{indent: "  ", strong: map[int]bool{}}
	for i, in := range l.Lines {
		text := printable(in.Text)
		if in.Target != "" {
			text += " <" + esc(in.Target) + ">"
			if in.Module != "" && (in.Module != l.Module || in.Symbol != "") {
				text += " " + esc(in.Module)
			}
		}
		if in.Symbol != "" {
			text += " (" + esc(in.Symbol) + ")"
			t.strong[i] = true
		}
		t.row(in.Addr.String(), spaced(in.Bytes), text)
	}
	t.print(&a.out, a.colour())
}

// spaced returns "e8c70f0000" as "e8 c7 0f 00 00".
func spaced(hex string) string {
	var b strings.Builder
	n := 0
	for _, r := range hex { // letters, not bytes: a host can say anything
		if n > 0 && n%2 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// versionInfo is what klink version says.
type versionInfo struct {
	Version string         `json:"version"`
	Go      string         `json:"go"`
	System  string         `json:"system"`
	Host    string         `json:"host"`             // the name that -H and KLINK_HOST choose
	Status  *kernel.Status `json:"status,omitempty"` // left out if that host does not run
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print klink's version, and the host's state",
		Long: `Print klink's version and, if the host runs, its machine, the use of its arena, its
runner, and which of the walls around module code this system has.`,
		Example: `  klink version
  klink version --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: run(func(ctx context.Context, _ []string) error {
			v := versionInfo{Version: a.sys.Build.Version, Go: a.sys.Build.Go, System: a.sys.Build.System, Host: a.host}
			if !a.json { // whatever the host's state is
				a.printf("klink %s (%s, %s)\n", v.Version, v.Go, v.System)
			}
			switch st, err := ask(ctx, a, func(c *api.Client) (kernel.Status, error) { return c.Status(ctx) }); {
			case err == nil:
				v.Status = &st
			case !errors.Is(err, diag.ErrNoHost):
				return err
			}
			if a.json {
				printJSON(a, v)
			} else if v.Status != nil {
				a.printStatus(v.Host, v.Status)
			}
			return nil
		}),
	}
}

// printStatus prints a host's state.
func (a *app) printStatus(host string, s *kernel.Status) {
	a.printf("host %s: %s, %s\n", host, s.Machine, plural(s.Modules, "module"))
	t := table{indent: "  ", right: map[int]bool{2: true, 3: true}}
	t.row("arena", s.ArenaBase.String(), bytesOf(s.ArenaSize))
	for _, r := range s.Regions {
		t.row(esc(r.Name), r.Addr.String(), bytesOf(r.Size), bytesOf(r.Used), "used")
	}
	t.print(&a.out, false)
	t = table{indent: "  "}
	if r := s.Runner; r.State != "" {
		what := printable(r.Why)
		if r.State == kernel.RunnerRunning {
			what = fmt.Sprintf("process %d, %s", r.Pid, plural(r.Threads, "thread"))
		}
		t.row("runner", r.State, what)
	}
	t.print(&a.out, false)
	t = table{indent: "  "}
	for _, w := range s.Walls {
		state := "up"
		if !w.Up {
			state = "down"
		}
		t.row("wall", esc(w.Name), state, printable(w.Why))
	}
	t.print(&a.out, false)
}
