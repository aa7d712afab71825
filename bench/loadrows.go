package bench

import (
	"fmt"
	"strconv"
	"time"

	"keypulse/schema"
)

const (
	// loadPartition is the first of the partitions of loaded rows, loadPartitions how many there are.
	loadPartition  = 512
	loadPartitions = 8

	insertLanding = `INSERT INTO landing (tenant, key_id, id, event_id, event_type, severity, source_ip, actor, details, created_at,
		score, alerts, duplicate_of, kafka_partition, kafka_offset, log_time, owner, only)`
	insertAlerts = `INSERT INTO alerts (tenant, raised_at, id, key_id, rule_id, rule_version, rule_name, severity, message,
		event_id, values, hits, last_event_id, last_at)`
)

// Of 10,000 loaded events so many are of rareType, are critical, are warnings, got points from a rule, raised an alert.
const (
	rareTypes     = 1
	criticals     = 1
	warnings      = 800
	pointed       = 100
	alertsOf10000 = 1
)

// rareType is a type for which a reader looks through ten thousand events to find one.
const rareType = "key_ceremony"

// phaseLoad is the random stream of loaded events.
const phaseLoad uint64 = 100

// loadMaker makes loaded rows one after the other.
type loadMaker struct {
	cfg     LoadConfig
	keys    zipf
	details []string
	made    int
	offsets [loadPartitions]uint64
	first   time.Time
}

func newLoadMaker(cfg LoadConfig) *loadMaker {
	m := &loadMaker{cfg: cfg, keys: newZipf(cfg.Keys, cfg.Skew), first: cfg.Until.AddDate(0, 0, -cfg.Days)}
	r := newRandom(cfg.Seed, phaseTails, 0)
	for range tailCount {
		m.details = append(m.details, fmt.Sprintf(`{"amount_usd":%s,"destination":"0x%016x%016x%08x","attempt":%d}`,
			amount(&r), r.next(), r.next(), uint32(r.next()), 1+r.below(3)))
	}
	return m
}

// loadBlock is the columns of insertLanding that differ from row to row.
type loadBlock struct {
	tenant                                              []string
	keyID, eventID, eventType, sourceIP, actor, details []string
	id, offset, zeros                                   []uint64
	severity                                            []int8
	createdAt                                           []int64
	score                                               []uint8
	alerts, partition                                   []uint16
	empty                                               []string
	alert                                               loadAlerts
}

func (b *loadBlock) columns() []any {
	return []any{
		b.tenant, b.keyID, b.id, b.eventID, b.eventType, b.severity, b.sourceIP, b.actor, b.details, b.createdAt,
		b.score, b.alerts, b.zeros, b.partition, b.offset, b.createdAt, b.zeros, b.empty,
	}
}

// loadAlerts is the columns of insertAlerts.
type loadAlerts struct {
	tenant, id, keyID, text, values []string
	raisedAt                        []int64
	one                             []uint32
	severity                        []uint8
	eventID, hits                   []uint64
}

func (a *loadAlerts) columns() []any {
	return []any{a.tenant, a.raisedAt, a.id, a.keyID, a.text, a.one, a.text, a.severity, a.text, a.eventID, a.values, a.hits, a.eventID, a.raisedAt}
}

// block makes the next n rows.
func (m *loadMaker) block(n int) *loadBlock {
	b := &loadBlock{}
	for range n {
		m.add(b)
		m.made++
	}
	return b
}

// skip passes over the first n events.
func (m *loadMaker) skip(n int) {
	for ; m.made < n; m.made++ {
		r := newRandom(m.cfg.Seed, phaseLoad, uint64(m.made))
		m.place(&r)
	}
}

// place gives event number m.made its key and its offset. The first events see to it that every key has one.
func (m *loadMaker) place(r *random) (rank, lane int, offset uint64) {
	rank = m.made + 1
	if m.made >= m.cfg.Keys {
		rank = m.keys.rank(r)
	}
	lane = rank % loadPartitions
	offset = m.offsets[lane]
	m.offsets[lane]++
	return rank, lane, offset
}

// add makes event number m.made.
func (m *loadMaker) add(b *loadBlock) {
	r := newRandom(m.cfg.Seed, phaseLoad, uint64(m.made))
	rank, lane, offset := m.place(&r)
	partition := loadPartition + lane
	at := m.first.Add(time.Duration(float64(m.cfg.Until.Sub(m.first)) * (float64(m.made) / float64(m.cfg.Events)))).UnixMilli()
	severity, score := schema.Nominal, 0
	switch n := r.below(10_000); {
	case n < criticals:
		severity, score = schema.Critical, schema.Critical.BaseScore()
	case n < criticals+warnings:
		severity, score = schema.Warning, schema.Warning.BaseScore()
	}
	eventType := pick(&r, eventTypes[:])
	if r.below(10_000) < rareTypes {
		eventType = rareType
	}
	if r.below(10_000) < pointed {
		score += 40
	}
	id := uint64(schema.EventID(1, int64(offset), int32(partition)))
	key := fmt.Sprintf("bench-key-%d", rank)
	alerts := uint16(0)
	if r.below(10_000) < alertsOf10000 {
		alerts = 1
		b.alert.add(m.cfg.Tenant, key, id, at, fmt.Sprintf("al_%016x", r.next()))
	}

	b.tenant = append(b.tenant, string(m.cfg.Tenant))
	b.keyID = append(b.keyID, key)
	b.id = append(b.id, id)
	b.eventID = append(b.eventID, "bench-"+strconv.Itoa(m.made))
	b.eventType = append(b.eventType, eventType)
	b.severity = append(b.severity, int8(severity))
	b.sourceIP = append(b.sourceIP, sourceIP(&r))
	b.actor = append(b.actor, actors[r.below(len(actors))])
	b.details = append(b.details, m.details[r.below(len(m.details))])
	b.createdAt = append(b.createdAt, at)
	b.score = append(b.score, uint8(score))
	b.alerts = append(b.alerts, alerts)
	b.zeros = append(b.zeros, 0)
	b.partition = append(b.partition, uint16(partition))
	b.offset = append(b.offset, offset)
	b.empty = append(b.empty, "")
}

func (a *loadAlerts) add(tenant schema.Tenant, key string, event uint64, at int64, id string) {
	a.tenant = append(a.tenant, string(tenant))
	a.id = append(a.id, id)
	a.keyID = append(a.keyID, key)
	a.text = append(a.text, "bench")
	a.values = append(a.values, "{}")
	a.raisedAt = append(a.raisedAt, at)
	a.one = append(a.one, 1)
	a.severity = append(a.severity, uint8(schema.Critical))
	a.eventID = append(a.eventID, event)
	a.hits = append(a.hits, 1)
}
