package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// Limits on what a peer may do to the host.
const (
	maxRequest = 16 << 20 // bytes of a request: room for some 50,000 file names
	maxHeader  = 16 << 10 // bytes of a request's header
	maxWaiting = 200      // requests that wait for modules' code; the other connections, of maxPeers, are for looks and halts
)

// times are the limits in time.
type times struct {
	header  time.Duration // to send the header
	request time.Duration // to send the whole request
	answer  time.Duration // to take the answer
	idle    time.Duration // between two requests
	halt    time.Duration // for peers to take their answers when the host ends
}

// hostTimes are generous to a busy machine and still bound what a stalled peer holds.
var hostTimes = times{
	header: 5 * time.Second, request: 15 * time.Second, answer: 60 * time.Second,
	idle: 5 * time.Second, halt: 5 * time.Second,
}

// Server puts a Service behind HTTP. Create it with NewServer.
type Server struct {
	mux   *http.ServeMux
	log   *log.Logger
	times times

	turn     chan struct{} // holds one token: who has it may change the kernel
	waiting  chan struct{} // holds a token for each request that waits for modules' code
	halted   chan struct{} // closed by the first halt
	haltOnce sync.Once
}

// NewServer returns a server of svc, which stays the caller's to close. What goes
// wrong besides the answers is written to logTo.
func NewServer(svc Service, logTo io.Writer) *Server {
	s := &Server{
		mux: http.NewServeMux(), log: log.New(logTo, "", log.LstdFlags), times: hostTimes,
		turn: make(chan struct{}, 1), waiting: make(chan struct{}, maxWaiting), halted: make(chan struct{}),
	}
	s.turn <- struct{}{}
	route(s, pathLoad, changes, svc.Load)
	route(s, pathUnload, changes, svc.Unload)
	route(s, pathCall, waits, svc.Call)
	route(s, pathWait, waits, svc.Wait)
	route(s, pathLog, waits, svc.Log)
	look(s, pathList, func(nothing) ([]kernel.ModuleInfo, error) { return svc.List(), nil })
	look(s, pathInfo, func(q infoRequest) (*kernel.ModuleInfo, error) { return svc.Info(q.Module) })
	look(s, pathAlias, func(q aliasRequest) ([]kernel.AliasInfo, error) { return svc.Alias(q.Symbols, q.All) })
	look(s, pathSites, svc.Sites)
	look(s, pathSymbols, func(q symbolsRequest) ([]kernel.SymInfo, error) { return svc.Symbols(q.Patterns, q.Module) })
	look(s, pathDisassemble, func(q disassembleRequest) (*kernel.Listing, error) { return svc.Disassemble(q.What) })
	look(s, pathJobs, func(nothing) ([]kernel.CallReport, error) { return svc.Jobs(), nil })
	look(s, pathRead, svc.Read)
	s.serveMap(svc)
	look(s, pathThreads, func(nothing) (*kernel.ThreadsReport, error) { return svc.Threads() })
	look(s, pathStatus, func(nothing) (kernel.Status, error) { return svc.Status(), nil })
	look(s, pathHalt, func(nothing) (nothing, error) { s.Halt(); return nothing{}, nil })
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, diag.New(diag.ErrUsage, "", "the host has no command %s; it may be of another version: klink halt",
			diag.Quote(r.URL.Path)))
	})
	return s
}

// Halt asks the server to end; Halted tells.
func (s *Server) Halt() { s.haltOnce.Do(func() { close(s.halted) }) }

// Halted is closed once a peer, or Halt, has asked the server to end.
func (s *Server) Halted() <-chan struct{} { return s.halted }

// ServeHTTP answers one request. A panic below it is an internal error of that
// request only.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Printf("BUG: %s: %v\n%s", r.URL.Path, p, debug.Stack())
			s.refuse(w, fmt.Errorf("the host failed at this request, and says why in its log: %v", p))
		}
	}()
	s.mux.ServeHTTP(w, r)
}

// Serve answers requests from l until Halt or until ctx ends, then lets the ones
// under way finish, for a few seconds. It closes l. The error is nil after either end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, ErrorLog: s.log, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: s.times.header, ReadTimeout: s.times.request, IdleTimeout: s.times.idle,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	var err error
	select {
	case err = <-ended: // the listener broke
	case <-ctx.Done():
	case <-s.halted:
	}
	s.Halt()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.times.halt)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close() // cuts off the peers that would not end
	}
	return err
}

// How a route treats the kernel.
type manner struct {
	enter func(s *Server, ctx context.Context) (leave func(), err error)
	over  error // what a halt ends it with
}

