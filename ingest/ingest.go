package ingest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"keypulse/ingest/admission"
	"keypulse/ingest/decode"
	"keypulse/internal/answer"
	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// MaxBatch is how many events POST /api/events/batch takes.
const MaxBatch = 100

// Config is what an ingest node works with.
type Config struct {
	Client      *broker.Client
	Incarnation schema.LogRecord // of the log
	Producer    broker.ProducerConfig
	RulesRev    func() int64  // the offset up to which this node has read the rules topic
	Refuse      func() error  // why nothing may be accepted now (the disk is full), nil when it may; may be nil itself
	VerdictWait time.Duration // how long an answer waits for its verdicts; default 250 ms
	Log         *zap.Logger
	Metrics     prometheus.Registerer
	Now         func() time.Time // default time.Now
}

// Ingest is an ingest node.
type Ingest struct {
	cfg      Config
	log      *zap.Logger
	producer *broker.Producer
	verdicts []*verdicts // by partition
	gate     *admission.Gate[auth.Tenant]
	metrics  *metrics
}

// New makes an ingest node.
func New(cfg Config) *Ingest {
	if cfg.VerdictWait == 0 {
		cfg.VerdictWait = 250 * time.Millisecond
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	in := &Ingest{
		cfg:      cfg,
		log:      cfg.Log.Named("ingest"),
		producer: broker.NewProducer(cfg.Client, schema.TopicEvents, cfg.Incarnation.Partitions, cfg.Producer),
		gate:     admission.New[auth.Tenant](),
	}
	in.metrics = newMetrics(cfg.Metrics, in.producer.Buffered, in.gate.Limit)
	for range cfg.Incarnation.Partitions {
		in.verdicts = append(in.verdicts, &verdicts{})
	}
	return in
}

// Register puts the node's routes into app.
func (in *Ingest) Register(app fiber.Router) {
	app.Post("/api/events", httpapi.Require(auth.ScopeIngest), in.postEvent)
	app.Post("/api/events/batch", httpapi.Require(auth.ScopeIngest), in.postBatch)
	app.Post(BulkPath, httpapi.Require(auth.ScopeIngest), in.postBulk)
}

// Run writes what the handlers accept and follows the verdicts, until ctx is done and every accepted event has its
// outcome.
func (in *Ingest) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.producer.Run(ctx) })
	for partition, v := range in.verdicts {
		g.Go(func() error { return v.follow(ctx, in.cfg.Client, int32(partition)) })
	}
	return g.Wait()
}

// visit is a request that the gate has let in, until the log has its events.
type visit struct {
	in *Ingest
	admission.Visit
	left bool
}

// enter lets a request in, or says that the node is overloaded.
func (in *Ingest) enter(c *fiber.Ctx) (visit, error) {
	v, ok := in.gate.Enter(httpapi.IdentityOf(c).Tenant, httpapi.Started(c))
	if !ok {
		in.metrics.shed.Inc()
		return visit{}, httpapi.Unavailable(httpapi.CodeOverloaded, "More requests are coming in than can be served; nothing was accepted.", 1)
	}
	return visit{in, v, false}, nil
}

// leave ends the visit, once. served says whether the log has acknowledged the events of a request of the usual size.
func (v *visit) leave(served bool) {
	if !v.left {
		v.left = true
		v.in.gate.Leave(v.Visit, time.Now(), served)
	}
}

func (in *Ingest) postEvent(c *fiber.Ctx) error {
	v, err := in.enter(c)
	if err != nil {
		return err
	}
	defer v.leave(false)
	if err := httpapi.NoParams(c); err != nil {
		return err
	}
	body, err := httpapi.Body(c, httpapi.DefaultBodyLimit)
	if err != nil {
		return err
	}
	d := decode.Open(body)
	defer d.Close()
	events, fields := d.Event()
	if len(fields) > 0 {
		return decodeFailure(fields)
	}
	a, err := in.accept(c, &v, events, false)
	if err != nil {
		return err
	}
	defer a.free()
	return a.send(c, a.appendSingle)
}

