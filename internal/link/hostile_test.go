package link_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/insn"
	"klink/internal/link"
	"klink/internal/testing/hostile"
	"klink/internal/testing/objbuild"
)

// everything makes an object with all that the linker treats apart.
func everything(m arch.Machine) *objbuild.Builder {
	b := objbuild.New(m)
	rec := make([]byte, 24)
	rec[16] = 3
	if m == arch.AMD64 {
		b.Text(".text", hexBytes("e8 00000000 e9 00000000 0f85 00000000 ff15 00000000 ff25 00000000 488b05 00000000 488d05 00000000 e8 00000000 c3 90909090")).
			Reloc(1, xPLT32, "und", -4).Reloc(6, xPC32, "S", -4).Reloc(12, xPLT32, "super_S", -4).Reloc(18, xGOTX, "und", -4).Reloc(24, xGOTX, "weak", -4).
			Reloc(31, xRexGOTX, "dat", -4).Reloc(38, xPC32, "hid", -4).Reloc(43, xPLT32, "weak", -4).
			Data(".data", make([]byte, 40)).Reloc(0, x64, "und", 0).Reloc(8, x64, "S", 1).Reloc(16, xPC32, "dat", 0).Reloc(24, xSIZE64, "dat", 0).Reloc(32, xGOTPC32, "_GLOBAL_OFFSET_TABLE_", 0)
	} else {
		b.Text(".text", hexBytes("00000094 00000014 01000054 000000b4 00000036 00000090 00000091 00000090 000040f9 000040f9 0000a0d2 1f2003d5")).
			Reloc(0, aCALL, "und", 0).Reloc(4, aJUMP, "S", 0).Reloc(8, aCOND, "super_S", 0).Reloc(12, aCOND, "weak", 0).Reloc(16, aTST, "und", 0).
			Reloc(20, aADRP, "dat", 0).Reloc(24, aADD, "dat", 0).Reloc(28, aGOTPage, "und", 0).Reloc(32, aGOTLo, "und", 0).Reloc(36, aLo15, "dat", 0).Reloc(40, aMovG1, "hid", 0).
			Data(".data", make([]byte, 40)).Reloc(0, aABS64, "und", 0).Reloc(8, aABS64, "S", 1).Reloc(16, aPREL32, "dat", 0).Reloc(24, aGOTPCREL32, "dat", 4).Reloc(32, aCALL, "und", 0)
		b.With(func(s *objbuild.Section) { copy(s.Data[32:], hexBytes("00000094")) })
	}
	abs64 := map[arch.Machine]uint32{arch.AMD64: x64, arch.ARM64: aABS64}[m]
	return b.Global("dat", 0, 8).Text(".text.g", make([]byte, 16)).Global("S", 0, 4).Weak("g", 4, 4).Local("loc", 8, 4).Global("ifunc", 12, 4).As(objbuild.IFunc).
		Global("hid", 8, 4).Hidden().Group("g", true, ".text.g").Undef("und").Undef("super_S").WeakUndef("weak").Undef("_GLOBAL_OFFSET_TABLE_").Undef("__start_set").
		Rodata("set", make([]byte, 16)).Reloc(0, abs64, "__start_set", 0).Reloc(8, abs64, ".text.g", 4).
		Rodata(".names", []byte("refined\x00")).SectionSymbol(".names").Rodata(".klink.alias", rec).Reloc(0, abs64, ".names", 0).Reloc(8, abs64, "loc", 0).
		Rodata(".modinfo", make([]byte, 32)).SectionSymbol(".modinfo").Reloc(8, abs64, "S", 0).Reloc(16, abs64, ".names", 0).Reloc(24, abs64, ".names", 2).
		Rodata("link_set_modules", make([]byte, 8)).Reloc(0, abs64, ".modinfo", 0).Data(".init_array.00101", make([]byte, 8)).Reloc(0, abs64, "loc", 0).Data(".ctors", make([]byte, 16)).
		Rodata(".eh_frame", make([]byte, 16)).Reloc(0, abs64, "g", 0).Bss(".bss", 32).Common("com", 16, 40).Abs("abs", 12).Debug(".debug_info", make([]byte, 8)).Reloc(0, abs64, "S", 0)
}

