package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"keypulse/internal/engine"
	"keypulse/internal/pause"
	"keypulse/internal/store"
	"keypulse/schema"
)

const analystUsage = `usage: keypulse analyst create --tenant T --name N [--json]
       keypulse analyst list [--json]
       keypulse analyst revoke N

An analyst is a ClickHouse user who may read one tenant's rows: see docs/analysts.md. With --clickhouse-dsn the user is made on
that server, by a user who may manage access; else in the embedded engine, which starts again within a second.`

// analystGroups are the settings that the commands use.
var analystGroups = []group{filesGroup, storeGroup, engineGroup}

// runAnalyst administers analysts.
func runAnalyst(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usagef("%s", analystUsage)
	}
	switch args[0] {
	case "help", "-h", "--help":
		return printUsage(analystUsage)
	case "create":
		return createAnalyst(ctx, args[1:])
	case "list":
		return listAnalysts(args[1:])
	case "revoke":
		return revokeAnalyst(ctx, args[1:])
	}
	return usagef("there is no command analyst %s; see keypulse analyst -h", args[0])
}

// analystName is what a user of ClickHouse and an XML element can both be called.
var analystName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

func parseAnalyst(name string) error {
	if !analystName.MatchString(name) || name == "default" || name == "keypulse" {
		return usagef("--name %q: must be up to 32 of a-z, 0-9 and _, beginning with a letter, and not default or keypulse", name)
	}
	return nil
}

func createAnalyst(ctx context.Context, args []string) error {
	var tenant, name string
	var asJSON bool
	s, rest, err := parseSettings("analyst create", args, func(fs *flag.FlagSet) {
		fs.StringVar(&tenant, "tenant", "", "the `company` whose rows the analyst reads")
		fs.StringVar(&name, "name", "", "the analyst's user name")
		fs.BoolVar(&asJSON, "json", false, `print only {"user": …, "password": …, "database": …}`)
	}, analystGroups...)
	if err != nil {
		return err
	}
	of, err := parseTenant(tenant)
	if err == nil {
		err = parseAnalyst(name)
	}
	if err == nil {
		err = noArguments("analyst create", rest)
	}
	if err != nil {
		return err
	}
	password := rand.Text()
	digest := sha256.Sum256([]byte(password))
	a := store.Analyst{Name: name, Tenant: of, SHA256: hex.EncodeToString(digest[:])}
	database, err := s.addAnalyst(ctx, a, password)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON("", struct {
			User     string `json:"user"`
			Password string `json:"password"`
			Database string `json:"database"`
		}{name, password, database})
	}
	fmt.Printf("user      %s\npassword  %s\ndatabase  %s\n\nThe password is shown only now.\n", name, password, database)
	return nil
}

// addAnalyst makes the user where the settings say and returns the database that it reads.
func (s *settings) addAnalyst(ctx context.Context, a store.Analyst, password string) (string, error) {
	if !s.embeddedClickHouse() {
		options, err := clickhouse.ParseDSN(s.ClickHouseDSN)
		if err != nil {
			return "", fmt.Errorf("parse ClickHouse DSN: %w", err)
		}
		database := options.Auth.Database
		err = s.onStore(ctx, s.ClickHouseDSN, func(db driver.Conn) error { return store.CreateAnalyst(ctx, db, database, a) })
		return store.AnalystDatabase(database, a.Tenant), err
	}
	dsn, err := engine.DSN(s.engineDir(), s.ClickHouseNativeListen)
	if err == nil { // what cannot be finished is not begun
		err = s.onStore(ctx, dsn, func(driver.Conn) error { return nil })
	}
	if err != nil {
		return "", fmt.Errorf("create analyst %s: `keypulse up` must be running: %w", a.Name, err)
	}
	err = engine.ChangeAnalysts(s.engineDir(), func(all []engine.Analyst) ([]engine.Analyst, error) {
		if slices.ContainsFunc(all, func(other engine.Analyst) bool { return other.Name == a.Name }) {
			return nil, fmt.Errorf("create analyst %s: there is one of this name; revoke it first", a.Name)
		}
		return append(all, engine.Analyst{Name: a.Name, Tenant: string(a.Tenant), SHA256: a.SHA256, CreatedAt: time.Now().UTC()}), nil
	})
	if err != nil {
		return "", err
	}
	if !s.awaitLogin(ctx, a.Name, password) {
		return "", fmt.Errorf("create analyst %s: the engine does not let it in yet: revoke it and try again", a.Name)
	}
	err = s.onStore(ctx, dsn, func(db driver.Conn) error { return store.CreateTenantViews(ctx, db, engine.Database, a.Tenant) })
	return store.AnalystDatabase(engine.Database, a.Tenant), err
}

// engineDir is the embedded engine's folder.
func (s *settings) engineDir() string { return filepath.Join(s.Data, "clickhouse") }

// onStore runs f on the server that a DSN names.
func (s *settings) onStore(ctx context.Context, dsn string, f func(db driver.Conn) error) error {
	db, err := store.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	return f(db)
}

// awaitLogin waits until a running engine lets the analyst in; false: none runs, or it does not within half a minute.
func (s *settings) awaitLogin(ctx context.Context, name, password string) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	login := url.URL{Scheme: "http", Host: s.ClickHouseHTTPListen, RawQuery: "query=SELECT+1", User: url.UserPassword(name, password)}
	for refused := 0; ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, login.String(), nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		switch {
		case err == nil:
			refused = 0
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return true
			}
		case refused == 150: // it takes less to start again, on a busy machine, too
			return false
		default:
			refused++
		}
		if pause.For(ctx, 100*time.Millisecond) != nil {
			return false
		}
	}
}

func listAnalysts(args []string) error {
	var asJSON bool
	s, rest, err := parseSettings("analyst list", args, func(fs *flag.FlagSet) {
		fs.BoolVar(&asJSON, "json", false, "print one JSON object for each analyst")
	}, analystGroups...)
	if err != nil {
		return err
	}
	if err := noArguments("analyst list", rest); err != nil {
		return err
	}
	if !s.embeddedClickHouse() {
		return errors.New("list analysts: a server lists its users itself: SELECT * FROM system.row_policies")
	}
	all, err := engine.Analysts(s.engineDir())
	if err != nil {
		return err
	}
	if asJSON {
		for _, a := range all {
			if err := printJSON("", map[string]any{"name": a.Name, "tenant": a.Tenant, "created_at": schema.MillisOf(a.CreatedAt)}); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tTENANT\tCREATED")
	for _, a := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", a.Name, a.Tenant, schema.MillisOf(a.CreatedAt))
	}
	return w.Flush()
}

func revokeAnalyst(ctx context.Context, args []string) error {
	s, rest, err := parseSettings("analyst revoke", args, nil, analystGroups...)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return wrongArguments("analyst revoke")
	}
	name := strings.TrimSpace(rest[0])
	if err := parseAnalyst(name); err != nil {
		return err
	}
	if !s.embeddedClickHouse() {
		err = s.onStore(ctx, s.ClickHouseDSN, func(db driver.Conn) error { return store.RevokeAnalyst(ctx, db, name) })
	} else {
		err = engine.ChangeAnalysts(s.engineDir(), func(all []engine.Analyst) ([]engine.Analyst, error) {
			kept := slices.DeleteFunc(slices.Clone(all), func(a engine.Analyst) bool { return a.Name == name })
			if len(kept) == len(all) {
				return nil, fmt.Errorf("revoke analyst %s: there is none of this name", name)
			}
			return kept, nil
		})
	}
	if err == nil {
		fmt.Printf("Revoked %s.\n", name)
	}
	return err
}
