package httpclient

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Response is a destination's answer.
type Response struct {
	// Status is the HTTP status code.
	Status int
	// Header are the answer's header fields.
	Header http.Header
	// Trailer are the fields that came after the body.
	Trailer http.Header
	// Body is the beginning of the body, bounded by the client's options. It may
	// repeat secrets that were sent: show Message instead.
	Body []byte
	// Truncated is set when the body was longer.
	Truncated bool
	// Message is the body as one short line that may be shown.
	Message string

	secrets []string
}

// Shown returns a text of the answer, from a header say, as one short line that
// may be shown.
func (r *Response) Shown(text string) string { return message([]byte(text), r.secrets) }

// maxMessageBytes bounds Response.Message.
const maxMessageBytes = 512

// maxRetryAfter bounds what a destination can ask for: beyond that, asking
// again costs less than waiting for a mistake.
const maxRetryAfter = time.Hour

// readResponse reads a bounded answer and what little more there is.
func readResponse(res *http.Response, limit int, secrets []string) (*Response, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	r := &Response{Status: res.StatusCode, Header: res.Header, Trailer: res.Trailer, Body: body, secrets: secrets}
	if len(body) > limit {
		r.Body, r.Truncated = body[:limit], true
		// What is drained keeps the connection; what can't be is not missed.
		_, _ = io.CopyN(io.Discard, res.Body, maxDrainBytes)
	}
	r.Message = message(r.Body, secrets)
	return r, nil
}

// message makes one printable line of body, without the secrets.
func message(body []byte, secrets []string) string {
	// No more than this can be left of it; a secret that is cut through lies
	// beyond what is shown.
	text := string(body[:min(len(body), MaxResponseBytes)])
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxMessageBytes {
		text = strings.ToValidUTF8(text[:maxMessageBytes], "") + "…"
	}
	return text
}

// RetryAfter returns how long the destination asked to be left alone, zero when
// it did not. The header holds seconds, or the time at which to come back.
func (r *Response) RetryAfter() time.Duration {
	return parseRetryAfter(r.Header.Get("Retry-After"), time.Now())
}

// parseRetryAfter reads the header's two forms (RFC 9110, section 10.2.3).
// Fractions of a second, which some gateways send, are taken as well.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	var after time.Duration
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		// Compared as a number first: its conversion to nanoseconds may
		// overflow. A NaN compares as false and asks for nothing.
		switch {
		case seconds > maxRetryAfter.Seconds():
			after = maxRetryAfter
		case seconds > 0:
			after = time.Duration(seconds * float64(time.Second))
		}
	} else if at, err := http.ParseTime(value); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), maxRetryAfter)
}
