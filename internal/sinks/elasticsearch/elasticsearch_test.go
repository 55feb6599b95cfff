package elasticsearch

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/elasticsearch/elasticsearchtest"
	"log_capturer/internal/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var names = sinktest.Names{Time: "@timestamp", Line: "message", Source: "container.name", Stream: "stream"}

func documents() jsondoc.Options {
	return jsondoc.Options{Time: "@timestamp", Line: "message", Fields: map[string]string{
		"container.name": "{container_name}", "stream": "{stream}", "host.name": "{host}",
	}}
}

func newSink(t testing.TB, o Options) *Sink {
	t.Helper()
	if o.Documents.Line == "" {
		o.Documents = documents()
	}
	if o.Index == "" {
		o.Index = "logs-{compose_project}-default"
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSuite(t *testing.T) {
	for _, gzip := range []bool{true, false} {
		t.Run(fmt.Sprintf("gzip %t", gzip), func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Start: func(t *testing.T, config *tls.Config) sinktest.Target {
					return (&elasticsearchtest.Cluster{Index: "logs-shop-default", Names: names}).Start(t, config)
				},
				New: func(t *testing.T, to sinktest.Target, c sinktest.Connect) delivery.Sink {
					return newSink(t, Options{
						URLs: []string{to.(*sinktest.Server).URL() + "/base/"}, Gzip: gzip,
						Client: httpclient.Options{TLS: c.TLS, BearerTokenFile: c.TokenFile, TokenScheme: "ApiKey"},
					})
				},
				Once: true,
			})
		})
	}
}

// Of an answer in which some documents wait, some are refused and some taken,
// every document ends where it should, once.
func TestMixedItems(t *testing.T) {
	c := &elasticsearchtest.Cluster{Names: names}
	requests := 0
	server := sinktest.StartServer(t, sinktest.Protocol{Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
		requests++
		return c.Serve(r, requests <= 2)
	}}, nil)
	defer server.Close()
	server.SetRefuse(func(text string) bool { return strings.HasSuffix(text, "line 3") || strings.HasSuffix(text, "line 4") })
	s := newSink(t, Options{URLs: []string{server.URL() + "/base"}})
	req := sinktest.Request(10)
	for range 2 {
		err := s.Send(t.Context(), req)
		if err == nil || !strings.Contains(err.Error(), "5 of 10 documents were not taken, the first with 429 es_rejected") {
			t.Errorf("while some wait: %v", err)
		}
	}
	err := s.Send(t.Context(), req)
	partial, ok := errors.AsType[*delivery.PartialError](err)
	if !ok || len(partial.Refused) != 2 || partial.Refused[0] != (delivery.Refusal{Index: 3, Reason: "document_parsing_exception", Detail: "failed to parse"}) ||
		partial.Refused[1].Index != 4 {
		t.Errorf("at last: %v, %+v", err, partial)
	}
	if n := len(server.Lines()); n != 8 {
		t.Errorf("%d documents are stored, want 8", n)
	}
}

func TestEveryAnswer(t *testing.T) {
	f := func(status int, body, want string) {
		t.Helper()
		server := sinktest.StartServer(t, sinktest.Protocol{Serve: func(*sinktest.HTTPRequest) sinktest.Answer {
			return sinktest.Answer{Status: status, Body: body}
		}}, nil)
		defer server.Close()
		err := newSink(t, Options{URLs: []string{server.URL()}}).Send(t.Context(), sinktest.Request(2))
		var got string
		if err == nil {
			got = "taken"
		} else if p, ok := errors.AsType[*delivery.PartialError](err); ok {
			got = fmt.Sprintf("refused %v", p.Refused)
		} else if p, ok := errors.AsType[*delivery.PermanentError](err); ok {
			got = "permanent " + p.Reason
		} else if _, ok := errors.AsType[*delivery.TooLargeError](err); ok {
			got = "too large"
		} else {
			got = "transient: " + err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%d %s:\ngot  %s\nwant %s", status, body, got, want)
		}
	}
	items := func(second string) string {
		return `{"took":3,"errors":true,"items":[{"create":{"status":201}},{"create":` + second + `}]}`
	}
	f(200, `{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}`, "taken")
	f(200, `{"took":1,"errors":false,"items":[]}`, "taken")
	f(200, items(`{"status":409,"error":{"type":"version_conflict_engine_exception"}}`), "taken")
	f(200, items(`{"status":400,"error":{"type":"mapper_parsing_exception","reason":"no"}}`), "refused [{1 mapper_parsing_exception no}]")
	f(200, items(`{"status":400,"error":{"type":"A Type, with Variables 17"}}`), "refused [{1 refused }]")
	f(200, items(`{"status":413}`), "refused [{1 refused }]")
	f(200, items(`{"status":400,"error":{"type":"index_closed_exception"}}`), "transient")
	f(200, items(`{"status":429,"error":{"type":"es_rejected_execution_exception"}}`), "transient")
	f(200, items(`{"status":503,"error":{"type":"unavailable_shards_exception"}}`), "transient")
	f(200, items(`{"status":403,"error":{"type":"cluster_block_exception","reason":"index blocked"}}`), "disk watermarks")
	f(200, items(`{"status":403,"error":{"type":"security_exception"}}`), "check the rights")
	f(200, items(`{"status":404,"error":{"type":"index_not_found_exception"}}`), "does not exist")
	f(200, items(`{}`), "item 1 has no status")
	f(200, `{"errors":true,"items":[]}`, "0 items for 2 records")
	f(200, `{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":201}}]}`, "item 0 has no status")
	f(200, `{}`, "has no member errors")
	f(200, `<html>`, "no JSON")
	f(200, `{"errors":true,"items":[`+strings.Repeat(" ", maxAnswerBytes), "too large")
	f(204, ``, "transient: destination answered 204")
	f(400, `{"error":"illegal_argument_exception"}`, "permanent bad_request")
	f(401, ``, "check the sink's credentials")
	f(404, ``, "check the path")
	f(413, ``, "too large")
	f(429, ``, "transient")
	f(503, ``, "transient")
}

