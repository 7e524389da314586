package stories

import (
	"errors"
	"testing"

	"klink/internal/diag"
	"klink/internal/kernel"
	"klink/internal/testing/words"
)

// The layout of struct net (testdata/objs/net/net.h), bytes.
const (
	netHold       = 0x04
	netSeen       = 0x08
	netByMutex    = 0x10
	netCaught     = 0x18
	netThread     = 0x40
	netThreadSize = 0x40
	netThreads    = 1024

	netSent, netStub, netTapped, netWrong = 0x00, 0x08, 0x10, 0x18 // in a thread
)

// What a reader gets when the filter goes away.
const enxio = -6

// quiet is an interface without traffic: who waits for a packet there sleeps.
const quiet = 1

// network is the first story under way: a kernel whose driver has traffic.
type network struct {
	*world
	net words.Words // struct net
	job int         // the traffic
}

// begin boots the network and starts its traffic; both end with the test, which
// fails then if a single packet's call went wrong.
func begin(t *testing.T) *network {
	t.Helper()
	w := boot(t, "net")
	n := &network{world: w, net: w.shared("net")}
	n.job = w.start(threads, "net_traffic", 0, 0)
	n.more(netStub)
	return n
}

// sum adds up a word of all threads.
func (n *network) sum(field uint64) (sum uint64) {
	for i := range uint64(netThreads) {
		sum += n.net.Load64(netThread + i*netThreadSize + field)
	}
	return sum
}

// more waits until a count has risen.
func (n *network) more(field uint64) {
	n.t.Helper()
	before := n.sum(field)
	n.until(func() bool { return n.sum(field) > before+100 })
}

// end ends the traffic and accounts for every packet. No filter may be loaded.
func (n *network) end() {
	n.t.Helper()
	n.call(0, "net_stop", 1)
	n.wait(n.job, 0)
	sent, stub, tapped, seen, wrong := n.sum(netSent), n.sum(netStub), n.sum(netTapped), n.net.Load64(netSeen), n.sum(netWrong)
	if sent != stub+tapped || tapped != seen || wrong != 0 {
		n.t.Errorf("%d packets sent: the stub had %d, %d were tagged, of which the filters have seen %d; %d had a wrong tag", sent, stub, tapped, seen, wrong)
	}
	n.t.Logf("%d packets sent, %d of them to filters; by the mutex %d", sent, tapped, n.net.Load64(netByMutex))
}

// TestUnloadUnderTraffic loads and unloads the filter again and again while there is
// traffic and threads sleep inside, a kernel thread in bpf_attach itself among them.
func TestUnloadUnderTraffic(t *testing.T) {
	const rounds, readers = 20, 3
	n := begin(t)
	for range rounds {
		n.load("bpf.kmod")
		n.more(netTapped)
		job := n.start(readers, "bpf_read", quiet)
		n.call(0, "net_attach", quiet)
		n.call(readers+1, "bpf_asleep", readers+1)
		n.unload("bpf")
		n.wait(job, enxio)
		n.more(netStub)
	}
	if c := n.net.Load64(netCaught); c != rounds {
		t.Errorf("%d times in CATCH", c)
	}
	n.end()
}

// TestPacketWakesReaders checks what the sleepers of the other tests sleep for.
func TestPacketWakesReaders(t *testing.T) {
	n := begin(t)
	n.load("bpf.kmod")
	job := n.start(1, "bpf_read", quiet)
	n.call(1, "bpf_asleep", 1)
	n.call(0, "net_traffic", quiet, 1)
	n.wait(job, 1)
	n.unload("bpf")
	n.end()
}

// TestMutexPath holds an unload between CATCH and the re-link, and looks whether the
// threads that enter meanwhile do so by the gate's mutex, and are all counted.
func TestMutexPath(t *testing.T) {
	n := begin(t)
	n.load("bpf_held.kmod")
	n.more(netTapped)
	if m := n.net.Load64(netByMutex); m != 0 {
		t.Errorf("%d went by the mutex before CATCH", m)
	}
	reader := n.start(1, "bpf_read", quiet)
	n.call(1, "bpf_asleep", 1)
	n.net.Store32(netHold, 1)
	unloaded := make(chan error, 1)
	go func() { unloaded <- n.tryUnload("bpf_held") }()
	rises := func(off uint64) {
		t.Helper()
		before := n.net.Load64(off)
		n.until(func() bool {
			select {
			case err := <-unloaded:
				t.Fatalf("unloaded while it was held: %v", err)
			default:
			}
			return n.net.Load64(off) > before+100
		})
	}
	rises(netByMutex)
	// It is not re-linked: packets still go there.
	n.more(netTapped)
	rises(netByMutex)
	for _, m := range n.List() {
		if m.Name == "bpf_held" && m.State != "catching" {
			t.Errorf("bpf_held is %s", m.State)
		}
	}
	n.net.Store32(netHold, 0)
	if err := <-unloaded; err != nil {
		t.Fatal(err)
	}
	n.wait(reader, enxio)
	n.more(netStub)
	n.end()
}

// TestRefusedUnderTraffic has FINI refuse again and again, since a thread inside cannot
// be woken: each time the filter is put back, and goes on with what it does.
func TestRefusedUnderTraffic(t *testing.T) {
	const rounds, limit = 3, 250_000_000
	n := begin(t)
	n.load("bpf.kmod")
	dump := n.start(1, "bpf_dump", quiet)
	n.call(1, "net_disk_asleep", 1)
	for refused := 0; refused < rounds; {
		_, err := n.Unload(t.Context(), kernel.UnloadRequest{Modules: []string{"bpf"}, Wait: limit})
		switch {
		case errors.Is(err, diag.ErrRefused):
			refused++
		case !errors.Is(err, diag.ErrBusy): // on a busy machine not every thread is seen outside so soon
			t.Fatal(err)
		}
		n.more(netTapped)
	}
	n.call(1, "net_disk_ready")
	n.wait(dump, 0)
	n.unload("bpf")
	n.end()
}
