package openapi

import (
	"fmt"
	"html"
	"html/template"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
)

// node is a value of the document, with its members in their order.
type node struct{ value any }

// member is one member of an object.
type member struct {
	Name  string
	Value node
}

// Get returns a member, an empty node when there is none.
func (n node) Get(name string) node {
	members, _ := n.value.(yaml.MapSlice)
	for _, m := range members {
		if m.Key == name {
			return node{m.Value}
		}
	}
	return node{}
}

// Members are those of an object, none for anything else.
func (n node) Members() []member {
	members, _ := n.value.(yaml.MapSlice)
	all := make([]member, len(members))
	for i, m := range members {
		all[i] = member{fmt.Sprint(m.Key), node{m.Value}}
	}
	return all
}

// Items are those of an array, none for anything else.
func (n node) Items() []node {
	items, _ := n.value.([]any)
	all := make([]node, len(items))
	for i := range items {
		all[i] = node{items[i]}
	}
	return all
}

// Text is a member that is a string, "" for anything else.
func (n node) Text(name string) string {
	s, _ := n.Get(name).value.(string)
	return s
}

// String writes a plain value; what is missing is "".
func (n node) String() string {
	if n.value == nil {
		return ""
	}
	return fmt.Sprint(n.value)
}

// resolve follows references to other places of the document, n.
func (n node) resolve(at node) node {
	for at.Text("$ref") != "" {
		place := n
		for name := range strings.SplitSeq(strings.TrimPrefix(at.Text("$ref"), "#/"), "/") {
			place = place.Get(name)
		}
		at = place
	}
	return at
}

const schemas = "#/components/schemas/"

// typeOf says in a few words what a schema allows. References to shared schemas are links to them.
func typeOf(s node) template.HTML {
	if name, ok := strings.CutPrefix(s.Text("$ref"), schemas); ok {
		return template.HTML(`<a href="#schema-` + html.EscapeString(name) + `">` + html.EscapeString(name) + `</a>`)
	}
	for _, keyword := range []string{"anyOf", "allOf"} {
		if parts := s.Get(keyword).Items(); len(parts) > 0 && s.Get("properties").value == nil {
			return joined(parts, map[string]string{"anyOf": " or ", "allOf": " and "}[keyword])
		}
	}
	if constant := s.Get("const"); constant.value != nil {
		return code(constant.String())
	}
	if words := s.Get("enum").Items(); len(words) > 0 {
		all := make([]string, len(words))
		for i := range words {
			all[i] = string(code(words[i].String()))
		}
		return template.HTML(strings.Join(all, ", "))
	}
	if items := s.Get("items"); items.value != nil {
		return "array of " + typeOf(items)
	}
	kinds := []string{s.Text("type")}
	for i, kind := range s.Get("type").Items() {
		kinds = append(kinds[:i], kind.String())
	}
	text := strings.Join(kinds, " or ")
	if format := s.Text("format"); format != "" && format != "int64" {
		text += " (" + format + ")"
	}
	return template.HTML(html.EscapeString(text + bounds(s)))
}

func joined(parts []node, with string) template.HTML {
	all := make([]string, len(parts))
	for i := range parts {
		all[i] = string(typeOf(parts[i]))
	}
	return template.HTML(strings.Join(all, with))
}

// bounds writes what a schema says about sizes.
func bounds(s node) string {
	for _, b := range []struct{ low, high, what string }{
		{"minimum", "maximum", ""}, {"minLength", "maxLength", " characters"}, {"minItems", "maxItems", " items"},
	} {
		low, high := s.Get(b.low).String(), s.Get(b.high).String()
		switch {
		case low != "" && high != "":
			return ", " + low + " to " + high + b.what
		case high != "":
			return ", at most " + high + b.what
		case low != "":
			return ", at least " + low + b.what
		}
	}
	return ""
}

func code(text string) template.HTML {
	return template.HTML("<code>" + html.EscapeString(text) + "</code>")
}

var (
	markedCode = regexp.MustCompile("`([^`]+)`")
	markedBold = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	markedLink = regexp.MustCompile(`\[([^\]]+)\]\((#[A-Za-z0-9-]+)\)`)
)

// markup writes the little Markdown that descriptions use: paragraphs, lists, code, bold words, links within the page.
func markup(text string) template.HTML {
	var b strings.Builder
	for part := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(part, "- ") {
			b.WriteString("<ul>")
			for item := range strings.SplitSeq("\n"+part, "\n- ") {
				if item != "" {
					b.WriteString("<li>" + inline(item) + "</li>")
				}
			}
			b.WriteString("</ul>")
			continue
		}
		b.WriteString("<p>" + inline(part) + "</p>")
	}
	return template.HTML(b.String())
}

func inline(text string) string {
	text = html.EscapeString(text)
	text = markedBold.ReplaceAllString(text, "<strong>$1</strong>")
	text = markedLink.ReplaceAllString(text, `<a href="$2">$1</a>`)
	return markedCode.ReplaceAllString(text, "<code>$1</code>")
}