// When a host goes away, the next attempt goes to another.
func TestFailover(t *testing.T) {
	c := &elasticsearchtest.Cluster{Names: names}
	first, second := c.Start(t, nil), c.Start(t, nil)
	defer second.Close()
	s := newSink(t, Options{URLs: []string{first.URL() + "/base", second.URL() + "/base"}})
	send := func() error { return s.Send(t.Context(), sinktest.Request(5)) }
	if err := send(); err != nil || len(first.Lines()) != 5 {
		t.Fatalf("first host: %v, %d lines", err, len(first.Lines()))
	}
	first.Close()
	if err := send(); err == nil {
		t.Fatal("a host that is gone took documents")
	}
	for range 2 {
		if err := send(); err != nil {
			t.Fatalf("second host: %v", err)
		}
	}
	if n := second.Requests(); n != 2 {
		t.Errorf("%d requests at the second host, want 2", n)
	}
}

func TestIndexNames(t *testing.T) {
	src := &record.Source{ContainerName: `My "App"/é:1`, ComposeProject: "", Host: strings.Repeat("h", 300)}
	f := func(index, want string) {
		t.Helper()
		x, err := newIndex(index)
		if err != nil {
			t.Fatal(err)
		}
		got := string(x.append(nil, src, &record.Record{Time: time.Date(2026, 3, 4, 23, 0, 0, 0, time.UTC).UnixNano(), Stream: record.Stderr}))
		if got != actionStart+want+actionMiddle {
			t.Errorf("index %s: %s, want %s", index, got, want)
		}
	}
	f("logs-docker-default", "logs-docker-default")
	f("logs-{date}", "logs-2026-03-04")
	f("{container_name}-{stream}.{hour}", "my__app_____1-stderr.23")
	f("l-{compose_project}-{date}", "l-none-2026-03-04")
	f("{host}", strings.Repeat("h", maxValueBytes))
}

func TestCloudID(t *testing.T) {
	encode := func(text string) string { return "name:" + base64.StdEncoding.EncodeToString([]byte(text)) }
	f := func(id, want string) {
		t.Helper()
		got, err := ParseCloudID(id)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", id, got, err, want)
		}
	}
	f(encode("us-east-1.aws.found.io$abc$def"), "https://abc.us-east-1.aws.found.io:443")
	f(encode("found.io:9243$abc$"), "https://abc.found.io:9243")
	f(encode("found.io$abc:9244$x:1"), "https://abc.found.io:9244")
	f(encode("found.io"), "")
	f(encode("$abc"), "")
	f("name", "")
	f("name:%%%", "")
}

func TestNewRefuses(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{URLs: []string{"http://es:9200"}, Index: "logs", Documents: documents()}
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	f(func(o *Options) { o.URLs = nil }, "urls is empty")
	f(func(o *Options) { o.URLs = []string{"es:9200"} }, "no absolute")
	f(func(o *Options) { o.CloudID = "a:b" }, "keep one")
	f(func(o *Options) { o.URLs, o.CloudID = nil, "a" }, "cloud_id")
	f(func(o *Options) { o.Index = "" }, "index is empty")
	f(func(o *Options) { o.Index = "Logs" }, "capital letters")
	f(func(o *Options) { o.Index = "a/b" }, "which no index may have")
	f(func(o *Options) { o.Index = "_a" }, "begins with")
	f(func(o *Options) { o.Index = "{nmae}" }, "unknown placeholder")
	f(func(o *Options) { o.Documents.Line = "" }, "no name")
	f(func(o *Options) { o.Client.TLS.CAFile = "/nonexistent" }, "no such file")
}

func TestEncodingAllocatesNothing(t *testing.T) {
	for _, index := range []string{"logs", "logs-{container_name}-{date}"} {
		s := newSink(t, Options{URLs: []string{"http://es:9200"}, Index: index, Gzip: true})
		req := sinktest.Request(1000)
		sc := s.scratch.Get()
		s.scratch.New = func() any { return sc } // the race detector empties pools at random
		if n := testing.AllocsPerRun(50, func() {
			if err := s.encode(req); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("index %s: %v allocations for 1000 records", index, n)
		}
	}
}
