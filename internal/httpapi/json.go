package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gofiber/fiber/v2"
)

// JSON answers with v as encoding/json writes it, but with <, > and & as they are. Times are [schema.Millis], which
// write themselves in RFC 3339 with milliseconds.
func JSON(c *fiber.Ctx, status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return Raw(c, status, body)
}

// Raw answers with a body that is JSON already. It copies body.
func Raw(c *fiber.Ctx, status int, body []byte) error {
	resp := c.Response()
	resp.SetStatusCode(status)
	resp.Header.SetContentType(fiber.MIMEApplicationJSON)
	resp.SetBody(body)
	return nil
}

// Build answers with a body that is JSON already, which build appends to b: the answer's own buffer, so that nothing is
// copied.
func Build(c *fiber.Ctx, status int, build func(b []byte) []byte) error {
	resp := c.Response()
	resp.SetStatusCode(status)
	resp.Header.SetContentType(fiber.MIMEApplicationJSON)
	resp.SwapBody(build(resp.SwapBody(nil)[:0]))
	return nil
}

func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
