package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ParseYAML reads the rules of a file: one document or several, each with a rule or a list of rules. It is as strict
// as [ParseJSON] and compiles the rules too, so that an error in an expression names its place in the file. The
// error is [Errors], each with the file's name, line and column.
func ParseYAML(name string, data []byte) ([]Rule, error) {
	f := &ruleFile{name: name, lines: strings.Split(string(data), "\n"), ids: map[string]int{}}
	if !utf8.Valid(data) {
		return nil, Errors{{File: name, Message: "the file is not UTF-8"}}
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, Errors{f.syntaxError(err)}
	}
	for _, doc := range file.Docs {
		f.document(doc.Body)
	}
	if len(f.rules) == 0 && len(f.errs) == 0 {
		f.errs = append(f.errs, Error{File: name, Message: "there is no rule in the file"})
	}
	if err := f.errs.err(); err != nil {
		return nil, err
	}
	return f.rules, nil
}

// ruleFile is a file while it is read.
type ruleFile struct {
	name  string
	lines []string
	rules []Rule
	errs  Errors
	ids   map[string]int // line of each rule's id
}

func (f *ruleFile) syntaxError(err error) Error {
	var syntax yaml.Error
	if !errors.As(err, &syntax) || syntax.GetToken() == nil {
		return Error{File: f.name, Message: err.Error()}
	}
	at := syntax.GetToken().Position
	return f.placed(Error{Message: syntax.GetMessage(), Line: at.Line, Column: at.Column})
}

// placed names the file in e, and shows the line when e has none yet.
func (f *ruleFile) placed(e Error) Error { return e.InFile(f.name, f.lines, e.Line, e.Column) }

func (f *ruleFile) refuse(n ast.Node, field, format string, args ...any) {
	at := n.GetToken().Position
	f.errs = append(f.errs, f.placed(Error{Field: field, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...)}))
}

// document reads a rule or a list of rules; an empty document has none.
func (f *ruleFile) document(body ast.Node) {
	switch n := body.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	case *ast.SequenceNode:
		for _, rule := range n.Values {
			f.rule(rule)
		}
	default:
		f.rule(n)
	}
}

// entries returns the members of a mapping; a mapping with one member is a node of its own kind.
func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

func (f *ruleFile) rule(n ast.Node) {
	values, ok := entries(n)
	if !ok {
		f.refuse(n, "", "a rule is a mapping with id, name, when and severity")
		return
	}
	var members []member
	nodes := map[string]ast.Node{}
	for _, v := range values {
		key := v.Key.GetToken()
		value, err := jsonOf(v.Value)
		if err != nil {
			f.refuse(v.Value, key.Value, "%v", err)
			return
		}
		members = append(members, member{key.Value, value, key.Position.Line, key.Position.Column})
		nodes[key.Value] = v.Value
	}
	at := n.GetToken().Position
	line, column := at.Line, at.Column
	if len(members) > 0 {
		line, column = members[0].line, members[0].column
	}
	r, errs := ruleOf(members)
	errs = errs.with(f.compiled(r, nodes))
	if first, twice := f.ids[r.ID]; twice && len(errs) == 0 {
		errs = Errors{fieldError("id", "the rule %s is in line %d already", r.ID, first)}
	}
	f.ids[r.ID] = line
	for _, e := range errs {
		if e.Line == 0 {
			e.Line, e.Column = line, column
		}
		f.errs = append(f.errs, f.placed(e))
	}
	f.rules = append(f.rules, r)
}

// compiled compiles the rule and moves its errors from places in a field to places in the file.
func (f *ruleFile) compiled(r Rule, nodes map[string]ast.Node) Errors {
	_, err := Compile(r)
	var errs Errors
	if !errors.As(err, &errs) {
		return nil
	}
	for i, e := range errs {
		if n := nodes[e.Field]; n != nil && e.Line > 0 {
			errs[i].Line, errs[i].Column = f.place(n, map[string]string{"when": r.When, "message": r.Message}[e.Field], e)
		}
	}
	return errs
}

// place finds the place e in a scalar's text in the file: where the text's line stands in the file as it is. Where
// it does not (escapes, folded lines), the place is the scalar's.
func (f *ruleFile) place(n ast.Node, text string, e Error) (line, column int) {
	at := n.GetToken().Position
	first := at.Line
	if _, block := n.(*ast.LiteralNode); block {
		first++
	}
	wanted := strings.Split(text, "\n")[e.Line-1]
	if number := first + e.Line - 1; number <= len(f.lines) {
		if before, _, found := strings.Cut(f.lines[number-1], wanted); found {
			return number, utf8.RuneCountInString(before) + e.Column
		}
	}
	return at.Line, at.Column
}

var errYAMLKind = errors.New("anchors, aliases, tags and merges are not allowed in a rule file")

// jsonOf returns the value of a node as JSON. What could make a small file large is refused.
func jsonOf(n ast.Node) (json.RawMessage, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return appendQuoted(nil, n.Value), nil
	case *ast.LiteralNode:
		return appendQuoted(nil, n.Value.Value), nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return json.Marshal(n.(ast.ScalarNode).GetValue())
	case *ast.NullNode:
		return json.RawMessage("null"), nil
	case *ast.SequenceNode:
		b := []byte{'['}
		for i, value := range n.Values {
			if i > 0 {
				b = append(b, ',')
			}
			item, err := jsonOf(value)
			if err != nil {
				return nil, err
			}
			b = append(b, item...)
		}
		return append(b, ']'), nil
	}
	values, ok := entries(n)
	if !ok {
		return nil, errYAMLKind
	}
	return jsonObject(values)
}

func jsonObject(values []*ast.MappingValueNode) (json.RawMessage, error) {
	b := []byte{'{'}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		item, err := jsonOf(v.Value)
		if err != nil {
			return nil, err
		}
		b = append(appendQuoted(b, v.Key.GetToken().Value), ':')
		b = append(b, item...)
	}
	return append(b, '}'), nil
}
