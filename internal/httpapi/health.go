package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
)

// checkTimeout is how long one readiness check may take.
const checkTimeout = 2 * time.Second

// Check says why a part of the node is not ready, nil when it is. Its error's text is shown to whoever asks /readyz, so
// it holds nothing secret. It ends when ctx does, and may run in several goroutines at once.
type Check func(ctx context.Context) error

type checks struct {
	mu     sync.RWMutex // guards the following
	byName map[string]Check
}

// AddCheck makes /readyz ask check under name, e.g. "clickhouse".
func (s *Server) AddCheck(name string, check Check) {
	s.checks.mu.Lock()
	defer s.checks.mu.Unlock()
	if s.checks.byName == nil {
		s.checks.byName = make(map[string]Check)
	}
	s.checks.byName[name] = check
}

// run asks every check at once and returns the answers by name: "ok" or why not.
func (cs *checks) run(ctx context.Context) (answers map[string]string, failed []string) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	answers = make(map[string]string)
	var mu sync.Mutex // guards answers and failed
	var wg sync.WaitGroup
	cs.mu.RLock()
	for name, check := range cs.byName {
		wg.Go(func() {
			err := runCheck(ctx, check)
			mu.Lock()
			defer mu.Unlock()
			answers[name] = "ok"
			if err != nil {
				answers[name] = err.Error()
				failed = append(failed, name)
			}
		})
	}
	cs.mu.RUnlock()
	wg.Wait()
	slices.Sort(failed)
	return answers, failed
}

// runCheck asks one check; a panic in it is its failure.
func runCheck(ctx context.Context, check Check) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the check panicked: %v", p)
		}
	}()
	return check(ctx)
}

// reasons puts the answers of the failed checks into one error, for the log.
func reasons(answers map[string]string, failed []string) error {
	all := make([]error, len(failed))
	for i, name := range failed {
		all[i] = fmt.Errorf("%s: %s", name, answers[name])
	}
	return errors.Join(all...)
}

// healthz answers as long as the process does.
func (s *Server) healthz(c *fiber.Ctx) error {
	return Raw(c, fiber.StatusOK, []byte(`{"success":true,"status":"ok"}`))
}

// readyz is 200 when every check passes, else 503, and says which part is not ready.
func (s *Server) readyz(c *fiber.Ctx) error {
	answers, failed := s.checks.run(context.Background())
	if len(failed) > 0 {
		e := Unavailable(CodeNotReady, "Not ready: "+strings.Join(failed, ", ")+".", 1)
		e.Extra = map[string]any{"checks": answers}
		e.Cause = reasons(answers, failed)
		return e
	}
	return JSON(c, fiber.StatusOK, map[string]any{"success": true, "status": "ready", "checks": answers})
}
