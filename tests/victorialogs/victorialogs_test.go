// Package victorialogs runs the agent's sinks against a real VictoriaLogs, which
// speaks the protocols of five of them, and queries back every line.
//
// VictoriaLogs is built from its module, which this folder's go.mod pins, and runs
// on the loopback interface with its data in a folder of the test.
package victorialogs

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/sinks/elasticsearch"
	"log_capturer/internal/sinks/httpjson"
	"log_capturer/internal/sinks/loki"
	"log_capturer/internal/sinks/otlp"
	"log_capturer/internal/sinks/splunk"
	"log_capturer/internal/testkit/destination"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a running VictoriaLogs.
type server struct {
	t   *testing.T
	url string
}

func start(t *testing.T) *server {
	t.Helper()
	binary := destination.Build(t, "", "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs")
	s := &server{t: t}
	destination.Start(t, func() (*exec.Cmd, string) {
		address := destination.FreeAddress(t)
		s.url = "http://" + address
		return exec.Command(binary, "-storageDataPath", t.TempDir(), "-httpListenAddr", address, "-retentionPeriod", "100y"), s.url + "/health"
	})
	return s
}

// query returns the entries that match, by time.
func (s *server) query(query string) []map[string]string {
	s.t.Helper()
	if res, err := destination.Client.Get(s.url + "/internal/force_flush"); err != nil {
		s.t.Fatal(err)
	} else {
		res.Body.Close()
	}
	res, err := destination.Client.PostForm(s.url+"/select/logsql/query", url.Values{"query": {query + " | sort by (_time)"}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		s.t.Fatalf("query %s: %s: %s", query, res.Status, text)
	}
	var entries []map[string]string
	scanner := bufio.NewScanner(res.Body)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var e map[string]string
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			s.t.Fatalf("entry %s: %v", scanner.Bytes(), err)
		}
		entries = append(entries, e)
	}
	if err := scanner.Err(); err != nil {
		s.t.Fatal(err)
	}
	return entries
}

