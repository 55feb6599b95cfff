package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"log_capturer/internal/archtest"
	"log_capturer/internal/config"
	"log_capturer/internal/positions"
	"log_capturer/internal/reload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// configured returns a configuration with sinks of every type, two of one, and
// without an engine.
func configured(t *testing.T) *config.Config {
	t.Helper()
	dir := t.TempDir()
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, `
data_dir: %s
container_monitor: {docker_host: "unix://%s/no.sock"}
file_monitor: {files: [{include: ["%s/*.log"]}]}
kafka_source: {enabled: true, brokers: ["127.0.0.1:1"], topics: [logs], custody_wait: 10ms}
sinks:
  - {type: local_file, name: all}
  - {type: local_file, name: errors, path: "{data_dir}/streams/{stream}.log"}
  - {type: loki, url: "http://127.0.0.1:1", spool: {max_bytes: 100MiB}}
server: {listen: "127.0.0.1:0"}
metrics: {listen: "127.0.0.1:0"}
pprof: {listen: "127.0.0.1:0"}
`, filepath.Join(dir, "data"), dir, dir), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// A sink of every type can be made from its configuration, and says where it
// delivers to without a secret.
func TestEveryTypeOfSink(t *testing.T) {
	tested := map[string]bool{}
	f := func(typ, keys, where string) {
		t.Helper()
		tested[typ] = true
		cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, "sinks: [{type: %s%s}]", typ, keys), func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		a := newApp(cfg, noReloads(), io.Discard, quiet())
		cfg.DataDir = t.TempDir()
		if a.journal, err = positions.Open(filepath.Join(cfg.DataDir, "positions"), positions.Options{Logger: a.logger}); err != nil {
			t.Fatal(err)
		}
		defer a.close()
		s, err := a.makeSink(cfg, cfg.Sinks[0])
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		a.now().sinks = append(a.now().sinks, s)
		if got := destination(s.config, "/data"); got != where {
			t.Errorf("destination of %s: %q, want %q", typ, got, where)
		}
		if greets := a.greeted(io.Discard) == io.Discard; greets != (typ != config.TypeStdout) {
			t.Errorf("%s: the greeting goes to the standard output: %t", typ, greets)
		}
	}
	f("local_file", "", "files /data/logs/{source}.log")
	f("loki", `, url: "http://127.0.0.1:1"`, "loki at http://127.0.0.1:1")
	f("elasticsearch", `, urls: ["http://127.0.0.1:1", "http://127.0.0.1:2/x?a=b"], api_key: k`, "elasticsearch at http://127.0.0.1:1, http://127.0.0.1:2/x")
	f("elasticsearch", `, cloud_id: "a:Zm91bmQuaW8kYWJj"`, "elasticsearch in Elastic Cloud")
	f("splunk", `, url: "http://127.0.0.1:1", token: s3cret`, "splunk at http://127.0.0.1:1")
	f("splunk", `, url: "http://127.0.0.1:1", token: s3cret, endpoint: raw, acknowledge: true`, "splunk at http://127.0.0.1:1")
	f("otlp", `, url: "http://127.0.0.1:1", protocol: grpc`, "otlp at http://127.0.0.1:1")
	f("kafka", `, brokers: ["127.0.0.1:1"], use_tls: true, sasl: {mechanism: plain, username: u, password: p}`, "kafka topic logs at 127.0.0.1:1")
	f("http", `, url: "http://127.0.0.1:1/a?key=s3cret", basic_auth: {username: u, password: p}, headers: {A: b}`, "http at http://127.0.0.1:1/a")
	f("stdout", ", format: text", "stdout")
	for _, typ := range config.SinkTypes() {
		if !tested[typ] {
			t.Errorf("no sink of type %s was made", typ)
		}
	}
}

// noReloads is of an agent without a configuration file.
func noReloads() *reload.Reloads { return reload.New(reload.Options{Logger: quiet()}) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// What the agent shows is well-formed, and is what docs/metrics.md says.
func TestMetrics(t *testing.T) {
	a := newApp(configured(t), noReloads(), io.Discard, quiet())
	defer a.close()
	if err := a.make(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.server.Close(); err != nil {
			t.Error(err)
		}
	}()
	problems, err := testutil.GatherAndLint(a.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	// These appear with the first attempt, the first refusal, the first record
	// that a pipeline drops or fails on, and after the warm-up.
	err = archtest.CheckMetricsDoc(string(doc), a.registry, "log_capturer_delivery_attempts_total", "log_capturer_records_refused_total",
		"log_capturer_records_dropped_total", "log_capturer_pipeline_failures_total",
		"log_capturer_goroutine_growth", "log_capturer_open_fd_growth", "log_capturer_memory_growth_bytes",
		"log_capturer_dead_letters", "log_capturer_dead_letters_given_up_total")
	if err != nil {
		t.Error(err)
	}
}

// The agent starts without an engine, says what it does and where to look, and
// stops when it is told to.
func TestRun(t *testing.T) {
	cfg := configured(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	if err := Run(ctx, cfg, noReloads(), &out, quiet()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{cfg.DataDir + "/logs/", "no.sock", "/*.log", "http://127.0.0.1:", "/metrics", "loki at http://127.0.0.1:1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("greeting has no %q:\n%s", want, out.String())
		}
	}
}

// A start that fails says why and leaves nothing behind.
func TestRunFails(t *testing.T) {
	f := func(name, want string, spoil func(*testing.T, *config.Config)) {
		t.Run(name, func(t *testing.T) {
			cfg := configured(t)
			spoil(t, cfg)
			err := Run(t.Context(), cfg, noReloads(), &bytes.Buffer{}, quiet())
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("error %v, want one with %q", err, want)
			}
		})
	}
	f("port taken", "set metrics.listen", func(t *testing.T, cfg *config.Config) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		cfg.Metrics.Listen = l.Addr().String()
	})
	f("data_dir is a file", "data_dir", func(t *testing.T, cfg *config.Config) {
		cfg.DataDir = filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(cfg.DataDir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	f("another agent has the data", "in use", func(t *testing.T, cfg *config.Config) {
		other := newApp(cfg, noReloads(), io.Discard, quiet())
		if err := other.make(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			other.close()
			_ = other.server.Close()
		})
	})
	f("no such certificate", "ca.pem", func(_ *testing.T, cfg *config.Config) {
		cfg.Sinks[2].Loki.Connection.TLS.CAFile = "ca.pem"
	})
}
