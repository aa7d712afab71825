package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Analyst is a user who may read one tenant's rows.
type Analyst struct {
	Name      string    `json:"name"`
	Tenant    string    `json:"tenant"`
	SHA256    string    `json:"sha256"` // of the password, in hex
	CreatedAt time.Time `json:"created_at"`
}

const (
	analystsFile = "analysts.json"
	// analystsEvery is how often a running engine looks whether the file has changed.
	analystsEvery = 500 * time.Millisecond
)

// errAnalysts ends a child that must read its users again: the library has no way to reload them.
var errAnalysts = errors.New("the analysts have changed")

// Analysts lists the analysts of the engine in dir, running or not.
func Analysts(dir string) ([]Analyst, error) {
	all, _, err := readAnalysts(filepath.Join(dir, analystsFile))
	return all, err
}

func readAnalysts(path string) ([]Analyst, []byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	var all []Analyst
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read analysts: %w", err)
	}
	return all, text, nil
}

// ChangeAnalysts replaces the analysts by what change makes of them, one caller at a time. A running engine takes the
// change over within a second, for which it starts again.
func ChangeAnalysts(dir string, change func([]Analyst) ([]Analyst, error)) error {
	lock, err := os.OpenFile(filepath.Join(dir, "analysts.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock analysts: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock analysts: %w", err)
	}
	all, err := Analysts(dir)
	if err != nil {
		return err
	}
	if all, err = change(all); err != nil {
		return err
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write analysts: %w", err)
	}
	if err := writeFile(filepath.Join(dir, analystsFile), append(text, '\n')); err != nil {
		return fmt.Errorf("write analysts: %w", err)
	}
	return nil
}

// analystsChanged says whether the file is another than the one that the engine's users were made from.
func (e *Engine) analystsChanged() bool {
	_, text, err := readAnalysts(e.files.analysts)
	return err == nil && !bytes.Equal(text, e.analysts)
}
