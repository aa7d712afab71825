package schema

import (
	"fmt"
	"time"
)

// Millis is a point in time in milliseconds since the Unix epoch, UTC: the resolution of the log.
type Millis int64

// MillisLayout is how every time is written in JSON: RFC 3339, UTC, milliseconds.
const MillisLayout = "2006-01-02T15:04:05.000Z"

// MillisOf truncates t to milliseconds.
func MillisOf(t time.Time) Millis { return Millis(t.UnixMilli()) }

// Time returns m in UTC.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }

// String returns m in [MillisLayout].
func (m Millis) String() string { return m.Time().Format(MillisLayout) }

// Append appends m in [MillisLayout] to b.
func (m Millis) Append(b []byte) []byte { return m.Time().AppendFormat(b, MillisLayout) }

// MarshalText writes m in [MillisLayout].
func (m Millis) MarshalText() ([]byte, error) { return m.Append(nil), nil }

// UnmarshalText reads any RFC 3339 time and truncates it to milliseconds.
func (m *Millis) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return fmt.Errorf("parse time: %w", err)
	}
	*m = MillisOf(t)
	return nil
}
