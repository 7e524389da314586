package unwind_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"klink/internal/aliasstack"
	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/unwind"
)

// frame is one FDE as readelf interprets it, its addresses before relocation.
type frame struct {
	at     uint64 // offset in .eh_frame
	lo, hi uint64
	rows   []line // by address; the CIE's row first
}

type line struct {
	loc  uint64
	cfa  string            // "rsp+8", "exp"
	cols map[string]string // by register name: "c-16"
}

// columnNames are readelf's, by column.
var columnNames = map[arch.Machine][]string{
	arch.AMD64: {"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
		"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14"},
	arch.ARM64: {
		"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
		"x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp",
	},
}

// named is a register as readelf writes it in a rule: "r10 (r10)".
var named = regexp.MustCompile(`\b(r\d+) \(\w+\)`)

// readelf interprets the unwind tables of files, by file. One readelf reads the tables
// of every machine.
func readelf(t *testing.T, files []string) map[string][]frame {
	t.Helper()
	out, err := exec.Command("readelf", append([]string{"-W", "--debug-dump=frames-interp"}, files...)...).Output()
	if err != nil {
		t.Fatalf("readelf: %v", err)
	}
	frames := map[string][]frame{}
	file := files[0]
	cies := map[string]line{}
	var heads []string // what the columns are about
	cie := ""          // the CIE whose row follows
	for text := range strings.Lines(string(out)) {
		w := strings.Fields(named.ReplaceAllString(text, "$1"))
		list := frames[file]
		switch {
		case len(w) == 2 && w[0] == "File:":
			file, cies = w[1], map[string]line{}
		case len(w) > 3 && w[3] == "CIE":
			cie = w[0]
		case len(w) == 6 && w[3] == "FDE":
			lo, hi, _ := strings.Cut(strings.TrimPrefix(w[5], "pc="), "..")
			first := cies[strings.TrimPrefix(w[4], "cie=")]
			first.loc = hex(t, lo)
			frames[file] = append(list, frame{at: hex(t, w[0]), lo: hex(t, lo), hi: hex(t, hi), rows: []line{first}})
			cie = ""
		case len(w) > 1 && w[0] == "LOC":
			heads = w[2:]
		case len(w) == len(heads)+2 && len(w[0]) == 16:
			l := line{loc: hex(t, w[0]), cfa: w[1], cols: map[string]string{}}
			for i, h := range heads {
				l.cols[h] = w[i+2]
			}
			if cie != "" {
				cies[cie] = l
			} else {
				list[len(list)-1].rows = append(list[len(list)-1].rows, l)
			}
		}
	}
	return frames
}

func hex(t *testing.T, s string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// at is where the tests' modules lie.
var at = [link.Regions]uint64{0x10000000, 0x20000000, 0x30000000}

// image is a linked module of one object.
type image struct {
	*link.Module
	obj *elfload.Object
	out [link.Regions][]byte
}

// linked links an object; a name that it does not define is a function elsewhere.
func linked(raw []byte, file string) (*image, error) {
	o, err := elfload.Parse(file, "", raw)
	if err != nil {
		return nil, err
	}
	m, err := link.Gather(link.Unit{Name: "m", Objects: []*elfload.Object{o}, Static: true})
	if err != nil {
		return nil, err
	}
	im := &image{Module: m, obj: o}
	answers := make([]link.Answer, len(m.Names))
	for i := range m.Names {
		addr, _, own := m.Own(link.NameID(i), at)
		if !own {
			addr = at[link.Text] + 0x100000
		}
		answers[i] = link.Answer{Branch: addr, Address: addr, Slot: aliasstack.SlotID(0)}
	}
	for r := range im.out {
		im.out[r] = make([]byte, m.Init[r])
	}
	_, err = m.Apply(&link.Input{At: at, Answers: answers, Static: true}, im.out)
	return im, err
}

// table parses the unwind tables of a linked object, which lie in section sec.
func (im *image) table(t *testing.T) (table *unwind.Table, sec int) {
	t.Helper()
	for i := range im.obj.Sections {
		if r, off, kept := im.Section(0, i); kept && im.obj.Sections[i].Name == ".eh_frame" {
			table, err := unwind.Parse(im.Machine, im.out[r][off:off+im.obj.Sections[i].Size], at[r]+off)
			if err != nil {
				t.Fatal(err)
			}
			return table, i
		}
	}
	return nil, 0
}

// fixtures returns the objects of testdata/objs/DIR.
func fixtures(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.o", "*.kmod"} {
		found, err := filepath.Glob("../../testdata/objs/" + dir + "/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatalf("no fixtures in %s", dir)
	}
	return files
}

// TestRows has readelf interpret the tables of every fixture that links alone, of both
// machines, and compares what holds at each instruction's address.
func TestRows(t *testing.T) {
	files := fixtures(t, "*")
	theirs := readelf(t, files)
	objects, fdes, rows := 0, 0, 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		im, err := linked(raw, file)
		if err != nil {
			continue // refused, for reasons that other tests look at
		}
		table, sec := im.table(t)
		if table == nil {
			if len(theirs[file]) > 0 {
				t.Errorf("%s: no table, readelf sees %d functions", file, len(theirs[file]))
			}
			continue
		}
		objects++
		fdes += table.Len()
		if table.Len() != len(theirs[file]) {
			t.Errorf("%s: %d FDEs, readelf sees %d", file, table.Len(), len(theirs[file]))
		}
		for _, f := range theirs[file] {
			n, err := compare(im, table, sec, f)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			rows += n
		}
	}
	t.Logf("%d objects, %d FDEs, %d rows", objects, fdes, rows)
	if objects < 200 || fdes < 1000 {
		t.Errorf("only %d objects with %d FDEs were compared", objects, fdes)
	}
}

