package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// migration is one file of numbered statements.
type migration struct {
	number     uint32
	name       string // the file's name, without its folder
	checksum   string // hex SHA-256 of the text
	statements []string
}

// loadMigrations reads NNNN_name.sql files from a folder, in the order of their numbers, which have no gaps.
func loadMigrations(fsys fs.FS, dir string) ([]migration, error) {
	names, err := fs.Glob(fsys, path.Join(dir, "*.sql")) // sorted
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	migrations := make([]migration, 0, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		m := migration{name: path.Base(name), number: uint32(i + 1), statements: splitStatements(string(text))}
		digits, _, _ := strings.Cut(m.name, "_")
		if n, err := strconv.Atoi(digits); err != nil || len(digits) != 4 || n != i+1 {
			return nil, fmt.Errorf("read migration %s: its name must begin with %04d_", m.name, i+1)
		}
		sum := sha256.Sum256(text)
		m.checksum = hex.EncodeToString(sum[:])
		migrations = append(migrations, m)
	}
	return migrations, nil
}

// splitStatements cuts a text after each line that ends with a semicolon and drops lines that are only a comment.
func splitStatements(text string) []string {
	var statements []string
	var current []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || strings.HasPrefix(strings.TrimSpace(line), "--") {
			continue
		}
		body, ends := strings.CutSuffix(line, ";")
		current = append(current, body)
		if ends {
			statements = append(statements, strings.Join(current, "\n"))
			current = nil
		}
	}
	if len(current) > 0 {
		statements = append(statements, strings.Join(current, "\n"))
	}
	return statements
}
