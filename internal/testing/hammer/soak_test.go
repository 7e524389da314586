package main

import (
	"bytes"
	"flag"
	"strings"
	"testing"
)

// soakCycles is for a soak where there is no Go: make test-arm64.
var soakCycles = flag.Int("soak", 0, "how many loads and unloads TestSoak makes; 0: a few, with two looks")

// TestSoak is the soak, short.
func TestSoak(t *testing.T) {
	cycles, looks := 90, 3
	if *soakCycles > 0 {
		cycles, looks = *soakCycles, 20
	}
	h, err := start(t.Context(), config{objs: objs, threads: 1, seed: 5, arena: soakArena, soak: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	if err := h.soak(cycles, max(cycles/looks, 1), &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	packets, err := h.account()
	if err != nil || packets == 0 {
		t.Errorf("%d packets, %v", packets, err)
	}
	if n := strings.Count(out.String(), "\n"); n < looks || h.wrong() > 0 {
		t.Errorf("%d wrong, %d lines:\n%s", h.wrong(), n, &out)
	}
	if *soakCycles > 0 {
		t.Logf("%d switches, %d traps, %d calls, %d packets\n%s", h.switched, h.traps, h.calls(), packets, &out)
	}
}

// TestGrown: what has grown is told.
func TestGrown(t *testing.T) {
	base := sample{cycle: 1000, host: usage{rss: 100 << 20, fds: 20, maps: 30, task: 8}, runner: usage{rss: 1 << 20, maps: 276, task: 129}, entries: 9}
	s := base
	s.cycle = 2000
	if err := s.grown(&base); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		grow func(*sample)
		says string
	}{
		{func(s *sample) { s.host.rss += slack.hostRSS + 1 }, "memory of the host: "},
		{func(s *sample) { s.runner.rss += slack.runnerRSS + 1 }, "memory of the runner: "},
		{func(s *sample) { s.host.fds++ }, "descriptors of the host: 21, after the warm-up 20"},
		{func(s *sample) { s.runner.fds++ }, "descriptors of the runner: 1, after the warm-up 0"},
		{func(s *sample) { s.host.maps += slack.hostMaps + 1 }, "mappings of the host: "},
		{func(s *sample) { s.runner.maps++ }, "mappings of the runner: "},
		{func(s *sample) { s.runner.task++ }, "threads of the runner: "},
		{func(s *sample) { s.host.task += slack.hostTask + 1 }, "threads of the host: "},
		{func(s *sample) { s.arena[2]++ }, "arena region 2: "},
		{func(s *sample) { s.entries++ }, "entries: 10, after the warm-up 9"},
		{func(s *sample) { s.heap += slack.heap + 1 }, "heap: "},
		{func(s *sample) { s.routine += slack.routine + 1 }, "goroutines: "},
		{func(s *sample) { s.wrong = 1 }, "1 calls went wrong"},
	} {
		s := base
		s.cycle = 2000
		c.grow(&s)
		if err := s.grown(&base); err == nil || !strings.Contains(err.Error(), "after 2000 cycles: "+c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
	}
}