var (
	// looks answer at once.
	looks = manner{func(*Server, context.Context) (func(), error) { return func() {}, nil }, nil}
	// changes come one after the other. One whose client has gone before its turn
	// came is not done at all.
	changes = manner{(*Server).takeTurn, diag.New(diag.ErrBusy, "", "the host is halting")}
	// waits last as long as modules' code does, many at the same time.
	waits = manner{(*Server).takePlace, diag.New(diag.ErrNoHost, "", "the host was halted before this was over")}
)

// takeTurn waits until no other change is under way.
func (s *Server) takeTurn(ctx context.Context) (leave func(), err error) {
	select {
	case <-s.turn:
		return func() { s.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// takePlace refuses if too many wait already: they would keep the socket from others.
func (s *Server) takePlace(context.Context) (leave func(), err error) {
	select {
	case s.waiting <- struct{}{}:
		return func() { <-s.waiting }, nil
	default:
		return nil, diag.New(diag.ErrBusy, "", "%d commands wait for modules' code already; call with --detach", maxWaiting)
	}
}

// look is a route of f, which answers at once.
func look[Q, A any](s *Server, path string, f func(Q) (A, error)) {
	route(s, path, looks, func(_ context.Context, q Q) (A, error) { return f(q) })
}

// route answers requests of type Q for path with what f returns. f's context ends
// when the client goes away or, but for looks, when the host halts.
func route[Q, A any](s *Server, path string, how manner, f func(context.Context, Q) (A, error)) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := decodeRequest(w, r, &q); err != nil {
			s.refuse(w, err)
			return
		}
		ctx, cancel := s.untilHalt(r.Context(), how.over)
		defer cancel()
		leave, err := how.enter(s, ctx)
		if err == nil {
			defer leave()
			err = ctx.Err() // of two ends at once, the other may have come first
		}
		var a A
		if err == nil {
			a, err = f(ctx, q)
		}
		switch {
		case err == nil:
			s.answer(w, http.StatusOK, a)
		case errors.Is(err, context.Canceled) && ctx.Err() != nil:
			s.refuse(w, context.Cause(ctx)) // nobody reads it, if the client has gone
		default:
			s.refuse(w, err)
		}
	})
}

// untilHalt returns a context that ends with ctx and, unless over is nil, with the
// halt of the server, which is over then.
func (s *Server) untilHalt(ctx context.Context, over error) (context.Context, context.CancelFunc) {
	if over == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	select {
	case <-s.halted: // at once, not when the goroutine gets to it
		cancel(over)
	default:
		go func() {
			select {
			case <-s.halted:
				cancel(over)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

// decodeRequest reads the one JSON value that r's body must be into q.
func decodeRequest(w http.ResponseWriter, r *http.Request, q any) error {
	if r.Method != http.MethodPost {
		return diag.New(diag.ErrUsage, "", "%s takes POST, not %s", r.URL.Path, diag.Escape(r.Method))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return diag.New(diag.ErrUsage, "", "the request is larger than %d bytes", big.Limit)
		}
		return diag.New(diag.ErrIO, "", "the request broke off: %v", err)
	}
	return decode(body, q)
}

// decode reads body, one JSON object and nothing else, into q.
func decode(body []byte, q any) error {
	if t := bytes.TrimLeft(body, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return diag.New(diag.ErrUsage, "", "the request is not a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(q); err != nil {
		return diag.New(diag.ErrUsage, "", "the request cannot be understood: %s", oneLine(err.Error()))
	}
	if _, err := dec.Token(); err != io.EOF {
		return diag.New(diag.ErrUsage, "", "the request goes on after its end")
	}
	return nil
}

// maxWords is how long a message that quotes input may be, bytes.
const maxWords = 512

// oneLine returns a message that quotes input fit for a line of its own: printable
// ASCII, cut with "…" if it is longer than maxWords.
func oneLine(s string) string {
	var b strings.Builder
	for s != "" {
		_, n := utf8.DecodeRuneInString(s)
		word := s[:n]
		if word != `"` {
			word = strconv.QuoteToASCII(word)
			word = word[1 : len(word)-1]
		}
		if b.Len()+len(word) > maxWords {
			return b.String() + "…"
		}
		b.WriteString(word)
		s = s[n:]
	}
	return b.String()
}

// refuse answers with err.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	s.answer(w, kindOf(err).status, struct {
		Error *Fault `json:"error"`
	}{NewFault(err)})
}

// answer writes a as the body. A peer that does not take it in time is cut off.
func (s *Server) answer(w http.ResponseWriter, status int, a any) {
	body, err := json.Marshal(a)
	if err != nil { // only types of klink's own get here
		s.log.Printf("BUG: answer %T: %v", a, err)
		status, body = http.StatusInternalServerError, []byte(`{"error":{"kind":"internal","exit":1,"lines":["the answer cannot be encoded"]}}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.times.answer)) // no deadlines in this process
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a peer that has gone needs no answer
}

const contentType = "application/json"
