package openapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string
)

// Page returns the document as an HTML page. The bytes never change.
func Page() []byte { return page() }

// PagePolicy is the page's Content-Security-Policy: its own style and nothing else.
func PagePolicy() string { return pagePolicy() }

var page = sync.OnceValue(func() []byte {
	html, err := render(source)
	if err != nil {
		panic(fmt.Sprintf("BUG: page of openapi.yaml: %v", err))
	}
	return html
})

var pagePolicy = sync.OnceValue(func() string {
	hash := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
})

// render makes the page of a document.
func render(text []byte) ([]byte, error) {
	members, err := parse(text)
	if err != nil {
		return nil, err
	}
	root := node{members}
	funcs := template.FuncMap{
		"markup": markup, "example": example, "fields": root.fields, "type": typeOf, "resolve": root.resolve,
		"bodies": root.bodies, "lower": strings.ToLower, "style": func() template.CSS { return template.CSS(pageStyle) },
	}
	t, err := template.New("page").Funcs(funcs).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, view{root}); err != nil {
		return nil, fmt.Errorf("execute template: %w", err)
	}
	return b.Bytes(), nil
}

// view is what the template shows.
type view struct{ root node }

// Info is the document's info.
func (v view) Info() node { return v.root.Get("info") }

// Schemas are the shared schemas, by name.
func (v view) Schemas() []member { return v.root.Get("components").Get("schemas").Members() }

// group is the operations of a tag.
type group struct {
	Name, Description string
	Operations        []operation
}

type operation struct {
	Method, Path, Scope string
	AnyKey              bool // an API key is needed, whatever its scopes
	node
	Parameters []node
}

// Groups are the operations by tag, in the document's order.
func (v view) Groups() []group {
	var groups []group
	for _, tag := range v.root.Get("tags").Items() {
		g := group{Name: tag.Text("name"), Description: tag.Text("description")}
		for _, path := range v.root.Get("paths").Members() {
			for _, m := range path.Value.Members() {
				if tags := m.Value.Get("tags").Items(); len(tags) > 0 && tags[0].String() == g.Name {
					g.Operations = append(g.Operations, v.operation(path, m))
				}
			}
		}
		groups = append(groups, g)
	}
	return groups
}

func (v view) operation(path, method member) operation {
	op := operation{Method: strings.ToUpper(method.Name), Path: path.Name, node: method.Value}
	for _, s := range method.Value.Get("security").Items() {
		op.AnyKey = true
		for _, scope := range s.Get("apiKey").Items() {
			op.Scope = scope.String()
		}
	}
	for _, list := range []node{path.Value.Get("parameters"), method.Value.Get("parameters")} {
		for _, p := range list.Items() {
			op.Parameters = append(op.Parameters, v.root.resolve(p))
		}
	}
	return op
}

// body is one media type of a request or an answer.
type body struct {
	Media           string
	Schema, Example node
}

// bodies are the media types of a request or an answer.
func (n node) bodies(of node) []body {
	var all []body
	for _, m := range of.Get("content").Members() {
		b := body{Media: m.Name, Schema: m.Value.Get("schema"), Example: m.Value.Get("example")}
		for _, named := range m.Value.Get("examples").Members() {
			b.Example = named.Value.Get("value")
			break
		}
		all = append(all, b)
	}
	return all
}

// field is a member of an object, or a reference to a schema whose members it has, too.
type field struct {
	Name     string // "" for a reference
	Required bool
	Schema   node
}

// fields are the members of an object's schema.
func (n node) fields(s node) []field {
	var all []field
	for _, part := range s.Get("allOf").Items() {
		if part.Text("$ref") != "" {
			all = append(all, field{Schema: part})
			continue
		}
		all = append(all, n.fields(part)...)
	}
	required := map[string]bool{}
	for _, name := range s.Get("required").Items() {
		required[name.String()] = true
	}
	for _, m := range s.Get("properties").Members() {
		all = append(all, field{m.Name, required[m.Name], m.Value})
	}
	return all
}

// example writes a value as people read JSON.
func example(n node) (string, error) {
	if n.value == nil {
		return "", nil
	}
	compact, err := yaml.MarshalWithOptions(n.value, yaml.JSON())
	if err != nil {
		return "", fmt.Errorf("write example: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(compact), "", "  "); err != nil {
		return "", fmt.Errorf("indent example: %w", err)
	}
	return b.String(), nil
}
