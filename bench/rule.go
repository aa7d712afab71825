package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// inForceWithin is how long a new rule may take to judge events: the API promises 2 s.
const inForceWithin = 10 * time.Second

// The probes for a new rule come at growing distances: an answer at once when the rule is old, and few requests
// against the key's limit when it is new.
const (
	firstProbeAgain = 50 * time.Millisecond
	lastProbeAgain  = time.Second
)

// ruleID is the id of the run's own rule.
func ruleID(seed uint64) string { return "bench-" + strconv.FormatUint(seed, 10) }

// dropRule deletes the run's own rule. It has time of its own: also a run that was interrupted leaves no rule behind.
func (r *runner) dropRule() error {
	id := ruleID(r.cfg.Seed)
	call := r.client.newCall(fasthttp.MethodDelete, "/api/rules/"+id)
	defer call.close()
	status, answer, err := call.do(nil)
	if err != nil {
		return fmt.Errorf("delete rule %s, which may be in force still: %w", id, err)
	}
	if status != fasthttp.StatusNoContent && status != fasthttp.StatusNotFound {
		_, text := refusal(status, answer)
		return fmt.Errorf("delete rule %s, which is in force still: %s", id, text)
	}
	return nil
}

// makeRule creates the run's own rule: an alert for every probe event. That it exists already is fine.
func (r *runner) makeRule() error {
	id := ruleID(r.cfg.Seed)
	post := r.client.newCall(fasthttp.MethodPost, "/api/rules")
	defer post.close()
	body := fmt.Appendf(nil, `{"id":%q,"name":%q,"when":"event_type == \"%s\"","severity":"nominal","dedup":"0s"}`,
		id, "keypulse bench "+id, probeType)
	status, answer, err := post.do(body)
	if err != nil {
		return fmt.Errorf("create rule %s: %w", id, err)
	}
	if status != fasthttp.StatusCreated && status != fasthttp.StatusConflict {
		_, text := refusal(status, answer)
		return fmt.Errorf("create rule %s: %s", id, text)
	}
	return nil
}

// awaitRule returns when a probe event has raised an alert.
func (r *runner) awaitRule(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, inForceWithin)
	defer cancel()
	wait, err := newAlarm(ctx)
	if err != nil {
		return err
	}
	defer wait.close()
	probes := *r.gen
	probes.batch, probes.alertEvery = 1, 1
	post := r.client.newCall(fasthttp.MethodPost, "/api/events")
	defer post.close()
	post.req.Header.Set("Prefer", "wait=5")
	again := firstProbeAgain
	for n := int64(0); ; n++ {
		raised, err := post.probe(probes.appendBody(nil, phaseSetUp, n, 1))
		if raised || err != nil {
			return err
		}
		if err = wait.wait(time.Now().Add(again)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for rule %s: no alert for %d probe events: %w", ruleID(r.cfg.Seed), n+1, ctx.Err())
		}
		again = min(2*again, lastProbeAgain)
	}
}

// probe posts one probe event and says whether it raised an alert.
func (k *call) probe(body []byte) (raised bool, err error) {
	status, reply, err := k.do(body)
	if err != nil {
		return false, fmt.Errorf("post probe event: %w", err)
	}
	if status != fasthttp.StatusCreated {
		_, text := refusal(status, reply)
		return false, fmt.Errorf("post probe event: %s", text)
	}
	var a answer
	if !a.read(reply, false) {
		return false, fmt.Errorf("post probe event: %w", errBadAnswer)
	}
	return a.alerts > 0, nil
}
