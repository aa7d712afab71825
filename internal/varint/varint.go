// Package varint reads and writes the compact fields of checkpoints: numbers as varints, texts with their length.
//
// The invariant it keeps: what [Reader] reads in the order in which the Append functions wrote it is what was written; damaged
// input fails the reader and yields zeros, and never more memory than the input has bytes.
//
//	b = varint.AppendString(varint.AppendInt(nil, -3), "key")
//	r := varint.NewReader(b)
//	n, s, err := r.Int(), r.String(), r.Err()
package varint

import (
	"encoding/binary"
	"errors"
)

// AppendInt appends a signed number.
func AppendInt[T ~int | ~int32 | ~int64](b []byte, v T) []byte {
	return binary.AppendVarint(b, int64(v))
}

// AppendUint appends an unsigned number.
func AppendUint[T ~uint16 | ~uint32 | ~uint64](b []byte, v T) []byte {
	return binary.AppendUvarint(b, uint64(v))
}

// AppendString appends a text with its length.
func AppendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// AppendBool appends a flag.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// ErrDamaged says that the input is not what was written.
var ErrDamaged = errors.New("data are damaged")

// Reader reads fields. One goroutine owns it.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, which must not change meanwhile.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is [ErrDamaged] when any read so far has failed.
func (r *Reader) Err() error { return r.err }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

func (r *Reader) fail() { r.b, r.err = nil, ErrDamaged }

// Fail makes the reader fail: what was read cannot have been written.
func (r *Reader) Fail() { r.fail() }

// Rest takes all that is left.
func (r *Reader) Rest() []byte {
	rest := r.b
	r.b = nil
	return rest
}

// Int reads a signed number.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Uint reads an unsigned number.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Up reads an unsigned number up to most.
func (r *Reader) Up(most uint64) uint64 {
	v := r.Uint()
	if v > most {
		r.fail()
		return 0
	}
	return v
}

// Byte reads a byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Count reads a number of elements, each of at least size bytes, so that a damaged one cannot ask for more memory than
// there is input.
func (r *Reader) Count(size int) int {
	n := r.Uint()
	if n > uint64(len(r.b)/max(size, 1)) {
		r.fail()
		return 0
	}
	return int(n)
}

// Take reads n bytes without copying them.
func (r *Reader) Take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Bytes reads a text without copying it.
func (r *Reader) Bytes() []byte {
	n := r.Uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// String reads a text.
func (r *Reader) String() string { return string(r.Bytes()) }

// Bool reads a flag.
func (r *Reader) Bool() bool { return r.Byte() != 0 }
