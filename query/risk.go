package query

import (
	"math"

	"keypulse/schema"
)

// A key's risk score at a time is the sum of the points that rules gave its events, each halved for every 24 hours
// since. Table key_points holds a day's sum as it was at the start of the day; what it is worth later is one
// multiplication, so the score is exact whatever the order in which events came.

// keptDays is for how many days points count: after so many a million points are worth a millionth of one.
const keptDays = "40"

// sumPoints and unfadedPoints are parts of a statement on key_points; bindNow gives them the time. A Date's number is
// that of its day since 1970, UTC.
const (
	today         = "{now_ms:Int64} / 86400000"
	sumPoints     = "sum(weighted * exp2(toUInt16(day) - " + today + "))"
	unfadedPoints = "day >= toDate(toUInt16(greatest(0, " + today + " - " + keptDays + ")))"
)

func bindNow(w *where, now schema.Millis) { w.bind("now_ms", int64(now)) }

// riskScore is the score that is shown for so many points: at most 100, to one decimal.
func riskScore(points float64) float64 {
	return math.Round(min(points, schema.MaxScore)*10) / 10
}
