package splunk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/sinktest"
	"log_capturer/internal/sinks/splunk/splunktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSink(t testing.TB, o Options) *Sink {
	t.Helper()
	o.Host, o.Source, o.SourceType = "{host}", "{container_name}", "docker"
	if o.Endpoint == Raw {
		o.SourceType = "{stream}"
	} else if o.Fields == nil {
		o.Fields = map[string]string{"stream": "{stream}", "image": "{image}"}
	}
	o.PollInterval = 10 * time.Millisecond
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSuite(t *testing.T) {
	f := func(name string, o Options) {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Start: func(t *testing.T, config *tls.Config) sinktest.Target {
					return (&splunktest.Collector{Raw: o.Endpoint == Raw, Acknowledges: o.Acknowledge}).Start(t, config)
				},
				New: func(t *testing.T, to sinktest.Target, c sinktest.Connect) delivery.Sink {
					o := o
					o.URL = to.(*sinktest.Server).URL()
					o.Client = httpclient.Options{TLS: c.TLS, BearerTokenFile: c.TokenFile, TokenScheme: "Splunk"}
					return newSink(t, o)
				},
				// What is not acknowledged is not stored here, so that nothing is
				// stored twice.
				Once: o.Acknowledge, Repeats: true,
			})
		})
	}
	f("event", Options{Gzip: true})
	f("event, acknowledged", Options{Acknowledge: true})
	f("raw", Options{Endpoint: Raw})
	f("raw, acknowledged", Options{Endpoint: Raw, Acknowledge: true, Gzip: true})
}

// A request that an indexer forgot is never acknowledged: it is sent again when
// the attempt has ended, and is taken when that one is acknowledged.
func TestForgottenAcknowledgement(t *testing.T) {
	c := &splunktest.Collector{Acknowledges: true, Forgets: func(n int) bool { return n == 0 }}
	server := c.Start(t, nil)
	defer server.Close()
	s := newSink(t, Options{URL: server.URL(), Acknowledge: true})
	req := sinktest.Request(5)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := s.Send(ctx, req)
	if !errors.Is(err, errUnacknowledged) || !errors.Is(err, context.DeadlineExceeded) || len(server.Lines()) != 0 {
		t.Errorf("forgotten: %v, %d lines", err, len(server.Lines()))
	}
	if err := s.Send(t.Context(), req); err != nil || len(server.Lines()) != 5 {
		t.Errorf("sent again: %v, %d lines", err, len(server.Lines()))
	}
}

func outcome(err error) string {
	if err == nil {
		return "taken"
	}
	if p, ok := errors.AsType[*delivery.PermanentError](err); ok {
		return "refused " + p.Reason
	}
	if _, ok := errors.AsType[*delivery.TooLargeError](err); ok {
		return "too large"
	}
	return "again"
}

// Every code that Splunk documents, with the status that it documents for it.
func TestEveryCode(t *testing.T) {
	tested := map[int]bool{}
	f := func(code, status int, want, hint string) {
		t.Helper()
		tested[code] = true
		server := sinktest.StartServer(t, sinktest.Protocol{Serve: func(*sinktest.HTTPRequest) sinktest.Answer {
			return splunktest.Answer(status, "some text", code, "")
		}}, nil)
		defer server.Close()
		err := newSink(t, Options{URL: server.URL()}).Send(t.Context(), sinktest.Request(2))
		if got := outcome(err); got != want || err != nil && !strings.Contains(err.Error(), hint) {
			t.Errorf("code %d: %s (%v), want %s with %q", code, got, err, want, hint)
		}
	}
	f(0, 200, "taken", "")
	f(1, 403, "again", "enable it")
	f(2, 401, "again", "has no token")
	f(3, 401, "again", "check the sink's token")
	f(4, 403, "again", "does not know the token")
	f(5, 400, "refused no_data", "some text")
	f(6, 400, "refused invalid_data", "some text")
	f(7, 400, "again", "index")
	f(8, 500, "again", "500")
	f(9, 503, "again", "503")
	f(10, 400, "again", "channel")
	f(11, 400, "again", "channel")
	f(12, 400, "refused no_event", "some text")
	f(13, 400, "refused blank_event", "some text")
	f(14, 400, "again", "acknowledge off")
	f(15, 400, "refused indexed_fields", "some text")
	f(16, 400, "again", "move it to token")
	f(17, 200, "again", "health endpoint")
	f(18, 503, "again", "queues are full")
	f(19, 503, "again", "acknowledgement service")
	f(20, 503, "again", "queues are full")
	f(21, 400, "again", "does not know")
	f(22, 400, "again", "enable it")
	f(23, 503, "again", "503")
	f(24, 200, "again", "health endpoint")
	f(25, 200, "again", "health endpoint")
	f(26, 429, "again", "429")
	f(27, 429, "again", "acknowledgement")
	for code := range codes {
		if !tested[code] {
			t.Errorf("code %d is not tested", code)
		}
	}
	f(0, 400, "again", "400")
	f(99, 200, "again", "does not document")
	f(99, 400, "refused bad_request", "some text")
	f(6, 413, "too large", "413")
}

