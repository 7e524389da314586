package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"klink/internal/elfload"
	"klink/internal/link"
)

// The ELF file of `klink link -o`: ET_EXEC without an entry point, one segment and
// one section a region, and a symbol table, so that objdump, readelf and gdb show
// what was linked. Fields and sizes are the gABI's (chapters 4 and 5), little-endian.

const (
	ehdrSize  = 64
	phdrSize  = 56
	shdrSize  = 64
	symSize   = 24
	imageHead = filePage // file offset of the first byte of text
)

// The image's sections, by section header index.
const (
	shText = iota + 1
	shTables
	shData
	shBSS
	shSymtab
	shStrtab
	shShstrtab
	shCount
)

const shAbs = 0xfff1 // SHN_ABS

// image is the file under way; a nil *image writes nothing. Where everything goes is
// known before the first byte is written, so that workers write side by side.
type image struct {
	f      *os.File
	final  string // where f is moved when it is whole; "" if it is written in place
	beside string // f's name until then
	syms   symbolPlan
}

// symbolPlan says where the symbols of each module go, and after those of the
// modules the entries'. Counts are of Elf64_Sym entries, offsets bytes of the file.
type symbolPlan struct {
	parts    []symbolPart
	locals   int // with the null symbol
	total    int
	strSize  int
	symOff   int64
	strOff   int64
	shstrOff int64
}

// symbolPart is one module's share.
type symbolPart struct{ local, global, str extent }

// extent is n things from number at on.
type extent struct{ at, n int }

// follow puts e behind the first end things and returns where it ends.
func (e *extent) follow(end int) int {
	e.at = end
	return end + e.n
}

// symbolTable collects the symbols of one module.
type symbolTable struct {
	local, global, strs []byte
	str                 int // offset of strs in .strtab
}

