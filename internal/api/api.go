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

	"klink/internal/diag"
	"klink/internal/kernel"
)

// Service is the kernel as a host serves it; *kernel.Kernel is one. Its methods
// may be called from any goroutine.
type Service interface {
	Boot(specs []kernel.ModuleSpec) (*kernel.Change, error)
	Load(r kernel.LoadRequest) (*kernel.Change, error)
	Unload(r kernel.UnloadRequest) (*kernel.Change, error)
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
func (r *StartRequest) begin(fresh NewService) (Service, *kernel.Change, error) {
	svc, err := fresh(r.Config)
	if err != nil {
		return nil, nil, err
	}
	change := &kernel.Change{}
	if len(r.Boot) > 0 {
		change, err = svc.Boot(r.Boot)
	}
	if err == nil && r.Load != nil {
		change, err = svc.Load(*r.Load)
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
	pathHalt        = "/v1/halt"
)
