package kernel

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/insn"
	"klink/internal/link"
)

// Where the bytes of an offline link go. A module is linked into a buffer that its
// worker uses again for the next one, and written from there: what is held in memory
// is one module a worker, not the image.

// scratch is a worker's memory.
type scratch struct {
	buf     []byte
	sites   []link.Site
	symbols symbolTable
}

// blocks returns zeroed memory for a module's blocks.
func (s *scratch) blocks(m *module) (out [link.Regions][]byte) {
	need := uint64(0)
	for _, n := range m.lm.Init {
		need += n
	}
	if uint64(cap(s.buf)) < need {
		s.buf = make([]byte, need)
	} else {
		clear(s.buf[:need])
	}
	off := uint64(0)
	for r, n := range m.lm.Init {
		out[r] = s.buf[off : off+n : off+n]
		off += n
	}
	return out
}

// write links every module and puts its bytes where r says.
func (l *offline) write(r LinkRequest) (err error) {
	img, err := l.createImage(r.Output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, img.close(err == nil)) }()
	dump, err := newDump(r.DumpDir, len(l.fresh))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dump.close(err == nil)) }()
	pool := make(chan *scratch, len(l.fresh))
	err = parallel(len(l.fresh), func(i int) error {
		var s *scratch
		select {
		case s = <-pool:
		default:
			s = &scratch{}
		}
		defer func() { pool <- s }()
		m := l.fresh[i]
		out := s.blocks(m)
		res, err := m.lm.Apply(&link.Input{At: m.at, Answers: l.answers(m), Static: l.static, Sites: s.sites}, out)
		if err != nil {
			return err
		}
		m.nsites, s.sites = len(res.Sites), res.Sites
		if err := img.module(l, i, out, &s.symbols); err != nil {
			return err
		}
		return dump.module(m, i, out)
	})
	if err != nil {
		return err
	}
	if err := img.finish(l); err != nil {
		return err
	}
	return dump.finish(l)
}

// dump writes the folder of --dump; a nil *dump writes nothing. The files are made in
// a folder beside it and moved when all are there, layout.json last.
type dump struct {
	dir   string // where the files are made
	final string
	mods  []dumpModule
}

// The form of layout.json, which other linkers are pinned with.
type (
	dumpLayout struct {
		Machine   string       `json:"machine"`
		Live      bool         `json:"live,omitempty"` // not --static: with entries and sites
		Objects   []dumpObject `json:"objects"`
		Externals []dumpSymbol `json:"externals"`
		GOTs      []dumpGOT    `json:"gots"`
		Entries   []dumpJump   `json:"entries,omitempty"` // of names that somebody provides
		Veneers   []dumpJump   `json:"veneers,omitempty"` // those that are in use
	}
	dumpObject struct {
		File     string        `json:"file"`
		Member   string        `json:"member"`
		Sections []dumpSection `json:"sections"`
		Commons  []dumpCommon  `json:"commons"`
		IFuncs   []dumpIFunc   `json:"ifuncs,omitempty"`
	}
	dumpSection struct {
		Index int    `json:"index"`
		Name  string `json:"name"`
		Addr  Addr   `json:"addr"`
		Size  uint64 `json:"size"`
		File  string `json:"file"` // of its bytes, in the folder; "" for NOBITS and empty ones
	}
	dumpCommon struct {
		Name string `json:"name"`
		Addr Addr   `json:"addr"`
		Size uint64 `json:"size"`
	}
	dumpIFunc struct {
		Symbol int  `json:"symbol"` // index in the object's symbol table
		Addr   Addr `json:"addr"`   // of the stub that stands for it
	}
	dumpSymbol struct {
		Name string `json:"name"`
		Addr Addr   `json:"addr"`
	}
	dumpJump struct {
		Name string `json:"name"` // of the symbol to whose provider it leads
		Addr Addr   `json:"addr"`
		Code string `json:"code"` // "e9 fb ff ff ff"
	}
	dumpGOT struct {
		Module string `json:"module"`
		Addr   Addr   `json:"addr"`
		Size   uint64 `json:"size"`
		File   string `json:"file"`
	}
	dumpModule struct {
		objects []dumpObject
		got     *dumpGOT
		veneers []dumpJump
	}
)

func newDump(dir string, modules int) (*dump, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return nil, writeError(dir, err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".")
	if err != nil {
		return nil, writeError(dir, err)
	}
	return &dump{dir: work, final: dir, mods: make([]dumpModule, modules)}, nil
}