// newLog returns a log of a container of which no two lines have one time.
func newLog(name string, n int) *recordtest.Log {
	log := recordtest.NewLog("container/" + name)
	log.Source = &record.Source{
		Key: "container/" + name, Host: "node-1", ContainerID: name, ContainerName: name, Image: "example/app:1",
		ComposeProject: "shop", ComposeService: "front",
	}
	odd := []string{`"quotes" and \backslashes\`, "tab\tand \x01\x1b[31m", "žluťoučký kůň 🐢", `{"level":"info","n":[1,2]}`, strings.Repeat("long ", 4000)}
	base := time.Now().Add(-time.Hour).UnixNano()
	for i := range n {
		text := fmt.Sprintf("line %d", i)
		switch {
		case i%20 == 7:
			text += " " + odd[i/20%len(odd)]
		case i%200 == 13: // JSON all through
			text = fmt.Sprintf(`{"number":%d,"msg":"x"}`, i)
		}
		log.Write(record.Stream(i%record.NumStreams), base+int64(i)*1_001, text)
	}
	return log
}

// sink is a sink that VictoriaLogs takes logs from, and how it names things.
type sink struct {
	name       string
	make       func(base string) (delivery.Sink, error)
	container  string
	streamName string
}

func fields(container, stream string) map[string]string {
	return map[string]string{container: "{container_name}", stream: "{stream}", "host.name": "{host}"}
}

var sinks = []sink{
	{"loki", func(base string) (delivery.Sink, error) {
		return loki.New(loki.Options{
			URL: base + "/insert", Labels: map[string]string{"container": "{container_name}", "stream": "{stream}"},
			StructuredMetadata: map[string]string{"image": "{image}"},
			// VictoriaLogs would take a line of JSON apart.
			Client: httpclient.Options{Headers: map[string]string{"VL-Loki-Disable-Message-Parsing": "1"}},
		})
	}, "container", "stream"},
	{"elasticsearch", func(base string) (delivery.Sink, error) {
		return elasticsearch.New(elasticsearch.Options{
			URLs:  []string{base + "/insert/elasticsearch?_msg_field=message&_time_field=@timestamp&_stream_fields=container.name,log.iostream"},
			Index: "logs-docker-default", Gzip: true,
			Documents: jsondoc.Options{Time: "@timestamp", Line: "message", Fields: fields("container.name", "log.iostream")},
		})
	}, "container.name", "log.iostream"},
	{"http", func(base string) (delivery.Sink, error) {
		return httpjson.New(httpjson.Options{
			URL:  base + "/insert/jsonline?_msg_field=line&_time_field=time&_stream_fields=container_name,stream",
			Gzip: true, Documents: jsondoc.Options{Time: "time", Line: "line", ID: "record_id", Fields: fields("container_name", "stream")},
		})
	}, "container_name", "stream"},
	{"splunk", func(base string) (delivery.Sink, error) {
		return splunk.New(splunk.Options{
			URL: base + "/insert/splunk", Host: "{host}", Source: "{container_name}", SourceType: "docker", Gzip: true,
			Fields: map[string]string{"stream": "{stream}"},
		})
	}, "source", "fields.stream"},
	{"otlp", func(base string) (delivery.Sink, error) {
		return otlp.New(otlp.Options{
			URL: base + "/insert/opentelemetry", Resource: otlp.DefaultResource(), Severity: true, UID: true, Gzip: true,
		})
	}, "container.name", "log.iostream"},
}

// Every line that was given to a sink can be queried back, once, with its time,
// its stream and its container.
func TestEveryLine(t *testing.T) {
	s := start(t)
	for _, k := range sinks {
		t.Run(k.name, func(t *testing.T) {
			to, err := k.make(s.url)
			if err != nil {
				t.Fatal(err)
			}
			defer to.(interface{ Close() }).Close()
			logs := []*recordtest.Log{newLog(k.name+"-web", 1500), newLog(k.name+"-db", 300)}
			destination.Deliver(t, to, logs, 0)
			for _, log := range logs {
				compare(t, s, k, log)
			}
		})
	}
}

// compare compares what VictoriaLogs has of a container with what it wrote.
func compare(t *testing.T, s *server, k sink, log *recordtest.Log) {
	t.Helper()
	total := len(log.Lines(record.Stdout)) + len(log.Lines(record.Stderr))
	query := fmt.Sprintf("%q:=%q", k.container, log.Source.ContainerName)
	entries := s.query(query)
	for deadline := time.Now().Add(destination.Patience); len(entries) < total && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond) // it is not searchable at once
		entries = s.query(query)
	}
	got := map[string][]string{}
	var last time.Time
	for _, e := range entries {
		at, err := time.Parse(time.RFC3339Nano, e["_time"])
		if err != nil || !at.After(last) {
			t.Fatalf("entry %v: time %v is not after %v: %v", e, at, last, err)
		}
		last = at
		got[e[k.streamName]] = append(got[e[k.streamName]], e["_msg"])
	}
	for stream := range record.Stream(record.NumStreams) {
		lines, want := got[stream.String()], log.Lines(stream)
		if slices.Equal(lines, want) {
			continue
		}
		for i := range max(len(lines), len(want)) {
			if i >= len(lines) || i >= len(want) || lines[i] != want[i] {
				t.Errorf("%s %v: %d lines, want %d; the first difference is line %d: %.200q, want %.200q", log.Source.ContainerName, stream,
					len(lines), len(want), i, append(lines, "nothing")[min(i, len(lines))], append(want, "nothing")[min(i, len(want))])
				break
			}
		}
	}
	if len(entries) != total {
		t.Errorf("%s: %d entries, want %d; the first is %.500v", log.Source.ContainerName, len(entries), total, append(entries, nil)[0])
	}
}
