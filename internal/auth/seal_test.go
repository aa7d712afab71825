package auth

import (
	"errors"
	"testing"
)

func TestSeal(t *testing.T) {
	s := NewSecret()
	sealed := s.Seal("a", []byte("plain"))
	if plain, err := s.Open("a", sealed); err != nil || string(plain) != "plain" {
		t.Fatalf("%q, %v", plain, err)
	}
	if sealed == s.Seal("a", []byte("plain")) {
		t.Error("the same text is sealed alike twice")
	}
	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return s.Open("b", sealed) },
		"another secret":  func() ([]byte, error) { return NewSecret().Open("a", sealed) },
		"changed":         func() ([]byte, error) { return s.Open("a", sealed[:len(sealed)-2]+"AA") },
		"cut":             func() ([]byte, error) { return s.Open("a", sealed[:10]) },
		"no base64":       func() ([]byte, error) { return s.Open("a", "!") },
	} {
		if _, err := open(); !errors.Is(err, ErrSeal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
