package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klink/internal/diag"
)

// Kill it anywhere: a load or an unload goes wrong at each of its fault points, while a
// thread calls through the sites.

// saboteur is what comes by the fault points.
type saboteur struct {
	mu    sync.Mutex
	on    bool
	seen  []faultPoint // while it was on
	wrong func(n int, p faultPoint) error
}

func (s *saboteur) fault(p faultPoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		return nil
	}
	s.seen = append(s.seen, p)
	if s.wrong == nil {
		return nil
	}
	return s.wrong(len(s.seen)-1, p)
}

// set turns it on, with what goes wrong, or off.
func (s *saboteur) set(on bool, wrong func(int, faultPoint) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on, s.wrong = on, wrong
}

var errSabotage = diag.New(diag.ErrIO, "", "sabotage")

// scene is a command, what is loaded when it is given, and what trial_f returns before
// and afterwards.
type scene struct {
	name          string
	loaded        []string
	ills          []ill
	load, unload  []string
	before, after uint32
	between       []uint32 // what it may return besides, to calls that a switch overtakes, too
}

var scenes = []scene{
	{"load", []string{"refine"}, nil, []string{"base", "over", "layer", "user", "plain"}, nil, 4, 257, nil},
	{"load, INIT refuses", []string{"refine"}, []ill{{"user", cmdInit, byErrno}}, []string{"base", "over", "user", "plain"}, nil, 4, 4, nil},
	{"unload", []string{"refine", "over", "layer"}, nil, nil, []string{"over"}, 25, 45, nil},
	{"unload of several", []string{"refine", "base", "over", "layer", "user", "plain"}, nil, nil, []string{"base", "over", "plain", "user"}, 257, 45, []uint32{457, 25}},
	{"unload, FINI refuses", []string{"refine", "over", "layer"}, []ill{{"over", cmdFini, byErrno}}, nil, []string{"over"}, 25, 25, []uint32{45}},
	{"unload of several, the second refuses", []string{"over", "refine", "layer"}, []ill{{"refine", cmdFini, byErrno}}, nil, []string{"refine", "layer"}, 245, 24, []uint32{2, 25}},
}

// play gives the command.
func (s *scene) play(tr *trial) error {
	if s.load == nil {
		return tr.unload(trialWait, s.unload...)
	}
	return tr.load(s.load...)
}

// way is how a step goes wrong.
type way struct {
	name  string
	at    int        // the step's number; -1: whenever it is point
	point faultPoint // for messages, and if at is -1
	kills bool
	err   error
}

// wrong makes what a saboteur does.
func (w way) wrong(tr *trial) func(int, faultPoint) error {
	return func(n int, p faultPoint) error {
		if w.at >= 0 && n != w.at || w.at < 0 && p != w.point {
			return nil
		}
		if w.kills && tr.live.lost() == nil {
			if err := unix.Kill(tr.live.run.Pid(), unix.SIGKILL); err != nil {
				tr.tb.Error(err)
			}
			if w.err == nil { // else it dies beside what follows
				<-tr.live.run.Gone()
			}
		}
		return w.err
	}
}

// ways lists how each of the steps that were seen can go wrong.
func ways(seen []faultPoint) (list []way) {
	first := map[faultPoint]bool{}
	for n, p := range seen {
		list = append(list, way{"error once", n, p, false, errSabotage}, way{"kill", n, p, true, nil})
		if !first[p] {
			list = append(list, way{"error always", -1, p, false, errSabotage}, way{"kill, error", n, p, true, errSabotage})
		}
		first[p] = true
	}
	return list
}

func TestAnywhere(t *testing.T) {
	t.Run("first", func(t *testing.T) { newTrial(t, 4, nil) }) // Go's runtime makes descriptors of its own
	goroutines, fds := runtime.NumGoroutine(), countFds(t)
	never := slices.Clone(faultPoints)
	var mu sync.Mutex
	t.Run("scenes", func(t *testing.T) {
		for _, s := range scenes {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				seen := s.steps(t)
				for _, w := range ways(seen) {
					t.Run(fmt.Sprintf("%s at %d, %s", w.name, w.at, w.point), func(t *testing.T) { s.test(t, w) })
				}
				mu.Lock()
				defer mu.Unlock()
				never = slices.DeleteFunc(never, func(p faultPoint) bool { return slices.Contains(seen, p) })
			})
		}
	})
	if len(never) > 0 {
		t.Errorf("never came by %q", never)
	}
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines || countFds(t) > fds; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines and %d descriptors, before %d and %d", runtime.NumGoroutine(), countFds(t), goroutines, fds)
		}
	}
}

