package uuid7_test

import (
	"testing"

	"github.com/google/uuid"

	"keypulse/internal/uuid7"
)

func TestAppend(t *testing.T) {
	const ms = 1_790_000_123_456
	seen := map[uuid.UUID]bool{}
	for range 10_000 {
		text := uuid7.Append([]byte("id "), ms)
		id, err := uuid.Parse(string(text[3:]))
		if err != nil || id.String() != string(text[3:]) || len(text) != 3+uuid7.Size {
			t.Fatalf("%q: %v", text, err)
		}
		seconds, nanos := id.Time().UnixTime()
		if id.Version() != 7 || id.Variant() != uuid.RFC4122 || seconds*1000+nanos/1e6 != ms {
			t.Fatalf("%q: version %v, variant %v, at %d.%d", text, id.Version(), id.Variant(), seconds, nanos)
		}
		seen[id] = true
	}
	if len(seen) != 10_000 {
		t.Errorf("%d of 10,000 are different", len(seen))
	}
}
