package kernel

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/kpi"
	"klink/internal/link"
)

// maxFile bounds an object or archive, bytes. Offsets in klink's tables are 64 bits
// wide; the bound is against a mistake such as loading a disk image.
const maxFile = 4 << 30

// memory gives n zeroed bytes for a file: a slab's, or newMemory.
type memory func(n int) []byte

func newMemory(n int) []byte { return make([]byte, n) }

// readFile reads a regular file whole. Its bytes are the caller's own: a file that
// changes while klink links cannot change what was checked.
func readFile(src Source, mem memory) ([]byte, error) {
	// Without O_NONBLOCK opening a FIFO would wait for somebody to write to it.
	f, err := os.OpenFile(src.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, ioError(src, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, ioError(src, err)
	}
	if !st.Mode().IsRegular() {
		return nil, diag.New(diag.ErrIO, src.Name, "not a regular file")
	}
	if st.Size() > maxFile {
		return nil, diag.New(diag.ErrUnsupported, src.Name, "%d bytes: larger than any object", st.Size())
	}
	buf := mem(int(st.Size()))
	if _, err := io.ReadFull(f, buf); err != nil {
		return nil, ioError(src, err)
	}
	return buf, nil
}

// ioError says in one line why a file could not be read.
func ioError(src Source, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return diag.New(diag.ErrNotFound, src.Name, "no such file")
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return diag.New(diag.ErrIO, src.Name, "%v", err)
}

// moduleName is a module's name by its spec: --as, or the first file's base name
// without its last suffix.
func moduleName(spec ModuleSpec) string {
	if spec.As != "" || len(spec.Files) == 0 {
		return spec.As
	}
	base := filepath.Base(spec.Files[0].Name)
	if stem := strings.TrimSuffix(base, filepath.Ext(base)); stem != "" {
		return stem
	}
	return base
}

// ownName is what klink's own kernel object is called.
const ownName = "klink.o"

// readObjects reads the files of a spec and picks the archive members that it takes.
func readObjects(spec ModuleSpec, mem memory) ([]*elfload.Object, error) {
	var set link.Candidates
	var errs diag.List
	machine := spec.machine
	for i, src := range spec.Files {
		raw, err := readFile(src, mem)
		if err != nil {
			errs.Add(err)
			continue
		}
		if !elfload.IsArchive(raw) {
			o, err := elfload.Parse(src.Name, "", raw)
			errs.Add(err)
			set.Take(o)
			if i == 0 && o != nil {
				machine = o.Machine
			}
			continue
		}
		members, err := elfload.Members(src.Name, raw)
		errs.Add(err)
		for n, m := range members {
			if !m.IsELF() {
				continue // a note or an index that is no object, as linkers pass over
			}
			o, err := elfload.Parse(src.Name, m.Name, m.Data)
			errs.Add(err)
			if i == 0 && n == 0 && o != nil {
				machine = o.Machine
			}
			if spec.WholeArchive {
				set.Take(o)
			} else {
				set.Offer(o)
			}
		}
	}
	if spec.own {
		o, err := elfload.Parse(ownName, "", kpi.Object(machine))
		errs.Add(err)
		set.Take(o)
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	objects := set.Select()
	if len(objects) == 0 {
		if len(spec.Files) == 0 {
			return nil, diag.New(diag.ErrUsage, "", "a module without a file")
		}
		return nil, diag.New(diag.ErrUsage, spec.Files[0].Name, "no member is needed by another object; --whole-archive takes all")
	}
	return objects, nil
}

// parallel calls f(0) … f(n-1) on as many goroutines as there are processors and
// returns all their errors.
func parallel(n int, f func(i int) error) error {
	var (
		next atomic.Int64
		mu   sync.Mutex
		errs diag.List
		wg   sync.WaitGroup
	)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					errs.Add(err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errs.Err()
}