// compare compares one FDE at the start and the end of each row, and at every address of
// the first 64 bytes, and returns at how many addresses.
func compare(im *image, table *unwind.Table, sec int, want frame) (int, error) {
	lo, err := im.begin(sec, want.at+8)
	if err != nil {
		return 0, err
	}
	got, ok := table.Find(lo)
	if !ok || got.Lo != lo || got.Hi-got.Lo != want.hi-want.lo {
		return 0, fmt.Errorf("the FDE at %#x is for [%#x, %#x), want %d bytes at %#x", want.at, got.Lo, got.Hi, want.hi-want.lo, lo)
	}
	n := 0
	step := im.Machine.Facts().InsnAlign
	for off := uint64(0); off < want.hi-want.lo; off += step {
		i := slices.IndexFunc(want.rows, func(l line) bool { return l.loc > want.lo+off })
		if i < 0 {
			i = len(want.rows)
		}
		if end := off+step == want.hi-want.lo || i < len(want.rows) && want.rows[i].loc == want.lo+off+step; off >= 64 && !end && want.rows[i-1].loc != want.lo+off {
			continue
		}
		row, err := table.RowAt(got, lo+off)
		if err != nil {
			return n, err
		}
		if err := sameRow(im.Machine, row, want.rows[i-1]); err != nil {
			return n, fmt.Errorf("the FDE at %#x, %#x bytes into the function: %w", want.at, off, err)
		}
		n++
	}
	return n, nil
}

// begin returns the address that the relocation of an FDE's first field gives.
func (im *image) begin(sec int, field uint64) (uint64, error) {
	relocs := im.obj.Sections[sec].Relocs
	for i := range relocs.Len() {
		if r := relocs.At(i); r.Offset == field {
			return im.Symbol(0, int(r.Sym), at) + uint64(r.Addend), nil
		}
	}
	return 0, fmt.Errorf("no relocation at .eh_frame+%#x", field)
}

// sameRow compares all columns of one row.
func sameRow(m arch.Machine, got unwind.Row, want line) error {
	names := columnNames[m]
	cfa := "exp"
	if !got.Expr {
		cfa = fmt.Sprintf("%s%+d", names[got.CFA], got.Off)
	}
	if cfa != want.cfa {
		return fmt.Errorf("CFA is %s, want %s", cfa, want.cfa)
	}
	for c, rule := range got.Cols {
		head := names[c]
		if uint64(c) == got.RA {
			head = "ra"
		}
		if w, ok := want.cols[head]; ok && rule != w || !ok && rule != "u" {
			return fmt.Errorf("%s is %s, want %q", head, rule, w)
		}
	}
	return nil
}

// TestReadelfIsHeard: the comparison sees what differs.
func TestReadelfIsHeard(t *testing.T) {
	row := unwind.Row{CFA: 7, Off: 8, RA: 16}
	for i := range row.Cols {
		row.Cols[i] = "u"
	}
	row.Cols[16], row.Cols[3] = "c-8", "c-16"
	for _, c := range []struct {
		want line
		text string
	}{
		{line{cfa: "rsp+8", cols: map[string]string{"rbx": "c-16", "ra": "c-8"}}, ""},
		{line{cfa: "rsp+16", cols: map[string]string{"rbx": "c-16", "ra": "c-8"}}, "CFA is rsp+8, want rsp+16"},
		{line{cfa: "rsp+8", cols: map[string]string{"rbx": "c-24", "ra": "c-8"}}, "rbx is c-16, want \"c-24\""},
		{line{cfa: "rsp+8", cols: map[string]string{"ra": "c-8"}}, "rbx is c-16, want \"\""},
		{line{cfa: "rsp+8", cols: map[string]string{"rbx": "c-16", "rbp": "c-24", "ra": "c-8"}}, "rbp is u, want \"c-24\""},
	} {
		text := ""
		if err := sameRow(arch.AMD64, row, c.want); err != nil {
			text = err.Error()
		}
		if text != c.text {
			t.Errorf("got %q, want %q", text, c.text)
		}
	}
	if !strings.Contains(fmt.Sprint(readelf(t, fixtures(t, "unwind"))), "c-16") {
		t.Error("readelf's tables were not understood")
	}
}