// steps plays the scene without a fault and returns the fault points that it came by.
func (s *scene) steps(t *testing.T) []faultPoint {
	t.Helper()
	sab := &saboteur{}
	tr := s.begin(t, sab)
	sab.set(true, nil)
	err := s.play(tr)
	sab.set(false, nil)
	if (err != nil) != (len(s.ills) > 0) {
		t.Fatal(err)
	}
	if v := tr.value("trial_call", 0); v != int64(s.after) {
		t.Fatalf("trial_f returns %d, not %d", v, s.after)
	}
	return sab.seen
}

func countFds(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// begin makes the host and what is loaded.
func (s *scene) begin(t *testing.T, sab *saboteur) *trial {
	t.Helper()
	tr := newTrial(t, 4, sab.fault)
	for _, m := range s.loaded {
		tr.mustLoad(m)
	}
	for _, i := range s.ills {
		tr.behave(i.module, i.cmd, i.how)
	}
	tr.values(append(s.between, s.before, s.after)...)
	return tr
}

func (s *scene) test(t *testing.T, w way) {
	sab := &saboteur{}
	tr := s.begin(t, sab)
	calm := tr.traffic()
	tr.more()
	before := tr.shape()
	sab.set(true, w.wrong(tr))
	err := s.play(tr)
	tr.sound(t)
	if tr.live.lost() != nil || w.kills {
		<-tr.live.run.Gone()
		sab.set(false, nil)
		s.lost(t, tr, w, err)
		return
	}
	tr.more()
	if w.at < 0 && slices.ContainsFunc(tr.states(), func(s string) bool { return strings.HasSuffix(s, stateDraining) }) {
		if !errors.Is(err, diag.ErrDraining) {
			t.Errorf("%v are draining, and the command says %v", tr.states(), err)
		}
		switch w.point { // what goes on going wrong keeps them there
		case faultReclaim:
			tr.mu.Lock()
			why := tr.reapedWhy()
			tr.mu.Unlock()
			if why == "" {
				t.Error("who is draining does not say why")
			}
		}
	}
	sab.set(false, nil)
	tr.until("drained", func() bool {
		return !slices.ContainsFunc(tr.states(), func(s string) bool { return strings.HasSuffix(s, stateDraining) })
	})
	s.whole(t, tr, before, err)
	tr.sound(t)
	tr.more()
	if n := calm(); n != 0 {
		t.Errorf("%d calls went wrong: %d", n, tr.mem.Load64(trialBad))
	}
	s.afterwards(t, tr)
}

// reapedWhy returns why the first draining module is.
func (tr *trial) reapedWhy() string {
	for _, m := range tr.inOrder() {
		if m.state == stateDraining {
			return m.why
		}
	}
	return "it has drained"
}

// whole checks that the change is whole, or absent, and that the command said which.
func (s *scene) whole(t *testing.T, tr *trial, before *shape, err error) {
	t.Helper()
	var names, gone []string
	for _, m := range s.loaded {
		if !slices.Contains(s.unload, m) || tr.stateOf(m) != "" {
			names = append(names, m+": live")
		} else {
			gone = append(gone, m)
		}
	}
	loaded := s.load != nil && tr.stateOf(s.load[0]) != ""
	if loaded {
		for _, m := range s.load {
			names = append(names, m+": live")
		}
	}
	if got := tr.states(); !slices.Equal(got, names) {
		t.Errorf("%v, want %v", got, names)
	}
	done := loaded || len(s.unload) > 0 && len(gone) == len(s.unload)
	switch {
	case done && err != nil && !errors.Is(err, diag.ErrDraining):
		t.Errorf("all was done, and the command says %v", err)
	case !done && err == nil:
		t.Errorf("the command says nothing, and %v are there", names)
	case !done && len(gone) > 0: // of several; which ones, the command says
		for _, m := range gone {
			if !strings.Contains(err.Error(), m) {
				t.Errorf("%s is gone, and the command says %v", m, err)
			}
		}
	case !done:
		if d := diff(before, tr.shape()); d != "" {
			t.Errorf("the command says\n%v\nbut something changed:\n%s", err, d)
		}
	}
}

// afterwards checks that the next commands work, and that nothing stays behind.
func (s *scene) afterwards(t *testing.T, tr *trial) {
	t.Helper()
	for _, i := range s.ills {
		tr.behave(i.module, i.cmd, asItShould)
	}
	var names []string
	for _, m := range tr.List() {
		if m.Name != KernelName {
			names = append(names, m.Name)
		}
	}
	if len(names) > 0 {
		if err := tr.unload(trialWait, names...); err != nil {
			t.Fatalf("afterwards: %v", err)
		}
	}
	empty := tr.shape()
	tr.mustLoad(append(s.loaded, s.load...)...)
	tr.sound(t)
	if err := tr.unload(trialWait, append(s.loaded, s.load...)...); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	if now := tr.shape(); now.Used != empty.Used || len(now.Host.Sites) > len(empty.Host.Sites)+len(trialModules)+2 {
		t.Errorf("something stays behind: %+v, %+v", now.Used, empty.Used)
	}
}

// lost checks a host whose runner has died: the command said so, or that it failed; no
// other one pretends to work; and the host goes on answering.
func (s *scene) lost(t *testing.T, tr *trial, w way, err error) {
	t.Helper()
	if w.err == nil && !errors.Is(err, diag.ErrLost) || err == nil {
		t.Errorf("the runner has died, and the command says %v", err)
	}
	for what, err := range map[string]error{
		"load":   tr.load("over2"),
		"unload": tr.unload(trialWait, s.loaded[0]),
		"call":   func() error { _, err := tr.Call(t.Context(), CallRequest{Function: "trial_call"}); return err }(),
	} {
		if !errors.Is(err, diag.ErrLost) || !strings.Contains(err.Error(), "klink boot") {
			t.Errorf("%s afterwards: %v", what, err)
		}
	}
	for _, m := range tr.List() {
		if m.State != stateLost {
			t.Errorf("%s is %s", m.Name, m.State)
		}
	}
	tr.sound(t)
}

// sound checks that every site and every entry leads into the text of a module that is
// there, to the provider that the stacks say if its own module is live, or is a trap.
func (tr *trial) sound(t *testing.T) {
	t.Helper()
	current := map[string]AliasProvider{}
	list, err := tr.Alias(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		for _, p := range a.Providers {
			if p.Current {
				current[a.Symbol] = p
			}
		}
	}
	sites, err := tr.Sites(SitesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]string{"": stateLive}
	for _, m := range tr.List() {
		state[m.Name] = m.State
	}
	for _, s := range sites {
		switch {
		case s.Target == 0 && s.Module == "": // an entry that leads nowhere is a trap
			if !traps(HostMachine(), tr.arena.Bytes(uint64(s.Addr), tr.entries.size)) {
				t.Errorf("the entry of %s is neither a trap nor a jump", s.Symbol)
			}
		case state[s.Provider] == "" || s.Provider == "":
			t.Errorf("the site of %s at %v in %s leads to %v, where nobody is", s.Symbol, s.Addr, s.Module, s.Target)
		case state[s.Module] == stateLive && !strings.HasPrefix(s.Symbol, "super_") && current[s.Symbol].Addr != s.Target:
			t.Errorf("the site of %s at %v in %s leads to %v of %s, not to %+v", s.Symbol, s.Addr, s.Module, s.Target, s.Provider, current[s.Symbol])
		}
	}
}

// TestHaltAnywhere: the host is closed at each step of a load and of an unload. The
// command ends, and says that it was not done to the end.
func TestHaltAnywhere(t *testing.T) {
	for _, s := range []*scene{&scenes[0], &scenes[3], &scenes[5]} {
		for n := range s.steps(t) {
			sab := &saboteur{}
			tr := s.begin(t, sab)
			closed := make(chan error, 1)
			atOnce := false
			sab.set(true, func(at int, _ faultPoint) error {
				if at != n {
					return nil
				}
				run := tr.live.run
				// Close waits for steps that hold the lock. Of the others every second one
				// finds the runner gone, and the rest go on beside it.
				if atOnce = n%2 == 0 && tr.mu.TryLock(); atOnce {
					tr.mu.Unlock()
				}
				go func() { closed <- tr.Close() }()
				if atOnce {
					<-run.Gone()
				}
				return nil
			})
			if err := s.play(tr); err == nil && atOnce {
				t.Errorf("%s, step %d: nothing is said", s.name, n)
			}
			if err := <-closed; err != nil {
				t.Errorf("%s, step %d: %v", s.name, n, err)
			}
		}
	}
}
