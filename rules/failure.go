package rules

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Failure is a rule that failed while it ran: KeyPulse has a bug, for a rule that compiles never fails for what an event
// holds or lacks.
type Failure struct {
	Program *Program
	Message string // what failed and why, at most maxFailure bytes
}

// maxFailure bounds a failure's message: it goes into every verdict that names it.
const maxFailure = 200

// Failures returns what has failed for the event so far, of Eval, of the windows, of messages. It is valid until the next event
// begins.
func (v Values) Failures() []Failure {
	if v.scope == nil {
		return nil
	}
	return v.scope.failures
}

// fail notes that a part of a program failed.
func (s *Scope) fail(p *Program, part string, cause any) {
	message := strings.ToValidUTF8(fmt.Sprintf("%s: %v", part, cause), "\ufffd")
	if len(message) > maxFailure {
		cut := maxFailure
		for !utf8.RuneStart(message[cut]) {
			cut--
		}
		message = message[:cut]
	}
	s.failures = append(s.failures, Failure{p, message})
}

// failSource notes that source i of the set failed, for every rule that has one of its aggregates.
func (s *Scope) failSource(i int, cause any) {
	for n := range s.set.rules {
		r := &s.set.rules[n]
		for _, aggregate := range s.set.sources[i] {
			if slices.Contains(r.binding.aggregates, int32(aggregate)) {
				s.fail(r.Program, s.set.aggregates[aggregate].Text, cause)
				break
			}
		}
	}
}
