package schema

// QuotaRecord is what one node says about the slots of API keys' rate limits. An API key whose limit is L has L slots; in
// log order each is held by one node or by none. Key: the node.
//
// Everything that follows from a record follows from the log alone, so that all nodes agree on who holds what.
type QuotaRecord struct {
	Node string `json:"node"` // a life of a node, not a machine: it is never used again
	Seq  int64  `json:"seq"`  // numbers the node's records; one that is not above the last is passed over
	// After is the Seq of the node's last record that it had read back. Claims hold only when that is still its last: a
	// record whose acknowledgement was lost, and that comes late, does nothing twice.
	After int64 `json:"after"`
	Beat  int64 `json:"beat"` // counts the node's life, at most one in quota's beat interval
	Seen  int64 `json:"seen"` // how far the node had read the topic
	// Reset says that nobody has written for minutes: when no record came in between, nobody holds anything.
	Reset bool         `json:"reset,omitempty"`
	Leave bool         `json:"leave,omitempty"` // the node ends
	Keys  []QuotaClaim `json:"keys,omitempty"`
}

// QuotaClaim is about one API key: take slots, give some back, or only say what is held.
type QuotaClaim struct {
	ID    string `json:"id"`
	Limit int    `json:"limit,omitempty"` // the key's limit; 0: no opinion
	Has   int    `json:"has"`             // what the node holds as of Seen
	Take  int    `json:"take,omitempty"`  // as many of these as nobody holds become the node's
	Need  int    `json:"need,omitempty"`  // of Take, what requests miss now: who has spare ones gives them back
	Give  int    `json:"give,omitempty"`
}
