package rules

import (
	"archive/zip"
	_ "embed"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"
)

// zoneFiles is the time zone database of the Go release that we build with. time.LoadLocation would ask the machine's own first:
// what a rule decides must be a function of the log, and "localtime" or "right/UTC" of one node are no zones of another's.
//
//go:generate sh -c "cp $GOROOT/lib/time/zoneinfo.zip zoneinfo.zip"
//go:embed zoneinfo.zip
var zoneFiles string

var zones = sync.OnceValue(func() fs.FS {
	files, err := zip.NewReader(strings.NewReader(zoneFiles), int64(len(zoneFiles)))
	if err != nil {
		panic(fmt.Sprintf("BUG: read zoneinfo.zip: %v", err))
	}
	return files
})

// zoneNamed returns the zone of an IANA name.
func zoneNamed(name string) (*time.Location, error) {
	if name == "UTC" {
		return time.UTC, nil
	}
	data, err := fs.ReadFile(zones(), name)
	if err != nil {
		return nil, fmt.Errorf("find time zone %q: %w", name, err)
	}
	zone, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, fmt.Errorf("read time zone %q: %w", name, err)
	}
	return zone, nil
}
