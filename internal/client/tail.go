package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"log_capturer/internal/server"
)

// TailFilter says which records are wanted. The zero value wants all.
type TailFilter struct {
	// Sources are patterns of names of containers and files, or beginnings of ids.
	Sources []string
	// Stream is stdout or stderr.
	Stream string
	// Level is the least level.
	Level string
	// Text and Regexp are what a line has to hold, and Where is an expression that
	// has to be true.
	Text, Regexp, Where string
	// Stage is raw or processed.
	Stage string
}

// Tail is a stream of records from a running agent. Its methods are for one
// goroutine.
type Tail struct {
	body  io.ReadCloser
	lines *bufio.Reader
}

// Tail begins to read what the agent accepts from now on, until ctx ends. The
// caller closes it.
func (c *Client) Tail(ctx context.Context, f TailFilter) (*Tail, error) {
	query := url.Values{}
	for _, pattern := range f.Sources {
		query.Add("source", pattern)
	}
	for key, value := range map[string]string{
		"stream": f.Stream, "level": f.Level, "text": f.Text, "regexp": f.Regexp, "where": f.Where, "stage": f.Stage,
	} {
		if value != "" {
			query.Set(key, value)
		}
	}
	resp, err := c.do(ctx, http.MethodGet, "/api/v1/tail", query) //nolint:bodyclose // Tail.Close does
	if err != nil {
		return nil, err
	}
	return &Tail{body: resp.Body, lines: bufio.NewReaderSize(resp.Body, 64<<10)}, nil
}

// Next returns the next line, and its JSON, which is valid until the next call.
// It blocks until there is one. ErrUnreachable says that the agent has ended.
func (t *Tail) Next() (line server.TailLine, text []byte, err error) {
	for {
		text, err = t.lines.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, context.Canceled) {
				return line, nil, err
			}
			return line, nil, fmt.Errorf("%w any more: the tail has ended", ErrUnreachable)
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			break // and not only a sign of life
		}
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return line, nil, fmt.Errorf("read a line of the tail: %w", err)
	}
	return line, text, nil
}

// Close ends the tail.
func (t *Tail) Close() error { return t.body.Close() }

// Pending reports whether more has come already than Next has returned.
func (t *Tail) Pending() bool { return t.lines.Buffered() > 0 }
