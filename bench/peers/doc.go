// Package peers measures KeyPulse's windows and its producer beside what others have for the same work: windows on the same
// decoded events, producers on the same broker. It is a module of its own: the peers' dependencies are not KeyPulse's.
//
//	go test -run '^$' -bench Streamaggr -benchtime 2000x
//	go test -run '^$' -bench Producer -benchtime 7x
package peers
