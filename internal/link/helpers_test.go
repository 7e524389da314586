package link_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// Where the tests' blocks lie, and what a name means that a test says nothing about.
const (
	textAt   = 0x10000000
	tablesAt = 0x10010000
	dataAt   = 0x10020000
	provider = 0x10100000 // the function that direct branches lead to
	entry    = 0x10200010 // where its address is taken
	slot     = aliasstack.SlotID(7)
)

var blocks = [link.Regions]uint64{textAt, tablesAt, dataAt}

// function is the answer for a function of another module.
var function = link.Answer{Branch: provider, Address: entry, Slot: slot, Other: true}

// parse returns the object that b builds, named a.o, b.o, … by its place in the call.
func parse(t testing.TB, file string, b *objbuild.Builder) *elfload.Object {
	t.Helper()
	o, err := elfload.Parse(file, "", b.Bytes())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return o
}

// unit makes a unit of objects named a.o, b.o, …
func unit(t testing.TB, builders ...*objbuild.Builder) link.Unit {
	t.Helper()
	u := link.Unit{Name: "m"}
	for i, b := range builders {
		u.Objects = append(u.Objects, parse(t, string(rune('a'+i))+".o", b))
	}
	return u
}

// gather resolves a unit that must be sound.
func gather(t testing.TB, u link.Unit) *link.Module {
	t.Helper()
	m, err := link.Gather(u)
	if err != nil {
		t.Fatalf("Gather: %v", err)
	}
	return m
}

// image is a linked module.
type image struct {
	*link.Module
	at    [link.Regions]uint64
	out   [link.Regions][]byte
	sites []link.Site
	res   *link.Result
}

// answersOf makes an answer for each name: what the test says, else the module's own
// definition with its slot, else absent for weak ones, else function.
func answersOf(m *link.Module, at [link.Regions]uint64, say map[string]link.Answer) []link.Answer {
	answers := make([]link.Answer, len(m.Names))
	for i := range m.Names {
		n := &m.Names[i]
		addr, size, own := m.Own(link.NameID(i), at)
		if a, ok := say[n.Name]; ok {
			answers[i] = a
		} else if own && n.Class == aliasstack.Func {
			answers[i] = link.Answer{Branch: addr, Address: entry, Size: size, Slot: slot}
		} else if own {
			answers[i] = link.Answer{Branch: addr, Address: addr, Size: size}
		} else if n.Weak {
			answers[i] = link.Answer{Absent: true}
		} else {
			answers[i] = function
		}
	}
	return answers
}

// apply links a module at the given addresses.
func apply(m *link.Module, at [link.Regions]uint64, say map[string]link.Answer, static bool) (*image, error) {
	im := &image{Module: m, at: at}
	for r := range im.out {
		im.out[r] = make([]byte, m.Init[r])
	}
	res, err := m.Apply(&link.Input{At: at, Answers: answersOf(m, at, say), Static: static}, im.out)
	if err != nil {
		return nil, err
	}
	im.res, im.sites = res, res.Sites
	return im, nil
}

// linked links a unit that must be sound, at the usual addresses.
func linked(t testing.TB, u link.Unit, say map[string]link.Answer) *image {
	t.Helper()
	im, err := apply(gather(t, u), blocks, say, false)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return im
}

// bytes returns n linked bytes at an offset of the first section of that name.
func (im *image) bytes(t testing.TB, section string, off, n uint64) []byte {
	t.Helper()
	for oi, o := range im.Objects() {
		for si := range o.Sections {
			if r, at, kept := im.Section(oi, si); kept && o.Sections[si].Name == section {
				return im.out[r][at+off : at+off+n]
			}
		}
	}
	t.Fatalf("no section %q is placed", section)
	return nil
}

// word returns the 64-bit word at an offset of a section.
func (im *image) word(t testing.TB, section string, off uint64) uint64 {
	t.Helper()
	return binary.LittleEndian.Uint64(im.bytes(t, section, off, 8))
}

// own returns the address of the module's definition of a name.
func (im *image) own(t testing.TB, name string) uint64 {
	t.Helper()
	id, ok := im.Lookup(name)
	addr, _, defined := im.Own(id, im.at)
	if !ok || !defined {
		t.Fatalf("%q is not defined", name)
	}
	return addr
}

// name returns what is known about a name.
func name(t testing.TB, m *link.Module, s string) *link.Name {
	t.Helper()
	id, ok := m.Lookup(s)
	if !ok {
		t.Fatalf("no name %q", s)
	}
	return &m.Names[id]
}

// sitesText lists sites as "call 0x10000000 veneer 0x…".
func sitesText(sites []link.Site) []string {
	var list []string
	for _, s := range sites {
		text := fmt.Sprintf("%v %#x", s.Form, s.Addr)
		if s.Veneer != 0 {
			text += fmt.Sprintf(" veneer %#x", s.Veneer)
		}
		list = append(list, text)
	}
	return list
}

// hexBytes decodes "e8 00 00".
func hexBytes(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// wantLines compares an error's lines, and that by errors.Is it is of a kind.
func wantLines(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", want)
	}
	if got := diag.Lines(err); !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// linkError gathers and applies, and returns the error of whichever fails.
func linkError(t *testing.T, u link.Unit, say map[string]link.Answer) error {
	t.Helper()
	m, err := link.Gather(u)
	if err == nil {
		_, err = apply(m, blocks, say, false)
	}
	return err
}

// amd64 and arm64 start an object.
func amd64() *objbuild.Builder { return objbuild.New(arch.AMD64) }
func arm64() *objbuild.Builder { return objbuild.New(arch.ARM64) }

// wantPrefix compares how an error begins.
func wantPrefix(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v\nwant %s…", err, want)
	}
}
