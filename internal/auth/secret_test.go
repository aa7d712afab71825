package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestCreateSecretThenLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	made, err := CreateSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v; want -rw-------", info.Mode(), err)
	}
	loaded, err := LoadSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	if key := NewKey(rand.Reader); made.Digest(key) != loaded.Digest(key) {
		t.Error("the secret changed on its way through the file")
	}
	if _, err := CreateSecret(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second create: %v, want fs.ErrExist", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".secret-*")); left != nil {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestCreateSecretHasOneWinner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := 0
	for range 8 {
		wg.Go(func() {
			if _, err := CreateSecret(path); err == nil {
				mu.Lock()
				winners++
				mu.Unlock()
			}
			if _, err := LoadSecret(path); err != nil {
				t.Errorf("after a create: %v", err)
			}
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Errorf("%d creates succeeded, want 1", winners)
	}
}

func TestLoadSecretRefuses(t *testing.T) {
	good := strings.Repeat("0f", 32)
	f := func(content string, mode os.FileMode, want error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSecret(path)
		if !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), content) && content != "" {
			t.Errorf("%q %v: %v, want %v", content, mode, err, want)
		}
	}
	f(good, 0o600, nil)
	f(good+"\n", 0o400, nil)
	f(good, 0o640, ErrSecretMode)
	f(good, 0o604, ErrSecretMode)
	f(good, 0o620, ErrSecretMode)
	f("", 0o600, ErrSecretFormat)
	f(good[:62], 0o600, ErrSecretFormat)
	f(good+"00", 0o600, ErrSecretFormat)
	f(strings.Repeat("0g", 32), 0o600, ErrSecretFormat)
	f(strings.Repeat(good, 1000), 0o600, ErrSecretFormat)

	if _, err := LoadSecret(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want fs.ErrNotExist", err)
	}
	if _, err := LoadSecret(t.TempDir()); !errors.Is(err, ErrSecretMode) {
		t.Errorf("a folder: %v, want ErrSecretMode", err)
	}
}

func TestDigestIsHMACSHA256(t *testing.T) {
	s := NewSecret()
	for _, text := range []string{"", "a", NewKey(rand.Reader), strings.Repeat("long", 100)} {
		mac := hmac.New(sha256.New, s.key[:])
		mac.Write([]byte(text))
		if got, want := s.Digest(text).String(), hex.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("Digest(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestSecretHidesFromLogs(t *testing.T) {
	s := NewSecret()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, s); text != "[secret]" {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
