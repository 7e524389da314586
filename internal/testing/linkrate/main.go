// Linkrate measures klink's linker inside one process, stage by stage on one processor,
// beside the machine's memcpy of the same bytes, and all of it as `klink link` does it.
//
//	linkrate [-n 11] [-out /dev/shm] [-cpu FILE] OBJECT...
//
// Each round does every stage once, so that whatever else the machine does hits all
// alike; the table gives the median and the range of the rounds. MB/s (of 10^6 bytes) is
// of the objects' bytes for what reads them, of the image's for apply; the last column
// compares the processor time with that of the memcpy in the same round.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"klink/internal/elfload"
	"klink/internal/kernel"
	"klink/internal/link"
)

// work is the objects with what the stages make of them, each for the next.
type work struct {
	files   []string
	raw     [][]byte
	objects []*elfload.Object
	mods    []*link.Module
	inputs  []link.Input
	out     [link.Regions][]byte
	copy    []byte
	image   string // file of the whole link

	bytes, made, relocs int64
}

// stage is one thing that is timed.
type stage struct {
	name  string
	run   func(w *work) error
	bytes func(w *work) int64
	rels  bool // it handles relocations
	times []time.Duration
	cpu   []time.Duration
}

var stages = []*stage{
	{name: "memcpy", run: (*work).memcpy, bytes: (*work).input},
	{name: "parse", run: (*work).parse, bytes: (*work).input, rels: true},
	{name: "gather", run: (*work).gather, bytes: (*work).input, rels: true},
	{name: "apply", run: (*work).apply, bytes: (*work).output, rels: true},
	{name: "whole, no image", run: (*work).plain, bytes: (*work).input, rels: true},
	{name: "whole, image", run: (*work).whole, bytes: (*work).input, rels: true},
}

func main() {
	n := flag.Int("n", 11, "rounds")
	dir := flag.String("out", os.TempDir(), "folder for the image, a tmpfs")
	cpu := flag.String("cpu", "", "write a processor profile to this file")
	only := flag.String("stage", "", "time this stage alone")
	flag.Parse()
	if err := run(flag.Args(), *n, *dir, *cpu, *only); err != nil {
		fmt.Fprintln(os.Stderr, "linkrate:", err)
		os.Exit(1)
	}
}

