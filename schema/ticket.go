package schema

// TicketRecord says that somebody uses a ticket of the stream. Of several records about one ticket the first in the log
// counts: who wrote it may open the stream, nobody else. Key: the ticket.
type TicketRecord struct {
	Ticket string `json:"ticket"` // its name; it opens nothing
	By     string `json:"by"`     // one attempt to use it, never used again
	Ends   Millis `json:"ends"`   // of the ticket: afterwards it need not be remembered
}
