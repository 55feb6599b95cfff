// Package otlp delivers records by the OpenTelemetry Protocol: to an
// OpenTelemetry Collector, and to whatever else takes its logs.
//
// It owns the encoding of an export request, the attributes of a record, and the
// reading of what a destination answers over HTTP with protobuf or over gRPC.
// Connections, credentials and certificates are httpclient's; retries and dead
// letters the delivery's.
//
// # gRPC
//
// An export is a unary call: a request whose body is one message behind five
// bytes, and an answer whose trailer has the status. net/http speaks HTTP/2 with
// trailers, and nothing more is needed, so that is what the calls are made with.
//
// # Partial success
//
// A destination may answer that it has rejected some records of a request, and
// does not say which. Where that is all of them, they are refused. Where it is
// some, the sink refuses the request, and the delivery halves it until it knows:
// the good ones are sent again on the way, and are there twice. (The protocol
// would have the client give the rejected ones up; nothing is given up here
// without a word about which record it was.)
//
// Facts of the protocol are from the OTLP specification 1.9, the definitions in
// opentelemetry-proto, and gRPC's "gRPC over HTTP2".
package otlp

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

// Protocol is how requests travel.
type Protocol string

// The protocols.
const (
	HTTP Protocol = "http"
	GRPC Protocol = "grpc"
)

const (
	httpPath = "/v1/logs"
	grpcPath = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
)

// Options configure a Sink.
type Options struct {
	// URL is the base URL of the destination, or over HTTP the full one of its
	// logs endpoint. It holds no credentials.
	URL string
	// Protocol is HTTP when empty.
	Protocol Protocol
	// Resource holds names and templates of the attributes of a record's
	// resource. They may not depend on the stream. One that turns out empty is
	// left out.
	Resource map[string]string
	// Severity finds the severity of a record in the beginning of its line.
	Severity bool
	// UID adds the attribute log.record.uid, an identity that a record has in
	// every attempt.
	UID bool
	// Gzip compresses requests.
	Gzip bool
	// Client configures the connections.
	Client httpclient.Options
	// Logger is the sink's logger; nil is silent.
	Logger *slog.Logger
}

// Sink delivers to one destination. It implements delivery.Sink.
type Sink struct {
	url      *url.URL
	client   *httpclient.Client
	grpc     bool
	gzip     bool
	severity bool
	uid      bool
	header   http.Header
	fixed    *sourcecache.Cache[[]byte] // the encoded resource
	logger   *slog.Logger
	scratch  sync.Pool // of *scratch
}

var _ delivery.Sink = (*Sink)(nil)

// New returns a sink. It checks all options, reads the files that they name,
// and dials nothing.
func New(o Options) (*Sink, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sink{grpc: o.Protocol == GRPC, gzip: o.Gzip, severity: o.Severity, uid: o.UID, logger: o.Logger}
	switch o.Protocol {
	case HTTP, GRPC, "":
	default:
		return nil, fmt.Errorf("protocol %q is unknown: use %q or %q", o.Protocol, HTTP, GRPC)
	}
	var err error
	if s.url, err = httpclient.ParseURL(o.URL); err != nil {
		return nil, err
	}
	path, end := strings.TrimRight(s.url.Path, "/"), httpPath
	if s.grpc {
		end = grpcPath
	}
	s.url.Path, s.url.RawPath = strings.TrimSuffix(path, end)+end, ""
	s.header = http.Header{"Content-Type": {"application/x-protobuf"}}
	if o.Gzip {
		s.header["Content-Encoding"] = []string{"gzip"}
	}
	if s.grpc {
		s.header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
		if o.Gzip {
			s.header["Grpc-Encoding"] = []string{"gzip"}
		}
	}
	resource, err := newResource(o.Resource)
	if err != nil {
		return nil, err
	}
	s.fixed = sourcecache.New(func(src *record.Source, _ record.Stream) []byte { return resource.append(nil, src) })
	if o.Client.Logger == nil {
		o.Client.Logger = o.Logger
	}
	o.Client.HTTP2 = s.grpc
	if s.client, err = httpclient.New(o.Client); err != nil {
		return nil, err
	}
	s.scratch.New = func() any { return &scratch{} }
	return s, nil
}

// Send makes one attempt to export the records of req. See delivery.Sink for
// what its errors mean.
func (s *Sink) Send(ctx context.Context, req *delivery.Request) error {
	if !req.Encoded {
		if err := s.encode(req); err != nil {
			return &delivery.PermanentError{Reason: "encoding", Err: err}
		}
		req.Encoded = true
	}
	res, err := s.client.Post(ctx, s.url, s.header, req.Body)
	if err != nil {
		return err
	}
	if s.grpc {
		return s.readCall(res, req)
	}
	if err := res.Classify(); err != nil {
		return err
	}
	return s.readResponse(res, res.Body, req)
}

// Close closes the sink's unused connections. Call it after the last Send.
func (s *Sink) Close() { s.client.Close() }
