package runner

import (
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// header returns control.h without what is only for the eye; the comments stay.
func header(t *testing.T) string {
	b, err := os.ReadFile("src/control.h")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	define  = regexp.MustCompile(`(?m)^#define\s+KLINK_(\w+)\s+(0x[0-9a-fA-F]+|\d+)u?\b(?:\s*/\* "([^"]*)")?`)
	at      = regexp.MustCompile(`(?m)^KLINK_AT\((\w+), (\w+), (\w+)\);`)
	structs = regexp.MustCompile(`(?ms)^struct (klink_\w+) \{(.*?)\n?\};`)
	comment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	inner   = regexp.MustCompile(`struct \{[^}]*\} gate\[`)
)

// Numbers of control.h that have no constant of their own here: the forms of sites are
// insn's, and what an ended call says is not believed.
var notHere = map[string]bool{"RETURNED": true, "FAULTED": true}

func TestNumbers(t *testing.T) {
	here := map[string]uint64{
		"MAGIC": magic, "LAYOUT": layout,
		"FD_PROGRAM": fdProgram, "FD_SEALED": fdSealed, "FD_DATA": fdData, "FD_STACKS": fdStacks, "FD_CONTROL": fdControl,
		"FD_WINDOWS": fdWindows, "WINDOWS": maxWindows,
		"MAIL_OFF": mailOff, "THREADS_OFF": threadsOff, "THREAD_SIZE": threadSize, "VALUES_OFF": valuesOff,
		"SIG_PARK": sigPark, "SIG_LIMIT": sigLimit,
		"WALL_MDWE": wallMdwe, "WALL_SECCOMP": wallSeccomp, "WALL_LIMITS": wallLimits, "WALL_FDS": wallFds,
		"CMD_BARRIER": cmdBarrier, "CMD_FLUSH": cmdFlush, "LINE_GOES_ON": lineGoesOn,
		"STEP_CONTROL": stepControl, "STEP_WINDOWS": stepWindows,
		"VALUES": nValues, "HELD": nHeld, "GATES": nGates,
	}
	seen := map[string]bool{}
	nSteps := 1
	for _, m := range define.FindAllStringSubmatch(header(t), -1) {
		name := m[1]
		value, err := strconv.ParseUint(m[2], 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(name, "STEP_"):
			nSteps++
			if want, ok := here[name]; value >= uint64(len(steps)) || steps[value] != m[3] || ok && want != value {
				t.Errorf("step %d is %q", value, m[3])
			}
		case strings.HasPrefix(name, "FORM_"), notHere[name]:
		case here[name] != value:
			t.Errorf("%s is %#x here, %#x there", name, here[name], value)
		}
		seen[name] = true
	}
	for name := range here {
		if !seen[name] {
			t.Errorf("control.h has no %s", name)
		}
	}
	if nSteps != len(steps) {
		t.Errorf("%d steps there, %d here", nSteps, len(steps))
	}
}

// goName is a C name as Go spells it: stack_lo is stackLo, new_ new.
func goName(c string) string {
	parts := strings.Split(strings.TrimSuffix(c, "_"), "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

// TestLayout reads the structs of control.h, works out where C puts each field, and
// compares all of them with Go's; then the assertions of control.h itself.
func TestLayout(t *testing.T) {
	here := map[string]reflect.Type{
		"klink_config": reflect.TypeFor[ctlConfig](), "klink_mail": reflect.TypeFor[ctlMail](),
		"klink_line": reflect.TypeFor[ctlLine](), "klink_regs": reflect.TypeFor[ctlRegs](),
		"klink_value": reflect.TypeFor[ctlValue](), "klink_values": reflect.TypeFor[ctlValues](),
		"klink_thread": reflect.TypeFor[ctlThread](),
	}
	sizes := map[string]uint64{"u8": 1, "char": 1, "u32": 4, "i32": 4, "u64": 8, "struct gate": 16}
	counts := map[string]uint64{"KLINK_VALUES": nValues, "KLINK_HELD": nHeld, "KLINK_GATES": nGates}
	text := comment.ReplaceAllString(header(t), "")
	text = inner.ReplaceAllString(text, "struct gate gate[")
	found := 0
	offsets := map[string]uint64{} // struct.field
	for _, m := range structs.FindAllStringSubmatch(text, -1) {
		name, off := m[1], uint64(0)
		for _, decl := range strings.Split(m[2], ";") {
			words := strings.Fields(decl)
			if len(words) == 0 {
				continue
			}
			typ, rest := words[0], words[1:]
			if typ == "struct" {
				typ, rest = "struct "+words[1], words[2:]
			}
			size, ok := sizes[typ]
			if !ok {
				t.Fatalf("struct %s: a %s", name, typ)
			}
			off = (off + min(size, 8) - 1) &^ (min(size, 8) - 1)
			for _, field := range strings.Split(strings.Join(rest, ""), ",") {
				field, dim, isArray := strings.Cut(strings.TrimSuffix(field, "]"), "[")
				n := uint64(1)
				if isArray {
					if n, ok = counts[dim]; !ok {
						n, _ = strconv.ParseUint(dim, 0, 64)
					}
				}
				offsets[name+"."+field] = off
				off += n * size
			}
		}
		sizes["struct "+name] = off
		typ, ok := here[name]
		if !ok {
			continue // of the tables, which the kernel's side of the switch writes
		}
		found++
		if got := uint64(typ.Size()); got != off {
			t.Errorf("struct %s has %#x bytes here, %#x there", name, got, off)
		}
		fields := 0
		for field, want := range offsets {
			c, is := strings.CutPrefix(field, name+".")
			if !is {
				continue
			}
			fields++
			f, ok := typ.FieldByName(goName(c))
			if !ok || uint64(f.Offset) != want {
				t.Errorf("%s is at %#x here (%v), at %#x there", field, f.Offset, ok, want)
			}
		}
		if fields != typ.NumField() {
			t.Errorf("struct %s has %d fields here, %d there", name, typ.NumField(), fields)
		}
	}
	if found != len(here) {
		t.Errorf("%d of %d structs found", found, len(here))
	}
	asserted := at.FindAllStringSubmatch(header(t), -1)
	if len(asserted) < 40 {
		t.Errorf("only %d assertions found", len(asserted))
	}
	for _, m := range asserted {
		off, ok := offsets[m[1]+"."+m[2]]
		if want, err := strconv.ParseUint(m[3], 0, 64); err != nil || !ok || off != want {
			t.Errorf("%s.%s is at %#x by this test, at %s by control.h", m[1], m[2], off, m[3])
		}
	}
	if lineSize != sizes["struct klink_line"] || maxLineText != lineSize-offsets["klink_line.text"] {
		t.Error("lineSize, maxLineText")
	}
}
