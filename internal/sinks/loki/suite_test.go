package loki

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/sinks/sinktest"
)

// target is the strict Loki as the suite wants it.
type target struct {
	*lokitest.Server

	mu      sync.Mutex
	faulted int
	fault   func(int) sinktest.Fault
	refuse  func(string) bool
	limit   int
	token   string
}

func startTarget(t *testing.T, config *tls.Config) sinktest.Target {
	t.Helper()
	s := &target{}
	var err error
	s.Server, err = lokitest.Start(lokitest.Options{
		TLS: config, Keep: true, Deduplicate: true, Fault: s.next,
		Limits: lokitest.Limits{Refuse: func(_ string, _ int64, line []byte) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.refuse != nil && s.refuse(string(line)) {
				return errors.New("a reason of the future")
			}
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// next says what goes wrong with a push.
func (s *target) next(_ int, r *http.Request) (lokitest.Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
		return lokitest.Fault{Status: http.StatusUnauthorized, Body: "no org id, and the token is " + r.Header.Get("Authorization")}, true
	}
	var fault sinktest.Fault
	if s.fault != nil {
		fault = s.fault(s.faulted)
		s.faulted++
	}
	switch {
	case fault.Kind == sinktest.Busy:
		f := lokitest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{}}
		if fault.RetryAfter > 0 {
			f.Header.Set("Retry-After", fmt.Sprint(fault.RetryAfter.Seconds()))
		}
		return f, true
	case fault.Kind == sinktest.Hang:
		return lokitest.Fault{Hang: true}, true
	case s.limit > 0 && r.ContentLength > int64(s.limit):
		return lokitest.Fault{Status: http.StatusRequestEntityTooLarge}, true
	case fault.Kind == sinktest.Lost:
		return lokitest.Fault{Store: true, CutAnswer: true}, true
	}
	return lokitest.Fault{}, false
}

func (s *target) Lines() []sinktest.Line {
	var lines []sinktest.Line
	for _, e := range s.Entries() {
		stream := record.Stdout
		if strings.Contains(e.Labels, `stream="stderr"`) {
			stream = record.Stderr
		}
		_, name, _ := strings.Cut(e.Labels, `container="`)
		name, _, _ = strings.Cut(name, `"`)
		lines = append(lines, sinktest.Line{Source: name, Stream: stream, Text: e.Line})
	}
	return lines
}

func (s *target) Requests() int { return s.Stats().Requests }

func (s *target) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *target) SetFault(fault func(int) sinktest.Fault) {
	s.set(func() { s.fault, s.faulted = fault, 0 })
}
func (s *target) SetRefuse(refuse func(string) bool) { s.set(func() { s.refuse = refuse }) }
func (s *target) SetLimit(n int)                     { s.set(func() { s.limit = n }) }
func (s *target) SetToken(token string)              { s.set(func() { s.token = token }) }

func TestSuite(t *testing.T) {
	for _, encoding := range []Encoding{Protobuf, JSON} {
		t.Run(string(encoding), func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Start: startTarget,
				New: func(t *testing.T, to sinktest.Target, c sinktest.Connect) delivery.Sink {
					return newSink(t, Options{
						URL: to.(*target).URL(), StreamsPerPush: 1, Encoding: encoding,
						Client: httpclient.Options{TLS: c.TLS, BearerTokenFile: c.TokenFile},
					})
				},
				Once: true,
			})
		})
	}
}
