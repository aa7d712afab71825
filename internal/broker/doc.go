// Package broker is the door to Kafka: a client, the producer that writes the log, readers of one partition,
// consumer-group membership, control topics, and the embedded broker of `keypulse up`.
//
// The invariant it keeps: a record is reported as written exactly when all in-sync replicas have acknowledged it, and
// the offsets that a [Reader] hands out have no gap and no repeat.
//
//	c, err := broker.Open(broker.Config{Brokers: []string{"127.0.0.1:9092"}})
//	p := broker.NewProducer(c, schema.TopicEvents, 8, broker.DefaultProducerConfig())
//	go p.Run(ctx)
//	err = p.Produce(records) // each record has its offset now
package broker
