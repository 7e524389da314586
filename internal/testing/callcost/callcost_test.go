package main

import (
	"strings"
	"testing"
)

const objs = "../../../testdata/objs"

// TestTables makes short tables, to see that all parts work on this machine.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines int
		make  func(*bench) error
	}{
		{"cost", 2 + len(rows), func(b *bench) error { return b.costs(3, 80) }},
		{"gate", 3 + len(pairRows), func(b *bench) error { return b.pairs(3, 50) }},
		{"switch", 12, func(b *bench) error { return b.switching(3, 200, 400) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if err := with(objs, &out, c.make); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "\n"); n != c.lines {
				t.Errorf("%d lines:\n%s", n, out.String())
			}
		})
	}
}
