package openapitest

import (
	"maps"
	"slices"
	"strings"
)

// open is the ending of a schema's name in its reading that takes further members, for use inside an allOf.
const open = ".open"

// closeAnswers changes the document so that objects in answers have no members but the stated ones. A schema that is part of an
// allOf sees only its own members, so it stays open, and what composes it is closed.
func closeAnswers(root object) {
	components, _ := root["components"].(object)
	schemas, _ := components["schemas"].(object)
	for _, name := range slices.Collect(maps.Keys(schemas)) {
		schemas[name+open] = closeSchema(clone(schemas[name]), true)
		schemas[name] = closeSchema(schemas[name], false)
	}
	closeContents(root)
}

// closeContents closes the schemas of all contents below v.
func closeContents(v any) {
	switch v := v.(type) {
	case object:
		if content, ok := v["content"].(object); ok {
			for _, media := range content {
				if media, ok := media.(object); ok && media["schema"] != nil {
					media["schema"] = closeSchema(media["schema"], false)
				}
			}
			return
		}
		for _, below := range v {
			closeContents(below)
		}
	case []any:
		for _, below := range v {
			closeContents(below)
		}
	}
}

// closeSchema closes a schema; the one that is part of an allOf stays open itself.
func closeSchema(v any, partOfAll bool) any {
	s, ok := v.(object)
	if !ok {
		return v
	}
	if ref, ok := s["$ref"].(string); ok && partOfAll && strings.HasPrefix(ref, "#/components/schemas/") {
		s["$ref"] = ref + open
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		all, _ := s[keyword].([]any)
		for i := range all {
			all[i] = closeSchema(all[i], partOfAll || keyword == "allOf")
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		if below, ok := s[keyword]; ok {
			s[keyword] = closeSchema(below, false)
		}
	}
	properties, _ := s["properties"].(object)
	for name := range properties {
		properties[name] = closeSchema(properties[name], false)
	}
	_, extra := s["additionalProperties"]
	_, unevaluated := s["unevaluatedProperties"]
	if !partOfAll && !extra && !unevaluated && (properties != nil || s["allOf"] != nil) {
		s["unevaluatedProperties"] = false
	}
	return s
}

func clone(v any) any {
	switch v := v.(type) {
	case object:
		c := make(object, len(v))
		for name := range v {
			c[name] = clone(v[name])
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = clone(v[i])
		}
		return c
	}
	return v
}
