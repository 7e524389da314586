package vm

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is a file as read back.
type entry struct {
	Name string
	Mode uint64
	Data string
}

// readArchive reads a newc archive up to its trailer.
func readArchive(t *testing.T, b []byte) []entry {
	t.Helper()
	var list []entry
	inodes := map[uint64]bool{}
	for at := 0; ; {
		if at%4 != 0 || len(b) < at+110 || string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		var fields [13]uint64
		for i := range fields {
			v, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			fields[i] = v
		}
		inode, mode, size, length := fields[0], fields[1], int(fields[6]), int(fields[11])
		name := string(b[at+110 : at+110+length])
		at = (at + 110 + length + 3) &^ 3
		if !strings.HasSuffix(name, "\x00") {
			t.Fatalf("%q has no NUL", name)
		}
		if name == "TRAILER!!!\x00" {
			if at != len(b) {
				t.Errorf("%d bytes after the trailer", len(b)-at)
			}
			return list
		}
		if inodes[inode] {
			t.Errorf("%s has the inode of another", name)
		}
		inodes[inode] = true
		list = append(list, entry{strings.TrimSuffix(name, "\x00"), mode, string(b[at : at+size])})
		at = (at + size + 3) &^ 3
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"a.txt": "a", "sub/b": "bb", "sub/no/c": "c", "empty/no": ""} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := NewArchive(&b)
	a.File("/init", 0o755, []byte("12345"))
	a.File("/x/y/plan", 0o600, nil)
	a.Dir("/x/y")
	a.Tree("/x/tree", dir, func(_ string, d fs.DirEntry) bool { return d.Name() != "no" })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"init", 0o100755, "12345"},
		{"x", 0o40755, ""},
		{"x/y", 0o40755, ""},
		{"x/y/plan", 0o100600, ""},
		{"x/tree", 0o40755, ""},
		{"x/tree/a.txt", 0o100644, "a"},
		{"x/tree/empty", 0o40755, ""},
		{"x/tree/sub", 0o40755, ""},
		{"x/tree/sub/b", 0o100644, "bb"},
	}
	if diff := cmp.Diff(want, readArchive(t, b.Bytes())); diff != "" {
		t.Error(diff)
	}
}

// full takes n bytes and no more.
type full struct{ n int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestArchiveKeepsItsError(t *testing.T) {
	var whole bytes.Buffer
	a := NewArchive(&whole)
	a.File("a", 0o644, []byte("aaaaa"))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() + 1 {
		a := NewArchive(&full{n})
		a.File("a", 0o644, []byte("aaaaa"))
		if err := a.Close(); (err != nil) != (n < whole.Len()) {
			t.Errorf("room for %d bytes: %v", n, err)
		}
	}
	a = NewArchive(&full{1 << 20})
	a.Copy("a", filepath.Join(t.TempDir(), "absent"), 0o644)
	a.File("b", 0o644, nil)
	if err := a.Close(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
