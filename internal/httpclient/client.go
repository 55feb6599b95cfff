// Package httpclient is the HTTP client that all sinks share: it makes one
// attempt, with the authentication and TLS that the user configured, and hands
// back a small, bounded answer.
//
// It owns the connections to one destination, reads secrets and certificates
// again when their files change, and puts into words what an operator has to
// fix when the destination refuses. It promises that
//   - redirects are never followed, so that credentials go nowhere else;
//   - a request body is not touched any more once Post has returned, whatever
//     the connection is doing;
//   - a bounded part of an answer is held, and its connection is used
//     again or closed, never leaked;
//   - no error and no Response.Message holds a configured secret.
//
// Retries, backoff and encodings are left to the delivery and to the sinks.
package httpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// MaxResponseBytes is how much of an answer's body is kept, unless
// Options.MaxResponseBytes says otherwise.
const MaxResponseBytes = 64 << 10

// maxDrainBytes is how much more of an answer is read to keep its connection.
// Closing the connection is cheaper beyond that.
const maxDrainBytes = 256 << 10

// Options configure a Client.
type Options struct {
	// Timeout bounds one attempt, from dialling to the last byte of the answer.
	// Zero leaves it to the context alone.
	Timeout time.Duration
	// BasicAuth is the user and password, nil for none.
	BasicAuth *BasicAuth
	// BearerToken is sent in the Authorization header.
	BearerToken string
	// TokenScheme stands before the token there, "Bearer" when empty: some
	// destinations have a word of their own ("ApiKey", "Splunk").
	TokenScheme string
	// BearerTokenFile is read instead of BearerToken, and again when it
	// changes.
	BearerTokenFile string
	// TLS configures https URLs.
	TLS TLS
	// Headers are added to each request. Their values are treated as secrets.
	Headers map[string]string
	// UserAgent names the agent to the destination.
	UserAgent string
	// MaxIdleConns is how many unused connections are kept, 8 when zero. Set
	// it to the sink's concurrency.
	MaxIdleConns int
	// MaxResponseBytes is how much of an answer's body is kept, MaxResponseBytes
	// when zero. Only a destination that answers for every record needs more.
	MaxResponseBytes int
	// HTTP2 speaks HTTP/2 and nothing else, without TLS as well, as gRPC wants
	// it. Requests share connections then.
	HTTP2 bool
	// Logger tells of files that were read again; nil is silent.
	Logger *slog.Logger
}

// Client posts requests to one destination. It may be used from any number of
// goroutines.
type Client struct {
	options    Options
	auth       *authorizer
	headers    http.Header
	host       string
	transports *transports
}

// New returns a client. It reads the files that o names, and dials nothing. A
// file that can't be read and options that contradict each other are errors.
func New(o Options) (*Client, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("timeout %v is negative", o.Timeout)
	}
	auth, err := newAuthorizer(o)
	if err != nil {
		return nil, err
	}
	headers, host, err := checkHeaders(o)
	if err != nil {
		return nil, err
	}
	if o.MaxResponseBytes <= 0 {
		o.MaxResponseBytes = MaxResponseBytes
	}
	transports, err := newTransports(o)
	if err != nil {
		return nil, err
	}
	return &Client{options: o, auth: auth, headers: headers, host: host, transports: transports}, nil
}

// Post makes one attempt to send body to target, which must be an absolute
// http or https URL without credentials. The header's fields are added to the
// configured ones; neither it nor body is kept after Post has returned.
//
// It is one attempt: unlike http.Client, it sends no body twice, except on
// another connection when nothing of it went out on the first. An error means
// that no complete answer came, so that the destination may or may not have
// taken the body: the attempt may be repeated. What the
// destination answered, good or bad, is a Response.
func (c *Client) Post(ctx context.Context, target *url.URL, header http.Header, body []byte) (*Response, error) {
	return c.do(ctx, http.MethodPost, target, header, body)
}

// Ask makes one attempt to ask target what may be done there (OPTIONS), which
// does nothing. Otherwise it is as Post.
func (c *Client) Ask(ctx context.Context, target *url.URL) (*Response, error) {
	return c.do(ctx, http.MethodOptions, target, nil, nil)
}

func (c *Client) do(ctx context.Context, method string, target *url.URL, header http.Header, body []byte) (*Response, error) {
	if c.options.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.options.Timeout, errTimeout(c.options.Timeout))
		defer cancel()
	}
	var reader func() (io.ReadCloser, error)
	if len(body) <= smallBytes {
		reader = small(body)
	} else {
		payload := &payload{data: body}
		defer payload.detach()
		reader = payload.reader
	}
	first, _ := reader() // never fails

	req := (&http.Request{
		Method:        method,
		URL:           target,
		Host:          c.host,
		Header:        c.headers.Clone(),
		Body:          first,
		GetBody:       reader,
		ContentLength: int64(len(body)),
	}).WithContext(ctx)
	for name, values := range header {
		req.Header[name] = values
	}
	secrets, err := c.auth.authorize(req.Header)
	if err != nil {
		return nil, err
	}

	transport := c.transports.acquire()
	defer c.transports.release(transport)
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, c.transportError(ctx, method, target, err)
	}
	defer res.Body.Close()
	answer, err := readResponse(res, c.options.MaxResponseBytes, append(secrets, c.headerSecrets()...))
	if err != nil {
		return nil, c.transportError(ctx, method, target, err)
	}
	return answer, nil
}

// Close closes the unused connections, and lets those in use be closed when
// their requests end.
func (c *Client) Close() { c.transports.close() }

// transportError says what went wrong on the way to target and back. Queries
// may hold secrets and are left out.
func (c *Client) transportError(ctx context.Context, method string, target *url.URL, err error) error {
	var timeout errTimeout
	if errors.As(context.Cause(ctx), &timeout) {
		err = timeout
	}
	return fmt.Errorf("%s to %s://%s%s: %w", strings.ToLower(method), target.Scheme, target.Host, target.Path, err)
}

// errTimeout is why an attempt's context ended when Options.Timeout ended it.
type errTimeout time.Duration

func (e errTimeout) Error() string {
	return fmt.Sprintf("no answer within the timeout of %v", time.Duration(e))
}

// Unwrap makes the error one of context.DeadlineExceeded.
func (e errTimeout) Unwrap() error { return context.DeadlineExceeded }
