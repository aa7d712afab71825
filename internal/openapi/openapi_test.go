package openapi

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestJSON(t *testing.T) {
	var doc struct {
		OpenAPI string
		Shared  any `json:"x-shared"`
	}
	if err := json.Unmarshal(JSON(), &doc); err != nil {
		t.Fatal(err)
	}
	if !jsontext.Value(JSON()).IsValid() { // which allows no name twice in an object, as many clients do not
		t.Error("the document is not JSON to a strict reader")
	}
	const overridden = `{"a": {"x": 1, "y": 3}}`
	if got, err := toJSON([]byte("x-shared: &s {x: 1, y: 2}\na: {<<: *s, y: 3}")); err != nil || strings.TrimSpace(string(got)) != overridden {
		t.Errorf("an overridden member: got %s, %v, want %s", got, err, overridden)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") || doc.Shared != nil {
		t.Errorf("got version %q and, of the aliases, %v", doc.OpenAPI, doc.Shared)
	}
	for _, text := range []string{"a: *b", "a: [", "- 1"} {
		if doc, err := toJSON([]byte(text)); err == nil {
			t.Errorf("%q became %s", text, doc)
		}
	}
}

// TestPage wants a page that is well-formed, that needs nothing from elsewhere, that names every operation and whose links lead
// somewhere.
func TestPage(t *testing.T) {
	page := Page()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta"}, xml.HTMLEntity
	ids, links := map[string]bool{}, map[string]bool{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if name := element.Name.Local; name == "script" || name == "img" || name == "link" || name == "iframe" {
			t.Errorf("the page has a %s", name)
		}
		for _, a := range element.Attr {
			switch {
			case a.Name.Local == "id" && ids[a.Value]:
				t.Errorf("the id %q is there twice", a.Value)
			case a.Name.Local == "id":
				ids[a.Value] = true
			case a.Name.Local == "href":
				links[a.Value] = true
			case a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on"):
				t.Errorf("%s has the attribute %s, which the policy forbids", element.Name.Local, a.Name.Local)
			}
		}
	}
	for link := range links {
		if name, ok := strings.CutPrefix(link, "#"); ok && !ids[name] || !ok && link != "openapi.json" {
			t.Errorf("the link %q leads nowhere", link)
		}
	}
	for _, id := range regexp.MustCompile(`"operationId": "(\w+)"`).FindAllSubmatch(JSON(), -1) {
		if !ids[string(id[1])] {
			t.Errorf("the operation %s is not on the page: give it a tag that stands in tags", id[1])
		}
	}
	if !bytes.Contains(page, []byte("<style>"+pageStyle+"</style>")) {
		t.Error("the style is not what the policy's hash is of")
	}
}

func TestMarkup(t *testing.T) {
	const text = "One `a<b>` and\n**two**.\n\n- see [x](#y)\n- [no](javascript:1)"
	const want = `<p>One <code>a&lt;b&gt;</code> and` + "\n" + `<strong>two</strong>.</p><ul><li>see <a href="#y">x</a></li><li>[no](javascript:1)</li></ul>`
	if got := string(markup(text)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
