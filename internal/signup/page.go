package signup

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/url"
	"strings"
	"unicode"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"keypulse/internal/httpapi"
	"keypulse/internal/mail"
)

// Path is where people sign up; a mail's link leads to ConfirmPath.
const (
	Path        = "/signup"
	ConfirmPath = Path + "/confirm"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var page = template.Must(template.New("page").Parse(pageHTML))

// policy lets a page have its own style and its own forms, and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
}()

// shown is what a page shows: one of its parts, and what stands in it.
type shown struct {
	Part    string // form, sent, confirm, made, or message
	Style   template.CSS
	Address string
	Company string
	Problem string
	Token   string
	Tenant  string
	APIKey  string
	URL     string
}

func show(c *fiber.Ctx, status int, s shown) error {
	s.Style = template.CSS(pageCSS)
	var b bytes.Buffer
	if err := page.Execute(&b, s); err != nil {
		return err
	}
	for name, value := range map[string]string{
		fiber.HeaderContentSecurityPolicy: policy, fiber.HeaderCacheControl: "no-store", fiber.HeaderReferrerPolicy: "no-referrer",
		fiber.HeaderXContentTypeOptions: "nosniff", fiber.HeaderContentType: fiber.MIMETextHTMLCharsetUTF8,
	} {
		c.Set(name, value)
	}
	return c.Status(status).Send(b.Bytes())
}

// Register puts the routes on app. Nobody needs an API key.
func (s *Signup) Register(app fiber.Router) {
	app.Get(Path, s.showForm)
	app.Post(Path, s.takeForm)
	app.Get(ConfirmPath, s.showConfirm)
	app.Post(ConfirmPath, s.takeConfirm)
}

func (s *Signup) showForm(c *fiber.Ctx) error {
	return show(c, fiber.StatusOK, shown{Part: "form"})
}

const formLimit = 16 << 10

// form reads a form's fields.
func form(c *fiber.Ctx) (url.Values, error) {
	media, _, _ := strings.Cut(string(c.Request().Header.ContentType()), ";")
	if strings.TrimSpace(media) != fiber.MIMEApplicationForm {
		return nil, httpapi.UnsupportedMediaType("Content-Type must be " + fiber.MIMEApplicationForm + ".")
	}
	body := c.Request().Body()
	if len(body) > formLimit {
		return nil, httpapi.BodyTooLarge(formLimit)
	}
	fields, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, httpapi.BadRequest(httpapi.CodeInvalidRequest, "The form cannot be read.")
	}
	return fields, nil
}

// takeForm is POST /signup. What it answers depends on what was typed and on who asks how often, and on nothing that is known of
// the address; and it waits for no mail.
func (s *Signup) takeForm(c *fiber.Ctx) error {
	fields, err := form(c)
	if err != nil {
		return err
	}
	f := shown{Part: "form", Address: strings.TrimSpace(fields.Get("email")), Company: strings.TrimSpace(fields.Get("company"))}
	address, err := mail.ParseAddress(f.Address)
	switch {
	case err != nil:
		f.Problem = "This is no e-mail address."
	case f.Company == "" || len([]rune(f.Company)) > 100 || strings.ContainsFunc(f.Company, unicode.IsControl):
		f.Problem = "The company's name must have 1 to 100 characters."
	}
	if f.Problem != "" {
		return show(c, fiber.StatusBadRequest, f)
	}
	if !s.networks.take(network(httpapi.ClientAddr(c.Context(), s.cfg.Proxies)), s.cfg.Now()) {
		c.Set(fiber.HeaderRetryAfter, "3600")
		f.Problem = "Too many requests from your network. Please try again in an hour."
		return show(c, fiber.StatusTooManyRequests, f)
	}
	if err := s.ask(address, f.Company); errors.Is(err, errBusy) {
		f.Problem = "Too many requests at once. Please try again in a minute."
		return show(c, fiber.StatusServiceUnavailable, f)
	} else if err != nil {
		return err
	}
	return show(c, fiber.StatusOK, shown{Part: "sent", Address: address})
}

// showConfirm is where the mail's link leads. It changes nothing: programs that look at links in mails must not use them up.
func (s *Signup) showConfirm(c *fiber.Ctx) error {
	token := strings.Clone(c.Query("token"))
	l, err := s.open(token)
	if err != nil {
		return s.refuse(c)
	}
	return show(c, fiber.StatusOK, shown{Part: "confirm", Token: token, Company: l.Company, Address: l.Address})
}

func (s *Signup) refuse(c *fiber.Ctx) error {
	return show(c, fiber.StatusBadRequest, shown{Part: "message", Problem: "This link was used, or is over an hour old, or is not whole. Please sign up again."})
}

// takeConfirm is POST /signup/confirm: it makes the tenant, and shows its API key, once.
func (s *Signup) takeConfirm(c *fiber.Ctx) error {
	fields, err := form(c)
	if err != nil {
		return err
	}
	// What has begun is not given up because nobody waits for its answer.
	r, apiKey, err := s.confirm(context.Background(), fields.Get("token"))
	switch {
	case errors.Is(err, errLink):
		return s.refuse(c)
	case err != nil:
		s.cfg.Log.Error("cannot complete a sign-up", zap.Error(err))
		return show(c, fiber.StatusServiceUnavailable, shown{Part: "message", Problem: "This did not work. Please follow the link in the mail again in a minute."})
	}
	s.cfg.Log.Info("a tenant has signed up", zap.String("tenant", string(r.Tenant)))
	return show(c, fiber.StatusCreated, shown{Part: "made", Company: r.Company, Tenant: string(r.Tenant), APIKey: apiKey, URL: s.cfg.PublicURL})
}
