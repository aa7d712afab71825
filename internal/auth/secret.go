package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"sync"
)

const secretLen = 32

// Errors of [LoadSecret].
var (
	ErrSecretMode   = errors.New("secret file must be a regular file that only its owner can read (mode 0600)")
	ErrSecretFormat = errors.New("secret file must hold 64 hexadecimal digits")
)

// Digest is the HMAC-SHA-256 of an API key: all that is ever stored of it.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal, as records carry it.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Secret is the HMAC key that all nodes share. Its methods may be called from any number of goroutines.
type Secret struct {
	key  [secretLen]byte
	macs sync.Pool // of *mac
}

// mac is one reusable HMAC with the buffers that its calls need, so that a digest allocates nothing.
type mac struct {
	hash hash.Hash
	in   []byte
	sum  Digest
}

// NewSecret makes a random secret.
func NewSecret() *Secret {
	s := new(Secret)
	_, _ = rand.Read(s.key[:]) // it never returns an error
	return s
}

// String hides the secret from logs.
func (s *Secret) String() string { return "[secret]" }

// GoString hides the secret from %#v.
func (s *Secret) GoString() string { return "[secret]" }

// Digest returns the HMAC-SHA-256 of an API key. It keeps no reference to key.
func (s *Secret) Digest(key string) Digest {
	m, ok := s.macs.Get().(*mac)
	if !ok {
		m = &mac{hash: hmac.New(sha256.New, s.key[:])}
	}
	m.hash.Reset()
	m.in = append(m.in[:0], key...)
	m.hash.Write(m.in)
	m.hash.Sum(m.sum[:0])
	d := m.sum
	clear(m.in)
	s.macs.Put(m)
	return d
}

// Fingerprint tells secrets apart and gives nothing of them away: the first 8 hexadecimal digits of an HMAC-SHA-256 of a
// fixed text.
func (s *Secret) Fingerprint() string {
	const digits = 8
	return s.Digest("keypulse secret fingerprint").String()[:digits]
}

// LoadSecret reads the secret from the file at path: 64 hexadecimal digits, a newline after them allowed. A file that
// others than its owner can read or write is refused with [ErrSecretMode], other content with [ErrSecretFormat].
func LoadSecret(path string) (*Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load secret: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("load secret %s (mode %v): %w", path, info.Mode(), ErrSecretMode)
	}
	if info.Size() > 2*secretLen+2 {
		return nil, fmt.Errorf("load secret %s: %w", path, ErrSecretFormat)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load secret: %w", err)
	}
	text = bytes.TrimRight(text, "\r\n")
	s := new(Secret)
	if len(text) != 2*secretLen {
		return nil, fmt.Errorf("load secret %s: %w", path, ErrSecretFormat)
	}
	if _, err := hex.Decode(s.key[:], text); err != nil {
		return nil, fmt.Errorf("load secret %s: %w", path, ErrSecretFormat)
	}
	return s, nil
}

// CreateSecret makes a random secret and writes it to a new file at path, mode 0600. Where the file exists already, the
// error is fs.ErrExist and the file is untouched: of two processes that start at once, one creates and the other loads.
// The file appears whole or not at all.
func CreateSecret(path string) (*Secret, error) {
	s := NewSecret()
	if err := s.write(path); err != nil {
		return nil, fmt.Errorf("create secret: %w", err)
	}
	return s, nil
}

// write puts the secret into a temporary file and links it to path: a link, unlike a rename, replaces nothing.
func (s *Secret) write(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(hex.EncodeToString(s.key[:]) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
