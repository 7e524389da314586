package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"klink/internal/arch"
)

// The answers that are not bytes.
const (
	refused = "refused" // an error, and no output
	stub    = "stub"    // a branch to a veneer of the linker's own, from which the value is reached
)

// probe is one row of the table.
type probe struct {
	machine arch.Machine
	name    string // of the type
	text    string // of the value, as it stands in the table
	value   uint64 // of the formula
	before  []byte // in front of the field: the opcode, where the type wants one
	field   []byte // before it is relocated
	ld      string // GNU ld's answer: the field in hex, or one of the words above
	lld     string // lld's
	klink   string // klink's
	why     string // for a row where they do not agree: who is right
}

// table is the file: rows, and the lines between them.
type table struct {
	probes []*probe
	lines  []any // string or *probe
}

// prefixes of the types' names.
var prefixes = map[string]arch.Machine{"R_X86_64_": arch.AMD64, "R_AARCH64_": arch.ARM64}

// readTable reads the file.
func readTable(path string) (*table, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &table{}
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if line == "" || line[0] == '#' {
			t.lines = append(t.lines, line)
			continue
		}
		p, err := parseRow(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		t.probes = append(t.probes, p)
		t.lines = append(t.lines, p)
	}
	return t, nil
}

// parseRow parses TYPE VALUE PLACE LD LLD KLINK [# WHY].
func parseRow(line string) (*probe, error) {
	row, why, _ := strings.Cut(line, " # ")
	f := strings.Fields(row)
	if len(f) != 6 {
		return nil, fmt.Errorf("%d fields, want 6", len(f))
	}
	p := &probe{name: f[0], text: f[1], ld: f[3], lld: f[4], klink: f[5], why: why}
	for prefix, m := range prefixes {
		if strings.HasPrefix(p.name, prefix) {
			p.machine = m
		}
	}
	if p.machine == 0 {
		return nil, fmt.Errorf("%s is no relocation type", p.name)
	}
	var err error
	if strings.HasPrefix(p.text, "-") {
		var v int64
		v, err = strconv.ParseInt(p.text, 0, 64)
		p.value = uint64(v)
	} else {
		p.value, err = strconv.ParseUint(p.text, 0, 64)
	}
	if err != nil {
		return nil, err
	}
	before, field, both := strings.Cut(f[2], "/")
	if !both {
		before, field = "", f[2]
	}
	if p.before, err = hex.DecodeString(before); err != nil {
		return nil, err
	}
	p.field, err = hex.DecodeString(field)
	return p, err
}

// String returns the row.
func (p *probe) String() string {
	place := hex.EncodeToString(p.field)
	if len(p.before) > 0 {
		place = hex.EncodeToString(p.before) + "/" + place
	}
	s := fmt.Sprintf("%-29s %-18s %-16s  %-16s %-16s %-16s", p.name, p.text, place, p.ld, p.lld, p.klink)
	if p.why != "" {
		return s + " # " + p.why
	}
	return strings.TrimRight(s, " ")
}

// write writes the file.
func (t *table) write(path string) error {
	var b strings.Builder
	for _, l := range t.lines {
		fmt.Fprintln(&b, l)
	}
	return os.WriteFile(path, []byte(b.String()), 0o666)
}

// count counts the rows on which all three agree, and those on which GNU ld and lld
// do not.
func (t *table) count() (agree, apart int) {
	for _, p := range t.probes {
		if p.ld != p.lld {
			apart++
		} else if p.klink == p.ld {
			agree++
		}
	}
	return agree, apart
}
