package openapitest

import (
	"fmt"
	"net/url"
	"strings"
)

// Target is the operation's path with its parameters' examples in it.
func (op *Operation) Target() string {
	path := op.Path
	for _, p := range op.parameters {
		if p.in == "path" {
			path = strings.ReplaceAll(path, "{"+p.name+"}", url.PathEscape(fmt.Sprint(p.sample())))
		}
	}
	return path
}

// Query are the names of the parameters of the operation's query string.
func (op *Operation) Query() (names []string) {
	for _, p := range op.parameters {
		if p.in == "query" {
			names = append(names, p.name)
		}
	}
	return names
}

// sample is the parameter's first example.
func (p *parameter) sample() any {
	if len(p.samples) == 0 {
		return ""
	}
	return p.samples[0]
}
