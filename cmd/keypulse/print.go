package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// printJSON prints v for people and programs, with no more escapes than JSON needs: <, > and & stay as they are. Each
// value is on a line of its own where indent is not empty.
func printJSON(indent string, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		text, err = plainJSON(text, indent)
	}
	if err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	_, err = fmt.Printf("%s\n", text)
	return err
}

// plainJSON formats again, because encoding/json takes the escapes of a json.Marshaler over as they are.
func plainJSON(text []byte, indent string) ([]byte, error) {
	if indent == "" {
		return jsontext.AppendFormat(nil, text)
	}
	return jsontext.AppendFormat(nil, text, jsontext.WithIndent(indent))
}

// printUsage answers -h.
func printUsage(text string) error {
	_, err := fmt.Println(text)
	return err
}

// count writes a number with its noun: "1 rule", "2 rules".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// shortDuration writes d without the units that are 0: 15m, not 15m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
