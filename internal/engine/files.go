package engine

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"keypulse/schema"
)

// user is the engine's only user for the network; database is what its DSN names.
const (
	user     = "keypulse"
	database = Database
)

// Database is the engine's database.
const Database = "keypulse"

// configXML is sized for a machine of 2 cores and a few GB that KeyPulse shares with everything else.
//
//   - Merges: 2 threads with up to 4 merges; the defaults (16 and 32) take all cores after a burst of INSERTs. The
//     three numbers under merge_tree must stay below that, or the engine refuses to start.
//   - Schedule and common pools: the default of 512 and 8 threads is for servers with thousands of tables.
//   - Caches: 64 MiB of marks cover some billions of rows of our tables; the default of 5 GiB is more than the machine has.
//   - Memory: half of the machine at most, so that the log and the processor keep the other half.
//   - No query_log and the like: no section, no table, no growth on disk.
var configXML = template.Must(template.New("config.xml").Funcs(template.FuncMap{"xml": escape}).Parse(`<clickhouse>
  <listen_host>{{xml .Host}}</listen_host>
  <tcp_port>{{.NativePort}}</tcp_port>
  <http_port>{{.HTTPPort}}</http_port>
  <path>{{xml .Data}}/</path>
  <users_config>{{xml .Users}}</users_config>
  <default_database>default</default_database>
  <access_control_improvements>
    <settings_constraints_replace_previous>true</settings_constraints_replace_previous>
  </access_control_improvements>
  <timezone>UTC</timezone>
  <keep_alive_timeout>2</keep_alive_timeout>
  <logger>
    <level>warning</level>
    <log>{{xml .Log}}</log>
    <size>10M</size>
    <count>2</count>
  </logger>
  <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
  <merges_mutations_memory_usage_to_ram_ratio>0.2</merges_mutations_memory_usage_to_ram_ratio>
  <mark_cache_size>67108864</mark_cache_size>
  <primary_index_cache_size>67108864</primary_index_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <query_cache><max_size_in_bytes>16777216</max_size_in_bytes></query_cache>
  <background_pool_size>2</background_pool_size>
  <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
  <background_move_pool_size>1</background_move_pool_size>
  <background_fetches_pool_size>1</background_fetches_pool_size>
  <background_common_pool_size>2</background_common_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>
  <background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
  <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
  <tables_loader_foreground_pool_size>2</tables_loader_foreground_pool_size>
  <tables_loader_background_pool_size>2</tables_loader_background_pool_size>
  <merge_tree>
    <number_of_free_entries_in_pool_to_execute_mutation>2</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>2</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
{{- if .FSync}}
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
{{- end}}
  </merge_tree>
{{- if .Cluster}}
  <remote_servers replace="true"><{{.Database}}>
{{- range .Cluster}}
    <shard><replica><host>{{xml .Host}}</host><port>{{.Port}}</port><user>{{$.User}}</user><password>{{xml $.Password}}</password></replica></shard>
{{- end}}
  </{{.Database}}></remote_servers>
{{- end}}
</clickhouse>
`))

// usersXML has one user for the network, with a password.
//
// The engine's own session, which runs startSQL, is always the user `default` without a password, coming from
// 127.0.0.1: it cannot be given another name. So `default` may have one session, and that one has it before the
// ports open: nobody else gets in by that name. It may do no more than startSQL does, either. A server has no such user.
//
// An analyst reads the views of one tenant's database, which package store makes, and nothing else; of settings it may
// change only max_execution_time, which Grafana sends. The views read with the rights of the tenant's reader, by whose name
// nobody comes in: the row policies are the reader's. An analyst with rights on the tables themselves would see, past all
// policies, what mergeTreeIndex() and mergeTreeProjection() show of other tenants.
//
// async_insert is on by default since 26.2 and would acknowledge rows before they are in a part. poll_interval is
// the time in seconds after which an idle connection sees that the engine stops; the default is 10.
var usersXML = template.Must(template.New("users.xml").Parse(`<clickhouse>
  <profiles>
    <default>
      <async_insert>0</async_insert>
      <log_queries>0</log_queries>
      <poll_interval>1</poll_interval>
    </default>
    <own_session>
      <max_sessions_for_user>1</max_sessions_for_user>
    </own_session>
    <analyst>
      <readonly>1</readonly>
      <allow_ddl>0</allow_ddl>
      <log_queries>0</log_queries>
      <max_execution_time>30</max_execution_time>
      <max_memory_usage>1073741824</max_memory_usage>
      <max_result_rows>1000000</max_result_rows>
      <max_threads>2</max_threads>
      <max_concurrent_queries_for_user>8</max_concurrent_queries_for_user>
      <constraints>
        <max_execution_time><max>60</max><changeable_in_readonly/></max_execution_time>
      </constraints>
    </analyst>
  </profiles>
  <quotas>
    <default></default>
{{- range .Analysts}}
    <analyst_{{.Name}}>
      <interval><duration>60</duration><queries>1000</queries><execution_time>120</execution_time></interval>
    </analyst_{{.Name}}>
{{- end}}
  </quotas>
  <users>
    <{{.User}}>
      <password_sha256_hex>{{.Digest}}</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </{{.User}}>
{{- range .Tenants}}{{$tenant := .}}
    <reader_{{.}}>
      <no_password/>
      <networks></networks>
      <profile>analyst</profile>
      <quota>default</quota>
      <databases>
        <{{$.Database}}>
{{- range $.Tables}}
          <{{.}}><filter>tenant = '{{$tenant}}'</filter></{{.}}>
{{- end}}
        </{{$.Database}}>
      </databases>
      <grants>
{{- range $.Tables}}
        <query>GRANT SELECT ON {{$.Database}}.{{.}}</query>
{{- end}}
{{- range $.Views}}
        <query>GRANT SELECT ON {{$.Database}}.{{.}}</query>
{{- end}}
      </grants>
    </reader_{{.}}>
{{- end}}
{{- range .Analysts}}
    <{{.Name}}>
      <password_sha256_hex>{{.SHA256}}</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>analyst</profile>
      <quota>analyst_{{.Name}}</quota>
      <grants><query>GRANT SELECT ON "{{$.Database}}_{{.Tenant}}".*</query></grants>
    </{{.Name}}>
{{- end}}
{{- if not .Server}}
    <default>
      <no_password/>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>own_session</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT CREATE DATABASE ON {{.Database}}.*</query>
        <query>GRANT SYSTEM LISTEN ON *.*</query>
        <query>GRANT CREATE TEMPORARY TABLE ON *.*</query>
        <query>GRANT READ ON FILE</query>
      </grants>
    </default>
{{- end}}
  </users>
</clickhouse>
`))

