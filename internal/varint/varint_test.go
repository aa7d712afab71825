package varint_test

import (
	"errors"
	"math"
	"testing"

	"keypulse/internal/varint"
)

func TestRoundTrip(t *testing.T) {
	var b []byte
	b = varint.AppendInt(b, int64(math.MinInt64))
	b = varint.AppendUint(b, uint64(math.MaxUint64))
	b = varint.AppendString(b, "key\x00")
	b = varint.AppendBool(b, true)
	b = varint.AppendUint(b, uint32(1))
	b = varint.AppendString(b, []byte{})
	r := varint.NewReader(b)
	if i, u, s, f, n, e := r.Int(), r.Uint(), r.String(), r.Bool(), r.Count(1), r.String(); i != math.MinInt64 || u != math.MaxUint64 || s != "key\x00" || !f || n != 1 || e != "" {
		t.Error(i, u, s, f, n, e)
	}
	if r.Err() != nil || r.Len() != 0 {
		t.Error(r.Err(), r.Len())
	}
	if r.Up(1); !errors.Is(r.Err(), varint.ErrDamaged) {
		t.Error("read beyond the end")
	}
	if r = varint.NewReader([]byte{5, 6}); r.Up(5) != 5 || r.Err() != nil || r.Up(5) != 0 || r.Err() == nil {
		t.Error("a number beyond its bound is read")
	}
	r.Int()
	if !errors.Is(r.Err(), varint.ErrDamaged) {
		t.Error("read beyond the end")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b, calls []byte) {
		r := varint.NewReader(b)
		for _, c := range calls {
			switch c % 6 {
			case 0:
				r.Int()
			case 1:
				r.Uint()
			case 2:
				if len(r.Bytes()) > len(b) {
					t.Error("more bytes than there were")
				}
			case 3:
				r.Bool()
			case 4:
				if r.Count(2) > len(b)/2 {
					t.Error("more elements than fit")
				}
			case 5:
				_ = r.String()
			}
		}
	})
}
