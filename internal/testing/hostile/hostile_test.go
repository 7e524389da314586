package hostile_test

import (
	"bytes"
	"testing"

	"klink/internal/testing/hostile"
)

// TestFiles: names are unique, every refusal has its words, and the files are always the same.
func TestFiles(t *testing.T) {
	seen := map[string]bool{}
	files, again := hostile.Files(), hostile.Files()
	for i, f := range files {
		if seen[f.Name] || (f.Stage == hostile.Sound) != (f.Want == "") || (f.Kind == nil) != (f.Want == "") {
			t.Errorf("%s: twice, or without words", f.Name)
		}
		if !bytes.Equal(f.Raw, again[i].Raw) {
			t.Errorf("%s: the bytes differ", f.Name)
		}
		seen[f.Name] = true
	}
	if len(files) < 200 {
		t.Errorf("only %d files", len(files))
	}
}
