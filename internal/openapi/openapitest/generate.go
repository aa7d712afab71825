package openapitest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// generator makes values that a schema of the document describes.
type generator struct {
	*rand.Rand
	root object
	// known are values that the server has given, by the names of what takes them: see Fuzzer.Learn.
	known map[string][]any
}

// maxDepth ends what a schema lets nest without end.
const maxDepth = 6

// value makes a value for a schema. name is the member or parameter that it is for: what the server has given under that name
// is taken now and then.
func (g *generator) value(name string, raw any, depth int) any {
	if known := g.known[name]; len(known) > 0 && g.IntN(2) == 0 {
		return pick(g, known)
	}
	s, ok := raw.(object)
	if !ok {
		return g.anything(depth)
	}
	if ref, ok := s["$ref"].(string); ok {
		return g.value(name, find(g.root, ref), depth)
	}
	if samples, ok := s["examples"].([]any); ok && len(samples) > 0 && g.IntN(2) == 0 {
		return pick(g, samples)
	}
	if v, ok := s["const"]; ok {
		return v
	}
	if all, ok := s["enum"].([]any); ok {
		return pick(g, all)
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		if all, ok := s[keyword].([]any); ok {
			return g.value(name, pick(g, all), depth)
		}
	}
	kind := g.kind(s)
	if all, ok := s["allOf"].([]any); ok {
		return g.all(name, all, s, kind, depth)
	}
	return g.ofKind(kind, s, depth)
}

// all makes a value for which several schemas hold: an object with the members of each, or the value of the first.
func (g *generator) all(name string, all []any, s object, kind string, depth int) any {
	first := g.value(name, all[0], depth)
	merged, ok := first.(object)
	if !ok {
		return first
	}
	for _, part := range all[1:] {
		more, _ := g.value(name, part, depth).(object)
		maps.Copy(merged, more)
	}
	if kind == "object" {
		maps.Copy(merged, g.object(s, depth))
	}
	return merged
}

func (g *generator) kind(s object) string {
	switch t := s["type"].(type) {
	case string:
		return t
	case []any:
		kind, _ := pick(g, t).(string)
		return kind
	}
	if s["properties"] != nil {
		return "object"
	}
	return ""
}

func (g *generator) ofKind(kind string, s object, depth int) any {
	switch kind {
	case "null":
		return nil
	case "boolean":
		return g.IntN(2) == 0
	case "integer", "number":
		return g.number(s)
	case "string":
		return g.string(s)
	case "array":
		return g.array(s, depth)
	case "object":
		return g.object(s, depth)
	}
	return g.anything(depth)
}

func (g *generator) object(s object, depth int) object {
	o := object{}
	properties, _ := s["properties"].(object)
	required, _ := s["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if slices.Contains(required, any(name)) || depth < maxDepth && g.IntN(2) == 0 {
			o[name] = g.value(name, properties[name], depth+1)
		}
	}
	if more, given := s["additionalProperties"]; depth < maxDepth && (given && more != false || !given && properties == nil) {
		for range g.IntN(3) {
			o[g.word()] = g.value("", more, depth+1)
		}
	}
	return o
}

func (g *generator) array(s object, depth int) []any {
	low, high := bound(s, "minItems", 0), bound(s, "maxItems", 8)
	a := []any{}
	for range low + int64(g.IntN(int(min(high-low, 4))+1)) {
		a = append(a, g.value("", s["items"], depth+1))
	}
	return a
}

func (g *generator) number(s object) any {
	low, high := bound(s, "minimum", -1000), bound(s, "maximum", 1_000_000)
	n := low + g.Int64N(max(high-low, 0)+1)
	if g.IntN(3) == 0 {
		n = pick(g, []int64{low, high, min(low+1, high)})
	}
	step := bound(s, "multipleOf", 1)
	return max(n/step*step, low)
}

func (g *generator) string(s object) string {
	if pattern := text(s["pattern"]); pattern != "" && text(s["format"]) == "" {
		re, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		return g.matching(re.Simplify())
	}
	switch text(s["format"]) {
	case "date-time":
		at := time.UnixMilli(g.Int64N(4_000_000_000_000))
		if g.IntN(2) == 0 { // what ends must often end soon, but not yet
			at = time.Now().Add(time.Duration(g.Int64N(int64(24 * time.Hour))))
		}
		return at.UTC().Format(pick(g, []string{"2006-01-02T15:04:05.000Z", time.RFC3339}))
	case "ipv4":
		return netip.AddrFrom4([4]byte{10, byte(g.Uint32()), byte(g.Uint32()), byte(g.Uint32())}).String()
	case "ipv6":
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: byte(g.Uint32())}).String()
	case "uri":
		return fmt.Sprintf("http://127.0.0.1:%d/%s", 1+g.IntN(9), g.word()) // nothing listens there
	}
	low, high := bound(s, "minLength", 0), bound(s, "maxLength", 64)
	var b strings.Builder
	b.WriteString(g.word())
	for n := low + g.Int64N(min(high-low, 40)+1); int64(b.Len()) < n; {
		b.WriteString(pick(g, []string{"-", "é", " ", "\"", "/", "日", "%", "x", "<", "{"}))
	}
	text := b.String()
	for int64(len(text)) > high { // bytes, where the document means characters: it means both
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// matching makes a text that an expression matches.
func (g *generator) matching(re *syntax.Regexp) string {
	var b strings.Builder
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		i := 2 * g.IntN(len(re.Rune)/2)
		b.WriteRune(re.Rune[i] + g.Int32N(re.Rune[i+1]-re.Rune[i]+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpCapture:
		return g.matching(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			b.WriteString(g.matching(sub))
		}
	case syntax.OpAlternate:
		return g.matching(pick(g, re.Sub))
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		least, most := map[syntax.Op]int{syntax.OpPlus: 1}[re.Op], map[syntax.Op]int{syntax.OpQuest: 2}[re.Op]
		for range least + g.IntN(max(most, 4)-least-1) {
			b.WriteString(g.matching(re.Sub[0]))
		}
	default: // the text's ends
	}
	return b.String()
}

// anything is JSON of any shape.
func (g *generator) anything(depth int) any {
	kinds := []string{"null", "boolean", "integer", "string", "array", "object"}
	if depth >= maxDepth {
		kinds = kinds[:4]
	}
	return g.ofKind(pick(g, kinds), object{}, depth+1)
}

func (g *generator) word() string {
	return pick(g, []string{"treasury", "signing-key-01", "export", "alice", "a", "amount_usd", "10.0.0.1", "ü", "name"})
}

// pick takes one of several.
func pick[T any](g *generator, all []T) T { return all[g.IntN(len(all))] }

func bound(s object, keyword string, otherwise int64) int64 {
	n, ok := s[keyword].(interface{ Int64() (int64, error) })
	if !ok {
		return otherwise
	}
	i, err := n.Int64()
	if err != nil {
		return otherwise
	}
	return i
}
