package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// LLVM's tests say in RUN lines how to make their objects, in a small part of a shell's
// language. Here is as much of it as that takes: pipelines of the few commands that
// make files. A command that is not known ends its pipeline, as it reads what was made.

// runs returns the RUN lines of a test, with those joined that a backslash continues.
func runs(text string) []string {
	var list []string
	joined := ""
	for line := range strings.Lines(text) {
		_, run, ok := strings.Cut(line, "RUN:")
		if !ok {
			continue
		}
		run = strings.TrimSpace(run)
		if more, cut := strings.CutSuffix(run, "\\"); cut {
			joined += more + " "
			continue
		}
		list = append(list, joined+run)
		joined = ""
	}
	return list
}

// command is one program of a pipeline.
type command struct {
	args  []string
	stdin string // a file, or ""
	out   string // a file for what it prints, or ""
}

// pipelines splits a RUN line at ;, && and |. Quotes and backslashes are obeyed; ok is
// false for what this does not know: subshells, here-documents, unmatched quotes.
func pipelines(line string) (list [][]command, ok bool) {
	words, ok := split(line)
	if !ok {
		return nil, false
	}
	pipe := []command{{}}
	into := (*string)(nil) // where the next word goes
	for _, w := range words {
		c := &pipe[len(pipe)-1]
		switch {
		case into != nil && !w.operator:
			*into, into = w.text, nil
		case !w.operator:
			c.args = append(c.args, w.text)
		case w.text == "|":
			pipe = append(pipe, command{})
		case w.text == "&&" || w.text == ";":
			list = append(list, pipe)
			pipe = []command{{}}
		case w.text == ">":
			into = &c.out
		case w.text == "<":
			into = &c.stdin
		default:
			return nil, false
		}
	}
	return append(list, pipe), into == nil
}

// word is a word or an operator of a line.
type word struct {
	text     string
	operator bool
}

// operators are what stands for itself outside of quotes; the longer ones first. The
// second outputs of programs are not kept.
var operators = []string{"2>&1", ">>", "&&", "||", "&>", "|", ">", "<", ";", "&", "(", ")", "`"}

// split cuts a line into words.
func split(line string) (words []word, ok bool) {
	var b strings.Builder
	begun := false
	end := func() {
		if begun {
			words = append(words, word{text: b.String()})
		}
		b.Reset()
		begun = false
	}
next:
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; ch {
		case ' ', '\t':
			end()
			continue
		case '\\':
			i++
			if i < len(line) {
				b.WriteByte(line[i])
			}
			begun = true
			continue
		case '\'', '"':
			n := quoted(line[i+1:], ch, &b)
			if n < 0 {
				return nil, false
			}
			begun = true
			i += n
			continue
		}
		for _, op := range operators {
			if strings.HasPrefix(line[i:], op) {
				end()
				if op != "2>&1" {
					words = append(words, word{op, true})
				}
				i += len(op) - 1
				continue next
			}
		}
		b.WriteByte(line[i])
		begun = true
	}
	end()
	return words, true
}

// quoted appends a quoted part without its quotes and returns how long it is with the
// closing one, or -1.
func quoted(s string, quote byte, b *strings.Builder) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i + 1
		case s[i] == '\\' && quote == '"' && i+1 < len(s) && strings.IndexByte("\"\\$`", s[i+1]) >= 0:
			i++
		}
		b.WriteByte(s[i])
	}
	return -1
}

// lit runs the RUN lines of one test.
type lit struct {
	ctx     context.Context
	source  string // the test, absolute
	dir     string // a folder of the test's own
	cwd     string
	tools   map[string]string // programs that may run: name in the tests → path
	failed  []string          // commands of such programs that failed, the first line of what they said
	crafted bool              // yaml2obj ran: objects are what somebody wrote down, not what an assembler made
	define  map[string]uint64 // values that linkers are told of names, the first of each
}

// limit is that of one assembler run.
const limit = 2 * time.Minute

// run obeys the test's RUN lines.
func (l *lit) run() error {
	text, err := os.ReadFile(l.source)
	if err != nil {
		return err
	}
	l.cwd = l.dir
	tmp := filepath.Join(l.dir, filepath.Base(l.source)+".tmp")
	from := filepath.Dir(l.source)
	replace := strings.NewReplacer("%%", "%", "%/t", tmp, "%/s", l.source, "%/p", from, "%/S", from,
		"%t", tmp, "%s", l.source, "%p", from, "%S", from, "%T", l.dir)
	for _, line := range runs(string(text)) {
		list, ok := pipelines(line)
		if !ok {
			continue
		}
		for _, pipe := range list {
			if err := l.pipeline(pipe, replace); err != nil {
				return err
			}
		}
	}
	return nil
}

// pipeline runs commands until one is not known. An error is this machine's fault.
func (l *lit) pipeline(pipe []command, replace *strings.Replacer) error {
	var out []byte
	for i, c := range pipe {
		for k := range c.args {
			c.args[k] = replace.Replace(c.args[k])
		}
		if c.stdin != "" {
			var err error
			if out, err = os.ReadFile(l.path(replace.Replace(c.stdin))); err != nil {
				return nil
			}
		}
		next, known, err := l.command(c.args, out)
		if err != nil || !known {
			return err
		}
		out = next
		if i == len(pipe)-1 && c.out != "" {
			if err := l.write(l.path(replace.Replace(c.out)), out); err != nil {
				return err
			}
		}
	}
	return nil
}

