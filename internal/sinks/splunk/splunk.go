// Package splunk delivers records to Splunk's HTTP Event Collector (HEC), and to
// whatever else speaks it.
//
// It owns the body of a request (events, or raw lines), the channel that requests
// go through, the polling for acknowledgements, and the meaning of HEC's codes.
// Connections and certificates are httpclient's; retries and dead letters the
// delivery's.
//
// # Acknowledgement
//
// A HEC that answers 200 has a request in memory. With Options.Acknowledge the
// sink takes that for nothing: it asks for the request's acknowledgement until
// Splunk says that it is indexed, and only then is the request taken. When that
// does not come within the attempt, because the indexer was restarted and forgot
// it, the request is sent again. What was indexed and not acknowledged is there
// twice then: HEC has no way to tell a repeat.
//
// # What is refused
//
// HEC names the first event that it does not take, by its number, and does not
// promise what became of the others. The sink therefore refuses the request, and
// the delivery halves it until the event stands alone.
//
// Facts of HEC are from Splunk's "Troubleshoot HTTP Event Collector" (codes) and
// "About HTTP Event Collector Indexer Acknowledgment".
package splunk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sourcecache"
)

// Endpoint is where, and in which form, requests are sent.
type Endpoint string

const (
	// Event takes events with metadata of their own.
	Event Endpoint = "event"
	// Raw takes lines as they are, which Splunk breaks and times by the rules of
	// their source type. A request has one set of metadata.
	Raw Endpoint = "raw"
)

const basePath = "/services/collector"

// Options configure a Sink.
type Options struct {
	// URL is the base URL of the collector. It holds no credentials; a query is
	// kept.
	URL string
	// Endpoint is Event when empty.
	Endpoint Endpoint
	// Acknowledge waits for Splunk's acknowledgement of each request, which the
	// token must have turned on.
	Acknowledge bool
	// PollInterval is the time between two questions for an acknowledgement, at
	// the most; they begin with a tenth of it. 1 s when zero.
	PollInterval time.Duration
	// Channel is the channel's GUID; one is made when it is empty.
	Channel string
	// Host, Source, SourceType and Index are templates of an event's metadata.
	// One that turns out empty is left to the token's settings.
	Host, Source, SourceType, Index string
	// Fields are the names and templates of indexed fields, for Event only.
	Fields map[string]string
	// Gzip compresses requests.
	Gzip bool
	// Client configures the connections. The token is its BearerToken, with
	// TokenScheme "Splunk".
	Client httpclient.Options
	// Logger is the sink's logger; nil is silent.
	Logger *slog.Logger
}

// Sink delivers to one collector. It implements delivery.Sink and
// delivery.Grouper.
type Sink struct {
	raw     bool
	poll    time.Duration // zero without acknowledgements
	event   *url.URL
	ack     *url.URL
	channel string
	client  *httpclient.Client
	gzip    bool
	fixed   *sourcecache.Cache[*fixed]
	scratch sync.Pool // of *scratch
}

var (
	_ delivery.Sink    = (*Sink)(nil)
	_ delivery.Grouper = (*Sink)(nil)
)

// New returns a sink. It checks all options, reads the files that they name,
// and dials nothing.
func New(o Options) (*Sink, error) {
	s := &Sink{raw: o.Endpoint == Raw, gzip: o.Gzip, channel: o.Channel}
	switch o.Endpoint {
	case Raw, Event, "":
	default:
		return nil, fmt.Errorf("endpoint %q is unknown: use %q or %q", o.Endpoint, Event, Raw)
	}
	if s.raw && len(o.Fields) > 0 {
		return nil, errors.New("fields are set, and the raw endpoint takes none: remove them, or use the event endpoint")
	}
	if o.Acknowledge {
		if s.poll = o.PollInterval; s.poll <= 0 {
			s.poll = time.Second
		}
	}
	switch {
	case s.channel == "":
		s.channel = newChannel()
	case !validChannel(s.channel):
		return nil, fmt.Errorf("channel %q is no GUID: write it as 00000000-0000-0000-0000-000000000000", s.channel)
	}
	base, err := httpclient.ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	path := strings.TrimRight(base.Path, "/")
	for _, end := range []string{"/raw", "/event", basePath} {
		path = strings.TrimSuffix(path, end)
	}
	at := func(end string) *url.URL {
		u := *base
		u.Path, u.RawPath = path+basePath+end, ""
		return &u
	}
	s.event, s.ack = at("/event"), at("/ack")
	if s.raw {
		s.event = at("/raw")
	}
	shape, err := newShape(o)
	if err != nil {
		return nil, err
	}
	s.fixed = sourcecache.New(shape.make)
	if o.Client.Logger == nil {
		o.Client.Logger = o.Logger
	}
	if s.client, err = httpclient.New(o.Client); err != nil {
		return nil, err
	}
	s.scratch.New = func() any { return &scratch{} }
	return s, nil
}

// newChannel returns a GUID of random digits.
func newChannel() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func validChannel(s string) bool {
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
				return false
			}
		}
	}
	return len(s) == 36
}

// Group returns the metadata of a raw request. Events have theirs with them.
func (s *Sink) Group(src *record.Source, stream record.Stream) string {
	if !s.raw {
		return ""
	}
	return s.fixed.Of(src, stream).query
}

// Send makes one attempt to send the records of req, and to have them
// acknowledged where that is asked for. See delivery.Sink for what its errors
// mean.
func (s *Sink) Send(ctx context.Context, req *delivery.Request) error {
	if req.Len() == 0 {
		return nil
	}
	if !req.Encoded {
		if err := s.encode(req); err != nil {
			return &delivery.PermanentError{Reason: "encoding", Err: err}
		}
		req.Encoded = true
	}
	res, err := s.client.Post(ctx, s.target(req), s.header(), req.Body)
	if err != nil {
		return err
	}
	ackID, err := readAnswer(res)
	if err != nil || s.poll == 0 {
		return err
	}
	if ackID == nil {
		return res.Error("no acknowledgement was promised: turn indexer acknowledgement on for the token, or acknowledge off for the sink")
	}
	return s.await(ctx, *ackID)
}

// target returns the URL that a request goes to.
func (s *Sink) target(req *delivery.Request) *url.URL {
	if !s.raw {
		return s.event
	}
	u := *s.event
	if u.RawQuery != "" && req.Group != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += req.Group
	return &u
}

// header returns the header of a request. The channel is there also without
// acknowledgements: the raw endpoint and tokens that have them on demand it.
func (s *Sink) header() http.Header {
	h := http.Header{
		"Content-Type":             {"application/json"},
		"X-Splunk-Request-Channel": {s.channel},
	}
	if s.raw {
		h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	}
	if s.gzip {
		h["Content-Encoding"] = []string{"gzip"}
	}
	return h
}

// Close closes the sink's unused connections. Call it after the last Send.
func (s *Sink) Close() { s.client.Close() }
