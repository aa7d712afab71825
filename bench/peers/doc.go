// Package peers measures KeyPulse's windows beside what others have for the same work, on the same decoded events. It is a
// module of its own: the peers' dependencies are not KeyPulse's.
//
//	go test -bench . -benchtime 2000x
package peers
