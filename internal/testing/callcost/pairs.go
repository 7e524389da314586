package main

import (
	"fmt"

	"klink/internal/kernel"
	"klink/internal/testing/words"
)

// The layout of struct pairs (testdata/objs/callcost/pairs.c, which asserts it), bytes.
const (
	offCame  = 0x00
	offMet   = 0x04
	offPairs = 0x40

	maxPairRounds = 256
	pairThreads   = 2
	pairsSize     = offPairs + pairThreads*maxPairRounds*ways*8
)

// The ways to say that a thread is inside, by their index in pairs.c.
const (
	wayNothing = iota
	wayGate
	wayRef
	wayLocal
	wayAtomic
	wayMutex
	ways
)

// pairRows are the lines of the table of pairs.
var pairRows = []struct {
	name string
	way  int
}{
	{"two calls that do nothing", wayNothing},
	{"a per-CPU counter, percpu_ref", wayRef},
	{"a per-CPU counter, localcount", wayLocal},
	{"a gate", wayGate},
	{"an atomic counter", wayAtomic},
	{"a mutex", wayMutex},
}

// pairs prints what it costs to go in and out, in each way: one thread alone, and two
// at the same time. Ratios are to the gate's in the same round.
func (b *bench) pairs(rounds, pairs int) error {
	if rounds < 1 || rounds > maxPairRounds || pairs < 1 {
		return fmt.Errorf("%d rounds of %d pairs", rounds, pairs)
	}
	if _, err := b.load("pairs", b.file("pairs.kmod")); err != nil {
		return err
	}
	at, size, err := b.symbol("pairs", "pairs")
	if err != nil {
		return err
	}
	if size != pairsSize {
		return fmt.Errorf("struct pairs has %d bytes, not %d: build the fixtures again", size, pairsSize)
	}
	shared := words.Words(b.k.Data(at, size))
	if err := b.callOf("pairs:pairs_init"); err != nil {
		return err
	}
	var runs [pairThreads]pairTimes // by the number of threads less 1
	for n := range runs {
		if err := b.timePairs(&runs[n], shared, n+1, rounds, pairs); err != nil {
			return err
		}
	}
	if err := b.callOf("pairs:pairs_end"); err != nil {
		return err
	}
	if _, err := b.unload("pairs"); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "to go in and out: medians of %d rounds of %d pairs of calls each way, in turns\n", rounds, pairs)
	fmt.Fprintf(b.out, "%-32s %-29s  %s\n", "", "one thread", "two threads, each")
	fmt.Fprintf(b.out, "%-32s", "in and out by")
	for range runs {
		fmt.Fprintf(b.out, " %10s %7s %11s", "median", "ratio", "10 %–90 %")
	}
	fmt.Fprintln(b.out)
	for _, r := range pairRows {
		fmt.Fprintf(b.out, "%-32s", r.name)
		for n := range runs {
			cost, ratio := runs[n].of(r.way)
			fmt.Fprintf(b.out, " %7.2f ns %7.2f %5.2f–%5.2f", quantile(cost, 0.5), quantile(ratio, 0.5), quantile(ratio, 0.1), quantile(ratio, 0.9))
		}
		fmt.Fprintln(b.out)
	}
	return nil
}

// pairTimes is what a pair took in each way, ns, by round and thread.
type pairTimes [][ways]float64

// of returns what a way took, and the ratios to the gate's of the same round and thread.
func (p pairTimes) of(way int) (cost, ratio []float64) {
	for _, round := range p {
		cost = append(cost, round[way])
		ratio = append(ratio, round[way]/round[wayGate])
	}
	return cost, ratio
}

// timePairs runs all loops on so many threads.
func (b *bench) timePairs(t *pairTimes, shared words.Words, threads, rounds, pairs int) error {
	run := func(rounds int) (*kernel.CallReport, error) {
		shared.Store32(offCame, 0)
		shared.Store32(offMet, 0)
		r := request("", []uint64{uint64(pairs), uint64(rounds), uint64(threads)})
		r.Function, r.Threads = "pairs:pairs_rounds", threads
		rep, err := b.k.Call(b.ctx, r)
		if err == nil {
			err = finished(rep)
		}
		return rep, err
	}
	if _, err := run(min(rounds, 3)); err != nil { // warm up
		return err
	}
	rep, err := run(rounds)
	if err != nil {
		return err
	}
	perSec := float64(rep.Values[0].Value) / float64(rep.Time) * 1e9
	for i := range rounds * threads {
		var round [ways]float64
		for w := range ways {
			ticks := shared.Load64(uint64(offPairs + ((i/rounds*maxPairRounds+i%rounds)*ways+w)*8))
			round[w] = float64(ticks) / float64(pairs) / perSec * 1e9
		}
		*t = append(*t, round)
	}
	return nil
}

// callOf calls a function without arguments.
func (b *bench) callOf(function string) error {
	rep, err := b.k.Call(b.ctx, kernel.CallRequest{Function: function})
	if err != nil {
		return err
	}
	return finished(rep)
}
