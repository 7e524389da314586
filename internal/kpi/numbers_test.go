package kpi_test

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"klink/internal/runner"
)

var two128 = new(big.Int).Lsh(big.NewInt(1), 128)

// wide is a number of 128 bits, without a sign.
type wide struct{ lo, hi uint64 }

func (v wide) unsigned() *big.Int {
	n := new(big.Int).Lsh(new(big.Int).SetUint64(v.hi), 64)
	return n.Or(n, new(big.Int).SetUint64(v.lo))
}

func (v wide) signed() *big.Int {
	n := v.unsigned()
	if v.hi>>63 != 0 {
		n.Sub(n, two128)
	}
	return n
}

// narrow is the inverse: n modulo 2^128.
func narrow(n *big.Int) wide {
	m := new(big.Int).Mod(n, two128)
	lo := new(big.Int).And(m, new(big.Int).SetUint64(^uint64(0)))
	return wide{lo.Uint64(), m.Rsh(m, 64).Uint64()}
}

// operands are numbers near the edges, and random ones of all lengths.
func operands() []wide {
	edges := []uint64{0, 1, 2, 3, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<63 - 1, 1 << 63, 1<<63 + 1, ^uint64(0) - 1, ^uint64(0)}
	var all []wide
	for _, hi := range edges {
		for _, lo := range edges {
			all = append(all, wide{lo, hi})
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		all = append(all, wide{r.Uint64() >> r.UintN(64), 0}, wide{r.Uint64(), r.Uint64() >> r.UintN(64)})
	}
	return all
}

func words(b []byte) []wide {
	var v []wide
	for ; len(b) >= 16; b = b[16:] {
		v = append(v, wide{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])})
	}
	return v
}

func store(b []byte, v ...wide) {
	for i, n := range v {
		binary.LittleEndian.PutUint64(b[16*i:], n.lo)
		binary.LittleEndian.PutUint64(b[16*i+8:], n.hi)
	}
}

func ints(b []byte) []int32 {
	var v []int32
	for ; len(b) >= 4; b = b[4:] {
		v = append(v, int32(binary.LittleEndian.Uint32(b)))
	}
	return v
}

// TestDivision compares with math/big; the operators call the functions without a rest.
func TestDivision(t *testing.T) {
	t.Parallel()
	w := begin(t, "numbers.o", "")
	all := operands()
	r := rand.New(rand.NewPCG(3, 4))
	at, b := w.room(160)
	for range 3000 {
		n, d := all[r.IntN(len(all))], all[r.IntN(len(all))]
		if d == (wide{}) {
			continue
		}
		store(b, n, d)
		w.does("divide", at)
		q, rest := new(big.Int).QuoRem(n.unsigned(), d.unsigned(), new(big.Int))
		sq, srest := new(big.Int).QuoRem(n.signed(), d.signed(), new(big.Int))
		want := []wide{n, d, narrow(q), narrow(rest), narrow(sq), narrow(srest), narrow(q), narrow(rest), narrow(sq), narrow(srest)}
		for i, got := range words(b) {
			if got != want[i] {
				t.Fatalf("%v / %v: word %d is %v, want %v", n, d, i, got, want[i])
			}
		}
	}
}

func TestMultiplication(t *testing.T) {
	t.Parallel()
	w := begin(t, "numbers.o", "")
	all := operands()
	r := rand.New(rand.NewPCG(5, 6))
	at, b := w.room(80)
	over, o := w.room(8)
	for range 3000 {
		x, y := all[r.IntN(len(all))], all[r.IntN(len(all))]
		store(b, x, y)
		w.does("multiply", at, over)
		p := new(big.Int).Mul(x.signed(), y.signed())
		lp := new(big.Int).Mul(big.NewInt(int64(x.lo)), big.NewInt(int64(y.lo)))
		low := int64(x.lo) * int64(y.lo)
		want := []wide{x, y, narrow(p), narrow(p), narrow(big.NewInt(low))}
		for i, got := range words(b) {
			if got != want[i] {
				t.Fatalf("%v * %v: word %d is %v, want %v", x, y, i, got, want[i])
			}
		}
		overs := []bool{narrow(p).signed().Cmp(p) != 0, !lp.IsInt64()}
		for i, got := range ints(o) {
			if got != 0 != overs[i] {
				t.Fatalf("%v * %v: overflow %d is %v", x, y, i, got)
			}
		}
	}
}

func TestShiftsAndBits(t *testing.T) {
	t.Parallel()
	w := begin(t, "numbers.o", "")
	at, b := w.room(64)
	to, o := w.room(32)
	all := operands()
	r := rand.New(rand.NewPCG(7, 8))
	for i, v := range all {
		n := i % 128
		store(b, v)
		w.does("shift", at, uint64(n))
		u := uint(n)
		want := []wide{v, narrow(new(big.Int).Lsh(v.unsigned(), u)), narrow(new(big.Int).Rsh(v.unsigned(), u)), narrow(new(big.Int).Rsh(v.signed(), u))}
		for k, got := range words(b) {
			if got != want[k] {
				t.Fatalf("%v by %d: word %d is %v, want %v", v, n, k, got, want[k])
			}
		}
		other := all[r.IntN(len(all))]
		store(b, v, other)
		w.does("bits", at, to)
		if got, want := ints(o), bitsOf(v, other); !equal(got, want) {
			t.Fatalf("bits of %v, %v: %v, want %v", v, other, got, want)
		}
	}
}

