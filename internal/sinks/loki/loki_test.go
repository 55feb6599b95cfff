package loki

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var web = &record.Source{
	Key:            "container/aaaa",
	Host:           "host1",
	ContainerID:    "aaaabbbbccccddddeeeeffff",
	ContainerName:  "web",
	Image:          "example/web:1",
	ComposeProject: "shop",
	ComposeService: "front",
}

// newSink returns a sink that is closed at the end of the test.
func newSink(t testing.TB, o Options) *Sink {
	t.Helper()
	if o.URL == "" {
		o.URL = "http://127.0.0.1:1"
	}
	if o.Labels == nil {
		o.Labels = map[string]string{"container": "{container_name}", "stream": "{stream}"}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func startLoki(t testing.TB, o lokitest.Options) *lokitest.Server {
	t.Helper()
	s, err := lokitest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Errorf("protocol violation: %s", v)
		}
	})
	return s
}

// rec is a record for batchOf.
type rec struct {
	record.Record
	line string
}

// at returns a record of stdout.
func at(ns int64, line string) rec {
	return rec{record.Record{Time: ns, Ordinal: 1}, line}
}

func batchOf(src *record.Source, recs ...rec) *record.Batch {
	b := record.NewBatch(src, 0)
	for _, r := range recs {
		b.Append(r.Record, []byte(r.line))
	}
	return b
}

// requestOf returns a request for all records of the batches.
func requestOf(batches ...*record.Batch) *delivery.Request {
	req := &delivery.Request{}
	for _, b := range batches {
		req.Parts = append(req.Parts, delivery.Part{Batch: b, To: len(b.Records), Streams: record.AllStreams})
	}
	return req
}

// linesOf returns the lines of entries.
func linesOf(entries []lokitest.Entry) []string {
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.Line)
	}
	return lines
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{URL: "http://loki:3100", Labels: map[string]string{"a": "b"}}
		change(&o)
		_, err := New(o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q in it", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New: %v shows a password", err)
		}
	}
	f(func(o *Options) { o.URL = "" }, "no absolute http or https URL")
	f(func(o *Options) { o.URL = "loki:3100" }, "no absolute http or https URL")
	f(func(o *Options) { o.URL = "ftp://u:hunter2@loki" }, "no absolute http or https URL")
	f(func(o *Options) { o.URL = "http://u:hunter2@lo ki" }, "url is not valid")
	f(func(o *Options) { o.URL = "http://u:hunter2@loki" }, "move them to basic_auth")
	f(func(o *Options) { o.URL = "http://loki#x" }, "fragment")
	f(func(o *Options) { o.Encoding = "xml" }, `encoding "xml" is unknown`)
	f(func(o *Options) { o.StreamsPerPush = 2 }, "streams_per_push is 2")
	f(func(o *Options) { o.StreamsPerPush = -1 }, "streams_per_push is -1")
	f(func(o *Options) { o.Labels = nil }, "labels is empty")
	f(func(o *Options) { o.Labels = map[string]string{"a-b": "c"} }, `labels: "a-b" is no valid name`)
	f(func(o *Options) { o.Labels = map[string]string{"__a": "c"} }, `labels: "__a" is no valid name`)
	f(func(o *Options) { o.Labels = map[string]string{"a": "{nmae}"} }, "unknown placeholder {nmae}")
	f(func(o *Options) { o.Labels = map[string]string{"a": "{date}"} }, "depends on the time")
	f(func(o *Options) { o.StructuredMetadata = map[string]string{"1a": "c"} }, `"1a" is no valid name`)
	f(func(o *Options) { o.StructuredMetadata = map[string]string{"a": "c"} }, "has the name of a label")
	f(func(o *Options) { o.StructuredMetadata = map[string]string{"ordinal": "c"} }, "set by the sink itself")
	f(func(o *Options) { o.StructuredMetadata, o.OmitMetadata = map[string]string{"x": "c"}, true }, "keep one")
	f(func(o *Options) { o.Tenant = "{x}" }, "tenant: ")
	f(func(o *Options) { o.Tenant = "{hour}" }, "depends on the time")
	f(func(o *Options) { o.Client.TLS.CAFile = "/nonexistent" }, "no such file")
}

