package kernel

import (
	"fmt"
	"strconv"

	"klink/internal/arch"
)

// Addr is an address in the arena (or wherever a link was based). In JSON it is a
// string, "0x10000040": JSON numbers lose bits beyond 2^53.
type Addr uint64

// String returns "0x…" without leading zeros.
func (a Addr) String() string { return fmt.Sprintf("%#x", uint64(a)) }

// MarshalText returns String.
func (a Addr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText accepts any integer that Go's strconv accepts with base 0.
func (a *Addr) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 0, 64)
	*a = Addr(v)
	return err
}

// Source is one object, archive or directory: the name is what the user typed and
// what messages show, the path is absolute.
type Source struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// ModuleSpec is one module to be loaded: one object, or several linked as one.
type ModuleSpec struct {
	As           string   `json:"as,omitempty"` // the module's name; "": the first file's base name without its last suffix
	Files        []Source `json:"files"`
	Private      []string `json:"private,omitempty"`      // names kept to the module
	WholeArchive bool     `json:"wholeArchive,omitempty"` // take every member of an archive, not only needed ones

	boot    bool         // it is the kernel
	own     bool         // klink's own kernel object belongs to it
	machine arch.Machine // of that object, if no file tells
}

// LoadRequest asks for a load: all modules or none.
type LoadRequest struct {
	Modules []ModuleSpec `json:"modules"`
	Search  []Source     `json:"search,omitempty"` // directories in which missing names are looked for
	DryRun  bool         `json:"dryRun,omitempty"`
	Limit   int64        `json:"limit,omitempty"` // of each INIT, ns; 0: DefaultCallLimit, below 0: none
}

// UnloadRequest asks for an unload: all modules or none. A name is a module's, or
// the path of a file that a module was loaded from (absolute, or as typed).
type UnloadRequest struct {
	Modules []string `json:"modules"`
	DryRun  bool     `json:"dryRun,omitempty"`
	Wait    int64    `json:"wait,omitempty"` // limit of each of CATCH, grace and FINI, ns; 0: DefaultUnloadWait
}

// DefaultUnloadWait is how long each step of an unload may take, ns.
const DefaultUnloadWait = 5_000_000_000

// Change reports what a load or unload did, or with DryRun would do.
type Change struct {
	DryRun   bool          `json:"dryRun,omitempty"`
	Loaded   []ModuleInfo  `json:"loaded,omitempty"`
	Unloaded []ModuleInfo  `json:"unloaded,omitempty"`
	Moves    []MoveInfo    `json:"moves,omitempty"` // symbols whose current provider changed, sorted by name
	Hidden   []HiddenInfo  `json:"hidden,omitempty"`
	Absent   []AbsentInfo  `json:"absent,omitempty"`
	Sites    int           `json:"sites"` // call instructions rewritten in modules that were there before
	Entries  int           `json:"entries"`
	Bytes    int           `json:"bytes"` // bytes of live text that changed
	Switch   *SwitchTiming `json:"-"`     // how long the switch took; nil in a dry run, or when no site moved
}

// SwitchTiming is where the time of one switch went, ns.
type SwitchTiming struct {
	Sites    int   `json:"sites"`    // that the switch rewrote, those of new modules and entries too
	Plan     int64 `json:"plan"`     // finding the sites and comparing them with what klink wrote there
	Publish  int64 `json:"publish"`  // writing the table for those who meet a trap
	Barriers int64 `json:"barriers"` // waiting until every thread sees the text as it stands
	Write    int64 `json:"write"`    // all else: storing to the sites
	Total    int64 `json:"total"`    // from the first trap on, the plan left out
}

// MoveInfo is one symbol (or one module's super_ symbol) that follows a new provider.
type MoveInfo struct {
	Symbol string   `json:"symbol"`         // "bpf_attach", or "super_bpf_attach"
	Of     string   `json:"of,omitempty"`   // for a super_ symbol: the module it is private to
	From   string   `json:"from,omitempty"` // module that provided it, "" if nobody did
	To     string   `json:"to,omitempty"`   // module that provides it now, "" if nobody does
	Sites  int      `json:"sites"`          // sites rewritten, entries not counted
	In     []string `json:"in,omitempty"`   // modules in which they lie, sorted
	Target Addr     `json:"target"`         // where the sites lead now
}

