package link

import (
	"strings"

	"klink/internal/elfload"
)

// What is special about some sections and names: Linux's export tables, sections that
// mean the module's own definitions, and symbols that the linker makes.

// linuxModuleSection marks an object as a Linux kernel module (struct module).
const linuxModuleSection = ".gnu.linkonce.this_module"

// readKsymtab finds what a Linux module exports: the symbols that the relocations
// of its __ksymtab sections name (struct kernel_symbol; include/linux/export.h).
func (g *gatherer) readKsymtab() {
	if !g.Linux {
		return
	}
	g.exported = make([]bool, len(g.Names))
	for oi := range g.objs {
		o := &g.objs[oi]
		for si := range o.Sections {
			s := &o.Sections[si]
			if !strings.Contains(s.Name, "__ksymtab") || strings.HasPrefix(s.Name, "__ksymtab_strings") {
				continue
			}
			for i := 0; i < s.Relocs.Len(); i++ {
				if id := o.nameOf(s.Relocs.At(i).Sym); id != noName {
					g.exported[id] = true
				}
			}
		}
	}
}

// nameOf returns the name id of a symbol, noName for a local one.
func (o *object) nameOf(sym uint32) NameID {
	if int(sym) < o.Locals {
		return noName
	}
	return o.names[int(sym)-o.Locals]
}

// ownPrefixes are the sections whose references mean the module's own definitions:
// gcc emits relocations against global names there, but a constructor or a landing
// pad of another module would be a wrong one.
var ownPrefixes = []string{".init_array", ".fini_array", ".preinit_array", ".ctors", ".dtors", "link_set_modules"}

// ownSection says that a section's references mean the module's own definitions.
func ownSection(s *elfload.Section) bool {
	switch s.Type {
	case elfload.InitArray, elfload.FiniArray, elfload.PreinitArray:
		return true
	}
	for _, p := range ownPrefixes {
		if strings.HasPrefix(s.Name, p) {
			return true
		}
	}
	return unwindSection(s)
}

// unwindSection says that a section holds unwind tables: names missing only there
// (personality routines, also through gcc's DW.ref cells) are 0.
func unwindSection(s *elfload.Section) bool {
	return s.Type == elfload.X86Unwind || s.Name == ".eh_frame" || strings.HasPrefix(s.Name, ".gcc_except_table") ||
		strings.Contains(s.Name, ".DW.ref.")
}

// Names that the linker makes for each module.
const (
	gotName   = "_GLOBAL_OFFSET_TABLE_"
	dsoHandle = "__dso_handle"
	startOf   = "__start_"
	stopOf    = "__stop_"
)

// special says whether an undefined name is one that the linker makes.
func (g *gatherer) special(name string) bool {
	if name == gotName || name == dsoHandle {
		return true
	}
	sec, ok := boundaryOf(name)
	if !ok {
		return false
	}
	_, ok = g.bounds[sec]
	return ok
}

// nameSections enters the sections that __start_X and __stop_X can name, those
// whose names are C identifiers; layout fills in where they lie. All of a name must lie
// in one region: one that is writable takes the read-only ones with it. (Executable
// ones stay apart; then the bounds are those of the region that was seen first.)
func (g *gatherer) nameSections() {
	g.bounds = map[string]bound{}
	for oi := range g.objs {
		o := &g.objs[oi]
		for si := range o.Sections {
			s := &o.Sections[si]
			if !o.places[si].kept || !isIdentifier(s.Name) {
				continue
			}
			b, seen := g.bounds[s.Name]
			if r := regionOf(s); !seen || b.region == Tables && r == Data {
				g.bounds[s.Name] = bound{region: r, lo: ^uint64(0)}
			}
		}
	}
}

// regionOf says where a section goes.
func (g *gatherer) regionOf(s *elfload.Section) Region {
	r := regionOf(s)
	if r == Tables && g.bounds[s.Name].region == Data {
		return Data
	}
	return r
}

// isIdentifier says that a name can follow __start_ in C.
func isIdentifier(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// boundaryOf returns X of "__start_X" and "__stop_X".
func boundaryOf(name string) (string, bool) {
	if s, ok := strings.CutPrefix(name, startOf); ok && s != "" {
		return s, true
	}
	s, ok := strings.CutPrefix(name, stopOf)
	return s, ok && s != ""
}

// specialAddr returns the value of a name that the linker makes.
func (m *Module) specialAddr(name string, at [Regions]uint64) uint64 {
	switch name {
	case gotName:
		return at[Tables] + m.gotOff
	case dsoHandle:
		return at[Data] // any address of the module's own serves (Itanium C++ ABI 3.3.5.3)
	}
	sec, _ := boundaryOf(name)
	b := m.bounds[sec]
	if strings.HasPrefix(name, startOf) {
		return at[b.region] + b.lo
	}
	return at[b.region] + b.hi
}

// bound is where the sections of one name lie, which layout put side by side.
type bound struct {
	region Region
	lo, hi uint64 // offsets in the region's block
}
