package splunk

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector is a strict HEC, written from Splunk's documentation. Acknowledged,
// a request is stored when its acknowledgement is asked for the second time.
type collector struct {
	raw, acknowledges bool
	// forgets says whether the indexer is restarted after the n-th request, from
	// 0, which is then neither stored nor acknowledged.
	forgets func(n int) bool

	channel string
	acks    []pending
}

type pending struct {
	store     []sinktest.Line
	polls     int
	forgotten bool
}

// event is one event, with all members that there are.
type event struct {
	Time       json.Number       `json:"time"`
	Host       string            `json:"host"`
	Source     string            `json:"source"`
	SourceType string            `json:"sourcetype"`
	Index      string            `json:"index"`
	Event      *string           `json:"event"`
	Fields     map[string]string `json:"fields"`
}

func streamOf(name string) (record.Stream, error) {
	switch name {
	case "stdout":
		return record.Stdout, nil
	case "stderr":
		return record.Stderr, nil
	}
	return 0, fmt.Errorf("stream %q", name)
}

// events reads the body of the event endpoint.
func events(body []byte) ([]sinktest.Line, error) {
	var lines []sinktest.Line
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	for {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return lines, nil
		} else if err != nil {
			return nil, err
		}
		stream, err := streamOf(e.Fields["stream"])
		if err != nil || e.Event == nil || *e.Event == "" || strings.ContainsAny(e.Time.String(), "eE") || e.Host == "" || e.SourceType == "" {
			return nil, fmt.Errorf("event %+v: %w", e, err)
		}
		line := sinktest.Line{Source: e.Source, Stream: stream, Text: *e.Event}
		if exact, ok := e.Fields["line_base64"]; ok {
			content, err := base64.StdEncoding.DecodeString(exact)
			if err != nil {
				return nil, err
			}
			line.Text = string(content)
		}
		lines = append(lines, line)
	}
}

// lines reads the body of the raw endpoint.
func lines(r *sinktest.HTTPRequest) ([]sinktest.Line, error) {
	q := r.URL.Query()
	stream, err := streamOf(q.Get("sourcetype"))
	if err != nil || q.Get("host") == "" || q.Get("source") == "" {
		return nil, fmt.Errorf("metadata %v: %w", q, err)
	}
	var all []sinktest.Line
	for text := range strings.Lines(string(r.Body)) {
		text, ok := strings.CutSuffix(text, "\n")
		if !ok {
			return nil, errors.New("no newline at the end")
		}
		all = append(all, sinktest.Line{Source: q.Get("source"), Stream: stream, Text: text})
	}
	return all, nil
}

func hec(status int, text string, code int, more string) sinktest.Answer {
	return sinktest.Answer{Status: status, Body: fmt.Sprintf(`{"text":%q,"code":%d%s}`, text, code, more)}
}

func (c *collector) serve(r *sinktest.HTTPRequest) sinktest.Answer {
	wrong := func(format string, args ...any) sinktest.Answer {
		return sinktest.Answer{Violation: fmt.Sprintf(format, args...)}
	}
	path := "/services/collector/event"
	if c.raw {
		path = "/services/collector/raw"
	}
	channel := r.Header.Get("X-Splunk-Request-Channel")
	if r.Method != http.MethodPost || r.URL.Path != path || !validChannel(channel) {
		return wrong("%s %s, channel %q", r.Method, r.URL, channel)
	}
	if c.channel = channel; len(r.Body) == 0 {
		return hec(400, "No data", 5, "")
	}
	read := func() ([]sinktest.Line, error) { return events(r.Body) }
	if c.raw {
		read = func() ([]sinktest.Line, error) { return lines(r) }
	}
	store, err := read()
	if err != nil {
		return wrong("%v", err)
	}
	for i, l := range store {
		if r.Refuse(l.Text) {
			// The events before it are kept, as Splunk seems to do.
			a := hec(400, "Invalid data format", 6, fmt.Sprintf(`,"invalid-event-number":%d`, i))
			a.Store = store[:i]
			return a
		}
	}
	if !c.acknowledges {
		a := hec(200, "Success", 0, "")
		a.Store = store
		return a
	}
	n := len(c.acks)
	c.acks = append(c.acks, pending{store: store, forgotten: c.forgets != nil && c.forgets(n)})
	return hec(200, "Success", 0, fmt.Sprintf(`,"ackId":%d`, n))
}

// poll answers a question for acknowledgements.
func (c *collector) poll(r *sinktest.HTTPRequest) (sinktest.Answer, bool) {
	if r.URL.Path != "/services/collector/ack" {
		return sinktest.Answer{}, false
	}
	var asked struct{ Acks []int }
	if err := json.Unmarshal(r.Body, &asked); err != nil || len(asked.Acks) != 1 || r.URL.Query().Get("channel") != c.channel {
		return sinktest.Answer{Violation: fmt.Sprintf("poll %s %s: %v", r.URL, r.Body, err)}, true
	}
	id := asked.Acks[0]
	if !c.acknowledges {
		return hec(400, "ACK is disabled", 14, ""), true
	}
	if id >= len(c.acks) {
		return sinktest.Answer{Body: fmt.Sprintf(`{"acks":{"%d":false}}`, id)}, true
	}
	p := &c.acks[id]
	p.polls++
	done := p.polls == 2 && !p.forgotten
	a := sinktest.Answer{Body: fmt.Sprintf(`{"acks":{"%d":%t}}`, id, done)}
	if done {
		a.Store = p.store
	}
	return a, true
}

func (c *collector) start(t *testing.T, config *tls.Config) *sinktest.Server {
	t.Helper()
	return sinktest.StartServer(t, sinktest.Protocol{
		Serve: c.serve, Other: c.poll,
		Busy: func(f sinktest.Fault) sinktest.Answer {
			a := hec(503, "Server is busy", 9, "")
			if f.RetryAfter > 0 {
				a.Header = map[string]string{"Retry-After": fmt.Sprint(f.RetryAfter.Seconds())}
			}
			return a
		},
		TooLarge:   func() sinktest.Answer { return sinktest.Answer{Status: http.StatusRequestEntityTooLarge} },
		Authorized: func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "Splunk "+token },
		Unauthorized: func() sinktest.Answer {
			return hec(403, "Invalid token", 4, "")
		},
	}, config)
}

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
					return (&collector{raw: o.Endpoint == Raw, acknowledges: o.Acknowledge}).start(t, config)
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
	c := &collector{acknowledges: true, forgets: func(n int) bool { return n == 0 }}
	server := c.start(t, nil)
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
			return hec(status, "some text", code, "")
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
