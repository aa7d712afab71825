// Package peers measures KeyPulse beside what others have for the same work: windows on the same decoded events, producers on the
// same broker, an ingest node beside an empty handler and a naive one, readers of the same JSON. What is measured is a process of
// its own wherever its CPU time counts. It is a module of its own: the peers' dependencies are not KeyPulse's.
//
//	go test -run '^$' -bench Streamaggr -benchtime 2000x
//	go test -run '^$' -bench Producer -benchtime 7x
//	go test -run '^$' -bench HTTP -benchtime 5x
//	go test -run '^$' -bench FirstAck -benchtime 15x
//	go test -run '^$' -bench Decode -benchtime 7x
package peers
