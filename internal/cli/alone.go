package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"klink/internal/kernel"
)

// The commands that need no host, other than run.

func (a *app) checkCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE…",
		Short: "say what an object would do, and what keeps it from following",
		Long: `Read objects and archives without loading them, and report what would be refused,
and which branches and tests cannot follow a symbol because the assembler or the
compiler bound them, with the option that cures it. The command exits with 1 if there is an
error among the findings.`,
		Example: `  klink check bpf.kmod
  klink check --json a.o b.o`,
		Args: atLeastOne("FILE"),
		RunE: run(func(_ context.Context, args []string) error {
			var srcs []kernel.Source
			for _, f := range args {
				s, err := a.source(f)
				if err != nil {
					return err
				}
				srcs = append(srcs, s)
			}
			stop := a.progress("checking " + plural(len(args), "file"))
			reports, err := a.sys.Check(srcs)
			stop()
			if err != nil {
				return err
			}
			a.printReports(reports)
			for _, r := range reports {
				for _, f := range r.Findings {
					if f.Level == "error" {
						return quietExit(1)
					}
				}
			}
			return nil
		}),
	}
}

// printReports prints findings in ld's shape, and a line for each file without any.
func (a *app) printReports(reports []kernel.CheckReport) {
	if a.json {
		printJSON(a, list(reports))
		return
	}
	for _, r := range reports {
		for _, f := range r.Findings {
			place := f.Place
			if place == "" {
				place = esc(r.File)
			}
			a.printf("%s: %s: %s\n", strings.TrimSuffix(printable(place), ":"), f.Level, printable(f.Text))
			if f.Hint != "" {
				a.printf("  hint: %s\n", printable(f.Hint))
			}
		}
		if len(r.Findings) == 0 {
			a.printf("%s: %s, provides %s, needs %s, nothing to report\n", esc(r.File), r.Machine,
				plural(len(r.Provides), "symbol"), plural(len(r.Needs), "symbol"))
		}
	}
}

func (a *app) linkCmd() *cobra.Command {
	var r kernel.LinkRequest
	var base number
	var as, externals, output, dump string
	var define, private []string
	var whole bool
	cmd := &cobra.Command{
		Use:   "link FILE…",
		Short: "link modules to an image, without a host",
		Long: `Link objects of either machine, each a module of its own (with --as all one), as
loads one after the other would, and write the image: -o as an ELF file, --dump as the
bytes of each section and a layout.json with all addresses.

--static binds every reference to the definition itself, without entries and sites:
what to compare with other linkers. --externals trap gives every name that nobody provides a
trap of its own instead of refusing.`,
		Example: `  klink link -o image.elf kernel.o bpf.kmod
  klink link --base 0x20000000 --define printf=0x1000 driver.o
  klink link --static --externals trap --dump out driver.o`,
		Args: atLeastOne("FILE"),
		RunE: run(func(_ context.Context, args []string) error {
			var err error
			if r.Modules, err = a.specs(args, as, private, whole); err != nil {
				return err
			}
			switch externals {
			case "":
			case "trap":
				r.TrapExternals = true
			default:
				return usage("--externals takes trap, not %q", externals)
			}
			if r.Define, err = definitions(define); err != nil {
				return err
			}
			r.Base = base.v
			var written []typed
			for _, p := range []struct {
				from string
				to   *string
			}{{output, &r.Output}, {dump, &r.DumpDir}} {
				if p.from == "" {
					continue
				}
				if *p.to, err = a.abs(p.from); err != nil {
					return err
				}
				written = append(written, typed{sent: *p.to, typed: p.from})
			}
			stop := a.progress("linking " + plural(len(args), "file"))
			report, err := a.sys.Link(r)
			stop()
			if err != nil {
				return asTyped(err, written...)
			}
			a.printLink(report)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "write the image to `FILE`, as ELF")
	f.Var(&base, "base", "the image's lowest address (default 0x10000000)")
	f.StringArrayVar(&define, "define", nil, "give a name a value: `SYMBOL=ADDRESS`; may be repeated")
	f.StringVar(&externals, "externals", "", "`trap` gives each missing name a trap of its own")
	f.BoolVar(&r.Static, "static", false, "bind references to the definition itself")
	f.StringVar(&dump, "dump", "", "write section bytes and layout.json to `DIR`")
	f.StringVar(&as, "as", "", "make one module of all FILEs, called `NAME`")
	f.StringArrayVar(&private, "private", nil, "keep `NAME` to its module; may be repeated")
	f.BoolVar(&whole, "whole-archive", false, "take all members of archives, not only those needed")
	_ = cmd.MarkFlagDirname("dump")
	_ = cmd.RegisterFlagCompletionFunc("externals", cobra.FixedCompletions([]string{"trap"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// printLink prints what a link made.
func (a *app) printLink(r *kernel.LinkReport) {
	if a.json {
		printJSON(a, r)
		return
	}
	a.printf("linked %s for %s: %s, %s, %s\n", plural(r.Modules, "module"), r.Machine,
		plural(r.Objects, "object"), plural(r.Sections, "section"), plural(r.Relocs, "relocation"))
	t := table{indent: "  "}
	for _, p := range []struct {
		title string
		span  kernel.SpanInfo
	}{{"text", r.Text}, {"tables", r.Tables}, {"data", r.Data}} {
		if p.span.Size > 0 {
			t.row(p.title, p.span.Addr.String(), plural(int(p.span.Size), "byte"))
		}
	}
	t.print(&a.out, false)
	a.printf("%s, %s, %s\n", plural(r.Sites, "site"), plural(r.Entries, "entry"), plural(r.Externals, "external"))
	for _, w := range r.Absent {
		a.printf("%s: %s is weak and absent: it stays 0\n", esc(w.Module), esc(w.Symbol))
	}
}
