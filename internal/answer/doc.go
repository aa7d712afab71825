// Package answer writes the JSON that the API shows of an event. Ingest answers a POST with it, query a list: one
// encoder, so that an event looks the same wherever it is seen.
//
// The invariant it keeps: the members and their order are those of the API's reference, what the reference does not
// know comes after them, and details are the very bytes that the client sent.
//
//	b = answer.AppendEvent(b, answer.Event{ID: id, Event: &e, Score: 10, Evaluated: true})
package answer
