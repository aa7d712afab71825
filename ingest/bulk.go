package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"keypulse/ingest/decode"
	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
)

// The bounds of a bulk request.
const (
	BulkPath  = "/api/events/bulk"
	BulkLimit = 10 << 20 // bytes of its body, as sent and decompressed

	chunkLines      = 1000
	maxLine         = 64 << 10 // bytes
	maxChunkErrors  = 100      // told of a chunk; its further ones are left out
	eventsARequest  = 100      // events that count as one request against the rate limit
	maxKeptForReuse = 1 << 20  // bytes of a chunk's buffer
)

// bulk is a request of many events, one on each line. A chunk of lines is read and decoded, written to the log as a whole
// or not at all, and answered with one line, before the next one is read. So no more than a chunk is held in memory beside
// the body as it was sent. The answer is sent when all is known: its status must tell of a failure, and a client that reads
// nothing before it has sent everything must not be kept waiting for itself.
type bulk struct {
	in      *Ingest
	c       *fiber.Ctx
	lines   *bufio.Reader
	decoder *decode.Decoder
	prefer  preference

	buf    []byte // the lines of the chunk at hand
	read   int    // lines
	events int
	wait   time.Duration // what is left of prefer.wait
	answer []byte
	worst  *httpapi.Error // of the chunks' failures, the one that the status tells
}

var bulkBuffers = sync.Pool{New: func() any { return new(bulk) }}

func (in *Ingest) postBulk(c *fiber.Ctx) error {
	if err := httpapi.NoParams(c); err != nil {
		return err
	}
	body, err := httpapi.Lines(c, BulkLimit)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := checkIdempotencyKey(c.Get("Idempotency-Key"), bulkIndex); err != nil {
		return err
	}
	b, _ := bulkBuffers.Get().(*bulk)
	if b.lines == nil {
		b.lines = bufio.NewReaderSize(nil, maxLine)
	}
	b.lines.Reset(body)
	prefer := parsePrefer(c.Request().Header.PeekAll("Prefer"), in.cfg.VerdictWait)
	*b = bulk{in: in, c: c, lines: b.lines, decoder: decode.Open(nil), prefer: prefer, wait: prefer.wait, buf: b.buf[:0], answer: b.answer[:0]}
	defer b.free()
	for more := true; more; {
		more = b.chunk()
	}
	return b.send()
}

func (b *bulk) free() {
	b.decoder.Close()
	b.lines.Reset(nil)
	*b = bulk{lines: b.lines, buf: b.buf, answer: b.answer}
	if cap(b.buf) <= maxKeptForReuse && cap(b.answer) <= maxKeptForReuse {
		bulkBuffers.Put(b)
	}
}

// chunk reads, writes and answers the next chunk. It reports whether another one may follow.
func (b *bulk) chunk() bool {
	first := b.read + 1
	b.buf = b.buf[:0]
	b.decoder.Reset()
	ended, err := b.gather()
	switch {
	case err != nil: // the chunk is not whole, so nothing of it is written
		b.failed(first, first, asFailure(err))
		return false
	case b.read < first:
		if first == 1 {
			b.failed(1, 1, httpapi.BadRequest(httpapi.CodeInvalidRequest, "The body holds no line."))
		}
		return false
	}
	events, errs := b.decoder.Lines()
	if len(errs) > 0 {
		b.failed(first, b.read+1, badLines(errs))
		return !ended
	}
	accepted, err := b.accept(first)
	if err != nil {
		e := asFailure(err)
		b.failed(first, b.read+1, e)
		return !ended && e.Status < fiber.StatusInternalServerError && e.Status != fiber.StatusTooManyRequests
	}
	b.events += len(events)
	b.accepted(first, accepted)
	accepted.free()
	return !ended
}

// gather reads and decodes the lines of a chunk. It reports whether the body has ended.
func (b *bulk) gather() (ended bool, err error) {
	for n := 0; n < chunkLines; n++ {
		line, err := b.lines.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) { // pass over the rest
			_, err = b.lines.ReadSlice('\n')
		}
		ended = errors.Is(err, io.EOF)
		switch {
		case err != nil && !ended:
			return false, err
		case ended && len(line) == 0:
			return true, nil
		}
		b.read++
		if long {
			b.decoder.Refuse(b.read, fmt.Sprintf("the line is longer than %d bytes", maxLine-1))
		} else {
			start := len(b.buf)
			b.buf = append(b.buf, line...)
			end := len(b.buf)
			if b.buf[end-1] == '\n' {
				end--
			}
			b.decoder.Line(b.buf[start:end], b.read)
		}
		if ended {
			return true, nil
		}
	}
	return false, nil
}

