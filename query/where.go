package query

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"keypulse/internal/auth"
	"keypulse/schema"
)

// where is the condition of a statement: texts of our own, joined by AND, and the values of their {name:Type}
// parameters, which the server binds. Nothing that a client sent is ever part of a text.
type where struct {
	texts []string
	args  []any
}

// tenantIs starts every condition on a tenant's rows.
func tenantIs(tenant auth.Tenant) *where {
	w := &where{}
	w.and("tenant = {tenant:String}")
	w.bind("tenant", string(tenant.Name()))
	return w
}

func (w *where) and(text string) { w.texts = append(w.texts, text) }

func (w *where) bind(name string, value any) { w.args = append(w.args, clickhouse.Named(name, value)) }

func (w *where) bindTime(name string, m schema.Millis) { w.bind(name, sqlTime(m)) }

// String is the condition's text.
func (w *where) String() string { return strings.Join(w.texts, "\n  AND ") }

// sqlTime writes m as the server reads a DateTime64(3, 'UTC').
func sqlTime(m schema.Millis) string { return m.Time().Format("2006-01-02 15:04:05.000") }

// sqlMinute writes t as the server reads a DateTime('UTC'), cut to its minute.
func sqlMinute(t time.Time) string { return t.UTC().Truncate(time.Minute).Format(time.DateTime) }

// equals adds column = value when the parameter of the column's name is there.
func (w *where) equals(p *params, column string) {
	if value, ok := p.text(column); ok {
		w.and(column + " = {" + column + ":String}")
		w.bind(column, value)
	}
}

// between adds since <= column < until, as far as the parameters are there.
func (w *where) between(p *params, column string) {
	if since, ok := p.time("since"); ok {
		w.and(column + " >= {since:DateTime64(3, 'UTC')}")
		w.bindTime("since", since)
	}
	if until, ok := p.time("until"); ok {
		w.and(column + " < {until:DateTime64(3, 'UTC')}")
		w.bindTime("until", until)
	}
}

// span is the condition with from <= created_at < to beside it, as far as they are there.
func (w *where) span(from, to *schema.Millis) *where {
	within := &where{texts: slices.Clone(w.texts), args: slices.Clone(w.args)}
	if from != nil {
		within.and("created_at >= {from:DateTime64(3, 'UTC')}")
		within.bindTime("from", *from)
	}
	if to != nil {
		within.and("created_at < {to:DateTime64(3, 'UTC')}")
		within.bindTime("to", *to)
	}
	return within
}

// inNetwork adds the condition on source_ip. An address is compared as text, for the stored text is canonical. A
// network compares addresses as numbers, IPv4 as IPv4-mapped; a row without an address is NULL there, so it is out.
// An IPv6 network holds no IPv4 address, not even ::/0, as in the rules' cidr().
func (w *where) inNetwork(network netip.Prefix) {
	if network.IsSingleIP() {
		w.and("source_ip = {source_ip:String}")
		w.bind("source_ip", network.Addr().String())
		return
	}
	w.and("toIPv6OrNull(source_ip) BETWEEN {ip_first:IPv6} AND {ip_last:IPv6}")
	first, last := bounds(network)
	w.bind("ip_first", first.String())
	w.bind("ip_last", last.String())
	if network.Addr().Is6() {
		w.and("position(source_ip, ':') > 0")
	}
}

// bounds returns the first and the last address of a network, IPv4 as IPv4-mapped IPv6.
func bounds(network netip.Prefix) (first, last netip.Addr) {
	bits := network.Bits() + 128 - network.Addr().BitLen()
	b := network.Masked().Addr().As16()
	first = netip.AddrFrom16(b)
	for i := range b {
		free := min(max(8*(i+1)-bits, 0), 8) // bits of this byte that the network leaves open
		b[i] |= byte(1<<free - 1)
	}
	return first, netip.AddrFrom16(b)
}
