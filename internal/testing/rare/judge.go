package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/oracle"
)

// A row of the table: the objects of a set for one machine.
type row struct {
	objects, equal, refused, different int
	relocations                        int64
	reasons                            map[string][]string // of refusals: the objects
	lines                              []string            // what differs
}

// rules are the reasons for which klink refuses an object and that are its rules, by what
// is in the text of the error. Every other refusal is reported as a fault.
var rules = []struct{ text, name string }{
	{"(TLS)", "TLS"},
	{"TLS is not supported", "TLS"},
	{"a 32-bit ELF file", "32-bit"},
	{"a big-endian ELF file", "big-endian"},
	{"more than klink's limit", "size limit"},
	{"only a linked program or shared object may have it", "dynamic relocation"},
	{"(SHT_RELR or SHT_CREL)", "compact relocations"},
	{"signed pointers", "signed pointers"},
	{"both writable and executable", "writable text"},
	{"unexpected instruction", "no such instruction"},
	{"no instruction can be at", "misaligned"},
	{"is not loaded: it is none of the program's memory", "into what is not loaded"},
	{"an IFUNC at an absolute address", "IFUNC at an absolute address"},
	{"is not a multiple of", "misaligned"},
	{"beyond the end of section", "beyond its section"},
	{"the size is no multiple of a pointer's", "malformed"},
	{"thread-local, but section", "TLS"},
	{"leads back to itself", "malformed"},
	{"undefined, but local", "malformed"},
	{"unknown binding", "malformed"},
	{"unknown group flags", "malformed"},
}

// ruleOf returns the rule after which an object was refused; "" if it is none. Where there
// are several root causes, each must be of a rule.
func ruleOf(refusal error) string {
	rule := ""
	for _, line := range diag.Lines(refusal) {
		found := ""
		for _, r := range rules {
			if strings.Contains(line, r.text) {
				found = r.name
				break
			}
		}
		if found == "" {
			return ""
		}
		rule = cmp.Or(rule, found)
	}
	return rule
}

// noJudge is what counts objects that klink links, and GNU ld does not know how to.
const noJudge = "linked, but GNU ld does not know a type"

// byPsABI counts objects in which GNU ld does one thing, and klink what a document asks for.
const byPsABI = "not as GNU ld, but by the psABI"

// disputes are these objects, by their sources.
var disputes = map[string]bool{
	// ADRP and ADD against symbol 0 with an addend: the value of the undefined symbol's
	// index is 0 (gABI, "Relocation": "the relocation uses 0 as the symbol value"), and so
	// lld has it. GNU ld takes it for an undefined weak symbol, at the place therefore,
	// where told to leave what is undefined, and for an error else.
	"pr27217.s": true,
}

// outcome is what one object came to.
type outcome struct {
	result  *oracle.Result
	refusal error  // klink's
	too     string // why only values that do not fit are no fault of klink's, if so
	err     error  // why there was no comparison
}

// linkers finds each machine's GNU ld once.
var linkers = map[arch.Machine]func() (oracle.Linker, error){
	arch.AMD64: sync.OnceValues(func() (oracle.Linker, error) { return oracle.FindLinker(arch.AMD64) }),
	arch.ARM64: sync.OnceValues(func() (oracle.Linker, error) { return oracle.FindLinker(arch.ARM64) }),
}

// compare links one object with klink and has GNU ld link it at the same addresses.
func compare(ctx context.Context, path string) outcome {
	dir, err := os.MkdirTemp("", "klink-rare.")
	if err != nil {
		return outcome{err: err}
	}
	defer os.RemoveAll(dir)
	define, err := definesOf(path)
	if err == nil {
		path, err = opened(path, dir)
	}
	if err != nil {
		return outcome{err: err}
	}
	if st, err := os.Stat(path); err == nil && st.Size() > largest {
		return outcome{refusal: errLarge, too: errLarge.Error()}
	}
	r := kernel.LinkRequest{
		Modules: []kernel.ModuleSpec{{As: "m", Files: []kernel.Source{{Name: filepath.Base(path), Path: path}}}},
		Static:  true, TrapExternals: true, DumpDir: filepath.Join(dir, "dump"), Define: define,
	}
	report, refusal := kernel.Link(r)
	for i := 0; i < len(lower) && ranges(refusal) > 0; i++ {
		r.Base, r.Define = lower[i].base, nil
		if lower[i].names {
			r.Define = atZero(path, define)
		}
		if rep, again := kernel.Link(r); ranges(again) < ranges(refusal) {
			report, refusal = rep, again
		}
	}
	if refusal != nil {
		o := outcome{refusal: refusal}
		if st, err := os.Stat(path); onlyRange(refusal) && err == nil && st.Size() > longText {
			o.too = "text longer than a branch reaches"
		} else if onlyRange(refusal) && ldRefuses(ctx, path) {
			o.too = "out of range, for GNU ld too"
		}
		return o
	}
	machine, _ := arch.Parse(report.Machine)
	ld, err := linkers[machine]()
	if err != nil {
		return outcome{err: err}
	}
	res, err := oracle.Compare(ctx, ld, path, filepath.Join(dir, "dump"))
	return outcome{result: res, err: err}
}

// largest is the size of objects that are compared, bytes: a comparison has several copies.
const largest = 256 << 20

var errLarge = errors.New("too large to be compared here")

// lower are places to try for objects whose fields are too narrow for addresses at the
// usual place, or for the values that the test gives: a low base, every missing name near 0.
var lower = []struct {
	base  uint64
	names bool
}{{0, false}, {0x1000, false}, {0x1000, true}, {0x10, true}}

// longText is how long an object of aarch64 can be, bytes, before its calls may not reach:
// veneers stand behind a module's text, and are out of reach then as well.
const longText = 96 << 20

