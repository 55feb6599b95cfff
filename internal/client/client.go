// Package client asks a running agent over its API.
//
// It owns the finding of the agent's address and the requests to it, and turns
// what goes wrong into words that say what to do next. What the answers hold is
// the server's.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"log_capturer/internal/cursors"
	"log_capturer/internal/server"
)

// askTimeout bounds a question that has one answer.
const askTimeout = 10 * time.Second

// maxAnswer is the largest answer to such a question, in bytes. It has room for
// tens of thousands of containers.
const maxAnswer = 64 << 20

// ErrUnreachable is wrapped by errors that say that nobody answers at the
// address.
var ErrUnreachable = errors.New("no agent answers")

// StatusError is an answer other than the one that was hoped for.
type StatusError struct {
	// Code is the status of HTTP.
	Code int
	// Message is what the agent said.
	Message string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the agent answers %d: %s", e.Code, e.Message)
}

// Client asks one agent. It may be used from several goroutines at once.
type Client struct {
	base *url.URL
	http *http.Client
}

// New returns a client of the agent at address, "host:port" or a URL. An address
// that means every interface (":8401", "0.0.0.0:8401") stands for this machine.
// It does not connect yet.
func New(address string) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is no address of an agent: write for instance 127.0.0.1:8401", address)
	}
	if ip := net.ParseIP(base.Hostname()); base.Hostname() == "" || ip != nil && ip.IsUnspecified() {
		base.Host = net.JoinHostPort("127.0.0.1", base.Port())
	}
	base.Path, base.RawQuery, base.Fragment = strings.TrimRight(base.Path, "/"), "", ""
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     time.Minute,
	}
	return &Client{base: base, http: &http.Client{Transport: transport}}, nil
}

// Close ends the unused connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Address returns the agent's base URL.
func (c *Client) Address() string { return c.base.Redacted() }

// Status returns the facts about the agent.
func (c *Client) Status(ctx context.Context) (server.Status, error) {
	var status server.Status
	return status, c.get(ctx, "/api/v1/status", &status)
}

// Containers returns what the agent knows of every container, by name.
func (c *Client) Containers(ctx context.Context) ([]server.Container, error) {
	var list []server.Container
	return list, c.get(ctx, "/api/v1/containers", &list)
}

// Positions returns how far every sink has come.
func (c *Client) Positions(ctx context.Context) (cursors.Export, error) {
	var e cursors.Export
	return e, c.get(ctx, "/api/v1/positions", &e)
}

// Health is the answer of /health. Its statuses are "healthy", "degraded" and
// "unhealthy".
type Health struct {
	Status     string      `json:"status"`
	Components []Component `json:"components"`
}

// Component is the report of one component.
type Component struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Reason string `json:"reason"`
}

// Health returns how the agent is. An agent that is not healthy is no error.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	err := c.get(ctx, "/health", &h)
	if refused, ok := errors.AsType[*StatusError](err); ok && refused.Code == http.StatusServiceUnavailable {
		err = json.Unmarshal([]byte(refused.Message), &h)
	}
	return h, err
}

// get decodes the JSON at a path.
func (c *Client) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("read the answer of the agent at %s: %w", c.Address(), err)
	}
	return nil
}

// do makes a request. An answer that is not 2xx is a StatusError, and the body
// of every other one is the caller's to close.
func (c *Client) do(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	target := *c.base
	target.Path += path
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
			return nil, cause
		}
		var why *url.Error
		if errors.As(err, &why) {
			err = why.Err // without the URL, which is named once
		}
		return nil, fmt.Errorf("%w at %s: %w; start it, or name its address with --api", ErrUnreachable, c.Address(), err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of the agent at %s: %w", c.Address(), err)
	}
	message := strings.TrimSpace(string(body))
	var told struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &told) == nil && told.Error != "" {
		message = told.Error
	}
	return nil, &StatusError{Code: resp.StatusCode, Message: message}
}
