package arena

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"klink/internal/arch"
	"klink/internal/diag"
)

const small = 16 * Align // 256 KiB of text, 256 of tables, 512 of data

func open(t testing.TB, cfg Config) *Arena {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func mustAlloc(t testing.TB, a *Arena, r Region, size, align uint64) uint64 {
	t.Helper()
	at, err := a.Alloc(r, size, align)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestPlace(t *testing.T) {
	seen := map[uint64]bool{}
	for range 50 {
		a := open(t, Config{Machine: arch.AMD64})
		if a.Size() != DefaultSize || a.Base()%Align != 0 || a.Base() < MinBase || a.Base()+a.Size() > Limit {
			t.Fatalf("base %#x size %#x", a.Base(), a.Size())
		}
		seen[a.Base()] = true
	}
	if len(seen) < 2 {
		t.Error("the base is not chosen at random")
	}

	a := open(t, Config{Machine: arch.ARM64, Base: 0x20000000})
	var spans []string
	for r := range Region(Regions) {
		lo, hi := a.Span(r)
		spans = append(spans, fmt.Sprintf("%s %#x-%#x", r, lo, hi))
	}
	if got, want := strings.Join(spans, ", "), "text 0x20000000-0x28000000, tables 0x28000000-0x30000000, data 0x30000000-0x40000000"; got != want {
		t.Errorf("spans %s, want %s", got, want)
	}
	if a.Machine() != arch.ARM64 {
		t.Error(a.Machine())
	}

	// A size that four does not divide: data takes the rest; the highest base there is.
	a = open(t, Config{Machine: arch.AMD64, Base: Limit - 7*Align, Size: 7 * Align})
	lo, hi := a.Span(Data)
	if lo != Limit-5*Align || hi != Limit {
		t.Errorf("data %#x-%#x", lo, hi)
	}
	open(t, Config{Machine: arch.AMD64, Base: MinBase, Size: Limit - MinBase}) // the largest
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		kind error
	}{
		{Config{}, diag.ErrMachine},
		{Config{Machine: 3}, diag.ErrMachine},
		{Config{Machine: arch.AMD64, Size: DefaultSize + 1}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Size: 3 * Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Size: Limit - MinBase + Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Size: ^uint64(Align - 1)}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: MinBase + 4096}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: MinBase - Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: Limit - DefaultSize + Align}, diag.ErrUsage},
		{Config{Machine: arch.AMD64, Base: ^uint64(Align - 1)}, diag.ErrUsage},
	} {
		a, err := New(c.cfg)
		if !errors.Is(err, c.kind) || a != nil {
			t.Errorf("%+v: %v, want %v", c.cfg, err, c.kind)
		}
	}
}

// TestNoSpaceSaysTheNumbers also sees that a refused request changes nothing.
func TestNoSpaceSaysTheNumbers(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Size: small})
	mustAlloc(t, a, Tables, 4*Align-96, 8)
	_, err := a.Alloc(Tables, 100, 16)
	if !errors.Is(err, diag.ErrNoSpace) {
		t.Fatal(err)
	}
	want := "tables: no room for 100 bytes aligned to 16: 96 of 262144 bytes are free, the largest hole has 96 (--arena-size sets the size at boot)"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, err := a.Alloc(Text, 8, 3); !errors.Is(err, diag.ErrUsage) {
		t.Error(err)
	}
	mustAlloc(t, a, Tables, 96, 0)
}

// TestContents: text reads as trap instructions, also in the gaps beside blocks;
// the others as zeros; after a free just the same.
func TestContents(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.ARM64} {
		a := open(t, Config{Machine: m, Size: small})
		trap := m.Facts().TrapBytes
		isTrap := func(what string, at, n uint64) {
			t.Helper()
			b := a.Bytes(at, n)
			if b == nil || !bytes.Equal(b, bytes.Repeat(trap, int(n)/len(trap))) {
				t.Errorf("%v: %s is not trap instructions: % x…", m, what, b[:min(len(b), 16)])
			}
		}
		first := mustAlloc(t, a, Text, 20, 4)
		second := mustAlloc(t, a, Text, Align+8, 4096)
		isTrap("a block", first, 24)
		isTrap("the gap", first+24, second-first-24)
		isTrap("a block over two chunks", second, Align+8)
		isTrap("what follows in its page", second+Align+8, 4096)
		copy(a.Bytes(first, 20), bytes.Repeat([]byte{0x90}, 20))
		third := mustAlloc(t, a, Text, 64, 16)
		isTrap("a block in a used page", third, 64)
		if a.Bytes(first, 20)[19] != 0x90 {
			t.Error("filling went over a live block")
		}
		for i := range a.Bytes(second, Align+8) {
			a.Bytes(second, Align+8)[i] = 0x90
		}
		a.Free(Text, second, Align+8)
		isTrap("freed text", second, Align+8)
		a.Free(Text, first, 20)
		isTrap("freed text", first, 24)

		for _, r := range []Region{Tables, Data} {
			at := mustAlloc(t, a, r, 3*Align, 8)
			b := a.Bytes(at, 3*Align)
			for i := range b {
				b[i] = 0xaa
			}
			a.Free(r, at, 3*Align)
			if b := a.Bytes(at, 3*Align); !bytes.Equal(b, make([]byte, len(b))) {
				t.Errorf("%v: freed %s is not zero", m, r)
			}
		}
		// What the runner scribbled into free data is gone when it is handed out.
		lo, hi := a.Span(Data)
		free := a.Bytes(lo, hi-lo)
		for i := range free {
			free[i] = 0xbb
		}
		at := mustAlloc(t, a, Data, 2*Align+24, 16)
		if b := a.Bytes(at, 2*Align+24); !bytes.Equal(b, make([]byte, len(b))) {
			t.Error("fresh data is not zero")
		}
		if a.Bytes(at+2*Align+24, 1)[0] != 0xbb {
			t.Error("zeroing went beyond the block")
		}
	}
}

