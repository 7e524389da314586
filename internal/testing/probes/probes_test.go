package main

import (
	"strings"
	"testing"
)

// TestProbes has klink link every probe, the way `klink link --static` does and the way
// modules are linked. The two differ in one thing: only the first drops the low bits of
// a branch's target, as GNU ld does, where no instruction can be.
func TestProbes(t *testing.T) {
	table, err := readTable("testdata/probes.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(table.probes) < 168 {
		t.Errorf("only %d probes", len(table.probes))
	}
	for _, p := range table.probes {
		t.Run(p.name+"/"+p.text, func(t *testing.T) {
			for _, static := range []bool{true, false} {
				want := p.klink
				if !static && p.misaligned() {
					want = refused
				}
				got, err := p.klinkSays(static)
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("static %v: %s, want %s", static, got, want)
				}
			}
		})
	}
}

// misaligned says that the probe is a branch to where no instruction can be.
func (p *probe) misaligned() bool {
	for _, branch := range []string{"CALL26", "JUMP26", "TSTBR14", "CONDBR19"} {
		if strings.HasSuffix(p.name, branch) {
			return p.symbol()&3 != 0
		}
	}
	return false
}

// TestTable: where GNU ld and lld agree, klink's answer is theirs; where they do not, it
// is one of the two, and the row says what the psABI says.
func TestTable(t *testing.T) {
	table, err := readTable("testdata/probes.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range table.probes {
		row := p.name + " " + p.text
		if seen[row] {
			t.Errorf("%s: two rows", row)
		}
		seen[row] = true
		cites := strings.HasPrefix(p.why, "psABI ") || strings.HasPrefix(p.why, "aaelf64 ")
		switch {
		case p.ld == p.lld && (p.klink != p.ld || p.why != ""):
			t.Errorf("%s: GNU ld and lld say %s, klink %s (%q)", row, p.ld, p.klink, p.why)
		case p.ld != p.lld && (p.klink != p.ld && p.klink != p.lld || !cites):
			t.Errorf("%s: GNU ld says %s, lld %s, klink %s, because %q", row, p.ld, p.lld, p.klink, p.why)
		}
	}
}
