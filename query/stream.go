package query

import (
	"bufio"
	"context"
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/schema"
	"keypulse/stream"
)

const (
	// heartbeat is how often a stream that has nothing to say says so: intermediaries cut what is silent.
	heartbeat = 15 * time.Second
	// recheck is how often a stream looks whether its API key still opens it.
	recheck = time.Second
)

// headerLastEventID is where a browser that connects again says how far it has come; who makes a new EventSource, as for
// another ticket, cannot set it and has a parameter.
const (
	headerLastEventID = "Last-Event-ID"
	paramLastEventID  = "last_event_id"
)

// streamParams are those of GET /api/events that say what an event is like; what says when it was has no place here.
var streamParams = []string{"key_id", "event_type", "severity", "actor", "source_ip", "min_score", detailsPrefix, paramLastEventID, "ticket"}

// showStream is GET /api/stream: events and alerts as they are judged, as server-sent events, from now on or from
// where Last-Event-ID says.
func (q *Query) showStream(c *fiber.Ctx) error {
	p, err := parseParams(c, streamParams...)
	if err != nil {
		return err
	}
	filter := streamFilter(p)
	if err := p.err(); err != nil {
		return err
	}
	id, name := c.Get(headerLastEventID), headerLastEventID
	if id == "" {
		id, name = p.values[paramLastEventID], paramLastEventID
	}
	from, err := q.streamFrom(id, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.cfg.StatementTimeout)
	defer cancel()
	s, err := q.cfg.Stream.Subscribe(ctx, httpapi.IdentityOf(c).Tenant, filter, from)
	switch {
	case errors.Is(err, stream.ErrFull):
		return unavailable(httpapi.CodeUnavailable, "As many clients as this node serves watch the stream. Please try again.", err)
	case err != nil:
		return unavailable(httpapi.CodeUnavailable, "The stream cannot be read. Please try again.", err)
	}
	c.Set(fiber.HeaderContentType, "text/event-stream")
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set("X-Accel-Buffering", "no")
	valid := httpapi.StillValid(c)
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) { writeStream(w, s, valid) })
	return nil
}

// createTicket is POST /api/stream/tickets: a text that opens the stream once, as the sender's API key does, for a browser,
// which cannot send the key.
func (q *Query) createTicket(c *fiber.Ctx) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	ticket, text := q.cfg.NewTicket(httpapi.IdentityOf(c).KeyID, q.cfg.Now())
	c.Set(fiber.HeaderCacheControl, "no-store")
	b := answer.AppendString([]byte(`{"success":true,"ticket":`), text)
	b = answer.AppendTime(append(b, `,"expires_at":`...), ticket.Ends)
	return httpapi.Raw(c, fiber.StatusCreated, append(b, '}'))
}

// streamFilter is what the parameters ask for, in the words of [eventsWhere].
func streamFilter(p *params) stream.Filter {
	var f stream.Filter
	f.KeyID, _ = p.text("key_id")
	f.Type, _ = p.text("event_type")
	f.Actor, _ = p.text("actor")
	f.Severity, _ = p.severity("severity")
	f.Network, _ = p.network("source_ip")
	f.MinScore, _ = p.integer("min_score", 0, schema.MaxScore)
	for _, d := range p.details() {
		f.Details = append(f.Details, d.matches)
	}
	return f
}

// streamFrom reads the id of the last frame, which was sent under a name; nil when there is none.
func (q *Query) streamFrom(id, name string) (*stream.Position, error) {
	if id == "" {
		return nil, nil //nolint:nilnil // from now on: no position is an answer, not an accident
	}
	at, err := stream.ParsePosition(id, q.cfg.Incarnation)
	if err != nil {
		return nil, httpapi.BadRequest(httpapi.CodeInvalidRequest, name+" "+err.Error()+".")
	}
	return &at, nil
}

// writeStream writes frames until the client leaves, the hub ends, or the API key opens nothing any more. It runs when the
// request is over, in a goroutine that the server waits for, and uses nothing of it.
func writeStream(w *bufio.Writer, s *stream.Subscription, valid func() bool) {
	defer s.Close()
	// A comment at once, so that the client sees the answer's head.
	if _, err := w.WriteString(": stream\n\n"); err != nil || w.Flush() != nil {
		return
	}
	for last := time.Now(); valid(); {
		ctx, cancel := context.WithTimeout(context.Background(), recheck)
		frames, err := s.Next(ctx)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			if time.Since(last) < heartbeat {
				continue
			}
			frames = []byte(":\n\n")
		case err != nil:
			return
		}
		if _, err := w.Write(frames); err != nil || w.Flush() != nil {
			return
		}
		last = time.Now()
	}
}