// outOfRange is what klink says of a value that does not fit.
const outOfRange = "relocation out of range"

// ranges counts the values that did not fit.
func ranges(refusal error) (n int) {
	if refusal == nil {
		return 0
	}
	for _, line := range diag.Lines(refusal) {
		if strings.Contains(line, outOfRange) {
			n++
		}
	}
	return n
}

// onlyRange says that an object was refused because values did not fit, and for nothing else.
func onlyRange(refusal error) bool {
	if refusal == nil {
		return false
	}
	for _, line := range diag.Lines(refusal) {
		if !strings.Contains(line, outOfRange) && !strings.HasPrefix(line, "and ") {
			return false
		}
	}
	return true
}

// atZero gives every name that the object does not define, and define does not have, the
// value 0x40.
func atZero(path string, define map[string]uint64) map[string]uint64 {
	all := maps.Clone(define)
	if all == nil {
		all = map[string]uint64{}
	}
	f, err := readELF(path)
	if err != nil {
		return all
	}
	syms, _ := f.Symbols() // none is no error: nothing is missing then
	for _, s := range syms {
		if _, ok := all[s.Name]; !ok && s.Section == elf.SHN_UNDEF && s.Name != "" && s.Name != "_GLOBAL_OFFSET_TABLE_" {
			all[s.Name] = 0x40
		}
	}
	return all
}

// readELF reads an object.
func readELF(path string) (*elf.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return elf.NewFile(bytes.NewReader(data))
}

// ldRefuses says that GNU ld, too, finds values that do not fit, wherever it puts things;
// or lld, if GNU ld does not know a type.
func ldRefuses(ctx context.Context, path string) bool {
	f, err := readELF(path)
	if err != nil {
		return false
	}
	ld, err := linkers[arch.Machine(f.Machine)]()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	said := ""
	for _, command := range []string{ld.Path, "ld.lld-19"} {
		cmd := exec.CommandContext(ctx, command, "-m", ld.Emulation, "-static", "-e", "0", "--unresolved-symbols=ignore-all", "-o", os.DevNull, path)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		log, err := cmd.CombinedOutput()
		if err == nil {
			return false
		}
		said = string(log)
		if !strings.Contains(said, unknownType) {
			break
		}
	}
	return strings.Contains(said, "truncated to fit") || strings.Contains(said, "out of range")
}

// unknownType is what GNU ld says of a type that it does not know.
const unknownType = "unrecognized relocation type"

// definesOf returns what the object's test says of names.
func definesOf(path string) (define map[string]uint64, err error) {
	data, err := os.ReadFile(strings.TrimSuffix(path, ".o") + definesSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &define)
	}
	return define, err
}

// opened returns the object, or a copy that does not hide the names it needs of others:
// alone it could not be linked.
func opened(path, dir string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	open, hidden, err := oracle.Unhide(data)
	if err != nil || hidden == 0 {
		return path, nil // not even an ELF64 file: klink says so
	}
	copied := filepath.Join(dir, filepath.Base(path))
	return copied, os.WriteFile(copied, open, 0o600)
}

// judge compares the objects of a folder.
func judge(ctx context.Context, dir string) (*row, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.o"))
	if err != nil {
		return nil, err
	}
	t := &row{reasons: map[string][]string{}}
	var mu sync.Mutex
	err = each(len(files), func(i int) error {
		o := compare(ctx, files[i])
		mu.Lock()
		defer mu.Unlock()
		t.add(filepath.Base(files[i]), o)
		return ctx.Err()
	})
	slices.Sort(t.lines)
	return t, err
}

// add counts one object.
func (t *row) add(name string, o outcome) {
	t.objects++
	source, _, _ := strings.Cut(name, "@")
	switch {
	case o.refusal != nil:
		t.refused++
		reason := ruleOf(o.refusal)
		if o.too != "" {
			reason = o.too
		}
		if strings.HasSuffix(name, craftedSuffix+".o") && errors.Is(o.refusal, diag.ErrMalformed) {
			reason = "malformed, written in YAML"
		}
		if reason == "" {
			t.lines = append(t.lines, fmt.Sprintf("refused: %s: %s", name, strings.Join(diag.Lines(o.refusal), "\n\t")))
		}
		t.reasons[reason] = append(t.reasons[reason], name)
	case o.err != nil && strings.Contains(o.err.Error(), unknownType):
		t.reasons[noJudge] = append(t.reasons[noJudge], name)
	case o.err != nil:
		t.different++
		t.lines = append(t.lines, fmt.Sprintf("different: %s: %v", name, o.err))
	case !o.result.Equal() && disputes[source]:
		t.reasons[byPsABI] = append(t.reasons[byPsABI], name)
	case !o.result.Equal():
		t.different++
		t.lines = append(t.lines, fmt.Sprintf("different: %s: %v", name, o.result))
	case disputes[source]:
		t.different++
		t.lines = append(t.lines, fmt.Sprintf("different: %s: is as GNU ld has it, and need not be in the list of disputes", name))
	default:
		t.equal++
	}
	if o.result != nil {
		t.relocations += int64(o.result.Relocations)
	}
}

// bad says that something is not as it should be.
func (t *row) bad() bool { return t.different > 0 || len(t.reasons[""]) > 0 }

// because lists the reasons of refusals with their counts.
func (t *row) because() string {
	var list []string
	for _, r := range slices.Sorted(maps.Keys(t.reasons)) {
		list = append(list, fmt.Sprintf("%s %d", cmp.Or(r, "no rule"), len(t.reasons[r])))
	}
	return strings.Join(list, ", ")
}

var errBad = errors.New("klink and GNU ld differ, or klink refused what is within its rules")
