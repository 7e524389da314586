package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/kernel"
)

// Words that a running host knows, for the shell. A host that does not run is not
// started: there are no words then.

// completeTime bounds how long a tab key may take.
const completeTime = time.Second

// maxWords is how many words a shell is given.
const maxWords = 1000

// complete returns those words of what f gets from the host that begin with prefix,
// are not among used, and mean themselves to a shell.
func (a *app) complete(cmd *cobra.Command, used []string, prefix string,
	f func(context.Context, *api.Client) ([]string, error),
) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	if api.CheckName(a.host) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	words, err := ask(ctx, a, func(c *api.Client) ([]string, error) { return f(ctx, c) })
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	seen := map[string]bool{}
	for _, u := range used {
		seen[u] = true
	}
	var out []string
	for _, w := range words {
		if strings.HasPrefix(w, prefix) && !seen[w] && w == esc(w) && !strings.ContainsAny(w, " \t$`'*?[]") && len(out) < maxWords {
			seen[w] = true
			out = append(out, w)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeModules offers the names of loaded modules.
func (a *app) completeModules(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	words, directive := a.complete(cmd, args, prefix, func(ctx context.Context, c *api.Client) ([]string, error) {
		mods, err := c.List(ctx)
		var out []string
		for _, m := range mods {
			if cmd.Name() != "unload" || m.Name != kernelName {
				out = append(out, m.Name)
			}
		}
		return out, err
	})
	if strings.Contains(prefix, "/") {
		return nil, cobra.ShellCompDirectiveDefault // a file's name
	}
	return words, directive
}

// kernelName is the module that stays.
const kernelName = "kernel"

// completeSymbols offers the symbols that modules provide.
func (a *app) completeSymbols(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, args, prefix, func(ctx context.Context, c *api.Client) ([]string, error) {
		stacks, err := c.Alias(ctx, nil, true)
		var out []string
		for _, s := range stacks {
			out = append(out, s.Symbol)
		}
		return out, err
	})
}

// completeFunction offers one function, of a module if the word begins with its name
// and a colon.
func (a *app) completeFunction(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.completeNamed(cmd, args, prefix, func(s kernel.SymInfo) bool { return s.Type == "func" || s.Type == "ifunc" })
}

// completeAny is completeFunction for anything that has a name.
func (a *app) completeAny(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.completeNamed(cmd, args, prefix, func(s kernel.SymInfo) bool { return s.Type != "section" })
}

// completeNamed offers one of the symbols that fit, for a command's first argument.
func (a *app) completeNamed(cmd *cobra.Command, args []string, prefix string, fits func(kernel.SymInfo) bool) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(cmd, nil, prefix, func(ctx context.Context, c *api.Client) ([]string, error) {
		module, _, of := strings.Cut(prefix, ":")
		if !of {
			module = ""
		}
		syms, err := c.Symbols(ctx, nil, module)
		var out []string
		for _, s := range syms {
			switch {
			case !fits(s):
			case of:
				out = append(out, module+":"+s.Name)
			default:
				out = append(out, s.Name)
			}
		}
		return out, err
	})
}

// completeJobs offers the numbers of jobs.
func (a *app) completeJobs(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, args, prefix, func(ctx context.Context, c *api.Client) ([]string, error) {
		jobs, err := c.Jobs(ctx)
		var out []string
		for _, j := range jobs {
			out = append(out, strconv.Itoa(j.Job))
		}
		return out, err
	})
}

func (a *app) completionCmd() *cobra.Command {
	shells := map[string]func(*cobra.Command) error{
		"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(&a.out, true) },
		"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(&a.out) },
		"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(&a.out, true) },
		"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(&a.out) },
	}
	names := []string{"bash", "fish", "powershell", "zsh"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "print a script that teaches a shell klink's words",
		Long: `Print a script for SHELL (bash, fish, powershell or zsh) that completes commands,
options, files and, if a host runs, its modules and symbols. For bash:

    source <(klink completion bash)`,
		Example:   `  klink completion bash`,
		Args:      exactlyOne("SHELL: bash, fish, powershell or zsh"),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			script := shells[args[0]]
			if script == nil {
				return usage("completion: no script for %q; there are bash, fish, powershell and zsh", args[0])
			}
			return script(cmd.Root())
		},
	}
}
