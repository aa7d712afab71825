package bench

import "math"

// random is SplitMix64 (Steele, Lea, Flood 2014). Every slot has a stream of its own, so its events do not depend on
// which connection sends it.
type random uint64

func newRandom(seed, phase, slot uint64) random {
	return random(mix(seed + mix(phase+mix(slot+gamma))))
}

// gamma is the step of SplitMix64.
const gamma = 0x9e3779b97f4a7c15

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *random) next() uint64 {
	*r += gamma
	return mix(uint64(*r))
}

// below returns a number in [0, n). The bias for n far below 2^32 is of no matter to a load.
func (r *random) below(n int) int { return int(r.next() >> 32 * uint64(n) >> 32) }

// unit returns a number in [0, 1).
func (r *random) unit() float64 { return float64(r.next()>>11) * 0x1p-53 }

// zipf draws ranks 1 to n, rank k with a probability in proportion to k^-skew, by rejection-inversion (Hörmann and
// Derflinger 1996): no table, so ten million keys cost what ten do, and any skew, 1 and below too.
type zipf struct {
	n, skew      float64
	low, high    float64 // the integral's values at the two ends of the ranks
	acceptWithin float64 // a rank at most this far above its x needs no second look
}

func newZipf(n int, skew float64) zipf {
	z := zipf{n: float64(n), skew: skew}
	z.low = z.integral(1.5) - 1
	z.high = z.integral(z.n + 0.5)
	z.acceptWithin = 2 - z.inverse(z.integral(2.5)-z.density(2))
	return z
}

func (z *zipf) rank(r *random) int {
	for {
		u := z.high + r.unit()*(z.low-z.high)
		x := z.inverse(u)
		k := min(max(math.Floor(x+0.5), 1), z.n)
		if k-x <= z.acceptWithin || u >= z.integral(k+0.5)-z.density(k) {
			return int(k)
		}
	}
}

func (z *zipf) density(x float64) float64 { return math.Exp(-z.skew * math.Log(x)) }

// integral is the density's, as (x^(1-skew) - 1)/(1-skew), which is log x at skew 1.
func (z *zipf) integral(x float64) float64 {
	l := math.Log(x)
	t := (1 - z.skew) * l
	if math.Abs(t) < 1e-8 {
		return l * (1 + t/2)
	}
	return l * math.Expm1(t) / t
}

func (z *zipf) inverse(y float64) float64 {
	t := max(y*(1-z.skew), -1)
	if math.Abs(t) < 1e-8 {
		return math.Exp(y * (1 - t/2))
	}
	return math.Exp(y * math.Log1p(t) / t)
}
