package httpapi

import "strings"

// Nearest returns the known name that a person who wrote name probably meant: the one at the smallest edit distance
// (insert, delete, replace, swap neighbours; case does not count), if that is at most a third of its length, at least
// one. Names longer than 64 bytes have none.
func Nearest(name string, known []string) (string, bool) {
	const longest = 64
	if len(name) == 0 || len(name) > longest {
		return "", false
	}
	best, bestDistance := "", longest
	for _, k := range known {
		d := editDistance(strings.ToLower(name), strings.ToLower(k))
		if d < bestDistance && d <= max(len(k)/3, 1) {
			best, bestDistance = k, d
		}
	}
	return best, best != ""
}

// editDistance is the optimal string alignment distance, in bytes.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
