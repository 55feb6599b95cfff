package httpclient

import (
	"fmt"
	"net/http"

	"log_capturer/internal/delivery"
)

// StatusError is an answer that refuses the request, in words for the operator.
// By itself it is transient.
type StatusError struct {
	// Status is the HTTP status code.
	Status int
	// Message is what the destination said, bounded and without secrets.
	Message string
	// Hint says what to do about it; empty when waiting is all.
	Hint string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("destination answered %d", e.Status)
	if name := http.StatusText(e.Status); name != "" {
		text += " " + name
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Error returns the answer as a StatusError with the given hint, wrapped in a
// delivery.RetryAfterError where the destination said when to come back. It is
// transient.
func (r *Response) Error(hint string) error {
	err := &StatusError{Status: r.Status, Message: r.Message, Hint: hint}
	if after := r.RetryAfter(); after > 0 {
		return &delivery.RetryAfterError{After: after, Err: err}
	}
	return err
}

// Classify translates an answer to what delivery.Sink promises, by its status
// alone:
//   - 2xx is nil;
//   - 413 is a *delivery.TooLargeError;
//   - 400 and 422 are a *delivery.PermanentError, "bad_request";
//   - everything else is transient.
//
// Transient are also the answers that only an operator can change: wrong
// credentials, a wrong path, a redirect. They hit every record alike, so the
// records wait for the operator, who reads in the error what to fix, rather
// than being dead-lettered one by one.
func (r *Response) Classify() error {
	switch s := r.Status; {
	case s >= 200 && s < 300:
		return nil
	case s == http.StatusRequestEntityTooLarge:
		return &delivery.TooLargeError{Err: &StatusError{Status: s, Message: r.Message}}
	case s == http.StatusBadRequest, s == http.StatusUnprocessableEntity:
		return &delivery.PermanentError{Reason: "bad_request", Err: &StatusError{Status: s, Message: r.Message}}
	default:
		return r.Error(r.hint())
	}
}

// hint says what an operator can do about the answer.
func (r *Response) hint() string {
	switch s := r.Status; {
	case s == http.StatusUnauthorized:
		return "check the sink's credentials"
	case s == http.StatusForbidden:
		return "the credentials are known but may not write here: check their rights, and the tenant"
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed, s == http.StatusGone:
		return "check the path of the sink's url"
	case s == http.StatusProxyAuthRequired:
		return "a proxy stands in between and wants credentials: check HTTPS_PROXY and NO_PROXY"
	case s == http.StatusUnsupportedMediaType, s == http.StatusNotAcceptable:
		return "check the sink's encoding"
	case s == http.StatusRequestHeaderFieldsTooLarge, s == http.StatusRequestURITooLong:
		return "check the sink's headers and url"
	case s >= 300 && s < 400:
		return "redirects are not followed: set the sink's url to where it really is"
	case s == http.StatusRequestTimeout, s == http.StatusTooManyRequests, s == http.StatusTooEarly, s >= 500:
		return ""
	default:
		return "check the sink's url and what stands between here and there"
	}
}
