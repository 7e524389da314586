package main

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"klink/internal/testing/vm"
)

// pack writes the machine's files to a temporary file and returns its name, which is
// not "" if there is one to remove.
func (o *options) pack(plan vm.Plan) (name string, err error) {
	text, err := json.Marshal(plan)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "klink-vm-*.cpio")
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	a := vm.NewArchive(w)
	a.Copy("/init", o.init, 0o755)
	a.File(vm.PlanFile, 0o600, text)
	for _, p := range o.programs {
		a.Copy(vm.TestsDir+"/"+filepath.Base(p.file), p.file, 0o755)
		// A package without any file but Go's needs its folder, too.
		a.Dir(vm.TreeDir + "/" + p.folder)
	}
	a.Tree(vm.TreeDir, o.tree, inTree)
	if err := a.Close(); err != nil {
		return f.Name(), err
	}
	return f.Name(), w.Flush()
}

// inTree reports whether tests may need a file of the repository: what is built, and
// what tools keep for themselves, they do not.
func inTree(rel string, d fs.DirEntry) bool {
	base := d.Name()
	return !strings.HasPrefix(base, ".") && rel != "bin" &&
		(d.IsDir() || filepath.Ext(base) != ".test" && filepath.Ext(base) != ".prof")
}