func TestOtherAnswers(t *testing.T) {
	f := func(o Options, status int, body, ack, want string) {
		t.Helper()
		server := sinktest.StartServer(t, sinktest.Protocol{
			Serve: func(*sinktest.HTTPRequest) sinktest.Answer { return sinktest.Answer{Status: status, Body: body} },
			Other: func(r *sinktest.HTTPRequest) (sinktest.Answer, bool) {
				return sinktest.Answer{Body: ack}, strings.HasSuffix(r.URL.Path, "/ack")
			},
		}, nil)
		defer server.Close()
		o.URL = server.URL()
		err := newSink(t, o).Send(t.Context(), sinktest.Request(2))
		if got := fmt.Sprintf("%s: %v", outcome(err), err); !strings.Contains(got, want) {
			t.Errorf("%d %q: %s, want %q", status, body, got, want)
		}
	}
	acknowledged := Options{Acknowledge: true}
	f(Options{}, 200, "<html>", "", "no answer of an event collector")
	f(Options{}, 200, `{"text":"x"}`, "", "no answer of an event collector")
	f(Options{}, 404, "not here", "", "check the path")
	f(Options{}, 413, "", "", "too large")
	f(acknowledged, 200, `{"code":0}`, "", "no acknowledgement was promised")
	f(acknowledged, 200, `{"code":0,"ackId":3}`, `{"acks":{"3":true}}`, "taken")
	f(acknowledged, 200, `{"code":0,"ackId":0}`, `{"acks":{"0":true}}`, "taken")
	f(acknowledged, 200, `{"code":0,"ackId":3}`, `{"text":"ACK is disabled","code":14}`, "again: ask for the acknowledgement")
	f(acknowledged, 200, `{"code":0,"ackId":3}`, `{"text":"No data","code":5}`, "was not understood")
	f(acknowledged, 200, `{"code":0,"ackId":3}`, `nonsense`, "again: ask for the acknowledgement")
}