// accept writes the chunk's events and waits for their verdicts.
func (b *bulk) accept(first int) (*accepted, error) {
	v, err := b.in.enter(b.c)
	if err != nil {
		return nil, err
	}
	defer v.leave(false)
	events, _ := b.decoder.Lines()
	// The request has been counted once, for its first hundred events.
	requests := func(events int) int { return (events + eventsARequest - 1) / eventsARequest }
	if err := httpapi.Charge(b.c, max(requests(b.events+len(events)), 1)-max(requests(b.events), 1)); err != nil {
		return nil, err
	}
	nameEvents(events, b.c.Get("Idempotency-Key"), first-1)
	a := &accepted{scratch: newScratch(), prefer: b.prefer}
	err = b.in.write(a.scratch, httpapi.IdentityOf(b.c).Tenant, events)
	v.leave(false) // a chunk takes longer than a request of the usual size, also without a queue
	if err != nil {
		a.free()
		return nil, err
	}
	shutdown := b.c.Context().Done()
	begin := time.Now()
	b.in.await(shutdown, a.records, b.wait)
	b.wait = max(0, b.wait-time.Since(begin))
	if err := b.in.result(shutdown, a, events, true); err != nil {
		a.free()
		var e *httpapi.Error
		if errors.As(err, &e) {
			for i := range e.Fields {
				*e.Fields[i].Index += first
			}
		}
		return nil, err
	}
	return a, nil
}

// accepted answers a chunk that is in the log.
func (b *bulk) accepted(first int, a *accepted) {
	alerts, evaluated := 0, true
	for i := range a.events {
		alerts += a.events[i].Alerts
		evaluated = evaluated && a.events[i].Evaluated
	}
	o := append(b.answer, `{"success":true,"first_line":`...)
	o = appendInt(o, first)
	o = append(o, `,"last_line":`...)
	o = appendInt(o, b.read)
	o = append(o, `,"count":`...)
	o = appendInt(o, len(a.events))
	o = append(o, `,"alerts_triggered":`...)
	o = appendInt(o, alerts)
	o = fmt.Appendf(o, `,"evaluated":%t,"ids":[`, evaluated)
	for i := range a.events {
		if i > 0 {
			o = append(o, ',')
		}
		o = appendInt(o, int(a.events[i].ID))
	}
	o = append(o, ']')
	separator := `,"duplicate_lines":[`
	for i := range a.events {
		if a.events[i].Duplicate {
			o = append(o, separator...)
			o = appendInt(o, first+i)
			separator = ","
		}
	}
	if separator == "," {
		o = append(o, ']')
	}
	b.answer = append(o, "}\n"...)
}

// failed answers a chunk that is not in the log, or perhaps not. Lines from next on have not been read, where no further
// line follows.
func (b *bulk) failed(first, next int, e *httpapi.Error) {
	o := append(b.answer, `{"success":false,"first_line":`...)
	o = appendInt(o, first)
	if next > first {
		o = append(o, `,"last_line":`...)
		o = appendInt(o, next-1)
	}
	o = append(o, `,"message":`...)
	o = answer.AppendString(o, e.Message)
	o = append(o, `,"code":`...)
	o = answer.AppendString(o, e.Code)
	o = append(o, `,"request_id":`...)
	o = answer.AppendString(o, httpapi.RequestID(b.c))
	separator := `,"errors":[`
	for _, f := range e.Fields[:min(len(e.Fields), maxChunkErrors)] {
		o = append(o, separator...)
		o = append(o, `{"line":`...)
		o = appendInt(o, *f.Index)
		o = append(o, `,"field":`...)
		o = answer.AppendString(o, f.Field)
		o = append(o, `,"message":`...)
		o = answer.AppendString(o, f.Message)
		o = append(o, '}')
		separator = ","
	}
	if separator == "," {
		o = append(o, ']')
	}
	if ids, ok := e.Extra["event_ids"].([]string); ok {
		separator = `,"event_ids":[`
		for _, id := range ids {
			o = append(o, separator...)
			o = answer.AppendString(o, id)
			separator = ","
		}
		o = append(o, ']')
	}
	b.answer = append(o, "}\n"...)
	if b.worst == nil || severity(e) > severity(b.worst) {
		b.worst = e
	}
}

// send answers with the line of each chunk.
func (b *bulk) send() error {
	status := fiber.StatusCreated
	if b.prefer.async {
		status = fiber.StatusAccepted
	}
	if b.worst != nil {
		httpapi.Failed(b.c, b.worst)
		status = b.worst.Status
		for _, h := range b.worst.Headers {
			b.c.Response().Header.SetCanonical([]byte(h.Name), []byte(h.Value))
		}
	}
	if b.prefer.applied != "" {
		b.c.Set("Preference-Applied", b.prefer.applied)
	}
	if err := httpapi.Raw(b.c, status, b.answer); err != nil {
		return err
	}
	b.c.Set(fiber.HeaderContentType, httpapi.MIMELines)
	return nil
}

// severity orders failures for the status: first those after which the same request should be sent again, then those that
// its sender must mend.
func severity(e *httpapi.Error) int {
	switch {
	case e.Status >= fiber.StatusInternalServerError:
		return 3
	case e.Status == fiber.StatusTooManyRequests:
		return 2
	case e.Status == fiber.StatusConflict:
		return 0
	}
	return 1
}

func asFailure(err error) *httpapi.Error {
	var e *httpapi.Error
	if errors.As(err, &e) {
		return e
	}
	return httpapi.Internal(err)
}

// badLines is the failure of a chunk in which not all lines are events.
func badLines(errs []httpapi.FieldError) *httpapi.Error {
	lines, last := 0, 0
	for _, f := range errs {
		if *f.Index != last {
			lines, last = lines+1, *f.Index
		}
	}
	e := httpapi.BadRequest(httpapi.CodeInvalidField, fmt.Sprintf("Lines that are no event: %d. Nothing of this chunk is written.", lines))
	e.Fields = errs
	return e
}