func TestNewWarnsOfUnboundedLabels(t *testing.T) {
	var log bytes.Buffer
	newSink(t, Options{
		Labels: map[string]string{"id": "{container_short_id}", "name": "{container_name}"},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if got := log.String(); !strings.Contains(got, "label=id") || strings.Contains(got, "label=name") {
		t.Errorf("logged %q, want a warning of the label id alone", got)
	}
}

func TestURL(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		u, err := parseURL(text)
		if err != nil || u.String() != want {
			t.Errorf("parseURL(%q) = %v, %v, want %s", text, u, err, want)
		}
	}
	f("http://loki:3100", "http://loki:3100/loki/api/v1/push")
	f("http://loki:3100/", "http://loki:3100/loki/api/v1/push")
	f("https://gw/tenant-a/", "https://gw/tenant-a/loki/api/v1/push")
	f("http://loki:3100/loki/api/v1/push", "http://loki:3100/loki/api/v1/push")
	f("http://loki:3100/loki/api/v1/push/", "http://loki:3100/loki/api/v1/push")
	f("https://gw/x/loki/api/v1/push?key=1", "https://gw/x/loki/api/v1/push?key=1")
}

func TestGroup(t *testing.T) {
	other := &record.Source{Key: "container/bbbb", ContainerName: "db", ComposeProject: "shop"}
	same := *web
	same.ContainerID = "renewed"
	type streams struct{ a, b *record.Source }
	f := func(o Options, sources streams, s1, s2 record.Stream, want bool) {
		t.Helper()
		s := newSink(t, o)
		if got := s.Group(sources.a, s1) == s.Group(sources.b, s2); got != want {
			t.Errorf("labels %v, tenant %q, %d streams a push: %q and %q share a request: %t, want %t",
				o.Labels, o.Tenant, o.StreamsPerPush, s.Group(sources.a, s1), s.Group(sources.b, s2), got, want)
		}
	}
	one := Options{StreamsPerPush: 1}
	f(one, streams{web, web}, record.Stdout, record.Stdout, true)
	f(one, streams{web, &same}, record.Stdout, record.Stdout, true)
	f(one, streams{web, web}, record.Stdout, record.Stderr, false)
	f(one, streams{web, other}, record.Stdout, record.Stdout, false)

	noStream := Options{StreamsPerPush: 1, Labels: map[string]string{"container": "{container_name}"}}
	f(noStream, streams{web, web}, record.Stdout, record.Stderr, true)
	f(noStream, streams{web, other}, record.Stdout, record.Stdout, false)

	tenants := Options{StreamsPerPush: 1, Labels: map[string]string{"job": "x"}, Tenant: "{container_name}"}
	f(tenants, streams{web, other}, record.Stdout, record.Stdout, false)
	f(tenants, streams{web, &same}, record.Stdout, record.Stdout, true)

	unlimited := Options{StreamsPerPush: 0}
	f(unlimited, streams{web, other}, record.Stdout, record.Stderr, true)
	unlimited.Tenant = "{container_name}"
	f(unlimited, streams{web, other}, record.Stdout, record.Stdout, false)
	f(unlimited, streams{web, web}, record.Stdout, record.Stderr, true)
}

func TestTenants(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := cleanTenant([]byte(in)); got != want {
			t.Errorf("cleanTenant(%q) = %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("team-a_1.(x)!*'", "team-a_1.(x)!*'")
	f("a|b/c d\r\n", "a_b_c_d__")
	f("é", "__")
	f(".", "_")
	f("..", "__")
	f(strings.Repeat("a", 200), strings.Repeat("a", 150))
}

func TestSendsEndWithTheirContext(t *testing.T) {
	loki := startLoki(t, lokitest.Options{Fault: always(lokitest.Fault{Hang: true})})
	s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Send(ctx, requestOf(batchOf(web, at(1, "x")))) }()
	eventually(t, "the push has arrived", func() bool { return loki.Stats().Requests == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Send: %v", err)
	}
	eventually(t, "its connection is closed", func() bool { return loki.Connections() == 0 })

	s = newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1, Client: httpclient.Options{Timeout: 20 * time.Millisecond}})
	if err := s.Send(t.Context(), requestOf(batchOf(web, at(1, "x")))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send: %v", err)
	}
}

// always returns a Fault hook for all pushes.
func always(f lokitest.Fault) faultHook { return only(f, -1) }
