package stories

import (
	"slices"
	"testing"

	"klink/internal/testing/words"
)

// The layout of struct layers (testdata/objs/layers/layers.h, which asserts the same).
const (
	layersSettled = 0x00
	layersPending = 0x08
	layersStop    = 0x10
	layersThread  = 0x40
	layersLog     = 0x440
	layersEpochs  = 4096

	layersThreadSize                               = 0x40
	layersCalls, layersWrong                       = 0x00, 0x08
	layersWrongValue, layersWrongLo, layersWrongHi = 0x18, 0x20, 0x28
)

// layerFiles are the three layers: the mail's weak alias, __refine_alias, and records to
// functions of another object. The index is the digit less 1.
var layerFiles = [][]string{{"one.kmod"}, {"two.kmod"}, {"three.kmod", "three_impl.o"}}

var layerNames = []string{"one", "two", "three"}

// stack returns a stack of layers as the log has it: the digits, oldest first.
func stack(list []uint64) (n uint32) {
	for _, d := range list {
		n = n*10 + uint32(d)
	}
	return n
}

// permutations returns all orders of the three layers' digits.
func permutations() (all [][]uint64) {
	for a := uint64(1); a <= 3; a++ {
		for b := uint64(1); b <= 3; b++ {
			if a != b {
				all = append(all, []uint64{a, b, 6 - a - b})
			}
		}
	}
	return all
}

// layers is the second story under way.
type layers struct {
	*world
	mem    words.Words // struct layers
	jobs   []int       // a thread each
	loaded []uint64    // digits of the layers, oldest first
	epoch  uint64
}

// beginLayers boots the kernel of the layers and starts its threads.
func beginLayers(t *testing.T) *layers {
	t.Helper()
	w := boot(t, "layers")
	l := &layers{world: w, mem: w.shared("layers")}
	for slot := range uint64(threads) {
		l.jobs = append(l.jobs, w.start(1, "kernel:layers_run", slot))
	}
	return l
}

// of reads a word of a thread.
func (l *layers) of(slot int, off uint64) uint64 {
	return l.mem.Load64(layersThread + uint64(slot)*layersThreadSize + off)
}

// change makes a command, which leaves those layers. When it returns each thread has gone
// through them, and found nothing else.
func (l *layers) change(next []uint64, command func()) {
	l.t.Helper()
	if l.epoch++; l.epoch >= layersEpochs {
		l.t.Fatal("more epochs than the log holds")
	}
	l.mem.Store32(layersLog+l.epoch*4, stack(next))
	l.mem.Store64(layersPending, l.epoch)
	command()
	l.mem.Store64(layersSettled, l.epoch)
	l.loaded = next
	for slot := range threads {
		before := l.of(slot, layersCalls)
		l.until(func() bool { return l.of(slot, layersCalls) > before+4 })
		if n := l.of(slot, layersWrong); n > 0 {
			lo, hi := l.of(slot, layersWrongLo), l.of(slot, layersWrongHi)
			l.t.Fatalf("after command %d, layers %d: %d calls of thread %d went wrong; the first passed %d, between epochs %d and %d (layers %d and %d)",
				l.epoch, stack(next), n, slot, l.of(slot, layersWrongValue), lo, hi, l.mem.Load32(layersLog+4*lo), l.mem.Load32(layersLog+4*hi))
		}
	}
	l.call(int64(stack(next)), "layers_read")
}

// TestLayersInEveryOrder loads three layers in every order and unloads them in every
// order, while threads read and write through them and look at which they passed.
func TestLayersInEveryOrder(t *testing.T) {
	l := beginLayers(t)
	for _, up := range permutations() {
		for _, down := range permutations() {
			for _, d := range up {
				l.change(append(slices.Clone(l.loaded), d), func() { l.load(layerFiles[d-1]...) })
			}
			for _, d := range down {
				left := slices.DeleteFunc(slices.Clone(l.loaded), func(o uint64) bool { return o == d })
				l.change(left, func() { l.unload(layerNames[d-1]) })
			}
		}
	}
	l.mem.Store32(layersStop, 1)
	calls := uint64(0)
	for slot, j := range l.jobs {
		l.wait(j, 0)
		calls += l.of(slot, layersCalls)
	}
	if l.epoch != 6*6*6 {
		t.Errorf("%d commands", l.epoch)
	}
	t.Logf("%d commands, %d calls", l.epoch, calls)
}

// TestWrongLayersAreFound tells the threads of layers that are not there: each must
// complain.
func TestWrongLayersAreFound(t *testing.T) {
	l := beginLayers(t)
	l.load(layerFiles[0]...)
	l.mem.Store32(layersLog+4, stack([]uint64{2, 1}))
	l.mem.Store64(layersPending, 1)
	l.mem.Store64(layersSettled, 1)
	for slot := range threads {
		l.until(func() bool { return l.of(slot, layersWrong) > 0 })
		if v := l.of(slot, layersWrongValue); v != 1 && v != 0 {
			t.Errorf("thread %d passed %d", slot, v)
		}
	}
	l.mem.Store32(layersStop, 1)
}
