//go:build !linux

package processor

import "time"

var processStart = time.Now()

// threadTime stands in for the CPU time of the calling thread where the system does not tell it.
func threadTime() time.Duration { return time.Since(processStart) }
