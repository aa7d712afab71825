package stream

import (
	"strconv"

	"keypulse/internal/answer"
	"keypulse/internal/judged"
)

// frame is one message of the event-stream format (WHATWG HTML, § Server-sent events), shared by all who get it.
type frame []byte

// frames are those of a row: its event, then the alerts that it raised. They move the position past the row: after is where
// its partition stands then.
func (p *Position) frames(r *judged.Row, partition int32, after judged.Position, base int64) []frame {
	e := answer.Event{ID: r.ID, Event: &r.Event, Alerts: len(r.Alerts), Score: r.Score, Evaluated: true}
	all := make([]frame, 0, 1+len(r.Alerts))
	add := func(name string, data func([]byte) []byte) {
		if p.Row, p.Sent = partition, len(all)+1; p.Sent == cap(all) {
			p.Row, p.Sent, p.Partitions[partition] = 0, 0, after
		}
		b := append(make([]byte, 0, 512+len(r.Details)), "event: "...)
		b = append(append(b, name...), "\nid: "...)
		b = append(p.appendText(b, base), "\ndata: "...)
		all = append(all, append(data(b), "\n\n"...))
	}
	add("event", func(b []byte) []byte { return answer.AppendEvent(b, e) })
	for i := range r.Alerts {
		a := answer.Alert{Alert: r.Alerts[i], KeyID: r.KeyID, Hits: 1, LastEventID: r.ID, LastAt: r.Alerts[i].RaisedAt}
		add("alert", func(b []byte) []byte { return append(a.AppendMembers(append(b, '{')), '}') })
	}
	return all
}

// Gap is what a gap frame says: that Missed frames, or at most so many where they could not be filtered, are left out
// before it.
type Gap struct {
	Missed int64
	AtMost bool   // nobody looked whether the filter would have let them pass
	Reason Reason // why they are left out
}

// Reason says why frames are left out.
type Reason string

// The reasons of gaps.
const (
	Slow    Reason = "slow"    // the client did not read
	TooFar  Reason = "too_far" // the position to go on from is too far back
	Expired Reason = "expired" // retention has dropped the events
)

func (g Gap) frame(at Position, base int64) frame {
	b := append([]byte("event: gap\nid: "), at.appendText(nil, base)...)
	b = append(b, "\ndata: {\"missed\":"...)
	b = strconv.AppendInt(b, g.Missed, 10)
	b = append(b, `,"at_most":`...)
	b = strconv.AppendBool(b, g.AtMost)
	b = append(b, `,"reason":"`...)
	b = append(b, g.Reason...)
	return append(b, "\"}\n\n"...)
}
