package trial

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"keypulse/rules"
	"keypulse/schema"
)

// The bounds of a test.
const (
	maxEvents = 100_000
	maxText   = 256 // bytes of key_id, event_type and actor, as for events that are sent
)

// What an event has when a test does not say.
const (
	defaultKey  = "key-1"
	defaultType = "signing_request"
)

// defaultStart is a Monday, at noon.
var defaultStart = schema.MillisOf(time.Date(2026, time.January, 5, 12, 0, 0, 0, time.UTC))

const (
	wantTime   = `must be an offset such as "3m", or an RFC 3339 time`
	wantRepeat = "must be an integer from 1 to 100000"
	wantText   = "must have 1 to 256 bytes"
)

// Of reads the tests of a rule. The error is [rules.Errors], without places in a file.
func Of(r rules.Rule) ([]Test, error) {
	tests, problems := testsOf(r)
	if len(problems) == 0 {
		return tests, nil
	}
	var errs rules.Errors
	for i := range problems {
		errs = append(errs, rules.Error{Field: problems[i].field(), Message: problems[i].message})
	}
	return nil, errs
}

func testsOf(r rules.Rule) ([]Test, []problem) {
	if r.Tests == nil {
		return nil, nil
	}
	wires, wrong := decodeTests(r.Tests)
	if wrong != nil {
		return nil, []problem{*wrong}
	}
	var problems []problem
	tests := make([]Test, len(wires))
	for i := range wires {
		p := &reader{wire: &wires[i], root: jsontext.Pointer("").AppendToken(strconv.Itoa(i))}
		p.test = &tests[i]
		p.parse(r.ID)
		problems = append(problems, p.problems...)
	}
	return tests, problems
}

// reader makes a Test of what is written.
type reader struct {
	wire     *wireTest
	test     *Test
	root     jsontext.Pointer
	problems []problem
}

func (p *reader) refuse(at jsontext.Pointer, format string, args ...any) {
	p.problems = append(p.problems, problem{at: at, message: fmt.Sprintf(format, args...)})
}

func (p *reader) parse(rule string) {
	t, w := p.test, p.wire
	t.Rule, t.Name, t.With, t.start = rule, w.Name, w.With, defaultStart
	if w.Name == "" {
		p.refuse(p.root.AppendToken("name"), "is missing: what the rule does then")
	}
	if w.Start != nil {
		at, err := time.Parse(time.RFC3339, *w.Start)
		if err != nil {
			p.refuse(p.root.AppendToken("start"), "must be an RFC 3339 time")
		}
		t.start = schema.MillisOf(at)
	}
	p.events()
	p.alerts()
}

// time reads an offset from the start, or a time.
func (p *reader) time(at jsontext.Pointer, text string) schema.Millis {
	if d, err := rules.ParseDuration(text); err == nil {
		return p.test.start + schema.Millis(d.Milliseconds())
	}
	m, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.refuse(at, wantTime)
	}
	return schema.MillisOf(m)
}

func (p *reader) events() {
	at := p.root.AppendToken("events")
	if len(p.wire.Events) == 0 {
		p.refuse(at, "is missing: a list of events")
	}
	for _, name := range [...]struct {
		name  string
		given bool
	}{{"at", p.wire.Event.At != nil}, {"repeat", p.wire.Event.Repeat != nil}, {"every", p.wire.Event.Every != nil}} {
		if name.given {
			p.refuse(p.root.AppendToken("event").AppendToken(name.name), "belongs to each of the events")
		}
	}
	clock := p.test.start
	for i := range p.wire.Events {
		clock = p.event(at.AppendToken(strconv.Itoa(i)), p.wire.Events[i].over(&p.wire.Event), clock)
	}
}

// over is the event with what it leaves out from another.
func (w wireEvent) over(other *wireEvent) wireEvent {
	orElse(&w.KeyID, other.KeyID)
	orElse(&w.EventType, other.EventType)
	orElse(&w.Severity, other.Severity)
	orElse(&w.SourceIP, other.SourceIP)
	orElse(&w.Actor, other.Actor)
	orElse(&w.EventID, other.EventID)
	if w.Details == nil {
		w.Details = other.Details
	}
	return w
}

func orElse(to **string, other *string) {
	if *to == nil {
		*to = other
	}
}