func TestEvents(t *testing.T) {
	s := newSink(t, Options{URL: "http://127.0.0.1:1", Index: "main"})
	src := &record.Source{ContainerName: "we\"b", Host: "node-1", Image: ""}
	f := func(r record.Record, line, want string) {
		t.Helper()
		if got := string(appendEvent(nil, &r, []byte(line), nil, s.fixed.Of(src, r.Stream))); got != want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	const before = `{"host":"node-1","source":"we\"b","sourcetype":"docker","index":"main","time":`
	f(record.Record{Time: 1_700_000_000_000_000_001}, "hi", before+`1700000000.000000001,"event":"hi","fields":{"stream":"stdout"}}`)
	f(record.Record{Stream: record.Stderr, Flags: record.Cut | record.Unterminated}, "", before+`0.000000000,"event":" ","fields":{"stream":"stderr","cut":"true","unterminated":"true"}}`)
	f(record.Record{}, "a\xff", before+`0.000000000,"event":"a`+"\uFFFD"+`","fields":{"stream":"stdout","line_base64":"Yf8="}}`)
	bare := newSink(t, Options{URL: "http://127.0.0.1:1", Fields: map[string]string{}})
	if got := string(appendEvent(nil, &record.Record{Flags: record.Continued}, []byte("x"), nil, bare.fixed.Of(src, 0))); !strings.HasSuffix(got, `"event":"x","fields":{"continued":"true"}}`+"\n") {
		t.Errorf("without fields: %s", got)
	}
}

// Empty lines are nothing to the raw endpoint, and are not passed off as
// delivered where they are all that there is.
func TestRawWithoutLines(t *testing.T) {
	s := newSink(t, Options{URL: "http://127.0.0.1:1", Endpoint: Raw})
	b := record.NewBatch(&record.Source{}, 10)
	b.Append(record.Record{}, nil)
	err := s.Send(t.Context(), &delivery.Request{Parts: []delivery.Part{{Batch: b, To: 1, Streams: record.AllStreams}}})
	if outcome(err) != "refused encoding" {
		t.Errorf("an empty line: %v", err)
	}
}

func TestURLs(t *testing.T) {
	f := func(o Options, event, ack string) {
		t.Helper()
		s := newSink(t, o)
		if s.event.String() != event || s.ack.String() != ack {
			t.Errorf("%s: %s and %s", o.URL, s.event, s.ack)
		}
	}
	f(Options{URL: "https://h:8088"}, "https://h:8088/services/collector/event", "https://h:8088/services/collector/ack")
	f(Options{URL: "https://h:8088/services/collector/"}, "https://h:8088/services/collector/event", "https://h:8088/services/collector/ack")
	f(Options{URL: "https://h/x/services/collector/event?a=b", Endpoint: Raw}, "https://h/x/services/collector/raw?a=b", "https://h/x/services/collector/ack?a=b")
}

func TestNewRefuses(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{URL: "https://h:8088"}
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	f(func(o *Options) { o.URL = "h" }, "no absolute")
	f(func(o *Options) { o.Endpoint = "x" }, "endpoint")
	f(func(o *Options) { o.Endpoint, o.Fields = Raw, map[string]string{"a": "b"} }, "takes none")
	f(func(o *Options) { o.Channel = "1234" }, "no GUID")
	f(func(o *Options) { o.Index = "{nmae}" }, "index: ")
	f(func(o *Options) { o.Source = "{date}" }, "depends on the time")
	f(func(o *Options) { o.Fields = map[string]string{"cut": "b"} }, "cannot have this name")
	f(func(o *Options) { o.Fields = map[string]string{"a": "{"} }, "field a: ")
	f(func(o *Options) { o.Client.TLS.CAFile = "/nonexistent" }, "no such file")
}

func TestEncodingAllocatesNothing(t *testing.T) {
	for _, endpoint := range []Endpoint{Event, Raw} {
		s := newSink(t, Options{URL: "http://127.0.0.1:1", Endpoint: endpoint, Gzip: true})
		req := sinktest.Request(1000)
		sc := s.scratch.Get()
		s.scratch.New = func() any { return sc } // the race detector empties pools at random
		if n := testing.AllocsPerRun(50, func() {
			if err := s.encode(req); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations for 1000 records", endpoint, n)
		}
	}
}

// What a pipeline made of a record is in its indexed fields.
func TestDerivedEvent(t *testing.T) {
	d := &record.Derivation{
		Level:      "warn",
		Attributes: []record.Attribute{{Name: "n", Value: "1.50", JSON: true}},
		Labels:     []record.Attribute{{Name: "app", Value: `sh"op`}},
	}
	got := string(appendEvent(nil, &record.Record{Flags: record.Cut}, []byte("x"), d, &fixed{}))
	want := `"event":"x","fields":{"cut":"true","level":"warn","app":"sh\"op","n":"1.50"}}` + "\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want %s at its end", got, want)
	}
}
