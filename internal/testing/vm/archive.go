package vm

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Archive writes an initial RAM file system: a cpio archive in the "newc" form, as
// the kernel's buffer-format document describes it. Everything in it belongs to root.
type Archive struct {
	w     io.Writer
	inode int
	dirs  map[string]bool
	err   error
}

// NewArchive writes to w. After an error all further calls do nothing; Close returns it.
func NewArchive(w io.Writer) *Archive {
	return &Archive{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// Dir adds a directory, and those above it.
func (a *Archive) Dir(name string) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if a.dirs[name] || name == "" {
		return
	}
	a.Dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, 0o040755, nil)
}

// File adds a file with these permissions, and the directories above it.
func (a *Archive) File(name string, perm fs.FileMode, data []byte) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	a.Dir(path.Dir(name))
	a.entry(name, 0o100000|uint32(perm.Perm()), data)
}

// Copy adds the file from of this computer under the name.
func (a *Archive) Copy(name, from string, perm fs.FileMode) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.File(name, perm, data)
}

// Tree adds the regular files below from, under the directory name, except for those
// that keep says false of: it gets paths relative to from.
func (a *Archive) Tree(name, from string, keep func(rel string, d fs.DirEntry) bool) {
	err := filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		switch {
		case rel == ".":
		case !keep(rel, d):
			if d.IsDir() {
				return filepath.SkipDir
			}
		case d.IsDir():
			a.Dir(path.Join(name, rel))
		case d.Type().IsRegular():
			fi, err := d.Info()
			if err != nil {
				return err
			}
			a.Copy(path.Join(name, rel), file, fi.Mode()|0o444)
		}
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

// Close writes the end; w stays open.
func (a *Archive) Close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

// entry writes a header, its name and the data, each padded to four bytes.
func (a *Archive) entry(name string, mode uint32, data []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	// The fields: magic, inode, mode, uid, gid, links, mtime, size, the device's two
	// numbers, the file's two as a device, the name's length with its NUL, no checksum.
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	for _, b := range [][]byte{[]byte(header), data} {
		if _, a.err = a.w.Write(b); a.err != nil {
			return
		}
		if _, a.err = a.w.Write(make([]byte, -len(b)&3)); a.err != nil {
			return
		}
	}
}
