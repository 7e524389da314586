package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"klink/internal/api"
	"klink/internal/kernel"
)

// fuzzWait is how long a command may take that waits for something.
const fuzzWait = 20 * time.Millisecond

// checkOutput looks for what could steer a terminal, and for a failure without a reason.
func checkOutput(t *testing.T, code int, out, errs string) {
	t.Helper()
	if code < 0 || code > api.ExitDraining {
		t.Errorf("exit code %d", code)
	}
	for _, text := range []string{out, errs} {
		if !utf8.ValidString(text) {
			t.Errorf("no UTF-8: %q", text)
		}
		for _, r := range text {
			if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
				t.Fatalf("%q in the output:\n%q", r, text)
			}
		}
	}
}

// FuzzRun: whatever the file of commands, klink run ends, with one of its exit codes and
// a reason for each that is not 0; and a line that was taken apart, put together again, is
// taken apart in the same way.
func FuzzRun(f *testing.F) {
	for _, s := range []string{
		"boot k.o\nload bpf.kmod\nls\nalias\n!unload nothing\n", "klink load 'a b.o' \"c\\\"d.o\" # comment\n", "- load undefined.o\nversion --json\n",
		"boot\ncall sum 1 -1 0x10 \"text\"\ncall count -j 2 -n 1e3 --detach\njobs\nwait\nlog -n 1\nps\n", "load \x1b[2J.o\nhelp \xff\n", "\\", "'", "sym 'b*'\nread counter 4K\ndis if_input\nhalt\n",
		"link --define a=1 --define b=0x10 -o image a.o\ncheck a.o warn.o\ncc a.c -o b -- -O2\nmap ring x\n", "run -\nhost\nlog -f\n", "completion bash\nhelp run\n", "load -L . -n --as x --private y a.o\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		for line := range strings.Lines(string(script)) {
			line = strings.TrimSuffix(line, "\n")
			words, err := split(line)
			if err != nil {
				continue
			}
			again, err := split(join(words))
			if err != nil || !slices.Equal(words, again) {
				t.Fatalf("%q is %q, which is %q: %v", line, words, join(words), err)
			}
		}
		if bytes.Contains(script, []byte("--host")) || bytes.Contains(script, []byte("-H")) {
			return // hosts by name are the socket's tests'
		}
		sys, out, errs := fake(t, nil)
		sys.In = bytes.NewReader(script)
		ctx, cancel := context.WithTimeout(t.Context(), fuzzWait)
		defer cancel()
		code := Main(ctx, sys, []string{"run", "-x", "-"})
		checkOutput(t, code, out.String(), errs.String())
		if code != 0 && errs.Len() == 0 && ctx.Err() == nil {
			t.Errorf("exit %d without a word", code)
		}
	})
}

// liar is a host, and its transport, that answers everything alike.
type liar struct {
	status int
	body   []byte
}

func (l liar) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: l.status, Status: "a lie", Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(l.body)), Request: r}, nil
}

func (l liar) Dial(context.Context, string) (*api.Client, error) {
	return api.NewClient(l, "host"), nil
}
func (l liar) Start(context.Context, string, api.StartRequest) (*kernel.Change, error) {
	return &kernel.Change{}, nil
}
func (l liar) Halt(context.Context, string) error { return nil }

// asking are commands that print what a host answers.
var asking = [][]string{
	{"ls"}, {"info", "m"}, {"alias"}, {"sites"}, {"sym", "x"}, {"dis", "f"}, {"call", "f"}, {"jobs"}, {"wait", "1"}, {"log", "-n", "3"}, {"read", "x"}, {"ps"},
	{"version"}, {"load", "a.o"}, {"unload", "m"}, {"call", "f", "-j", "2", "--detach"}, {"load", "-n", "a.o"}, {"alias", "f"}, {"halt"},
}

// FuzzAnswer: whatever a host answers, a command prints it in a way that cannot steer a
// terminal, and ends with one of klink's exit codes.
func FuzzAnswer(f *testing.F) {
	for i, body := range []string{
		`[{"name":"m\u001b[2J","state":"live","files":["a\n.o"],"text":{"addr":"0x1000","size":8}}]`, `{"name":"m","provides":[{"symbol":"f","kind":"override","class":"func","addr":"0x1"}],"needs":["x"],"usedBy":["\u0007"]}`,
		`[{"symbol":"f","class":"func","users":["a"],"providers":[{"module":"m","kind":"default","addr":"0x10","name":"g"}]}]`, `[{"addr":"0x1","in":"f+0x1","form":"call","symbol":"f","target":"0x2","provider":"m","veneer":"0x3"}]`,
		`[{"name":"x","addr":"0x1","size":18446744073709551615,"type":"func","bind":"local","section":"\u009b"}]`, `{"func":"f","addr":"0x1","size":2,"lines":[{"addr":"0x1","bytes":"zz","text":"\u202e"}]}`,
		`{"job":1,"function":"f","values":[{"value":"1","count":1}],"calls":-1,"state":"done"}`, `[{"job":1},{}]`, `[null]`, `{"lines":[{"number":5,"text":"\u001b"}],"next":3,"lost":18446744073709551615}`,
		`{"addr":"0xffffffffffffffff","bytes":"AAEC","symbol":"s"}`, `{"threads":[{"id":1}],"gates":[{"name":"\u0000"}],"idle":-5}`, `{"machine":"x","walls":[{"name":"w","up":false,"why":"\n"}]}`,
		`{"loaded":[{"name":"m"}],"moves":[{"symbol":"f","from":"a","to":"b","sites":-1}],"bytes":-1}`, `null`, ``, `{`,
	} {
		f.Add(byte(i), 200, []byte(body))
	}
	f.Add(byte(5), 200, []byte(`{"func":"f","lines":[{"addr":"0x1","bytes":"\u001bz\u202e","text":"x"}]}`))
	f.Add(byte(0), 422, []byte(`{"error":{"kind":"undefined","exit":1,"lines":["a.o: \u001b]0;x"]}}`))
	f.Add(byte(6), 422, []byte(`{"error":{"kind":"fault","exit":6,"lines":["m: f+0x1: SIGSEGV"],"faults":[{"signal":"SIGSEGV","at":{"func":"f"},"stack":[{"addr":"0x1"}]}]}}`))
	f.Fuzz(func(t *testing.T, which byte, status int, body []byte) {
		sys, out, errs := fake(t, nil)
		sys.Hosts = func() (api.Hosts, error) { return liar{status, body}, nil }
		for _, extra := range [][]string{nil, {"--json"}} {
			ctx, cancel := context.WithTimeout(t.Context(), fuzzWait)
			code := Main(ctx, sys, append(slices.Clone(asking[int(which)%len(asking)]), extra...))
			cancel()
			checkOutput(t, code, out.String(), errs.String())
			out.Reset()
			errs.Reset()
		}
	})
}
