// Package engine runs ClickHouse inside KeyPulse: the real engine, as a child process of this very binary, from
// the library that `make engine` fetches (or from a clickhouse binary that is already there).
//
// The invariant it keeps: one data folder has at most one engine, and the engine never outlives the process that
// started it. What the engine has acknowledged survives SIGKILL of either process; with Config.FSync a power cut too.
//
// The first statement of main, and of TestMain where tests start an engine, is ChildMain, because the child is the
// same binary:
//
//	func main() {
//		engine.ChildMain()
//		eng, err := engine.New(engine.Config{Dir: "data/clickhouse", NativeListen: "127.0.0.1:9000", HTTPListen: "127.0.0.1:8123"})
//		…
//		go eng.Run(ctx)
//		err = eng.Ready(ctx) // then store.Open(ctx, eng.DSN())
//	}
package engine
