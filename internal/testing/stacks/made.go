package main

import (
	"debug/elf"
	"encoding/binary"
	"fmt"

	"klink/internal/arch"
	"klink/internal/testing/objbuild"
)

// Objects that are made here: the kernel's defaults, layers, users of every kind of
// reference, and objects that contradict what others say of a name.

// code is an instruction sequence of one machine with one reference, and its fields.
type code struct {
	bytes  []byte
	fields []codeField
}

type codeField struct {
	off    uint64
	typ    uint32
	addend int64
}

func words(w ...uint32) (b []byte) {
	for _, x := range w {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

// callCode calls, tailCode jumps, and retCode returns.
var (
	callCode = map[arch.Machine]code{
		arch.AMD64: {[]byte{0xe8, 0, 0, 0, 0}, []codeField{{1, uint32(elf.R_X86_64_PLT32), -4}}},
		arch.ARM64: {words(0x94000000), []codeField{{0, uint32(elf.R_AARCH64_CALL26), 0}}},
	}
	retCode = map[arch.Machine][]byte{arch.AMD64: {0xc3}, arch.ARM64: words(0xd65f03c0)}
)

// useCodes are the other kinds of reference.
var useCodes = map[arch.Machine][]code{
	arch.AMD64: {
		callCode[arch.AMD64],
		{[]byte{0xe9, 0, 0, 0, 0}, []codeField{{1, uint32(elf.R_X86_64_PC32), -4}}},                         // jmp
		{[]byte{0x0f, 0x85, 0, 0, 0, 0}, []codeField{{2, uint32(elf.R_X86_64_PLT32), -4}}},                  // jne
		{[]byte{0xff, 0x15, 0, 0, 0, 0}, []codeField{{2, uint32(elf.R_X86_64_GOTPCRELX), -4}}},              // call *
		{[]byte{0xff, 0x25, 0, 0, 0, 0}, []codeField{{2, uint32(elf.R_X86_64_GOTPCRELX), -4}}},              // jmp *
		{[]byte{0x48, 0x8d, 0x05, 0, 0, 0, 0}, []codeField{{3, uint32(elf.R_X86_64_PC32), -4}}},             // lea
		{[]byte{0x48, 0x8b, 0x05, 0, 0, 0, 0}, []codeField{{3, uint32(elf.R_X86_64_REX_GOTPCRELX), -4}}},    // mov from the GOT
		{[]byte{0xbf, 0, 0, 0, 0}, []codeField{{1, uint32(elf.R_X86_64_32), 0}}},                            // mov $
		{[]byte{0x48, 0xc7, 0x05, 0, 0, 0, 0, 1, 0, 0, 0}, []codeField{{3, uint32(elf.R_X86_64_PC32), -8}}}, // movq $1, to it
		{[]byte{0x48, 0xc7, 0xc7, 0, 0, 0, 0}, []codeField{{3, uint32(elf.R_X86_64_32S), 0}}},               // mov $, sign-extended
	},
	arch.ARM64: {
		callCode[arch.ARM64],
		{words(0x14000000), []codeField{{0, uint32(elf.R_AARCH64_JUMP26), 0}}},
		{words(0x54000000), []codeField{{0, uint32(elf.R_AARCH64_CONDBR19), 0}}}, // b.eq
		{words(0xb4000000), []codeField{{0, uint32(elf.R_AARCH64_CONDBR19), 0}}}, // cbz x0
		{words(0x36000000), []codeField{{0, uint32(elf.R_AARCH64_TSTBR14), 0}}},  // tbz w0, #0
		{words(0x90000000, 0x91000000), []codeField{{0, uint32(elf.R_AARCH64_ADR_PREL_PG_HI21), 0}, {4, uint32(elf.R_AARCH64_ADD_ABS_LO12_NC), 0}}},
		{words(0x90000000, 0xf9400000), []codeField{{0, uint32(elf.R_AARCH64_ADR_GOT_PAGE), 0}, {4, uint32(elf.R_AARCH64_LD64_GOT_LO12_NC), 0}}},
	},
}

// pointerType is the relocation of an address in data.
var pointerType = map[arch.Machine]uint32{arch.AMD64: uint32(elf.R_X86_64_64), arch.ARM64: uint32(elf.R_AARCH64_ABS64)}

// callable says that a piece of code branches: data is not referred to so.
func (c *code) callable(m arch.Machine) bool {
	r := reference{typ: c.fields[0].typ, off: c.fields[0].off}
	sh, err := shapeOf(m, &section{exec: true, data: c.bytes}, &r)
	return err == nil && sh.branches()
}

// maker builds one object whose text grows piece by piece.
type maker struct {
	b    *objbuild.Builder
	m    arch.Machine
	text []byte
	refs []madeRef
	defs []objbuild.Symbol
}

type madeRef struct {
	codeField
	at     uint64
	symbol string
}

func newMaker(m arch.Machine) *maker { return &maker{b: objbuild.New(m), m: m} }

// align fills text up to a multiple of 8.
func (k *maker) align() {
	for len(k.text)%8 != 0 {
		k.text = append(k.text, retCode[k.m]...)
	}
}

// function starts a function.
func (k *maker) function(name string, bind, vis uint8) {
	k.align()
	k.defs = append(k.defs, objbuild.Symbol{Name: name, Section: ".text", Value: uint64(len(k.text)), Bind: bind, Type: objbuild.Func, Other: vis})
}

// use appends code that refers to a symbol.
func (k *maker) use(c code, symbol string) {
	for _, f := range c.fields {
		k.refs = append(k.refs, madeRef{f, uint64(len(k.text)) + f.off, symbol})
	}
	k.text = append(k.text, c.bytes...)
}

// done returns the object: its text, pointers to symbols in .data.rel, 16 bytes of data
// each, and everything that is referred to and not defined, weakly where weak says so.
func (k *maker) done(pointers []string, data []objbuild.Symbol, weak map[string]bool) []byte {
	k.text = append(k.text, retCode[k.m]...)
	k.b.Text(".text", k.text)
	defined := map[string]bool{}
	for _, s := range k.defs {
		defined[s.Name] = true
		k.b.Symbol(s)
	}
	for _, r := range k.refs {
		k.b.Reloc(r.at, r.typ, r.symbol, r.addend)
	}
	if len(pointers) > 0 {
		k.b.Data(".data.rel", make([]byte, 8*len(pointers)))
		for i, s := range pointers {
			k.b.Reloc(uint64(8*i), pointerType[k.m], s, 0)
			k.refs = append(k.refs, madeRef{symbol: s})
		}
	}
	if len(data) > 0 {
		k.b.Add(objbuild.Section{Name: ".data", Type: objbuild.Progbits, Flags: objbuild.Alloc | objbuild.Write, Data: make([]byte, 16*len(data)), Align: 16})
		for i, s := range data {
			s.Section, s.Value, s.Size, s.Type = ".data", uint64(16*i), 16, objbuild.Object
			defined[s.Name] = true
			k.b.Symbol(s)
		}
	}
	for _, r := range k.refs {
		if defined[r.symbol] {
			continue
		}
		defined[r.symbol] = true
		if weak[r.symbol] {
			k.b.WeakUndef(r.symbol)
		} else {
			k.b.Undef(r.symbol)
		}
	}
	return k.b.Bytes()
}

// made reads an object that was made here.
func made(file string, raw []byte) (*object, error) {
	o, err := readObject(file, raw)
	if err != nil {
		return nil, fmt.Errorf("made here: %w", err)
	}
	return o, nil
}

// defaults makes an object with a weak function of every name, and an object of data of
// every other.
func defaults(m arch.Machine, functions, data []string) (*object, error) {
	k := newMaker(m)
	for _, s := range functions {
		k.function(s, objbuild.Weak, objbuild.Default)
		k.text = append(k.text, retCode[m]...)
	}
	var objs []objbuild.Symbol
	for _, s := range data {
		objs = append(objs, objbuild.Symbol{Name: s, Bind: objbuild.Weak})
	}
	return made("defaults.o", k.done(nil, objs, nil))
}

// layer makes a module that refines a function: it calls the layer below and itself by
// name, and takes the address of both.
func layer(m arch.Machine, name, symbol string) (*module, error) {
	k := newMaker(m)
	k.function(symbol, objbuild.Global, objbuild.Default)
	for _, s := range []string{"super_" + symbol, symbol} {
		for _, c := range useCodes[m] {
			k.use(c, s)
		}
	}
	return madeModule(name, k.done([]string{"super_" + symbol, symbol}, nil, nil))
}

// user makes a module that refers to symbols in every way.
func user(m arch.Machine, name string, functions, data []string, weak map[string]bool) (*module, error) {
	k := newMaker(m)
	k.function(name+".run", objbuild.Global, objbuild.Default)
	for _, s := range functions {
		for _, c := range useCodes[m] {
			k.use(c, s)
		}
	}
	for _, s := range data {
		for _, c := range useCodes[m] {
			if !c.callable(m) {
				k.use(c, s)
			}
		}
	}
	return madeModule(name, k.done(append(append([]string{}, functions...), data...), nil, weak))
}

// wrong makes a module that gives functions as data and data as functions.
func wrong(m arch.Machine, name string, functions, data []string, bind uint8) (*module, error) {
	k := newMaker(m)
	for _, s := range data {
		k.function(s, bind, objbuild.Default)
		k.text = append(k.text, retCode[m]...)
	}
	var objs []objbuild.Symbol
	for _, s := range functions {
		objs = append(objs, objbuild.Symbol{Name: s, Bind: bind})
	}
	return madeModule(name, k.done(nil, objs, nil))
}

// store makes a module that gives one object of data.
func store(m arch.Machine, name, symbol string, bind uint8) (*module, error) {
	k := newMaker(m)
	return madeModule(name, k.done(nil, []objbuild.Symbol{{Name: symbol, Bind: bind}}, nil))
}

func madeModule(name string, raw []byte) (*module, error) {
	o, err := made(name+fileSuffix, raw)
	if err != nil {
		return nil, err
	}
	return newModule(name, o)
}
