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

// parse reads YAML with its members in their order.
func parse(text []byte) (yaml.MapSlice, error) {
	var members yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &members, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("parse yaml: %w", err)
	}
	merged, _ := merge(members).(yaml.MapSlice)
	return merged, nil
}

// merge lets the members of an object go before those that it merges in (<<): the library leaves both in a MapSlice.
func merge(v any) any {
	switch v := v.(type) {
	case yaml.MapSlice:
		merged := make(yaml.MapSlice, 0, len(v))
		for _, m := range v {
			m.Value = merge(m.Value)
			if i := slices.IndexFunc(merged, func(before yaml.MapItem) bool { return before.Key == m.Key }); i >= 0 {
				merged[i] = m
				continue
			}
			merged = append(merged, m)
		}
		return merged
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = merge(v[i])
		}
		return all
	}
	return v
}

// toJSON writes YAML as JSON, its members in their order and without what is only there for aliases.
func toJSON(text []byte) ([]byte, error) {
	members, err := parse(text)
	if err != nil {
		return nil, err
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
