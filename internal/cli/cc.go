package cli

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/kpi"
)

// compilers are the C compilers that are looked for: on a computer of the machine
// itself, and on another.
var compilers = map[arch.Machine]struct{ native, cross []string }{
	arch.AMD64: {[]string{"cc", "gcc"}, []string{"x86_64-linux-gnu-gcc"}},
	arch.ARM64: {[]string{"cc", "gcc"}, []string{"aarch64-linux-gnu-gcc"}},
}

// ccResult is what --json says of one file.
type ccResult struct {
	File     string   `json:"file"`
	Output   string   `json:"output"`
	Compiled bool     `json:"compiled"`
	Messages []string `json:"messages"` // the compiler's
}

func (a *app) ccCmd() *cobra.Command {
	var output, machine, optimise string
	var define, include, warn []string
	var debug bool
	cmd := &cobra.Command{
		Use:   "cc FILE.c… [flags] [-- FLAG…]",
		Short: "compile modules written in C",

		DisableFlagsInUseLine: true,
		Long: `Compile each FILE.c to a module FILE.kmod beside it, or one to -o, with the headers for
modules and the options that klink needs to make calls follow and to explain faults.

The compiler is $KLINK_CC, else cc or gcc; for the other --machine its cross
compiler, such as aarch64-linux-gnu-gcc. What follows -- is for the compiler.`,
		Example: `  klink cc bpf.c
  klink cc bpf.c -o build/bpf.kmod -DDEBUG=1 -Iinclude -O2 -g
  klink cc --machine aarch64 bpf.c xh.c -- -std=c11 -fno-inline`,
		Args: atLeastOne("FILE.c"),
	}
	cmd.RunE = run(func(ctx context.Context, args []string) error {
		files, flags := args, []string(nil)
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			files, flags = args[:n], args[n:]
		}
		var pass []string
		for _, v := range define {
			pass = append(pass, "-D"+v)
		}
		for _, v := range include {
			pass = append(pass, "-I"+v)
		}
		for _, v := range warn {
			pass = append(pass, "-W"+v)
		}
		if optimise != "" {
			pass = append(pass, "-O"+optimise)
		}
		if debug {
			pass = append(pass, "-g")
		}
		m := kernel.HostMachine()
		if machine != "" {
			var ok bool
			if m, ok = arch.Parse(machine); !ok {
				return noMachine(machine)
			}
		}
		return a.compileAll(ctx, m, files, output, append(pass, flags...))
	})
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "write the module to `FILE`")
	f.StringVar(&machine, "machine", "", "compile for `MACHINE`, x86-64 or aarch64 (default this computer's)")
	f.StringArrayVarP(&define, "define", "D", nil, "define the macro `NAME[=VALUE]`; may be repeated")
	f.StringArrayVarP(&include, "include", "I", nil, "look for headers in `DIR`, too; may be repeated")
	f.StringArrayVarP(&warn, "warn", "W", nil, "the compiler's warning `NAME`, -Wall; may be repeated")
	f.StringVarP(&optimise, "optimise", "O", "", "the compiler's `LEVEL` of optimisation, -O2")
	f.BoolVarP(&debug, "debug", "g", false, "with source lines, for faults and klink dis")
	_ = cmd.MarkFlagDirname("include")
	_ = cmd.RegisterFlagCompletionFunc("machine", cobra.FixedCompletions([]string{"x86-64", "aarch64"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// noMachine is the error for a machine that klink does not know.
func noMachine(name string) error {
	return usage("no machine %s; klink links for x86-64 and aarch64", diag.Quote(name))
}

// compileAll compiles each of the files for a machine; flags are the compiler's.
func (a *app) compileAll(ctx context.Context, m arch.Machine, files []string, output string, flags []string) error {
	outputs, err := outputsOf(files, output)
	if err != nil {
		return err
	}
	compiler, err := a.compiler(m)
	if err != nil {
		return err
	}
	// An interrupt ends the compiler; then the headers are removed.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	headers, err := os.MkdirTemp("", "klink-cc")
	if err != nil {
		return diag.New(diag.ErrIO, "", "cannot make a directory for the headers: %v", err)
	}
	defer func() { _ = os.RemoveAll(headers) }() // it is in the directory for temporary files
	if err := kpi.WriteHeaders(headers); err != nil {
		return diag.New(diag.ErrIO, headers, "cannot write the headers: %v", err)
	}
	usual := kpi.CompileFlags(m, headers)
	if slices.ContainsFunc(compiler, func(w string) bool { return strings.Contains(filepath.Base(w), "clang") }) {
		usual = slices.DeleteFunc(usual, func(f string) bool { return f == kpi.Shared })
	}
	var results []ccResult
	var errs diag.List
	for i, file := range files {
		argv := append(append([]string{}, compiler...), usual...)
		argv = append(append(argv, flags...), "-c", file, "-o", outputs[i])
		var messages bytes.Buffer
		to := a.sys.Err
		if a.json {
			to = &messages
		}
		err := a.sys.Execute(ctx, argv, to)
		if err != nil {
			errs.Add(diag.New(diag.ErrMalformed, file, "%s: %v", esc(compiler[0]), err))
		}
		results = append(results, ccResult{file, outputs[i], err == nil, list(textLines(messages.String()))})
		if ctx.Err() != nil {
			break
		}
	}
	if a.json {
		printJSON(a, results)
	}
	return errs.Err()
}

// textLines returns the lines of a text.
func textLines(text string) []string {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// outputsOf returns where the modules go.
func outputsOf(files []string, output string) ([]string, error) {
	switch {
	case len(files) == 0:
		return nil, usage("cc: name at least one FILE.c")
	case output != "" && len(files) > 1:
		return nil, usage("cc: -o names one module, but there are %d files", len(files))
	}
	var outputs []string
	var errs diag.List
	for _, f := range files {
		to := output
		if to == "" {
			to = strings.TrimSuffix(f, filepath.Ext(f)) + ".kmod"
		}
		if f == "" {
			errs.Add(usage("a file's name is empty"))
		} else if filepath.Clean(to) == filepath.Clean(f) {
			errs.Add(usage("cc: %s would be written over itself", diag.Quote(f)))
		}
		outputs = append(outputs, to)
	}
	return outputs, errs.Err()
}

// compiler returns the path of the C compiler for a machine, and its first arguments.
func (a *app) compiler(m arch.Machine) ([]string, error) {
	words, err := split(a.sys.Getenv("KLINK_CC"))
	if err != nil {
		return nil, usage("KLINK_CC: %v", err)
	}
	names := compilers[m].cross
	switch {
	case len(words) > 0:
		names = words[:1]
	case m == kernel.HostMachine():
		names = compilers[m].native
	}
	for _, name := range names {
		if path, err := a.sys.LookPath(name); err == nil {
			if len(words) == 0 {
				return []string{path}, nil
			}
			return append([]string{path}, words[1:]...), nil
		}
	}
	return nil, diag.New(diag.ErrNotFound, "", "no C compiler for %v: there is no %s; KLINK_CC names another", m, strings.Join(names, ", no "))
}
