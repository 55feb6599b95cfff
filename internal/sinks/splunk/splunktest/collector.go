// Package splunktest has a strict destination for tests that speaks the protocol of
// Splunk's HTTP Event Collector (HEC).
package splunktest

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/sinktest"
)

// Collector is a strict HEC, written from Splunk's documentation. Acknowledged,
// a request is stored when its acknowledgement is asked for the second time.
type Collector struct {
	// Raw is whether it takes the raw endpoint, and no events; Acknowledges, whether
	// it does.
	Raw, Acknowledges bool
	// Forgets says whether the indexer is restarted after the n-th request, from
	// 0, which is then neither stored nor acknowledged.
	Forgets func(n int) bool

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

// Answer is an answer of HEC, with more members.
func Answer(status int, text string, code int, more string) sinktest.Answer {
	return sinktest.Answer{Status: status, Body: fmt.Sprintf(`{"text":%q,"code":%d%s}`, text, code, more)}
}

// guid is the form of a channel.
var guid = regexp.MustCompile("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")

func (c *Collector) serve(r *sinktest.HTTPRequest) sinktest.Answer {
	wrong := func(format string, args ...any) sinktest.Answer {
		return sinktest.Answer{Violation: fmt.Sprintf(format, args...)}
	}
	path := "/services/collector/event"
	if c.Raw {
		path = "/services/collector/raw"
	}
	channel := r.Header.Get("X-Splunk-Request-Channel")
	if r.Method != http.MethodPost || r.URL.Path != path || !guid.MatchString(channel) {
		return wrong("%s %s, channel %q", r.Method, r.URL, channel)
	}
	if c.channel = channel; len(r.Body) == 0 {
		return Answer(400, "No data", 5, "")
	}
	read := func() ([]sinktest.Line, error) { return events(r.Body) }
	if c.Raw {
		read = func() ([]sinktest.Line, error) { return lines(r) }
	}
	store, err := read()
	if err != nil {
		return wrong("%v", err)
	}
	for i, l := range store {
		if r.Refuse(l.Text) {
			// The events before it are kept, as Splunk seems to do.
			a := Answer(400, "Invalid data format", 6, fmt.Sprintf(`,"invalid-event-number":%d`, i))
			a.Store = store[:i]
			return a
		}
	}
	if !c.Acknowledges {
		a := Answer(200, "Success", 0, "")
		a.Store = store
		return a
	}
	n := len(c.acks)
	c.acks = append(c.acks, pending{store: store, forgotten: c.Forgets != nil && c.Forgets(n)})
	return Answer(200, "Success", 0, fmt.Sprintf(`,"ackId":%d`, n))
}

// poll answers a question for acknowledgements.
func (c *Collector) poll(r *sinktest.HTTPRequest) (sinktest.Answer, bool) {
	if r.URL.Path != "/services/collector/ack" {
		return sinktest.Answer{}, false
	}
	var asked struct{ Acks []int }
	if err := json.Unmarshal(r.Body, &asked); err != nil || len(asked.Acks) != 1 || r.URL.Query().Get("channel") != c.channel {
		return sinktest.Answer{Violation: fmt.Sprintf("poll %s %s: %v", r.URL, r.Body, err)}, true
	}
	id := asked.Acks[0]
	if !c.Acknowledges {
		return Answer(400, "ACK is disabled", 14, ""), true
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

// Start starts a server for the collector.
func (c *Collector) Start(t testing.TB, config *tls.Config) *sinktest.Server {
	t.Helper()
	return sinktest.StartServer(t, sinktest.Protocol{
		Serve: c.serve, Other: c.poll,
		Busy: func(f sinktest.Fault) sinktest.Answer {
			a := Answer(503, "Server is busy", 9, "")
			if f.RetryAfter > 0 {
				a.Header = map[string]string{"Retry-After": fmt.Sprint(f.RetryAfter.Seconds())}
			}
			return a
		},
		TooLarge:   func() sinktest.Answer { return sinktest.Answer{Status: http.StatusRequestEntityTooLarge} },
		Authorized: func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "Splunk "+token },
		Unauthorized: func() sinktest.Answer {
			return Answer(403, "Invalid token", 4, "")
		},
	}, config)
}
