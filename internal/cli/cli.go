// Package cli is the klink command: the tree of subcommands, what they print, and
// what they exit with.
//
// A command builds a request, hands it to a host (or, for check and link, to
// package kernel), and prints the answer: for people, or with --json for
// programs. New builds the whole tree from a System, the things that it touches,
// so tests run commands without a process of their own.
//
// Layer 6. Imports: api, arch, diag, kernel, kpi. The only importer of cobra. A tree is
// for one goroutine and one run.
package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/diag"
	"klink/internal/kernel"
)

// System is what the commands touch. All of it must be set.
type System struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Getwd    func() (string, error)
	Build    Build

	// Hosts returns the hosts of this user.
	Hosts func() (api.Hosts, error)
	// Local returns hosts inside this process, none at first; Close ends them.
	Local func() *api.Local
	// RunHost makes this process the host of that name until it is halted.
	RunHost func(name string) error
	// Check and Link are package kernel's.
	Check func([]kernel.Source) ([]kernel.CheckReport, error)
	Link  func(kernel.LinkRequest) (*kernel.LinkReport, error)

	// LookPath returns the path of a program that $PATH leads to.
	LookPath func(name string) (string, error)
	// Execute runs a program, argv[0] its path, here and to its end or ctx's; what it
	// prints goes to out. The error says how it ended, if not well.
	Execute func(ctx context.Context, argv []string, out io.Writer) error
	// Spawn runs a program with this process's own input, output and environment, env
	// beside it and file as its descriptor 3, to its end. If ctx ends it is told to end.
	// The code is its exit code, 128 + n if signal n ended it; the error says why it did
	// not begin.
	Spawn func(ctx context.Context, argv, env []string, file *os.File) (code int, err error)
}

// Build says what this klink was built from and for.
type Build struct {
	Version string // klink's own
	Go      string // "go1.26.0"
	System  string // "linux/amd64"
}

// app is one tree: its system and the values of its flags.
type app struct {
	sys   System
	json  bool
	host  string
	inRun bool         // the commands are lines of klink run's file
	out   bytes.Buffer // what the command prints, written when it is done
}

// New returns klink's tree of commands.
func New(sys System) *cobra.Command { return newApp(sys).tree() }

// Main runs one command and returns its exit code. args leave out the program's
// name. What went wrong is on sys.Err.
func Main(ctx context.Context, sys System, args []string) int {
	a := newApp(sys)
	err := a.execute(ctx, args)
	a.complain(err)
	return exitCode(err)
}

func newApp(sys System) *app { return &app{sys: sys} }

// execute runs one command of a fresh tree. What it printed is written even if it
// failed: a report may be the reason.
func (a *app) execute(ctx context.Context, args []string) error {
	root := a.tree()
	root.SetArgs(marked(root, args))
	err := root.ExecuteContext(ctx)
	var ran *outcome
	if errors.As(err, &ran) {
		err = ran.error
	} else if err != nil {
		// Cobra's own: a flag or an argument is off. It quotes what it was given.
		err = usage("%s", strings.ReplaceAll(err.Error(), strings.Trim(strconv.Quote(mark), `"`), ""))
		a.json = a.json || slices.Contains(args, "--json")
	}
	if _, werr := a.sys.Out.Write(a.out.Bytes()); werr != nil && err == nil {
		err = diag.New(diag.ErrIO, "", "cannot write the output: %v", werr)
	}
	a.out.Reset()
	return err
}

// outcome marks an error as the command's own, not one of its words.
type outcome struct{ error }

func (o *outcome) Unwrap() error { return o.error }

// run makes a cobra RunE of f.
func run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd.Context(), args); err != nil {
			return &outcome{err}
		}
		return nil
	}
}

const rootLong = `klink loads relocatable ELF objects (.o, .kmod; x86-64 and aarch64) into an arena and
keeps every direct call in it leading to the newest provider of its symbol: loading
a module moves the calls to it, unloading moves them back.

A host process holds the arena, and a runner process beside it runs the modules' code.
klink boot or the first klink load starts them, klink halt ends them. check, link, cc
and run need no host.

Exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 busy or already booted, 5 no host,
6 a call faulted or the runner died, 7 a module is draining.`

const rootExample = `  klink boot kernel.o
  klink load bpf.kmod
  klink alias bpf_attach
  klink call bpf_attach
  klink unload bpf
  klink halt`