// TestContentsRandom: whatever the order of calls, every block keeps the bytes its
// owner wrote, and comes fresh.
func TestContentsRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := New(Config{Machine: arch.ARM64, Size: minSize})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		fresh := [Regions][]byte{arch.ARM64.Facts().TrapBytes, {0}, {0}}
		type owned struct {
			r        Region
			at, size uint64
			mark     byte
		}
		var live []owned
		check := func(o owned) {
			if b := a.Bytes(o.at, o.size); !bytes.Equal(b, bytes.Repeat([]byte{o.mark}, int(o.size))) {
				t.Fatalf("%s block %#x+%d lost its bytes", o.r, o.at, o.size)
			}
		}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(live) > 0 && rapid.IntRange(0, 2).Draw(t, "op") == 0 {
				k := rapid.IntRange(0, len(live)-1).Draw(t, "which")
				check(live[k])
				a.Free(live[k].r, live[k].at, live[k].size)
				live = append(live[:k], live[k+1:]...)
				continue
			}
			o := owned{
				r:    Region(rapid.IntRange(0, Regions-1).Draw(t, "region")),
				size: rapid.Uint64Range(1, 20000).Draw(t, "size"),
				mark: byte(i + 1),
			}
			o.at, err = a.Alloc(o.r, o.size, 1<<rapid.IntRange(0, 13).Draw(t, "align"))
			if errors.Is(err, diag.ErrNoSpace) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			b := a.Bytes(o.at, o.size)
			for j := range b {
				if f := fresh[o.r]; b[j] != f[j%len(f)] {
					t.Fatalf("%s block %#x+%d is not fresh: %#x at %d", o.r, o.at, o.size, b[j], j)
				}
				b[j] = o.mark
			}
			live = append(live, o)
		}
		for _, o := range live {
			check(o)
		}
	})
}

func TestBytes(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Base: 0x20000000, Size: small})
	mustAlloc(t, a, Text, small/4, 0) // or it would not be there
	for r := range Region(Regions) {
		lo, hi := a.Span(r)
		if b := a.Bytes(lo, hi-lo); uint64(len(b)) != hi-lo || uint64(cap(b)) != hi-lo {
			t.Errorf("%s: %d bytes", r, len(b))
		}
		if b := a.Bytes(hi-1, 1); len(b) != 1 {
			t.Errorf("%s: no last byte", r)
		}
		if b := a.Bytes(lo, 0); b == nil || len(b) != 0 {
			t.Errorf("%s: %v for no bytes", r, b)
		}
		if a.Bytes(hi-1, 2) != nil || a.Bytes(lo, hi-lo+1) != nil || a.Bytes(hi-1, ^uint64(0)) != nil {
			t.Errorf("%s: a range that leaves the region", r)
		}
		// The regions' views are different memory.
		a.Bytes(lo, 1)[0] = byte(r) + 1
	}
	for r := range Region(Regions) {
		if lo, _ := a.Span(r); a.Bytes(lo, 1)[0] != byte(r)+1 {
			t.Errorf("%s: its first byte is another region's", r)
		}
	}
	if a.Bytes(0x20000000-1, 1) != nil || a.Bytes(0x20000000+small, 1) != nil || a.Bytes(^uint64(0), 1) != nil || a.Bytes(0, 1) != nil {
		t.Error("bytes outside of the arena")
	}
}

func TestStats(t *testing.T) {
	a := open(t, Config{Machine: arch.AMD64, Base: 0x20000000, Size: small})
	x := mustAlloc(t, a, Tables, 100, 8) // rounded up to 104
	y := mustAlloc(t, a, Tables, 8, 64)
	a.Free(Tables, x, 100)
	const size = 4 * Align
	want := RegionStats{
		Region: Tables, Lo: 0x20000000 + size, Hi: 0x20000000 + 2*size,
		Used: 8, Free: size - 8, Largest: size - 136, High: 136, Blocks: 1, Holes: 2,
	}
	if got := a.Stats()[Tables]; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	a.Free(Tables, y, 8)
	want.Used, want.Free, want.Largest, want.Blocks, want.Holes = 0, size, size, 0, 1
	if got := a.Stats()[Tables]; got != want {
		t.Errorf("after all was freed:\ngot  %+v\nwant %+v", got, want)
	}
}

func BenchmarkTextGrows(b *testing.B) {
	var a *Arena
	for b.Loop() {
		if a == nil || a.region[Text].end == a.region[Text].hi {
			b.StopTimer()
			a = open(b, Config{Machine: arch.AMD64, Size: 256 << 20})
			b.StartTimer()
		}
		if err := a.growText(a.region[Text].end + 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkModule is the arena's part of loading and unloading a small module.
func BenchmarkModule(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := open(b, Config{Machine: arch.AMD64})
			load := func() (at [Regions]uint64) {
				at[Text] = mustAlloc(b, a, Text, 3000, 16)
				at[Tables] = mustAlloc(b, a, Tables, 900, 16)
				at[Data] = mustAlloc(b, a, Data, 500, 16)
				return at
			}
			for range n {
				load()
			}
			for b.Loop() {
				at := load()
				a.Free(Text, at[Text], 3000)
				a.Free(Tables, at[Tables], 900)
				a.Free(Data, at[Data], 500)
			}
		})
	}
}
