package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Exchange is a request and its answer.
type Exchange struct {
	Method string
	Target string // as in the request line: a path, perhaps with a query
	Header http.Header
	Body   []byte

	Status       int
	AnswerHeader http.Header
	Answer       []byte // the body
	// Partial says that the answer's body was not read to its end: then nothing is said about it.
	Partial bool
}

// Check says how an exchange contradicts the document, nil when it does not.
func Check(x *Exchange) error { return Load().check(x) }

// CheckFailure is [Check] for servers whose handlers are a test's own: it looks only at failures, and only at the shape that all
// have.
func CheckFailure(x *Exchange) error {
	if x.Status < http.StatusBadRequest || x.Method == http.MethodHead {
		return nil
	}
	return x.wrap(Load().anyFailure.checkBody(x))
}

func (d *Document) check(x *Exchange) error {
	op, params := d.find(x)
	if op == nil {
		return x.wrap(d.checkUnrouted(x))
	}
	resp := op.responses[x.Status]
	if resp == nil {
		return x.wrap(fmt.Errorf("the status is not stated: add it to paths › %s › %s › responses, or do not answer it", op.Path, strings.ToLower(op.Method)))
	}
	if err := resp.check(x); err != nil {
		return x.wrap(err)
	}
	if x.Status < 300 {
		if err := op.checkRequest(x, params); err != nil {
			return x.wrap(fmt.Errorf("a success, but the request is not what paths › %s › %s describes: %w", op.Path, strings.ToLower(op.Method), err))
		}
	}
	return nil
}

// wrap says which exchange an error is about, and where to look.
func (x *Exchange) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("internal/openapi/openapi.yaml and the server disagree: %s %s → %d: %w\n  request: %v %s\n  answer: %v %s",
		x.Method, short([]byte(x.Target)), x.Status, err, redacted(x.Header), short(x.Body), x.AnswerHeader, short(x.Answer))
}

// redacted is a request's headers without what opens something.
func redacted(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Authorization", "Cookie"} {
		if h.Get(name) != "" {
			h.Set(name, "…")
		}
	}
	return h
}

func short(b []byte) string {
	if len(b) > 2000 {
		return fmt.Sprintf("%.2000q… (%d bytes)", b, len(b))
	}
	return fmt.Sprintf("%q", b)
}

// find returns the operation of a request, with its path's parameters; nil when the document has none.
func (d *Document) find(x *Exchange) (*Operation, map[string]string) {
	method := x.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path, _, _ := strings.Cut(x.Target, "?")
	var found *Operation
	var params map[string]string
	for _, op := range d.Operations {
		if op.Method != method {
			continue
		}
		// A path without parameters goes before one with: /api/rules/validate is not a rule.
		if p, ok := op.match(path); ok && (found == nil || len(p) < len(params)) {
			found, params = op, p
		}
	}
	return found, params
}

// match matches a path with the operation's. Where that has an integer, a word is another path: /api/events/batch is no event.
func (op *Operation) match(path string) (params map[string]string, ok bool) {
	params, ok = matchPath(op.Path, path)
	for name, value := range params {
		if p := op.parameter("path", name); p != nil && p.isInteger && !integer.MatchString(value) {
			return nil, false
		}
	}
	return params, ok
}

var integer = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// matchPath matches a path with one of the document.
func matchPath(template, path string) (params map[string]string, ok bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	params = map[string]string{}
	for i := range want {
		if name, ok := strings.CutPrefix(want[i], "{"); ok && got[i] != "" {
			params[strings.TrimSuffix(name, "}")] = got[i]
		} else if want[i] != got[i] {
			return nil, false
		}
	}
	return params, true
}

