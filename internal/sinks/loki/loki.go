// Package loki delivers records to Grafana Loki, and to whatever else speaks
// its push API.
//
// It owns the encoding of a push (protobuf with snappy, or JSON with gzip), the
// labels, structured metadata and tenant of a record, and the reading of what
// Loki answers. Retries, splitting and dead letters are left to the delivery;
// connections, credentials and certificates to httpclient.
//
// # Streams and pushes
//
// With Options.StreamsPerPush 1 a push holds one Loki stream. Loki's ingester
// reports only the error of a push's last stream: a push of several can be
// answered 204 although entries of the others were refused, and no client can
// tell. Unlimited streams make larger pushes out of many quiet containers, at
// that price.
//
// # What is refused
//
// Loki answers 400 to the whole push when it refuses one entry of it, and keeps
// the good ones. Where its text accounts for every entry the sink names the
// refused ones (see refusals); otherwise it returns a PermanentError, and the
// delivery splits the request until the entry that is to blame stands alone.
// Entries that were kept are sent again on the way. They are byte for byte what
// they were, and Loki drops an entry whose stream, time and line it already has
// in its current block; of older ones, queries show one.
//
// # What identifies an entry
//
// That same rule would drop one of two lines that a container did write twice in
// one nanosecond: Loki before its change 21039 of March 2026 compares time and
// line only, and metadata not at all. So the n-th record of a run that shares
// one time (record.Record.Ordinal) is sent n-1 nanoseconds later, with n as its
// metadata "ordinal", from which the time as written can be computed. That
// depends on the record alone, so each attempt sends the same. What remains on
// such a Loki: a line equal to one that was moved onto its own nanosecond, and,
// when the labels do not tell them apart, equal lines of two streams or
// containers at one nanosecond.
//
// # Bytes
//
// In protobuf a line travels as the bytes that were written: Loki neither checks
// nor changes them, also where they are not UTF-8, though its query API shows
// U+FFFD in such places. JSON can't carry them: there each invalid byte becomes
// U+FFFD, and the record is marked with the metadata invalid_utf8="replaced".
// Labels and metadata must be UTF-8 for queries to work, and are made so.
// Empty lines are entries like all others.
//
// # Labels of records
//
// Options.RecordLabels names labels that pipelines set (a level, an application)
// and that are to be labels of Loki streams. The records of a source go into as
// many streams as these have values then, each push of one stream after the
// other; when one of them has to be tried again, those before it are sent again
// as well, and dropped by the rule above.
//
// # Marks
//
// Structured metadata "cut", "continued" and "unterminated" ("true") hold the
// record's flags, and "stream" its stream where no label does.
package loki

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sourcecache"
)

// Encoding is how a push is written.
type Encoding string

const (
	// Protobuf with snappy is what Loki takes at the least cost.
	Protobuf Encoding = "protobuf"
	// JSON with gzip is for proxies that look into what they pass on.
	JSON Encoding = "json"
)

// pushPath is where Loki takes pushes.
const pushPath = "/loki/api/v1/push"

// Options configure a Sink.
type Options struct {
	// Name is the sink's name, for logs.
	Name string
	// URL is Loki's base URL, or the full URL of its push endpoint. It holds no
	// credentials.
	URL string
	// Encoding is Protobuf when empty.
	Encoding Encoding
	// Labels are the labels of a Loki stream: name to template. Their values
	// should be of bounded variety; container ids belong into
	// StructuredMetadata. An empty value leaves its label out.
	Labels map[string]string
	// StructuredMetadata is what else is known of a record's source: name to
	// template. An empty value is left out.
	StructuredMetadata map[string]string
	// RecordLabels are names of labels that pipelines set, and that become
	// labels of Loki streams, so that records of one source go into several.
	// A record that a pipeline has changed has these from the pipeline alone,
	// in the place of one of Labels or of the source with that name.
	RecordLabels []string
	// OmitMetadata sends no structured metadata at all, for a Loki that does
	// not allow it. Marks and ordinals are lost then.
	OmitMetadata bool
	// Tenant is the template of the X-Scope-OrgID header; without a text the
	// header is not sent. Characters that Loki does not allow in a tenant
	// become '_'.
	Tenant string
	// StreamsPerPush is 1, or 0 for any number (see the package comment).
	StreamsPerPush int
	// Client configures the connections.
	Client httpclient.Options
	// Logger is the sink's logger; nil is silent.
	Logger *slog.Logger
}

