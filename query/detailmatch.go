package query

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// matches reports whether the condition holds for an event's details: what the statement's [where.detailIs] asks of a
// stored event, asked of one that is not stored yet.
func (d detail) matches(details []byte) bool {
	last := d.names[len(d.names)-1]
	if !bytes.Contains(details, []byte(last)) && bytes.IndexByte(details, '\\') < 0 {
		return false
	}
	raw := valueAt(jsontext.NewDecoder(bytes.NewReader(details)), d.names)
	switch raw.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		return err == nil && string(text) == d.value
	case 't', 'f', 'n':
		return string(raw) == d.value
	case '0':
		return sameNumber(string(raw), d.value)
	default:
		return false
	}
}

// valueAt is the value at a path of names, nil when it leads nowhere.
func valueAt(in *jsontext.Decoder, names []string) jsontext.Value {
	for _, name := range names {
		if token, err := in.ReadToken(); err != nil || token.Kind() != '{' {
			return nil
		}
		for {
			token, err := in.ReadToken()
			if err != nil || token.Kind() == '}' {
				return nil
			}
			if token.String() == name {
				break
			}
			if in.SkipValue() != nil {
				return nil
			}
		}
	}
	raw, err := in.ReadValue()
	if err != nil {
		return nil
	}
	return slices.Clone(raw)
}

// sameNumber compares a number of details with a condition's as the server does: integers of up to 64 bits exactly,
// all else as floats.
func sameNumber(stored, value string) bool {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || jsontext.Value(value).Kind() != '0' || !jsontext.Value(value).IsValid() {
		return false
	}
	if exact, ok := integer(stored); ok {
		whole, ok := wholeNumber(value, f)
		return ok && whole == exact
	}
	g, err := strconv.ParseFloat(stored, 64)
	return err == nil && f == g
}

// integer is how the server writes a number that it keeps as an integer, if it does.
func integer(stored string) (string, bool) {
	if n, err := strconv.ParseInt(stored, 10, 64); err == nil {
		return strconv.FormatInt(n, 10), true
	}
	n, err := strconv.ParseUint(stored, 10, 64)
	return strconv.FormatUint(n, 10), err == nil
}
