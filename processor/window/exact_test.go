package window

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestExactSums adds and takes away floats of all sizes, and compares with arithmetic of any precision.
func TestExactSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 14))
	for range scaled(300, 20_000) {
		var sum exact
		var held []float64
		for range 200 {
			if n := len(held); n > 0 && r.IntN(3) == 0 {
				i := r.IntN(n)
				sum.sub(held[i])
				held[i] = held[n-1]
				held = held[:n-1]
			}
			if x := randomNumber(r); sum.add(x) {
				held = append(held, x)
			} else if a := math.Abs(x); a >= 0x1p-76 && a < 0x1p86 {
				t.Fatalf("%v is wild", x)
			}
			want := new(big.Float).SetPrec(2000)
			for _, x := range held {
				want.Add(want, new(big.Float).SetFloat64(x))
			}
			if f, _ := want.Float64(); sum.float() != f {
				t.Fatalf("the sum of %v is %v, want %v", held, sum.float(), f)
			}
		}
	}
}

func randomNumber(r *rand.Rand) float64 {
	switch r.IntN(6) {
	case 0:
		return float64(r.IntN(2000) - 1000)
	case 1:
		return float64(r.IntN(200_000)-100_000) / 100
	case 2:
		return (r.Float64() - 0.5) * math.Exp2(float64(r.IntN(180)-90))
	case 3:
		return math.Copysign(math.Exp2(float64(r.IntN(400)-200)), float64(r.IntN(2))-0.5)
	case 4:
		return 0
	default:
		return math.Float64frombits(r.Uint64() &^ (1 << 62))
	}
}

func BenchmarkExact(b *testing.B) {
	var sum exact
	for i := 0; b.Loop(); i++ {
		sum.add(float64(i&1023) + 0.37)
		sum.sub(float64(i&511) + 0.37)
	}
	if sum.float() == 1 {
		b.Fatal("unlikely")
	}
}
