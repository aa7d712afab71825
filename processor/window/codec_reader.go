package window

import (
	"encoding/binary"
	"slices"
)

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendWords appends the words, each in four bytes.
func appendWords(b []byte, words []uint32) []byte {
	n := len(b)
	b = slices.Grow(b, wordBytes*len(words))[:n+wordBytes*len(words)]
	for to := b[n:]; len(words) > 0; to, words = to[wordBytes:], words[1:] {
		binary.LittleEndian.PutUint32(to, words[0])
	}
	return b
}

// reader reads what a store wrote. After an error everything reads as zero.
type reader struct {
	b      []byte
	failed bool
}

// bytes takes n bytes; they alias the input.
func (r *reader) bytes(n int) []byte {
	if r.failed || n > len(r.b) {
		r.failed, r.b = true, nil
		return make([]byte, min(n, 8))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte   { return r.bytes(1)[0] }
func (r *reader) bool() bool   { return r.byte() != 0 }
func (r *reader) word() uint32 { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *reader) long() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

// words fills the list.
func (r *reader) words(list []uint32) {
	b := r.bytes(wordBytes * len(list))
	if r.failed {
		return
	}
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(b[wordBytes*i:])
	}
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// uvarint reads a number up to most.
func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.textBytes()) }

// textBytes is a text that aliases the input.
func (r *reader) textBytes() []byte { return r.bytes(int(r.uvarint(uint64(len(r.b))))) }
