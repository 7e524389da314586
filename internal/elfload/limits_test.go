package elfload_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

// big is the size of the files that are made to exhaust: the largest that gets an answer
// within the memory limit.
const big = 64 << 20

// maxAlloc is what parsing such a file may allocate in all, garbage included: the limit
// of 256 MiB less the file.
const maxAlloc = 256<<20 - big

// shdr and sym are Elf64_Shdr and Elf64_Sym.
type shdr struct {
	name, typ         uint32
	flags, off, size_ uint64
	link, info        uint32
	align, entsize    uint64
}

func putShdr(b []byte, h shdr) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], h.name)
	le.PutUint32(b[4:], h.typ)
	le.PutUint64(b[8:], h.flags)
	le.PutUint64(b[24:], h.off)
	le.PutUint64(b[32:], h.size_)
	le.PutUint32(b[40:], h.link)
	le.PutUint32(b[44:], h.info)
	le.PutUint64(b[48:], h.align)
	le.PutUint64(b[56:], h.entsize)
}

// bigFile is a file of 64 MiB: ELF header, body, and at its end the section headers.
type bigFile struct {
	raw   []byte
	shoff int
	count int
	next  int // free body
}

// newBigFile returns a file with count section headers, all zero; the last holds the
// section names "" and "x".
func newBigFile(count int) *bigFile {
	f := &bigFile{raw: make([]byte, big), shoff: big - 64*count, count: count, next: 64}
	copy(f.raw, objbuild.New(arch.AMD64).
		SetHeader("e_shoff", uint64(f.shoff)).SetHeader("e_shnum", 0).SetHeader("e_shstrndx", 0xffff).Bytes()[:64])
	if count < 0xff00 {
		binary.LittleEndian.PutUint16(f.raw[60:], uint16(count))
		binary.LittleEndian.PutUint16(f.raw[62:], uint16(count-1))
	} else {
		putShdr(f.raw[f.shoff:], shdr{size_: uint64(count), link: uint32(count - 1)})
	}
	return f
}

// add gives the next n bytes of the body to section i and returns them.
func (f *bigFile) add(i, n int, h shdr) []byte {
	h.off, h.size_ = uint64(f.next), uint64(n)
	putShdr(f.raw[f.shoff+64*i:], h)
	f.next += n
	if f.next > f.shoff {
		panic("does not fit")
	}
	return f.raw[f.next-n : f.next]
}

func (f *bigFile) names(text string) {
	copy(f.add(f.count-1, len(text), shdr{typ: objbuild.Strtab}), text)
}

// fillSymtab gives section i as many symbols as there is room for.
func (f *bigFile) fillSymtab(i, strtab int, e []byte) int {
	n := (f.shoff - f.next) / 24
	tab := f.add(i, 24*n, shdr{typ: objbuild.Symtab, link: uint32(strtab), info: 1, entsize: 24})
	for at := 24; at < len(tab); at += 24 {
		copy(tab[at:], e)
	}
	return n
}

// global is an undefined STB_GLOBAL whose name is at offset 1.
var global = []byte{1, 0, 0, 0, 0x10, 0, 0, 0}

// parseBig parses the file and checks what that allocated.
func parseBig(t *testing.T, f *bigFile, limit uint64) (*elfload.Object, error) {
	t.Helper()
	before := totalAlloc()
	o, err := elfload.Parse("a.o", "", f.raw)
	if n := totalAlloc() - before; n > limit {
		t.Errorf("%d bytes allocated, more than %d", n, limit)
	}
	return o, err
}

func TestBigSections(t *testing.T) {
	f := newBigFile(big/64 - 64)
	f.names("\x00x\x00")
	o, err := parseBig(t, f, 64<<10)
	checkRefused(t, o, err, diag.ErrUnsupported, `a.o: 1048512 sections are more than klink's limit of 262144`)

	// The largest number of sections, and the rest of the file full of symbols.
	f = newBigFile(1 << 18)
	f.names("\x00x\x00")
	for i := 3; i < f.count-1; i++ {
		putShdr(f.raw[f.shoff+64*i:], shdr{name: 1, typ: objbuild.Nobits, flags: objbuild.Alloc, size_: 1 << 32, align: 1 << 24})
	}
	copy(f.add(2, 3, shdr{typ: objbuild.Strtab}), "\x00u\x00")
	n := f.fillSymtab(1, 2, global)
	o, err = parseBig(t, f, maxAlloc)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Sections) != f.count || len(o.Symbols) != n {
		t.Errorf("%d sections, %d symbols", len(o.Sections), len(o.Symbols))
	}
}

// TestBigNames: section names and symbol names that all end together.
func TestBigNames(t *testing.T) {
	long := "\x00" + string(bytes.Repeat([]byte("n"), 60<<10)) + "\x00"
	f := newBigFile(1 << 18)
	f.names(long)
	for i := 1; i < f.count-1; i++ {
		putShdr(f.raw[f.shoff+64*i:], shdr{name: 1, typ: objbuild.Progbits})
	}
	o, err := parseBig(t, f, maxAlloc)
	checkRefused(t, o, err, diag.ErrUnsupported, errLines(err, `its name at 0x1 brings the file's names to more than klink's limit of 0x20000000 bytes`))

	f = newBigFile(4)
	f.names("\x00x\x00")
	copy(f.add(2, len(long), shdr{typ: objbuild.Strtab}), long)
	f.fillSymtab(1, 2, global)
	o, err = parseBig(t, f, maxAlloc)
	checkRefused(t, o, err, diag.ErrUnsupported, errLines(err, `its name at 0x1 brings the file's names to more than klink's limit of 0x20000000 bytes`))
}

