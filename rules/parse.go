package rules

import (
	"errors"
	"fmt"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// parserConfig makes every call an ordinary call, so that one table says what each name means. Only expr's
// predicates (filter, map, …) keep their own syntax; they are refused afterwards.
func parserConfig() *conf.Config {
	c := conf.CreateNew()
	for name := range builtin.Index {
		c.Disabled[name] = true
	}
	for _, name := range callNames {
		c.Functions[name] = &builtin.Function{Name: name}
	}
	return c
}

// parse returns the syntax tree of src, or a message and its place, a character of src.
func parse(src string) (tree ast.Node, message string, offset int) {
	if message, offset = guard(src); message != "" {
		return nil, message, offset
	}
	defer func() {
		if r := recover(); r != nil {
			tree, message, offset = nil, fmt.Sprintf("the expression cannot be read: %v", r), 0
		}
	}()
	t, err := parser.ParseWithConfig(src, parserConfig())
	if err != nil {
		if e := (*file.Error)(nil); errors.As(err, &e) {
			return nil, e.Message, e.From
		}
		return nil, err.Error(), 0
	}
	return t.Node, "", 0
}
