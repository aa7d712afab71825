package httpapi

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// compressions returns text in every coding that the API takes, by its name.
func compressions(t *testing.T, text string) map[string]string {
	t.Helper()
	return map[string]string{
		"gzip":    string(fasthttp.AppendGzipBytes(nil, []byte(text))),
		"deflate": string(fasthttp.AppendDeflateBytes(nil, []byte(text))),
		"br":      string(fasthttp.AppendBrotliBytes(nil, []byte(text))),
		"zstd":    string(fasthttp.AppendZstdBytes(nil, []byte(text))),
	}
}
