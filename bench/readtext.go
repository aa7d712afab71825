package bench

import (
	"bytes"
	"fmt"
	"io"
)

// WriteReads writes results for people.
func WriteReads(w io.Writer, all []ReadResult) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-36s %19s %19s %13s %15s\n", "", "REST ms", "straight ms", "REST/straight", "raw ms")
	fmt.Fprintf(&b, "%-36s %9s %9s %9s %9s %6s %6s %8s %6s\n", "question", "p50", "p99", "p50", "p99", "p50", "p99", "p50", "x")
	for _, r := range all {
		fmt.Fprintf(&b, "%-36s %9.2f %9.2f %9.2f %9.2f %6.2f %6.2f", r.Name, r.REST.P50, r.REST.P99, r.Straight.P50, r.Straight.P99,
			r.REST.P50/r.Straight.P50, r.REST.P99/r.Straight.P99)
		if r.Raw != nil {
			fmt.Fprintf(&b, " %8.1f %6.1f", r.Raw.P50, r.Raw.P50/r.Straight.P50)
		}
		b.WriteByte('\n')
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
