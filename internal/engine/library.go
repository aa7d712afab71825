package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNoLibrary is returned by New and FindLibrary when the engine has not been fetched.
var ErrNoLibrary = errors.New("the ClickHouse engine is not there: run `make engine` (or set KEYPULSE_CLICKHOUSE_BIN to a clickhouse binary, or KEYPULSE_CLICKHOUSE_DSN to a server)")

// FindLibrary returns the path of the engine's library: beside the executable, else in deploy/engine of the folder
// above the executable's or of a folder at or above the working directory that has a go.mod.
func FindLibrary() (string, error) {
	var looked []string
	for _, dir := range libraryDirs() {
		for _, name := range []string{"libchdb.so", "libchdb.dylib"} {
			found, err := filepath.Glob(filepath.Join(dir, name))
			if err == nil && len(found) > 0 {
				return found[0], nil
			}
		}
		looked = append(looked, dir)
	}
	return "", fmt.Errorf("find engine library in %q: %w", looked, ErrNoLibrary)
}

// libraryDirs lists patterns of folders. npm installs only the package of its own platform, so the last part of
// the path can be a wildcard.
func libraryDirs() []string {
	packages := filepath.Join("deploy", "engine", "node_modules", "@chdb", "lib-*")
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dirs = append(dirs, filepath.Dir(exe), filepath.Join(filepath.Dir(exe), "..", packages))
	}
	if root, ok := moduleRoot(); ok {
		dirs = append(dirs, filepath.Join(root, packages))
	}
	return dirs
}

func moduleRoot() (string, bool) {
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}
