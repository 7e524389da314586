// Linkbench times whole linker processes on the same objects, one after the other in
// turns, so that whatever else the machine does hits all of them alike.
//
//	linkbench -n 11 -out /dev/shm OBJECT... -- "name=command with {out}" ...
//
// Each command gets the objects appended and writes its image to {out}. One that has
// {from:FOLDER} in it gets the objects of the same names in that folder instead. The
// table gives of the wall time the median and the range, the median processor time, the
// largest resident set, the image, and how the medians and the resident set compare
// with the first command's.
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
	from string // folder of its objects, "" for those of all
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
		out := filepath.Join(dir, fmt.Sprintf("linkbench.%d.%d", os.Getpid(), len(list)))
		c := &contender{name: name}
		for _, word := range strings.Fields(strings.ReplaceAll(command, "{out}", out)) {
			if from, ok := strings.CutPrefix(word, "{from:"); ok {
				c.from = strings.TrimSuffix(from, "}")
			} else {
				c.argv = append(c.argv, word)
			}
		}
		list = append(list, c)
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
	args := slices.Clone(c.argv[1:])
	for _, o := range objects {
		if c.from != "" {
			o = filepath.Join(c.from, filepath.Base(o))
		}
		args = append(args, o)
	}
	cmd := exec.Command(c.argv[0], args...)
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
	fmt.Printf("%d objects, %d runs each, in turns; the last columns compare with %s\n", objects, n, list[0].name)
	fmt.Printf("%-18s %10s %21s %10s %10s %10s %6s %6s %6s\n", "linker", "wall", "range", "cpu", "peak RSS", "image", "wall", "cpu", "RSS")
	wall, cpu := median(list[0].wall), median(list[0].cpu)
	for _, c := range list {
		w, p, image := median(c.wall), median(c.cpu), "none"
		if c.size > 0 {
			image = fmt.Sprintf("%d MiB", c.size>>20)
		}
		fmt.Printf("%-18s %7d ms %7d – %8d ms %7d ms %6d MiB %10s %6.2f %6.2f %6.2f\n", c.name, w.Milliseconds(),
			c.wall[0].Milliseconds(), c.wall[len(c.wall)-1].Milliseconds(), p.Milliseconds(), c.rss>>10, image,
			float64(w)/float64(wall), float64(p)/float64(cpu), float64(c.rss)/float64(list[0].rss))
	}
}