func (in *Ingest) postBatch(c *fiber.Ctx) error {
	v, err := in.enter(c)
	if err != nil {
		return err
	}
	defer v.leave(false)
	if err := httpapi.NoParams(c); err != nil {
		return err
	}
	body, err := httpapi.Body(c, httpapi.DefaultBodyLimit)
	if err != nil {
		return err
	}
	d := decode.Open(body)
	defer d.Close()
	events, fields := d.Batch(MaxBatch)
	if len(fields) > 0 {
		return decodeFailure(fields)
	}
	a, err := in.accept(c, &v, events, true)
	if err != nil {
		return err
	}
	defer a.free()
	return a.send(c, a.appendBatch)
}

// accepted is what became of a request's events.
type accepted struct {
	*scratch
	status int
	prefer preference
}

func (a *accepted) appendSingle(b []byte) []byte {
	b = append(b, `{"success":true,`...)
	b = answer.AppendEventMembers(b, a.events[0])
	return append(b, '}')
}

func (a *accepted) appendBatch(b []byte) []byte {
	b = append(b, `{"success":true,"count":`...)
	b = appendInt(b, len(a.events))
	b = append(b, `,"events":[`...)
	b = answer.AppendEvents(b, a.events)
	alerts := 0
	for i := range a.events {
		alerts += a.events[i].Alerts
	}
	b = append(b, `],"alerts_triggered":`...)
	b = appendInt(b, alerts)
	return append(b, '}')
}

