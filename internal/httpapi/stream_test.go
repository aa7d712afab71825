package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
)

func TestStream(t *testing.T) {
	ended := make(chan error, 1)
	stream := func(app *fiber.App, path string, write func(ctx context.Context, w *bufio.Writer) error) {
		app.Get(path, func(c *fiber.Ctx) error { return Stream(c, 200, fiber.MIMEApplicationJSON, write) })
	}
	ts := start(t, nil, func(app *fiber.App) {
		stream(app, "/api/whole", func(_ context.Context, w *bufio.Writer) error {
			for range 100_000 {
				w.WriteString("0123456789")
			}
			return nil
		})
		stream(app, "/api/broken", func(_ context.Context, w *bufio.Writer) error {
			w.WriteString("half")
			return errors.New("no more")
		})
		stream(app, "/api/panic", func(_ context.Context, w *bufio.Writer) error {
			w.WriteString("half")
			w.Flush()
			panic("oh")
		})
		stream(app, "/api/endless", func(ctx context.Context, w *bufio.Writer) error {
			for {
				if _, err := w.WriteString("0123456789"); err != nil {
					<-ctx.Done()
					ended <- err
					return err
				}
			}
		})
	})
	if r := ts.get("/api/whole", ""); r.StatusCode != 200 || r.body != strings.Repeat("0123456789", 100_000) {
		t.Errorf("%d, %d bytes", r.StatusCode, len(r.body))
	}
	for _, path := range []string{"/api/broken", "/api/panic"} {
		resp, err := http.Get("http://" + ts.addr + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v; want it to break off", path, err)
		}
	}
	if n := ts.logs.FilterMessage("stream broke off").Len(); n != 2 {
		t.Errorf("%d streams were logged as broken, want 2", n)
	}

	c := ts.dial()
	fmt.Fprintf(c, "GET /api/endless HTTP/1.1\r\nHost: x\r\n\r\n")
	io.ReadFull(c, make([]byte, 1<<20))
	c.Close()
	if err := <-ended; err == nil {
		t.Error("the stream outlives its client")
	}
	if r := ts.send("HEAD", "/api/endless", "", ""); r.StatusCode != 200 || r.body != "" {
		t.Errorf("HEAD: %d %q", r.StatusCode, r.body)
	}
	<-ended
}