// HiddenInfo names refinements that a new override hides.
type HiddenInfo struct {
	Symbol      string   `json:"symbol"`
	By          string   `json:"by"`
	Refinements []string `json:"refinements"`
}

// AbsentInfo is a weak reference that nobody provided: it is 0 for that module, for good.
type AbsentInfo struct {
	Module string `json:"module"`
	Symbol string `json:"symbol"`
}

// SpanInfo is one piece of the arena.
type SpanInfo struct {
	Addr Addr   `json:"addr"`
	Size uint64 `json:"size"`
}

// ModuleInfo describes a module.
type ModuleInfo struct {
	Name     string        `json:"name"`
	State    string        `json:"state"` // "loading", "live", "catching", "draining", "lost"
	Files    []string      `json:"files"` // as typed; archive members as "lib.a(a.o)"
	Text     SpanInfo      `json:"text"`
	Tables   SpanInfo      `json:"tables"`
	Data     SpanInfo      `json:"data"`
	Provides []ProvideInfo `json:"provides,omitempty"` // sorted by name; left out of listings of many modules
	Needs    []string      `json:"needs,omitempty"`    // names it refers to, sorted
	Absent   []string      `json:"absent,omitempty"`   // weak names that were absent when it was loaded
	UsedBy   []string      `json:"usedBy,omitempty"`   // modules that refer to a name that it provides now
	Sections []SectionInfo `json:"sections,omitempty"`
	Count    ModuleCounts  `json:"count"`
}

// ModuleCounts are a module's sizes in numbers of things.
type ModuleCounts struct {
	Provides int `json:"provides"`
	Needs    int `json:"needs"`
	Sites    int `json:"sites"`
	Relocs   int `json:"relocs"`
	Veneers  int `json:"veneers"`
	GOT      int `json:"got"`
}

// ProvideInfo is one provider that a module gives.
type ProvideInfo struct {
	Symbol  string `json:"symbol"`
	Kind    string `json:"kind"`  // "default", "override", "refinement"
	Class   string `json:"class"` // "func", "data"
	Addr    Addr   `json:"addr"`
	Current bool   `json:"current"`
}

// SectionInfo is where one section of a module lies.
type SectionInfo struct {
	File string `json:"file"`
	Name string `json:"name"`
	Addr Addr   `json:"addr"`
	Size uint64 `json:"size"`
}

// AliasInfo is one symbol's alias stack, top first.
type AliasInfo struct {
	Symbol    string          `json:"symbol"`
	Class     string          `json:"class"`
	Entry     Addr            `json:"entry,omitempty"` // the canonical address; 0 if nobody took it
	Sites     int             `json:"sites"`           // sites that lead to the current provider
	Users     []string        `json:"users,omitempty"` // modules that refer to it, sorted
	Providers []AliasProvider `json:"providers"`
}

// AliasProvider is one place of a stack.
type AliasProvider struct {
	Module  string `json:"module"`
	Kind    string `json:"kind"`
	Addr    Addr   `json:"addr"`
	Name    string `json:"name,omitempty"`    // the implementation's own name at that address, if another: "bpf_attach_impl"
	Current bool   `json:"current,omitempty"` // the top one
	Super   int    `json:"super"`             // sites in the layer above that lead here as super_S
	Sites   int    `json:"sites"`             // all sites that lead here through this stack
}

// SitesRequest selects sites: of the symbols, or all; in the module, or in all.
type SitesRequest struct {
	Symbols []string `json:"symbols,omitempty"`
	Module  string   `json:"module,omitempty"`
}

// SiteInfo is one site.
type SiteInfo struct {
	Addr     Addr   `json:"addr"`
	Module   string `json:"module"`           // whose text it lies in; "" for an entry
	In       string `json:"in"`               // "if_input+0x1a", or "entry"
	Form     string `json:"form"`             // "call", "jmp", "jne", "bl", "b", "veneer"
	Symbol   string `json:"symbol"`           // what it refers to; "super_S" for a layer's call below
	Target   Addr   `json:"target"`           // decoded from the instruction as it stands
	Provider string `json:"provider"`         // module that the target belongs to, "" if nobody provides it
	Name     string `json:"name,omitempty"`   // the implementation's own name
	Veneer   Addr   `json:"veneer,omitempty"` // the veneer that it goes through, if it does
}

