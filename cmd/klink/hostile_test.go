package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// What klink may ask the system for, whatever a file of up to 64 MiB says.
const (
	maxResident  = 256 << 20 // bytes
	maxProcessor = 20        // seconds of processor time; a loop that never ends has more
)

// The files are written piece by piece: a child's peak resident set counts from its
// parent's at the time of exec, so this process must stay small.
type writer struct {
	*bufio.Writer
	n uint64
}

func (w *writer) put(v ...any) {
	for _, x := range v {
		if err := binary.Write(w, binary.LittleEndian, x); err != nil {
			panic(err)
		}
		w.n += uint64(binary.Size(x))
	}
}

// part is one section: its header fields and what writes its bytes.
type part struct {
	name           string
	typ            uint32
	flags          uint64
	size           uint64
	link, info     uint32
	align, entsize uint64
	write          func(w *writer)
}

// object writes an x86-64 ET_REL file of the sections.
func object(out io.Writer, parts []part) error {
	w := &writer{Writer: bufio.NewWriterSize(out, 1<<20)}
	names := "\x00"
	var nameAt []uint32
	for _, p := range append(parts, part{name: ".shstrtab"}) {
		nameAt = append(nameAt, uint32(len(names)))
		names += p.name + "\x00"
	}
	parts = append(parts, part{name: ".shstrtab", typ: 3, size: uint64(len(names)), align: 1, write: func(w *writer) { w.put([]byte(names)) }})
	shoff := uint64(64)
	for _, p := range parts {
		shoff += (p.size + 15) &^ 15
	}
	w.put([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), shoff,
		uint32(0), uint16(64), uint16(0), uint16(0), uint16(64), uint16(len(parts)+1), uint16(len(parts)))
	var offs []uint64
	for _, p := range parts {
		offs = append(offs, w.n)
		if p.write != nil {
			p.write(w)
		}
		for w.n%16 != 0 {
			w.put(byte(0))
		}
	}
	w.put(make([]byte, 64))
	for i, p := range parts {
		w.put(nameAt[i], p.typ, p.flags, uint64(0), offs[i], p.size, p.link, p.info, p.align, p.entsize)
	}
	return w.Flush()
}

// repeat returns a writer of n items.
func repeat(n int, item func(w *writer, i int)) func(*writer) {
	return func(w *writer) {
		for i := range n {
			item(w, i)
		}
	}
}

func symbol(w *writer, name uint32, info byte, shndx uint16, value, size uint64) {
	w.put(struct {
		Name  uint32
		Info  byte
		Other byte
		Shndx uint16
		Value uint64
		Size  uint64
	}{name, info, 0, shndx, value, size})
}

func relocation(w *writer, offset uint64, sym, typ uint32, addend int64) {
	w.put(struct {
		Offset, Info uint64
		Addend       int64
	}{offset, uint64(sym)<<32 | uint64(typ), addend})
}

// exhausting makes files near 64 MiB that ask for as much as they can of one thing. It is
// no variable: every klink of the scripts is this program, and would make them as it starts.
func exhausting() map[string][]part {
	return map[string][]part{
		"undefined": manyUndefined(260_000, 1_900_000),
		"calls":     manyCalls(1_900_000),
		"locals":    manyLocals(2_500_000),
		"samePlace": samePlace(2_700_000),
		"oneName":   manyGlobals(1_000_000),
		"empty":     manyEmpty(60_000),
	}
}

// manyUndefined has n undefined names, each with a relocation, and more relocations.
func manyUndefined(n, more int) []part {
	return []part{
		{name: ".data", typ: 1, flags: 3, size: uint64(8 * n), align: 8, write: repeat(n, func(w *writer, _ int) { w.put(uint64(0)) })},
		{name: ".rela.data", typ: 4, flags: 0x40, size: uint64(24 * (n + more)), link: 3, info: 1, align: 8, entsize: 24,
			write: repeat(n+more, func(w *writer, i int) { relocation(w, uint64(8*(i%n)), uint32(i%n)+1, 1, 0) })},
		{name: ".symtab", typ: 2, size: uint64(24 * (n + 1)), link: 4, info: 1, align: 8, entsize: 24,
			write: repeat(n+1, func(w *writer, i int) {
				if i == 0 {
					symbol(w, 0, 0, 0, 0, 0)
					return
				}
				symbol(w, uint32(7*i-6), 0x10, 0, 0, 0)
			})},
		{name: ".strtab", typ: 3, size: uint64(7*n + 1), align: 1, write: func(w *writer) {
			w.put(byte(0))
			repeat(n, func(w *writer, i int) { w.put(fmt.Appendf(nil, "%06x\x00", i)) })(w)
		}},
	}
}

