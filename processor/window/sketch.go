package window

import (
	"math"
	"math/bits"
	"unsafe"

	"keypulse/schema"
)

// sketch counts different values in a sliding window: a bitmap of Flajolet and Martin whose bits are the times at
// which they were last set. A hash chooses a column, and a row with the odds 1/2, 1/4, …; the number of values is
// the one for which the cells that are set are likeliest. The standard error is 0.65/√columns = 1.63 %, up to some
// three million values; beyond that the last row fills up and the estimate falls behind.
//
// A cell holds its time as the number of a slice of the window, modulo sketchTimes, 0 for never. A slice is a 128th
// of the window, and counts while its middle is in the window: so the trailing edge is off by at most a 256th.
type sketch struct {
	width  schema.Millis // of a slice
	window schema.Millis
	now    int64             // the latest slice
	left   int64             // the latest slice that has left the window
	lost   schema.Millis     // when the latest value that is no longer among the exact ones was seen
	set    [sketchRows]int32 // how many cells of each row are
	cells  []uint8           // rows of sketchColumns
	known  [sketchRows]int32 // what was set when number was estimated
	number uint64
}

const (
	sketchRows    = 12
	sketchColumns = 1589 // so that exact entries and sketch together stay below 32 KiB
	sketchSlices  = 128
	sketchTimes   = 255
)

func newSketch(window schema.Millis) *sketch {
	return &sketch{
		width: max(1, window/sketchSlices), window: window, left: math.MinInt64,
		cells: make([]uint8, sketchRows*sketchColumns),
	}
}

func (k *sketch) bytes() int { return int(unsafe.Sizeof(sketch{})) + cap(k.cells) }

// label is how a cell writes a slice.
func label(slice int64) uint8 {
	m := slice % sketchTimes
	if m < 0 {
		m += sketchTimes
	}
	return uint8(m) + 1
}

// advance moves the sketch to the time t and clears the cells that have left the window. All cells are looked
// through whenever a slice leaves.
func (k *sketch) advance(t schema.Millis) {
	before := k.now
	k.now = floor(t, k.width)
	// A slice has left when its middle is not after t - window.
	if left := floor(t-k.window-k.width/2, k.width); left > k.left {
		k.left = left
		k.clear(before)
	}
}

// floor divides and rounds down.
func floor(a, b schema.Millis) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return int64(q)
}

// clear clears the cells of the slices up to left and counts what is set. A cell's age is that at the slice before,
// where all cells were younger than a window and a little, and the time since.
func (k *sketch) clear(before int64) {
	alive := before - k.left
	newest := int64(label(before))
	for row := range k.set {
		cells := k.cells[row*sketchColumns : (row+1)*sketchColumns]
		var set int32
		for i, c := range cells {
			if c == 0 {
				continue
			}
			age := newest - int64(c)
			if age < 0 {
				age += sketchTimes
			}
			if age >= alive {
				cells[i] = 0
			} else {
				set++
			}
		}
		k.set[row] = set
	}
}

// add counts the hash at the time t, which is not before the last one's.
func (k *sketch) add(hash uint64, t schema.Millis) {
	k.advance(t)
	column := int((hash >> 32) * sketchColumns >> 32)
	row := min(bits.TrailingZeros32(uint32(hash)), sketchRows-1)
	cell := &k.cells[row*sketchColumns+column]
	if *cell == 0 {
		k.set[row]++
	}
	*cell = label(k.now)
}

// estimate is the likeliest number of different values at the time now.
//
// With n values and x = n/columns, a cell of row r is empty with probability exp(-x·p), p being the row's odds
// (2^-(r+1); for the last row 2^-r). The likelihood is greatest where Σ p·(set/(exp(x·p)-1) - empty) is 0. The sum
// falls and is convex in x, so that Newton's steps from below approach its zero from below.
func (k *sketch) estimate(now schema.Millis) uint64 {
	k.advance(now)
	if k.set != k.known {
		k.known, k.number = k.set, k.likeliest()
	}
	return k.number
}

// likeliest is the estimate for the cells that are set.
func (k *sketch) likeliest() uint64 {
	var all int32
	for _, set := range k.set {
		all += set
	}
	x := float64(all) / sketchColumns
	for range 64 {
		if x == 0 {
			break
		}
		value, slope := k.likelihood(x)
		if value <= 0 || slope >= 0 {
			break
		}
		step := -value / slope
		x += step
		if x > maxFill {
			x = maxFill
			break
		}
		if step < 1e-7*x {
			break
		}
	}
	return uint64(math.Round(float64(x * sketchColumns)))
}

// maxFill is the largest number of values for a column that is believed: at it the last row is full.
const maxFill = 8 << (sketchRows - 1)

// likelihood returns the sum whose zero is wanted, and its derivative.
func (k *sketch) likelihood(x float64) (value, slope float64) {
	odds := 1.0 / (1 << (sketchRows - 1))
	e := expm1(float64(x * odds)) // exp(x·p)-1; each row up doubles p
	for row := sketchRows - 1; row >= 0; row-- {
		set, empty := float64(k.set[row]), float64(sketchColumns-k.set[row])
		if e > 0 && e < 1e12 {
			value += float64(odds * (set/e - empty))
			slope -= float64(float64(odds*odds) * set * ((e + 1) / float64(e*e)))
		} else {
			value -= float64(odds * empty)
		}
		if row < sketchRows-1 {
			odds *= 2
			e = min(float64(e*(e+2)), 1e13)
		}
	}
	return value, slope
}

// expm1 is exp(x)-1 for x from 0 to 8, by a series and repeated squaring: unlike the library's it is the same on
// every machine.
func expm1(x float64) float64 {
	const halvings = 12
	y := x / (1 << halvings)
	e := float64(y * (1 + float64(y*(1.0/2)*(1+float64(y*(1.0/3)*(1+float64(y*(1.0/4))))))))
	for range halvings {
		e = float64(e * (e + 2))
	}
	return e
}
