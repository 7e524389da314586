// Package oracle asks GNU ld what an object's bytes must be.
//
// klink dumps where it put each section of an object, and the bytes there
// (klink link --static --externals trap --dump DIR FILE). Compare has GNU ld
// link the same object at the same addresses and compares byte for byte. It
// shares no code with klink's own relocation: a mistake there cannot hide here.
// Without --static the dump is of the form whose calls can move, and the object that ld
// gets says where each reference leads then: live.go.
//
// One kind of field cannot be compared, because two linkers may choose differently, and
// is masked: what leads to a GOT slot. The oracle follows each one to the loader's slot,
// which must hold the symbol's address. So that nothing else is masked, ld is told of
// each IFUNC's stub, that undefined weak symbols of x86-64 are 0, and that a branch of
// aarch64 to one is a NOP.
//
// Imported by tests only. Use it on objects that compilers and assemblers
// made: GNU ld is no judge of hostile files.
package oracle

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"klink/internal/arch"
)

// Result is what a comparison found.
type Result struct {
	Differences []Difference   // in the order of sections, then offsets
	Absent      []string       // allocated sections of the object that the dump has not, and that are not empty
	Sections    int            // sections compared, the empty ones too
	Bytes       int64          // bytes compared, the masked ones too
	Relocations int            // relocations in compared sections
	Masked      int            // relocations among them whose field was not compared with ld's
	Followed    int            // masked ones of which the meaning was looked at: all of them
	Slots       int            // GOT slots that they led to
	SlotsMade   int            // GOT slots that there are
	Types       map[uint32]int // relocations in compared sections by their type
	Log         string         // what ld had to say: warnings, as a rule empty
}

// Equal reports whether nothing differs, nothing is absent, and no field went unseen.
func (r *Result) Equal() bool {
	return len(r.Differences) == 0 && len(r.Absent) == 0 && r.Masked == r.Followed
}

// String returns one line of counts, then a line for each difference, at most 20.
func (r *Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d sections, %d bytes, %d relocations (%d masked, %d followed to %d of %d slots), %d differences, %d absent",
		r.Sections, r.Bytes, r.Relocations, r.Masked, r.Followed, r.Slots, r.SlotsMade, len(r.Differences), len(r.Absent))
	for i, d := range r.Differences {
		if i == 20 {
			fmt.Fprintf(&b, "\n\tand %d more", len(r.Differences)-i)
			break
		}
		fmt.Fprintf(&b, "\n\t%s", d)
	}
	for _, a := range r.Absent {
		fmt.Fprintf(&b, "\n\t%s: not in the dump", a)
	}
	return b.String()
}

// Difference is one place where the two linkers disagree. Consecutive bytes
// that differ make one Difference.
type Difference struct {
	Section string // name and index: ".text[1]"
	Offset  uint64 // from the section's start
	What    string // what is compared: "bytes", "address", "size", "slot"
	Want    string // ld's
	Got     string // klink's
	Reloc   string // the relocation that made the field, or ""
}

// String returns d in one line.
func (d Difference) String() string {
	s := fmt.Sprintf("%s+0x%x: %s: want %s, got %s", d.Section, d.Offset, d.What, d.Want, d.Got)
	if d.Reloc != "" {
		s += " (" + d.Reloc + ")"
	}
	return s
}

// Linker is a GNU ld that links for one machine.
type Linker struct {
	Path      string // the program
	Emulation string // what -m takes
	machine   elf.Machine
}

// ErrNoLinker is returned, wrapped, if a machine's GNU ld is not found.
var ErrNoLinker = errors.New("no GNU ld")

// linkers: per machine the emulation and the programs to try.
var linkers = map[arch.Machine]struct {
	emulation string
	names     []string
}{
	arch.AMD64: {"elf_x86_64", []string{"x86_64-linux-gnu-ld.bfd", "x86_64-linux-gnu-ld", "ld.bfd", "ld"}},
	arch.ARM64: {"aarch64linux", []string{"aarch64-linux-gnu-ld.bfd", "aarch64-linux-gnu-ld", "ld.bfd", "ld"}},
}

// FindLinker returns the GNU ld that links for m: one on PATH, or the one that
// scripts/tools.sh brought to the cache folder ($KLINK_CACHE, else .cache
// beside go.mod). The error wraps ErrNoLinker and says how to get it.
func FindLinker(m arch.Machine) (Linker, error) {
	l, ok := linkers[m]
	if !ok {
		return Linker{}, fmt.Errorf("%w for %v", ErrNoLinker, m)
	}
	for _, name := range l.names {
		for _, path := range []string{lookPath(name), filepath.Join(toolsDir(), name)} {
			if path != "" && links(path, l.emulation) {
				return Linker{Path: path, Emulation: l.emulation, machine: elf.Machine(m)}, nil
			}
		}
	}
	return Linker{}, fmt.Errorf("%w for %v (tried %s): scripts/tools.sh ld-arm64 brings aarch64's",
		ErrNoLinker, m, strings.Join(l.names, ", "))
}

func lookPath(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// links reports whether path is a GNU ld with this emulation.
func links(path, emulation string) bool {
	if _, err := os.Stat(path); err != nil {
		return false
	}
	out, err := exec.Command(path, "-V").Output()
	if err != nil || !bytes.HasPrefix(out, []byte("GNU ld")) {
		return false
	}
	for _, word := range strings.Fields(string(out)) {
		if word == emulation {
			return true
		}
	}
	return false
}

// toolsDir returns the folder of unpacked tools, whether it exists or not.
func toolsDir() string {
	if cache := os.Getenv("KLINK_CACHE"); cache != "" {
		return filepath.Join(cache, "tools", "bin")
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "tools", "bin")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// timeLimit is ld's, unless the caller's context is stricter.
const timeLimit = time.Minute

// flags make ld apply relocations and do nothing else.
var flags = []string{
	"-static", "-nostdlib", "-e", "0",
	"--no-relax", "--no-gc-sections", "--no-check-sections",
	"-z", "norelro", "-z", "notext", "-z", "max-page-size=0x1000",
	"-z", "noexecstack", "--no-eh-frame-hdr", "--build-id=none", "--no-dynamic-linker",
	"--unresolved-symbols=ignore-all", "--noinhibit-exec", "--no-warn-rwx-segments",
}

// run links the neutral object at the script's addresses. It returns ld's
// output file, parsed, and what ld printed. Temporary files are gone when it
// returns.
func (l Linker) run(ctx context.Context, neutral []byte, script string) (*elf.File, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "oracle")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "obj.o"), neutral, 0o600); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "script.ld"), []byte(script), 0o600); err != nil {
		return nil, "", err
	}
	args := append([]string{"-m", l.Emulation}, flags...)
	if l.machine == elf.EM_X86_64 {
		args = append(args, "--no-ld-generated-unwind-info")
	}
	args = append(args, "-T", "script.ld", "obj.o", "-o", "out")
	cmd := exec.CommandContext(ctx, l.Path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	log, runErr := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return nil, "", fmt.Errorf("%s: %w", l.Path, ctx.Err())
	}
	// --noinhibit-exec: there is an output even after errors, and its bytes tell more.
	data, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w: %s", l.Path, runErr, firstLines(string(log), 5))
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, "", fmt.Errorf("%s's output: %w: %s", l.Path, errors.Join(err, runErr), firstLines(string(log), 5))
	}
	return f, string(log), nil
}

func firstLines(s string, n int) string {
	lines := strings.SplitN(strings.TrimSpace(s), "\n", n+1)
	if len(lines) > n {
		lines[n] = "…"
	}
	return strings.Join(lines, "; ")
}
