// Package elasticsearch delivers records to Elasticsearch, OpenSearch, and to
// whatever else speaks their bulk API.
//
// It owns the body of a bulk request, the names of indices, the choice among
// several hosts, and the reading of an answer item by item. Documents are
// jsondoc's; connections, credentials and certificates are httpclient's; retries
// and dead letters the delivery's.
//
// # Once
//
// Every document is created under an _id that is the record's identity (package
// identity). A record that comes again, because an answer was lost or the agent
// was killed, is answered 409: it is there already, and counts as taken. That is
// as far as one index goes: behind a data stream, or an index with a date that
// the record does not decide, a repeat that comes after a rollover is another
// document.
//
// # What an item's status means
//
// 200, 201 and 409 are taken. 429 and 5xx are transient, and so are 401, 403 and
// 404: a full disk (index blocks are 403), missing rights and a missing index are
// the operator's to repair, and hit good records. Every other 4xx refuses its
// record for good. Where an answer has both, the whole request is tried again:
// what was taken answers 409 then.
//
// Facts of the API are from Elastic's reference of the bulk API and OpenSearch's.
package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/jsondoc"
)

// Options configure a Sink.
type Options struct {
	// URLs are the base URLs of one or more hosts of one cluster. They hold no
	// credentials; a query is kept.
	URLs []string
	// CloudID is Elastic Cloud's name of a deployment, instead of URLs.
	CloudID string
	// Index is the template of the index or data stream.
	Index string
	// Pipeline is the ingest pipeline, empty for the index's own.
	Pipeline string
	// Documents say what a document looks like. A data stream wants the time
	// under "@timestamp".
	Documents jsondoc.Options
	// Gzip compresses requests.
	Gzip bool
	// Client configures the connections. An API key is its BearerToken with
	// TokenScheme "ApiKey".
	Client httpclient.Options
	// Logger is the sink's logger; nil is silent.
	Logger *slog.Logger
}

// Sink delivers to one cluster. It implements delivery.Sink.
type Sink struct {
	hosts   []*url.URL
	current atomic.Uint32 // the host that is asked, modulo their number
	client  *httpclient.Client
	index   *index
	shape   *jsondoc.Shape
	gzip    bool
	header  http.Header
	logger  *slog.Logger
	scratch sync.Pool // of *scratch
}

var _ delivery.Sink = (*Sink)(nil)

// maxAnswerBytes bounds an answer, which has an item for each record. An answer
// that is longer splits the request.
const maxAnswerBytes = 16 << 20

// New returns a sink. It checks all options, reads the files that they name,
// and dials nothing.
func New(o Options) (*Sink, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sink{gzip: o.Gzip, logger: o.Logger, header: http.Header{"Content-Type": {"application/x-ndjson"}}}
	if o.Gzip {
		s.header["Content-Encoding"] = []string{"gzip"}
	}
	if o.CloudID != "" {
		if len(o.URLs) > 0 {
			return nil, errors.New("both urls and cloud_id are set: keep one")
		}
		address, err := ParseCloudID(o.CloudID)
		if err != nil {
			return nil, err
		}
		o.URLs = []string{address}
	}
	if len(o.URLs) == 0 {
		return nil, errors.New("urls is empty: write for instance https://elasticsearch:9200")
	}
	for _, text := range o.URLs {
		host, err := bulkURL(text, o.Pipeline)
		if err != nil {
			return nil, err
		}
		s.hosts = append(s.hosts, host)
	}
	var err error
	if s.index, err = newIndex(o.Index); err != nil {
		return nil, err
	}
	if s.shape, err = jsondoc.NewShape(o.Documents); err != nil {
		return nil, err
	}
	if o.Client.Logger == nil {
		o.Client.Logger = o.Logger
	}
	o.Client.MaxResponseBytes = maxAnswerBytes
	if s.client, err = httpclient.New(o.Client); err != nil {
		return nil, err
	}
	s.scratch.New = func() any { return &scratch{} }
	return s, nil
}

// bulkURL returns the URL of a host's bulk endpoint. The answer is asked for
// without what nobody reads.
func bulkURL(text, pipeline string) (*url.URL, error) {
	u, err := httpclient.ParseURL(text)
	if err != nil {
		return nil, err
	}
	trimmed := strings.TrimRight(u.Path, "/")
	u.Path, u.RawPath = strings.TrimSuffix(trimmed, "/_bulk")+"/_bulk", ""
	q := u.Query()
	q.Set("filter_path", "errors,items.*.status,items.*.error.type,items.*.error.reason")
	if pipeline != "" {
		q.Set("pipeline", pipeline)
	}
	u.RawQuery = q.Encode()
	return u, nil
}

// Send makes one attempt to index the records of req, at one host. See
// delivery.Sink for what its errors mean.
func (s *Sink) Send(ctx context.Context, req *delivery.Request) error {
	if !req.Encoded {
		if err := s.encode(req); err != nil {
			return &delivery.PermanentError{Reason: "encoding", Err: err}
		}
		req.Encoded = true
	}
	current := s.current.Load()
	res, err := s.client.Post(ctx, s.hosts[int(current)%len(s.hosts)], s.header, req.Body)
	if err != nil {
		s.next(current)
		return err
	}
	switch res.Status {
	case http.StatusOK:
		return readAnswer(res, req)
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		s.next(current)
	}
	if err := res.Classify(); err != nil {
		return err
	}
	return res.Error("a bulk request is answered 200: check the sink's urls")
}

// next moves on from a host that does not answer. The next attempt, of whatever
// worker, asks the one after it.
func (s *Sink) next(failed uint32) {
	if len(s.hosts) == 1 || !s.current.CompareAndSwap(failed, failed+1) {
		return
	}
	from, to := s.hosts[int(failed)%len(s.hosts)], s.hosts[int(failed+1)%len(s.hosts)]
	s.logger.Warn("host_does_not_answer", "host", from.Host, "next", to.Host)
}

// Close closes the sink's unused connections. Call it after the last Send.
func (s *Sink) Close() { s.client.Close() }

// errAnswer says that an answer is not that of a bulk API.
func errAnswer(res *httpclient.Response, what string) error {
	return res.Error(fmt.Sprintf("this is no answer to a bulk request (%s): check the sink's urls", what))
}
