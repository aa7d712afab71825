package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"keypulse/internal/admin"
	"keypulse/internal/auth"
	"keypulse/internal/broker"
	"keypulse/schema"
)

const apiKeyUsage = `usage: keypulse apikey create --tenant T --name N [--rate-limit PER_MINUTE] [--scopes ingest,read,rules] [--expires 720h] [--json]
       keypulse apikey list [--tenant T] [--json]
       keypulse apikey rotate [--overlap 24h] [--json] ID
       keypulse apikey revoke [--json] ID

Each works beside a running KeyPulse, with the settings that it runs with. ` + "`keypulse apikey COMMAND -h`" + ` lists them.`

// runAPIKey administers API keys beside a running installation.
func runAPIKey(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usagef("%s", apiKeyUsage)
	}
	switch args[0] {
	case "help", "-h", "--help":
		return printUsage(apiKeyUsage)
	case "create":
		return createAPIKey(ctx, args[1:])
	case "list":
		return listAPIKeys(ctx, args[1:])
	case "rotate":
		return rotateAPIKey(ctx, args[1:])
	case "revoke":
		return revokeAPIKey(ctx, args[1:])
	}
	return usagef("there is no command apikey %s; see keypulse apikey -h", args[0])
}

// apiKeyRequest is what a new API key should be.
type apiKeyRequest struct {
	tenant    schema.Tenant
	name      string
	rateLimit int
	scopes    []string
	expires   time.Duration // from now; 0 = never
}

// newAPIKey makes a key and its record. The key itself is in no record and is shown once.
func newAPIKey(secret *auth.Secret, r apiKeyRequest) (schema.APIKeyRecord, string) {
	now := time.Now()
	record := schema.APIKeyRecord{Tenant: r.tenant, Name: r.name, RateLimit: r.rateLimit, Scopes: r.scopes}
	if r.expires > 0 {
		record.ExpiresAt = schema.MillisOf(now.Add(r.expires))
	}
	return admin.NewKey(secret, record, now)
}

// errChanged says that somebody else changed an API key first.
var errChanged = errors.New("it was changed by somebody else meanwhile; try again")

// putAPIKey writes a version of an API key, with its lines of the audit, and reads it back into table.
func putAPIKey(ctx context.Context, c *broker.Client, table *auth.Table, action string, r schema.APIKeyRecord) (*auth.Entry, error) {
	line := schema.AuditAPIKey(action, r, schema.MillisOf(time.Now()))
	line.By, line.Outcome = operator(), schema.AuditBegun
	if err := appendAudit(ctx, c, line); err != nil {
		return nil, err
	}
	entry, err := writeAPIKey(ctx, c, table, r)
	switch {
	case err == nil:
		line.Outcome = schema.AuditDone
	case errors.Is(err, errChanged):
		line.Outcome = schema.AuditConflict
	default:
		line.Outcome = schema.AuditUnknown
	}
	return entry, errors.Join(err, appendAudit(ctx, c, line))
}

// operator is who runs a command, as the audit names him.
func operator() string {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return "cli:" + name
}

func writeAPIKey(ctx context.Context, c *broker.Client, table *auth.Table, r schema.APIKeyRecord) (*auth.Entry, error) {
	if _, err := appendControl(ctx, c, schema.TopicAPIKeys, []byte(r.ID), r); err != nil {
		return nil, err
	}
	if err := readControl(ctx, c, schema.TopicAPIKeys, table.Apply); err != nil {
		return nil, err
	}
	entry := table.Get(r.ID)
	if entry == nil || entry.Record.Version != r.Version || entry.Record.HMAC != r.HMAC || entry.Record.Status != r.Status {
		return nil, fmt.Errorf("write API key %s: %w", r.ID, errChanged)
	}
	return entry, nil
}

// withKeys runs f beside a running installation with its API keys.
func withKeys(ctx context.Context, s *settings, f func(context.Context, *broker.Client, *auth.Secret, *auth.Table) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	secret, err := auth.LoadSecret(s.SecretFile)
	if err != nil {
		return err
	}
	c, err := openAdmin(ctx, s)
	if err != nil {
		return err
	}
	defer c.Close()
	table, err := readKeys(ctx, c, secret)
	if err != nil {
		return err
	}
	return f(ctx, c, secret, table)
}

