package bench

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// maxAnswer bounds an answer's body in bytes: a batch of 100 events with the largest details is below it.
const maxAnswer = 16 << 20

// client speaks to one instance. It never repeats a request: a retry would be an event more, and a latency less.
type client struct {
	host    *fasthttp.HostClient
	root    string
	bearer  string
	timeout time.Duration
}

func newClient(cfg *Config, root *url.URL) *client {
	isTLS := root.Scheme == "https"
	return &client{
		host: &fasthttp.HostClient{
			Addr:                      fasthttp.AddMissingPort(root.Host, isTLS),
			IsTLS:                     isTLS,
			Name:                      "keypulse-bench",
			DialTimeout:               dial,
			MaxConns:                  cfg.Connections + 1, // one for the polls of the alerts
			MaxIdemponentCallAttempts: 1,
			MaxResponseBodySize:       maxAnswer,
			MaxIdleConnDuration:       5 * time.Second, // before the server closes it, which would count as an error
		},
		root:    root.Scheme + "://" + root.Host,
		bearer:  "Bearer " + cfg.APIKey,
		timeout: cfg.Timeout,
	}
}

// dial stands for fasthttp's own dialer, which leaves a goroutine behind and knows IPv4 alone.
func dial(addr string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", addr, timeout)
}

// call is a request and its answer, reused by one goroutine for all its requests.
type call struct {
	client *client
	req    *fasthttp.Request
	resp   *fasthttp.Response
}

func (c *client) newCall(method, path string) *call {
	k := &call{client: c, req: fasthttp.AcquireRequest(), resp: fasthttp.AcquireResponse()}
	k.req.Header.SetMethod(method)
	k.req.SetRequestURI(c.root + path)
	k.req.Header.Set(fasthttp.HeaderAuthorization, c.bearer)
	if method == fasthttp.MethodPost {
		k.req.Header.SetContentType("application/json")
	}
	return k
}

// newPost returns a call that posts events, single or in batches, as cfg says.
func (c *client) newPost(cfg *Config) *call {
	path := "/api/events"
	if cfg.Batch > 1 {
		path = "/api/events/batch"
	}
	k := c.newCall(fasthttp.MethodPost, path)
	if cfg.Async {
		k.req.Header.Set("Prefer", "respond-async")
	}
	return k
}

// do sends body and returns the answer's status and body; both bodies are the caller's until the next do.
func (k *call) do(body []byte) (status int, answer []byte, err error) {
	if body != nil {
		k.req.SetBodyRaw(body)
	}
	if err = k.client.host.DoTimeout(k.req, k.resp, k.client.timeout); err != nil {
		return 0, nil, err
	}
	return k.resp.StatusCode(), k.resp.Body(), nil
}

func (k *call) close() {
	fasthttp.ReleaseRequest(k.req)
	fasthttp.ReleaseResponse(k.resp)
}

// errorKind sorts a transport error into few kinds.
func errorKind(err error) string {
	var timer interface{ Timeout() bool } // fasthttp's own timeout is no net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, fasthttp.ErrConnectionClosed):
		return "connection closed"
	case errors.As(err, &timer) && timer.Timeout():
		return "timeout"
	default:
		return "transport"
	}
}

// refusal names a status that is not 2xx, with the error's code and message where the body has them.
func refusal(status int, body []byte) (kind, text string) {
	code, message := failure(body)
	kind = "status " + strconv.Itoa(status)
	if code != "" {
		kind += " " + code
	}
	if message == "" {
		return kind, kind
	}
	return kind, fmt.Sprintf("%s: %s", kind, message)
}
