package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// ErrSeal says that a text was not sealed with this secret for this purpose, or was changed since.
var ErrSeal = errors.New("cannot open what is sealed: it was changed, or sealed with another secret file")

// Seal encrypts what the log may carry and only nodes with the secret may read (AES-256-GCM). Who opens it must name the
// same purpose.
func (s *Secret) Seal(purpose string, plain []byte) string {
	gcm := s.sealer(purpose)
	nonce := make([]byte, gcm.NonceSize(), gcm.NonceSize()+len(plain)+gcm.Overhead())
	_, _ = rand.Read(nonce) // it never returns an error
	return base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, nil))
}

// Open decrypts what [Secret.Seal] made.
func (s *Secret) Open(purpose, sealed string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, ErrSeal
	}
	gcm := s.sealer(purpose)
	if len(b) < gcm.NonceSize() {
		return nil, ErrSeal
	}
	plain, err := gcm.Open(nil, b[:gcm.NonceSize()], b[gcm.NonceSize():], nil)
	if err != nil {
		return nil, ErrSeal
	}
	return plain, nil
}

func (s *Secret) sealer(purpose string) cipher.AEAD {
	key, err := hkdf.Key(sha256.New, s.key[:], nil, "keypulse seal "+purpose, secretLen)
	if err != nil {
		panic(fmt.Sprintf("BUG: derive a key: %v", err))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Sprintf("BUG: make a cipher: %v", err))
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("BUG: make a cipher: %v", err))
	}
	return gcm
}
