package engine

import (
	"strings"
	"sync"
)

// tailSize is how many bytes of the engine's output are kept as its last words.
const tailSize = 16 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	// guards the following
	buf []byte
}

// Write is called by the goroutine that copies the child's output.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailSize; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

// String returns what was kept, without stack frames: they are addresses only.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var words []string
	for line := range strings.Lines(string(t.buf)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.Contains(line, " @ 0x") && !strings.HasPrefix(line, "Logging ") {
			words = append(words, line)
		}
	}
	return strings.Join(words, "; ")
}
