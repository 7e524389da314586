package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"klink/internal/arch"
	"klink/internal/kernel"
)

// host is a real host without a runner, and the model beside it.
type host struct {
	world
	k       *kernel.Kernel
	machine arch.Machine
	dir     string
	placed  map[*module][][]uint64 // addresses of sections, by object
	entries map[string]uint64      // canonical addresses seen, by "f" or "m:super_f"
	mem     *image
	seen    tally
}

// tally counts what was compared.
type tally struct {
	loads, unloads, loaded, unloaded   int // commands that went through, and their modules
	refused, reasons                   int // commands that were refused, and why
	steps, symbols, places, sites      int // comparisons: of symbols, places of stacks, decoded branches
	addresses, entries, moves, deepest int
	most                               int            // sites at once
	why                                map[string]int // reasons by the fact's name
}

// arenaSize has room for a whole C library twice.
const arenaSize = 12 << 20

// newHost makes an empty host of an arena of so many bytes. Its files are written to dir.
func newHost(m arch.Machine, dir string, size uint64) (*host, error) {
	k, err := kernel.New(kernel.Config{Bare: true, Machine: m, ArenaBase: 0x20000000, ArenaSize: size})
	if err != nil {
		return nil, err
	}
	return &host{k: k, machine: m, dir: dir, placed: map[*module][][]uint64{}, entries: map[string]uint64{}, seen: tally{why: map[string]int{}}}, nil
}

// spec writes a module's files, once, and names them.
func (h *host) spec(m *module) (kernel.ModuleSpec, error) {
	spec := kernel.ModuleSpec{As: m.name}
	for _, o := range m.objs {
		path := filepath.Join(h.dir, o.file)
		if _, err := os.Stat(path); err != nil {
			if err := os.WriteFile(path, o.raw, 0o644); err != nil {
				return spec, err
			}
		}
		spec.Files = append(spec.Files, kernel.Source{Name: o.file, Path: path})
	}
	return spec, nil
}

// boot loads the kernel.
func (h *host) boot(m *module) error {
	spec, err := h.spec(m)
	if err != nil {
		return err
	}
	if v := h.world.load([]*module{m}); len(v) > 0 {
		return fmt.Errorf("the kernel does not boot, says the model: %v", v)
	}
	if _, err := h.k.Boot(context.Background(), []kernel.ModuleSpec{spec}); err != nil {
		return err
	}
	h.mods = append(h.mods, m)
	return h.settle([]*module{m})
}

// load loads modules in one command, with a dry run before it if asked for, and compares.
func (h *host) load(batch []*module, dry bool) error {
	var r kernel.LoadRequest
	for _, m := range batch {
		spec, err := h.spec(m)
		if err != nil {
			return err
		}
		r.Modules = append(r.Modules, spec)
	}
	want := h.world.load(batch)
	if r.DryRun = true; dry {
		_, err := h.k.Load(context.Background(), r)
		if err := h.same(want, verdictOf(err), "a dry run of a load"); err != nil {
			return err
		}
		if err := h.unchanged(); err != nil {
			return fmt.Errorf("a dry run of a load: %w", err)
		}
	}
	r.DryRun = false
	c, err := h.k.Load(context.Background(), r)
	if err := h.same(want, verdictOf(err), "a load"); err != nil {
		return err
	}
	if err != nil {
		return h.refused(want, "load")
	}
	before := h.mods
	h.mods = append(slices.Clone(h.mods), batch...)
	h.seen.loads++
	h.seen.loaded += len(batch)
	if err := h.checkMoves(c, before, h.mods); err != nil {
		return err
	}
	return h.settle(batch)
}

// unload unloads modules in one command and compares.
func (h *host) unload(leaving []*module, dry bool) error {
	var r kernel.UnloadRequest
	for _, m := range leaving {
		r.Modules = append(r.Modules, m.name)
	}
	stay, want := h.world.unload(leaving)
	if r.DryRun = true; dry {
		_, err := h.k.Unload(context.Background(), r)
		if err := h.same(want, verdictOf(err), "a dry run of an unload"); err != nil {
			return err
		}
		if err := h.unchanged(); err != nil {
			return fmt.Errorf("a dry run of an unload: %w", err)
		}
	}
	r.DryRun = false
	c, err := h.k.Unload(context.Background(), r)
	if err := h.same(want, verdictOf(err), "an unload"); err != nil {
		return err
	}
	if err != nil {
		return h.refused(want, "unload")
	}
	before := h.mods
	h.mods = stay
	for _, m := range leaving {
		delete(h.placed, m)
		for s, n := range m.needs {
			if n.super != "" {
				delete(h.entries, m.name+":"+s)
			}
		}
	}
	h.seen.unloads++
	h.seen.unloaded += len(leaving)
	if err := h.checkMoves(c, before, stay); err != nil {
		return err
	}
	return h.settle(nil)
}

// same compares the model's verdict with klink's.
func (h *host) same(want, got verdict, what string) error {
	if slices.Equal(want, got) {
		return nil
	}
	err := fmt.Errorf("%s: the model and klink disagree", what)
	for _, w := range want {
		if !slices.Contains(got, w) {
			err = fmt.Errorf("%w\n  only the model: %s", err, w)
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			err = fmt.Errorf("%w\n  only klink: %s", err, g)
		}
	}
	return err
}

