package ingest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"keypulse/schema"
)

// verdict says that [from, to) are judged; the offsets in raised raised one alert each.
func verdict(from, to int64, raised ...int64) *schema.Verdict {
	v := &schema.Verdict{From: from, To: to}
	for _, offset := range raised {
		v.Exceptions = append(v.Exceptions, schema.Exception{Offset: offset, Score: 60, Alerts: make([]schema.Alert, 1)})
	}
	return v
}

func TestOutcomes(t *testing.T) {
	const base = 10
	for _, test := range []struct {
		name     string
		verdicts []*schema.Verdict
		want     map[int64]string // by offset: "?" not evaluated, else the number of alerts
	}{
		{"none yet", nil, map[int64]string{0: "?", 5: "?"}},
		{"one", []*schema.Verdict{verdict(0, 3, 1)}, map[int64]string{0: "0", 1: "1", 2: "0", 3: "?"}},
		{"the same again", []*schema.Verdict{verdict(0, 3, 1), verdict(0, 3, 1)}, map[int64]string{1: "1", 2: "0", 3: "?"}},
		{"other borders", []*schema.Verdict{verdict(0, 3, 1), verdict(0, 2, 1), verdict(1, 6, 1, 4), verdict(2, 6, 4)}, map[int64]string{1: "1", 2: "0", 4: "1", 5: "0", 6: "?"}},
		{"an old one comes late", []*schema.Verdict{verdict(0, 9, 8), verdict(3, 5, 4)}, map[int64]string{4: "0", 8: "1", 9: "?"}},
		{"the node starts in the middle", []*schema.Verdict{verdict(100, 110, 105)}, map[int64]string{99: "?", 100: "0", 105: "1", 110: "?"}},
		{"some were missed", []*schema.Verdict{verdict(0, 10, 5), verdict(20, 30, 25)}, map[int64]string{5: "?", 15: "?", 20: "0", 25: "1", 30: "?"}},
		{
			"forgotten",
			[]*schema.Verdict{verdict(0, 10, 5), verdict(10, keepOutcomes+8, 12)},
			map[int64]string{5: "?", 7: "?", 8: "0", 12: "1", keepOutcomes + 7: "0"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var v verdicts
			for _, verdict := range test.verdicts {
				v.add(verdict)
			}
			for offset, want := range test.want {
				o, evaluated := v.outcome(offset, base)
				got, score := "?", base
				if evaluated {
					got = fmt.Sprint(o.alerts)
				}
				if o.alerts > 0 {
					score = 60
				}
				if got != want || o.score != score {
					t.Errorf("offset %d: %s with score %d, want %s with %d", offset, got, o.score, want, score)
				}
			}
		})
	}
}

func (w *waiter) isDone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func TestWaiters(t *testing.T) {
	now := time.Unix(0, 0)
	var v, other verdicts
	v.add(verdict(0, 3))
	w := newWaiter(3)
	v.acknowledged(5, now, w)
	v.acknowledged(2, now, w) // its verdict came first
	other.acknowledged(0, now, w)
	late := newWaiter(1)
	v.acknowledged(4, now, late) // acknowledged after a larger one
	v.add(verdict(3, 5))
	if !late.isDone() || w.isDone() {
		t.Errorf("up to 5: late %v, first %v", late.isDone(), w.isDone())
	}
	v.add(verdict(3, 5))
	v.add(verdict(5, 6))
	if w.isDone() {
		t.Error("done before the other partition")
	}
	other.add(verdict(0, 1))
	if !w.isDone() {
		t.Error("not done")
	}
	gone := newWaiter(2)
	v.acknowledged(8, now, gone)
	v.acknowledged(9, now, gone)
	v.forget(gone)
	v.add(verdict(6, 100))
	if gone.isDone() || len(v.waits) != 0 {
		t.Errorf("a waiter that was forgotten is done: %v; %d wait", gone.isDone(), len(v.waits))
	}
}

func TestBehind(t *testing.T) {
	const wait = 250 * time.Millisecond
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	var v verdicts
	want := func(ms int, behind bool) {
		t.Helper()
		if got := v.behind(at(ms), wait); got != behind {
			t.Errorf("at %d ms: behind %v", ms, got)
		}
	}
	want(0, false)
	v.acknowledged(0, at(0), nil)
	want(250, false)
	want(251, true)
	v.add(verdict(0, 1))
	want(1000, false) // nothing is owed, however long ago
	v.acknowledged(1, at(1000), nil)
	v.acknowledged(2, at(1010), nil)
	v.acknowledged(3, at(1200), nil)
	v.add(verdict(1, 2))
	want(1300, false) // 3 is owed, since 1200
	want(1451, true)
	v.add(verdict(2, 3))
	want(1451, true)
	v.add(verdict(3, 4))
	want(1451, false)
	for i := range 3 * maxMarks {
		v.acknowledged(int64(4+i), at(2000+100*i), nil)
	}
	if len(v.marks) > maxMarks {
		t.Errorf("%d marks", len(v.marks))
	}
	v.add(verdict(4, 5))
	want(2000+300*maxMarks, true)
}

// TestOutcomesAgainstAMap compares with a plain map while a random processor judges, repeats itself and runs ahead.
func TestOutcomesAgainstAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var v verdicts
	truth := map[int64]bool{}
	raised := func(from, to int64) (offsets []int64) {
		for offset := from; offset < to; offset++ {
			if truth[offset] {
				offsets = append(offsets, offset)
			}
		}
		return offsets
	}
	judged := int64(0)
	for range 2000 {
		to := judged + r.Int64N(200)
		for offset := judged; offset < to; offset++ {
			truth[offset] = r.IntN(3) == 0
		}
		from := max(0, judged-r.Int64N(300))
		v.add(verdict(from, to, raised(from, to)...))
		judged = max(judged, to)
		for range 20 {
			offset := max(0, judged-r.Int64N(keepOutcomes+100))
			o, evaluated := v.outcome(offset, 0)
			if want := offset < judged && offset >= judged-keepOutcomes; evaluated != want || evaluated && (o.alerts == 1) != truth[offset] {
				t.Fatalf("offset %d of %d: %+v, %v", offset, judged, o, evaluated)
			}
		}
		if len(v.recent) > 2*keepOutcomes {
			t.Fatalf("%d outcomes are kept", len(v.recent))
		}
	}
}

func BenchmarkVerdicts(b *testing.B) {
	var v verdicts
	b.ReportAllocs()
	for offset := int64(0); b.Loop(); offset += 10 {
		w := newWaiter(10)
		for i := range int64(10) {
			v.acknowledged(offset+i, time.Unix(0, offset), w)
		}
		v.add(verdict(offset, offset+10, offset, offset+3))
		<-w.done
		v.outcome(offset+3, 0)
	}
}

// TestBehindAfterAVerdict has a verdict that ends between two events acknowledged at nearly the same time: the second one still
// tells how far behind the processor is.
func TestBehindAfterAVerdict(t *testing.T) {
	v, begin := new(verdicts), time.Now()
	for offset := range int64(3) {
		v.acknowledged(offset, begin.Add(time.Duration(offset)*time.Millisecond), nil)
	}
	v.add(&schema.Verdict{From: 0, To: 1})
	if !v.behind(begin.Add(300*time.Millisecond), 250*time.Millisecond) {
		t.Error("two events without a verdict for 300 ms are forgotten")
	}
	v.add(&schema.Verdict{From: 1, To: 3})
	if v.behind(begin.Add(time.Hour), 250*time.Millisecond) {
		t.Error("behind, and everything is judged")
	}
}
