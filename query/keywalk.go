package query

import (
	"strconv"

	"keypulse/internal/answer"
	"keypulse/internal/auth"
	"keypulse/schema"
)

// keyWalk goes through a tenant's keys by name. Two lists are merged: keys of which nobody has said anything, which
// ClickHouse has in the order of their key_ids, and described keys, which the keyring has in the order of their names.
type keyWalk struct {
	tenant  auth.Tenant
	plain   plainKeys
	own     []*described       // those that come yet
	sums    map[string]keySums // of the first of them
	fetched int                // how many those are
	fetch   func(ids []string) ([]keySums, error)
}

// ownChunk is how many described keys are looked up in ClickHouse at once.
const ownChunk = 500

// walkKeys begins a walk that needs at most n described keys, all when it is 0; scan reads sums in the order of key_ids.
func (j *job) walkKeys(f keyFilter, n int, scan func() (keySums, bool, error)) *keyWalk {
	keyring := j.q.cfg.Keyring
	w := &keyWalk{tenant: j.tenant, own: keyring.after(j.tenant, f.at, n, f.matches)}
	w.plain = plainKeys{scan: scan, skip: func(key string) bool { return keyring.get(j.tenant, key) != nil }}
	w.plain.ended = f.status != "" && f.status != schema.KeyStatusActive
	w.fetch = func(ids []string) ([]keySums, error) { return j.sumKeys(j.keysAre(keyFilter{}, ids), 0) }
	return w
}

// next hands the next key to put, unless there are no more.
func (w *keyWalk) next(put func(keyRow)) (more bool, err error) {
	var before *keyPlace
	if len(w.own) > 0 {
		at := w.own[0].place()
		before = &at
	}
	k, ok, err := w.plain.next(before)
	switch {
	case err != nil:
		return false, err
	case ok:
		put(keyRow{plainRecord(k.key), k})
		return true, nil
	case before == nil:
		return false, nil
	}
	d := w.own[0]
	if err := w.lookUp(); err != nil {
		return false, err
	}
	w.own, w.fetched = w.own[1:], w.fetched-1
	put(keyRow{&d.KeyRecord, w.sums[d.KeyID]})
	return true, nil
}

// lookUp makes sure that the sums of the first described key are there.
func (w *keyWalk) lookUp() error {
	if w.fetched > 0 {
		return nil
	}
	chunk := w.own[:min(len(w.own), ownChunk)]
	ids := make([]string, len(chunk))
	for i, d := range chunk {
		ids[i] = d.KeyID
	}
	all, err := w.fetch(ids)
	if err != nil {
		return err
	}
	w.sums, w.fetched = make(map[string]keySums, len(all)), len(chunk)
	for _, k := range all {
		w.sums[k.key] = k
	}
	return nil
}

// plainRecord is what is known of a key of which nobody has said anything.
func plainRecord(keyID string) *schema.KeyRecord {
	return &schema.KeyRecord{KeyID: keyID, Name: keyID, KeyType: schema.KeyTypeUnknown, Status: schema.KeyStatusActive}
}

// keyRow is a key of a list.
type keyRow struct {
	*schema.KeyRecord
	sums keySums
}

// addKey adds a key to the page, with its activity unless that is nil.
func (w *keyWalk) addKey(out *page, r keyRow, activity []uint64) {
	out.add(keyPlace{r.Name, r.KeyID}.cursorPlace(), func(b []byte) []byte {
		b = appendKey(append(b, '{'), w.tenant, r.KeyRecord, r.sums)
		if activity != nil {
			b = appendHours(b, activity)
		}
		return append(b, '}')
	})
}

// appendKey appends a key's members, without braces: the reference's, then what it does not know.
func appendKey(b []byte, tenant auth.Tenant, r *schema.KeyRecord, k keySums) []byte {
	text := func(name, value string) {
		b = answer.AppendString(append(b, name...), value)
	}
	activity := func(name string, at schema.Millis) {
		b = append(b, name...)
		if k.events == 0 {
			b = append(b, "null"...)
			return
		}
		b = answer.AppendTime(b, at)
	}
	b = strconv.AppendInt(append(b, `"id":`...), schema.KeyNumber(tenant.Name(), r.KeyID), 10)
	text(`,"name":`, r.Name)
	text(`,"key_type":`, r.KeyType)
	text(`,"status":`, r.Status)
	b = strconv.AppendUint(append(b, `,"event_count":`...), k.events, 10)
	activity(`,"last_activity":`, k.last)
	text(`,"key_id":`, r.KeyID)
	b = strconv.AppendFloat(append(b, `,"risk_score":`...), riskScore(k.points), 'f', -1, 64)
	activity(`,"first_activity":`, k.first)
	b = strconv.AppendUint(append(b, `,"open_alerts":`...), k.open, 10)
	b = append(b, `,"tags":[`...)
	for i, tag := range r.Tags {
		if i > 0 {
			b = append(b, ',')
		}
		b = answer.AppendString(b, tag)
	}
	b = append(b, `],"rotation_period":`...)
	if r.RotationPeriod == "" {
		b = append(b, "null"...)
	} else {
		b = answer.AppendString(b, r.RotationPeriod)
	}
	return strconv.AppendInt(append(b, `,"version":`...), r.Version, 10)
}

// plainKeys passes over described keys in a list of sums by key_id.
type plainKeys struct {
	scan  func() (k keySums, ok bool, err error)
	skip  func(key string) bool
	head  *keySums // was read and is not handed out
	last  string   // the key that was read last
	ended bool
}

// next returns the next key that stands before a place, nil being the end of the list. It reads no further than it must
// to know, so a tenant that has described a million keys does not have all of them read for a page.
func (p *plainKeys) next(before *keyPlace) (keySums, bool, error) {
	for p.head == nil {
		if p.ended || before != nil && p.last >= before.name {
			return keySums{}, false, nil
		}
		k, ok, err := p.scan()
		if err != nil {
			return k, false, err
		}
		if !ok {
			p.ended = true
			continue
		}
		p.last = k.key
		if !p.skip(k.key) {
			p.head = &k
		}
	}
	if before != nil && (keyPlace{p.head.key, p.head.key}).compare(*before) > 0 {
		return keySums{}, false, nil
	}
	k := *p.head
	p.head = nil
	return k, true, nil
}

// maxKeyBatch bounds the keys that one statement sums up for a page.
const maxKeyBatch = 8192

// pagesOfKeys reads sums by key_id, first so many keys as a page needs, then twice as many: described ones are passed
// over, and there may be many.
func (j *job) pagesOfKeys(f keyFilter, n int) func() (keySums, bool, error) {
	var batch []keySums
	ended := false
	return func() (keySums, bool, error) {
		if len(batch) == 0 && !ended {
			var err error
			if batch, err = j.sumKeys(j.keysAre(f, nil), n); err != nil {
				return keySums{}, false, err
			}
			ended = len(batch) < n
			n = min(2*n, maxKeyBatch)
		}
		if len(batch) == 0 {
			return keySums{}, false, nil
		}
		k := batch[0]
		batch = batch[1:]
		f.at = keyPlace{k.key, k.key}
		return k, true, nil
	}
}
