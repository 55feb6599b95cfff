// Package loki runs the agent's Loki sink against a real Loki, a single binary
// that keeps its data in files, and queries back every line.
//
// Loki is built from its module, which the folder server pins; that takes minutes.
// `make test-loki` runs this when the sink or the delivery are not those that the
// file tested was written for.
package loki

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/sinks/loki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = 3 * time.Minute

// configuration is that of a single binary that keeps everything in a folder.
const configuration = `
auth_enabled: false
server: {http_listen_address: 127.0.0.1, http_listen_port: %[1]d, grpc_listen_address: 127.0.0.1, grpc_listen_port: %[2]d, log_level: warn}
common:
  path_prefix: %[3]s
  replication_factor: 1
  instance_addr: 127.0.0.1
  ring: {instance_addr: 127.0.0.1, kvstore: {store: inmemory}}
  storage: {filesystem: {chunks_directory: %[3]s/chunks, rules_directory: %[3]s/rules}}
schema_config:
  configs: [{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
limits_config:
  allow_structured_metadata: true
  ingestion_rate_mb: 100
  ingestion_burst_size_mb: 100
  per_stream_rate_limit: 100MB
  per_stream_rate_limit_burst: 100MB
  max_entries_limit_per_query: 100000
  max_line_size: %[4]d
analytics: {reporting_enabled: false}
`

// maxLineBytes is the longest line that this Loki takes.
const maxLineBytes = 64 << 10

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// start builds and starts Loki, and returns its URL.
func start(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "loki")
	build := exec.Command("go", "build", "-o", binary, "github.com/grafana/loki/v3/cmd/loki")
	build.Dir, build.Env = "server", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build Loki: %v\n%s", err, out)
	}
	// The ports are free now, and may be taken by another in a moment.
	for range 5 {
		if address := startAt(t, binary, t.TempDir()); address != "" {
			return address
		}
	}
	t.Fatal("Loki does not start")
	return ""
}

// startAt starts the binary. It returns nothing when it ends at once.
func startAt(t *testing.T, binary, dir string) string {
	t.Helper()
	port := freePort(t)
	file := filepath.Join(dir, "loki.yaml")
	text := fmt.Sprintf(configuration, port, freePort(t), dir, maxLineBytes)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(binary, "-config.file", file)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	address := fmt.Sprintf("http://127.0.0.1:%d", port)
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if res, err := client.Get(address + "/ready"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-ended:
			t.Logf("Loki ended: %v\n%s", err, output.String())
			return ""
		default:
		}
		if time.Now().After(deadline) {
			t.Error("Loki does not become ready")
			break
		}
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("Loki said\n%s", output.String())
		}
	})
	return address
}

// entry is one entry as Loki gives it back.
type entry struct {
	time int64
	line string
}

// query returns the entries of a container by stream, by time.
func query(t *testing.T, base, container string, from, to time.Time) map[string][]entry {
	t.Helper()
	res, err := client.Get(base + "/loki/api/v1/query_range?" + url.Values{
		"query": {fmt.Sprintf("{container=%q}", container)}, "limit": {"100000"}, "direction": {"forward"},
		"start": {strconv.FormatInt(from.UnixNano(), 10)}, "end": {strconv.FormatInt(to.UnixNano(), 10)},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("query: %s, %v: %s", res.Status, err, body)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Stream map[string]string
				Values [][2]string
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	entries := map[string][]entry{}
	for _, r := range answer.Data.Result {
		for _, v := range r.Values {
			at, err := strconv.ParseInt(v[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			entries[r.Stream["stream"]] = append(entries[r.Stream["stream"]], entry{at, v[1]})
		}
	}
	for _, list := range entries {
		slices.SortStableFunc(list, func(a, b entry) int { return int(a.time - b.time) })
	}
	return entries
}

// newLog returns a log of a container. Some lines share a nanosecond, and some
// are equal to those before; the last is longer than Loki takes.
func newLog(name string, n int, base time.Time) *recordtest.Log {
	log := recordtest.NewLog("container/" + name)
	log.Source = &record.Source{Key: "container/" + name, Host: "node-1", ContainerID: name, ContainerName: name, Image: "example/app:1"}
	odd := []string{`"quotes" and \backslashes\`, "tab\tand \x01\x1b[31m", "žluťoučký kůň 🐢", `{"level":"info"}`, strings.Repeat("long ", 4000)}
	for i := range n {
		text := fmt.Sprintf("line %d", i)
		switch i % 20 {
		case 7:
			text += " " + odd[i/20%len(odd)]
		case 8, 9, 10, 11:
			text = "the same"
		}
		// Four of each stream share a nanosecond, and ten more are free behind it
		// for those that the sink moves on.
		log.Write(record.Stream(i%record.NumStreams), base.Add(time.Duration(i/8*20)).UnixNano(), text)
	}
	log.Write(record.Stdout, base.Add(time.Second).UnixNano(), strings.Repeat("x", maxLineBytes+1))
	return log
}

// Every line that was given to the sink can be queried back, once, in order; the
// one that Loki refuses is a dead letter.
func TestEveryLine(t *testing.T) {
	address := start(t)
	for _, encoding := range []loki.Encoding{loki.Protobuf, loki.JSON} {
		t.Run(string(encoding), func(t *testing.T) {
			to, err := loki.New(loki.Options{
				URL: address, Encoding: encoding, StreamsPerPush: 1,
				Labels:             map[string]string{"container": "{container_name}", "stream": "{stream}"},
				StructuredMetadata: map[string]string{"image": "{image}"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer to.Close()
			base := time.Now().Add(-time.Minute).Truncate(time.Second)
			logs := []*recordtest.Log{newLog(string(encoding)+"-web", 3000, base), newLog(string(encoding)+"-db", 500, base)}
			deliver(t, to, logs)
			for _, log := range logs {
				got := query(t, address, log.Source.ContainerName, base.Add(-time.Second), base.Add(10*time.Second))
				for stream := range record.Stream(record.NumStreams) {
					want := log.Lines(stream)
					if stream == record.Stdout {
						want = want[:len(want)-1] // too long
					}
					var lines []string
					for _, e := range got[stream.String()] {
						lines = append(lines, e.line)
					}
					if !slices.Equal(lines, want) {
						t.Errorf("%s %v: %d lines, want %d", log.Source.ContainerName, stream, len(lines), len(want))
					}
				}
			}
		})
	}
}

// deliver runs the delivery of the logs to its end. One line of each is refused.
func deliver(t *testing.T, to delivery.Sink, logs []*recordtest.Log) {
	t.Helper()
	dead, err := deadletter.Open(filepath.Join(t.TempDir(), "dead-letters.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	d := delivery.New(delivery.Options{
		Name: "tested", Sink: to, Journal: deliverytest.NewJournal(), DeadLetters: dead,
		WindowBytes: 64 << 20, Concurrency: 2, BatchBytes: 256 << 10, BatchRecords: 200,
		Timeout: patience, MinBackoff: time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	var written uint64
	for _, log := range logs {
		reader := log.Read()
		for b := reader.Next(90); b != nil; b = reader.Next(90) {
			written += uint64(len(b.Records))
			if err := d.Enqueue(ctx, b); err != nil {
				t.Error(err)
			}
			b.Release()
		}
	}
	d.CloseInput()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if a := d.Accounts(); a.Accepted != written || a.DeadLettered != uint64(len(logs)) || a.Acknowledged != written-uint64(len(logs)) {
		t.Errorf("accounts %+v of %d lines; %v", a, written, d.Health())
	}
}