// createImage opens the file beside its final name.
func (l *offline) createImage(name string) (*image, error) {
	if name == "" {
		return nil, nil
	}
	img := &image{final: name, syms: l.planSymbols()}
	var err error
	if st, serr := os.Stat(name); serr == nil && !st.Mode().IsRegular() {
		img.final = "" // a device is written to, never replaced
		img.f, err = os.OpenFile(name, os.O_WRONLY, 0)
	} else {
		img.beside = filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%d", filepath.Base(name), os.Getpid()))
		img.f, err = os.OpenFile(img.beside, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	}
	if err != nil {
		return nil, writeError(name, err)
	}
	return img, nil
}

// close moves the file to its name if whole, else removes it.
func (img *image) close(whole bool) error {
	if img == nil {
		return nil
	}
	err := img.f.Close()
	if img.final != "" && whole && err == nil {
		err = os.Rename(img.beside, img.final)
	}
	if img.final != "" && (!whole || err != nil) {
		os.Remove(img.beside)
	}
	if err != nil {
		return writeError(cmp.Or(img.final, img.f.Name()), err)
	}
	return nil
}

// at returns the file offset of an address.
func (l *offline) at(addr uint64) int64 { return imageHead + int64(addr-uint64(l.spans[0].Addr)) }

// write writes b at an offset of the file.
func (img *image) write(b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := img.f.WriteAt(b, off); err != nil {
		return writeError(cmp.Or(img.final, img.f.Name()), err)
	}
	return nil
}

// module writes a module's blocks and symbols. t is the worker's table, used again.
func (img *image) module(l *offline, i int, out [link.Regions][]byte, t *symbolTable) error {
	if img == nil {
		return nil
	}
	m := l.fresh[i]
	for r, b := range out {
		if err := img.write(b, l.at(m.at[r])); err != nil {
			return err
		}
	}
	if err := img.traps(l, m.at[link.Text]+m.lm.Size[link.Text], l.textAfter(i)); err != nil {
		return err
	}
	t.reset(&img.syms.parts[i])
	l.eachSymbol(m, t.add)
	return img.symbols(i, t)
}

// textAfter returns the address of the text behind that of module i.
func (l *offline) textAfter(i int) uint64 {
	if i+1 < len(l.fresh) {
		return l.fresh[i+1].at[link.Text]
	}
	return l.entryBase
}

// traps fills the text [lo, hi), a gap, with traps.
func (img *image) traps(l *offline, lo, hi uint64) error {
	const most = 1 << 16
	for ; lo < hi; lo += most {
		b := make([]byte, min(hi-lo, most))
		trap := l.machine.Facts().TrapBytes
		for n := 0; n < len(b); {
			n += copy(b[n:], trap[(lo+uint64(n))%uint64(len(trap)):])
		}
		if err := img.write(b, l.at(lo)); err != nil {
			return err
		}
	}
	return nil
}

// symbols writes part i of the symbol table.
func (img *image) symbols(i int, t *symbolTable) error {
	p := &img.syms.parts[i]
	return errors.Join(
		img.write(t.local, img.syms.symOff+int64(p.local.at)*symSize),
		img.write(t.global, img.syms.symOff+int64(p.global.at)*symSize),
		img.write(t.strs, img.syms.strOff+int64(p.str.at)))
}

// imageSymbol is one symbol on its way into the image.
type imageSymbol struct {
	name        string
	info        uint8
	shndx       uint16
	value, size uint64
}

// local says that a symbol is STB_LOCAL.
func (s imageSymbol) local() bool { return s.info>>4 == uint8(elfload.Local) }

// eachSymbol calls f with every symbol of a module that the image names.
func (l *offline) eachSymbol(m *module, f func(imageSymbol)) {
	for oi, o := range m.objects {
		for i := range o.Symbols {
			s := &o.Symbols[i]
			if s.Name == "" || s.Type == elfload.FileSym || s.Type == elfload.SectionSym {
				continue
			}
			out := imageSymbol{s.Name, uint8(s.Bind)<<4 | uint8(s.Type), shAbs, s.Value, s.Size}
			switch s.Where {
			case elfload.InSection:
				r, off, kept := m.lm.Section(oi, int(s.Section))
				if !kept {
					continue
				}
				out.value += m.at[r] + off
				out.shndx = l.sectionOf(r, out.value)
			case elfload.Absolute:
			default:
				continue
			}
			f(out)
		}
	}
	for _, c := range m.lm.Commons() {
		addr := m.at[link.Data] + c.Off
		f(imageSymbol{c.Name, uint8(elfload.Global)<<4 | uint8(elfload.ObjectType), l.sectionOf(link.Data, addr), addr, c.Size})
	}
}

// eachEntry calls f with a symbol for every entry: a missing name itself, "f@entry"
// for the canonical address of f; and with the names that the command gave a value.
func (l *offline) eachEntry(f func(imageSymbol)) {
	for _, s := range l.slots {
		name, super := l.change.SlotName(s)
		switch {
		case super != 0:
			name = superPrefix + name + entrySuffix
		case l.change.Current(s).Module != 0:
			name += entrySuffix
		}
		f(imageSymbol{name, uint8(elfload.Global)<<4 | uint8(elfload.Func), shText, l.index[s], l.entrySize})
	}
	for _, name := range slices.Sorted(maps.Keys(l.define)) {
		f(imageSymbol{name, uint8(elfload.Global) << 4, shAbs, l.define[name], 0})
	}
}

// planSymbols counts the symbols of each module and says where they go.
func (l *offline) planSymbols() symbolPlan {
	p := symbolPlan{parts: make([]symbolPart, len(l.fresh)+1), locals: 1, strSize: 1}
	count := func(n *symbolPart) func(imageSymbol) {
		return func(s imageSymbol) {
			if s.local() {
				n.local.n++
			} else {
				n.global.n++
			}
			n.str.n += len(s.name) + 1
		}
	}
	_ = parallel(len(l.fresh), func(i int) error {
		l.eachSymbol(l.fresh[i], count(&p.parts[i]))
		return nil
	})
	l.eachEntry(count(&p.parts[len(l.fresh)]))
	for i := range p.parts {
		p.locals = p.parts[i].local.follow(p.locals)
		p.strSize = p.parts[i].str.follow(p.strSize)
	}
	p.total = p.locals
	for i := range p.parts {
		p.total = p.parts[i].global.follow(p.total)
	}
	p.symOff = (l.at(l.end) + 7) &^ 7
	p.strOff = p.symOff + int64(p.total)*symSize
	p.shstrOff = p.strOff + int64(p.strSize)
	return p
}

// reset empties the table and makes room for the symbols of a part.
func (t *symbolTable) reset(p *symbolPart) {
	t.local = slices.Grow(t.local[:0], p.local.n*symSize)
	t.global = slices.Grow(t.global[:0], p.global.n*symSize)
	t.strs = slices.Grow(t.strs[:0], p.str.n)
	t.str = p.str.at
}

// add appends one Elf64_Sym.
func (t *symbolTable) add(s imageSymbol) {
	le := binary.LittleEndian
	var e [symSize]byte
	le.PutUint32(e[0:], uint32(t.str+len(t.strs)))
	e[4] = s.info
	le.PutUint16(e[6:], s.shndx)
	le.PutUint64(e[8:], s.value)
	le.PutUint64(e[16:], s.size)
	if s.local() {
		t.local = append(t.local, e[:]...)
	} else {
		t.global = append(t.global, e[:]...)
	}
	t.strs = append(t.strs, s.name...)
	t.strs = append(t.strs, 0)
}

// sectionOf returns the index of the image's section that holds an address.
func (l *offline) sectionOf(r link.Region, addr uint64) uint16 {
	if r == link.Data && addr >= l.end {
		return shBSS
	}
	return uint16(shText + int(r))
}

// finish writes the entries with their symbols, and the headers.
func (img *image) finish(l *offline) error {
	if img == nil {
		return nil
	}
	var t symbolTable
	t.reset(&img.syms.parts[len(l.fresh)])
	l.eachEntry(t.add)
	shstrtab, names := sectionNames()
	shoff := (img.syms.shstrOff + int64(len(shstrtab)) + 7) &^ 7
	headers := img.headers(l, len(shstrtab))
	var table []byte
	for i := range headers {
		table = append(table, headers[i].encode(names[i])...)
	}
	return errors.Join(
		img.symbols(len(l.fresh), &t),
		img.write(l.entryBytes(), l.at(l.entryBase)),
		img.write([]byte(shstrtab), img.syms.shstrOff),
		img.write(table, shoff),
		img.write(l.fileHeader(shoff, &headers), 0))
}

// headers makes the section headers.
func (img *image) headers(l *offline, shstrSize int) [shCount]section {
	p := &img.syms
	headers := [shCount]section{
		shText:     {typ: elfload.Progbits, flags: elfload.Alloc | elfload.Exec, align: filePage},
		shTables:   {typ: elfload.Progbits, flags: elfload.Alloc, align: filePage},
		shData:     {typ: elfload.Progbits, flags: elfload.Alloc | elfload.Write, align: filePage},
		shBSS:      {typ: elfload.Nobits, flags: elfload.Alloc | elfload.Write, align: 1},
		shSymtab:   {typ: elfload.Symtab, off: p.symOff, size: uint64(p.total) * symSize, link: shStrtab, info: uint32(p.locals), align: 8, entsize: symSize},
		shStrtab:   {typ: elfload.Strtab, off: p.strOff, size: uint64(p.strSize), align: 1},
		shShstrtab: {typ: elfload.Strtab, off: p.shstrOff, size: uint64(shstrSize), align: 1},
	}
	for r, span := range l.spans {
		h := &headers[shText+r]
		h.addr, h.off, h.size = uint64(span.Addr), l.at(uint64(span.Addr)), span.Size
	}
	l.splitData(&headers)
	return headers
}

// splitData gives the part of the data region that has no bytes to .bss, and cuts
// off what lies behind the file's last byte.
func (l *offline) splitData(headers *[shCount]section) {
	d, b := &headers[shData], &headers[shBSS]
	all := d.size
	d.size = 0
	if l.end > d.addr {
		d.size = l.end - d.addr
	}
	b.addr, b.off, b.size = d.addr+d.size, d.off+int64(d.size), all-d.size
}

// sectionNames makes .shstrtab and the offset of each section's name in it.
func sectionNames() (string, [shCount]uint32) {
	var off [shCount]uint32
	s := "\x00"
	for i, name := range [shCount]string{shText: ".text", shTables: ".rodata", shData: ".data", shBSS: ".bss", shSymtab: ".symtab", shStrtab: ".strtab", shShstrtab: ".shstrtab"} {
		if name != "" {
			off[i] = uint32(len(s))
			s += name + "\x00"
		}
	}
	return s, off
}

// section is one Elf64_Shdr.
type section struct {
	typ        elfload.SectionType
	flags      elfload.SectionFlags
	addr       uint64
	off        int64
	size       uint64
	link, info uint32
	align      uint64
	entsize    uint64
}

func (s *section) encode(name uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, shdrSize)
	le.PutUint32(b[0:], name)
	le.PutUint32(b[4:], uint32(s.typ))
	le.PutUint64(b[8:], uint64(s.flags))
	le.PutUint64(b[16:], s.addr)
	le.PutUint64(b[24:], uint64(s.off))
	le.PutUint64(b[32:], s.size)
	le.PutUint32(b[40:], s.link)
	le.PutUint32(b[44:], s.info)
	le.PutUint64(b[48:], s.align)
	le.PutUint64(b[56:], s.entsize)
	return b
}

