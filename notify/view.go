package notify

import (
	"context"
	"errors"
	"slices"
	"sync"

	"keypulse/internal/broker"
	"keypulse/schema"
)

// View is what any node can say of outboxes: what became of messages, and what silences hid. It reads a partition when it
// is asked about one of its tenants, from where it stood the last time, so it knows everything that was in the log then.
type View struct {
	client     *broker.Client
	partitions [schema.NoticePartitions]viewed
}

// viewed is one partition.
type viewed struct {
	mu sync.Mutex
	// guards the following
	box    *outbox
	reader *broker.Reader
}

// NewView makes a view that has read nothing yet.
func NewView(c *broker.Client) *View { return &View{client: c} }

// at calls f with a tenant's outbox as it is now.
func (v *View) at(ctx context.Context, tenant schema.Tenant, f func(*outbox)) error {
	number := NoticePartition(tenant)
	p := &v.partitions[number]
	p.mu.Lock()
	defer p.mu.Unlock()
	first, end, err := v.client.Offsets(ctx, schema.TopicOutbox, number)
	if err != nil {
		return err
	}
	if p.reader == nil || p.reader.Next() < first || p.reader.Next() > end { // its owner has deleted what was not read yet
		p.box, p.reader = newOutbox(), v.client.NewReader(schema.TopicOutbox, number, first)
	}
	for p.reader.Next() < end {
		err := follow(ctx, p.reader, p.box)
		if errors.As(err, new(*broker.OffsetGoneError)) {
			p.reader = nil // the same, just now
			return err
		}
		if err != nil {
			return err
		}
	}
	f(p.box)
	return nil
}

// Deliveries returns a webhook's deliveries, the newest first: all that are pending, and the last that are not.
func (v *View) Deliveries(ctx context.Context, tenant schema.Tenant, webhook string) (all []Delivery, err error) {
	err = v.at(ctx, tenant, func(o *outbox) {
		for _, d := range o.deliveries {
			if d.Tenant == tenant && d.Webhook == webhook {
				all = append(all, *d)
			}
		}
	})
	slices.SortFunc(all, func(a, b Delivery) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		if a.ID < b.ID {
			return 1
		}
		return -1
	})
	return all, err
}

// Hidden returns what each of a tenant's silences has hidden, by its id.
func (v *View) Hidden(ctx context.Context, tenant schema.Tenant) (map[string]Hidden, error) {
	all := map[string]Hidden{}
	err := v.at(ctx, tenant, func(o *outbox) {
		for r, h := range o.hidden {
			if r.Tenant == tenant {
				x := *h
				x.Alerts = slices.Clone(h.Alerts)
				all[r.ID] = x
			}
		}
	})
	return all, err
}
