package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"klink/internal/arch"
	"klink/internal/insn"
	"klink/internal/kernel"
	"klink/internal/reloc"
	"klink/internal/testing/objbuild"
)

// base is where every linker puts the section of a probe: so high that no value of a
// PC-relative type takes its symbol below zero, and the start of a page.
const base = 1 << 40

// The name that the relocation is against.
const target = "probe_target"

// emulations are what -m takes, of GNU ld and lld alike.
var emulations = map[arch.Machine]string{arch.AMD64: "elf_x86_64", arch.ARM64: "aarch64linux"}

// place is P.
func (p *probe) place() uint64 { return base + uint64(len(p.before)) }

// symbol is S: the value that makes the formula, with an addend of 0, give the probe's.
func (p *probe) symbol() uint64 {
	for _, part := range []string{"_PC", "_PLT", "PREL", "CALL26", "JUMP26", "CONDBR19", "TSTBR14"} {
		if strings.Contains(p.name, part) {
			return p.place() + p.value
		}
	}
	return p.value
}

// typ is the type's number.
func (p *probe) typ() (uint32, error) {
	for _, r := range reloc.Rows(p.machine) {
		if r.Name == p.name {
			return r.Type, nil
		}
	}
	return 0, fmt.Errorf("klink has no type of that name")
}

// object builds the object: one section, with one relocation. It is text where the type
// is an instruction's.
func (p *probe) object() ([]byte, error) {
	typ, err := p.typ()
	if err != nil {
		return nil, err
	}
	place := append(append([]byte(nil), p.before...), p.field...)
	b := objbuild.New(p.machine)
	if p.code() {
		b.Text(".probe", place)
	} else {
		b.Rodata(".probe", place)
	}
	return b.Reloc(uint64(len(p.before)), typ, target, 0).Undef(target).Bytes(), nil
}

// code says that the section is executable.
func (p *probe) code() bool {
	return len(p.before) > 0 || p.machine == arch.ARM64 && !bytes.Equal(p.field, make([]byte, len(p.field)))
}

// timeLimit is that of one linker run.
const timeLimit = 10 * time.Second

// refusals are words of the messages that say a value does not fit, or a type is not
// known. Any other failure of a linker is not an answer.
var refusals = []string{"truncated to fit", "out of range", "dangerous relocation", "improper alignment", "not aligned", "unsupported relocation", "unrecognized relocation", "unknown relocation"}

// ask has GNU ld or lld, at path, link the probe.
func (p *probe) ask(ctx context.Context, path string) (string, error) {
	obj, err := p.object()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "klink-probe.")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	script := fmt.Sprintf("%s = %#x;\nSECTIONS { .probe %#x : { *(.probe) } }\n", target, p.symbol(), uint64(base))
	for name, data := range map[string]string{"a.o": string(obj), "script.ld": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-m", emulations[p.machine], "-static", "-nostdlib", "-e", "0", "--no-relax", "-T", "script.ld", "a.o", "-o", "out")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	log, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		for _, word := range refusals {
			if strings.Contains(string(log), word) {
				return refused, nil
			}
		}
		return "", fmt.Errorf("%w: %s", err, log)
	case err != nil:
		return "", err
	}
	return p.answer(filepath.Join(dir, "out"), ".probe")
}

// klinkSays has klink link the probe.
func (p *probe) klinkSays(static bool) (string, error) {
	obj, err := p.object()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "klink-probe.")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file, out := filepath.Join(dir, "a.o"), filepath.Join(dir, "out")
	if err := os.WriteFile(file, obj, 0o600); err != nil {
		return "", err
	}
	_, err = kernel.Link(kernel.LinkRequest{
		Modules: []kernel.ModuleSpec{{Files: []kernel.Source{{Name: "a.o", Path: file}}}},
		Base:    base, Define: map[string]uint64{target: p.symbol()}, Static: static, Output: out,
	})
	if err != nil {
		if strings.HasPrefix(err.Error(), "a.o:(.probe+") {
			return refused, nil
		}
		return "", err
	}
	section := ".rodata"
	if p.code() {
		section = ".text"
	}
	return p.answer(out, section)
}

// answer reads the field out of a linked file.
func (p *probe) answer(path, section string) (string, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return "", err
	}
	s := f.Section(section)
	if s == nil || s.Addr != base {
		return "", fmt.Errorf("%s: no section %s at %#x", path, section, uint64(base))
	}
	data, err := s.Data()
	if err != nil {
		return "", err
	}
	at := len(p.before)
	if len(data) < at+len(p.field) {
		return "", fmt.Errorf("%s: %d bytes in %s", path, len(data), section)
	}
	got := data[at : at+len(p.field)]
	to, isBranch := p.branch(got)
	if !isBranch || to == p.symbol()&^3 {
		return hex.EncodeToString(got), nil
	}
	// A branch to somewhere else: only a veneer can be meant, behind the section's own bytes.
	off := to - base
	if to < base || off < uint64(at+len(p.field)) || off >= uint64(len(data)) {
		return "", fmt.Errorf("%s: the branch leads to %#x, want %#x or a stub", path, to, p.symbol())
	}
	if veneer, ok := insn.FarJump.Target(data[off:], to); ok && veneer != p.symbol() {
		return "", fmt.Errorf("%s: the stub leads to %#x, want %#x", path, veneer, p.symbol())
	}
	return stub, nil
}

// branch decodes the target of B or BL, the only instructions that get a stub.
func (p *probe) branch(field []byte) (to uint64, ok bool) {
	if !strings.HasSuffix(p.name, "CALL26") && !strings.HasSuffix(p.name, "JUMP26") {
		return 0, false
	}
	w := binary.LittleEndian.Uint32(field)
	return p.place() + uint64(int64(int32(w<<6))>>4), true
}