// tree builds the commands.
func (a *app) tree() *cobra.Command {
	root := &cobra.Command{
		Use:           "klink",
		Short:         "link kernel modules into a running image, and move its calls as they come and go",
		Long:          rootLong,
		Example:       rootExample,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("no command given; klink help lists them")
			}
			return unknownCommand(cmd, args[0])
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if a.host == "" {
				a.host = a.sys.Getenv("KLINK_HOST")
			}
			if a.host == "" {
				a.host = "default"
			}
			return api.CheckName(a.host)
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true // completionCmd is ours
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if !cmd.HasParent() {
			return usage("%s", err)
		}
		return usage("%s: %s", cmd.Name(), err)
	})
	root.SetIn(a.sys.In)
	root.SetOut(&a.out)
	root.SetErr(a.sys.Err)
	root.PersistentFlags().BoolVar(&a.json, "json", a.json, "print JSON, errors too")
	root.PersistentFlags().StringVarP(&a.host, "host", "H", a.host, "talk to the host called `NAME` (default $KLINK_HOST, else \"default\")")
	root.AddGroup(&cobra.Group{ID: "change", Title: "Change the image:"},
		&cobra.Group{ID: "code", Title: "Run modules' code:"},
		&cobra.Group{ID: "look", Title: "Look at it:"},
		&cobra.Group{ID: "alone", Title: "Without a host:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("change", a.bootCmd(), a.loadCmd(), a.unloadCmd(), a.haltCmd())
	add("look", a.lsCmd(), a.infoCmd(), a.aliasCmd(), a.sitesCmd(), a.symCmd(), a.disCmd(), a.readCmd(), a.mapCmd())
	add("code", a.callCmd(), a.jobsCmd(), a.waitCmd(), a.psCmd(), a.logCmd())
	add("alone", a.checkCmd(), a.linkCmd(), a.runCmd(), a.ccCmd())
	root.AddGroup(&cobra.Group{ID: "about", Title: "About klink:"})
	add("about", a.versionCmd(), a.completionCmd())
	add("", a.hostCmd())
	help := a.helpCmd()
	add("about", help)
	root.SetHelpCommand(help)
	return root
}

func (a *app) helpCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "explain a command",
		Long:    "Explain a command, or list them all.",
		Example: "  klink help load",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("help: name one COMMAND")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			var words []string
			for _, c := range cmd.Root().Commands() {
				if len(args) == 0 && !c.Hidden && strings.HasPrefix(c.Name(), prefix) {
					words = append(words, c.Name()+"\t"+c.Short)
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), args[0])
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
	}
}

// unknownCommand is the error for a first word that is no command.
func unknownCommand(root *cobra.Command, word string) error {
	hint := "klink help lists them"
	root.SuggestionsMinimumDistance = min(2, len(word)/2) // of a short word everything is near
	if near := root.SuggestionsFor(word); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage("no command %s; %s", diag.Quote(word), hint)
}

// atLeastOne refuses a command without arguments; what is what it wants, "FILE".
func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s: name at least one %s", cmd.Name(), what)
		}
		return nil
	}
}

// exactlyOne refuses any other number of arguments.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s: name one %s", cmd.Name(), what)
		}
		return nil
	}
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments, but was given %s", cmd.Name(), diag.Quote(args[0]))
	}
	return nil
}

// hostCmd is the host process, see api.RunHost.
func (a *app) hostCmd() *cobra.Command {
	return &cobra.Command{
		Use: "host", Short: "be a host process", Hidden: true, Args: noArgs,
		RunE: run(func(context.Context, []string) error {
			if a.inRun {
				return usage("host cannot be a line of klink run")
			}
			return a.sys.RunHost(a.host)
		}),
	}
}

// dial returns a client of the host.
func (a *app) dial(ctx context.Context) (*api.Client, error) {
	h, err := a.sys.Hosts()
	if err != nil {
		return nil, err
	}
	return h.Dial(ctx, a.host)
}

// ask dials the host and returns what f gets from it.
func ask[A any](ctx context.Context, a *app, f func(*api.Client) (A, error)) (A, error) {
	c, err := a.dial(ctx)
	if err != nil {
		var none A
		return none, err
	}
	defer c.Close()
	return f(c)
}

// source returns the file that the user means by name.
func (a *app) source(name string) (kernel.Source, error) {
	path, err := a.abs(name)
	return kernel.Source{Name: name, Path: path}, err
}

// abs returns the absolute path of what the user typed.
func (a *app) abs(path string) (string, error) {
	if path == "" {
		return "", usage("a file's name is empty")
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	wd, err := a.sys.Getwd()
	if err != nil {
		return "", diag.New(diag.ErrIO, "", "no working directory: %v", err)
	}
	return filepath.Join(wd, path), nil
}

// specs returns the modules that files make: each one, or with as all one.
func (a *app) specs(files []string, as string, private []string, whole bool) ([]kernel.ModuleSpec, error) {
	specs := make([]kernel.ModuleSpec, 0, len(files))
	for _, f := range files {
		src, err := a.source(f)
		if err != nil {
			return nil, err
		}
		if as != "" && len(specs) == 1 {
			specs[0].Files = append(specs[0].Files, src)
			continue
		}
		specs = append(specs, kernel.ModuleSpec{As: as, Files: []kernel.Source{src}, Private: private, WholeArchive: whole})
	}
	return specs, nil
}
