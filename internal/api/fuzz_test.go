package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/kernel"
)

// routes are all that a host answers.
var routes = []string{
	pathLoad, pathUnload, pathList, pathInfo, pathAlias, pathSites, pathSymbols, pathDisassemble, pathStatus,
	pathCall, pathJobs, pathWait, pathLog, pathRead, pathMap, pathThreads,
}

// ask posts body to a path of a server, whatever characters the path has, and returns the
// answer; ok is false if there was none in time: some requests ask to wait.
func ask(t *testing.T, s *Server, path string, body []byte, limit time.Duration) (code int, answer []byte, ok bool) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://klink/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path = path
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	resp, err := (handlerTransport{s}).RoundTrip(r.WithContext(ctx))
	if ctx.Err() != nil {
		return 0, nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer, true
}

// FuzzServe sends anything to every route of a real host with real modules, which runs
// nothing: the answer is one JSON value, or one clear refusal; and what is not a load
// or an unload that went well changes nothing.
func FuzzServe(f *testing.F) {
	objs, err := filepath.Abs("../../testdata/objs")
	if err != nil {
		f.Fatal(err)
	}
	file := func(name string) kernel.ModuleSpec {
		path := filepath.Join(objs, name)
		if _, err := os.Stat(path); err != nil {
			f.Fatal(err)
		}
		return kernel.ModuleSpec{Files: []kernel.Source{{Name: name, Path: path}}}
	}
	k, err := kernel.New(kernel.Config{Bare: true, Machine: arch.AMD64, ArenaBase: 0x20000000, ArenaSize: 16 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = k.Close() })
	if _, err := k.Boot(f.Context(), []kernel.ModuleSpec{file("bus_space/kernel.amd64.o")}); err != nil {
		f.Fatal(err)
	}
	if _, err := k.Load(f.Context(), kernel.LoadRequest{Modules: []kernel.ModuleSpec{file("bus_space/bus_space_debug.amd64.kmod")}}); err != nil {
		f.Fatal(err)
	}
	for i, bodies := range [][]string{
		{`{"modules":[{"as":"xh","files":[{"name":"xh.o","path":"` + objs + `/bus_space/bus_space_xh.amd64.kmod"}]}],"dryRun":true}`, `{"modules":[{"files":[]}]}`, `{"modules":[],"search":[{"name":".","path":"."}]}`},
		{`{"modules":["bus_space_debug"],"dryRun":true}`, `{"modules":["kernel"]}`, `{"modules":[""],"wait":-1}`}, {`{}`, ` {} `},
		{`{"module":"kernel"}`, `{"module":"\u0000"}`}, {`{"all":true}`, `{"symbols":["bus_space_read_4","\u001b"]}`}, {`{"module":"kernel"}`, `{"symbols":["super_bus_space_read_4"]}`},
		{`{"patterns":["*"]}`, `{"patterns":["[","0x20000000","0xffffffffffffffff"],"module":"kernel"}`}, {`{"what":"bus_space_read_4"}`, `{"what":"kernel:_bus_space_read_4"}`, `{"what":"0x20000000"}`, `{"what":"bus_space_read_4@entry"}`},
		{`{}`}, {`{"function":"bus_space_read_4","args":[{"word":"1"},{"text":"a","isText":true}],"threads":-1,"times":18446744073709551615}`}, {`{}`}, {`{"jobs":[0,-1],"limit":1}`}, {`{"from":18446744073709551615,"max":-1,"wait":-1}`},
		{`{"what":"bus_space_read_4","len":18446744073709551615}`, `{"what":"0x20000000","len":16}`}, {`{"what":"x"}`, `{"module":"kernel"}`}, {`{}`},
	} {
		for _, b := range bodies {
			f.Add(byte(i), []byte(b))
		}
	}
	s := NewServer(k, io.Discard)
	f.Fuzz(func(t *testing.T, route byte, body []byte) {
		path := routes[int(route)%len(routes)]
		if path == pathLoad && !bytes.Contains(body, []byte(`"dryRun":true`)) && bytes.Contains(body, []byte("path")) {
			return // what a file can do is another target's
		}
		before := stateOf(t, k)
		code, b, ok := ask(t, s, path, body, 50*time.Millisecond)
		if !ok {
			return
		}
		if len(b) > 1<<20+200*len(body) {
			t.Errorf("an answer of %d bytes to %d", len(b), len(body))
		}
		if code != http.StatusOK {
			checkRefusals(t, code, b)
		} else if !json.Valid(b) {
			t.Errorf("no JSON: %q", b)
		}
		if strings.Contains(string(b), "the host failed") {
			t.Errorf("%s %q: %s", path, body, b)
		}
		if path == pathUnload && code == http.StatusOK && !bytes.Contains(b, []byte(`"dryRun":true`)) {
			if _, err := k.Load(t.Context(), kernel.LoadRequest{Modules: []kernel.ModuleSpec{file("bus_space/bus_space_debug.amd64.kmod")}}); err != nil {
				t.Fatal(err)
			}
			return
		}
		if d := cmp.Diff(before, stateOf(t, k)); d != "" {
			t.Errorf("%s %q changed something:\n%s", path, body, d)
		}
	})
}

// checkRefusals is checkRefusal for an answer that may have several root causes.
func checkRefusals(t *testing.T, status int, body []byte) {
	t.Helper()
	var e struct{ Error *Fault }
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil {
		t.Fatalf("%d: no error in %q: %v", status, body, err)
	}
	if n := len(e.Error.Lines); status < 400 || e.Error.Exit == 0 || n == 0 || n > diag.MaxErrors+1 {
		t.Errorf("%d: %+v", status, e.Error)
	}
	for _, line := range e.Error.Lines {
		if line == "" || len(line) > 2000 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f }) {
			t.Errorf("line %q", line)
		}
	}
}

// stateOf is what a host says of itself.
func stateOf(t *testing.T, k *kernel.Kernel) []any {
	t.Helper()
	alias, err := k.Alias(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	sites, err := k.Sites(kernel.SitesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return []any{k.List(), alias, sites, k.Status().Regions, k.Jobs()}
}