// madeUp answers names by their number and a mode: functions near and far, odd
// addresses, data, nothing at all.
func madeUp(m *link.Module, mode int) []link.Answer {
	answers := make([]link.Answer, len(m.Names))
	for i := range answers {
		switch (i + mode) % 7 {
		case 0, 1:
			answers[i] = function
		case 2:
			answers[i] = link.Answer{Branch: textAt + 0x7ff0000, Address: entry, Slot: slot + 1}
		case 3:
			answers[i] = link.Answer{Absent: true}
		case 4:
			answers[i] = link.Answer{Branch: entry, Address: entry, Slot: slot + 2}
		case 5:
			answers[i] = link.Answer{Branch: dataAt, Address: dataAt, Size: 4}
		case 6:
			answers[i] = link.Answer{Branch: 1<<40 + 2, Address: 1<<63 + 1, Slot: slot}
		}
	}
	return answers
}

// maxFuzz bounds the memory of one try, bytes.
const maxFuzz = 16 << 20

// tryLink links an object that nobody vouches for in every way, and fails the test when
// the linker breaks a promise.
func tryLink(t *testing.T, o *elfload.Object) {
	for mode := range 7 {
		m, err := link.Gather(link.Unit{Name: "m", Objects: []*elfload.Object{o}, Far: mode&1 != 0, Static: mode&2 != 0, Private: []string{"g"}})
		if err != nil {
			checkError(t, err)
			continue
		}
		in := &link.Input{At: [link.Regions]uint64{textAt}, Answers: madeUp(m, mode), Static: mode&2 != 0}
		var out [link.Regions][]byte
		for r := range out {
			if m.Size[r] > maxFuzz {
				return
			}
			if r > 0 {
				end := in.At[r-1] + m.Size[r-1]
				in.At[r] = (end + m.Align[r] - 1) &^ (m.Align[r] - 1)
			}
			out[r] = make([]byte, m.Init[r])
		}
		in.At[link.Text] &^= m.Align[link.Text] - 1
		for id := range m.Names {
			checkError(t, m.Missing(link.NameID(id)))
		}
		res, err := m.Apply(in, out)
		if (res == nil) == (err == nil) {
			t.Fatalf("result %v, error %v", res != nil, err)
		}
		if err != nil {
			checkError(t, err)
			continue
		}
		checkSites(t, m, in, out[link.Text], res.Sites)
	}
}

// checkError looks for what must not reach a terminal, and for errors without a kind.
func checkError(t *testing.T, err error) {
	for _, line := range diag.Lines(err) {
		if line == "" || slices.ContainsFunc([]byte(line), func(c byte) bool { return c < ' ' || c == 0x7f }) {
			t.Fatalf("error line %q", line)
		}
	}
	var one *diag.Error
	if !errors.As(err, &one) || one.Kind == nil {
		t.Fatalf("an error of no kind: %v", err)
	}
}

// checkSites reads every site back. No two may share a byte.
func checkSites(t *testing.T, m *link.Module, in *link.Input, text []byte, sites []link.Site) {
	if in.Static && len(sites) > 0 {
		t.Fatalf("%d sites of a static link", len(sites))
	}
	used := make([]bool, len(text))
	for _, s := range sites {
		at := s.Addr - in.At[link.Text]
		if at > uint64(len(text)) || uint64(len(text))-at < uint64(s.Form.Len()) {
			t.Fatalf("site %+v is not in the text", s)
		}
		for i := range s.Form.Len() {
			if used[at+uint64(i)] {
				t.Fatalf("site %+v overlaps another", s)
			}
			used[at+uint64(i)] = true
		}
		a := in.Answers[s.Name]
		to, ok := s.Form.Target(text[at:], s.Addr)
		if !ok || s.Slot == 0 || s.Slot != a.Slot || to != a.Branch && (s.Veneer == 0 || to != s.Veneer) {
			t.Fatalf("site %+v leads to %#x, %v; want %+v", s, to, ok, a)
		}
		if s.Veneer != 0 {
			v, ok := insn.FarJump.Target(text[s.Veneer-in.At[link.Text]:], s.Veneer)
			if !ok || v != a.Branch {
				t.Fatalf("veneer of %+v leads to %#x", s, v)
			}
		}
	}
}

// fixtures are small objects of compilers.
var fixtures = []string{"call/call_pic", "got/noplt", "got/pic", "short_branch/short_branch", "ifunc/ifunc", "comdat/one", "unwind/unwind_c", "start_stop/ten"}

// seeds returns what the fuzzing starts from.
func seeds(t testing.TB) (list [][]byte) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		list = append(list, everything(m).Bytes())
	}
	for _, f := range fixtures {
		files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "objs", f+".*.*o*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, raw)
		}
	}
	if len(list) < 2+len(fixtures) {
		t.Fatalf("only %d seeds: are the fixtures where they were?", len(list))
	}
	return list
}