// allowed are the methods that the document gives a path, as Allow names them; nil for a path that it does not have.
func (d *Document) allowed(path string) []string {
	var methods []string
	for _, op := range d.Operations {
		if _, ok := op.match(path); ok {
			methods = append(methods, op.Method)
			if op.Method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

// checkUnrouted checks the answer to a request that the document has no operation for.
func (d *Document) checkUnrouted(x *Exchange) error {
	path, _, _ := strings.Cut(x.Target, "?")
	allowed := d.allowed(path)
	switch {
	case x.Status == http.StatusNoContent && x.Method == http.MethodOptions, x.Status == http.StatusMethodNotAllowed:
		if got := allowOf(x.AnswerHeader); !slices.Equal(got, allowed) {
			return fmt.Errorf("the header Allow names %v, the document %v", got, allowed)
		}
	case x.Status < http.StatusBadRequest:
		return fmt.Errorf("the document has no operation %s %s: add it under paths", x.Method, path)
	case x.Status == http.StatusNotFound && allowed != nil:
		return errors.New("the document has this path")
	}
	if x.Status < http.StatusBadRequest {
		return nil
	}
	return d.checkFailure(x)
}

// allowOf are the methods that an Allow header names, but OPTIONS, which every path takes.
func allowOf(h http.Header) []string {
	var methods []string
	for method := range strings.SplitSeq(strings.Join(h.Values("Allow"), ","), ",") {
		if method = strings.TrimSpace(method); method != "" && method != http.MethodOptions {
			methods = append(methods, method)
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

// checkFailure wants the answer to be a failure with this status that the document states anywhere.
func (d *Document) checkFailure(x *Exchange) error {
	err := errors.New("the document states no such status of a failure")
	for _, resp := range d.failures[x.Status] {
		if err = resp.check(x); err == nil {
			return nil
		}
	}
	return err
}

// transport are the headers of HTTP itself, which no document states.
var transport = []string{"Content-Type", "Content-Length", "Transfer-Encoding", "Date", "Connection", "Vary"}

func (r *response) check(x *Exchange) error {
	for _, name := range slices.Sorted(maps.Keys(x.AnswerHeader)) {
		if r.headers[name] == nil && !slices.Contains(transport, name) {
			return fmt.Errorf("the header %s is not stated: add it to the headers of %s", name, r.at)
		}
	}
	for name, h := range r.headers {
		values := x.AnswerHeader.Values(name)
		switch {
		case len(values) == 0 && h.required:
			return fmt.Errorf("the header %s of %s is missing", name, r.at)
		case len(values) > 1:
			return fmt.Errorf("the header %s is there %d times", name, len(values))
		case len(values) == 1:
			if err := h.schema.checkText(values[0]); err != nil {
				return fmt.Errorf("the header %s: %w", name, err)
			}
		}
	}
	if x.Method == http.MethodHead || x.Partial {
		return nil
	}
	return r.checkBody(x)
}

func (r *response) checkBody(x *Exchange) error {
	if len(r.content) == 0 {
		if len(x.Answer) > 0 {
			return fmt.Errorf("%s states no body", r.at)
		}
		return nil
	}
	media := mediaType(x.AnswerHeader)
	s := r.content[media]
	if s == nil {
		return fmt.Errorf("the media type %q is not stated: add it to the content of %s", media, r.at)
	}
	switch media {
	case "application/json":
	case mediaLines:
		return s.checkLines(x.Answer)
	default:
		return nil
	}
	if exact := x.AnswerHeader.Get("Content-Type"); exact != media {
		return fmt.Errorf("the Content-Type is %q; JSON takes no parameters", exact)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.Answer))
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("the body is not what %s › content states: %w", r.at, err)
	}
	if o, ok := v.(object); ok && x.Status >= http.StatusBadRequest && text(o["request_id"]) != x.AnswerHeader.Get("X-Request-Id") {
		return errors.New("request_id is not X-Request-Id")
	}
	return nil
}

// mediaLines is the type of bodies of which the schema describes each line.
const mediaLines = "application/x-ndjson"

func (s *schema) checkLines(body []byte) error {
	n := 0
	for line := range bytes.Lines(body) {
		n++
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func mediaType(h http.Header) string {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// checkRequest says why the document calls a request invalid.
func (op *Operation) checkRequest(x *Exchange, inPath map[string]string) error {
	if !strings.HasPrefix(op.Path, "/api/") {
		return nil // health, metrics and this document are read with whatever a prober appends
	}
	_, rawQuery, _ := strings.Cut(x.Target, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return fmt.Errorf("its query: %w", err)
	}
	for name := range query {
		if op.parameter("query", name) == nil {
			return fmt.Errorf("the query parameter %q is not stated: add it to the parameters", name)
		}
	}
	for _, p := range op.parameters {
		if strings.HasSuffix(p.name, ".") {
			members := object{}
			for name := range query {
				if strings.HasPrefix(name, p.name) {
					members[name] = query.Get(name)
				}
			}
			if err := p.schema.Validate(members); err != nil {
				return fmt.Errorf("the parameters %s…: %w", p.name, err)
			}
			continue
		}
		var values []string
		switch p.in {
		case "path":
			value, err := url.PathUnescape(inPath[p.name])
			if err != nil {
				return fmt.Errorf("the path's %s: %w", p.name, err)
			}
			values = []string{value}
		case "query":
			values = query[p.name]
		case "header":
			values = x.Header.Values(p.name)
		}
		if p.required && len(values) == 0 {
			return fmt.Errorf("the parameter %s is missing", p.name)
		}
		if p.in == "query" && len(values) > 1 {
			return fmt.Errorf("the parameter %s is there %d times", p.name, len(values))
		}
		for _, value := range values {
			if err := p.schema.checkText(value); err != nil {
				return fmt.Errorf("the parameter %s: %w", p.name, err)
			}
		}
	}
	return op.checkRequestBody(x)
}

// parameter finds a parameter. A name that ends with a dot stands for all that begin with it.
func (op *Operation) parameter(in, name string) *parameter {
	for _, p := range op.parameters {
		if p.in == in && (p.name == name || strings.HasSuffix(p.name, ".") && strings.HasPrefix(name, p.name)) {
			return p
		}
	}
	return nil
}

func (op *Operation) checkRequestBody(x *Exchange) error {
	if len(op.bodies) == 0 || x.Header.Get("Content-Encoding") != "" {
		return nil // what compresses a body is not the document's to say
	}
	if len(bytes.TrimSpace(x.Body)) == 0 {
		if op.bodyNeeded {
			return errors.New("the body is missing")
		}
		return nil
	}
	media := mediaType(x.Header)
	if media == "" {
		media = "application/json" // the API takes it so
	}
	s := op.bodies[media]
	if s == nil {
		return fmt.Errorf("the body's media type %q is not stated", media)
	}
	if media == mediaLines {
		return s.checkLines(x.Body)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.Body))
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	return nil
}

// checkText checks the value of a parameter or a header, which is text on the wire.
func (s *schema) checkText(value string) error {
	err := s.Validate(value)
	if err == nil {
		return nil
	}
	if n, convErr := strconv.ParseInt(value, 10, 64); convErr == nil && strconv.FormatInt(n, 10) == value {
		return s.Validate(float64(n))
	}
	if b, convErr := strconv.ParseBool(value); convErr == nil {
		return s.Validate(b)
	}
	return err
}
