// Package schema defines the shapes that KeyPulse's parts exchange: events, verdicts, alerts, the records of
// the control topics, and the statements that make the ClickHouse tables.
//
// The invariant it keeps: one shape has one encoding, and whatever was accepted once decodes for ever. Fields are
// added to events.proto and verdicts.proto with new numbers, never renumbered. The package imports nothing of
// KeyPulse's own.
//
//	id := schema.EventID(base, offset, partition)        // what clients see
//	p := schema.Partition(schema.RecordKey(tenant, key), 8) // where an event of this key goes
package schema
