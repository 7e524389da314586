package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"klink/internal/arch"
	"klink/internal/testing/hostile"
)

// looks are commands whose answers must stay the same whatever is refused.
var looks = []string{"alias --all", "sites", "version"}

// TestHostileFiles gives every hostile file to klink check, klink link and klink load, the
// last into a host with modules, one of this computer's machine, with a runner, and one of
// the other: each prints what it is to print and ends as it is to end, the host stays
// what it was, and all of them together stay below a limit of memory and time.
func TestHostileFiles(t *testing.T) {
	objs, err := filepath.Abs("../../testdata/objs")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		t.Run(m.String(), func(t *testing.T) {
			dir := t.TempDir()
			files := slices.DeleteFunc(hostile.Files(), func(f hostile.File) bool {
				other := f.Machine() == arch.ARM64
				return other != (m == arch.ARM64)
			})
			var script strings.Builder
			say := func(format string, args ...any) { fmt.Fprintf(&script, format+"\n", args...) }
			look := func() {
				for _, l := range looks {
					say("%s", l)
				}
			}
			obj := func(name string) string {
				return fmt.Sprintf("%s/bus_space/%s.%s.%s", objs, name, m.Facts().GOARCH, map[bool]string{true: "o", false: "kmod"}[name == "kernel"])
			}
			say("boot --machine %s --arena-size 16M --arena-base 0x20000000 %s", m, obj("kernel"))
			say("load %s", obj("bus_space_debug"))
			look()
			for i, f := range files {
				name := fmt.Sprintf("f%03d.o", i)
				if err := os.WriteFile(filepath.Join(dir, name), f.Raw, 0o600); err != nil {
					t.Fatal(err)
				}
				fails := func(from hostile.Stage) string {
					if f.Stage <= from {
						return "! "
					}
					return ""
				}
				say("%scheck %s", fails(hostile.Link), name)
				say("%slink --externals trap %s", fails(hostile.Link), name)
				say("%sload -n %s", fails(hostile.Load), name)
				if ifunc := strings.Contains(f.Name, "IFUNC"); ifunc && f.Stage == hostile.Sound {
					say("- load --as m%03d %s", i, name) // its resolver is asked, which may be refused
					say("- unload m%03d", i)
				} else {
					say("%sload --as m%03d %s", fails(hostile.Load), i, name)
					if f.Stage == hostile.Sound {
						say("unload m%03d", i)
					}
				}
				look()
			}
			if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("klink", "run", "-x", "script")
			cmd.Dir = dir
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n… %s", err, out.Bytes()[max(0, out.Len()-2000):])
			}
			usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			t.Logf("%d files: %d MiB resident, %v of processor time", len(files), usage.Maxrss>>10, spent)
			if got := usage.Maxrss << 10; got > maxResident {
				t.Errorf("%d MiB resident", got>>20)
			}
			if limit := max(3*maxProcessor*time.Second, 2000*oneCommand(t)); spent > limit {
				t.Errorf("%v of processor time, more than %v", spent, limit)
			}
			checkTranscript(t, out.String(), files)
		})
	}
}

// oneCommand returns the processor time of a command that does next to nothing, the
// measure for an emulated machine.
func oneCommand(t *testing.T) time.Duration {
	t.Helper()
	cmd := exec.Command("klink", "help")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// checkTranscript compares what klink run printed with what the files are to get.
func checkTranscript(t *testing.T, transcript string, files []hostile.File) {
	t.Helper()
	for _, r := range transcript {
		if r < ' ' && r != '\n' || r >= 0x7f && r <= 0x9f {
			t.Fatalf("%q in the output", r)
		}
	}
	blocks := strings.Split("\n"+strings.TrimSuffix(transcript, "\n"), "\n$ klink ")[3:] // without boot and load
	next := func(command string) (answer string) {
		t.Helper()
		if len(blocks) == 0 || !strings.HasPrefix(blocks[0], command) {
			t.Fatalf("no answer to %s: %.200q", command, blocks)
		}
		_, answer, _ = strings.Cut(blocks[0], "\n")
		blocks = blocks[1:]
		return answer
	}
	state := func() (s []string) {
		for _, l := range looks {
			s = append(s, next(l))
		}
		return s
	}
	const modules = 2
	before := state()
	for i, f := range files {
		name := fmt.Sprintf("f%03d.o", i)
		f.Want = strings.ReplaceAll(f.Want, "a.o", name)
		findings := next("check " + name)
		if f.Stage <= hostile.Link {
			for _, line := range strings.Split(f.Want, "\n") {
				place, text, _ := strings.Cut(line, ": ")
				if !strings.Contains("\n"+findings, "\n"+place+": error: "+text) {
					t.Errorf("%s: klink check: %s\nwant %s", f.Name, findings, f.Want)
				}
			}
		}
		if got := next("link --externals trap " + name); f.Stage <= hostile.Link && !f.Is(got) {
			t.Errorf("%s: klink link: %s\nwant %s", f.Name, got, f.Want)
		}
		for _, command := range []string{"load -n " + name, fmt.Sprintf("load --as m%03d %s", i, name)} {
			if got := next(command); f.Stage <= hostile.Load && !f.Is(got) {
				t.Errorf("%s: klink load: %s\nwant %s", f.Name, got, f.Want)
			}
		}
		if f.Stage == hostile.Sound {
			next("unload")
		}
		after := state()
		switch {
		case f.Stage != hostile.Sound && !slices.Equal(before, after), f.Stage == hostile.Sound && !strings.Contains(after[2], fmt.Sprintf(", %d modules", modules)):
			t.Fatalf("%s changed the host:\n%s\n%s", f.Name, before, after)
		case f.Stage == hostile.Sound:
			before = after // a name keeps its entry
		}
	}
}
