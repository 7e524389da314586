package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"klink/internal/api"
	"klink/internal/diag"
	"klink/internal/kernel"
)

// pollTime is how long one request for more of the log waits.
const pollTime = 30 * time.Second

func (a *app) logCmd() *cobra.Command {
	var follow bool
	lines := number{count: true}
	cmd := &cobra.Command{
		Use:   "log",
		Short: "show what modules printed",
		Long: `Show the lines that modules printed since the host started, and the host's own: the
time since then, in seconds, the thread (- is the host), the text. Old lines give way
to new ones; how many are lost is said where they were.

With -f, lines are shown as they come, until the host halts.`,
		Example: `  klink log
  klink log -n 20
  klink log -f`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: run(func(ctx context.Context, _ []string) error {
			if follow && a.inRun {
				return usage("log -f cannot be a line of klink run")
			}
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			rep, err := c.Log(ctx, kernel.LogRequest{})
			if err != nil {
				return err
			}
			from := uint64(0)
			if all := uint64(len(rep.Lines)); lines.set && lines.v < all {
				rep.Lines = rep.Lines[all-lines.v:]
				if from = rep.Next; len(rep.Lines) > 0 {
					from = rep.Lines[0].Number
				}
				rep.Lost = rep.Next - from - lines.v
			}
			if !follow {
				a.printLog(from, rep)
				return nil
			}
			return a.follow(ctx, c, from, rep)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as lines come")
	cmd.Flags().VarP(&lines, "lines", "n", "only the last `LINES`")
	return cmd
}

// printLog prints a piece of the log that was asked for from that line on. A line
// that is not in it was lost.
func (a *app) printLog(from uint64, r *kernel.LogReport) {
	if a.json {
		printJSON(a, kernel.LogReport{Lines: list(r.Lines), Next: r.Next, Lost: r.Lost})
		return
	}
	lost := func(to uint64) {
		if to > from {
			a.printf("(%s lost)\n", plural(int(to-from), "line"))
		}
	}
	for _, l := range r.Lines {
		lost(l.Number)
		from = l.Number + 1
		thread := "-"
		if l.Thread >= 0 {
			thread = fmt.Sprint(l.Thread)
		}
		a.printf("[%12.6f] %4s  %s\n", time.Duration(l.Time).Seconds(), thread, printable(l.Text))
	}
	lost(r.Next)
}

// follow prints a piece of the log, and those after it as they come, at once. It ends
// well when the host halts. With --json each piece is one line.
func (a *app) follow(ctx context.Context, c *api.Client, from uint64, r *kernel.LogReport) error {
	for {
		if len(r.Lines) > 0 || r.Next > from {
			a.printLog(from, r)
			text := a.out.Bytes()
			if a.json {
				var line bytes.Buffer
				if err := json.Compact(&line, text); err != nil { // klink's own
					panic("BUG: " + err.Error())
				}
				text = append(line.Bytes(), '\n')
			}
			_, err := a.sys.Out.Write(text)
			a.out.Reset()
			if err != nil {
				return diag.New(diag.ErrIO, "", "cannot write the output: %v", err)
			}
		}
		from = r.Next
		asked := time.Now()
		var err error
		if r, err = c.Log(ctx, kernel.LogRequest{From: from, Wait: int64(pollTime)}); err != nil {
			return a.endOfLog(ctx, err)
		}
		if len(r.Lines) == 0 && r.Next == from { // answered early? not again and again
			select {
			case <-time.After(time.Second - time.Since(asked)):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// endOfLog returns what it means that the host did not answer: nothing if it is gone,
// or we are to go.
func (a *app) endOfLog(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, diag.ErrIO) { // it may have ended between two requests
		c, derr := a.dial(ctx)
		if derr == nil {
			c.Close()
			return err
		}
		err = derr
	}
	if errors.Is(err, diag.ErrNoHost) {
		return nil
	}
	return err
}

func (a *app) readCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "read SYMBOL [LENGTH]",
		Short: "dump memory",
		Long: `Print the memory at SYMBOL, as it is now: 16 bytes a line, address, bytes, characters.
SYMBOL is a name (its current provider's), MODULE:NAME, or an address. LENGTH is in
bytes, 4K for 4,096, the symbol's size if left out. Code has klink's own marks
in it: klink dis explains it.`,
		Example: `  klink read counter
  klink read kernel:ring 4K
  klink read 0x10000800 16`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("read: name one SYMBOL, and perhaps a LENGTH")
			}
			return nil
		},
		ValidArgsFunction: a.completeAny,
		RunE: run(func(ctx context.Context, args []string) error {
			r := kernel.ReadRequest{What: args[0]}
			if len(args) > 1 {
				n, err := parseNumber(args[1], true)
				if err != nil || n == 0 {
					return usage("read: %s is not a number of bytes", diag.Quote(args[1]))
				}
				r.Len = n
			}
			rep, err := ask(ctx, a, func(c *api.Client) (*kernel.ReadReport, error) { return c.Read(ctx, r) })
			if err != nil {
				return err
			}
			if a.json {
				printJSON(a, rep)
				return nil
			}
			a.printMemory(rep)
			return nil
		}),
	}
}

// perLine is how many bytes of memory stand in a line.
const perLine = 16

// printMemory prints bytes as hexdump -C does, below what they are.
func (a *app) printMemory(r *kernel.ReadReport) {
	a.printf("%s", r.Addr)
	if r.Symbol != "" {
		a.printf(" %s,", esc(r.Symbol))
	}
	a.printf(" %s\n", plural(len(r.Bytes), "byte"))
	for i := 0; i < len(r.Bytes); i += perLine {
		line := r.Bytes[i:min(i+perLine, len(r.Bytes))]
		var hex, text strings.Builder
		for n, b := range line {
			if n == perLine/2 {
				hex.WriteByte(' ')
			}
			fmt.Fprintf(&hex, " %02x", b)
			if b < ' ' || b > '~' {
				b = '.'
			}
			text.WriteByte(b)
		}
		a.printf("  %08x %-49s  |%s|\n", uint64(r.Addr)+uint64(i), hex.String(), text.String())
	}
}
