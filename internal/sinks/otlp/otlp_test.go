package otlp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/otlp/otlptest"
	"log_capturer/internal/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSink(t testing.TB, o Options) *Sink {
	t.Helper()
	if o.Resource == nil {
		o.Resource = DefaultResource()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSuite(t *testing.T) {
	for _, protocol := range []Protocol{HTTP, GRPC} {
		for _, gzip := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, gzip %t", protocol, gzip), func(t *testing.T) {
				sinktest.Run(t, sinktest.Harness{
					Start: func(t *testing.T, config *tls.Config) sinktest.Target {
						if protocol == GRPC {
							return sinktest.StartServer(t, otlptest.GRPC, config)
						}
						return sinktest.StartServer(t, otlptest.HTTP, config)
					},
					New: func(t *testing.T, to sinktest.Target, c sinktest.Connect) delivery.Sink {
						return newSink(t, Options{
							URL: to.(*sinktest.Server).URL(), Protocol: protocol, Gzip: gzip, Severity: true, UID: gzip,
							Client: httpclient.Options{TLS: c.TLS, BearerTokenFile: c.TokenFile},
						})
					},
					Repeats: true,
				})
			})
		}
	}
}

func outcome(err error) string {
	if err == nil {
		return "taken"
	}
	if p, ok := errors.AsType[*delivery.PartialError](err); ok {
		return fmt.Sprintf("refused %d", len(p.Refused))
	}
	if p, ok := errors.AsType[*delivery.PermanentError](err); ok {
		return "permanent " + p.Reason
	}
	if _, ok := errors.AsType[*delivery.TooLargeError](err); ok {
		return "too large"
	}
	if r, ok := errors.AsType[*delivery.RetryAfterError](err); ok {
		return fmt.Sprintf("again after %v", r.After)
	}
	return "again"
}

// answered sends two records to a destination that answers as given.
func answered(t *testing.T, o Options, a sinktest.Answer) error {
	t.Helper()
	server := sinktest.StartServer(t, sinktest.Protocol{
		HTTP2: o.Protocol == GRPC, Serve: func(*sinktest.HTTPRequest) sinktest.Answer { return a },
	}, nil)
	defer server.Close()
	o.URL = server.URL()
	o.Client.BearerToken = "s3cret-token"
	err := newSink(t, o).Send(t.Context(), sinktest.Request(2))
	if err != nil && strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error shows a secret: %v", err)
	}
	return err
}

func TestEveryAnswerOverHTTP(t *testing.T) {
	f := func(code int, body, want, text string) {
		t.Helper()
		err := answered(t, Options{}, sinktest.Answer{Status: code, Body: body})
		if got := outcome(err); got != want || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%d: %s (%v), want %s with %q", code, got, err, want, text)
		}
	}
	f(200, "", "taken", "")
	f(200, otlptest.Response(0, "deprecated s3cret-token"), "taken", "")
	f(200, otlptest.Response(1, "one is bad"), "permanent partial_success", "1 of 2 records rejected: one is bad")
	f(200, otlptest.Response(2, "all are bad"), "refused 2", "2 records")
	f(200, "<html>", "again", "no answer of an OpenTelemetry destination")
	f(400, "", "permanent bad_request", "400")
	f(401, "", "again", "credentials")
	f(404, "", "again", "path")
	f(413, "", "too large", "413")
	f(429, "", "again", "429")
	f(502, "", "again", "502")
	f(503, "s3cret-token", "again", "[redacted]")
	f(504, "", "again", "504")
}

