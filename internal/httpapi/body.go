package httpapi

import (
	"bytes"
	"errors"
	"strings"
	"unsafe"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// Body returns the request's JSON body, at most limit bytes, decompressed where it was compressed. Its errors are 415 (a
// Content-Type other than application/json in UTF-8, none is accepted; an unknown Content-Encoding), 413 (more than
// limit, also only after decompression) and 400 (what it is compressed with is broken).
//
// The bytes lie in a buffer that is used again after the handler has returned.
func Body(c *fiber.Ctx, limit int) ([]byte, error) {
	req := c.Request()
	if !isJSON(unsafeString(req.Header.ContentType())) {
		return nil, UnsupportedMediaType("Content-Type must be application/json.")
	}
	encoding, err := contentEncoding(&req.Header)
	if err != nil {
		return nil, err
	}
	body := req.Body()
	if encoding != "" {
		body, err = uncompress(req, encoding, limit)
		if err != nil {
			return nil, err
		}
	}
	if len(body) > limit {
		return nil, BodyTooLarge(limit)
	}
	return body, nil
}

// isJSON reports whether a Content-Type is absent or application/json in UTF-8.
func isJSON(contentType string) bool {
	media, params, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	if media != "" && !strings.EqualFold(media, fiber.MIMEApplicationJSON) {
		return false
	}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if strings.EqualFold(name, "charset") && !strings.EqualFold(strings.Trim(value, `"`), "utf-8") {
			return false
		}
	}
	return true
}

// contentEncoding returns the body's one coding in the spelling that fasthttp knows, "" for none.
func contentEncoding(h *fasthttp.RequestHeader) (string, error) {
	found := ""
	for _, line := range h.PeekAll(fiber.HeaderContentEncoding) {
		for coding := range bytes.SplitSeq(line, []byte(",")) {
			name := strings.ToLower(string(bytes.TrimSpace(coding)))
			switch name {
			case "", "identity":
				continue
			case "x-gzip":
				name = "gzip"
			case "gzip", "deflate", "br", "zstd":
			default:
				return "", unsupportedEncoding()
			}
			if found != "" {
				return "", unsupportedEncoding()
			}
			found = name
		}
	}
	return found, nil
}

func unsupportedEncoding() *Error {
	e := UnsupportedMediaType("Content-Encoding must be gzip, deflate, br or zstd.")
	e.Headers = []Header{{fiber.HeaderAcceptEncoding, "gzip, deflate, br, zstd"}}
	return e
}

func uncompress(req *fasthttp.Request, encoding string, limit int) ([]byte, error) {
	req.Header.SetContentEncoding(encoding)
	body, err := req.BodyUncompressedWithLimit(limit)
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return nil, BodyTooLarge(limit)
	}
	e := BadRequest(CodeInvalidRequest, "The request body is not valid "+encoding+".")
	e.Cause = err
	return nil, e
}

// unsafeString reads b as a string for as long as b does not change.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
