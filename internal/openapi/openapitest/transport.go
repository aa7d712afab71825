package openapitest

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

// largestChecked is how much of an answer is kept to be checked. Of a longer one only status and headers are.
const largestChecked = 1 << 20

// Transport sends requests through base, nil for http.DefaultTransport, and fails the test for every exchange that contradicts
// the document. An answer's body is checked when it has been read to its end.
func Transport(t testing.TB, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &checking{t, base}
}

// Client is an HTTP client on [Transport].
func Client(t testing.TB) *http.Client { return &http.Client{Transport: Transport(t, nil)} }

type checking struct {
	t    testing.TB
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c *checking) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &Exchange{Method: req.Method, Target: req.URL.RequestURI(), Header: req.Header.Clone(), Partial: true}
	if req.Body != nil {
		sent, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_ = req.Body.Close() // a test's own, in memory
		x.Body = sent
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := c.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	x.Status, x.AnswerHeader = resp.StatusCode, resp.Header
	resp.Body = &checkedBody{ReadCloser: resp.Body, check: func(body []byte) {
		x.Answer, x.Partial = body, body == nil
		if err := Check(x); err != nil {
			c.t.Error(err)
		}
	}}
	return resp, nil
}

// CloseIdleConnections lets http.Client close those of the transport below.
func (c *checking) CloseIdleConnections() {
	(&http.Client{Transport: c.base}).CloseIdleConnections()
}

// checkedBody calls check once: at its end with what was read, or when it is closed before it, with nil.
type checkedBody struct {
	io.ReadCloser
	read  bytes.Buffer
	long  bool
	check func(body []byte)
}

// Read implements io.Reader.
func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.long {
		b.read.Write(p[:n])
		b.long = b.read.Len() > largestChecked
	}
	if err == io.EOF {
		b.end(true)
	}
	return n, err
}

// Close implements io.Closer.
func (b *checkedBody) Close() error {
	b.end(false)
	return b.ReadCloser.Close()
}

func (b *checkedBody) end(whole bool) {
	check := b.check
	if check == nil {
		return
	}
	b.check = nil
	switch {
	case !whole || b.long:
		check(nil)
	default:
		check(append([]byte{}, b.read.Bytes()...))
	}
}
