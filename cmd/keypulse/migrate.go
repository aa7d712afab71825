package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"go.uber.org/zap"

	"keypulse/internal/broker"
	"keypulse/notify"
	"keypulse/processor"
	"keypulse/schema"
	"keypulse/sink"
)

// runMigrate makes topics and tables, and with --new-log begins a new log.
func runMigrate(ctx context.Context, args []string) error {
	var anew bool
	s, rest, err := parseSettings("migrate", args, func(fs *flag.FlagSet) {
		fs.BoolVar(&anew, "new-log", false, "begin a new log where the old one is lost or cut: REMOVES what is left of its events, verdicts and checkpoints; nothing else may run")
	}, filesGroup, logGroup, kafkaGroup, topicsGroup, storeGroup, engineGroup)
	if err != nil {
		return err
	}
	if err := noArguments("migrate", rest); err != nil {
		return err
	}
	if !anew && (s.embeddedKafka() || s.embeddedClickHouse()) {
		return usagef("migrate needs --kafka-brokers and --clickhouse-dsn; `keypulse up` migrates its own")
	}
	if s.embeddedKafka() || s.embeddedClickHouse() {
		lock, err := lockData(s.Data)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	n, err := newNode(ctx, s)
	if err != nil {
		return err
	}
	if anew {
		err = n.newLog()
	} else {
		err = n.migrate()
	}
	return errors.Join(err, n.stop())
}

func (n *node) migrate() error {
	if err := n.openDB(n.settings.ClickHouseDSN); err != nil {
		return err
	}
	if err := n.openLog(); err != nil {
		return err
	}
	return n.checkTables()
}

// newLog ends the log that is there, whatever is left of it, and begins a new one whose ids are above all that was given.
func (n *node) newLog() error {
	dsn, ready, err := n.startEngine()
	if err != nil {
		return err
	}
	ctx, cancel := n.starting()
	defer cancel()
	if err := ready(ctx); err != nil {
		return err
	}
	if err := n.openDB(dsn); err != nil {
		return err
	}
	if err := n.startBroker(); err != nil {
		return err
	}
	c, err := broker.Open(n.settings.broker())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.EnsureControlTopics(ctx, n.settings.topics()); err != nil {
		return err
	}
	before, reached, err := endLog(ctx, c)
	if err != nil {
		return err
	}
	if before.Version == 0 || n.settings.partitionsGiven {
		before.Partitions = int32(n.settings.Partitions)
	}
	next, err := sink.PrepareNewLog(ctx, n.db, before, reached)
	if err != nil {
		return err
	}
	log, err := c.StartNewLog(ctx, n.settings.topics(), next)
	if err != nil {
		return err
	}
	n.log.Info("a new log begins", zap.Int64("base", log.Base), zap.Int32("partitions", log.Partitions))
	fmt.Fprintf(os.Stdout, "A new log begins: its ids are above %d. What ClickHouse has stays.\n", schema.EventID(log.Base, 0, 0))
	return nil
}

// logGroups are the groups that read the topic of events.
var logGroups = []string{processor.GroupID, sink.GroupID, notify.RelayGroupID}

// endLog makes sure that nobody uses the log, and says how far it is known to have reached.
func endLog(ctx context.Context, c *broker.Client) (log schema.LogRecord, reached int64, err error) {
	if log, err = c.ReadLog(ctx); err != nil {
		return log, 0, err
	}
	if reached, err = c.Reached(ctx, log, logGroups...); err != nil {
		return log, 0, err
	}
	return log, reached, c.EndGroups(ctx, logGroups...)
}
