package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"keypulse/schema"
)

// TicketLife is how long a ticket may be used.
const TicketLife = 30 * time.Second

// A ticket's text is this prefix and, in base64url, the time of its end, a nonce, the API key's id, and an HMAC of all that.
const (
	ticketPrefix = "kp_ticket_"
	ticketTime   = 8
	ticketNonce  = 16
	// ticketMAC keeps half of the HMAC: 128 bits cannot be guessed in 30 seconds.
	ticketMAC = 16
	// maxTicket bounds the work on what is sent as one.
	maxTicket = 512
)

// ErrTicketUsed says that a ticket has opened a stream before.
var ErrTicketUsed = errors.New("the ticket is used")

// Ticket opens one stream once, as its API key does. It is signed and not stored: only a used one is remembered, and not
// here (package ticket).
type Ticket struct {
	KeyID string // the API key's id
	Nonce string // names the ticket
	Ends  schema.Millis
}

// NewTicket makes a ticket for the API key with an id, and its text.
func (t *Table) NewTicket(keyID string, now time.Time) (Ticket, string) {
	ends := schema.MillisOf(now.Add(TicketLife))
	raw := binary.BigEndian.AppendUint64(nil, uint64(ends))
	raw = append(raw, make([]byte, ticketNonce)...)
	nonce := raw[ticketTime:]
	_, _ = rand.Read(nonce) // it never returns an error
	ticket := Ticket{KeyID: keyID, Nonce: hex.EncodeToString(nonce), Ends: ends}
	raw = append(raw, keyID...)
	return ticket, ticketPrefix + base64.RawURLEncoding.EncodeToString(append(raw, t.signTicket(raw)...))
}

// signTicket cannot make what [Secret.Digest] makes of an API key: those begin otherwise.
func (t *Table) signTicket(raw []byte) []byte {
	d := t.secret.Digest(ticketPrefix + string(raw))
	return d[:ticketMAC]
}

// LookupTicket is [Table.Lookup] for a ticket that has not ended and that use has used for the first time. The error is
// [ErrUnknown], for whatever is no ticket of ours, one that wraps [ErrRefused], or use's.
func (t *Table) LookupTicket(text string, now time.Time, use func(Ticket) error) (*Identity, *Entry, error) {
	ticket, ok := t.readTicket(text)
	if !ok || schema.MillisOf(now) >= ticket.Ends {
		return nil, nil, ErrUnknown
	}
	e := t.Get(ticket.KeyID)
	if e == nil {
		return nil, nil, ErrUnknown
	}
	if err := e.usable(now); err != nil {
		return nil, e, err
	}
	if err := use(ticket); err != nil {
		return nil, nil, err
	}
	e.used.note(now)
	return &e.identity, e, nil
}

func (t *Table) readTicket(text string) (Ticket, bool) {
	if len(text) <= len(ticketPrefix) || len(text) > maxTicket || text[:len(ticketPrefix)] != ticketPrefix {
		return Ticket{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text[len(ticketPrefix):])
	if err != nil || len(raw) <= ticketTime+ticketNonce+ticketMAC {
		return Ticket{}, false
	}
	end := len(raw) - ticketMAC
	if !hmac.Equal(raw[end:], t.signTicket(raw[:end])) {
		return Ticket{}, false
	}
	return Ticket{
		Ends:  schema.Millis(binary.BigEndian.Uint64(raw)),
		Nonce: hex.EncodeToString(raw[ticketTime : ticketTime+ticketNonce]),
		KeyID: string(raw[ticketTime+ticketNonce : end]),
	}, true
}
