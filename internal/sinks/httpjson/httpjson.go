// Package httpjson delivers records as JSON lines to any URL: VictoriaLogs, a
// log pipeline, a program of the user's own.
//
// It owns the body of a request, one document a line (see jsondoc), and what an
// answer means when nothing is known of the destination but that it speaks HTTP:
// 2xx says that all of a request was taken, 400 and 422 that something in it
// never will be, 413 that it was too large, and anything else that it may be
// tried again. Connections, credentials and certificates are httpclient's.
//
// A destination that stores the good documents of a request that it refuses gets
// them again while the delivery looks for the bad one; an id_field lets it, or
// whoever reads it, tell.
package httpjson

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/identity"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/reuse"
)

// Options configure a Sink.
type Options struct {
	// URL is where requests are posted to. It holds no credentials; a query is
	// kept.
	URL string
	// Documents say what a line looks like.
	Documents jsondoc.Options
	// Gzip compresses requests.
	Gzip bool
	// Client configures the connections.
	Client httpclient.Options
	// Logger is the sink's logger; nil is silent.
	Logger *slog.Logger
}

// Sink delivers to one URL. It implements delivery.Sink.
type Sink struct {
	url     *url.URL
	client  *httpclient.Client
	shape   *jsondoc.Shape
	gzip    bool
	header  http.Header
	scratch sync.Pool // of *scratch
}

var _ delivery.Sink = (*Sink)(nil)

// scratch is what one encoding needs besides the request's own buffer.
type scratch struct {
	raw   reuse.Buffer
	id    []byte
	clock jsondoc.Clock
	gzip  httpclient.Gzip
}

// New returns a sink. It checks all options, reads the files that they name,
// and dials nothing.
func New(o Options) (*Sink, error) {
	target, err := httpclient.ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	s := &Sink{url: target, gzip: o.Gzip, header: http.Header{"Content-Type": {"application/x-ndjson"}}}
	if o.Gzip {
		s.header["Content-Encoding"] = []string{"gzip"}
	}
	if s.shape, err = jsondoc.NewShape(o.Documents); err != nil {
		return nil, err
	}
	if o.Client.Logger == nil {
		o.Client.Logger = o.Logger
	}
	if s.client, err = httpclient.New(o.Client); err != nil {
		return nil, err
	}
	s.scratch.New = func() any { return &scratch{} }
	return s, nil
}

// Send makes one attempt to post the records of req. See delivery.Sink for what
// its errors mean.
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
	return res.Classify()
}

// encode writes the documents into req.Body.
func (s *Sink) encode(req *delivery.Request) error {
	sc := s.scratch.Get().(*scratch)
	defer s.scratch.Put(sc)
	if !s.gzip {
		req.Body = s.append(req.Body[:0], sc, req)
		return nil
	}
	raw := s.append(sc.raw.Take(), sc, req)
	sc.raw.Keep(raw)
	var err error
	if req.Body, err = sc.gzip.Append(req.Body[:0], raw); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}

// append appends a line for each record.
func (s *Sink) append(dst []byte, sc *scratch, req *delivery.Request) []byte {
	for i := range req.Parts {
		p := &req.Parts[i]
		source, numbers := identity.Of(p.Batch.Source), identity.Before(p.Batch, p.From)
		for j := p.From; j < p.To; j++ {
			r := &p.Batch.Records[j]
			number := numbers.Next(p.Batch, r)
			if !p.Streams.Has(r.Stream) {
				continue
			}
			if s.shape.HasID() {
				sc.id = source.Append(sc.id[:0], r, number, p.Batch.Line(r))
			}
			dst = s.shape.Append(dst, &sc.clock, p.Batch, r, sc.id)
			dst = append(dst, '\n')
		}
	}
	return dst
}

// Close closes the sink's unused connections. Call it after the last Send.
func (s *Sink) Close() { s.client.Close() }
