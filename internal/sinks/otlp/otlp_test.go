package otlp

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decode reads a request with OpenTelemetry's own definitions. (LogsData has the
// same form as ExportLogsServiceRequest, whose package brings gRPC along.)
func decode(body []byte) (*logs.LogsData, error) {
	data := &logs.LogsData{}
	if err := proto.Unmarshal(body, data); err != nil {
		return nil, err
	}
	var unknown error
	for _, rl := range data.ResourceLogs {
		for _, m := range []proto.Message{rl, rl.Resource} {
			if len(m.ProtoReflect().GetUnknown()) > 0 {
				unknown = errors.New("unknown fields")
			}
		}
	}
	return data, unknown
}

// linesOf checks a request strictly and returns its records.
func linesOf(body []byte) ([]sinktest.Line, error) {
	data, err := decode(body)
	if err != nil {
		return nil, err
	}
	var all []sinktest.Line
	for _, rl := range data.ResourceLogs {
		name := ""
		for _, a := range rl.Resource.GetAttributes() {
			if a.Key == "container.name" {
				name = a.Value.GetStringValue()
			}
		}
		if name == "" || len(rl.ScopeLogs) != 1 || rl.ScopeLogs[0].Scope.GetName() != "log_capturer" || len(rl.ScopeLogs[0].LogRecords) == 0 {
			return nil, fmt.Errorf("resource logs %v", protojson.Format(rl))
		}
		for _, r := range rl.ScopeLogs[0].LogRecords {
			line := sinktest.Line{Source: name, Text: r.Body.GetStringValue()}
			if b := r.Body.GetBytesValue(); b != nil {
				line.Text = string(b)
			}
			stream := ""
			for _, a := range r.Attributes {
				if a.Key == "log.iostream" {
					stream = a.Value.GetStringValue()
				}
			}
			switch stream {
			case "stdout":
			case "stderr":
				line.Stream = record.Stderr
			default:
				return nil, fmt.Errorf("stream %q", stream)
			}
			if r.TimeUnixNano == 0 || r.ObservedTimeUnixNano != r.TimeUnixNano || r.Body == nil {
				return nil, fmt.Errorf("record %v", protojson.Format(r))
			}
			all = append(all, line)
		}
	}
	return all, nil
}

// response is an ExportLogsServiceResponse.
func response(rejected int, message string) string {
	if rejected == 0 && message == "" {
		return ""
	}
	p := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(rejected))
	p = protowire.AppendString(protowire.AppendTag(p, 2, protowire.BytesType), message)
	return string(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), p))
}

// take reads a request, and answers what a destination answers that keeps what
// it does not refuse.
func take(r *sinktest.HTTPRequest, message []byte) (sinktest.Answer, string) {
	lines, err := linesOf(message)
	if err != nil {
		return sinktest.Answer{Violation: err.Error()}, ""
	}
	var a sinktest.Answer
	for _, l := range lines {
		if !r.Refuse(l.Text) {
			a.Store = append(a.Store, l)
		}
	}
	if n := len(lines) - len(a.Store); n > 0 {
		return a, response(n, "not these")
	}
	return a, ""
}

var overHTTP = sinktest.Protocol{
	Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			return sinktest.Answer{Violation: fmt.Sprintf("%s %s with %v", r.Method, r.URL, r.Header)}
		}
		a, body := take(r, r.Body)
		a.Body = body
		return a
	},
	Busy: func(f sinktest.Fault) sinktest.Answer {
		a := sinktest.Answer{Status: http.StatusServiceUnavailable}
		if f.RetryAfter > 0 {
			a.Header = map[string]string{"Retry-After": fmt.Sprint(f.RetryAfter.Seconds())}
		}
		return a
	},
	TooLarge:     func() sinktest.Answer { return sinktest.Answer{Status: http.StatusRequestEntityTooLarge} },
	Authorized:   func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "Bearer "+token },
	Unauthorized: func() sinktest.Answer { return sinktest.Answer{Status: http.StatusUnauthorized} },
}

func frame(message string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
}

// status is an answer to a call that failed: its status stands among the headers.
func status(code int, message, details string) sinktest.Answer {
	a := sinktest.Answer{Header: map[string]string{"Content-Type": "application/grpc", "Grpc-Status": fmt.Sprint(code), "Grpc-Message": message}}
	if details != "" {
		a.Header["Grpc-Status-Details-Bin"] = details
	}
	return a
}

