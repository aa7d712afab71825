package openapitest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"keypulse/internal/openapi"
)

// object is a JSON object.
type object = map[string]any

// Document is the document as tests use it.
type Document struct {
	Operations []*Operation // by path, then method

	root     object // every reference in it is one into itself
	failures map[int][]*response
	// anyFailure is the shape that all failures have.
	anyFailure *response
}

// Operation is one method of one path.
type Operation struct {
	Method string
	Path   string // as the document writes it: /api/events/{id}
	Scope  string // that an API key needs; "" for what is public, or takes any
	AnyKey bool   // an API key is needed, whatever its scopes
	ID     string // operationId

	parameters []*parameter
	bodies     map[string]*schema // of the request, by media type
	bodyNeeded bool
	responses  map[int]*response
	raw        object
}

// parameter is one of a request's parameters.
type parameter struct {
	name, in string // a name that ends with a dot stands for all that begin with it
	required bool
	schema   *schema
	samples  []any // its examples
	// isInteger says that no other text is one.
	isInteger bool
}

// response is one stated answer.
type response struct {
	at      string // where it stands in the document
	headers map[string]*header
	content map[string]*schema // by media type
}

type header struct {
	required bool
	schema   *schema
}

// schema is a JSON Schema with its text.
type schema struct {
	*jsonschema.Schema
	raw any
}

// Load returns the document.
var Load = sync.OnceValue(func() *Document {
	d, err := load(openapi.JSON())
	if err != nil {
		panic("openapi.yaml: " + err.Error())
	}
	return d
})

func load(text []byte) (*Document, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c, err := newCompiler(root.(object))
	if err != nil {
		return nil, err
	}
	r := &reader{compiler: c, root: root.(object)}
	d := r.document()
	return d, r.err
}

