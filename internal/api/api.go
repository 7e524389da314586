// Package api is what a klink command and a klink host say to each other: the
// requests and answers, the server that puts a kernel behind a unix socket, the
// client, and the life of a host process.
//
// Requests and answers are JSON over HTTP, one POST route a command; their types
// are package kernel's. An error crosses the wire as a Fault and is, on the
// client's side too, one of diag's sentinels.
//
// The socket is not trusted: a peer of another user is turned away, and whatever
// else comes (garbage, huge bodies, peers that stall) gets one clear line or is
// cut off, and the host goes on.
//
// Layer 5. Imports: diag, kernel. Everything exported may be used by several goroutines
// at once, unless it says otherwise.
package api

import (
	"context"
	"errors"
	"os"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// Service is the kernel as a host serves it; *kernel.Kernel is one. Its methods
// may be called from any goroutine. Those with a context return soon after it has
// ended, with its error or with what there is by then.
type Service interface {
	// Boot, Load and Unload put everything back if ctx ends before they have gone too far.
	Boot(ctx context.Context, specs []kernel.ModuleSpec) (*kernel.Change, error)
	Load(ctx context.Context, r kernel.LoadRequest) (*kernel.Change, error)
	Unload(ctx context.Context, r kernel.UnloadRequest) (*kernel.Change, error)
	// Call makes calls. If ctx ends they are given up, unless r.Detach let them go on.
	// A call that faulted is a report, not an error.
	Call(ctx context.Context, r kernel.CallRequest) (*kernel.CallReport, error)
	// Jobs returns the jobs that run, and those that ended and were not waited for.
	Jobs() []kernel.CallReport
	// Wait returns when the jobs have ended, or r.Limit is over: those that still run
	// say so in their State. They go on if ctx ends.
	Wait(ctx context.Context, r kernel.WaitRequest) ([]kernel.CallReport, error)
	// Log returns lines; it waits for one only if r.Wait says so.
	Log(ctx context.Context, r kernel.LogRequest) (*kernel.LogReport, error)
	Read(r kernel.ReadRequest) (*kernel.ReadReport, error)
	// Map returns memory that a module shares, as a file that can only be read; it is the caller's.
	Map(r kernel.MapRequest) (*kernel.MapReport, *os.File, error)
	// Threads looks at the runner's threads, and at the gates.
	Threads() (*kernel.ThreadsReport, error)
	List() []kernel.ModuleInfo
	Info(name string) (*kernel.ModuleInfo, error)
	Alias(symbols []string, all bool) ([]kernel.AliasInfo, error)
	Sites(r kernel.SitesRequest) ([]kernel.SiteInfo, error)
	Symbols(patterns []string, module string) ([]kernel.SymInfo, error)
	Disassemble(what string) (*kernel.Listing, error)
	Status() kernel.Status
	Close() error
}

// HostConfig is what a new host is given; the zero value is an empty kernel that
// takes its machine from the first object.
type HostConfig struct {
	Machine   string      `json:"machine,omitempty"`   // as arch.Parse knows it, "" for the first object's
	ArenaBase kernel.Addr `json:"arenaBase,omitempty"` // 0: chosen at random
	ArenaSize uint64      `json:"arenaSize,omitempty"` // bytes; 0: the kernel's default
	Bare      bool        `json:"bare,omitempty"`      // neither klink's own kernel object nor a runner
	Threads   int         `json:"threads,omitempty"`   // of the runner; 0: its default
}

// NewService makes the kernel of a new host.
type NewService func(HostConfig) (Service, error)

// StartRequest asks for a new host. What it is to begin with, a kernel or a load,
// belongs to the start: if that is refused there is no host.
type StartRequest struct {
	Config HostConfig          `json:"config"`
	Boot   []kernel.ModuleSpec `json:"boot,omitempty"`
	Load   *kernel.LoadRequest `json:"load,omitempty"`
}

// begin makes the kernel and does what the request begins with. On an error the
// kernel is closed. The change is empty if there was nothing to do.
func (r *StartRequest) begin(ctx context.Context, fresh NewService) (Service, *kernel.Change, error) {
	svc, err := fresh(r.Config)
	if err != nil {
		return nil, nil, err
	}
	change := &kernel.Change{}
	if len(r.Boot) > 0 {
		change, err = svc.Boot(ctx, r.Boot)
	}
	if err == nil && r.Load != nil {
		change, err = svc.Load(ctx, *r.Load)
	}
	if err != nil {
		_ = svc.Close() // the refusal is the news
		return nil, nil, err
	}
	return svc, change, nil
}

// Hosts is where commands find the host they talk to: processes behind sockets
// (Sockets), or kernels in this process (Local). Names must have passed CheckName.
type Hosts interface {
	// Dial returns a client of the host; diag.ErrNoHost if there is none.
	Dial(ctx context.Context, name string) (*Client, error)
	// Start makes the host and returns what it began with; diag.ErrBusy if there is
	// one already.
	Start(ctx context.Context, name string, r StartRequest) (*kernel.Change, error)
	// Halt ends the host and returns when it is gone; diag.ErrNoHost if there is none.
	Halt(ctx context.Context, name string) error
}

// Load loads into the host of that name, which is started if there is none. If that
// first load is refused there is still none.
func Load(ctx context.Context, h Hosts, name string, r kernel.LoadRequest) (*kernel.Change, error) {
	const tries = 3 // a host may start or end between two looks
	var err error
	for range tries {
		var c *Client
		c, err = h.Dial(ctx, name)
		if err == nil {
			defer c.Close()
			return c.Load(ctx, r)
		}
		if !errors.Is(err, diag.ErrNoHost) {
			return nil, err
		}
		var change *kernel.Change
		change, err = h.Start(ctx, name, StartRequest{Load: &r})
		if !errors.Is(err, errHostRuns) {
			return change, err
		}
	}
	return nil, err
}

// Boot starts the host of that name. A host whose runner is lost is halted first: it
// answers questions still, and can do nothing else.
func Boot(ctx context.Context, h Hosts, name string, r StartRequest) (*kernel.Change, error) {
	change, err := h.Start(ctx, name, r)
	if !errors.Is(err, errHostRuns) {
		return change, err
	}
	c, derr := h.Dial(ctx, name)
	if derr != nil {
		return nil, err // it has just ended, or does not answer
	}
	defer c.Close()
	if s, serr := c.Status(ctx); serr != nil || s.Runner.State != kernel.RunnerLost {
		return nil, err
	}
	if err := h.Halt(ctx, name); err != nil && !errors.Is(err, diag.ErrNoHost) {
		return nil, err
	}
	return h.Start(ctx, name, r)
}

// The requests that package kernel has no type for.
type (
	nothing     struct{}
	infoRequest struct {
		Module string `json:"module"`
	}
	aliasRequest struct {
		Symbols []string `json:"symbols,omitempty"`
		All     bool     `json:"all,omitempty"`
	}
	symbolsRequest struct {
		Patterns []string `json:"patterns,omitempty"`
		Module   string   `json:"module,omitempty"`
	}
	disassembleRequest struct {
		What string `json:"what"`
	}
)

// The routes. The number changes when the meaning of a request does.
const (
	pathLoad        = "/v1/load"
	pathUnload      = "/v1/unload"
	pathList        = "/v1/list"
	pathInfo        = "/v1/info"
	pathAlias       = "/v1/alias"
	pathSites       = "/v1/sites"
	pathSymbols     = "/v1/symbols"
	pathDisassemble = "/v1/disassemble"
	pathStatus      = "/v1/status"
	pathCall        = "/v1/call"
	pathJobs        = "/v1/jobs"
	pathWait        = "/v1/wait"
	pathLog         = "/v1/log"
	pathRead        = "/v1/read"
	pathMap         = "/v1/map"
	pathThreads     = "/v1/threads"
	pathHalt        = "/v1/halt"
)
