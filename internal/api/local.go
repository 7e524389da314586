package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"sync"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// Local is a set of hosts in this process: commands reach them through the same
// requests and answers, without a socket. Create it with NewLocal; Close ends all.
type Local struct {
	fresh NewService
	log   io.Writer

	mu    sync.Mutex
	hosts map[string]*localHost // guarded by mu
}

type localHost struct {
	svc    Service
	server *Server
}

// NewLocal returns an empty set whose kernels fresh makes; what goes wrong in a
// host besides its answers is written to logTo.
func NewLocal(fresh NewService, logTo io.Writer) *Local {
	return &Local{fresh: fresh, log: logTo, hosts: map[string]*localHost{}}
}

// Dial implements Hosts.
func (l *Local) Dial(_ context.Context, name string) (*Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hosts[name]
	if h == nil {
		return nil, noHost(name)
	}
	return NewClient(handlerTransport{h.server}, hostName(name)), nil
}

// Start implements Hosts.
func (l *Local) Start(ctx context.Context, name string, r StartRequest) (*kernel.Change, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hosts[name] != nil {
		return nil, hostRuns(name)
	}
	svc, change, err := r.begin(ctx, l.fresh)
	if err != nil {
		return nil, NewFault(err) // as from a process
	}
	l.hosts[name] = &localHost{svc: svc, server: NewServer(svc, l.log)}
	return change, nil
}

// Halt implements Hosts.
func (l *Local) Halt(_ context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hosts[name]
	if h == nil {
		return noHost(name)
	}
	delete(l.hosts, name)
	h.server.Halt()
	return h.svc.Close()
}

// Close ends all hosts of the set.
func (l *Local) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs diag.List
	for name, h := range l.hosts {
		errs.Add(h.svc.Close())
		delete(l.hosts, name)
	}
	return errs.Err()
}

// handlerTransport hands each request to the handler in this goroutine.
type handlerTransport struct{ h http.Handler }

// RoundTrip implements http.RoundTripper.
func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.serve(newRecorder(), r)
}

// serve has the request answered into w.
func (t handlerTransport) serve(w *recorder, r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = in.URL.RequestURI()
	t.h.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	file   *os.File // that came with it
}

func newRecorder() *recorder { return &recorder{header: http.Header{}, status: http.StatusOK} }

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) carry(f *os.File)            { w.file = f }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }
