package query

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// The parameters that look into an event's details: details.<path>=<value>, the path's names parted by dots.
const (
	detailsPrefix = "details."
	maxDetails    = 8  // conditions in one request
	maxDepth      = 32 // names in a path, as deep as details may be
)

// detailsSettings choose the server's other JSON parser: the default one finds nothing at all in details that hold an
// integer of more than 64 bits, such as an amount in wei.
func detailsSettings() clickhouse.Settings { return clickhouse.Settings{"allow_simdjson": 0} }

// detail is one condition: the value at a path of names is this text.
type detail struct {
	names []string
	value string
}

// details reads the conditions on details, in the order of their names.
func (p *params) details() (all []detail) {
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		path, ok := strings.CutPrefix(name, detailsPrefix)
		if !ok {
			continue
		}
		names, value := strings.Split(path, "."), p.values[name]
		switch {
		case slices.Contains(names, ""):
			p.refuse(name, "has an empty name in its path")
		case len(names) > maxDepth:
			p.refuse(name, "has more than %d names in its path", maxDepth)
		case len(path) > maxText || len(value) > maxText:
			p.refuse(name, "path and value must be at most %d bytes each", maxText)
		case len(all) == maxDetails:
			p.refuse(name, "is one too many: at most %d conditions on details", maxDetails)
		default:
			all = append(all, detail{names, value})
		}
	}
	return all
}

// detailsAre adds the conditions on details.
func (w *where) detailsAre(p *params) {
	for i, d := range p.details() {
		w.detailIs("d"+strconv.Itoa(i), d.names, d.value)
	}
}

// detailIs adds the condition that the value at a path of names is this text: a string of these characters, or the
// number, true, false or null that the text is in JSON. Parameters of the statement begin with prefix.
//
// The first half saves the parsing of details in which the last name does not occur, written plainly or escaped.
func (w *where) detailIs(prefix string, names []string, value string) {
	w.bind(prefix, value)
	place := "details"
	last := ""
	for i, name := range names {
		last = prefix + "_" + strconv.Itoa(i)
		w.bind(last, name)
		place += ", {" + last + ":String}"
	}
	kind := "JSONType(" + place + ")"
	alternatives := []string{kind + " = 'String' AND JSONExtractString(" + place + ") = {" + prefix + ":String}"}
	switch value {
	case "true", "false":
		alternatives = append(alternatives, kind+" = 'Bool' AND JSONExtractRaw("+place+") = {"+prefix+":String}")
	case "null": // a path that leads nowhere has this type, too
		alternatives = append(alternatives, kind+" = 'Null' AND JSONHas("+place+")")
	default:
		alternatives = append(alternatives, w.numberIs(prefix, place, value)...)
	}
	w.and("(position(details, {" + last + ":String}) > 0 OR position(details, '\\\\') > 0)")
	w.and("(" + strings.Join(alternatives, " OR ") + ")")
}

// numberIs is the conditions that a number equals value, none when value is no number. The server keeps integers of
// up to 64 bits exactly and all else as a float, so that is how they are compared; 1, 1.0 and 1e0 are the same.
func (w *where) numberIs(prefix, place, value string) []string {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || !json.Valid([]byte(value)) {
		return nil
	}
	w.bind(prefix+"_f", f)
	conditions := []string{"JSONType(" + place + ") = 'Double' AND JSONExtractFloat(" + place + ") = {" + prefix + "_f:Float64}"}
	if whole, ok := wholeNumber(value, f); ok {
		w.bind(prefix+"_i", whole)
		conditions = append(conditions, "JSONType("+place+") IN ('Int64', 'UInt64') AND JSONExtractRaw("+place+") = {"+prefix+"_i:String}")
	}
	return conditions
}

// wholeNumber writes a number in the way that the server writes integers, if it is one.
func wholeNumber(value string, f float64) (string, bool) {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		return strconv.FormatInt(n, 10), true
	}
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return strconv.FormatUint(n, 10), true
	}
	const exact = 1 << 53 // up to here a float is one integer and not several
	if f == math.Trunc(f) && math.Abs(f) <= exact {
		return strconv.FormatInt(int64(f), 10), true
	}
	return "", false
}