func bitsOf(v, other wide) []int32 {
	ones := bits.OnesCount64(v.lo) + bits.OnesCount64(v.hi)
	lead, trail := bits.LeadingZeros64(v.hi), bits.TrailingZeros64(v.lo)
	if v.hi == 0 {
		lead = 64 + bits.LeadingZeros64(v.lo)
	}
	if v.lo == 0 {
		trail = 64 + bits.TrailingZeros64(v.hi)
	}
	first := trail + 1
	if v == (wide{}) {
		first = 0
	}
	sign := v.signed()
	if sign.Sign() < 0 {
		sign.Not(sign)
	}
	return []int32{
		int32(ones), int32(lead), int32(trail), int32(first), int32(ones & 1), int32(127 - sign.BitLen()),
		int32(v.unsigned().Cmp(other.unsigned()) + 1), int32(v.signed().Cmp(other.signed()) + 1),
	}
}

func equal(a, b []int32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestAtomics: each operation alone, and all of them by four threads at once. gcc for
// aarch64 calls its outline atomics for them.
func TestAtomics(t *testing.T) {
	t.Parallel()
	w := begin(t, "numbers.o", "")
	const n = 5000
	for _, size := range []string{"8", "16", "32", "64"} {
		at, b := w.room(16)
		b[8] = 0x5a // what lies behind stays
		w.want(0, "single"+size, at)
		w.put(at, 0)
		var jobs []*runner.Job
		for range 4 {
			jobs = append(jobs, w.call("rounds"+size, 0, at, n))
		}
		for _, j := range jobs {
			w.value(j)
		}
		mask := map[string]uint64{"8": 0xff, "16": 0xffff, "32": 1<<32 - 1, "64": ^uint64(0)}[size]
		if got := w.get(at); got != 4*n&mask || b[8] != 0x5a {
			t.Errorf("%s bits: %d, want %d", size, got, 4*n&mask)
		}
	}
}

// TestStrings calls the string functions with what lies at their edges.
func TestStrings(t *testing.T) {
	t.Parallel()
	w := begin(t, "numbers.o", "")
	s := func(v string) uint64 { return w.text(v) }
	sign := func(v uint64) int { return int(max(-1, min(1, int32(v)))) }
	for _, c := range []struct {
		name, a, b string
		n          uint64
		want       int
	}{
		{"strcmp", "abc", "abc", 0, 0}, {"strcmp", "abc", "abd", 0, -1}, {"strcmp", "abc", "ab", 0, 1}, {"strcmp", "\xff", "a", 0, 1},
		{"strncmp", "abc", "abd", 2, 0}, {"strncmp", "abc", "abd", 3, -1}, {"strncmp", "a", "b", 0, 0}, {"strncmp", "ab", "ab", 9, 0},
		{"strcasecmp", "ABC", "abc", 0, 0}, {"strcasecmp", "aB", "Ac", 0, -1}, {"strncasecmp", "ABx", "aby", 2, 0},
		{"memcmp", "0123456789", "0123456789", 10, 0}, {"memcmp", "01234567a", "01234567b", 9, -1}, {"memcmp", "b1234567", "a1234567", 8, 1},
		{"bcmp", "ab", "ab", 2, 0}, {"bcmp", "ab", "aa", 2, 1},
	} {
		if got := sign(w.does(c.name, s(c.a), s(c.b), c.n)); got != c.want {
			t.Errorf("%s(%q, %q, %d) is %d, want %d", c.name, c.a, c.b, c.n, got, c.want)
		}
	}
	// What is found where; -1: not at all.
	for _, c := range []struct {
		name, s string
		arg     any
		want    int
	}{
		{"strchr", "hello", 'l', 2}, {"strchr", "hello", 'x', -1}, {"strchr", "hello", 0, 5}, {"strrchr", "hello", 'l', 3}, {"strrchr", "x", 0, 1},
		{"strstr", "hello", "ll", 2}, {"strstr", "hello", "", 0}, {"strstr", "hello", "lo!", -1}, {"strstr", "aab", "ab", 1},
		{"strpbrk", "hello", "ol", 2}, {"strpbrk", "hello", "xyz", -1},
	} {
		at := s(c.s)
		var arg uint64
		switch v := c.arg.(type) {
		case string:
			arg = s(v)
		case rune:
			arg = uint64(v)
		}
		got := int(w.does(c.name, at, arg) - at)
		if c.want < 0 {
			got = -1 + got + int(at) // NULL
		}
		if got != c.want {
			t.Errorf("%s(%q, %v) is %d, want %d", c.name, c.s, c.arg, got, c.want)
		}
	}
	for _, c := range []struct {
		name, s string
		base    uint64
		want    uint64
		left    string
	}{
		{"strtoul", " 123x", 10, 123, "x"}, {"strtoul", "0x1Fg", 0, 31, "g"}, {"strtoul", "017", 0, 15, ""}, {"strtoul", "0x", 0, 0, "x"},
		{"strtoul", "zz", 36, 35*36 + 35, ""}, {"strtoul", "", 10, 0, ""}, {"strtoul", "-1", 10, ^uint64(0), ""},
		{"strtoul", "99999999999999999999", 10, ^uint64(0), ""}, {"strtol", "-42 ", 10, ^uint64(41), " "},
		{"strtol", "9223372036854775808", 10, 1<<63 - 1, ""}, {"strtol", "-9223372036854775809", 10, 1 << 63, ""}, {"strtoull", "ff", 16, 255, ""},
	} {
		at, end := s(c.s), s("12345678")
		w.want(c.want, c.name, at, end, c.base)
		if got := c.s[w.get(end)-at:]; got != c.left {
			t.Errorf("%s(%q) leaves %q", c.name, c.s, got)
		}
	}
}

// TestCopies: every length and distance around the words that they work in.
func TestCopies(t *testing.T) {
	t.Parallel()
	w := begin(t, "numbers.o", "")
	at, b := w.room(512)
	for n := 0; n < 80; n++ {
		for _, d := range []int{-33, -9, -8, -1, 0, 1, 7, 8, 40} {
			want := make([]byte, len(b))
			for i := range b {
				b[i] = byte(i * 7)
			}
			copy(want, b)
			copy(want[200+d:], want[200:200+n])
			w.want(at+uint64(200+d), "memmove", at+uint64(200+d), at+200, uint64(n))
			if string(b) != string(want) {
				t.Fatalf("memmove of %d bytes by %d", n, d)
			}
		}
		w.does("memset", at+100, 0x1234, uint64(n))
		if got := strings.Count(string(b[100:100+n]), "\x34"); got != n || b[99] == 0x34 && b[98] == 0x34 || b[100+n] == 0x34 && b[101+n] == 0x34 {
			t.Fatalf("memset of %d bytes", n)
		}
		w.does("memcpy", at+3, at+300, uint64(n))
		if string(b[3:3+n]) != string(b[300:300+n]) {
			t.Fatalf("memcpy of %d bytes", n)
		}
	}
	for size, want := range []string{"........", "\x00.......", "a\x00......", "ab\x00.....", "abc\x00...."} {
		to := w.text("........")
		w.want(3, "strlcpy", to, w.text("abc"), uint64(size))
		if got := string(w.data[to-dataAddr:][:8]); got != want {
			t.Errorf("strlcpy into %d bytes: %q", size, got)
		}
	}
	to := w.text("ab......")
	copy(w.data[to-dataAddr+2:], "\x00")
	w.want(5, "strlcat", to, w.text("cde"), 5)
	if got := string(w.data[to-dataAddr:][:6]); got != "abcd\x00." {
		t.Errorf("strlcat: %q", got)
	}
	w.does("strncpy", to, w.text("x"), 4)
	if got := string(w.data[to-dataAddr:][:6]); got != "x\x00\x00\x00\x00." {
		t.Errorf("strncpy: %q", got)
	}
}

// TestQueues runs random programs over all four lists, and compares with a slice.
func TestQueues(t *testing.T) {
	t.Parallel()
	w := begin(t, "queues.kmod", "")
	r := rand.New(rand.NewPCG(9, 10))
	for range 200 {
		var model []int32
		in := map[int32]bool{}
		var program []uint32
		for range 30 {
			item := int32(r.IntN(16))
			op := uint32(r.IntN(4))
			switch {
			case in[item]:
				op = 2
				i := index(model, item)
				model = append(model[:i:i], model[i+1:]...)
			case op == 0 || len(model) == 0:
				op = 0
				model = append([]int32{item}, model...)
			case op == 1:
				model = append([]int32{model[0], item}, model[1:]...)
			default:
				op = 3
				model = append(model, item)
			}
			in[item] = !in[item]
			program = append(program, op<<8|uint32(item))
		}
		steps, b := w.room(4 * len(program))
		for i, s := range program {
			binary.LittleEndian.PutUint32(b[4*i:], s)
		}
		to, o := w.room(4 * 100)
		n := w.does("queues", steps, uint64(len(program)), to)
		last := int32(-2)
		want := append(append([]int32{}, model...), -1)
		if len(model) > 0 {
			last = model[len(model)-1]
		}
		want = append(append(want, model...), last)
		want = append(append(want, model...), -1)
		want = append(append(want, model...), -1)
		for i := len(model) - 1; i >= 0; i-- {
			want = append(want, model[i])
		}
		if got := ints(o)[:n]; !equal(got, want) {
			t.Fatalf("%x: %v, want %v", program, got, want)
		}
	}
}

func index(s []int32, v int32) int {
	for i := range s {
		if s[i] == v {
			return i
		}
	}
	return -1
}
