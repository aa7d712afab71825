package rules

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// units are the units of a duration, the largest first: a duration names each at most once, in this order.
var units = []struct {
	name string
	size time.Duration
}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// ParseDuration reads whole numbers with units, such as "30s", "5m", "24h", "30d", "1h30m".
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as \"30s\", \"5m\", \"24h\" or \"30d\"", s)
	if s == "" {
		return 0, bad
	}
	var sum time.Duration
	next := 0
	for rest := s; rest != ""; {
		digits := span(rest, func(c byte) bool { return '0' <= c && c <= '9' })
		letters := span(rest[digits:], func(c byte) bool { return 'a' <= c && c <= 'z' })
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		u := unitNamed(rest[digits:digits+letters], next)
		if err != nil || u < 0 || n > (math.MaxInt64-int64(sum))/int64(units[u].size) {
			return 0, bad
		}
		sum += time.Duration(n) * units[u].size
		next, rest = u+1, rest[digits+letters:]
	}
	return sum, nil
}

// span returns how many of the first bytes of s satisfy f.
func span(s string, f func(byte) bool) int {
	n := 0
	for n < len(s) && f(s[n]) {
		n++
	}
	return n
}

// unitNamed returns the index of the unit, at least from; -1 when there is none.
func unitNamed(name string, from int) int {
	for i := from; i < len(units); i++ {
		if units[i].name == name {
			return i
		}
	}
	return -1
}

// FormatDuration writes d the short way, hours first: "15m", "24h", "1h30m", "0s".
func FormatDuration(d time.Duration) string {
	if d < time.Millisecond {
		return "0s"
	}
	var b []byte
	for _, u := range units[1:] {
		if n := d / u.size; n > 0 {
			b = strconv.AppendInt(b, int64(n), 10)
			b = append(b, u.name...)
			d %= u.size
		}
	}
	return string(b)
}