func createAPIKey(ctx context.Context, args []string) error {
	var tenant, name, scopes string
	var rateLimit int
	var expires time.Duration
	var asJSON bool
	s, rest, err := parseSettings("apikey create", args, func(fs *flag.FlagSet) {
		fs.StringVar(&tenant, "tenant", "", "the `company`; an unknown one is made")
		fs.StringVar(&name, "name", "", "what the key is for, for people")
		fs.IntVar(&rateLimit, "rate-limit", auth.DefaultRateLimit, "requests in any 60 seconds; 0 = no limit")
		fs.StringVar(&scopes, "scopes", strings.Join(auth.DefaultScopes(), ","), "of "+strings.Join(auth.Scopes[:], ","))
		fs.DurationVar(&expires, "expires", 0, "from now; 0 = never")
		fs.BoolVar(&asJSON, "json", false, `print only {"id": …, "api_key": …}`)
	}, apiKeyGroups...)
	if err != nil {
		return err
	}
	r := apiKeyRequest{name: name, rateLimit: rateLimit, scopes: strings.Split(scopes, ","), expires: expires}
	if r.tenant, err = parseTenant(tenant); err != nil {
		return err
	}
	if err := r.check(rest); err != nil {
		return err
	}
	return withKeys(ctx, s, func(ctx context.Context, c *broker.Client, secret *auth.Secret, table *auth.Table) error {
		if err := table.CheckSecret(); err != nil {
			return fmt.Errorf("create API key: %w; name the right one with --secret-file (where it is lost, revoke the old keys first)", err)
		}
		record, apiKey := newAPIKey(secret, r)
		if _, err := putAPIKey(ctx, c, table, schema.AuditCreate, record); err != nil {
			return err
		}
		if asJSON {
			return printNewKey(record.ID, apiKey)
		}
		fmt.Printf("id       %s\ntenant   %s\nAPI key  %s\n\nIt is shown only now.\n", record.ID, record.Tenant, apiKey)
		return nil
	})
}

func (r apiKeyRequest) check(rest []string) error {
	if err := noArguments("apikey create", rest); err != nil {
		return err
	}
	switch {
	case r.name == "":
		return usagef("--name is missing")
	case r.rateLimit < 0:
		return usagef("--rate-limit is negative")
	case r.expires < 0:
		return usagef("--expires is negative")
	}
	for _, scope := range r.scopes {
		if !slices.Contains(auth.Scopes[:], scope) {
			return usagef("--scopes: %q is none of %s", scope, strings.Join(auth.Scopes[:], ", "))
		}
	}
	return nil
}

func listAPIKeys(ctx context.Context, args []string) error {
	var tenant string
	var asJSON bool
	s, rest, err := parseSettings("apikey list", args, func(fs *flag.FlagSet) {
		fs.StringVar(&tenant, "tenant", "", "only this `company`'s")
		fs.BoolVar(&asJSON, "json", false, "print one JSON object for each key")
	}, apiKeyGroups...)
	if err != nil {
		return err
	}
	if err := noArguments("apikey list", rest); err != nil {
		return err
	}
	return withKeys(ctx, s, func(ctx context.Context, c *broker.Client, _ *auth.Secret, table *auth.Table) error {
		warnSecret(table)
		if err := readUses(ctx, c, table); err != nil {
			return err
		}
		entries := slices.DeleteFunc(table.All(), func(e *auth.Entry) bool { return tenant != "" && string(e.Record.Tenant) != tenant })
		if asJSON {
			return printKeys(entries)
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tTENANT\tNAME\tSTATUS\tLIMIT\tSCOPES\tCREATED\tEXPIRES\tLAST USED")
		for _, e := range entries {
			r := e.Record
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.ID, r.Tenant, r.Name, r.Status, r.RateLimit,
				strings.Join(r.Scopes, ","), r.CreatedAt, orNever(r.ExpiresAt), orNever(e.LastUsed()))
		}
		return w.Flush()
	})
}

func orNever(at schema.Millis) string {
	if at == 0 {
		return "never"
	}
	return at.String()
}

// printKeys prints one JSON object for each key, without its HMACs.
func printKeys(entries []*auth.Entry) error {
	for _, e := range entries {
		shown := struct {
			schema.APIKeyRecord
			HMAC         string        `json:"hmac,omitempty"`
			PreviousHMAC string        `json:"previous_hmac,omitempty"`
			LastUsed     schema.Millis `json:"last_used,omitempty"`
		}{APIKeyRecord: e.Record, LastUsed: e.LastUsed()}
		if err := printJSON("", shown); err != nil {
			return err
		}
	}
	return nil
}

