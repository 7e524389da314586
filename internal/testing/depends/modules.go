package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

// linuxModule is what a module says of itself.
type linuxModule struct {
	name    string
	machine arch.Machine
	depends []string
	calls   map[string]bool // names that it branches to
}

// readModules reads the modules of a folder, sorted by name.
func readModules(dir string) ([]*linuxModule, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return nil, err
	}
	var mods []*linuxModule
	for _, file := range files {
		m, err := readModule(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		mods = append(mods, m)
	}
	return mods, nil
}

// readModule reads one.
func readModule(file string) (*linuxModule, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	m := &linuxModule{name: strings.TrimSuffix(filepath.Base(file), ".ko"), machine: arch.Machine(f.Machine), calls: map[string]bool{}}
	info := f.Section(".modinfo")
	if info == nil {
		return nil, fmt.Errorf("no .modinfo")
	}
	data, err := info.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(data, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok && list != "" {
			m.depends = strings.Split(list, ",")
		}
	}
	return m, m.readCalls(f)
}

// readCalls finds the names that a module branches to.
func (m *linuxModule) readCalls(f *elf.File) error {
	syms, err := f.Symbols()
	if err != nil {
		return err
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || int(s.Info) >= len(f.Sections) || f.Sections[s.Info].Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		code, err := f.Sections[s.Info].Data()
		if err != nil {
			return err
		}
		rela, err := s.Data()
		if err != nil {
			return err
		}
		for ; len(rela) >= 24; rela = rela[24:] {
			info := f.ByteOrder.Uint64(rela[8:])
			if n := elf.R_SYM64(info); n > 0 && syms[n-1].Section == elf.SHN_UNDEF && branches(m.machine, elf.R_TYPE64(info), code, f.ByteOrder.Uint64(rela)) {
				m.calls[syms[n-1].Name] = true
			}
		}
	}
	return nil
}

// branches says that a relocation is of a branch. On x86-64 the opcode decides.
func branches(m arch.Machine, typ uint32, code []byte, off uint64) bool {
	if m == arch.ARM64 {
		return typ == uint32(elf.R_AARCH64_CALL26) || typ == uint32(elf.R_AARCH64_JUMP26)
	}
	if typ != uint32(elf.R_X86_64_PLT32) && typ != uint32(elf.R_X86_64_PC32) || off == 0 {
		return false
	}
	op := code[off-1]
	return op == 0xe8 || op == 0xe9 || off > 1 && code[off-2] == 0x0f && op&0xf0 == 0x80
}

// slotSize is the room of a name of the kernel's, bytes: loads of 16 must be aligned.
const slotSize = 16

// vmlinux makes the kernel: a function of each exported name that some module branches to,
// and 16 bytes of data of each other, which modules may point into.
func vmlinux(m arch.Machine, exports map[string]string, called map[string]bool) []byte {
	b := objbuild.New(m)
	var functions, data []string
	for _, s := range slices.Sorted(maps.Keys(exports)) {
		switch {
		case exports[s] != "vmlinux":
		case called[s]:
			functions = append(functions, s)
		default:
			data = append(data, s)
		}
	}
	ret := map[arch.Machine][]byte{arch.AMD64: {0xc3, 0xcc, 0xcc, 0xcc}, arch.ARM64: {0xc0, 0x03, 0x5f, 0xd6}}[m]
	b.Text(".text", bytes.Repeat(ret, len(functions)*slotSize/len(ret)))
	for i, s := range functions {
		b.Global(s, uint64(i*slotSize), slotSize)
	}
	b.Bss(".bss", uint64(len(data)*slotSize)).With(func(s *objbuild.Section) { s.Align = slotSize })
	for i, s := range data {
		b.Global(s, uint64(i*slotSize), slotSize)
	}
	return b.Bytes()
}
