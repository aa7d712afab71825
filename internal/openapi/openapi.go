package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed openapi.yaml
var source []byte

// shared is the member that holds what the YAML's aliases point to.
const shared = "x-shared"

// JSON returns the document. The bytes never change.
func JSON() []byte { return document() }

// document is made when it is first asked for: a start must not wait for it.
var document = sync.OnceValue(func() []byte {
	doc, err := toJSON(source)
	if err != nil {
		panic(fmt.Sprintf("BUG: openapi.yaml: %v", err))
	}
	return doc
})

// toJSON writes YAML as JSON, its members in their order and without what is only there for aliases.
func toJSON(text []byte) ([]byte, error) {
	var members yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &members, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("parse yaml: %w", err)
	}
	members = slices.DeleteFunc(members, func(m yaml.MapItem) bool { return m.Key == shared })
	out, err := yaml.MarshalWithOptions(members, yaml.JSON())
	if err != nil {
		return nil, fmt.Errorf("write json: %w", err)
	}
	if !json.Valid(out) {
		return nil, fmt.Errorf("write json: what came out is not JSON")
	}
	return out, nil
}
