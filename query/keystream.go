package query

import (
	"context"
	"fmt"
	"io"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
)

// streamKeys answers with every key that the filter lets pass. What fails before the first row is an ordinary failure.
func (q *Query) streamKeys(c *fiber.Ctx, out *page, f keyFilter) error {
	j := q.begin(c, q.cfg.StreamTimeout)
	s, err := j.openKeys(out, f)
	if err != nil {
		j.end()
		return err
	}
	j.leave()
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyStream(s, -1)
	return nil
}

// openKeys takes one of the node's streams and begins its statement. A stream holds one connection to its end and now
// and then needs another, so there must be fewer streams than connections.
func (j *job) openKeys(out *page, f keyFilter) (*keyStream, error) {
	select {
	case j.q.streams <- struct{}{}:
	case <-j.ctx.Done():
		return nil, unavailable(httpapi.CodeUnavailable, "Too many lists are being sent. Please try again.", context.Cause(j.ctx))
	}
	rows, err := j.allKeys(f)
	if err != nil {
		<-j.q.streams
		return nil, err
	}
	s := &keyStream{job: j, rows: rows, page: out}
	s.walk = j.walkKeys(f, 0, s.scan)
	return s, nil
}

func (j *job) allKeys(f keyFilter) (driver.Rows, error) {
	if err := j.seeActions(0); err != nil {
		return nil, err
	}
	sql, args := j.keysStatement(j.keysAre(f, nil), 0)
	return j.query("keys", sql, args, keysSettings())
}

// streamChunk is about how many bytes of a stream are made at once.
const streamChunk = 32 << 10

// keyStream writes the answer as the connection takes it, in the goroutine that serves the connection, and so holds
// one chunk and one block of rows whatever their number. It uses nothing of the request, which is over by then.
//
// A failure in the middle ends the connection without the last chunk of the transfer coding: the client sees that the
// answer is cut, and never a shorter list.
type keyStream struct {
	job  *job
	rows driver.Rows
	walk *keyWalk
	page *page
	read int // how much of page.body has been handed out
	done bool
}

// Read implements [io.Reader].
func (s *keyStream) Read(b []byte) (int, error) {
	if s.read == len(s.page.body) {
		if s.done {
			return 0, io.EOF
		}
		s.page.body, s.read = s.page.body[:0], 0
	}
	for !s.done && len(s.page.body) < streamChunk {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.page.body[s.read:])
	s.read += n
	return n, nil
}

// next appends a row, or the end of the answer.
func (s *keyStream) next() error {
	more, err := s.walk.next(func(r keyRow) { s.walk.addKey(s.page, r, nil) })
	if err == nil && !more {
		s.page.close()
		s.done = true
	}
	return err
}

// scan reads a row of the statement.
func (s *keyStream) scan() (keySums, bool, error) {
	if !s.rows.Next() {
		err := s.rows.Err()
		if err == nil {
			err = errCut
		}
		return keySums{}, false, s.job.failure("keys", err)
	}
	k, last, err := scanKey(s.rows)
	if err != nil {
		return k, false, fmt.Errorf("scan keys: %w", err)
	}
	return k, !last, nil
}

// Close implements [io.Closer]; fasthttp calls it also when the client has left.
func (s *keyStream) Close() error {
	s.job.end()
	_ = s.rows.Close() // the statement has been given up or has ended
	<-s.job.q.streams
	return nil
}
