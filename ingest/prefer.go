package ingest

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest wait that a client may ask for.
const maxWait = 30 * time.Second

// preference is what a request's Prefer headers ask for (RFC 7240).
type preference struct {
	async   bool          // answer as soon as the log has the events
	wait    time.Duration // how long to wait for the verdicts
	applied string        // for Preference-Applied; "" when nothing was asked for that we know
}

// parsePrefer reads the headers. Preferences that are unknown or malformed are ignored, as the RFC wants it; of a
// repeated one the first counts.
func parsePrefer(headers [][]byte, wait time.Duration) preference {
	p := preference{wait: wait}
	if len(headers) == 0 {
		return p
	}
	waitSeen := false
	for rest := string(bytes.Join(headers, []byte(","))); rest != ""; {
		var name, value string
		name, value, rest = nextPreference(rest)
		switch strings.ToLower(name) {
		case "respond-async":
			p.async = p.async || value == ""
		case "wait":
			seconds, err := strconv.ParseUint(value, 10, 31) // what does not fit is its largest value
			if err != nil && !errors.Is(err, strconv.ErrRange) || waitSeen {
				continue
			}
			waitSeen = true
			p.wait = min(time.Duration(seconds)*time.Second, maxWait)
		}
	}
	switch {
	case p.async:
		p.wait, p.applied = 0, "respond-async"
	case waitSeen:
		p.applied = "wait=" + strconv.Itoa(int(p.wait/time.Second))
	}
	return p
}

// nextPreference cuts the first preference off a list, without its parameters and its value's quotes.
func nextPreference(list string) (name, value, rest string) {
	preference, rest := cutOutsideQuotes(list, ',')
	preference, _ = cutOutsideQuotes(preference, ';')
	name, value, _ = strings.Cut(preference, "=")
	value = strings.TrimSpace(value)
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	return strings.TrimSpace(name), value, rest
}

// cutOutsideQuotes cuts s at the first separator that does not stand in a quoted string.
func cutOutsideQuotes(s string, separator byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == separator && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
