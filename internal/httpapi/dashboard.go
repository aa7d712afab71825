package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// dashboardPolicy lets the page load its own files and speak to its own server. Nothing inline runs, and no text becomes HTML:
// the browser itself refuses it.
const dashboardPolicy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// unbuiltPage is what stands at / where nobody has built the dashboard.
const unbuiltPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>KeyPulse</title>
<h1>KeyPulse</h1><p>The dashboard is not in this binary: run <code>make build</code> (it needs Node.js and npm).
The API is here all the same; <a href="/docs">/docs</a> describes it.</p></html>
`

// asset is a file of the dashboard in the forms in which it is sent.
type asset struct {
	mime   string
	forms  [3]form // br, gzip, plain; the first two may be missing
	steady bool    // its name changes with its content
}

type form struct {
	encoding, etag string
	body           []byte
}

// registerDashboard puts the dashboard's files on the server: the page at /, the rest where they are.
func (s *Server) registerDashboard(files fs.FS) {
	page, err := loadAsset(files, "index.html")
	if err != nil {
		s.app.Get("/", func(c *fiber.Ctx) error {
			c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
			c.Set(fiber.HeaderContentSecurityPolicy, dashboardPolicy)
			return c.SendString(unbuiltPage)
		})
		return
	}
	s.app.Get("/", func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentSecurityPolicy, dashboardPolicy)
		c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
		c.Set("Cross-Origin-Opener-Policy", "same-origin")
		return page.send(c)
	})
	names, err := fs.Glob(files, "assets/*")
	if err != nil {
		panic("BUG: " + err.Error()) // the pattern is a good one
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz") {
			continue
		}
		a, err := loadAsset(files, name)
		if err != nil {
			panic(fmt.Sprintf("BUG: read embedded %s: %v", name, err))
		}
		a.steady = true
		s.app.Get("/"+name, a.send)
	}
}

func loadAsset(files fs.FS, name string) (*asset, error) {
	a := &asset{mime: mime.TypeByExtension(path.Ext(name))}
	for i, f := range [...]struct{ suffix, encoding string }{{".br", "br"}, {".gz", "gzip"}, {"", ""}} {
		body, err := fs.ReadFile(files, name+f.suffix)
		if err != nil && f.suffix == "" {
			return nil, err
		}
		if err != nil {
			continue
		}
		sum := sha256.Sum256(body)
		a.forms[i] = form{encoding: f.encoding, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, body: body}
	}
	return a, nil
}

// send answers with the smallest form that the client takes, or 304 when it has it.
func (a *asset) send(c *fiber.Ctx) error {
	f := a.form(c.Get(fiber.HeaderAcceptEncoding))
	h := &c.Response().Header
	h.Set(fiber.HeaderETag, f.etag)
	h.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
	h.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	if a.steady {
		h.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
	} else {
		h.Set(fiber.HeaderCacheControl, "no-cache") // ask each time whether it is still the same
	}
	if bytes.Contains(c.Request().Header.Peek(fiber.HeaderIfNoneMatch), []byte(f.etag)) {
		c.Status(fiber.StatusNotModified)
		return nil
	}
	h.SetContentType(a.mime)
	if f.encoding != "" {
		h.Set(fiber.HeaderContentEncoding, f.encoding)
	}
	c.Response().SetBodyRaw(f.body)
	return nil
}

func (a *asset) form(accepts string) *form {
	for i := range a.forms {
		f := &a.forms[i]
		if f.body != nil && (f.encoding == "" || accepted(accepts, f.encoding)) {
			return f
		}
	}
	return &a.forms[len(a.forms)-1]
}

// accepted reports whether Accept-Encoding names an encoding without refusing it.
func accepted(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), encoding) {
			return !strings.HasPrefix(strings.ReplaceAll(weight, " ", "")+".", "q=0.") || strings.ContainsAny(weight, "123456789")
		}
	}
	return false
}