// retryDetails is a google.rpc.Status with a RetryInfo.
func retryDetails(after time.Duration) string {
	message := func(num protowire.Number, b, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), content)
	}
	delay := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(after/time.Second))
	delay = protowire.AppendVarint(protowire.AppendTag(delay, 2, protowire.VarintType), uint64(after%time.Second))
	detail := message(1, nil, []byte("type.googleapis.com/google.rpc.RetryInfo"))
	detail = message(2, detail, message(1, nil, delay))
	other := message(1, nil, []byte("type.googleapis.com/google.rpc.DebugInfo"))
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 14)
	return base64.RawStdEncoding.EncodeToString(message(3, message(3, b, other), detail))
}

var overGRPC = sinktest.Protocol{
	HTTP2: true,
	Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
		b := r.Body
		if r.Method != http.MethodPost || r.URL.Path != grpcPath || r.Header.Get("Content-Type") != "application/grpc" ||
			r.Header.Get("Te") != "trailers" || len(b) < frameHeader || int(binary.BigEndian.Uint32(b[1:]))+frameHeader != len(b) {
			return sinktest.Answer{Violation: fmt.Sprintf("%s %s with %v, %d bytes", r.Method, r.URL, r.Header, len(b))}
		}
		message := b[frameHeader:]
		if compressed := b[0] == 1; compressed != (r.Header.Get("Grpc-Encoding") == "gzip") {
			return sinktest.Answer{Violation: fmt.Sprintf("flag %d with encoding %q", b[0], r.Header.Get("Grpc-Encoding"))}
		} else if compressed {
			var err error
			if message, err = sinktest.Gunzip(message); err != nil {
				return sinktest.Answer{Violation: err.Error()}
			}
		}
		a, body := take(r, message)
		a.Body = frame(body)
		a.Header = map[string]string{"Content-Type": "application/grpc"}
		a.Trailer = map[string]string{"Grpc-Status": "0"}
		return a
	},
	Busy: func(f sinktest.Fault) sinktest.Answer {
		if f.RetryAfter > 0 {
			return status(14, "busy", retryDetails(f.RetryAfter))
		}
		return status(14, "busy", "")
	},
	TooLarge: func() sinktest.Answer {
		return status(codeResourceExhausted, "grpc: received message larger than max (9000 vs. 8192)", "")
	},
	Authorized: func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "Bearer "+token },
	Unauthorized: func() sinktest.Answer {
		return status(codeUnauthenticated, "bad token", "")
	},
}

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
							return sinktest.StartServer(t, overGRPC, config)
						}
						return sinktest.StartServer(t, overHTTP, config)
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
	f(200, response(0, "deprecated s3cret-token"), "taken", "")
	f(200, response(1, "one is bad"), "permanent partial_success", "1 of 2 records rejected: one is bad")
	f(200, response(2, "all are bad"), "refused 2", "2 records")
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
	f(ok(frame("")), "taken", "")
	f(ok(frame(response(1, "bad"))), "permanent partial_success", "1 of 2")
	f(ok(frame(response(2, "bad"))), "refused 2", "")
	f(ok(""), "again", "not one message")
	f(ok(frame("")+"x"), "again", "not one message")
	f(ok(frame("\xff")), "again", "no answer of an OpenTelemetry destination")
	want := map[int]string{3: "permanent invalid_argument"}
	for code := 1; code <= 16; code++ {
		if want[code] == "" {
			want[code] = "again"
		}
		f(status(code, "a%20text", ""), want[code], fmt.Sprintf("gRPC status %d: a text", code))
	}
	f(status(8, "received message larger than max", ""), "too large", "")
	f(status(8, "quota", retryDetails(1500*time.Millisecond)), "again after 1.5s", "quota")
	f(status(14, "", retryDetails(math.MaxInt64)), "again after 1h0m0s", "")
	f(status(14, "your s3cret-token", "nonsense"), "again", "[redacted]")
	f(status(16, "", ""), "again", "credentials")
	f(status(12, "", ""), "again", "nobody takes logs there")
	f(sinktest.Answer{Status: 503, Body: "proxy"}, "again", "proxy")
	f(sinktest.Answer{Status: 200, Body: "hello"}, "again", "no answer of a gRPC server")
	trailing := ok(frame(""))
	trailing.Trailer = map[string]string{"Grpc-Status": "14", "Grpc-Message": "late"}
	f(trailing, "again", "late")

	// A destination that speaks no HTTP/2 at all.
	server := sinktest.StartServer(t, overHTTP, nil)
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
	data, err := decode(req.Body)
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
	f.Add([]byte(response(3, "x")), retryDetails(time.Second))
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
