// Package httpjsontest has a strict destination for tests that takes JSON lines.
package httpjsontest

import (
	"fmt"
	"net/http"

	"log_capturer/internal/sinks/sinktest"
)

// Protocol is what a strict taker of JSON lines at /ingest?a=b speaks: it refuses a
// request whole.
func Protocol(names sinktest.Names) sinktest.Protocol {
	return sinktest.Protocol{
		Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
			if r.Method != http.MethodPost || r.URL.Path != "/ingest" || r.URL.RawQuery != "a=b" ||
				r.Header.Get("Content-Type") != "application/x-ndjson" {
				return sinktest.Answer{Violation: fmt.Sprintf("%s %s with %v", r.Method, r.URL, r.Header)}
			}
			lines, err := names.Documents(r.Body)
			if err != nil {
				return sinktest.Answer{Violation: err.Error()}
			}
			for _, l := range lines {
				if r.Refuse(l.Text) {
					return sinktest.Answer{Status: http.StatusBadRequest, Body: "no such thing"}
				}
			}
			return sinktest.Answer{Status: http.StatusNoContent, Store: lines}
		},
		Busy: func(f sinktest.Fault) sinktest.Answer {
			a := sinktest.Answer{Status: http.StatusServiceUnavailable}
			if f.RetryAfter > 0 {
				a.Header = map[string]string{"Retry-After": fmt.Sprint(f.RetryAfter.Seconds())}
			}
			return a
		},
		TooLarge:     func() sinktest.Answer { return sinktest.Answer{Status: http.StatusRequestEntityTooLarge} },
		Authorized:   func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "Bearer "+token },
		Unauthorized: func() sinktest.Answer { return sinktest.Answer{Status: http.StatusUnauthorized} },
	}
}