func TestEveryAnswerOverGRPC(t *testing.T) {
	f := func(a sinktest.Answer, want, text string) {
		t.Helper()
		err := answered(t, Options{Protocol: GRPC}, a)
		if got := outcome(err); got != want || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %s (%v), want %s with %q", a, got, err, want, text)
		}
	}
	ok := func(body string) sinktest.Answer {
		return sinktest.Answer{
			Header: map[string]string{"Content-Type": "application/grpc"}, Body: body, Trailer: map[string]string{"Grpc-Status": "0"},
		}
	}
	f(ok(otlptest.Frame("")), "taken", "")
	f(ok(otlptest.Frame(otlptest.Response(1, "bad"))), "permanent partial_success", "1 of 2")
	f(ok(otlptest.Frame(otlptest.Response(2, "bad"))), "refused 2", "")
	f(ok(""), "again", "not one message")
	f(ok(otlptest.Frame("")+"x"), "again", "not one message")
	f(ok(otlptest.Frame("\xff")), "again", "no answer of an OpenTelemetry destination")
	want := map[int]string{3: "permanent invalid_argument"}
	for code := 1; code <= 16; code++ {
		if want[code] == "" {
			want[code] = "again"
		}
		f(otlptest.Status(code, "a%20text", ""), want[code], fmt.Sprintf("gRPC status %d: a text", code))
	}
	f(otlptest.Status(8, "received message larger than max", ""), "too large", "")
	f(otlptest.Status(8, "quota", otlptest.RetryDetails(1500*time.Millisecond)), "again after 1.5s", "quota")
	f(otlptest.Status(14, "", otlptest.RetryDetails(math.MaxInt64)), "again after 1h0m0s", "")
	f(otlptest.Status(14, "your s3cret-token", "nonsense"), "again", "[redacted]")
	f(otlptest.Status(16, "", ""), "again", "credentials")
	f(otlptest.Status(12, "", ""), "again", "nobody takes logs there")
	f(sinktest.Answer{Status: 503, Body: "proxy"}, "again", "proxy")
	f(sinktest.Answer{Status: 200, Body: "hello"}, "again", "no answer of a gRPC server")
	trailing := ok(otlptest.Frame(""))
	trailing.Trailer = map[string]string{"Grpc-Status": "14", "Grpc-Message": "late"}
	f(trailing, "again", "late")

	// A destination that speaks no HTTP/2 at all.
	server := sinktest.StartServer(t, otlptest.HTTP, nil)
	defer server.Close()
	if err := newSink(t, Options{URL: server.URL(), Protocol: GRPC}).Send(t.Context(), sinktest.Request(1)); outcome(err) != "again" {
		t.Errorf("with a server of HTTP/1: %v", err)
	}
}

