package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files and the tables of docs/config.md anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// environment is a lookup of variables that knows these alone.
func environment(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}

// parsed returns the configuration of a text that has to be valid.
func parsed(t *testing.T, text string, env ...string) *Config {
	t.Helper()
	cfg, err := Parse("test.yaml", []byte(text), environment(env...))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	text, err := yaml.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "defaults.golden.yaml", text)

	cfg := parsed(t, "sinks: [{type: loki, url: http://loki:3100}]")
	text, err = yaml.Marshal(cfg.Sinks)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "loki.golden.yaml", text)
}

func TestAnEmptyFileIsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "---\n...\n", "~", "log:\nsinks:\nserver:\n", "log: {}"} {
		if got := parsed(t, text); !reflect.DeepEqual(got, Default()) {
			t.Errorf("%q gives %+v", text, got)
		}
	}
}

// A configuration that was printed is the same configuration again.
func TestMarshalParsesBack(t *testing.T) {
	text, err := yaml.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	got := parsed(t, string(text))
	want := Default()
	// An empty list that a file gives is not nil.
	for _, f := range []*Filter{&want.ContainerMonitor.Include, &want.ContainerMonitor.Exclude} {
		f.Names, f.Images, f.Labels = []string{}, []string{}, []string{}
	}
	want.FileMonitor.Files = []FileSet{}
	want.KafkaSource.Brokers, want.KafkaSource.Topics = []string{}, []string{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParse(t *testing.T) {
	cfg := parsed(t, `
data_dir: /var/lib/log_capturer
host: node-1
log: {level: debug, format: json}
container_monitor:
  start_at: end
  include: {names: [web-*, db], labels: [tier=front]}
  max_streams: 10
  position_retention: 7d
dispatcher: {window_bytes: 32MiB}
file_monitor:
  rotate_wait: 5s
  files:
    - include: ["/srv/{app}/*.log", "/var/log/**/*.log"]
      exclude: ["*.debug.log"]
      labels: {team: red}
      start_at: 1d
    - {include: ["/var/log/pods/*/*/*.log"], format: cri}
sinks:
  - type: local_file
    format: text
    rotate: {max_bytes: 0, max_age: 1d12h}
  - type: loki
    name: central
    url: https://logs.example.com
    batch_bytes: 4MB
    labels: {job: test, level: 5}
    headers: {X-Key: abc}
server: {enabled: false}
`)
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, want %v", what, got, want)
		}
	}
	check("data_dir", cfg.DataDir, "/var/lib/log_capturer")
	check("host", cfg.Host, "node-1")
	check("log", cfg.Log, Log{Level: "debug", Format: "json"})
	check("start_at", cfg.ContainerMonitor.StartAt, "end")
	check("include", cfg.ContainerMonitor.Include, Filter{Names: []string{"web-*", "db"}, Labels: []string{"tier=front"}})
	check("max_streams", cfg.ContainerMonitor.MaxStreams, 10)
	check("position_retention", cfg.ContainerMonitor.PositionRetention.String(), "168h")
	check("heartbeat_interval", cfg.ContainerMonitor.HeartbeatInterval, Default().ContainerMonitor.HeartbeatInterval)
	check("files", cfg.FileMonitor.Files, []FileSet{
		{
			Include: []string{"/srv/{app}/*.log", "/var/log/**/*.log"}, Exclude: []string{"*.debug.log"},
			Labels: map[string]string{"team": "red"}, StartAt: "1d", Format: "auto",
		},
		{Include: []string{"/var/log/pods/*/*/*.log"}, StartAt: "beginning", Format: "cri"},
	})
	if age, ok := cfg.FileMonitor.Files[0].StartAge(); !ok || age != 24*time.Hour {
		t.Errorf("start_at 1d is %v, %v", age, ok)
	}
	check("window_bytes", cfg.Dispatcher.WindowBytes, ByteSize(32<<20))
	check("server", cfg.Server, Listener{Enabled: false, Listen: "127.0.0.1:8401"})
	check("metrics", cfg.Metrics, Default().Metrics)

	check("number of sinks", len(cfg.Sinks), 2)
	file, loki := cfg.Sinks[0], cfg.Sinks[1]
	check("file name", file.Name, "local_file")
	check("file loki", file.Loki, (*Loki)(nil))
	check("file format", file.LocalFile.Format, "text")
	check("file max_age", file.LocalFile.Rotate.MaxAge.String(), "36h")
	check("file max_bytes", file.LocalFile.Rotate.MaxBytes, ByteSize(0))
	check("file compress", file.LocalFile.Compress, "zstd")
	check("loki name", loki.Name, "central")
	check("loki file", loki.LocalFile, (*LocalFile)(nil))
	check("loki batch_bytes", loki.Delivery.BatchBytes, ByteSize(4_000_000))
	check("loki concurrency", loki.Delivery.Concurrency, 4)
	check("loki labels", loki.Loki.Labels, map[string]string{"job": "test", "level": "5"})
	check("loki header", loki.Loki.Connection.Headers["X-Key"].Reveal(), "abc")
}

// An entry of the default metadata that the user made a label is not an error
// of the user's.
func TestDefaultMetadataYieldsToLabels(t *testing.T) {
	cfg := parsed(t, `sinks: [{type: loki, url: http://loki, labels: {stream: "{stream}"}}]`)
	want := map[string]string{"container_id": "{container_id}", "image": "{image}"}
	if got := cfg.Sinks[0].Loki.StructuredMetadata; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHighCardinalityCanBeAllowed(t *testing.T) {
	parsed(t, `sinks: [{type: loki, url: http://loki, labels: {id: "{container_id}"}, allow_high_cardinality: true, structured_metadata: {}}]`)
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples are missing: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Files of the machine that an example is for do not exist here.
		read := func(string) ([]byte, error) { return []byte("secret"), nil }
		if strings.Contains(string(text), "tls:") {
			read = readTestPEM(t)
		}
		if _, err := parse(file, text, environment("LOKI_PASSWORD", "secret"), read); err != nil {
			t.Error(err)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("host: ${NODE}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path, environment("NODE", "n1"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "n1" {
		t.Errorf("host = %q", cfg.Host)
	}
	_, err = Load(path, environment())
	if list, ok := errors.AsType[Errors](err); !ok || len(list) != 1 || list[0].File != path || list[0].Line != 1 {
		t.Errorf("got %v, want one error of %s", err, path)
	}
	if _, err = Load(path+".none", environment()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file does not exist", err)
	}
	if err := os.WriteFile(path, make([]byte, maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(path, environment()); err == nil || !strings.Contains(err.Error(), "is longer than 1MiB") {
		t.Errorf("got %v, want that the file is too long", err)
	}
}

// The windows shrink with memory_limit, and not below it.
func TestWindowBytes(t *testing.T) {
	f := func(limit, want ByteSize, sinks int) {
		t.Helper()
		c := Default()
		c.MemoryLimit, c.Sinks = limit, nil
		for range sinks {
			c.Sinks = append(c.Sinks, defaultSink(TypeLoki))
		}
		if got := c.WindowBytes(); got != want {
			t.Errorf("%s for %d sinks: windows of %s, want %s", limit, sinks, got, want)
		}
	}
	f(0, 16*mib, 1)
	f(1024*mib, 16*mib, 4)
	f(128*mib, 16*mib, 2) // (64 - 16 - 2*8) / 2
	f(96*mib, 8*mib, 2)   // (48 - 16 - 2*8) / 2
	f(64*mib, 8*mib, 1)   // 32 - 16 - 8
	f(64*mib, 0, 2)       // nothing is left
	f(16*mib, 0, 1)       // less than the base
}