// SymInfo is one symbol of a loaded module.
type SymInfo struct {
	Name    string `json:"name"`
	Addr    Addr   `json:"addr"`
	Size    uint64 `json:"size"`
	Module  string `json:"module"`
	Type    string `json:"type"` // "func", "data", "section", "notype", "ifunc"
	Bind    string `json:"bind"` // "local", "private", "default", "override", "refinement"
	Section string `json:"section"`
	Current bool   `json:"current,omitempty"`
}

// Listing is the disassembly of one function.
type Listing struct {
	Module string     `json:"module"`
	Func   string     `json:"func"`
	Addr   Addr       `json:"addr"`
	Size   uint64     `json:"size"`
	Lines  []InstInfo `json:"lines"`
}

// InstInfo is one instruction.
type InstInfo struct {
	Addr   Addr   `json:"addr"`
	Bytes  string `json:"bytes"` // hex, memory order
	Text   string `json:"text"`
	Symbol string `json:"symbol,omitempty"` // a site: what it refers to
	Module string `json:"module,omitempty"` // a branch: the module its target belongs to
	Target string `json:"target,omitempty"` // a branch: the function at its target, "f" or "f+0x4"
}

// Finding is one thing that `klink check` has to say about an object.
type Finding struct {
	Level string `json:"level"` // "error": a load would be refused; "warning": a call or test that cannot follow; "note"
	Place string `json:"place"` // "bpf.o:(.text+0x1a)"
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"` // what cures it
}

// CheckReport is what `klink check` found about one file.
type CheckReport struct {
	File     string        `json:"file"`
	Machine  string        `json:"machine"`
	Provides []ProvideInfo `json:"provides,omitempty"` // addresses are 0
	Needs    []string      `json:"needs,omitempty"`
	Findings []Finding     `json:"findings"`
}

// LinkRequest asks for a link without a host.
type LinkRequest struct {
	Modules       []ModuleSpec
	Size          int64             // of all files together, bytes, as far as it is known: a large link prepares its memory
	Base          uint64            // lowest address; 0: 0x10000000
	Define        map[string]uint64 // values of names, as if a module had them as absolute data… or functions
	TrapExternals bool              // give every missing name a trap entry of its own
	Static        bool              // bind every reference to the definition: no entries, no relaxation, no sites
	Output        string            // write the image as an ELF file there, "" for none
	DumpDir       string            // write section bytes and layout.json there, "" for none
}

// LinkReport says what a link made.
type LinkReport struct {
	Machine   string       `json:"machine"`
	Modules   int          `json:"modules"`
	Objects   int          `json:"objects"`
	Sections  int          `json:"sections"`
	Relocs    int          `json:"relocs"`
	Sites     int          `json:"sites"`
	Entries   int          `json:"entries"`
	Externals int          `json:"externals"`
	Text      SpanInfo     `json:"text"`
	Tables    SpanInfo     `json:"tables"`
	Data      SpanInfo     `json:"data"`
	Absent    []AbsentInfo `json:"absent,omitempty"`
}

// Status describes the host's kernel.
type Status struct {
	Machine   string       `json:"machine"`
	Modules   int          `json:"modules"`
	ArenaBase Addr         `json:"arenaBase"`
	ArenaSize uint64       `json:"arenaSize"`
	Regions   []RegionInfo `json:"regions"`
	Walls     []WallInfo   `json:"walls"`
	Runner    RunnerInfo   `json:"runner"`
}

// RunnerInfo describes the process that runs modules' code.
type RunnerInfo struct {
	State   string `json:"state"`             // RunnerNone, RunnerRunning, RunnerLost
	Pid     int    `json:"pid,omitempty"`     // of the process
	Threads int    `json:"threads,omitempty"` // how many calls can run at the same time
	Why     string `json:"why,omitempty"`     // there is none, or it was lost
}

// States of the runner.
const (
	RunnerNone    = "none"    // the host only links
	RunnerRunning = "running" // it is there
	RunnerLost    = "lost"    // it died, and with it what its threads did
)

// RegionInfo is the use of one region of the arena, bytes.
type RegionInfo struct {
	Name string `json:"name"`
	Addr Addr   `json:"addr"`
	Size uint64 `json:"size"`
	Used uint64 `json:"used"`
}

// WallInfo is one protection and whether this system has it.
type WallInfo struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
	Why  string `json:"why,omitempty"`
}
