package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"keypulse/schema"
)

// deleteVersion is the version of the DeleteRecords request that we speak: the last one without tagged fields.
const deleteVersion = 1

// deleteRecords is a DeleteRecords request (KIP-107), which kafka-go does not have: see fetch for how it rides.
type deleteRecords struct {
	place
	before int64
	client string // client id
	code   kafka.Error
}

// ApiKey is part of kafka-go's protocol.Message.
func (d *deleteRecords) ApiKey() protocol.ApiKey { return protocol.DeleteRecords } //nolint:staticcheck // ST1003: the interface's name

// Required says that the request writes itself.
func (d *deleteRecords) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange writes the request and reads the answer.
func (d *deleteRecords) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	be := binary.BigEndian
	b := appendHeader(make([]byte, 4, 128), protocol.DeleteRecords, deleteVersion, d.client)
	b = be.AppendUint32(b, 1) // topics
	b = appendText(b, string(d.topic))
	b = be.AppendUint32(b, 1) // partitions
	b = be.AppendUint32(b, uint32(d.partition))
	b = be.AppendUint64(b, uint64(d.before))
	b = be.AppendUint32(b, uint32(requestTimeout.Milliseconds()))
	answer, err := exchange(rw, b, nil)
	if err != nil {
		return nil, err
	}
	in := cursor{b: answer}
	in.skip(4 + 4)         // correlation id, throttle time
	in.skip(4)             // topics
	in.skip(int(in.u16())) // topic
	in.skip(4 + 4 + 8)     // partitions, partition, low watermark
	d.code = kafka.Error(int16(in.u16()))
	if in.failed {
		return nil, errShort
	}
	return d, nil
}

// DeleteBefore drops the records of a partition that are below an offset.
func (c *Client) DeleteBefore(ctx context.Context, topic schema.Topic, partition int32, offset int64) error {
	err := retry(ctx, func(ctx context.Context) error {
		request := &deleteRecords{place: place{topic, partition}, before: offset, client: c.cfg.ClientID}
		if _, err := c.transport.RoundTrip(ctx, c.kafka.Addr, request); err != nil {
			return err
		}
		if request.code != 0 {
			return request.code
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete records of %s/%d below %d: %w", topic, partition, offset, err)
	}
	return nil
}
