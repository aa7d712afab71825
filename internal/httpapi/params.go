package httpapi

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
)

// Params parses the query string: names and values, decoded and copied. A name must be one of allowed, or start with
// one of allowed that ends with a dot ("details."). An unknown name, one that is repeated, an empty one, a bad percent
// sequence or bad UTF-8 is a 400 that names every such parameter and, for an unknown one, the nearest known.
func Params(c *fiber.Ctx, allowed ...string) (map[string]string, error) {
	params := make(map[string]string)
	var bad []FieldError
	for rest := string(c.Context().URI().QueryString()); rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		name, value, err := decodePair(pair)
		if err == "" {
			err = checkName(name, params, allowed)
		}
		if err != "" {
			bad = append(bad, FieldError{Field: Printable(name), Message: err})
			continue
		}
		params[name] = value
	}
	if bad != nil {
		return nil, InvalidParameters(bad...)
	}
	return params, nil
}

// NoParams is [Params] for a route that takes none. It costs nothing where none is sent.
func NoParams(c *fiber.Ctx) error {
	if len(c.Context().URI().QueryString()) == 0 {
		return nil
	}
	_, err := Params(c)
	return err
}

// decodePair decodes name=value and says what is wrong with it.
func decodePair(pair string) (name, value, problem string) {
	rawName, rawValue, _ := strings.Cut(pair, "=")
	name, nameOK := unescape(rawName)
	value, valueOK := unescape(rawValue)
	switch {
	case !nameOK:
		return rawName, "", "its name is not valid percent-encoded UTF-8"
	case !valueOK:
		return name, "", "its value is not valid percent-encoded UTF-8"
	}
	return name, value, ""
}

// checkName says what is wrong with a parameter's name, "" for nothing.
func checkName(name string, seen map[string]string, allowed []string) string {
	if !isAllowed(name, allowed) {
		if near, ok := Nearest(name, allowed); ok && !strings.HasSuffix(near, ".") {
			return fmt.Sprintf("unknown parameter, did you mean %q?", near)
		}
		return "unknown parameter"
	}
	if _, ok := seen[name]; ok {
		return "is given more than once"
	}
	return ""
}

func isAllowed(name string, allowed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		if strings.HasSuffix(a, ".") {
			return len(name) > len(a) && strings.HasPrefix(name, a)
		}
		return name == a
	})
}

// unescape decodes + and %XX. Unlike url.QueryUnescape it wants UTF-8.
func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, utf8.ValidString(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			b = append(b, ' ')
		case '%':
			if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
				return "", false
			}
			b = append(b, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), utf8.Valid(b)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Printable shortens a name that a client sent so that it can stand in an answer: 64 bytes of valid UTF-8.
func Printable(s string) string {
	const longest = 64
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
