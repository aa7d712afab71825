package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"keypulse/schema"
)

// member is one member of a rule's object: its name, its value as compact JSON, its place in the file.
type member struct {
	name         string
	value        json.RawMessage
	line, column int // 0 when the place is not known
}

// ParseJSON reads one rule from its JSON object and fills the defaults. It is strict: an unknown field is refused
// with the nearest name, a field that comes twice too. The error is [Errors]; where there is any, it tells what is wrong
// with the expressions, too, which else is [Compile]'s to say.
func ParseJSON(data []byte) (Rule, error) {
	members, err := decodeMembers(data)
	if err != nil {
		return Rule{}, Errors{{Message: "not a rule: " + err.Error()}}
	}
	r, errs := ruleOf(members)
	if len(errs) > 0 {
		var compiled Errors
		if _, err := Compile(r); errors.As(err, &compiled) {
			errs = errs.with(compiled)
		}
		return Rule{}, errs
	}
	return r, nil
}

var errNotObject = errors.New("a JSON object is wanted")

// decodeMembers splits one JSON object into its members, in their order, duplicates included.
func decodeMembers(data []byte) ([]member, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errNotObject, jsonSyntax(err))
	}
	var members []member
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		members = append(members, member{name: name.(string), value: value})
	}
	if _, err := d.Token(); err != nil {
		return nil, jsonSyntax(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more after the object")
	}
	return members, nil
}

// jsonSyntax keeps syntax errors; an early end has a plain sentence.
func jsonSyntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

// fieldNames are the fields of a rule, in the order of the specification.
var fieldNames = []string{"id", "name", "when", "severity", "score", "dedup", "message", "enabled", "mode", "tests"}

// ruleOf makes a rule of its members, fills the defaults and checks the fields.
func ruleOf(members []member) (Rule, Errors) {
	r := Rule{Dedup: defaultDedup, Enabled: true, Mode: Live}
	var errs Errors
	seen := map[string]member{}
	for _, m := range members {
		refuse := func(format string, args ...any) {
			e := fieldError(m.name, format, args...)
			e.Line, e.Column = m.line, m.column
			errs = append(errs, e)
		}
		if _, twice := seen[m.name]; twice {
			refuse("the field comes twice")
			continue
		}
		seen[m.name] = m
		if problem := r.set(m); problem != "" {
			refuse("%s", problem)
		}
	}
	if _, ok := seen["message"]; !ok {
		r.Message = r.Name
	}
	checked := r.check()
	for i, e := range checked {
		checked[i].Line, checked[i].Column = seen[e.Field].line, seen[e.Field].column
	}
	return r, errs.with(checked)
}

// with adds the errors of more that are about other fields, so that an author is told everything at once.
func (e Errors) with(more Errors) Errors {
	told := map[string]bool{}
	for _, known := range e {
		told[known.Field] = true
	}
	for _, other := range more {
		if !told[other.Field] {
			e = append(e, other)
		}
	}
	return e
}

// set sets the field that m names and returns what is wrong with it, "" when nothing is.
func (r *Rule) set(m member) string {
	text := func(to *string) string { return into(m.value, to, "must be a string") }
	switch m.name {
	case "id":
		return text(&r.ID)
	case "name":
		return text(&r.Name)
	case "when":
		return text(&r.When)
	case "severity":
		return r.setSeverity(m.value)
	case "score":
		return into(m.value, &r.Score, fmt.Sprintf("must be an integer from 0 to %d", MaxScore))
	case "dedup":
		return r.setDedup(m.value)
	case "message":
		return text(&r.Message)
	case "enabled":
		return into(m.value, &r.Enabled, "must be true or false")
	case "mode":
		return text((*string)(&r.Mode))
	case "tests":
		r.Tests = m.value
		return ""
	default:
		return "there is no such field" + didYouMean(m.name, fieldNames)
	}
}

func (r *Rule) setSeverity(value json.RawMessage) string {
	const wanted = "must be nominal, warning or critical"
	var name string
	if problem := into(value, &name, wanted); problem != "" {
		return problem
	}
	severity, ok := schema.ParseSeverity(name)
	if !ok {
		return wanted + didYouMean(name, schema.Severities[:])
	}
	r.Severity = severity
	return ""
}

// setDedup accepts a duration, and "0" and 0 for none.
func (r *Rule) setDedup(value json.RawMessage) string {
	const wanted = `must be a duration such as "15m", or 0 for none`
	if s := string(value); s == "0" || s == `"0"` {
		r.Dedup = 0
		return ""
	}
	var text string
	if problem := into(value, &text, wanted); problem != "" {
		return problem
	}
	d, err := ParseDuration(text)
	if err != nil {
		return wanted
	}
	r.Dedup = d.Truncate(time.Millisecond)
	return ""
}

// into decodes value into to, or returns problem; null is no value of any field.
func into[T any](value json.RawMessage, to *T, problem string) string {
	if string(value) == "null" || json.Unmarshal(value, to) != nil {
		return problem
	}
	return ""
}
