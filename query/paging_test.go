package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"keypulse/schema"
)

// TestPagesAreTheSet walks the list of events page by page while more are inserted, newer and older than the pages that
// have been read. Every event that was there at the start comes exactly once, nothing comes twice, and the order holds.
func TestPagesAreTheSet(t *testing.T) {
	const seeds, before, during = 4, 400, 300
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			a := newAPI(t)
			a.insert(randomRows(random, 1, before)...)
			later := randomRows(random, before+1, during)
			limit := 5 + random.IntN(60)

			var inserting sync.WaitGroup
			inserting.Go(func() {
				for chunk := range slices.Chunk(later, 20) {
					a.insert(chunk...)
				}
			})
			seen := a.walk(t, fmt.Sprintf("/api/events?key_id=key-1&limit=%d", limit))
			inserting.Wait()
			for id := int64(1); id <= before; id++ {
				if seen[id] != 1 {
					t.Errorf("event %d came %d times", id, seen[id])
				}
			}
			for id, times := range seen {
				if times != 1 {
					t.Errorf("event %d came %d times", id, times)
				}
			}
			if all := a.walk(t, fmt.Sprintf("/api/events?limit=%d", limit)); len(all) != before+during {
				t.Errorf("got %d events afterwards, want %d", len(all), before+during)
			}
		})
	}
}

// randomRows makes rows of one key whose times often coincide, and lie anywhere within a second, an hour, or half a year.
func randomRows(random *rand.Rand, firstID int64, n int) []row {
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{id: firstID + int64(i)}
		far := []time.Duration{time.Millisecond, 30 * time.Second, 40 * time.Hour}[random.IntN(3)]
		rows[i].event.CreatedAt = schema.MillisOf(noon.Add(-time.Duration(random.IntN(100)) * far))
	}
	random.Shuffle(n, func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// walk reads all pages of a list of events and counts how often each came.
func (a *api) walk(t *testing.T, path string) map[int64]int {
	t.Helper()
	seen := map[int64]int{}
	for next := ""; ; {
		page := a.list("demo", path+next)
		for _, e := range page.Events {
			seen[e.ID]++
		}
		if !page.HasMore {
			return seen
		}
		next = "&cursor=" + *page.NextCursor
	}
}

func TestPagesOfAlertsAndKeysAreTheSet(t *testing.T) {
	a := newAPI(t)
	const n = 23
	for i := range n {
		key := fmt.Sprintf("key-%02d", i)
		a.insert(row{id: int64(i + 1), event: schema.Event{KeyID: key}})
		one := raised("demo", fmt.Sprintf("al_%02d", i), key, "r", schema.Critical, time.Duration(i/3)*time.Millisecond)
		a.insertAlerts(one, hit(one, 2, 1, time.Hour))
	}
	var alerts, keys []string
	for _, limit := range []int{1, 5, n - 1, n, n + 1} {
		alerts, keys = nil, nil
		for next, more := "", true; more; {
			page := a.list("demo", fmt.Sprintf("/api/alerts?limit=%d%s", limit, next))
			for _, alert := range page.Alerts {
				alerts = append(alerts, alert.ID)
			}
			if more = page.HasMore; more {
				next = "&cursor=" + *page.NextCursor
			}
		}
		for next, more := "", true; more; {
			page := a.list("demo", fmt.Sprintf("/api/keys?limit=%d%s", limit, next))
			for _, k := range page.Keys {
				keys = append(keys, k.KeyID)
			}
			if more = page.HasMore; more {
				next = "&cursor=" + *page.NextCursor
			}
		}
		if len(alerts) != n || len(keys) != n || !slices.IsSorted(keys) || alerts[0] != "al_22" || alerts[n-1] != "al_00" {
			t.Fatalf("limit %d: got %v and %v", limit, alerts, keys)
		}
		if slices.Reverse(alerts); !slices.IsSorted(alerts) {
			t.Fatalf("limit %d: got alerts out of order: %v", limit, alerts)
		}
	}
}
