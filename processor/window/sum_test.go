package window

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"keypulse/rules"
)

// TestSumsAreExact sums numbers of all sizes in windows that move, small and large: a sum is the float nearest to the numbers' total,
// whatever has been in the window before.
func TestSumsAreExact(t *testing.T) {
	for seed := range uint64(scaled(20, 1000)) {
		r := rand.New(rand.NewPCG(seed, 15))
		s := newStream(t, `sum("1s", details.v)`, `avg("3s", details.v)`)
		var held []float64
		var at []int
		now, step := 0, []int{400, 60, 10, 3}[seed%4]
		for range 3000 {
			x := float64(r.IntN(1_000_000)) / 100
			switch r.IntN(40) {
			case 0:
				x = (r.Float64() - 0.5) * math.Exp2(float64(r.IntN(150)-70))
			case 1:
				x = -x * 1e15
			}
			now += r.IntN(step)
			held, at = append(held, x), append(at, now)
			for at[0] <= now-1000 {
				held, at = held[1:], at[1:]
			}
			s.event("k", milliseconds(now), with(fmt.Sprintf(`{"v":%v}`, x)))
			if len(held) > maxExact {
				continue
			}
			want := new(big.Float).SetPrec(2000)
			for _, x := range held {
				want.Add(want, new(big.Float).SetFloat64(x))
			}
			got, _ := s.last.At(0).Number()
			if f, _ := want.Float64(); got != f {
				t.Fatalf("seed %d: the sum of %d numbers is %v, want %v", seed, len(held), got, f)
			}
		}
		s.store.Close()
	}
}

// TestWildNumbers sums numbers that no exact sum holds beside others: they count while they are in the window, and leave nothing behind.
func TestWildNumbers(t *testing.T) {
	for _, before := range []int{0, 40} { // in a small series, and in one with views
		s := newStream(t, `sum("1m", details.v)`, `max("1m", details.v)`, `stddev("1m", details.v)`)
		for i := range before {
			s.event("k", milliseconds(i), with(`{"v":1}`))
		}
		s.event("k", milliseconds(100), with(`{"v":1e40}`))
		s.event("k", milliseconds(200), with(`{"v":1e-40}`))
		s.event("k", milliseconds(30_000), with(`{"v":0.1}`))
		s.want(0, "1e+40")
		s.want(1, "1e+40")
		s.event("k", milliseconds(60_150), with(`{"v":0.2}`))
		s.want(0, "0.30000000000000004")
		s.event("k", milliseconds(60_250), with(`{"v":0.3}`))
		s.want(0, "0.6")
		s.want(1, "0.3")
		if v, _ := s.last.At(2).Number(); math.Abs(v-0.0816496580927726) > 1e-15 {
			t.Errorf("stddev %v", v)
		}
		if s.last.At(2).Kind() != rules.KindFloat {
			t.Errorf("stddev is %v", s.last.At(2))
		}
		s.store.Close()
	}
}

func milliseconds(n int) time.Duration { return time.Duration(n) * time.Millisecond }