// errLines returns the lines of err if each ends as it should, else what is wanted.
func errLines(err error, end string) string {
	for _, l := range diag.Lines(err) {
		if !bytes.HasSuffix([]byte(l), []byte(end)) {
			return "… " + end
		}
	}
	return lines(diag.Lines(err)...)
}

func TestBigSymtab(t *testing.T) {
	f := newBigFile(4)
	f.names("\x00x\x00")
	copy(f.add(2, 3, shdr{typ: objbuild.Strtab}), "\x00u\x00")
	n := f.fillSymtab(1, 2, global)
	o, err := parseBig(t, f, maxAlloc)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Symbols) != n || n < 2_700_000 || o.Symbols[n-1].Name != "u" {
		t.Errorf("%d symbols of %d", len(o.Symbols), n)
	}

	// The same, and every one of them wrong: composing messages must not take for ever.
	f.next -= 24 * n
	f.fillSymtab(1, 2, []byte{1, 0, 0, 0, 0xd0, 0, 0, 0})
	o, err = parseBig(t, f, maxAlloc)
	checkRefused(t, o, err, diag.ErrUnsupported, errLines(err, `unknown binding 13`))
}

func TestBigRelocs(t *testing.T) {
	f := newBigFile(5)
	f.names("\x00x\x00")
	f.add(1, 8, shdr{typ: objbuild.Progbits, flags: objbuild.Alloc})
	n := (f.shoff - f.next) / 24
	tab := f.add(3, 24*n, shdr{typ: objbuild.RelaType, info: 1, entsize: 24})
	for at := 0; at < len(tab); at += 24 {
		tab[at] = 7
	}
	o, err := parseBig(t, f, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	if got := o.Sections[1].Relocs.Len(); got != n || n < 2_700_000 {
		t.Errorf("%d relocations of %d", got, n)
	}

	// A thousand sections whose relocations are the same 60 MiB.
	f = newBigFile(2002)
	f.names("\x00x\x00")
	for i := 1; i <= 1000; i++ {
		putShdr(f.raw[f.shoff+64*i:], shdr{typ: objbuild.Progbits, size_: 8})
		putShdr(f.raw[f.shoff+64*(1000+i):], shdr{typ: objbuild.RelaType, off: 64, size_: 24 << 20, info: uint32(i), entsize: 24})
	}
	o, err = parseBig(t, f, 1<<20)
	checkRefused(t, o, err, diag.ErrMalformed, `a.o: sections overlap: together they are 0x5dc001f43 bytes long, the file 0x4000000`)
}

// TestBigGroup: sixteen million members, which can only be the same few.
func TestBigGroup(t *testing.T) {
	f := newBigFile(5)
	f.names("\x00x\x00")
	copy(f.add(2, 3, shdr{typ: objbuild.Strtab}), "\x00u\x00")
	copy(f.add(1, 48, shdr{typ: objbuild.Symtab, link: 2, info: 1, entsize: 24})[24:], global)
	n := (f.shoff - f.next) / 4 * 4
	tab := f.add(3, n, shdr{typ: objbuild.GroupType, link: 1, info: 1, entsize: 4})
	for at := 4; at < len(tab); at += 4 {
		tab[at] = 4
	}
	o, err := parseBig(t, f, 64<<10)
	checkRefused(t, o, err, diag.ErrMalformed, `a.o: section 3: its member section 4 is listed twice, here or by another group`)
}

// TestTooManySymbols: a file beyond 64 MiB, which is nearly all holes.
func TestTooManySymbols(t *testing.T) {
	f := &bigFile{raw: make([]byte, 64+24*(1<<22+1)+64*5), count: 4, next: 64}
	f.shoff = len(f.raw) - 64*4
	copy(f.raw, newBigFile(4).raw[:64])
	binary.LittleEndian.PutUint64(f.raw[40:], uint64(f.shoff))
	f.names("\x00x\x00")
	copy(f.add(2, 3, shdr{typ: objbuild.Strtab}), "\x00u\x00")
	f.add(1, 24*(1<<22+1), shdr{typ: objbuild.Symtab, link: 2, info: 1, entsize: 24})
	o, err := parseBig(t, f, 64<<10)
	checkRefused(t, o, err, diag.ErrUnsupported, `a.o: section 1: 4194305 symbols are more than klink's limit of 4194304`)
}

// TestBigArchive: a million members, of one long name, of a short one, and one too many.
func TestBigArchive(t *testing.T) {
	name := bytes.Repeat([]byte("n"), 60<<10)
	raw := objbuild.AppendMember([]byte("!<arch>\n"), "//", append(name, '\n'))
	one := objbuild.AppendMember(nil, "/0", nil)
	raw = append(raw, bytes.Repeat(one, (big-len(raw))/len(one))...)
	before := totalAlloc()
	_, err := elfload.Members("a.a", raw)
	checkRefused(t, nil, err, diag.ErrUnsupported,
		`a.a: archive member at 0x8f03e: its name brings the archive's names to more than klink's limit of 0x20000000 bytes`)
	if n := totalAlloc() - before; n > 64<<10 {
		t.Errorf("%d bytes allocated", n)
	}
	one = objbuild.AppendMember(nil, "a/", nil)
	raw = append([]byte("!<arch>\n"), bytes.Repeat(one, 1<<20+1)...)
	before = totalAlloc()
	if got, err := elfload.Members("a.a", raw[:len(raw)-len(one)]); len(got) != 1<<20 {
		t.Errorf("%d members: %v", len(got), err)
	}
	_, err = elfload.Members("a.a", raw)
	checkRefused(t, nil, err, diag.ErrUnsupported, `a.a: 1048577 members are more than klink's limit of 1048576`)
	if n := totalAlloc() - before; n > maxAlloc {
		t.Errorf("%d bytes allocated", n)
	}
}
