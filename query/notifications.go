package query

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/notify"
	"keypulse/schema"
)

// Notifications is what the webhooks' part of the API works with. The caller feeds both tables.
type Notifications struct {
	Webhooks *notify.Webhooks
	Silences *notify.Silences
	View     *notify.View  // of what was sent
	Secret   notify.Sealer // seals credentials
	Networks []netip.Prefix
	Mail     bool // there is a mail server
	// The appends write a record to its topic and return the offset it got. They are called from many goroutines.
	AppendWebhook func(ctx context.Context, rec schema.WebhookRecord) (offset int64, err error)
	AppendSilence func(ctx context.Context, rec schema.SilenceRecord) (offset int64, err error)
	AppendNotice  func(ctx context.Context, rec schema.NoticeRecord) (offset int64, err error)
}

// registerNotifications puts the routes on app.
func (q *Query) registerNotifications(app fiber.Router, read, write fiber.Handler) {
	app.Get("/api/webhooks", read, q.listWebhooks)
	app.Post("/api/webhooks", write, q.createWebhook)
	app.Get("/api/webhooks/:id", read, q.showWebhook)
	app.Put("/api/webhooks/:id", write, q.replaceWebhook)
	app.Delete("/api/webhooks/:id", write, q.deleteWebhook)
	app.Post("/api/webhooks/:id/rotate", write, q.rotateWebhook)
	app.Post("/api/webhooks/:id/test", write, q.testWebhook)
	app.Get("/api/webhooks/:id/deliveries", read, q.listDeliveries)
	app.Post("/api/webhooks/:id/deliveries/:delivery/resend", write, q.resendDelivery)
	app.Get("/api/silences", read, q.listSilences)
	app.Post("/api/silences", write, q.createSilence)
	app.Get("/api/silences/:id", read, q.showSilence)
	app.Delete("/api/silences/:id", write, q.endSilence)
}

const notificationBody = 64 << 10

// readMembers reads a JSON object strictly; none is an empty one. A member that is not one of names is refused by name.
func readMembers(c *fiber.Ctx, into any, names ...string) error {
	if _, err := parseParams(c); err != nil {
		return err
	}
	body, err := httpapi.Body(c, notificationBody)
	if err != nil || len(body) == 0 {
		return err
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil {
		return httpapi.BadRequest(httpapi.CodeMalformedJSON, "Malformed JSON: "+strings.TrimPrefix(err.Error(), "json: ")+".")
	}
	var wrong []httpapi.FieldError
	for name := range members {
		if !slices.Contains(names, name) {
			wrong = append(wrong, unknownField(name, names...))
		}
	}
	if wrong != nil {
		slices.SortFunc(wrong, func(a, b httpapi.FieldError) int { return cmp.Compare(a.Field, b.Field) })
		return httpapi.InvalidFields(wrong...)
	}
	var shape *json.SemanticError
	if err := json.Unmarshal(body, into); errors.As(err, &shape) {
		field := strings.ReplaceAll(strings.TrimPrefix(string(shape.JSONPointer), "/"), "/", ".")
		return httpapi.InvalidFields(httpapi.FieldError{Field: field, Message: "has the wrong type"})
	} else if err != nil {
		return httpapi.BadRequest(httpapi.CodeMalformedJSON, "Malformed JSON: "+err.Error()+".")
	}
	return nil
}

// newID makes an id of 100 random bits.
func newID(prefix string) string {
	var b [13]byte
	_, _ = rand.Read(b[:]) // it never returns an error
	return prefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))[:20]
}

// matcher is the lists by which webhooks and silences choose alerts.
type matcher struct {
	wrong []httpapi.FieldError
}

func (m *matcher) refuse(field, message string) {
	m.wrong = append(m.wrong, httpapi.FieldError{Field: field, Message: message})
}

// list checks a list of words, each once.
func (m *matcher) list(field string, words []string, longest, most int) {
	if len(words) > most {
		m.refuse(field, "has too many elements")
		return
	}
	for i, w := range words {
		if w == "" || len(w) > longest || !isPlain(w) {
			m.refuse(field, "must hold strings that people can read, of bounded length")
			return
		}
		if slices.Contains(words[:i], w) {
			m.refuse(field, "holds an element twice")
			return
		}
	}
}

func (m *matcher) severities(words []string) {
	for i, w := range words {
		if _, ok := schema.ParseSeverity(w); !ok || slices.Contains(words[:i], w) {
			m.refuse("severities", "must hold each of "+httpapi.Alternatives(schema.Severities[:])+" at most once")
			return
		}
	}
}

func (m *matcher) err() error {
	if m.wrong == nil {
		return nil
	}
	return httpapi.InvalidFields(m.wrong...)
}

// orEmpty shows no list as an empty one.
func orEmpty(words []string) []string {
	if words == nil {
		return []string{}
	}
	return words
}

// orNull shows no time as null.
func orNull(at schema.Millis) *schema.Millis {
	if at == 0 {
		return nil
	}
	return &at
}
