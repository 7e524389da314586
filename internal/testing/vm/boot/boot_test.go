package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"klink/internal/testing/vm"
)

// The test program is its own emulator when this names what the machine does.
const actVar = "KLINK_TEST_MACHINE"

func TestMain(m *testing.M) {
	if act := os.Getenv(actVar); act != "" {
		if err := machine(act); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// machine plays one that was given two jobs.
func machine(act string) error {
	initrd := os.Args[slices.Index(os.Args, "-initrd")+1]
	plan, err := findPlan(initrd)
	if err != nil {
		return err
	}
	say := func(e vm.Event) { fmt.Printf("%s\r\n", e.Line(plan.Token)) }
	fmt.Println("[    0.1] a kernel begins")
	if act == "silent" {
		return nil
	}
	say(vm.Event{Kind: vm.Up, Text: "6.99"})
	for i := range plan.Jobs {
		say(vm.Event{Kind: vm.Start, Job: i})
		end := vm.Event{Kind: vm.End, Job: i, Output: "much text\nPASS\n"}
		switch {
		case i == 0:
		case act == "fails":
			end.Code, end.Output, end.Kernel = 1, "--- FAIL: TestX\nFAIL\n", "a message\n"
		case act == "dies":
			fmt.Println("Kernel panic - not syncing")
			return nil
		case act == "hangs":
			time.Sleep(time.Hour)
		case act == "lies":
			// A job that can write to the console knows no token.
			end.Output = "PASS"
			fmt.Println(end.Line("@AAAA"), vm.Event{Kind: vm.Over}.Line("@AAAA"))
			return nil
		case act == "mixes":
			line := end.Line(plan.Token)
			fmt.Printf("%s[  9.1] in between%s\n", line[:60], line[60:])
			time.Sleep(time.Hour)
		}
		say(end)
	}
	say(vm.Event{Kind: vm.Over})
	if act == "cannot end" {
		return fmt.Errorf("no power switch")
	}
	return nil
}

func findPlan(initrd string) (vm.Plan, error) {
	var plan vm.Plan
	b, err := os.ReadFile(initrd)
	if err != nil {
		return plan, err
	}
	_, rest, _ := bytes.Cut(b, []byte(`{"Token"`))
	return plan, json.NewDecoder(io.MultiReader(strings.NewReader(`{"Token"`), bytes.NewReader(rest))).Decode(&plan)
}

func TestBoot(t *testing.T) {
	for _, c := range []struct {
		act, err string
		out      []string // in this order
	}{
		{"works", "", []string{"vm: Linux 6.99 on some", "ok    a/one ", "ok    b/two ", "vm: all of 2 packages passed"}},
		{"fails", "1 of 2 packages failed", []string{"ok    a/one ", "FAIL  b/two ", "exit code 1", "\n      --- FAIL: TestX\n      FAIL\n      kernel: a message\n"}},
		{"dies", "the machine ended while b/two ran", []string{"ok    a/one ", "last lines", "a kernel begins", "      Kernel panic"}},
		{"silent", "the machine did not come up", []string{"last lines", "a kernel begins"}},
		{"lies", "the machine ended while b/two ran", []string{"ok    a/one ", "@AAAA"}},
		{"mixes", "a damaged line on the console", []string{"ok    a/one "}},
		{"hangs", "not done after 300ms", nil},
		{"cannot end", "exit status 1", []string{"ok    b/two "}},
	} {
		t.Run(c.act, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "file")
			if err := os.WriteFile(file, []byte("#!"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv(actVar, c.act)
			t.Setenv("TMPDIR", dir)
			var out, stderr bytes.Buffer
			o := options{
				qemu: os.Args[0], cpu: "some", memory: "1", kernel: "kernel", init: file, tree: t.TempDir(),
				limit: time.Minute, stdout: &out, stderr: &stderr,
				console:  filepath.Join(dir, "log"),
				programs: []program{{"a/one", file, nil}, {"b/two", file, []string{"-test.run=X"}}},
			}
			if c.act == "hangs" {
				o.limit = 300 * time.Millisecond
			}
			err := o.run()
			if got := fmt.Sprint(err); (err != nil) != (c.err != "") || !strings.Contains(got, c.err) {
				t.Errorf("error %v, want %q; stderr %s", err, c.err, &stderr)
			}
			rest := out.String()
			for _, want := range c.out {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Errorf("no %q in its place in\n%s", want, out.String())
				}
				rest = after
			}
			if strings.Contains(out.String(), "much text") {
				t.Errorf("the output of what passed is shown:\n%s", out.String())
			}
			if left, _ := filepath.Glob(dir + "/*.cpio"); len(left) > 0 {
				t.Errorf("left %v", left)
			}
			if log, err := os.ReadFile(o.console); err != nil || !bytes.Contains(log, []byte("a kernel begins")) && c.act != "hangs" {
				t.Errorf("the console's copy: %q, %v", log, err)
			}
		})
	}
}

func TestReadPrograms(t *testing.T) {
	list, err := readPrograms(strings.NewReader("internal/a\t/x/a.test\t-test.run=A B\t-v\ninternal/b\t/x/b.test\n"))
	if err != nil || len(list) != 2 || list[0].folder != "internal/a" || !slices.Equal(list[0].args, []string{"-test.run=A B", "-v"}) || list[1].file != "/x/b.test" {
		t.Errorf("%q, %v", list, err)
	}
	for _, bad := range []string{"", "internal/a\n"} {
		if list, err := readPrograms(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %q", bad, list)
		}
	}
}
