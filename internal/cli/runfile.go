package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/diag"
)

func (a *app) runCmd() *cobra.Command {
	var echo bool
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "run a file of commands in a host of their own",
		Long: `Run the commands in FILE (- is the standard input), one a line, in a host of their own
inside this process, which ends with the file. Each line is a klink command without its
first word, or with it; words are quoted as in a shell, # begins a comment, nothing is
expanded. Files are relative to the working directory.

The first command that fails ends the run with its exit code, unless its line begins with
! (it must fail) or - (it may).`,
		Example: `  klink run demo.klink
  klink run -x demo.klink`,
		Args: exactlyOne("FILE"),
		RunE: run(func(ctx context.Context, args []string) error {
			if a.inRun {
				return usage("run cannot be a line of klink run")
			}
			f, err := a.openScript(args[0])
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // it was only read
			local := a.sys.Local()
			err = a.runLines(ctx, local, args[0], f, echo)
			if cerr := local.Close(); err == nil && cerr != nil {
				err = cerr
			}
			return err
		}),
	}
	cmd.Flags().BoolVarP(&echo, "echo", "x", false, "print each command before it runs")
	return cmd
}

// openScript opens the file of commands.
func (a *app) openScript(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.sys.In), nil
	}
	path, err := a.abs(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		kind := diag.ErrIO
		if errors.Is(err, os.ErrNotExist) {
			kind = diag.ErrNotFound
		}
		var perr *os.PathError
		if errors.As(err, &perr) {
			err = perr.Err
		}
		return nil, diag.New(kind, name, "cannot open: %v", err)
	}
	return f, nil
}

// maxLine is how long a line of commands may be, bytes.
const maxLine = 1 << 20

// runLines runs the commands that r holds against the hosts of local.
func (a *app) runLines(ctx context.Context, local *api.Local, file string, r io.Reader, echo bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		stop := func(err error, format string, args ...any) error {
			return &stopped{cause: err, line: fmt.Sprintf("%s:%d: ", esc(file), n) + fmt.Sprintf(format, args...)}
		}
		line := strings.TrimSpace(lines.Text())
		mode := byte(0)
		if line != "" && (line[0] == '!' || line[0] == '-') {
			mode, line = line[0], line[1:]
		}
		words, err := split(line)
		if err != nil {
			return stop(err, "stopped here")
		}
		if len(words) > 0 && words[0] == "klink" {
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		if echo {
			if _, err := fmt.Fprintf(a.sys.Out, "$ klink %s\n", printable(join(words))); err != nil {
				return diag.New(diag.ErrIO, "", "cannot write the output: %v", err)
			}
		}
		sub := newApp(a.sys)
		sub.json, sub.host, sub.inRun = a.json, a.host, true
		sub.sys.Hosts = func() (api.Hosts, error) { return local, nil }
		err = sub.execute(ctx, words)
		switch {
		case mode == '!' && err == nil:
			return stop(diag.New(diag.ErrConflict, "", "expected a failure"), "stopped here")
		case mode == 0 && err != nil:
			return stop(err, "stopped here")
		}
		sub.complain(err)
	}
	if err := lines.Err(); err != nil {
		return diag.New(diag.ErrIO, file, "cannot read line %d: %v", n+1, err)
	}
	return nil
}

// stopped is the error of a command, and the line of the file that it came from.
type stopped struct {
	cause error
	line  string // "demo.klink:3: stopped here"
}

// Error returns the cause's lines, then the place.
func (s *stopped) Error() string {
	return strings.Join(append(diag.Lines(s.cause), s.line), "\n")
}

func (s *stopped) Unwrap() error { return s.cause }
