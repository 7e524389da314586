package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// Client talks to one host. Errors are Faults as the host made them, or, if the
// host could not be asked, diag errors of the kinds ErrIO and ErrNoHost, or ctx's.
type Client struct {
	http *http.Client
	what string // the host, for messages
}

// NewClient returns a client that sends its requests through t; what names the
// host in messages.
func NewClient(t http.RoundTripper, what string) *Client {
	return &Client{http: &http.Client{Transport: t}, what: what}
}

// Close gives the client's connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Load loads modules.
func (c *Client) Load(ctx context.Context, r kernel.LoadRequest) (*kernel.Change, error) {
	return call[*kernel.Change](ctx, c, pathLoad, r)
}

// Unload unloads modules.
func (c *Client) Unload(ctx context.Context, r kernel.UnloadRequest) (*kernel.Change, error) {
	return call[*kernel.Change](ctx, c, pathUnload, r)
}

// List returns the modules in load order.
func (c *Client) List(ctx context.Context) ([]kernel.ModuleInfo, error) {
	return call[[]kernel.ModuleInfo](ctx, c, pathList, nothing{})
}

// Info describes one module.
func (c *Client) Info(ctx context.Context, module string) (*kernel.ModuleInfo, error) {
	return call[*kernel.ModuleInfo](ctx, c, pathInfo, infoRequest{module})
}

// Alias returns the stacks of the symbols; if none is named, of those with more
// than one provider, or of all.
func (c *Client) Alias(ctx context.Context, symbols []string, all bool) ([]kernel.AliasInfo, error) {
	return call[[]kernel.AliasInfo](ctx, c, pathAlias, aliasRequest{symbols, all})
}

// Sites returns the sites that r selects.
func (c *Client) Sites(ctx context.Context, r kernel.SitesRequest) ([]kernel.SiteInfo, error) {
	return call[[]kernel.SiteInfo](ctx, c, pathSites, r)
}

// Symbols returns the symbols that match a pattern, or lie at a "0x…" address.
func (c *Client) Symbols(ctx context.Context, patterns []string, module string) ([]kernel.SymInfo, error) {
	return call[[]kernel.SymInfo](ctx, c, pathSymbols, symbolsRequest{patterns, module})
}

// Disassemble returns the code of a function: "f", "module:f" or "0x…".
func (c *Client) Disassemble(ctx context.Context, what string) (*kernel.Listing, error) {
	return call[*kernel.Listing](ctx, c, pathDisassemble, disassembleRequest{what})
}

// Call makes calls and returns when they have ended or, with r.Detach, begun. If ctx
// ends, those that were not detached are given up.
func (c *Client) Call(ctx context.Context, r kernel.CallRequest) (*kernel.CallReport, error) {
	return call[*kernel.CallReport](ctx, c, pathCall, r)
}

// Jobs returns the jobs that run, and those that ended and were not waited for.
func (c *Client) Jobs(ctx context.Context) ([]kernel.CallReport, error) {
	return call[[]kernel.CallReport](ctx, c, pathJobs, nothing{})
}

// Wait returns when the jobs have ended or r.Limit is over. They go on if ctx ends.
func (c *Client) Wait(ctx context.Context, r kernel.WaitRequest) ([]kernel.CallReport, error) {
	return call[[]kernel.CallReport](ctx, c, pathWait, r)
}

// Log returns lines that modules printed.
func (c *Client) Log(ctx context.Context, r kernel.LogRequest) (*kernel.LogReport, error) {
	return call[*kernel.LogReport](ctx, c, pathLog, r)
}

// Read returns a piece of memory.
func (c *Client) Read(ctx context.Context, r kernel.ReadRequest) (*kernel.ReadReport, error) {
	return call[*kernel.ReadReport](ctx, c, pathRead, r)
}

// Threads tells what the runner's threads do, and who is inside of the gates.
func (c *Client) Threads(ctx context.Context) (*kernel.ThreadsReport, error) {
	return call[*kernel.ThreadsReport](ctx, c, pathThreads, nothing{})
}

// Status describes the host.
func (c *Client) Status(ctx context.Context) (kernel.Status, error) {
	return call[kernel.Status](ctx, c, pathStatus, nothing{})
}

// Halt asks the host to end; it may still be there when Halt returns. See
// Hosts.Halt.
func (c *Client) Halt(ctx context.Context) error {
	_, err := call[nothing](ctx, c, pathHalt, nothing{})
	return err
}

// call sends q to path and returns the answer.
func call[A any](ctx context.Context, c *Client, path string, q any) (A, error) {
	var none A
	r, err := newRequest(ctx, path, q)
	if err != nil {
		return none, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return none, c.broken(ctx, err)
	}
	return readAnswer[A](ctx, c, resp)
}

// newRequest makes the request that sends q to path.
func newRequest(ctx context.Context, path string, q any) (*http.Request, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	if len(body) > maxRequest { // the host would cut off while the body is still being written
		return nil, diag.New(diag.ErrUsage, "", "the request is larger than %d bytes", maxRequest)
	}
	// The host's name is in the socket's path; HTTP wants one all the same.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://klink"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	r.Header.Set("Content-Type", contentType)
	return r, nil
}

// readAnswer reads what the host answered.
func readAnswer[A any](ctx context.Context, c *Client, resp *http.Response) (a A, err error) {
	defer func() { _ = resp.Body.Close() }()
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), contentType) {
		return a, diag.New(diag.ErrIO, "", "%s does not answer as a klink host does: %s", c.what, oneLine(resp.Status))
	}
	dec := json.NewDecoder(resp.Body)
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Error *Fault `json:"error"`
		}
		if err := dec.Decode(&e); err != nil || !e.Error.sound() {
			return a, c.broken(ctx, errors.New("its refusal cannot be read"))
		}
		return a, e.Error
	}
	if err := dec.Decode(&a); err != nil {
		return a, c.broken(ctx, err)
	}
	if v := reflect.ValueOf(&a).Elem(); v.Kind() == reflect.Pointer && v.IsNil() {
		return a, c.broken(ctx, errors.New("its answer is null"))
	}
	return a, nil
}

// broken is the error for a host that did not answer.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, diag.ErrNoHost) {
		return diag.New(diag.ErrNoHost, "", "%s is not running", c.what)
	}
	return diag.New(diag.ErrIO, "", "%s ended before it answered: %s", c.what, oneLine(rootText(err)))
}

// rootText returns the innermost message: net/http puts method and address around it.
func rootText(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
