package openapitest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Fuzzer makes requests from the document: as it describes them, nearly so, and such as only an enemy sends. Equal seeds make
// equal requests from equal answers.
type Fuzzer struct {
	gen generator
	ops []*Operation
}

// NewFuzzer makes a fuzzer of the operations whose path does not begin so: what the server under it does not have.
func NewFuzzer(seed uint64, without string) *Fuzzer {
	d := Load()
	ops := slices.DeleteFunc(slices.Clone(d.Operations), func(op *Operation) bool { return strings.HasPrefix(op.Path, without) })
	return &Fuzzer{generator{rand.New(rand.NewPCG(seed, seed)), d.root, map[string][]any{}}, ops}
}

// Operations are those that it makes requests for.
func (f *Fuzzer) Operations() []*Operation { return f.ops }

// Kind is how far a request is from what the document describes.
type Kind int

// The kinds.
const (
	Valid      Kind = iota // as far as schemas tell
	NearlyGood             // with something wrong in it
	Hostile                // wrong as HTTP or JSON
	kinds
)

// Request is a request as it goes over the wire, without its credentials.
type Request struct {
	Operation *Operation
	Kind      Kind
	Method    string
	Target    string // as the request line has it
	Header    http.Header
	Body      []byte

	id any // in its path
}

// Next makes a request for an operation by its turn, so that none is left out.
func (f *Fuzzer) Next(turn int) *Request {
	op := f.ops[turn%len(f.ops)]
	r := &Request{Operation: op, Kind: Kind(f.gen.IntN(int(kinds))), Method: op.Method, Header: http.Header{}}
	query := f.parameters(r)
	f.body(r)
	r.Body = elsewhere.ReplaceAll(r.Body, []byte("http://127.0.0.1:9"))
	if r.Kind != Valid {
		for range 1 + f.gen.IntN(2) {
			query = f.spoil(r, query)
		}
	}
	if len(query) > 0 {
		r.Target += "?" + strings.Join(query, "&")
	}
	return r
}

// parameters fills in the path and the headers, and returns the query's.
func (f *Fuzzer) parameters(r *Request) (query []string) {
	g := &f.gen
	r.Target = r.Operation.Path
	for _, p := range r.Operation.parameters {
		if !p.required && g.IntN(4) != 0 {
			continue
		}
		name := p.name
		if p.in == "path" {
			name = poolOf(r.Operation.Path)
		}
		var value any
		switch known := g.known[name]; {
		case p.in == "path" && len(known) > 0 && g.IntN(4) > 0:
			value = pick(g, known)
		case len(p.samples) > 0 && g.IntN(2) == 0:
			value = pick(g, p.samples)
		default:
			value = g.value(name, p.schema.raw, 0)
		}
		switch p.in {
		case "path":
			r.id = value
			r.Target = strings.ReplaceAll(r.Target, "{"+p.name+"}", url.PathEscape(fmt.Sprint(value)))
		case "header":
			if text := fmt.Sprint(value); !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
				r.Header.Set(p.name, text)
			}
		case "query":
			if members, ok := value.(object); ok {
				for member, v := range members {
					query = append(query, url.QueryEscape(p.name+member)+"="+url.QueryEscape(fmt.Sprint(v)))
				}
				slices.Sort(query)
				continue
			}
			query = append(query, url.QueryEscape(name)+"="+url.QueryEscape(fmt.Sprint(value)))
		}
	}
	return query
}

// poolOf names what an id in a path is: /api/alerts/{id}/ack takes what /api/alerts has given.
func poolOf(path string) string {
	before, _, _ := strings.Cut(path, "/{")
	return before
}

// body makes the request's body.
func (f *Fuzzer) body(r *Request) {
	g := &f.gen
	media := "application/json"
	if r.Operation.bodies[mediaLines] != nil {
		media = mediaLines
	}
	s := r.Operation.bodies[media]
	if s == nil || !r.Operation.bodyNeeded && g.IntN(3) == 0 {
		return
	}
	r.Header.Set("Content-Type", media)
	lines := 1
	if media == mediaLines {
		lines += g.IntN(5)
	}
	for i := range lines {
		value := g.value("", s.raw, 0)
		if example := f.example(r.Operation, media); example != nil && g.IntN(3) > 0 {
			value = example
		}
		if r.Kind == NearlyGood && g.IntN(2) == 0 {
			value = g.mutate(value)
		}
		if i > 0 {
			r.Body = append(r.Body, '\n')
		}
		text, err := json.Marshal(value)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		r.Body = append(r.Body, text...)
	}
}

// example is an example of an operation's body, with a version that is in force, where it has one.
func (f *Fuzzer) example(op *Operation, media string) any {
	body, _ := op.raw["requestBody"].(object)
	content, _ := body["content"].(object)
	of, _ := content[media].(object)
	all := samples(of)
	if len(all) == 0 {
		return nil
	}
	example := clone(pick(&f.gen, all))
	if o, ok := example.(object); ok && o["version"] != nil {
		if known := f.gen.known[versionOf(op.Path)]; len(known) > 0 && f.gen.IntN(4) > 0 {
			o["version"] = known[0]
		}
	}
	return example
}

// versionOf names the versions of what is at a path.
func versionOf(path string) string { return "version of " + poolOf(path) }

// elsewhere is a place to which a server might send something because a request names it: nothing leaves the machine.
var elsewhere = regexp.MustCompile(`(?i)https?://[^/?#"\\]*`)

// maxKnown bounds what is remembered under one name.
const maxKnown = 12

// Learn reads what an answer gives: ids, cursors, tickets and versions, so that later requests ask for what is there; and
// forgets what is gone. The id own is never asked for.
func (f *Fuzzer) Learn(r *Request, status int, answer []byte, own string) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	if err != nil {
		return
	}
	known := f.gen.known
	if pool := poolOf(r.Operation.Path); status == http.StatusNotFound && r.id != nil {
		known[pool] = slices.DeleteFunc(known[pool], func(v any) bool { return fmt.Sprint(v) == fmt.Sprint(r.id) })
	}
	keep := func(name string, v any) {
		switch pool := known[name]; {
		case fmt.Sprint(v) == own:
		case len(pool) < maxKnown:
			known[name] = append(pool, v)
		default:
			pool[f.gen.IntN(len(pool))] = v
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case object:
			for _, name := range []string{"key_id", "ticket"} {
				if v[name] != nil {
					keep(name, v[name])
				}
			}
			if v["version"] != nil {
				known[versionOf(r.Operation.Path)] = []any{v["version"]} // the last one that was seen
			}
			if v["id"] != nil {
				keep(poolOf(r.Operation.Path), v["id"])
			}
			if v["key_id"] != nil {
				keep("/api/keys", v["key_id"])
			}
			if next, ok := v["next_cursor"].(string); ok {
				keep("cursor", next)
			}
			for _, name := range slices.Sorted(maps.Keys(v)) {
				walk(v[name])
			}
		case []any:
			for _, below := range v {
				walk(below)
			}
		}
	}
	walk(v)
}

// compressed is a body in gzip.
func compressed(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // to memory
	_ = w.Close()
	return b.Bytes()
}
