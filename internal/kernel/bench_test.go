package kernel

import (
	"fmt"
	"testing"

	"klink/internal/arch"
)

// BenchmarkLoadInto loads and unloads a small module in hosts of many: the cost must
// not depend on how many.
func BenchmarkLoadInto(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k := crowd(b, n)
			small := k.spec(&toy{name: "small", gives: []give{{symbol: "own"}, {symbol: "quiet"}},
				uses: []use{{symbol: "f", how: call}, {symbol: "own", how: call}, {symbol: "f", how: pointer}}})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Load(b.Context(), LoadRequest{Modules: []ModuleSpec{small}}); err != nil {
					b.Fatal(err)
				}
				if _, err := k.Unload(b.Context(), UnloadRequest{Modules: []string{"small"}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// crowd is a host with n modules that all call one function and give one of their own.
func crowd(t testing.TB, n int) *bench {
	k := newBenchOf(t, arch.AMD64, Config{Machine: arch.AMD64})
	k.mustLoad(&toy{name: "base", gives: []give{{symbol: "f", weak: true}, {symbol: "quiet", weak: true}}})
	for done := 0; done < n; {
		var batch []*toy
		for ; len(batch) < 500 && done < n; done++ {
			batch = append(batch, &toy{name: fmt.Sprintf("m%d", done), gives: []give{{symbol: fmt.Sprintf("f%d", done)}},
				uses: []use{{symbol: "f", how: call}, {symbol: "f", how: pointer}}})
		}
		k.files = 0
		k.mustLoad(batch...)
	}
	return k
}

// BenchmarkSwitch moves the calls of 10,000 modules there and back.
func BenchmarkSwitch(b *testing.B) {
	k := crowd(b, 10000)
	over := k.spec(&toy{name: "over", gives: []give{{symbol: "f"}}})
	sites := 0
	for b.Loop() {
		c, err := k.Load(b.Context(), LoadRequest{Modules: []ModuleSpec{over}})
		if err != nil {
			b.Fatal(err)
		}
		sites += c.Sites
		k.mustUnload("over")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(2*sites), "ns/site")
}
