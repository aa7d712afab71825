package trial

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"keypulse/rules"
)

// Parse reads the rules of a file with their tests. Rules are read and compiled as [rules.ParseYAML] does; the tests are
// as strictly read. The error is [rules.Errors], each with the file's name, line and column.
func Parse(name string, data []byte) ([]rules.Rule, []Test, error) {
	list, err := rules.ParseYAML(name, data)
	if err != nil {
		return nil, nil, err
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, nil, rules.Errors{{File: name, Message: err.Error()}}
	}
	nodes := ruleNodes(file)
	lines := strings.Split(string(data), "\n")
	var all []Test
	var errs rules.Errors
	for i, r := range list {
		tests, problems := testsOf(r)
		for j := range problems {
			at := placeOf(nodes[i], &problems[j])
			e := rules.Error{Field: problems[j].field(), Message: problems[j].message}
			errs = append(errs, e.InFile(name, lines, at.Line, at.Column))
		}
		for j := range tests {
			tests[j].Line = placeOf(nodes[i], &problem{at: jsontext.Pointer("").AppendToken(strconv.Itoa(j))}).Line
		}
		all = append(all, tests...)
	}
	if len(errs) > 0 {
		return nil, nil, errs
	}
	return list, all, nil
}

// ruleNodes are the rules of a file, in the order in which they are read.
func ruleNodes(file *ast.File) []ast.Node {
	var nodes []ast.Node
	for _, doc := range file.Docs {
		switch n := doc.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode:
		case *ast.SequenceNode:
			nodes = append(nodes, n.Values...)
		default:
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// placeOf finds a problem in the rule that has it: the value, the name when that is wrong, or, where there is none, what it
// is missing in.
func placeOf(rule ast.Node, p *problem) *token.Position {
	node, at := rule, first(rule)
	for name := range ("/tests" + p.at).Tokens() {
		key, value := child(node, name)
		if value == nil {
			return at
		}
		if node, at = value, first(value); key != nil && p.name {
			at = key.GetToken().Position
		}
	}
	return at
}

// child returns an element of a list, or the value of a mapping's member and its name.
func child(n ast.Node, name string) (key, value ast.Node) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i < len(n.Values) {
			return nil, n.Values[i]
		}
	case *ast.MappingNode:
		for _, v := range slices.Backward(n.Values) { // of a name that comes twice the second is wrong
			if v.Key.GetToken().Value == name {
				return v.Key, v.Value
			}
		}
	case *ast.MappingValueNode:
		if n.Key.GetToken().Value == name {
			return n.Key, n.Value
		}
	}
	return nil, nil
}

// first is where a node begins: a block mapping with its first name.
func first(n ast.Node) *token.Position {
	switch m := n.(type) {
	case *ast.MappingValueNode:
		return m.Key.GetToken().Position
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return m.Values[0].Key.GetToken().Position
		}
	}
	return n.GetToken().Position
}
