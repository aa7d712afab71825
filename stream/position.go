package stream

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"

	"keypulse/internal/judged"
	"keypulse/internal/varint"
	"keypulse/schema"
)

// Position is a place in the stream: for each partition of the log, up to where its rows have been shown. A row with
// alerts is several frames; Row and Sent say that Sent frames of the next row of partition Row have been shown, too.
type Position struct {
	Partitions []judged.Position
	Row        int32
	Sent       int
}

func (p Position) clone() Position {
	p.Partitions = slices.Clone(p.Partitions)
	return p
}

// behind is how many rows lie between p and a later position.
func (p Position) behind(later Position) (rows int64) {
	for i := range p.Partitions {
		rows += max(later.Partitions[i].Offset-p.Partitions[i].Offset, 0)
	}
	return rows
}

// reached reports whether p is not before from, and past the row that from is in the middle of: another node may be a moment
// ahead of this one.
func (p Position) reached(from Position) bool {
	for i := range from.Partitions {
		want := from.Partitions[i].Offset
		if from.Sent > 0 && int32(i) == from.Row {
			want++
		}
		if p.Partitions[i].Offset < want {
			return false
		}
	}
	return true
}

// ErrPosition says that a text is no position of this log.
var ErrPosition = errors.New("is not a position that this stream has given")

const (
	positionFormat = 1
	checksumLen    = 4
)

// appendText appends the position as text of [A-Za-z0-9_-] to b. base is the log's: a position of another log means
// nothing in this one.
func (p Position) appendText(b []byte, base int64) []byte {
	var room [512]byte
	raw := append(room[:0], positionFormat)
	raw = varint.AppendUint(raw, uint64(base))
	raw = varint.AppendUint(raw, uint64(len(p.Partitions)))
	for _, at := range p.Partitions {
		raw = varint.AppendUint(raw, uint64(at.Offset))
		raw = varint.AppendUint(raw, uint64(at.Verdict))
	}
	if p.Sent > 0 {
		raw = varint.AppendUint(raw, uint64(p.Row))
		raw = varint.AppendUint(raw, uint64(p.Sent))
	}
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	return base64.RawURLEncoding.AppendEncode(b, raw)
}

// ParsePosition reads what a frame's id says. It fails with [ErrPosition].
func ParsePosition(s string, log schema.LogRecord) (Position, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) < 1+checksumLen || raw[0] != positionFormat {
		return Position{}, ErrPosition
	}
	end := len(raw) - checksumLen
	if binary.BigEndian.Uint32(raw[end:]) != crc32.ChecksumIEEE(raw[:end]) {
		return Position{}, ErrPosition
	}
	in := varint.NewReader(raw[1:end])
	next := func() int64 { return int64(in.Up(math.MaxInt64)) }
	if next() != log.Base || next() != int64(log.Partitions) {
		return Position{}, ErrPosition
	}
	p := Position{Partitions: make([]judged.Position, log.Partitions)}
	for i := range p.Partitions {
		p.Partitions[i] = judged.Position{Offset: next(), Verdict: next()}
	}
	if in.Len() > 0 {
		p.Row, p.Sent = int32(next()), int(next())
	}
	if in.Err() != nil || in.Len() > 0 || p.Row < 0 || p.Row >= log.Partitions || p.Sent < 0 {
		return Position{}, ErrPosition
	}
	return p, nil
}