// path makes a file name absolute.
func (l *lit) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(l.cwd, name)
}

// inside says that a path is in the test's own folder.
func (l *lit) inside(path string) bool {
	rel, err := filepath.Rel(l.dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// write writes a file of the test's folder, and none elsewhere.
func (l *lit) write(path string, data []byte) error {
	if !l.inside(path) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o666)
}

// command runs one command on in and returns what it printed; known is false where the
// rest of the pipeline cannot be run.
func (l *lit) command(args []string, in []byte) (out []byte, known bool, err error) {
	if len(args) == 0 {
		return nil, false, nil
	}
	name, args := filepath.Base(args[0]), args[1:]
	switch name {
	case "echo":
		if len(args) > 0 && (args[0] == "-e" || args[0] == "-n") {
			args = args[1:]
		}
		return []byte(strings.ReplaceAll(strings.Join(args, " "), "\\n", "\n") + "\n"), true, nil
	case "cat":
		for _, a := range args {
			data, err := os.ReadFile(l.path(a))
			if err != nil {
				return nil, false, nil
			}
			out = append(out, data...)
		}
		return append(in, out...), true, nil
	case "mkdir", "rm":
		return nil, true, l.folders(name, args)
	case "cd":
		if len(args) == 1 && l.inside(l.path(args[0])) {
			l.cwd = l.path(args[0])
		}
		return nil, true, nil
	case "cp", "mv":
		if len(args) != 2 {
			return nil, false, nil
		}
		data, err := os.ReadFile(l.path(args[0]))
		if err != nil {
			return nil, false, nil
		}
		return nil, true, l.write(l.path(args[1]), data)
	case "split-file":
		if len(args) != 2 {
			return nil, false, nil
		}
		return nil, true, l.splitFile(l.path(args[0]), l.path(args[1]))
	}
	tool, ok := l.tools[name]
	if !ok {
		l.defines(name, args)
		return nil, false, nil
	}
	l.crafted = l.crafted || name == "yaml2obj"
	out, ok, err = l.tool(tool, args, in)
	return out, ok, err
}

// definers are the options with which linkers are told a name's value: NAME=VALUE, after a
// blank or an equals sign.
var definers = map[string][]string{
	"llvm-jitlink": {"-abs", "--abs"}, "ld.lld": {"--defsym", "-defsym"}, "llvm-rtdyld": {"-dummy-extern", "--dummy-extern"},
}

// defines notes what a linker is told of names.
func (l *lit) defines(name string, args []string) {
	for i, a := range args {
		for _, option := range definers[name] {
			pair, ok := strings.CutPrefix(a, option+"=")
			if a == option && i+1 < len(args) {
				pair, ok = args[i+1], true
			}
			sym, value, assigned := strings.Cut(pair, "=")
			v, known := number(value)
			if !ok || !assigned || !known {
				continue
			}
			if _, again := l.define[sym]; !again {
				l.define[sym] = v
			}
		}
	}
}

// number reads a value, which may be negative; ok is false for an expression.
func number(s string) (v uint64, ok bool) {
	if strings.HasPrefix(s, "-") {
		n, err := strconv.ParseInt(s, 0, 64)
		return uint64(n), err == nil
	}
	v, err := strconv.ParseUint(s, 0, 64)
	return v, err == nil
}

// folders makes or removes folders of the test's own.
func (l *lit) folders(name string, args []string) error {
	for _, a := range args {
		p := l.path(a)
		if strings.HasPrefix(a, "-") || !l.inside(p) {
			continue
		}
		var err error
		if name == "rm" {
			err = os.RemoveAll(p)
		} else {
			err = os.MkdirAll(p, 0o777)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// splitFile writes the parts of a file, each behind a line "# --- name" or "//--- name",
// into a folder.
func (l *lit) splitFile(from, dir string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return nil
	}
	name, part := "", []byte(nil)
	flush := func() error {
		if name == "" {
			return nil
		}
		return l.write(filepath.Join(dir, name), part)
	}
	for line := range bytes.Lines(data) {
		if head, title, ok := bytes.Cut(line, []byte("--- ")); ok && len(head) <= 3 && !bytes.ContainsAny(head, "abcdefghijklmnopqrstuvwxyz") {
			if err := flush(); err != nil {
				return err
			}
			name, part = string(bytes.TrimSpace(title)), nil
			continue
		}
		part = append(part, line...)
	}
	return flush()
}

// tool runs a program; ok is false if it failed, which is noted.
func (l *lit) tool(path string, args []string, in []byte) (out []byte, ok bool, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = l.cwd
	cmd.Stdin = bytes.NewReader(in)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if l.ctx.Err() != nil {
			return nil, false, l.ctx.Err()
		}
		first, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		l.failed = append(l.failed, fmt.Sprintf("%s: %v: %s", filepath.Base(path), err, first))
		return nil, false, nil
	}
	return stdout.Bytes(), true, nil
}
