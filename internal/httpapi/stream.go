package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"
)

// streamBuffer is how many bytes a stream gathers before it sends.
const streamBuffer = 32 << 10

// Stream answers with what write writes, while it writes it, for answers that are too long to be held. When write fails
// or panics, that is logged, and the client sees the answer break off: the connection closes before the last chunk, so
// that a part never looks like the whole.
//
// write runs in a goroutine of its own, after the handler has returned: it must not touch c, nor strings and bytes that
// came from it. ctx ends when the client is gone or the server has shut down. The goroutine that serves the connection
// waits for write's end.
func Stream(c *fiber.Ctx, status int, contentType string, write func(ctx context.Context, w *bufio.Writer) error) error {
	r := requestOf(c.Context())
	log := r.log.With(zap.String("request_id", r.id), zap.String("route", c.Route().Path))
	ctx, cancel := context.WithCancel(context.Background())
	pr, pw := io.Pipe()
	body := &streamBody{PipeReader: pr, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(body.done)
		err := writeStream(ctx, pw, write)
		if err != nil && ctx.Err() == nil {
			log.Error("stream broke off", zap.Error(err))
		}
		_ = pw.CloseWithError(err) // nil is the clean end
	}()
	resp := c.Response()
	resp.SetStatusCode(status)
	resp.Header.SetContentType(contentType)
	resp.SetBodyStream(body, -1)
	return nil
}

func writeStream(ctx context.Context, pw *io.PipeWriter, write func(context.Context, *bufio.Writer) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	w := bufio.NewWriterSize(pw, streamBuffer)
	if err := write(ctx, w); err != nil {
		return err
	}
	return w.Flush()
}

// streamBody is the reading end, which the goroutine of the connection holds.
type streamBody struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{} // closed when write has ended
}

// Close ends write, if it still runs, and waits for it.
func (b *streamBody) Close() error {
	b.cancel()
	_ = b.PipeReader.Close()
	<-b.done
	return nil
}
