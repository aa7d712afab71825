package bench

// answer is what the generator counts in a 2xx answer to a POST.
type answer struct {
	alerts       int64   // alerts_triggered
	notEvaluated int64   // events with evaluated: false
	ids          []int64 // of the events, in the order sent
}

// read fills a from the body of an answer to a single POST (batch false) or to a batch, and reports whether the body
// has the members that api.md promises. It reuses a's slice.
func (a *answer) read(body []byte, batch bool) bool {
	*a = answer{ids: a.ids[:0]}
	if !batch {
		return a.readEvent(body)
	}
	total, ok := int64(-1), true
	isObject := eachMember(body, func(name, value []byte) {
		switch string(name) {
		case "alerts_triggered":
			var isInt bool
			total, isInt = integer(value)
			ok = ok && isInt
		case "events":
			ok = eachElement(value, func(event []byte) { ok = a.readEvent(event) && ok }) && ok
		}
	})
	a.alerts = total
	return isObject && ok && total >= 0
}

func (a *answer) readEvent(event []byte) bool {
	id, alerts := int64(-1), int64(-1)
	isObject := eachMember(event, func(name, value []byte) {
		switch string(name) {
		case "id":
			if n, ok := integer(value); ok {
				id = n
			}
		case "alerts_triggered":
			if n, ok := integer(value); ok {
				alerts = n
			}
		case "evaluated":
			if string(value) == "false" {
				a.notEvaluated++
			}
		}
	})
	a.ids = append(a.ids, id)
	a.alerts += max(alerts, 0)
	return isObject && id >= 0 && alerts >= 0
}

// failure returns the code and the message of an error's body, "" where it has none.
func failure(body []byte) (code, message string) {
	eachMember(body, func(name, value []byte) {
		if len(value) < 2 || value[0] != '"' {
			return
		}
		text := value[1 : len(value)-1]
		switch string(name) {
		case "code":
			code = string(text[:min(len(text), 64)])
		case "message":
			message = string(text[:min(len(text), 200)])
		}
	})
	return code, message
}