// warnSecret tells the user when the secret is not the one that the keys were made with.
func warnSecret(table *auth.Table) {
	if err := table.CheckSecret(); err != nil {
		fmt.Fprintln(os.Stderr, "keypulse: warning:", err)
	}
}

func revokeAPIKey(ctx context.Context, args []string) error {
	var asJSON bool
	s, rest, err := parseSettings("apikey revoke", args, func(fs *flag.FlagSet) {
		fs.BoolVar(&asJSON, "json", false, `print only {"id": …, "status": "revoked"}`)
	}, apiKeyGroups...)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return wrongArguments("apikey revoke")
	}
	return withKeys(ctx, s, func(ctx context.Context, c *broker.Client, _ *auth.Secret, table *auth.Table) error {
		warnSecret(table)
		entry := table.Get(rest[0])
		if entry == nil {
			return fmt.Errorf("revoke API key %s: there is none with this id", rest[0])
		}
		record := entry.Record
		already := record.Status == schema.APIKeyRevoked
		if !already {
			record.Version++
			record.Status = schema.APIKeyRevoked
			if _, err := putAPIKey(ctx, c, table, schema.AuditRevoke, record); err != nil {
				return err
			}
		}
		switch {
		case asJSON:
			return printJSON("", struct {
				ID     string              `json:"id"`
				Status schema.APIKeyStatus `json:"status"`
			}{record.ID, record.Status})
		case already:
			fmt.Println("It is revoked already.")
		default:
			fmt.Printf("Revoked %s (%s of %s).\n", record.ID, record.Name, record.Tenant)
		}
		return nil
	})
}

// printNewKey prints what programs need of a key that was just made.
func printNewKey(id, apiKey string) error {
	return printJSON("", struct {
		ID     string `json:"id"`
		APIKey string `json:"api_key"`
	}{id, apiKey})
}

// rotateAPIKey gives an API key a new secret under the same id. The old one stays valid until the overlap is over; one
// that an earlier rotation has left is unknown at once.
func rotateAPIKey(ctx context.Context, args []string) error {
	var overlap time.Duration
	var asJSON bool
	s, rest, err := parseSettings("apikey rotate", args, func(fs *flag.FlagSet) {
		fs.DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old key stays valid, at most 2160h; 0: it ends at once")
		fs.BoolVar(&asJSON, "json", false, `print only {"id": …, "api_key": …}`)
	}, apiKeyGroups...)
	if err != nil {
		return err
	}
	switch {
	case len(rest) != 1:
		return wrongArguments("apikey rotate")
	case overlap < 0 || overlap > admin.MaxOverlap:
		return usagef("--overlap is %v: must be 0 to %v", overlap, admin.MaxOverlap)
	}
	return withKeys(ctx, s, func(ctx context.Context, c *broker.Client, secret *auth.Secret, table *auth.Table) error {
		entry := table.Get(rest[0])
		if entry == nil {
			return fmt.Errorf("rotate API key %s: there is none with this id", rest[0])
		}
		if entry.Record.Status != schema.APIKeyActive {
			return fmt.Errorf("rotate API key %s: it is %s", rest[0], entry.Record.Status)
		}
		if ends := entry.Record.ExpiresAt; ends > 0 && ends <= schema.MillisOf(time.Now()) {
			return fmt.Errorf("rotate API key %s: it expired at %s, and a new key under its id would be, too; create one", rest[0], ends)
		}
		if err := table.CheckSecret(); err != nil {
			return fmt.Errorf("rotate API key: %w; name the right one with --secret-file", err)
		}
		record, apiKey := admin.Rotate(secret, entry.Record, time.Now().Add(overlap))
		if _, err := putAPIKey(ctx, c, table, schema.AuditRotate, record); err != nil {
			return err
		}
		if asJSON {
			return printNewKey(record.ID, apiKey)
		}
		fmt.Printf("id       %s\ntenant   %s\nAPI key  %s\n\nIt is shown only now. The old one is valid until %s.\n", record.ID, record.Tenant, apiKey, record.PreviousUntil)
		return nil
	})
}