// startSQL opens the ports and then waits: the last statement reads a pipe whose other end the parent holds and
// never writes to, so it ends when the parent closes it or dies. Then the engine flushes and exits by itself.
const startSQL = `CREATE DATABASE IF NOT EXISTS ` + database + `;
SYSTEM START LISTEN HTTP;
SYSTEM START LISTEN TCP;
SELECT * FROM file('` + pipePath + `', 'LineAsString', 'line String') FORMAT Null;
`

// layout is where things lie in Config.Dir.
type layout struct {
	data, log, config, users, start, password, analysts, lock string
}

func newLayout(dir string) (layout, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return layout{}, fmt.Errorf("resolve engine folder: %w", err)
	}
	l := layout{
		data:     filepath.Join(dir, "data"),
		log:      filepath.Join(dir, "engine.log"),
		config:   filepath.Join(dir, "config.xml"),
		users:    filepath.Join(dir, "users.xml"),
		start:    filepath.Join(dir, "start.sql"),
		password: filepath.Join(dir, "password"),
		analysts: filepath.Join(dir, analystsFile),
		lock:     filepath.Join(dir, "lock"),
	}
	if err := os.MkdirAll(l.data, 0o700); err != nil {
		return layout{}, fmt.Errorf("make engine folder: %w", err)
	}
	return l, nil
}

// loadPassword reads the password of an earlier start, or makes one.
func (l layout) loadPassword() (string, error) {
	text, err := os.ReadFile(l.password)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read engine password: %w", err)
	}
	random := make([]byte, 24)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the process instead
	password := hex.EncodeToString(random)
	if err := writeFile(l.password, []byte(password)); err != nil {
		return "", fmt.Errorf("write engine password: %w", err)
	}
	return password, nil
}

// write makes the files that the engine reads at its start; they hold nothing that lasts.
func (l layout) write(cfg Config, password string, analysts []Analyst) error {
	host, nativePort, _ := splitListen(cfg.NativeListen)
	_, httpPort, _ := splitListen(cfg.HTTPListen)
	if host == "" {
		host = "0.0.0.0"
	}
	type server struct {
		Host string
		Port int
	}
	var cluster []server
	for _, address := range cfg.Cluster {
		host, port, err := splitListen(address)
		if err != nil {
			return fmt.Errorf("write engine config: Cluster: %w", err)
		}
		cluster = append(cluster, server{host, port})
	}
	digest := sha256.Sum256([]byte(password))
	values := map[string]any{
		"Cluster": cluster, "Password": password,
		"Host": host, "NativePort": nativePort, "HTTPPort": httpPort,
		"Data": l.data, "Users": l.users, "Log": l.log, "FSync": cfg.FSync, "Server": cfg.Bin != "",
		"User": user, "Database": database, "Digest": hex.EncodeToString(digest[:]),
		"Analysts": analysts, "Tenants": tenantsOf(analysts), "Tables": schema.AnalystTables, "Views": schema.AnalystViews,
	}
	for path, tmpl := range map[string]*template.Template{l.config: configXML, l.users: usersXML} {
		var text bytes.Buffer
		if err := tmpl.Execute(&text, values); err != nil {
			return fmt.Errorf("write engine config: %w", err)
		}
		if err := writeFile(path, text.Bytes()); err != nil {
			return fmt.Errorf("write engine config: %w", err)
		}
	}
	if err := writeFile(l.start, []byte(startSQL)); err != nil {
		return fmt.Errorf("write engine config: %w", err)
	}
	return nil
}

// writeFile replaces a file as a whole: a kill in the middle leaves the old one or none.
func writeFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// tenantsOf lists whose rows somebody reads.
func tenantsOf(analysts []Analyst) []string {
	tenants := make([]string, len(analysts))
	for i, a := range analysts {
		tenants[i] = a.Tenant
	}
	slices.Sort(tenants)
	return slices.Compact(tenants)
}

func escape(text string) (string, error) {
	var out strings.Builder
	err := xml.EscapeText(&out, []byte(text))
	return out.String(), err
}
