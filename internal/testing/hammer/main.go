// Hammer calls through every kind of site on several threads while modules come and
// go at random, and looks at each answer: it must be one that was right at some moment
// of its call, and none may be older than the one before on the same thread. What is
// right follows from a model of the stacks. See testdata/objs/hammer/hammer.h.
//
//	hammer -seconds 60 -threads 2 -seed 1 -objs testdata/objs
//	hammer -cycles 100000 -look 10000 -threads 1
//
// It prints a table, and fails if any call went wrong. With -cycles it makes so many
// loads and unloads, and fails if anything grows by them, too.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"klink/internal/insn"
)

func main() {
	seconds := flag.Float64("seconds", 60, "how long")
	threads := flag.Int("threads", 2, "how many threads call")
	seed := flag.Uint64("seed", 1, "of the order of loads and unloads")
	objs := flag.String("objs", "testdata/objs", "folder of the fixtures")
	cycles := flag.Int("cycles", 0, "soak: how many loads and unloads")
	look := flag.Int("look", 0, "soak: how many of them between two looks (default: a twentieth)")
	flag.Parse()
	cfg := config{objs: *objs, threads: *threads, seed: *seed}
	err := error(nil)
	if *cycles > 0 {
		err = runSoak(cfg, *cycles, cmp.Or(*look, max(1, *cycles/20)))
	} else {
		err = run(cfg, time.Duration(*seconds*float64(time.Second)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hammer:", err)
		os.Exit(1)
	}
}

// run hammers for so long, a tenth of it without any switch, and prints the table.
func run(cfg config, long time.Duration) error {
	h, err := start(context.Background(), cfg)
	if err != nil {
		return err
	}
	began, first := time.Now(), h.now()
	time.Sleep(long / 10)
	h.phase(phaseSwitches)
	control := h.calls()
	err = h.loop(long - long/10)
	f := figures{h: h, seed: cfg.seed, control: control}
	f.took = time.Since(began)
	f.perSecond = float64(h.now()-first) / f.took.Seconds()
	err = errors.Join(err, h.stop())
	f.print()
	for _, c := range h.complaints() {
		fmt.Println(c)
	}
	if n := h.wrong(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d calls went wrong", n))
	}
	if n := h.unchecked(); n > h.calls()/1_000_000 {
		err = errors.Join(err, fmt.Errorf("%d calls could not be checked", n))
	}
	return errors.Join(err, h.close())
}

// loop makes commands for so long, or until a call has gone wrong.
func (h *hammer) loop(long time.Duration) error {
	began, told := time.Now(), time.Now()
	for time.Since(began) < long && h.wrong() == 0 {
		if _, err := h.step(); err != nil {
			return err
		}
		if terminal && time.Since(told) > time.Second {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "\r%v: %s calls, %s commands, %d wrong ", time.Since(began).Round(time.Second),
				grouped(h.calls()), grouped(uint64(h.commands)), h.wrong())
		}
	}
	if terminal {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	return nil
}

// terminal says that somebody is watching.
var terminal = func() bool {
	st, err := os.Stderr.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}()

// figures is what the table shows.
type figures struct {
	h         *hammer
	seed      uint64
	control   uint64 // calls of the control run
	took      time.Duration
	perSecond float64 // ticks
}

func (f *figures) print() {
	h := f.h
	calls := h.calls()
	fmt.Printf("hammer on %v: %d threads over %d sites, seed %d, %.1f s, the first tenth without switches\n",
		h.machine, h.threads, len(h.sites), f.seed, f.took.Seconds())
	row := func(name, format string, args ...any) { fmt.Printf("%-16s %s\n", name, fmt.Sprintf(format, args...)) }
	row("calls", "%15s   %s a second, %s in the control run", grouped(calls), grouped(uint64(float64(calls)/f.took.Seconds())), grouped(f.control))
	row("commands", "%15s   loads and unloads of up to %d modules", grouped(uint64(h.commands)), maxBatch)
	row("switches", "%15s   %s sites", grouped(uint64(len(h.switches))), grouped(uint64(h.moved)))
	row("traps", "%15s", grouped(h.traps))
	row("wrong targets", "%15s", grouped(h.wrong()))
	row("unchecked", "%15s", grouped(h.unchecked()))
	row("longest stall", "%12.3f ms   %.3f ms in the control run", f.ms(h.gap(phaseSwitches)), f.ms(h.gap(phaseControl)))
	if s := slices.Sorted(slices.Values(h.switches)); len(s) > 0 {
		row("switch", "%12.1f µs   median; p99 %.1f µs, longest %.1f µs", micros(s[len(s)/2]), micros(s[len(s)*99/100]), micros(s[len(s)-1]))
	}
}

// ms turns ticks into milliseconds.
func (f *figures) ms(ticks uint64) float64 { return float64(ticks) / f.perSecond * 1e3 }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// grouped writes a number with commas.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// formName names a form of hammer_sites.
func formName(form int) string {
	switch form {
	case formShort:
		return "veneer of a short branch"
	case formEntry:
		return "entry"
	case formFar:
		return "jump in run.c"
	case int(insn.Jcc32):
		return "conditional jump"
	}
	return insn.Form(form).String()
}
