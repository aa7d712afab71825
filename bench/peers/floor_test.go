package peers

import (
	"runtime"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// floor is a part of what a batch costs that nobody can leave out, measured beside it in this process.
type floor struct {
	name string
	turn func(b *testing.B) (rate, cpu float64)
}

// measureFloors returns what is below a batch beside reading the request: one validating scan, and encoding, summing and
// sending by KeyPulse's own producer.
func measureFloors(b *testing.B, addr string) []floor {
	b.Helper()
	body := []byte(`{"events":[` + event + `]}`)
	scan := func(b *testing.B) (rate, cpu float64) {
		b.Helper()
		runtime.GC()
		events := 0
		before, began := cpuTime(b), time.Now()
		for time.Since(began) < sliceTime/2 {
			for range 1000 {
				if !jsontext.Value(body).IsValid() {
					b.Fatal("the event is not valid")
				}
			}
			events += 1000
		}
		took, spent := time.Since(began), cpuTime(b)-before
		return float64(events) / took.Seconds(), float64(spent.Nanoseconds()) / float64(events)
	}
	p := keypulse(b, addr)
	send := func(b *testing.B) (rate, cpu float64) {
		b.Helper()
		return turn(b, p, load16)
	}
	return []floor{{"scan", scan}, {"producer", send}}
}

var load16 = producerLoad{callers: 16, records: batchEvents}
