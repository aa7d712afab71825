package ingest

import (
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest wait that a client may ask for.
const maxWait = 30 * time.Second

// preference is what a request's Prefer header asks for (RFC 7240).
type preference struct {
	async   bool          // answer as soon as the log has the events
	wait    time.Duration // how long to wait for the verdicts
	applied string        // for Preference-Applied; "" when nothing was asked for that we know
}

// parsePrefer reads the header. Preferences that are unknown or malformed are ignored, as the RFC wants it; of a
// repeated one the first counts.
func parsePrefer(header string, wait time.Duration) preference {
	p := preference{wait: wait}
	if header == "" {
		return p
	}
	waitSeen := false
	for part := range strings.SplitSeq(header, ",") {
		token, _, _ := strings.Cut(part, ";")
		name, value, _ := strings.Cut(token, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "respond-async":
			p.async = true
		case "wait":
			seconds, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			if err != nil || seconds < 0 || waitSeen {
				continue
			}
			waitSeen = true
			p.wait = min(time.Duration(min(seconds, 3600))*time.Second, maxWait)
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
