package query

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"keypulse/schema"
)

// list names the list that a cursor belongs to: the first byte of it.
type list byte

// The lists.
const (
	listEvents list = 'e'
	listKeys   list = 'k'
	listAlerts list = 'a'
)

// place is where a page ended: what the list is sorted by, of the last row shown. A list uses the members that it
// sorts by and leaves the others zero.
type place struct {
	at   schema.Millis
	id   int64
	name string
}

var errCursor = errors.New("is not a cursor that this list has given")

const checksumLen = 4

// cursor writes the place as text of [A-Za-z0-9_-]. It is a place and nothing else: it opens nothing that the request
// could not read anyway, so it holds no secret. The checksum makes a typing error a 400 and not another page.
func (p place) cursor(l list) string {
	b := []byte{byte(l)}
	b = binary.AppendUvarint(b, uint64(p.at))
	b = binary.AppendUvarint(b, uint64(p.id))
	b = append(b, p.name...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor is the inverse of [place.cursor]. It accepts only what that writes, to the letter.
func parseCursor(l list, s string) (place, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 1+checksumLen || list(b[0]) != l {
		return place{}, errCursor
	}
	rest := b[1 : len(b)-checksumLen]
	at, n := binary.Uvarint(rest)
	if n <= 0 || at > maxTime {
		return place{}, errCursor
	}
	rest = rest[n:]
	id, n := binary.Uvarint(rest)
	if n <= 0 || id > schema.MaxID {
		return place{}, errCursor
	}
	p := place{at: schema.Millis(at), id: int64(id), name: string(rest[n:])}
	if p.cursor(l) != s {
		return place{}, errCursor
	}
	return p, nil
}