// newCompiler makes a compiler that knows the document in both readings.
func newCompiler(root object) (*jsonschema.Compiler, error) {
	closed := clone(root).(object)
	closeAnswers(closed)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	for name, doc := range map[string]any{asWritten: root, asClosed: closed} {
		if err := c.AddResource(name, doc); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return c, nil
}

// The two readings of the document: as it stands, for requests, and with objects that take no further members, for answers.
const (
	asWritten = "file:///openapi.json"
	asClosed  = "file:///closed.json"
)

// reader turns the document's JSON into a Document. It keeps the first error.
type reader struct {
	compiler *jsonschema.Compiler
	root     object
	err      error
}

var methods = []string{"get", "put", "post", "delete", "patch"}

func (r *reader) document() *Document {
	d := &Document{root: r.root, failures: map[int][]*response{}}
	for _, path := range slices.Sorted(maps.Keys(r.object("#/paths"))) {
		for _, method := range methods {
			at := pointer("#/paths", path)
			if item := r.object(at); item[method] != nil {
				d.Operations = append(d.Operations, r.operation(path, method, at))
			}
		}
	}
	for _, op := range d.Operations {
		for status, resp := range op.responses {
			if status >= http.StatusBadRequest {
				d.failures[status] = append(d.failures[status], resp)
			}
		}
	}
	const shape = "#/components/schemas/Error"
	d.anyFailure = &response{at: shape, content: map[string]*schema{"application/json": r.schema(asWritten, shape)}}
	// These belong to no operation.
	d.failures[http.StatusNotFound] = append(d.failures[http.StatusNotFound], r.response("#/components/responses/NoSuchPath"))
	d.failures[http.StatusMethodNotAllowed] = []*response{r.response("#/components/responses/MethodNotAllowed")}
	return d
}

func (r *reader) operation(path, method, item string) *Operation {
	at := pointer(item, method)
	raw := r.object(at)
	op := &Operation{
		Method: strings.ToUpper(method), Path: path, ID: text(raw["operationId"]), raw: raw,
		bodies: map[string]*schema{}, responses: map[int]*response{},
	}
	for _, list := range []string{pointer(item, "parameters"), pointer(at, "parameters")} {
		all, _ := r.find(list).([]any)
		for i := range all {
			op.parameters = append(op.parameters, r.parameter(pointer(list, strconv.Itoa(i))))
		}
	}
	if security, _ := raw["security"].([]any); len(security) == 1 {
		scopes, _ := security[0].(object)["apiKey"].([]any)
		if op.AnyKey = len(scopes) == 0; !op.AnyKey {
			op.Scope = text(scopes[0])
		}
	} else if raw["security"] == nil {
		r.fail("%s has no security: write the scope that it needs, or [] where it is public", at)
	}
	if raw["requestBody"] != nil {
		body := r.resolve(pointer(at, "requestBody"))
		op.bodyNeeded, _ = r.object(body)["required"].(bool)
		op.bodies = r.content(asWritten, body)
	}
	for status := range r.object(pointer(at, "responses")) {
		code, err := strconv.Atoi(status)
		if err != nil {
			r.fail("%s/responses: %q is not a status", at, status)
		}
		op.responses[code] = r.response(pointer(at, "responses", status))
	}
	return op
}

func (r *reader) parameter(at string) *parameter {
	at = r.resolve(at)
	raw := r.object(at)
	p := &parameter{name: text(raw["name"]), in: text(raw["in"]), schema: r.schema(asWritten, pointer(at, "schema"))}
	p.required, _ = raw["required"].(bool)
	p.samples = samples(raw)
	kindOf := r.resolve(pointer(at, "schema"))
	p.isInteger = r.object(kindOf)["type"] == "integer"
	if kind, _ := r.object(pointer(at, "schema"))["type"].(string); kind == "object" {
		p.name += "." // an exploded object: each of its members is a parameter of the query string
	}
	return p
}

func (r *reader) response(at string) *response {
	at = r.resolve(at)
	resp := &response{at: at, headers: map[string]*header{}, content: r.content(asClosed, at)}
	for name := range r.object(pointer(at, "headers")) {
		where := r.resolve(pointer(at, "headers", name))
		h := &header{schema: r.schema(asWritten, pointer(where, "schema"))}
		h.required, _ = r.object(where)["required"].(bool)
		resp.headers[http.CanonicalHeaderKey(name)] = h
	}
	return resp
}

func (r *reader) content(resource, at string) map[string]*schema {
	content := map[string]*schema{}
	for media := range r.object(pointer(at, "content")) {
		content[media] = r.schema(resource, pointer(at, "content", media, "schema"))
	}
	return content
}

func (r *reader) schema(resource, at string) *schema {
	compiled, err := r.compiler.Compile(resource + at)
	if err != nil {
		r.fail("%s: %v", at, err)
	}
	return &schema{compiled, r.find(at)}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// object returns the object at a pointer, nil when there is none.
func (r *reader) object(at string) object {
	o, _ := r.find(at).(object)
	return o
}

func (r *reader) find(at string) any { return find(r.root, at) }

// resolve follows references from a pointer to what they mean.
func (r *reader) resolve(at string) string {
	for {
		ref, ok := r.object(at)["$ref"].(string)
		if !ok {
			return at
		}
		if r.find(ref) == nil {
			r.fail("%s refers to %s, which is not there", at, ref)
			return at
		}
		at = ref
	}
}

// pointer appends tokens to a JSON pointer.
func pointer(at string, tokens ...string) string {
	for _, token := range tokens {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
		at += "/" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(token)
	}
	return at
}

func find(v any, at string) any {
	for token := range strings.SplitSeq(strings.TrimPrefix(at, "#/"), "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~", "%7B", "{", "%7D", "}").Replace(token)
		switch parent := v.(type) {
		case object:
			v = parent[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return v
}

// samples are the examples of a parameter, a header or a media type.
func samples(raw object) []any {
	var all []any
	if example, ok := raw["example"]; ok {
		all = append(all, example)
	}
	named, _ := raw["examples"].(object)
	for _, name := range slices.Sorted(maps.Keys(named)) {
		all = append(all, named[name].(object)["value"])
	}
	return all
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
