// Package dashboard holds the files of the dashboard, built by npm from this folder (make dashboard) and embedded in the
// binary. Where nobody has built them, everything else works, and [Files] is empty.
//
// The page speaks to the API and to nothing else: what it shows is what the API says. It never makes HTML of data.
package dashboard

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files are the built files: index.html, what it needs under assets, and beside each its compressed forms (.br, .gz). The
// names of assets change with their content.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist/app")
	if err != nil {
		panic("BUG: " + err.Error()) // the name is a good one
	}
	return files
}

// Built reports whether the files are there.
func Built() bool {
	_, err := fs.Stat(dist, "dist/app/index.html")
	return err == nil
}