// fileHeader makes the Elf64_Ehdr and one PT_LOAD a region.
func (l *offline) fileHeader(shoff int64, headers *[shCount]section) []byte {
	const (
		etExec = 2
		ptLoad = 1
		pfR    = 4
	)
	le := binary.LittleEndian
	var loads []int // an empty segment would be an error to some loaders
	for r := range link.Regions {
		if l.spans[r].Size > 0 {
			loads = append(loads, r)
		}
	}
	b := make([]byte, ehdrSize+len(loads)*phdrSize)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], etExec)
	le.PutUint16(b[18:], uint16(l.machine))
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], ehdrSize)
	le.PutUint64(b[40:], uint64(shoff))
	le.PutUint16(b[52:], ehdrSize)
	le.PutUint16(b[54:], phdrSize)
	le.PutUint16(b[56:], uint16(len(loads)))
	le.PutUint16(b[58:], shdrSize)
	le.PutUint16(b[60:], shCount)
	le.PutUint16(b[62:], shShstrtab)
	flags := [link.Regions]uint32{pfR | 1, pfR, pfR | 2}
	for i, r := range loads {
		p, h := b[ehdrSize+i*phdrSize:], &headers[shText+r]
		mem := h.size
		if r == int(link.Data) {
			mem += headers[shBSS].size
		}
		le.PutUint32(p[0:], ptLoad)
		le.PutUint32(p[4:], flags[r])
		le.PutUint64(p[8:], uint64(h.off))
		le.PutUint64(p[16:], h.addr)
		le.PutUint64(p[24:], h.addr)
		le.PutUint64(p[32:], h.size)
		le.PutUint64(p[40:], mem)
		le.PutUint64(p[48:], filePage)
	}
	return b
}
