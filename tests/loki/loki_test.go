// Package loki runs the agent's Loki sink against a real Loki, a single binary
// that keeps its data in files, and queries back every line.
//
// Loki is built from its module, which the folder server pins; that takes minutes.
// `make test-loki` runs this when the sink or the delivery are not those that the
// file tested was written for.
package loki

import (
	"encoding/json"
	"fmt"
	"io"
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

	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/sinks/loki"
	"log_capturer/internal/testkit/destination"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// configuration is that of a single binary that keeps everything in a folder.
const configuration = `
auth_enabled: false
server: {http_listen_address: 127.0.0.1, http_listen_port: %[1]s, grpc_listen_address: 127.0.0.1, grpc_listen_port: %[2]s, log_level: warn}
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

// start builds and starts Loki, and returns its URL.
func start(t *testing.T) string {
	t.Helper()
	binary := destination.Build(t, "server", "github.com/grafana/loki/v3/cmd/loki")
	var address string
	destination.Start(t, func() (*exec.Cmd, string) {
		dir, port := t.TempDir(), freePort(t)
		address = "http://127.0.0.1:" + port
		file := filepath.Join(dir, "loki.yaml")
		text := fmt.Sprintf(configuration, port, freePort(t), dir, maxLineBytes)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(binary, "-config.file", file), address + "/ready"
	})
	return address
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(destination.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// entry is one entry as Loki gives it back.
type entry struct {
	time int64
	line string
}

// query returns the entries of a container by stream, by time.
func query(t *testing.T, base, container string, from, to time.Time) map[string][]entry {
	t.Helper()
	res, err := destination.Client.Get(base + "/loki/api/v1/query_range?" + url.Values{
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
			destination.Deliver(t, to, logs, uint64(len(logs))) // the long line of each
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

// Why the sink puts one Loki stream into a push: of several, Loki says how it went
// with the last. It keeps nothing of the first of these two, and answers that all
// is well.
func TestPushOfSeveralStreams(t *testing.T) {
	address := start(t)
	now := time.Now()
	old := now.Add(-3 * time.Hour) // further behind its stream's newest than Loki takes
	push(t, address, http.StatusNoContent, stream{"a", now, "a new"}, stream{"b", now, "b new"})
	push(t, address, http.StatusBadRequest, stream{"a", old, "alone"})
	push(t, address, http.StatusBadRequest, stream{"b", now.Add(1), "before it"}, stream{"a", old, "last"})
	push(t, address, http.StatusNoContent, stream{"a", old, "first"}, stream{"b", now.Add(2), "behind it"})
	for container, want := range map[string][]string{"a": {"a new"}, "b": {"b new", "before it", "behind it"}} {
		var got []string
		for _, e := range query(t, address, container, old.Add(-time.Hour), now.Add(time.Hour))["stdout"] {
			got = append(got, e.line)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", container, got, want)
		}
	}
}

// stream is a Loki stream of one entry.
type stream struct {
	container string
	at        time.Time
	line      string
}

// push sends the streams in one request, by hand, and wants the status.
func push(t *testing.T, address string, want int, streams ...stream) {
	t.Helper()
	var body struct {
		Streams []map[string]any `json:"streams"`
	}
	for _, s := range streams {
		body.Streams = append(body.Streams, map[string]any{
			"stream": map[string]string{"container": s.container, "stream": "stdout"},
			"values": [][2]string{{strconv.FormatInt(s.at.UnixNano(), 10), s.line}},
		})
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := destination.Client.Post(address+"/loki/api/v1/push", "application/json", strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if answer, _ := io.ReadAll(res.Body); res.StatusCode != want {
		t.Errorf("push %v: %s, want %d: %s", streams, res.Status, want, answer)
	}
}
