// Package query is the read side of the REST API, and the rules: everything but POST /api/events. It reads ClickHouse,
// holds no state of its own but the newest alert actions and what is said of keys, and writes nothing but lines of statistics, and
// rule versions, alert actions and what is said of keys into the log.
//
// The invariant it keeps: what a request sends reaches ClickHouse as a bound parameter only, never as text of a
// statement; every statement names its tenant, has a bound in time and memory, and ends when its client leaves. And a
// list is a walk along one total order with a cursor that is a place in it, so that pages neither skip nor repeat a row.
//
//	actions := query.NewActions() // and, beside the server, actions.Follow
//	q := query.New(query.Config{DB: db, Book: book, AppendRule: appendRule, Actions: actions, AppendAction: appendAction, Log: log})
//	q.Register(server.App())
//	server.AddCheck("clickhouse", q.Check)
package query
