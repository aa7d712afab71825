package query

import (
	"fmt"
	"io"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/gofiber/fiber/v2"
)

// streamKeys answers with every key that the parameters allow. What fails before the first row is an ordinary failure.
func (q *Query) streamKeys(c *fiber.Ctx, out *page, p *params) error {
	j := q.begin(c, q.cfg.StreamTimeout)
	rows, err := j.allKeys(p)
	if err != nil {
		j.end()
		return err
	}
	j.leave()
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyStream(&keyStream{job: j, rows: rows, page: out}, -1)
	return nil
}

func (j *job) allKeys(p *params) (driver.Rows, error) {
	sql, args, err := j.keysStatement(p, 0)
	if err != nil {
		return nil, err
	}
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
	if s.rows.Next() {
		if err := addKey(s.page, s.job.tenant, s.rows); err != nil {
			return fmt.Errorf("scan keys: %w", err)
		}
		return nil
	}
	err := s.rows.Err()
	if err == nil && !s.page.whole {
		err = errCut
	}
	if err != nil {
		return s.job.failure("keys", err)
	}
	s.page.close()
	s.done = true
	return nil
}

// Close implements [io.Closer]; fasthttp calls it also when the client has left.
func (s *keyStream) Close() error {
	s.job.end()
	_ = s.rows.Close() // the statement has been given up or has ended
	return nil
}
