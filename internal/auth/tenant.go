package auth

import "keypulse/schema"

// Tenant is the right to what belongs to one tenant. A schema.Tenant is a mere name: it stands in every record and says
// whose the record is. What reads or writes on somebody's behalf takes a Tenant, and nobody can make one but this package,
// from what a request has presented ([Table.Lookup], [Table.LookupTicket]). So a name out of a body, a path, a cursor or another
// tenant's record opens nothing: it does not compile. TestTenantHasTwoDoors holds the rest of the code to it.
type Tenant struct{ name schema.Tenant }

// Name is the tenant's name, for the records that it writes and the rows that it reads. The zero Tenant is nobody's, and
// rows of nobody exist: it has none.
func (t Tenant) Name() schema.Tenant {
	if t.name == "" {
		panic("BUG: the zero auth.Tenant is used; it comes from authentication")
	}
	return t.name
}

// Owns reports whether a record under a tenant's name is this tenant's. The zero Tenant owns nothing.
func (t Tenant) Owns(name schema.Tenant) bool { return t.name != "" && t.name == name }

// String is for logs.
func (t Tenant) String() string { return string(t.name) }