// event appends the events of one entry and returns the time of the last one; clock is that of the one before.
func (p *reader) event(at jsontext.Pointer, w wireEvent, clock schema.Millis) schema.Millis {
	if w.At != nil {
		clock = p.time(at.AppendToken("at"), *w.At)
	}
	if w.Repeat == nil {
		if w.Every != nil {
			p.refuse(at.AppendToken("every"), "goes with repeat")
		}
		p.append(at, &w, clock, "")
		return clock
	}
	n := *w.Repeat
	if n < 1 || len(p.test.events)+n > maxEvents {
		p.refuse(at.AppendToken("repeat"), wantRepeat+", and a test has at most as many events")
		return clock
	}
	var every time.Duration
	var err error
	if w.Every != nil {
		if every, err = rules.ParseDuration(*w.Every); err != nil {
			p.refuse(at.AppendToken("every"), `must be a duration such as "30s"`)
		}
	} else {
		p.refuse(at.AppendToken("every"), `is missing: a duration such as "30s" goes with repeat`)
	}
	for i := 1; i <= n; i++ {
		if i > 1 {
			clock += schema.Millis(every.Milliseconds())
		}
		if !p.append(at, &w, clock, strconv.Itoa(i)) {
			break
		}
	}
	return clock
}

// append appends one event; in the texts of a repeated one, {n} is its number. It reports whether the event is right.
func (p *reader) append(at jsontext.Pointer, w *wireEvent, clock schema.Millis, number string) bool {
	before := len(p.problems)
	text := func(name string, from *string, otherwise string) string {
		if from == nil {
			return otherwise
		}
		s := *from
		if number != "" {
			s = strings.ReplaceAll(s, "{n}", number)
		}
		if s == "" || len(s) > maxText {
			p.refuse(at.AppendToken(name), wantText)
		}
		return s
	}
	e := schema.Event{
		KeyID:     text("key_id", w.KeyID, defaultKey),
		Type:      text("event_type", w.EventType, defaultType),
		Severity:  p.severity(at, w.Severity, schema.Nominal),
		SourceIP:  text("source_ip", w.SourceIP, ""),
		Actor:     text("actor", w.Actor, ""),
		EventID:   text("event_id", w.EventID, ""),
		OwnID:     w.EventID != nil,
		CreatedAt: clock,
	}
	e.SourceIP = p.address(at, e.SourceIP)
	e.Details = p.details(at, w.Details, number)
	p.test.events = append(p.test.events, e)
	return len(p.problems) == before
}

func (p *reader) severity(at jsontext.Pointer, name *string, otherwise schema.Severity) schema.Severity {
	if name == nil {
		return otherwise
	}
	s, ok := schema.ParseSeverity(*name)
	if !ok {
		p.refuse(at.AppendToken("severity"), "must be nominal, warning or critical")
	}
	return s
}

// address takes what an event that is sent may have, and keeps it the same way.
func (p *reader) address(at jsontext.Pointer, text string) string {
	if text == "" {
		return ""
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		p.refuse(at.AppendToken("source_ip"), "must be an IPv4 or IPv6 address, without a zone")
		return ""
	}
	return addr.Unmap().String()
}

func (p *reader) details(at jsontext.Pointer, value jsontext.Value, number string) []byte {
	switch {
	case value == nil:
		return nil
	case value.Kind() != '{':
		p.refuse(at.AppendToken("details"), "must be a mapping")
	case number != "":
		return bytes.ReplaceAll(value, []byte("{n}"), []byte(number))
	}
	return value
}

func (p *reader) alerts() {
	at, w := p.root.AppendToken("alerts"), p.wire.Alerts
	switch {
	case w == nil:
		p.refuse(at, "is missing: a number of alerts, or a list of them")
	case w.list == nil:
		if p.test.count = w.count; w.count < 0 {
			p.refuse(at, "must be at least 0")
		}
	default:
		p.test.list = []wantAlert{}
		for i := range w.list {
			p.alert(at.AppendToken(strconv.Itoa(i)), &w.list[i])
		}
	}
}

func (p *reader) alert(at jsontext.Pointer, w *wireAlert) {
	a := wantAlert{rule: w.Rule, keyID: w.KeyID, message: w.Message, hits: w.Hits, score: w.Score}
	if w.At != nil {
		t := p.time(at.AppendToken("at"), *w.At)
		a.at = &t
	}
	if w.Severity != nil {
		s := p.severity(at, w.Severity, 0)
		a.severity = &s
	}
	p.test.list = append(p.test.list, a)
}
