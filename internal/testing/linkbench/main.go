// Linkbench times whole linker processes on the same objects, one after the other in
// turns, so that whatever else the machine does hits all of them alike.
//
//	linkbench -n 11 -out /dev/shm OBJECT... -- "name=command with {out}" ...
//
// Each command gets the objects appended and writes its image to {out}. The table
// gives the median and the range of the wall time, the median processor time, the
// largest resident set, and the ratio of the median wall time to the first command's.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type contender struct {
	name string
	argv []string
	wall []time.Duration
	cpu  []time.Duration
	rss  int64 // KiB
	size int64 // of the image, bytes
}

func main() {
	n := flag.Int("n", 11, "runs of each command")
	dir := flag.String("out", os.TempDir(), "folder for the images, a tmpfs")
	flag.Parse()
	objects, list, err := parse(flag.Args(), *dir)
	if err == nil {
		err = run(list, objects, *n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "linkbench:", err)
		os.Exit(1)
	}
	print(list, len(objects), *n)
}

// parse splits the arguments into objects and commands.
func parse(args []string, dir string) (objects []string, list []*contender, err error) {
	at := slices.Index(args, "--")
	if at < 1 || at == len(args)-1 {
		return nil, nil, errors.New("usage: linkbench [-n RUNS] [-out DIR] OBJECT… -- NAME=COMMAND…")
	}
	for _, s := range args[at+1:] {
		name, command, ok := strings.Cut(s, "=")
		if !ok {
			return nil, nil, fmt.Errorf("%q is no NAME=COMMAND", s)
		}
		out := filepath.Join(dir, fmt.Sprintf("linkbench.%d.%s", os.Getpid(), strings.ReplaceAll(name, "/", "_")))
		list = append(list, &contender{name: name, argv: strings.Fields(strings.ReplaceAll(command, "{out}", out))})
	}
	return args[:at], list, nil
}

// run runs every command once to warm the page cache, then n times in turns.
func run(list []*contender, objects []string, n int) error {
	for i := -1; i < n; i++ {
		for _, c := range list {
			if err := c.once(objects, i >= 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *contender) once(objects []string, count bool) error {
	cmd := exec.Command(c.argv[0], append(slices.Clone(c.argv[1:]), objects...)...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	wall := time.Since(start)
	if err != nil {
		return fmt.Errorf("%s: %w\n%.2000s", c.name, err, out)
	}
	for _, a := range c.argv {
		if st, err := os.Stat(a); err == nil && strings.Contains(a, "linkbench.") {
			c.size = st.Size()
			os.Remove(a)
		}
	}
	if count {
		c.wall = append(c.wall, wall)
		c.cpu = append(c.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			c.rss = max(c.rss, ru.Maxrss)
		}
	}
	return nil
}

func median[T cmp.Ordered](v []T) T {
	slices.Sort(v)
	return v[len(v)/2]
}

func print(list []*contender, objects, n int) {
	fmt.Printf("%d objects, %d runs each, in turns\n", objects, n)
	fmt.Printf("%-12s %10s %21s %10s %10s %10s %6s\n", "linker", "wall", "range", "cpu", "peak RSS", "image", "ratio")
	first := median(list[0].wall)
	for _, c := range list {
		w := median(c.wall)
		fmt.Printf("%-12s %7d ms %7d – %7d ms %7d ms %6d MiB %6d MiB %6.2f\n", c.name, w.Milliseconds(),
			c.wall[0].Milliseconds(), c.wall[len(c.wall)-1].Milliseconds(), median(c.cpu).Milliseconds(),
			c.rss>>10, c.size>>20, float64(w)/float64(first))
	}
}
