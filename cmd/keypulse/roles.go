package main

import (
	"context"
	"errors"
	"net"
)

// role is a process with one role: it joins an installation that has Kafka and, where the role needs it, ClickHouse.
type role struct {
	name string
	keys bool // it answers requests with API keys
	// secret says that it needs the installation's secret; keys need it, too.
	secret bool
	// notifies says that it follows webhooks and silences.
	notifies bool
	db       bool // it talks to ClickHouse
	book     bool // it follows the rules
	rules    bool // it changes them
	// limits says that it has some that can be set.
	limits bool
	tables bool // it fills the tables
	add    func(*node)
}

// groups are the settings that the role uses.
func (r role) groups() []group {
	use := []group{apiGroup, logGroup, kafkaGroup, topicsGroup}
	if r.keys || r.secret {
		use = append([]group{filesGroup}, use...)
	}
	if r.db {
		use = append(use, storeGroup)
	}
	if r.tables {
		use = append(use, tablesGroup)
	}
	if r.limits {
		use = append(use, limitsGroup)
	}
	if r.rules {
		use = append(use, rulesGroup)
	}
	if r.notifies {
		use = append(use, notifyGroup)
	}
	if r.name == "query" {
		use = append(use, signupGroup)
	}
	return use
}

func runIngest(ctx context.Context, args []string) error {
	return runRole(ctx, args, role{name: "ingest", keys: true, book: true, limits: true, add: (*node).addIngest})
}

func runProcessor(ctx context.Context, args []string) error {
	return runRole(ctx, args, role{name: "processor", book: true, limits: true, add: (*node).addProcessor})
}

func runSink(ctx context.Context, args []string) error {
	return runRole(ctx, args, role{name: "sink", db: true, tables: true, add: (*node).addSink})
}

func runQuery(ctx context.Context, args []string) error {
	return runRole(ctx, args, role{name: "query", keys: true, db: true, book: true, rules: true, notifies: true, add: (*node).addQuery})
}

func runNotifier(ctx context.Context, args []string) error {
	return runRole(ctx, args, role{name: "notifier", secret: true, notifies: true, add: (*node).addNotifier})
}

func runRole(ctx context.Context, args []string, r role) error {
	s, rest, err := parseSettings(r.name, args, nil, r.groups()...)
	if err != nil {
		return err
	}
	if err := noArguments(r.name, rest); err != nil {
		return err
	}
	if r.db && s.embeddedClickHouse() {
		return usagef("%s needs --clickhouse-dsn (KEYPULSE_CLICKHOUSE_DSN)", r.name)
	}
	n, err := newNode(ctx, s)
	if err != nil {
		return err
	}
	if err := n.startRole(r); err != nil {
		return errors.Join(err, n.stop())
	}
	return n.wait()
}

func (n *node) startRole(r role) error {
	l, err := n.listen()
	if err != nil {
		return err
	}
	var adminAPI net.Listener
	if r.name == "query" {
		if adminAPI, err = n.listenAdmin(); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if err := n.prepareRole(r); err != nil {
		return errors.Join(err, l.Close())
	}
	n.pages = r.name == "query"
	n.newServer()
	r.add(n)
	if r.name == "query" {
		n.serveAdmin(adminAPI)
	}
	n.serve(l)
	return nil
}

// prepareRole opens what the role stands on.
func (n *node) prepareRole(r role) error {
	if r.db {
		if err := n.openDB(n.settings.ClickHouseDSN); err != nil {
			return err
		}
	}
	if err := n.openLog(); err != nil {
		return err
	}
	if r.db {
		if err := n.checkTables(); err != nil {
			return err
		}
	}
	if r.book {
		if err := n.followRules(); err != nil {
			return err
		}
	}
	if r.keys || r.secret {
		secret, err := n.loadSecret()
		if err != nil {
			return err
		}
		n.secret = secret
	}
	if r.keys {
		if err := n.followKeys(n.secret); err != nil {
			return err
		}
	}
	if r.notifies {
		if err := n.followNotifications(); err != nil {
			return err
		}
	}
	return nil
}