// Sink delivers to one Loki. It implements delivery.Sink and delivery.Grouper.
type Sink struct {
	url      *url.URL
	client   *httpclient.Client
	encoding Encoding
	single   bool
	fixed    *sourcecache.Cache[*fixed]
	// recordLabels is Options.RecordLabels, sorted.
	recordLabels []string
	// omitMetadata is Options.OmitMetadata.
	omitMetadata bool
	scratch      sync.Pool // of *scratch
}

var (
	_ delivery.Sink    = (*Sink)(nil)
	_ delivery.Grouper = (*Sink)(nil)
	_ delivery.Checker = (*Sink)(nil)
)

// New returns a sink. It checks all options, reads the files that they name,
// and dials nothing.
func New(o Options) (*Sink, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Encoding == "" {
		o.Encoding = Protobuf
	}
	if o.Encoding != Protobuf && o.Encoding != JSON {
		return nil, fmt.Errorf("encoding %q is unknown: use %q or %q", o.Encoding, Protobuf, JSON)
	}
	if o.StreamsPerPush != 0 && o.StreamsPerPush != 1 {
		return nil, fmt.Errorf("streams_per_push is %d: use 1, or 0 for any number", o.StreamsPerPush)
	}
	target, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	shape, err := newShape(o)
	if err != nil {
		return nil, err
	}
	if o.Client.Logger == nil {
		o.Client.Logger = o.Logger
	}
	client, err := httpclient.New(o.Client)
	if err != nil {
		return nil, err
	}
	s := &Sink{
		url:          target,
		client:       client,
		encoding:     o.Encoding,
		single:       o.StreamsPerPush == 1,
		fixed:        sourcecache.New(shape.make),
		recordLabels: shape.recordLabels,
		omitMetadata: o.OmitMetadata,
	}
	s.scratch.New = func() any { return newScratch() }
	return s, nil
}

// parseURL returns the URL of the push endpoint.
func parseURL(text string) (*url.URL, error) {
	u, err := httpclient.ParseURL(text)
	if err != nil {
		return nil, err
	}
	if trimmed := strings.TrimRight(u.Path, "/"); strings.HasSuffix(trimmed, pushPath) {
		u.Path = trimmed
	} else {
		u.Path = trimmed + pushPath
	}
	u.RawPath = ""
	return u, nil
}

// Group returns the key of the Loki stream and tenant that the records of one
// stream of src belong to, or of the tenant alone when a push may hold any
// number of streams. With record labels it is that of the source, whose records
// are then pushed stream by stream.
func (s *Sink) Group(src *record.Source, stream record.Stream) string {
	f := s.fixed.Of(src, stream)
	if s.single {
		return f.group
	}
	return f.tenant
}

// Send makes one attempt to push the records of req. See delivery.Sink for
// what its errors mean.
func (s *Sink) Send(ctx context.Context, req *delivery.Request) error {
	first := s.firstOf(req)
	if first == nil {
		return nil
	}
	if s.byRecord() && s.single {
		return s.sendByRecord(ctx, req, first.tenant)
	}
	if !req.Encoded {
		if err := s.encode(req); err != nil {
			return &delivery.PermanentError{Reason: "encoding", Err: err}
		}
		req.Encoded = true
	}
	res, err := s.client.Post(ctx, s.url, s.headerOf(first.tenant), req.Body)
	if err != nil {
		return err
	}
	return s.read(res, func() []*record.Record { return recordsOf(req) })
}

// recordsOf returns the records of a request, in order.
func recordsOf(req *delivery.Request) []*record.Record {
	var records []*record.Record
	for _, rec := range req.All() {
		records = append(records, rec)
	}
	return records
}

// headerOf returns the header of a push.
func (s *Sink) headerOf(tenant string) http.Header {
	header := make(http.Header, 3)
	if s.encoding == JSON {
		header["Content-Type"] = []string{"application/json"}
		header["Content-Encoding"] = []string{"gzip"}
	} else {
		// Snappy goes without saying: it is part of the format, and some
		// proxies do not know it as an encoding.
		header["Content-Type"] = []string{"application/x-protobuf"}
	}
	if tenant != "" {
		header["X-Scope-Orgid"] = []string{tenant}
	}
	return header
}

// Close closes the sink's unused connections. Call it after the last Send.
func (s *Sink) Close() { s.client.Close() }

// firstOf returns the fixed parts of the first record, nil when there is none.
func (s *Sink) firstOf(req *delivery.Request) *fixed {
	for batch, rec := range req.All() {
		return s.fixed.Of(batch.Source, rec.Stream)
	}
	return nil
}
