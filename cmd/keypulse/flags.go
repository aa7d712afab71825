package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"keypulse/internal/httpapi"
	"keypulse/schema"
)

// parseSettings reads the settings of a command; more declares its own flags. -h shows those, and the groups of
// settings that the command uses. It returns the arguments that are left.
func parseSettings(name string, args []string, more func(*flag.FlagSet), use ...group) (*settings, []string, error) {
	own := flag.NewFlagSet(name, flag.ContinueOnError)
	if more != nil {
		more(own)
	}
	s := new(settings)
	of := declare(s, allGroups)
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	copyFlags(set, own)
	copyFlags(set, of)
	file := set.String("config", "", "`file` of KEYPULSE_*=value lines")
	help := func(w io.Writer) {
		writeUsage(w, name, own)
		writeSettings(w, use)
	}
	if err := parseFlags(set, args, help); err != nil {
		return nil, nil, err
	}
	if err := fillSettings(set, of, *file); err != nil {
		return nil, nil, err
	}
	return s, set.Args(), s.finish()
}

// declare makes the flags of some groups of settings, with their defaults in s.
func declare(s *settings, groups []group) *flag.FlagSet {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	for _, g := range groups {
		g.declare(s, set)
	}
	return set
}

func copyFlags(to, from *flag.FlagSet) {
	from.VisitAll(func(f *flag.Flag) { to.Var(f.Value, f.Name, f.Usage) })
}

// parseFlags parses a command line into set, whose name is the command's. For -h it calls help and returns flag.ErrHelp.
func parseFlags(set *flag.FlagSet, args []string, help func(io.Writer)) error {
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help(os.Stdout)
		return err
	case err != nil:
		return usagef("%s; see keypulse %s -h", flagProblem(set, err), set.Name())
	}
	for _, arg := range set.Args() {
		if len(arg) > 1 && arg[0] == '-' {
			return usagef("flags come first: put %s before %s", arg, set.Arg(0))
		}
	}
	return nil
}

// flagProblem says what is wrong with a command line, and which flag an unknown one may have meant.
func flagProblem(set *flag.FlagSet, err error) string {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return strings.NewReplacer(" flag -", " flag --", ": -", ": --").Replace(err.Error())
	}
	var known []string
	set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	return fmt.Sprintf("there is no flag --%s%s", name, didYouMean("--", name, known))
}

// didYouMean ends a sentence about an unknown name with the nearest known one, if one is near.
func didYouMean(prefix, name string, known []string) string {
	near, ok := httpapi.Nearest(name, known)
	if !ok {
		return ""
	}
	return " (did you mean " + prefix + near + "?)"
}

// arguments are what commands take beside flags.
var arguments = map[string]string{
	"rules apply": "FILE…", "rules check": "FILE…", "rules test": "FILE…", "rules show": "ID", "apikey revoke": "ID", "analyst revoke": "NAME", "apikey rotate": "ID",
}

// usageLine is how a command is called.
func usageLine(name string) string {
	return strings.TrimSuffix("usage: keypulse "+name+" [FLAG…] "+arguments[name], " ")
}

// wrongArguments is the failure of a command that got too many arguments, or too few.
func wrongArguments(name string) error { return usagef("%s", usageLine(name)) }

// noArguments makes sure that a command got none.
func noArguments(name string, rest []string) error {
	if len(rest) > 0 {
		return usagef("%s takes no arguments, got %q", name, rest)
	}
	return nil
}

// parseTenant reads the value of --tenant.
func parseTenant(s string) (schema.Tenant, error) {
	if s == "" {
		return "", usagef("--tenant is missing")
	}
	t, err := schema.ParseTenant(s)
	if err != nil {
		return "", usagef("--tenant: %v", err)
	}
	return t, nil
}

// writeUsage tells how a command is called and what its own flags are.
func writeUsage(w io.Writer, name string, own *flag.FlagSet) {
	fmt.Fprintf(w, "%s\n", usageLine(name))
	writeFlags(w, own)
}

// writeSettings lists the settings of some groups.
func writeSettings(w io.Writer, groups []group) {
	if len(groups) == 0 {
		return
	}
	fmt.Fprintf(w, "\nSettings: a flag, a variable (--kafka-listen is KEYPULSE_KAFKA_LISTEN), or a line of the --config file.\n")
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s\n", g.title)
		writeFlags(w, declare(new(settings), []group{g}))
	}
}

func writeFlags(w io.Writer, set *flag.FlagSet) {
	set.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  %s\n      %s", strings.TrimSpace("--"+f.Name+" "+value), text)
		switch f.DefValue {
		case "", "0", "0s", "false":
		default:
			fmt.Fprintf(w, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}

// fillSettings sets the settings, among the flags of set, that the command line left out: from the environment, then from
// the file.
func fillSettings(set, of *flag.FlagSet, file string) error {
	given, known := map[string]bool{}, map[string]*flag.Flag{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	of.VisitAll(func(f *flag.Flag) { known[variable(f.Name)] = f })
	warnUnknown(os.Stderr, os.Environ(), known)
	if file == "" && !given["config"] {
		file = os.Getenv("KEYPULSE_CONFIG")
	}
	fromFile, err := readSettingsFile(file)
	if err != nil {
		return err
	}
	for name := range fromFile {
		if known[name] == nil {
			return usagef("%s: %s is no setting%s", file, name, nearestSetting(name, known))
		}
	}
	for name, f := range known {
		value, ok := os.LookupEnv(name)
		if !ok {
			value, ok = fromFile[name]
		}
		if !ok || given[f.Name] {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			return usagef("%s is %q: must be %s", name, value, kind(f))
		}
	}
	return nil
}

// kind names what a flag's value must be.
func kind(f *flag.Flag) string {
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		return "another value"
	}
	switch getter.Get().(type) {
	case bool:
		return "true or false"
	case int, int64:
		return "a whole number"
	default:
		return "a duration such as 250ms or 720h"
	}
}

const variablePrefix = "KEYPULSE_"

// nearestSetting is didYouMean for a variable. What all have in common does not count.
func nearestSetting(name string, known map[string]*flag.Flag) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(known)) {
		all = append(all, strings.TrimPrefix(k, variablePrefix))
	}
	return didYouMean(variablePrefix, strings.TrimPrefix(name, variablePrefix), all)
}

// warnUnknown tells of variables that look like settings and are none: most are typing errors.
func warnUnknown(w io.Writer, environ []string, known map[string]*flag.Flag) {
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, variablePrefix) || known[name] != nil || isOtherVariable(name) {
			continue
		}
		fmt.Fprintf(w, "keypulse: warning: %s is no setting%s\n", name, nearestSetting(name, known))
	}
}

// isOtherVariable reports whether a variable is ours and no setting.
func isOtherVariable(name string) bool {
	switch name {
	case "KEYPULSE_CONFIG", "KEYPULSE_API_KEY", "KEYPULSE_URL", "KEYPULSE_SOAK":
		return true
	}
	return strings.HasPrefix(name, "KEYPULSE_TEST_")
}

// variable is the environment's name of a flag.
func variable(flagName string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// readSettingsFile reads KEYPULSE_*=value lines; blank lines and those that start with # are passed over.
func readSettingsFile(path string) (map[string]string, error) {
	values := map[string]string{}
	if path == "" {
		return values, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, usagef("%s:%d: no = in %q", path, n, line)
		}
		values[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return values, lines.Err()
}