// refused counts a refusal and sees that nothing changed.
func (h *host) refused(v verdict, what string) error {
	h.seen.refused++
	h.seen.reasons += len(v)
	for _, fact := range v {
		what, _, _ := strings.Cut(fact, "|")
		h.seen.why[what]++
	}
	if err := h.unchanged(); err != nil {
		return fmt.Errorf("a refused %s: %w", what, err)
	}
	return nil
}

// unchanged fails if a byte of the arena differs from what it was after the last command,
// or if the list of modules does.
func (h *host) unchanged() error {
	now, err := h.read()
	if err != nil {
		return err
	}
	if now.sum() != h.mem.sum() {
		return fmt.Errorf("memory changed: %s", now.diff(h.mem))
	}
	for i, m := range h.k.List() {
		if i >= len(h.mods) || m.Name != h.mods[i].name {
			return fmt.Errorf("the modules changed: number %d is %s", i, m.Name)
		}
	}
	return nil
}

// settle looks where fresh modules lie and compares all there is.
func (h *host) settle(fresh []*module) error {
	var err error
	if h.mem, err = h.read(); err != nil {
		return err
	}
	for _, m := range fresh {
		if err := h.locate(m); err != nil {
			return err
		}
	}
	h.seen.steps++
	return h.check()
}

// locate notes where the sections of a module are. That they are there, the bytes show.
func (h *host) locate(m *module) error {
	info, err := h.k.Info(m.name)
	if err != nil {
		return err
	}
	at := map[string]uint64{}
	for _, s := range info.Sections {
		at[s.File+":"+s.Name] = uint64(s.Addr)
	}
	h.placed[m] = make([][]uint64, len(m.objs))
	for i, o := range m.objs {
		for n := range o.secs {
			s := &o.secs[n]
			addr, ok := at[o.file+":"+s.name]
			if !ok {
				return fmt.Errorf("%s: section %s of %s is not there", m.name, s.name, o.file)
			}
			h.placed[m][i] = append(h.placed[m][i], addr)
			if err := h.copied(o, n, addr); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return nil
}

// copied compares a section of an object without relocations in memory with the file.
func (h *host) copied(o *object, n int, addr uint64) error {
	s := &o.secs[n]
	if s.relocated || s.size == 0 {
		return nil
	}
	want := s.data
	if want == nil {
		want = make([]byte, s.size)
	}
	if !bytes.Equal(want, h.mem.at(addr, s.size)) {
		return fmt.Errorf("section %s of %s is not at %#x", s.name, o.file, addr)
	}
	return nil
}

// image is the arena as it stood at one moment.
type image struct{ parts []part }

// part is one region, as far as it exists; what fills it behind that is fill.
type part struct {
	addr, end uint64
	bytes     []byte
}

// chunk is what the length of text grows by a multiple of, bytes; most is read at once.
const (
	chunk = 64 << 10
	most  = 1 << 20
)

// read copies the whole arena.
func (h *host) read() (*image, error) {
	img := &image{}
	for _, r := range h.k.Status().Regions {
		p := part{addr: uint64(r.Addr), end: uint64(r.Addr) + r.Size, bytes: make([]byte, 0, r.Size)}
		n := uint64(most)
		for at := p.addr; at < p.end; {
			rep, err := h.k.Read(kernel.ReadRequest{What: fmt.Sprintf("%#x", at), Len: n})
			switch {
			case err == nil:
				p.bytes = append(p.bytes, rep.Bytes...)
				at += n
			case r.Name == "text" && n > chunk:
				n = chunk
			case r.Name == "text": // what was never used does not exist
				at = p.end
			default:
				return nil, err
			}
		}
		img.parts = append(img.parts, p)
	}
	return img, nil
}

// at returns n bytes at an address, nil if they are not there.
func (img *image) at(addr, n uint64) []byte {
	for i := range img.parts {
		p := &img.parts[i]
		if addr >= p.addr && addr-p.addr <= uint64(len(p.bytes)) && uint64(len(p.bytes))-(addr-p.addr) >= n {
			return p.bytes[addr-p.addr:][:n]
		}
	}
	return nil
}

// sum is a hash of all bytes; text that is not used yet, and holds traps, counts as
// text that does not exist yet.
func (img *image) sum() [sha256.Size]byte {
	hash := sha256.New()
	for i, p := range img.parts {
		b := p.bytes
		for i == 0 && len(b) >= chunk && (traps(arch.AMD64, b[len(b)-chunk:]) || traps(arch.ARM64, b[len(b)-chunk:])) {
			b = b[:len(b)-chunk]
		}
		fmt.Fprintf(hash, "%d:", len(b))
		hash.Write(b)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// diff names the first byte that differs from another image.
func (img *image) diff(old *image) string {
	for i, p := range img.parts {
		q := old.parts[i]
		for k := range min(len(p.bytes), len(q.bytes)) {
			if p.bytes[k] != q.bytes[k] {
				return fmt.Sprintf("%#x was %02x, is %02x", p.addr+uint64(k), q.bytes[k], p.bytes[k])
			}
		}
	}
	return "text grew"
}
