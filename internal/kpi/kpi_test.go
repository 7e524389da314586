package kpi

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/elfload"
)

var machines = []arch.Machine{arch.AMD64, arch.ARM64}

func parse(t *testing.T, m arch.Machine) *elfload.Object {
	t.Helper()
	o, err := elfload.Parse("klink.o", "", Object(m))
	if err != nil {
		t.Fatal(err)
	}
	if o.Machine != m {
		t.Fatalf("the object for %v is for %v", m, o.Machine)
	}
	return o
}

// listed returns the names of a list.
func listed(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range strings.Split(string(b), "\n") {
		if l != "" && !strings.HasPrefix(l, "#") {
			names = append(names, l)
		}
	}
	return names
}

// TestNames: the object provides what the lists say, as weak definitions, and needs
// nothing.
func TestNames(t *testing.T) {
	for _, m := range machines {
		want := listed(t, "names.txt")
		if m == arch.ARM64 {
			want = append(want, listed(t, "arm64_names.txt")...)
		}
		o := parse(t, m)
		var got []string
		for i := o.Locals; i < len(o.Symbols); i++ {
			s := &o.Symbols[i]
			switch {
			case s.Where == elfload.Undefined:
				t.Errorf("%v: %s is undefined", m, s.Name)
			case s.Bind != elfload.Weak || s.Vis != elfload.Default:
				t.Errorf("%v: %s is not weak, or not for everybody", m, s.Name)
			}
			got = append(got, s.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%v: the lists and the object differ\nonly listed: %v\nonly provided: %v", m, less(want, got), less(got, want))
		}
		for _, name := range []string{HeapLo, HeapHi, Settle, ThreadMain, Gates, Windows} {
			if !slices.Contains(got, name) {
				t.Errorf("%v: no %s", m, name)
			}
		}
	}
}

// less returns what of a is not in b.
func less(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// TestSections: there is no writable code.
func TestSections(t *testing.T) {
	for _, m := range machines {
		for _, s := range parse(t, m).Sections {
			if s.Flags&elfload.Write != 0 && s.Flags&elfload.Exec != 0 {
				t.Errorf("%v: %s is writable and executable", m, s.Name)
			}
		}
	}
}

func TestNoMachine(t *testing.T) {
	if Object(3) != nil || CompileFlags(3, "x") != nil {
		t.Error("there is something for a machine that does not exist")
	}
}

// TestWriteHeaders: what is written is what is embedded, and a second time changes nothing.
func TestWriteHeaders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := WriteHeaders(dir); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := fs.WalkDir(Headers(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		want, err := fs.ReadFile(Headers(), name)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("%s differs", name)
		}
		return err
	})
	if err != nil || n < 25 {
		t.Errorf("%d headers, %v", n, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteHeaders(file); err == nil {
		t.Error("headers were written into a file")
	}
}

// headerNames returns all headers.
func headerNames(t *testing.T) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(Headers(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// compilers returns those of C that this machine has; gcc it must have.
func compilers(t *testing.T) map[string]arch.Machine {
	t.Helper()
	found := map[string]arch.Machine{}
	for _, c := range []struct {
		name string
		m    arch.Machine
	}{{"gcc", native}, {"clang", native}, {"x86_64-linux-gnu-gcc", arch.AMD64}, {"aarch64-linux-gnu-gcc", arch.ARM64}} {
		if _, err := exec.LookPath(c.name); err == nil {
			found[c.name] = c.m
		}
	}
	if len(found) == 0 {
		t.Fatal("there is no C compiler")
	}
	return found
}

// compile runs a compiler over source, with what klink cc passes and what else is given.
func compile(t *testing.T, cc string, m arch.Machine, source string, args ...string) {
	t.Helper()
	flags := CompileFlags(m, "include")
	if strings.Contains(cc, "clang") {
		flags = slices.DeleteFunc(flags, func(f string) bool { return f == Shared })
	}
	cmd := exec.Command(cc, append(append(flags, "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(t.TempDir(), "x.o")), args...)...)
	cmd.Stdin = strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, source, out)
	}
}

// use is a module that uses what people use, in C and in C++.
const use = `
static kmutex_t lock;
static kcondvar_t cv;
static struct gate gate;
static volatile unsigned n;
MODULE(MODULE_CLASS_MISC, used, NULL);
static int
used_modcmd(modcmd_t cmd, void *arg)
{
	switch (cmd) {
	case MODULE_CMD_INIT:
		mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
		cv_init(&cv, "used");
		gate_init(&gate, "used");
		return 0;
	case MODULE_CMD_CATCH:
		gate_catch(&gate);
		return 0;
	case MODULE_CMD_FINI:
		KASSERTMSG(arg == NULL, "arg is %p", arg);
		atomic_inc_uint(&n);
		membar_sync();
		return gate_drain(&gate, mstohz(10));
	default:
		return ENOTTY;
	}
}
extern int thing(int), thing_impl(int);
int thing_impl(int v) { return (int)MIN(v, imax(1, 2)) + (int)n; }
__weak_alias(thing, thing_impl)
__refine_alias(layer, thing_impl)
__KERNEL_RCSID(0, "$NetBSD$");
CTASSERT(sizeof(kmutex_t) == 8);
struct item { TAILQ_ENTRY(item) link; };
TAILQ_HEAD(items, item);
extern struct items all;
int walk(void);
int walk(void)
{
	struct item *i, *next;
	int k = 0;
	TAILQ_FOREACH_SAFE(i, &all, link, next)
		k++;
	return k + (int)atomic_load_relaxed(&n) + (int)__arraycount("abc") + (int)offsetof(struct item, link);
}
`

// TestCompileHeaders: each header compiles alone, all of them together and twice, and a
// module that uses them; as C and as C++, with every compiler that is here.
func TestCompileHeaders(t *testing.T) {
	names := headerNames(t)
	var all strings.Builder
	for range 2 {
		for _, n := range names {
			all.WriteString("#include <" + n + ">\n")
		}
	}
	for cc, m := range compilers(t) {
		cxx := strings.Replace(cc, "gcc", "g++", 1)
		if _, err := exec.LookPath(cxx); err != nil {
			cxx = ""
		}
		t.Run(cc, func(t *testing.T) {
			t.Parallel()
			if cc == "gcc" { // the order of the headers is the same for all
				alone(t, cc, m, names, "-std=gnu99", "-x", "c")
				alone(t, cxx, m, names, "-x", "c++")
			}
			compile(t, cc, m, all.String()+use, "-std=gnu99", "-x", "c", "-")
			compile(t, cc, m, all.String()+use, "-std=gnu17", "-O0", "-x", "c", "-")
			if cxx != "" {
				compile(t, cxx, m, all.String()+use, "-x", "c++", "-")
			}
		})
	}
}

// alone compiles each header by itself, if there is such a compiler.
func alone(t *testing.T, cc string, m arch.Machine, names []string, args ...string) {
	t.Helper()
	if cc == "" {
		return
	}
	dir := t.TempDir()
	var files []string
	for i, n := range names {
		f := filepath.Join(dir, fmt.Sprintf("%d.c", i))
		if err := os.WriteFile(f, []byte("#include <"+n+">\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	cmd := exec.Command(cc, append(append(CompileFlags(m, "include"), append(args, "-Wall", "-Wextra", "-Werror", "-fsyntax-only")...), files...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}

// TestCompileOwnHeaders: the compiler's own headers and klink's do not disturb each
// other, whichever comes first.
func TestCompileOwnHeaders(t *testing.T) {
	own := "#include <stdarg.h>\n#include <stddef.h>\n#include <stdbool.h>\n#include <stdint.h>\n"
	klink := "#include <sys/systm.h>\n#include <sys/stdint.h>\n"
	for cc, m := range compilers(t) {
		out, err := exec.Command(cc, "-print-file-name=include").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range []string{own + klink, klink + own} {
			compile(t, cc, m, source, "-isystem", strings.TrimSpace(string(out)), "-fsyntax-only", "-x", "c", "-")
		}
	}
}

// TestCompileRecord: klink's __refine_alias makes the record that testdata/objs/include's does.
func TestCompileRecord(t *testing.T) {
	const body = "int f(void);\nint f(void) { return 0; }\n__refine_alias(g, f)\n__weak_alias(h, f)\n__strong_alias(k, f)\n"
	objects := map[string][]byte{}
	for _, include := range []string{"-include sys/cdefs.h -Iinclude", "-include klink_alias.h -I../../testdata/objs/include"} {
		to := filepath.Join(t.TempDir(), "x.o")
		cmd := exec.Command("gcc", append(strings.Fields(include), "-c", "-fno-ident", "-o", to, "-x", "c", "-")...)
		cmd.Stdin = strings.NewReader(body)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		objects[include] = b
	}
	var first []byte
	for _, b := range objects {
		if first != nil && !bytes.Equal(first, b) {
			t.Error("the two headers make different objects")
		}
		first = b
	}
}
