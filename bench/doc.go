// Package bench is the load generator behind `keypulse bench`: it posts seeded events to a running instance over
// HTTP and reports throughput, ack latency and the time from a POST to its alert.
//
// The invariant it keeps: a latency counts from the time at which its request was *due*, not from when a free
// connection let it go, so that a stall of the server shows in every request that it delayed (no coordinated
// omission). Two runs with one Config send the same events at the same slots, in an open loop at the same due times.
//
//	cfg := bench.DefaultConfig()
//	cfg.APIKey, cfg.Rate = key, 5000
//	report, err := bench.Run(ctx, cfg)
//	…
//	err = report.WriteText(os.Stdout)
package bench
