package schema

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The Protocol Buffers wire format by hand: as in proto3, a field at its zero value is left out.

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	return appendUint(b, num, protowire.EncodeBool(v))
}

func appendString[S ~string](b []byte, num protowire.Number, v S) []byte {
	if v == "" {
		return b
	}
	return append(appendLength(b, num, len(v)), v...)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return append(appendLength(b, num, len(v)), v...)
}

// appendLength appends what is before a field of so many bytes: nearly always a byte for the tag and one for the length.
func appendLength(b []byte, num protowire.Number, length int) []byte {
	if num < 16 && length < 128 {
		return append(b, byte(num)<<3|byte(protowire.BytesType), byte(length))
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(length))
}

// appendMessage appends a sub-message that put writes; an empty one is kept, for it may be an element of a list.
func appendMessage(b []byte, num protowire.Number, put func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, put(nil))
}

// field is the value of one field: uint of a varint, bytes of everything with a length.
type field struct {
	uint  uint64
	bytes []byte
}

// eachField calls f for every field of message b in order. Bytes alias b. Fields of other wire types are skipped:
// none of our messages has one.
func eachField(b []byte, f func(protowire.Number, field)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("read tag: %w", protowire.ParseError(n))
		}
		b = b[n:]
		var v field
		switch typ {
		case protowire.VarintType:
			v.uint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("read field %d: %w", num, protowire.ParseError(n))
		}
		if typ == protowire.VarintType || typ == protowire.BytesType {
			f(num, v)
		}
		b = b[n:]
	}
	return nil
}
