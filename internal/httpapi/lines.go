package httpapi

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/klauspost/compress/zstd"
)

// MIMELines is the Content-Type of JSON lines.
const MIMELines = "application/x-ndjson"

// maxZstdWindow bounds what a zstd body makes us remember of it: what RFC 8878 wants every decoder to take.
const maxZstdWindow = 8 << 20

// Lines returns the request's body of JSON lines as a stream, decompressed where it was gzip or zstd; it ends with an
// [Error] when it is broken, or longer than limit bytes. Close it. Its own errors are 415: another Content-Type, another
// Content-Encoding.
func Lines(c *fiber.Ctx, limit int) (io.ReadCloser, error) {
	req := c.Request()
	media, _, _ := strings.Cut(unsafeString(req.Header.ContentType()), ";")
	if !strings.EqualFold(strings.TrimSpace(media), MIMELines) {
		return nil, UnsupportedMediaType("Content-Type must be " + MIMELines + ".")
	}
	encoding, err := contentEncoding(&req.Header)
	if err != nil {
		return nil, linesEncoding()
	}
	l := &lines{encoding: encoding, left: limit, limit: limit, sent: bytes.NewReader(req.Body())}
	switch encoding {
	case "":
		l.plain, l.close = l.sent, func() {}
	case "gzip":
		zipped, err := gzip.NewReader(l.sent)
		if err != nil {
			return nil, l.broken(err)
		}
		zipped.Multistream(false)
		l.plain, l.close = zipped, func() { _ = zipped.Close() }
	case "zstd":
		zipped, err := zstd.NewReader(l.sent, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, l.broken(err)
		}
		l.plain, l.close = zipped, zipped.Close
	default:
		return nil, linesEncoding()
	}
	return l, nil
}

func linesEncoding() *Error {
	e := UnsupportedMediaType("Content-Encoding must be gzip or zstd.")
	e.Headers = []Header{{fiber.HeaderAcceptEncoding, "gzip, zstd"}}
	return e
}

// lines is a body that is decompressed as it is read.
type lines struct {
	encoding    string
	sent        *bytes.Reader
	plain       io.Reader
	close       func()
	left, limit int // bytes, decompressed
}

// Read reads decompressed bytes.
func (l *lines) Read(b []byte) (int, error) {
	n, err := l.plain.Read(b[:min(len(b), l.left+1)])
	if n > l.left {
		return 0, BodyTooLarge(l.limit)
	}
	l.left -= n
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, l.broken(err)
	case l.sent.Len() > 0:
		return n, l.broken(errors.New("something follows the compressed stream"))
	}
	return n, io.EOF
}

// Close frees what decompressing took.
func (l *lines) Close() error {
	l.close()
	return nil
}

func (l *lines) broken(cause error) *Error {
	e := BadRequest(CodeInvalidRequest, "The request body is not valid "+l.encoding+".")
	e.Cause = cause
	return e
}