func appendInt(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

func (a *accepted) send(c *fiber.Ctx, build func([]byte) []byte) error {
	if a.prefer.applied != "" {
		c.Response().Header.SetCanonical([]byte("Preference-Applied"), []byte(a.prefer.applied))
	}
	return httpapi.Build(c, a.status, build)
}

// accept is the path of a request's events: stamp, write, wait for the verdicts, answer. Errors about the events of a batch
// name their index.
func (in *Ingest) accept(c *fiber.Ctx, v *visit, events []schema.Event, batch bool) (*accepted, error) {
	first := single
	if batch {
		first = 0
	}
	key := c.Get("Idempotency-Key")
	if err := checkIdempotencyKey(key, batchIndex); err != nil {
		return nil, err
	}
	nameEvents(events, key, first)
	prefer := parsePrefer(c.Request().Header.PeekAll("Prefer"), in.cfg.VerdictWait)
	a := &accepted{scratch: newScratch(), status: fiber.StatusCreated, prefer: prefer}
	if prefer.async {
		a.status = fiber.StatusAccepted
	}
	err := in.write(a.scratch, httpapi.IdentityOf(c).Tenant, events)
	v.leave(err == nil)
	if err == nil {
		in.await(c.Context().Done(), a.records, prefer.wait)
		err = in.result(c.Context().Done(), a, events, batch)
	}
	if err != nil {
		a.free()
		return nil, err
	}
	return a, nil
}

// write writes events to the log, as s's records, or says why not.
func (in *Ingest) write(s *scratch, tenant auth.Tenant, events []schema.Event) error {
	if in.cfg.Refuse != nil {
		if err := in.cfg.Refuse(); err != nil {
			in.metrics.refused.Add(float64(len(events)))
			return httpapi.StorageFull(err)
		}
	}
	in.stamp(s, tenant, events)
	if err := in.producer.Produce(s.records); err != nil {
		in.metrics.refused.Add(float64(len(events)))
		return produceFailure(err, events)
	}
	in.metrics.accepted.Add(float64(len(events)))
	return nil
}

// await waits for the verdicts of all records, but no longer than wait or the server's shutdown, and not at all where
// the processor is known to be behind by more than that.
func (in *Ingest) await(shutdown <-chan struct{}, records []broker.Record, wait time.Duration) {
	now := in.cfg.Now()
	var w *waiter
	if wait > 0 && !in.behind(records, now, max(wait, in.cfg.VerdictWait)) {
		w = newWaiter(len(records))
	}
	for i := range records {
		in.verdicts[records[i].Partition].acknowledged(records[i].Offset, now, w)
	}
	if w == nil {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.done:
		in.metrics.verdictWait.Observe(in.cfg.Now().Sub(now).Seconds())
		return
	case <-timer.C:
	case <-shutdown:
	}
	in.metrics.unevaluated.Add(float64(len(records)))
	for _, v := range in.verdictsOf(records) {
		v.forget(w)
	}
}

// verdictsOf returns the partitions of some records, each once.
func (in *Ingest) verdictsOf(records []broker.Record) []*verdicts {
	var of []*verdicts
	for i := range records {
		if v := in.verdicts[records[i].Partition]; !slices.Contains(of, v) {
			of = append(of, v)
		}
	}
	return of
}

func (in *Ingest) behind(records []broker.Record, now time.Time, wait time.Duration) bool {
	for i := range records {
		if in.verdicts[records[i].Partition].behind(now, wait) {
			return true
		}
	}
	return false
}

// result fills in the answer: what is known of the events by now.
func (in *Ingest) result(shutdown <-chan struct{}, a *accepted, events []schema.Event, batch bool) error {
	var duplicates []duplicate
	for i := range events {
		r := &a.records[i]
		e := answer.Event{
			ID:    schema.EventID(in.cfg.Incarnation.Base, r.Offset, r.Partition),
			Event: &events[i],
			Score: events[i].Severity.BaseScore(),
		}
		if !a.prefer.async {
			o, evaluated := in.verdicts[r.Partition].outcome(r.Offset, e.Score)
			e.Score, e.Alerts, e.Evaluated = o.score, o.alerts, evaluated
			if o.first != 0 {
				duplicates = append(duplicates, duplicate{i, o.first})
			}
		}
		a.events = append(a.events, e)
	}
	if differ := in.answerFirsts(shutdown, a.events, duplicates, batch); len(differ) > 0 {
		e := httpapi.Conflict("An event with this event_id was accepted within 24 hours, with other content.")
		e.Fields = differ
		return e
	}
	return nil
}

// produceFailure says what is known of events that the log did not acknowledge.
func produceFailure(err error, events []schema.Event) error {
	var e *httpapi.Error
	switch {
	case errors.Is(err, broker.ErrOutcomeUnknown):
		advice := "Send them again with the same event_ids: nothing doubles."
		ids := make([]string, len(events))
		for i := range events {
			ids[i] = strings.Clone(events[i].EventID) // the events end before the answer is written

			if !events[i].OwnID { // the log knows it as the server's, and would take it for a new one
				advice = "Those without an event_id of yours would be counted twice if they were and you send them again: look for them first."
			}
		}
		e = httpapi.Unavailable("outcome_unknown", "The log did not acknowledge in time; the events may have been accepted. "+advice, 1)
		e.Extra = map[string]any{"event_ids": ids}
	case errors.Is(err, broker.ErrBusy):
		e = httpapi.Unavailable(httpapi.CodeOverloaded, "More events are coming in than the log takes; nothing was accepted.", 1)
	default:
		e = httpapi.Unavailable(httpapi.CodeUnavailable, "The log cannot be written; nothing was accepted.", 1)
	}
	e.Cause = err
	return e
}

// Check says why the node cannot accept events.
func (in *Ingest) Check(ctx context.Context) error {
	if in.cfg.Refuse != nil {
		if err := in.cfg.Refuse(); err != nil {
			return err
		}
	}
	return in.cfg.Client.Ping(ctx)
}

// decodeFailure is the 400 for what the decoder found: about the body as a whole, or about its fields.
func decodeFailure(fields []httpapi.FieldError) error {
	if f := fields[0]; f.Field == "" && f.Index == nil {
		return httpapi.BadRequest(httpapi.CodeMalformedJSON, f.Message)
	}
	return httpapi.InvalidFields(fields...)
}
