package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/httpapi"
	"keypulse/rules"
	"keypulse/schema"
)

const (
	maxTags = 20
	maxWord = 64 // bytes of a key's type, its status, a tag
)

// keyMembers are what an owner can say of a key.
var keyMembers = []string{"name", "key_type", "status", "tags", "rotation_period", "version"}

// pathKeyID reads the key_id of a path.
func pathKeyID(c *fiber.Ctx) (string, error) {
	id, err := url.PathUnescape(c.Params("key_id"))
	if err != nil || id == "" || len(id) > maxText || !utf8.ValidString(id) || strings.ContainsRune(id, 0) {
		return "", httpapi.InvalidParameters(httpapi.FieldError{Field: "key_id", Message: fmt.Sprintf("must be 1 to %d bytes of UTF-8 without U+0000", maxText)})
	}
	return id, nil
}

// readKeyRecord reads the body of PUT /api/keys/{key_id}: all that is said of the key; what is left out or null is as
// before anybody said anything. replaces is the member version, 0 where there is none.
func readKeyRecord(c *fiber.Ctx, keyID string) (r schema.KeyRecord, replaces *int64, err error) {
	body, err := httpapi.Body(c, httpapi.DefaultBodyLimit)
	if err != nil {
		return r, nil, err
	}
	r = *plainRecord(keyID)
	d := jsontext.NewDecoder(bytes.NewReader(body))
	object, err := d.ReadValue()
	if err != nil {
		return r, nil, httpapi.BadRequest(httpapi.CodeMalformedJSON, "Malformed JSON: "+err.Error()+".")
	}
	if object.Kind() != '{' || len(bytes.TrimSpace(body[d.InputOffset():])) > 0 {
		return r, nil, httpapi.InvalidFields(httpapi.FieldError{Message: "expected one JSON object"})
	}
	b := keyBody{r: &r}
	members := jsontext.NewDecoder(bytes.NewReader(object))
	_, _ = members.ReadToken() // the brace: ReadValue has seen that all of it is JSON
	for members.PeekKind() == '"' {
		token, _ := members.ReadToken()
		name := token.String()
		value, _ := members.ReadValue()
		b.member(name, value)
	}
	if b.wrong != nil {
		return r, nil, httpapi.InvalidFields(b.wrong...)
	}
	return r, b.version, nil
}

// keyBody is a key's description while it is read, with what is wrong with it.
type keyBody struct {
	r       *schema.KeyRecord
	version *int64
	wrong   []httpapi.FieldError
}

func (b *keyBody) refuse(field, format string, args ...any) {
	b.wrong = append(b.wrong, httpapi.FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
}

func (b *keyBody) member(name string, value jsontext.Value) {
	if !slices.Contains(keyMembers, name) {
		b.wrong = append(b.wrong, unknownField(name, keyMembers...))
		return
	}
	if value.Kind() == 'n' {
		return
	}
	switch name {
	case "name":
		b.text(name, value, maxText, &b.r.Name)
	case "key_type":
		b.text(name, value, maxWord, &b.r.KeyType)
	case "status":
		b.text(name, value, maxWord, &b.r.Status)
	case "tags":
		b.tags(value)
	case "rotation_period":
		b.text(name, value, maxWord, &b.r.RotationPeriod)
		if period, err := rules.ParseDuration(b.r.RotationPeriod); err != nil || period == 0 {
			b.refuse(name, `must be a duration such as "24h" or "90d"`)
		}
	case "version":
		var n int64
		if err := json.Unmarshal(value, &n); err != nil || n < 0 {
			b.refuse(name, "must be an integer, at least 0: the version that this one replaces")
		}
		b.version = &n
	}
}

// text reads a string that people can read.
func (b *keyBody) text(field string, value jsontext.Value, longest int, to *string) {
	var s string
	if err := json.Unmarshal(value, &s); err != nil || s == "" || len(s) > longest || !isPlain(s) {
		b.refuse(field, "must be a string of 1 to %d bytes without control characters", longest)
		return
	}
	*to = s
}

func isPlain(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func (b *keyBody) tags(value jsontext.Value) {
	var all []jsontext.Value
	if err := json.Unmarshal(value, &all); err != nil || len(all) > maxTags {
		b.refuse("tags", "must be an array of at most %d strings", maxTags)
		return
	}
	for i, v := range all {
		field, tag := fmt.Sprintf("tags[%d]", i), ""
		b.text(field, v, maxWord, &tag)
		if tag != "" && slices.Contains(b.r.Tags, tag) {
			b.refuse(field, "comes twice")
		}
		b.r.Tags = append(b.r.Tags, tag)
	}
}