// FuzzLink: whatever the bytes, an answer, and what was linked keeps its promises.
func FuzzLink(f *testing.F) {
	for _, raw := range seeds(f) {
		f.Add(raw)
	}
	for _, h := range hostile.Files() {
		if h.Stage != hostile.Parse && len(h.Raw) < 4<<10 {
			f.Add(h.Raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if o, err := elfload.Parse("a.o", "", raw); err == nil {
			tryLink(t, o)
		}
	})
}

// edge returns a number that comparisons and sums go wrong with, or a small one.
func edge(r *rand.Rand, old uint64) uint64 {
	numbers := []uint64{0, 1, 4, 8, 255, 256, 1 << 15, 1 << 20, 1 << 27, 1 << 31, 1<<32 - 1, 1 << 40, 1<<63 - 1, 1 << 63, ^uint64(0) - 3, ^uint64(0)}
	switch r.IntN(4) {
	case 0:
		return old ^ 1<<r.IntN(64)
	case 1:
		return old + uint64(r.IntN(17)) - 8
	case 2:
		return uint64(r.IntN(1 << (1 + r.IntN(10))))
	}
	return numbers[r.IntN(len(numbers))]
}

// TestMutants changes one to three fields of relocations, symbols and sections of a
// sound object, 2,000 times a machine, always the same ones.
func TestMutants(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		t.Run(m.String(), func(t *testing.T) {
			im := everything(m).Image()
			sound := slices.Clone(im.Bytes)
			r := rand.New(rand.NewPCG(1, uint64(m)))
			parsed := 0
			relocs := map[string]int{".text": 8, ".data": 5, "set": 2, ".klink.alias": 2, ".eh_frame": 1}
			names := []string{".text", ".data", "set", ".klink.alias", ".eh_frame"}
			for range 2000 {
				copy(im.Bytes, sound)
				for range 1 + r.IntN(3) {
					at, fields := 0, objbuild.RelocFields
					switch r.IntN(4) {
					case 0:
						at, fields = im.SymbolAt(1+r.IntN(len(im.Symbols)-1)), objbuild.SymbolFields
					case 1:
						at, fields = im.SectionHeaderAt(1+r.IntN(len(im.Sections)-1)), objbuild.SectionFields
					default:
						s := names[r.IntN(len(names))]
						at = im.RelocAt(s, r.IntN(relocs[s]))
					}
					f := fields[r.IntN(len(fields))]
					im.Put(at, f, edge(r, im.Get(at, f)))
				}
				if o, err := elfload.Parse("a.o", "", im.Bytes); err == nil {
					parsed++
					tryLink(t, o)
				}
			}
			if parsed < 500 {
				t.Errorf("only %d of the mutants were objects", parsed)
			}
		})
	}
}

// TestFixtureMutants links mutants of compilers' objects: a sample, with make mutants all
// of them.
func TestFixtureMutants(t *testing.T) {
	hostile.Each(t, "../../testdata/objs", 80, func(t *testing.T, _ hostile.Seed) func([]byte) {
		return func(raw []byte) {
			if o, err := elfload.Parse("a.o", "", raw); err == nil {
				tryLink(t, o)
			}
		}
	})
}

// TestHostileFiles: what the linker is to refuse it refuses, with the whole message, and
// the other files that the parser takes it links.
func TestHostileFiles(t *testing.T) {
	for _, f := range hostile.Files() {
		if f.Stage == hostile.Parse {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			o, err := elfload.Parse("a.o", "", f.Raw)
			if err != nil {
				t.Fatal(err)
			}
			err = linkError(t, link.Unit{Name: "m", Objects: []*elfload.Object{o}}, nil)
			switch {
			case f.Stage == hostile.Link && (err == nil || !f.Is(err.Error()) || !errors.Is(err, f.Kind)):
				t.Errorf("got %v\nwant %s", err, f.Want)
			case f.Stage != hostile.Link && err != nil:
				t.Error(err)
			case f.Stage != hostile.Load:
				tryLink(t, o)
			}
		})
	}
}

// TestSeeds: everything can be linked when the answers are good.
func TestSeeds(t *testing.T) {
	for i, raw := range seeds(t) {
		o, err := elfload.Parse("a.o", "", raw)
		if err != nil {
			t.Fatalf("seed %d: %v", i, err)
		}
		m, err := link.Gather(link.Unit{Name: "m", Objects: []*elfload.Object{o}})
		if err == nil && i >= 2 {
			_, err = apply(m, [link.Regions]uint64{textAt, textAt + 1<<22, textAt + 1<<23}, nil, false)
		}
		if err != nil {
			t.Errorf("seed %d: %v", i, err)
		}
	}
}