// What OpenTelemetry's own definitions read is what was sent.
func TestRecords(t *testing.T) {
	src := &record.Source{Key: "container/a", ContainerName: "web", Image: "i\xff", Host: "h"}
	b := record.NewBatch(src, 100)
	b.Append(record.Record{Time: 1_700_000_000_000_000_007}, []byte("level=warn é"))
	b.Append(record.Record{Time: 5, Stream: record.Stderr, Flags: record.Cut | record.Continued | record.Unterminated}, []byte("a\xff"))
	b.Append(record.Record{Time: -1}, nil)
	req := &delivery.Request{Parts: []delivery.Part{
		{Batch: b, From: 0, To: 2, Streams: record.AllStreams},
		{Batch: b, From: 1, To: 2, Streams: record.Only(record.Stdout)}, // of which nothing is left
		{Batch: b, From: 2, To: 3, Streams: record.AllStreams},
	}}
	s := newSink(t, Options{URL: "http://127.0.0.1:1", Severity: true, UID: true})
	if err := s.encode(req); err != nil {
		t.Fatal(err)
	}
	data, err := otlptest.Decode(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(data.ResourceLogs) != 2 {
		t.Fatalf("%d resources", len(data.ResourceLogs))
	}
	const resource = `[container.image.name=i` + "\uFFFD" + ` container.name=web host.name=h]`
	var got []string
	for _, rl := range data.ResourceLogs {
		var attributes []string
		for _, a := range rl.Resource.Attributes {
			attributes = append(attributes, a.Key+"="+a.Value.GetStringValue())
		}
		if text := fmt.Sprint(attributes); text != resource {
			t.Errorf("resource %s, want %s", text, resource)
		}
		for _, r := range rl.ScopeLogs[0].LogRecords {
			attributes = nil
			for _, a := range r.Attributes {
				switch {
				case a.Key == "log.record.uid" && len(a.Value.GetStringValue()) == 32:
					attributes = append(attributes, "uid")
				case a.Value.GetBoolValue():
					attributes = append(attributes, a.Key)
				default:
					attributes = append(attributes, a.Key+"="+a.Value.GetStringValue())
				}
			}
			got = append(got, fmt.Sprintf("%d %d %d %s %q %q %v", r.TimeUnixNano, r.ObservedTimeUnixNano, r.SeverityNumber, r.SeverityText,
				r.Body.GetStringValue(), r.Body.GetBytesValue(), attributes))
		}
	}
	want := []string{
		`1700000000000000007 1700000000000000007 13 WARN "level=warn é" "" [log.iostream=stdout uid]`,
		`5 5 0  "" "a\xff" [log.iostream=stderr log_capturer.cut log_capturer.continued log_capturer.unterminated uid]`,
		`0 0 0  "" "" [log.iostream=stdout uid]`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What a pipeline made of a record is its severity and its attributes.
func TestDerivedRecords(t *testing.T) {
	b := record.NewBatch(&record.Source{Key: "container/a"}, 100)
	b.AppendDerived(record.Record{Time: 7}, []byte("level=warn"), record.Derivation{
		Level: "error", Attributes: []record.Attribute{{Name: "n", Value: "1.50", JSON: true}}, Labels: []record.Attribute{{Name: "app", Value: "shop"}},
	})
	b.AppendDerived(record.Record{Time: 8}, []byte("level=warn"), record.Derivation{})
	s := newSink(t, Options{URL: "http://127.0.0.1:1", Severity: true})
	req := &delivery.Request{Parts: []delivery.Part{{Batch: b, To: 2, Streams: record.AllStreams}}}
	if err := s.encode(req); err != nil {
		t.Fatal(err)
	}
	data, err := otlptest.Decode(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range data.ResourceLogs[0].ScopeLogs[0].LogRecords {
		text := r.SeverityText
		for _, a := range r.Attributes {
			text += " " + a.Key + "=" + a.Value.GetStringValue()
		}
		got = append(got, text)
	}
	if want := []string{"ERROR log.iostream=stdout app=shop n=1.50", "WARN log.iostream=stdout"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSeverity(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		if got := severityOf([]byte(line)); got.text != want || (got.number == 0) != (want == "") {
			t.Errorf("%q: %+v, want %q", line, got, want)
		}
	}
	f("", "")
	f("an error occurred", "")
	f("INFORMATION about warnings", "")
	f("2026-03-04T05:06:07Z WARN disk", "WARN")
	f("[ERROR] x", "ERROR")
	f("E1234 x", "")
	f("time=1 level=debug msg=INFO", "DEBUG")
	f(`{"ts":1,"level":"Error","msg":"x"}`, "ERROR")
	f(`{"severity": "CRITICAL"}`, "FATAL")
	f("lvl: wrn", "WARN")
	f("level of error", "")
	f("the level, error", "")
	f("x_ERROR 5ERROR ERROR_CODE", "")
	f("notice: level=notice", "INFO")
	f(strings.Repeat("x ", 100)+"ERROR", "")
	f("PANIC: at the disco", "FATAL")
	f("a TRACE", "TRACE")
}

func TestURLs(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		if s := newSink(t, o); s.url.String() != want {
			t.Errorf("%s: %s, want %s", o.URL, s.url, want)
		}
	}
	f(Options{URL: "http://h:4318"}, "http://h:4318/v1/logs")
	f(Options{URL: "http://h:4318/v1/logs/"}, "http://h:4318/v1/logs")
	f(Options{URL: "http://h/x?a=b"}, "http://h/x/v1/logs?a=b")
	f(Options{URL: "https://h:4317", Protocol: GRPC}, "https://h:4317"+grpcPath)
}

func TestNewRefuses(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{URL: "http://h"}
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	f(func(o *Options) { o.URL = "h" }, "no absolute")
	f(func(o *Options) { o.Protocol = "x" }, "protocol")
	f(func(o *Options) { o.Resource = map[string]string{"a": "{stream}"} }, "depends on more")
	f(func(o *Options) { o.Resource = map[string]string{"a": "{nmae}"} }, "attribute a: ")
	f(func(o *Options) { o.Resource = map[string]string{"": "b"} }, "no name")
	f(func(o *Options) { o.Client.TLS.CAFile = "/nonexistent" }, "no such file")
}

func TestEncodingAllocatesNothing(t *testing.T) {
	for _, protocol := range []Protocol{HTTP, GRPC} {
		for _, gzip := range []bool{false, true} {
			s := newSink(t, Options{URL: "http://127.0.0.1:1", Protocol: protocol, Gzip: gzip, Severity: true, UID: true})
			req := sinktest.Request(1000)
			sc := s.scratch.Get()
			s.scratch.New = func() any { return sc } // the race detector empties pools at random
			if n := testing.AllocsPerRun(50, func() {
				if err := s.encode(req); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, gzip %t: %v allocations for 1000 records", protocol, gzip, n)
			}
		}
	}
}

// Whatever a destination answers, reading it ends.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(otlptest.Response(3, "x")), otlptest.RetryDetails(time.Second))
	f.Add([]byte{0xff, 0x01}, "====")
	f.Fuzz(func(t *testing.T, body []byte, details string) {
		if p, err := parseResponse(body); err != nil && err != errMalformed {
			t.Errorf("%+v, %v", p, err)
		}
		if after := retryInfo(details); after < 0 || after > maxRetryDelay {
			t.Errorf("%q asks for %v", details, after)
		}
	})
}