// close moves the files to their folder if all are there, else removes them.
func (d *dump) close(whole bool) error {
	if d == nil {
		return nil
	}
	defer os.RemoveAll(d.dir)
	if !whole {
		return nil
	}
	files, err := os.ReadDir(d.dir)
	if err == nil {
		err = os.MkdirAll(d.final, 0o777)
	}
	if err != nil {
		return writeError(d.final, err)
	}
	for _, f := range files { // sorted: "layout.json" comes after the digits
		if err := os.Rename(filepath.Join(d.dir, f.Name()), filepath.Join(d.final, f.Name())); err != nil {
			return writeError(d.final, err)
		}
	}
	return nil
}

// module writes the bytes of module i.
func (d *dump) module(m *module, i int, out [link.Regions][]byte) error {
	if d == nil {
		return nil
	}
	dm := &d.mods[i]
	for oi, o := range m.objects {
		do := dumpObject{File: o.File, Member: o.Member, Sections: []dumpSection{}, Commons: []dumpCommon{}}
		for si := range o.Sections {
			r, off, kept := m.lm.Section(oi, si)
			if !kept {
				continue
			}
			s := &o.Sections[si]
			ds := dumpSection{Index: si, Name: s.Name, Addr: Addr(m.at[r] + off), Size: s.Size}
			if s.Size > 0 && s.Type != elfload.Nobits {
				ds.File = fmt.Sprintf("%d-%d-%d.bin", i, oi, si)
				if err := d.file(ds.File, out[r][off:off+s.Size]); err != nil {
					return err
				}
			}
			do.Sections = append(do.Sections, ds)
		}
		for i := range o.Symbols {
			if s := &o.Symbols[i]; s.Type == elfload.IFunc && s.Where == elfload.InSection {
				do.IFuncs = append(do.IFuncs, dumpIFunc{i, Addr(m.lm.Symbol(oi, i, m.at))})
			}
		}
		dm.objects = append(dm.objects, do)
	}
	for _, c := range m.lm.Commons() {
		o := &dm.objects[0]
		o.Commons = append(o.Commons, dumpCommon{c.Name, Addr(m.at[link.Data] + c.Off), c.Size})
	}
	form := insn.FarJump
	for _, v := range m.lm.Veneers() {
		code := out[link.Text][v.Off:][:form.Len()]
		if _, used := form.Target(code, m.at[link.Text]+v.Off); used {
			dm.veneers = append(dm.veneers, dumpJump{m.lm.Names[v.Name].Name, Addr(m.at[link.Text] + v.Off), fmt.Sprintf("% x", code)})
		}
	}
	// A GOT without slots has an address all the same: code may count from there.
	off, size := m.lm.GOT()
	dm.got = &dumpGOT{Module: m.name, Addr: Addr(m.at[link.Tables] + off), Size: size}
	if size == 0 {
		return nil
	}
	dm.got.File = fmt.Sprintf("%d-got.bin", i)
	return d.file(dm.got.File, out[link.Tables][off:off+size])
}

func (d *dump) file(name string, b []byte) error {
	if err := os.WriteFile(filepath.Join(d.dir, name), b, 0o666); err != nil {
		return writeError(filepath.Join(d.final, name), err)
	}
	return nil
}

// finish writes layout.json.
func (d *dump) finish(l *offline) error {
	if d == nil {
		return nil
	}
	layout := dumpLayout{Machine: l.machine.String(), Live: !l.static, Objects: []dumpObject{}, Externals: []dumpSymbol{}, GOTs: []dumpGOT{}}
	for _, dm := range d.mods {
		layout.Objects = append(layout.Objects, dm.objects...)
		layout.Veneers = append(layout.Veneers, dm.veneers...)
		if dm.got != nil {
			layout.GOTs = append(layout.GOTs, *dm.got)
		}
	}
	for _, e := range l.externals {
		layout.Externals = append(layout.Externals, dumpSymbol{e.name, Addr(e.addr)})
	}
	text := l.entryBytes()
	for i, s := range l.slots {
		if l.change.Current(s).Module == 0 {
			continue // an external
		}
		name, _ := l.change.SlotName(s)
		code := text[uint64(i)*l.entrySize:][:l.entryForm.Len()]
		layout.Entries = append(layout.Entries, dumpJump{name, Addr(l.index[s]), fmt.Sprintf("% x", code)})
	}
	for _, m := range l.fresh {
		for name, addr := range m.lm.Specials(m.at) {
			layout.Externals = append(layout.Externals, dumpSymbol{name, Addr(addr)})
		}
	}
	for name, addr := range l.define {
		layout.Externals = append(layout.Externals, dumpSymbol{name, Addr(addr)})
	}
	slices.SortFunc(layout.Externals, func(a, b dumpSymbol) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Addr, b.Addr)) })
	b, err := json.MarshalIndent(layout, "", "  ")
	if err != nil {
		return err
	}
	return d.file("layout.json", append(b, '\n'))
}

// writeError says in one line why a file could not be written.
func writeError(name string, err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	}
	return diag.New(diag.ErrIO, name, "%v", err)
}
