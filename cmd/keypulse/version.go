package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// runVersion prints which KeyPulse this is.
func runVersion(_ context.Context, args []string) error {
	set := flag.NewFlagSet("version", flag.ContinueOnError)
	if err := parseFlags(set, args, func(w io.Writer) { writeUsage(w, set.Name(), set) }); err != nil {
		return err
	}
	if err := noArguments(set.Name(), set.Args()); err != nil {
		return err
	}
	_, err := fmt.Printf("keypulse %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the commit that the binary was built from, "devel" when nobody knows.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return versionOf(info.Settings)
}

func versionOf(settings []debug.BuildSetting) string {
	revision, changed := "devel", ""
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			if s.Value == "true" {
				changed = "+changes"
			}
		}
	}
	return revision + changed
}