// manyCalls has n calls to one global function.
func manyCalls(n int) []part {
	return []part{
		{name: ".text", typ: 1, flags: 6, size: uint64(5 * n), align: 16, write: repeat(n, func(w *writer, _ int) { w.put([5]byte{0xe8}) })},
		{name: ".rela.text", typ: 4, flags: 0x40, size: uint64(24 * n), link: 3, info: 1, align: 8, entsize: 24,
			write: repeat(n, func(w *writer, i int) { relocation(w, uint64(5*i+1), 1, 4, -4) })},
		{name: ".symtab", typ: 2, size: 48, link: 4, info: 1, align: 8, entsize: 24, write: func(w *writer) {
			symbol(w, 0, 0, 0, 0, 0)
			symbol(w, 1, 0x12, 1, 0, 5)
		}},
		{name: ".strtab", typ: 3, size: 5, align: 1, write: func(w *writer) { w.put([]byte("\x00foo\x00")) }},
	}
}

// manyLocals has n local symbols.
func manyLocals(n int) []part {
	return []part{
		{name: ".text", typ: 1, flags: 6, size: 16, align: 16, write: repeat(16, func(w *writer, _ int) { w.put(byte(0xc3)) })},
		{name: ".symtab", typ: 2, size: uint64(24 * (n + 1)), link: 3, info: uint32(n + 1), align: 8, entsize: 24,
			write: repeat(n+1, func(w *writer, i int) {
				if i == 0 {
					symbol(w, 0, 0, 0, 0, 0)
					return
				}
				symbol(w, 1, 0x02, 1, 0, 1)
			})},
		{name: ".strtab", typ: 3, size: 5, align: 1, write: func(w *writer) { w.put([]byte("\x00foo\x00")) }},
	}
}

// manyGlobals has n global symbols of one name.
func manyGlobals(n int) []part {
	p := manyLocals(n)
	p[1].info = 1
	p[1].write = repeat(n+1, func(w *writer, i int) {
		if i == 0 {
			symbol(w, 0, 0, 0, 0, 0)
			return
		}
		symbol(w, 1, 0x12, 1, 0, 1)
	})
	return p
}

// manyEmpty has n sections of nothing, and one symbol in the last.
func manyEmpty(n int) []part {
	p := manyLocals(1)
	p[1].link = uint32(n + 3)
	empty := make([]part, n)
	for i := range empty {
		empty[i] = part{name: ".e", typ: 1, flags: 3, align: 8}
	}
	return append(append(append([]part{}, p[:2]...), empty...), p[2])
}

// samePlace has n relocations of one call.
func samePlace(n int) []part {
	p := manyCalls(1)
	p[1].size = uint64(24 * n)
	p[1].write = repeat(n, func(w *writer, _ int) { relocation(w, 1, 1, 4, -4) })
	return p
}

// TestHostileFilesAreBounded runs klink on each file, every way that reads one, and
// looks at what the process used.
func TestHostileFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	klink := filepath.Join(dir, "klink")
	if out, err := exec.Command("go", "build", "-o", klink, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, parts := range exhausting() {
		file := filepath.Join(dir, name+".o")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := object(f, parts); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for _, args := range [][]string{
			{"check"},
			{"link", "--externals", "trap", "--static"},
			{"link", "--externals", "trap", "-o", filepath.Join(dir, "image")},
			{"run"},
		} {
			if args[0] == "run" { // a host, and in it a load
				script := "boot --arena-size 256M --threads 1\n- load " + file + "\nalias\nversion\n"
				file = filepath.Join(dir, "script")
				if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(klink, append(args, file)...)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if lines := bytes.Split(bytes.TrimSpace(out), []byte("\n")); len(lines) > 64 || len(out) > 16<<10 {
				t.Errorf("%s %v: an answer of %d bytes\n%.400s", name, args, len(out), out)
			}
			if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
				t.Errorf("%s %v: exit code %d\n%.400s", name, args, code, out)
			}
			usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			if got := usage.Maxrss << 10; got > maxResident {
				t.Errorf("%s %v: %d MiB resident", name, args, got>>20)
			}
			if got := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); got.Seconds() > maxProcessor {
				t.Errorf("%s %v: %v of processor time", name, args, got)
			}
			t.Logf("%-10s %-6s %4d MiB %8v", name, args[0], usage.Maxrss>>10, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		}
		os.Remove(file)
	}
}