func run(files []string, n int, dir, cpu, only string) error {
	w := &work{files: files, image: filepath.Join(dir, fmt.Sprintf("linkrate.%d", os.Getpid()))}
	defer os.Remove(w.image)
	if err := w.prepare(); err != nil {
		return err
	}
	if cpu != "" {
		f, err := os.Create(cpu)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for range n {
		for _, s := range stages {
			if only != "" && s.name != only {
				continue
			}
			runtime.GC() // each stage pays for its own garbage only
			start, before := time.Now(), processor()
			if err := s.run(w); err != nil {
				return err
			}
			s.times = append(s.times, time.Since(start))
			s.cpu = append(s.cpu, processor()-before)
		}
	}
	w.print(n)
	return nil
}

// processor is the time that all processors spent on this process.
func processor() time.Duration {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// prepare reads the files and does each stage once, which also counts.
func (w *work) prepare() error {
	for _, f := range w.files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		w.raw = append(w.raw, raw)
		w.bytes += int64(len(raw))
	}
	w.copy = make([]byte, w.bytes)
	w.objects = make([]*elfload.Object, len(w.raw))
	w.mods = make([]*link.Module, len(w.raw))
	if err := w.memcpy(); err != nil {
		return err
	}
	if err := w.parse(); err != nil {
		return err
	}
	if err := w.gather(); err != nil {
		return err
	}
	w.place()
	return w.apply()
}

func (w *work) input() int64  { return w.bytes }
func (w *work) output() int64 { return w.made }

func (w *work) memcpy() error {
	at := 0
	for _, b := range w.raw {
		at += copy(w.copy[at:], b)
	}
	return nil
}

func (w *work) parse() (err error) {
	for i, b := range w.raw {
		if w.objects[i], err = elfload.Parse(w.files[i], "", b); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) gather() (err error) {
	for i, o := range w.objects {
		if w.mods[i], err = link.Gather(link.Unit{Name: o.File, Objects: []*elfload.Object{o}}); err != nil {
			return err
		}
	}
	return nil
}

// Where place puts the modules: below 2 GiB, so that every relocation fits.
const (
	baseAddr = 0x10000000
	stranger = 0x10000000 - 16 // where names of other modules lead
)

// place gives every module addresses and every name an answer. Names that a module
// defines lead to it, as sites; all others to one place.
func (w *work) place() {
	w.inputs = make([]link.Input, len(w.mods))
	at := uint64(baseAddr)
	var most [link.Regions]uint64
	for i, m := range w.mods {
		in := &w.inputs[i]
		for r := range in.At {
			at = (at + m.Align[r] - 1) &^ (m.Align[r] - 1)
			in.At[r] = at
			at += m.Size[r]
			w.made += int64(m.Init[r])
			most[r] = max(most[r], m.Init[r])
		}
		w.relocs += int64(m.Relocs)
		in.Answers = make([]link.Answer, len(m.Names))
		for id := range m.Names {
			a := link.Answer{Branch: stranger, Address: stranger, Slot: 1}
			if own, _, ok := m.Own(link.NameID(id), in.At); ok {
				a.Branch, a.Address = own, own
			}
			in.Answers[id] = a
		}
	}
	for r := range w.out {
		w.out[r] = make([]byte, most[r])
	}
}

// apply links every module into the same memory, as `klink link` does.
func (w *work) apply() error {
	var sites []link.Site
	for i, m := range w.mods {
		in := &w.inputs[i]
		in.Sites = sites
		var out [link.Regions][]byte
		for r := range out {
			out[r] = w.out[r][:m.Init[r]]
			clear(out[r])
		}
		res, err := m.Apply(in, out)
		if err != nil {
			return err
		}
		sites = res.Sites
	}
	return nil
}

// link is all of `klink link`, on all processors, and like that collects no garbage. The
// heap has its memory from the rounds before, so none is prepared.
func (w *work) link(output string) error {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	r := kernel.LinkRequest{TrapExternals: true, Output: output}
	for _, f := range w.files {
		r.Modules = append(r.Modules, kernel.ModuleSpec{Files: []kernel.Source{{Name: f, Path: f}}})
	}
	_, err := kernel.Link(r)
	return err
}

func (w *work) plain() error { return w.link("") }
func (w *work) whole() error { return w.link(w.image) }

func (w *work) print(n int) {
	fmt.Printf("%d objects, %d relocations, %.1f MB of objects, %.1f MB of images, %d rounds\n",
		len(w.files), w.relocs, float64(w.bytes)/1e6, float64(w.made)/1e6, n)
	fmt.Printf("%-16s %10s %21s %10s %10s %8s %9s\n", "stage", "median", "range", "cpu", "Mreloc/s", "MB/s", "× memcpy")
	for _, s := range stages {
		if len(s.times) == 0 {
			continue
		}
		m, lo, hi := spread(s.times)
		cpu, _, _ := spread(s.cpu)
		rels := "-"
		if s.rels {
			rels = fmt.Sprintf("%.1f", float64(w.relocs)/m.Seconds()/1e6)
		}
		fmt.Printf("%-16s %7.1f ms %7.1f – %8.1f ms %7.1f ms %10s %8.0f %9s\n", s.name, ms(m), ms(lo), ms(hi), ms(cpu), rels,
			float64(s.bytes(w))/m.Seconds()/1e6, against(s, stages[0]))
	}
}

// against is the median of the rounds' ratios to another stage's processor time.
func against(s, to *stage) string {
	if len(s.cpu) != len(to.cpu) {
		return "-"
	}
	r := make([]float64, len(s.cpu))
	for i := range r {
		r[i] = float64(s.cpu[i]) / float64(max(1, to.cpu[i]))
	}
	m, _, _ := spread(r)
	return fmt.Sprintf("%.2f", m)
}

// spread returns the median, the least and the greatest; v stays as it is.
func spread[T cmp.Ordered](v []T) (median, lo, hi T) {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2], s[0], s[len(s)-1]
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
