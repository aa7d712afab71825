package query

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"keypulse/internal/answer"
	"keypulse/internal/httpapi"
	"keypulse/rules"
)

// readRule reads the body of a POST.
func readRule(c *fiber.Ctx) (rules.Rule, error) {
	body, err := ruleBody(c)
	if err != nil {
		return rules.Rule{}, err
	}
	r, err := rules.ParseJSON(body)
	if err != nil {
		return rules.Rule{}, badRule(err)
	}
	return r, nil
}

func ruleBody(c *fiber.Ctx) ([]byte, error) {
	if _, err := parseParams(c); err != nil {
		return nil, err
	}
	return httpapi.Body(c, httpapi.DefaultBodyLimit)
}

// readReplacement reads the body of a PUT to the rule with an id: a rule, whose id may be left out, and the version
// that it replaces.
func readReplacement(c *fiber.Ctx, id string) (rules.Rule, int64, error) {
	body, err := ruleBody(c)
	if err != nil {
		return rules.Rule{}, 0, err
	}
	body, versions, hasID := cutVersion(body)
	if !hasID {
		body = insertID(body, id)
	}
	r, err := rules.ParseJSON(body)
	if err != nil {
		return rules.Rule{}, 0, badRule(err)
	}
	if r.ID != id {
		return r, 0, badRule(rules.Errors{{Field: "id", Message: "differs from the path's, and cannot be changed"}})
	}
	version, problem := parseVersion(versions)
	if problem != "" {
		return r, 0, badRule(rules.Errors{{Field: "version", Message: problem}})
	}
	return r, version, nil
}

func parseVersion(versions []jsontext.Value) (version int64, problem string) {
	switch len(versions) {
	case 0:
		return 0, "is missing: the version that this one replaces"
	case 1:
		n, err := strconv.ParseInt(string(versions[0]), 10, 64)
		if err != nil || n < 1 {
			return 0, "must be an integer, at least 1: the version that this one replaces"
		}
		return n, ""
	}
	return 0, "the field comes twice"
}

// cutVersion takes the members named version out of an object, and says whether it has one named id. What is not an
// object comes back as it is: rules.ParseJSON says what is wrong with it.
func cutVersion(body []byte) (rest []byte, versions []jsontext.Value, hasID bool) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
		return body, nil, true
	}
	rest = []byte{'{'}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return body, nil, true
		}
		key := name.String() // the token is gone with the next read
		value, err := d.ReadValue()
		if err != nil {
			return body, nil, true
		}
		if key == "version" {
			versions = append(versions, value.Clone())
			continue
		}
		hasID = hasID || key == "id"
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(append(answer.AppendString(rest, key), ':'), value...)
	}
	if _, err := d.ReadToken(); err != nil {
		return body, nil, true
	}
	return append(append(rest, '}'), body[d.InputOffset():]...), versions, hasID
}

// insertID puts an id in front of an object's members.
func insertID(object []byte, id string) []byte {
	b := answer.AppendString([]byte(`{"id":`), id)
	rest := object[1:]
	if len(rest) > 0 && rest[0] != '}' {
		b = append(b, ',')
	}
	return append(b, rest...)
}
