package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
	"klink/internal/kernel"
)

// A descriptor on its way to a client. It goes with the first byte of an answer
// (SCM_RIGHTS), for which the server takes the connection out of net/http's hands, and
// the client has one of its own. In this process it goes with the answer's recorder.

// carrier is an http.ResponseWriter that takes a descriptor with the answer.
type carrier interface{ carry(f *os.File) }

// fileTripper is a transport that brings the descriptor that comes with an answer; nil if
// none came. The answer's body must be closed first.
type fileTripper interface {
	roundTripFile(r *http.Request) (*http.Response, *os.File, error)
}

// serveMap answers requests for shared memory.
func (s *Server) serveMap(svc Service) {
	s.mux.HandleFunc(pathMap, func(w http.ResponseWriter, r *http.Request) {
		var q kernel.MapRequest
		if err := decodeRequest(w, r, &q); err != nil {
			s.refuse(w, err)
			return
		}
		report, f, err := svc.Map(q)
		if err != nil {
			s.refuse(w, err)
			return
		}
		if c, ok := w.(carrier); ok {
			c.carry(f)
			s.answer(w, http.StatusOK, report)
			return
		}
		defer func() { _ = f.Close() }() // the client has its own by now
		if err := s.answerFile(w, report, f); err != nil {
			s.log.Printf("%s: %v", pathMap, err)
		}
	})
}

// answerFile answers with report and a descriptor, and ends the connection. After an
// error there is no answer: the client sees that the connection ended.
func (s *Server) answerFile(w http.ResponseWriter, report *kernel.MapReport, f *os.File) error {
	body, err := json.Marshal(report)
	if err != nil {
		return err
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // all has been sent, or cannot be
	if g, ok := conn.(*guardedConn); ok {
		conn = g.Conn // closing stays the guard's
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("no descriptor goes over %T", conn)
	}
	if err := uc.SetDeadline(time.Now().Add(s.times.answer)); err != nil {
		return err
	}
	answer := http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header:        http.Header{"Content-Type": {contentType}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	var text bytes.Buffer
	if err := answer.Write(&text); err != nil {
		return err
	}
	n, _, err := uc.WriteMsgUnix(text.Bytes(), unix.UnixRights(int(f.Fd())), nil)
	if err == nil && n < text.Len() {
		_, err = uc.Write(text.Bytes()[n:])
	}
	return err
}

// Map returns memory that a module shares: a file that can be read and mapped for reading,
// which is the caller's to close, and where in it the memory lies. It lies in the file.
func (c *Client) Map(ctx context.Context, r kernel.MapRequest) (*kernel.MapReport, *os.File, error) {
	trip, ok := c.http.Transport.(fileTripper)
	if !ok {
		return nil, nil, diag.New(diag.ErrIO, "", "%s cannot be reached in a way that brings descriptors", c.what)
	}
	q, err := newRequest(ctx, pathMap, r)
	if err != nil {
		return nil, nil, err
	}
	resp, f, err := trip.roundTripFile(q)
	if err != nil {
		return nil, nil, c.broken(ctx, err)
	}
	report, err := readAnswer[*kernel.MapReport](ctx, c, resp)
	if err == nil {
		if err = checkFile(report, f); err != nil {
			err = c.broken(ctx, err)
		}
	}
	if err != nil {
		if f != nil {
			_ = f.Close() // it was not what we asked for
		}
		return nil, nil, err
	}
	return report, f, nil
}

// checkFile makes sure that who maps the file as report says finds memory there.
func checkFile(report *kernel.MapReport, f *os.File) error {
	if report == nil || f == nil {
		return errors.New("no descriptor came with the answer")
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if size := uint64(st.Size()); report.Size == 0 || report.Offset > size || report.Size > size-report.Offset {
		return fmt.Errorf("%d bytes at %d do not lie in the file of %d", report.Size, report.Offset, size)
	}
	return nil
}

// roundTripFile implements fileTripper.
func (t handlerTransport) roundTripFile(r *http.Request) (*http.Response, *os.File, error) {
	w := newRecorder()
	resp, err := t.serve(w, r)
	if err != nil && w.file != nil {
		return nil, nil, errors.Join(err, w.file.Close())
	}
	return resp, w.file, err
}

// roundTripFile implements fileTripper: over a connection of its own.
func (t *closer) roundTripFile(r *http.Request) (resp *http.Response, _ *os.File, err error) {
	conn, err := t.DialContext(r.Context(), "", "")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }() // all that will come has come
	stop := context.AfterFunc(r.Context(), func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("no descriptor comes over %T", conn)
	}
	in := &rights{conn: uc}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	if err := r.Write(conn); err != nil {
		return nil, nil, err
	}
	resp, err = http.ReadResponse(bufio.NewReader(io.LimitReader(in, maxAnswer)), r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, in.take(), nil
}

// maxAnswer bounds an answer that comes with a descriptor, bytes.
const maxAnswer = 1 << 20

// rights reads a connection and keeps the descriptors that come with the bytes.
type rights struct {
	conn *net.UnixConn
	got  []*os.File
}

// Read implements io.Reader.
func (r *rights) Read(b []byte) (int, error) {
	var room [64]byte // for some descriptors; the system closes those beyond
	n, oobn, _, _, err := r.conn.ReadMsgUnix(b, room[:])
	if cmsgs, perr := unix.ParseSocketControlMessage(room[:oobn]); perr == nil {
		for i := range cmsgs {
			fds, perr := unix.ParseUnixRights(&cmsgs[i])
			if perr != nil {
				continue // another kind of message
			}
			for _, fd := range fds { // close-on-exec already: package net asks for that
				r.got = append(r.got, os.NewFile(uintptr(fd), "shared memory"))
			}
		}
	}
	if errors.Is(err, io.EOF) || n == 0 && err == nil && len(b) > 0 {
		err = io.EOF // as it is, for who compares it
	}
	return max(n, 0), err // -1 with an error
}

// take returns the first descriptor and closes the others.
func (r *rights) take() *os.File {
	if len(r.got) == 0 {
		return nil
	}
	f := r.got[0]
	r.got = r.got[1:]
	r.close()
	return f
}

// close closes what came.
func (r *rights) close() {
	for _, f := range r.got {
		_ = f.Close()
	}
}
