package rules

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// FuzzText compares how JSON texts are read and written with encoding/json.
func FuzzText(f *testing.F) {
	for _, s := range []string{`abc`, `a\"b\\\/\b\f\n\r\t`, `é\u00e9\ud83d\ude00😀`, `\ud83d`, `\ud83dx`, `\ud83dA`, `\x`, `\u12`, `\`, "\u2028<>&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		var again string
		if err := json.Unmarshal(appendQuoted(nil, s), &again); err != nil || again != s {
			t.Errorf("%q written is %s: %v", s, appendQuoted(nil, s), err)
		}
		raw := `"` + s + `"`
		if end := skipString(raw, 0); end != len(raw) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
			return // not one string, or one that no event may have
		}
		var want string
		if json.Unmarshal([]byte(raw), &want) != nil {
			want = ""
		}
		if got := plain(s); got != want {
			t.Errorf("%q means %q, want %q", s, got, want)
		}
		if want != "" && (!isName(s, want) || isName(s, want+"x")) {
			t.Errorf("%q is not found under %q", s, want)
		}
	})
}

// TestNumbers reads numbers as strconv does, up to the last of the digits that count.
func TestNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		f := math.Float64frombits(r.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		for _, form := range []byte{'e', 'g', 'f'} {
			text := strconv.FormatFloat(f, form, []int{-1, 18}[r.IntN(2)], 64)
			text = strings.Replace(text, "e+", []string{"e", "E+"}[r.IntN(2)], 1)
			if got, err := parseFloat(text); err != nil || math.Abs(got-f) > math.Abs(f)*1e-15 && form != 'f' {
				t.Fatalf("%s read as %v: %v", text, got, err)
			}
			if want, _ := strconv.ParseFloat(text, 64); form != 'f' {
				if got, _ := parseFloat(text); got != want {
					t.Fatalf("%s read as %v, want %v", text, got, want)
				}
			}
		}
	}
	for text, want := range map[string]float64{
		"0.00000000000000000000000000000000": 0, "-123456789012345678901234567890": -123456789012345678901234567890,
		"1000000000000000000000000000e-27": 1, "0.000000000000000000000000000001e30": 1, "1.00000000000000000000000000000": 1,
		"0.1000000000000000055511151231257827021181583404541015625": 0.1, "1.5e99999999999999999999": math.Inf(1), "1.5e-99999999999999999999": 0,
	} {
		if got, _ := parseFloat(text); got != want {
			t.Errorf("%s read as %v, want %v", text, got, want)
		}
	}
}
