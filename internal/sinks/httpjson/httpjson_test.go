package httpjson

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/sinks/httpjson/httpjsontest"
	"log_capturer/internal/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func documents() jsondoc.Options {
	return jsondoc.Options{Time: "time", Line: "line", Fields: jsondoc.DefaultFields()}
}

func newSink(t testing.TB, o Options) *Sink {
	t.Helper()
	if o.Documents.Line == "" {
		o.Documents = documents()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSuite(t *testing.T) {
	for _, gzip := range []bool{false, true} {
		t.Run(fmt.Sprintf("gzip %t", gzip), func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Start: func(t *testing.T, config *tls.Config) sinktest.Target {
					return sinktest.StartServer(t, httpjsontest.Protocol(sinktest.PlainNames), config)
				},
				New: func(t *testing.T, to sinktest.Target, c sinktest.Connect) delivery.Sink {
					return newSink(t, Options{
						URL: to.(*sinktest.Server).URL() + "/ingest?a=b", Gzip: gzip,
						Client: httpclient.Options{TLS: c.TLS, BearerTokenFile: c.TokenFile},
					})
				},
			})
		})
	}
}

func TestEveryAnswer(t *testing.T) {
	f := func(status int, want string) {
		t.Helper()
		server := sinktest.StartServer(t, sinktest.Protocol{Serve: func(*sinktest.HTTPRequest) sinktest.Answer {
			return sinktest.Answer{Status: status}
		}}, nil)
		defer server.Close()
		err := newSink(t, Options{URL: server.URL()}).Send(t.Context(), sinktest.Request(2))
		got := "transient"
		if err == nil {
			got = "taken"
		} else if _, ok := errors.AsType[*delivery.PermanentError](err); ok {
			got = "permanent"
		} else if _, ok := errors.AsType[*delivery.TooLargeError](err); ok {
			got = "too large"
		}
		if got != want {
			t.Errorf("%d: %s (%v), want %s", status, got, err, want)
		}
	}
	f(200, "taken")
	f(202, "taken")
	f(204, "taken")
	f(301, "transient")
	f(400, "permanent")
	f(401, "transient")
	f(404, "transient")
	f(413, "too large")
	f(422, "permanent")
	f(429, "transient")
	f(500, "transient")
}

// An id_field gives each record an identity, the same in each attempt.
func TestIdentities(t *testing.T) {
	var bodies []string
	server := sinktest.StartServer(t, sinktest.Protocol{Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
		bodies = append(bodies, string(r.Body))
		return sinktest.Answer{Status: 200}
	}}, nil)
	defer server.Close()
	o := Options{URL: server.URL(), Documents: documents()}
	o.Documents.ID = "id"
	s := newSink(t, o)
	req := sinktest.Request(10)
	for range 2 {
		req.Encoded = false
		if err := s.Send(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	req.Parts[0].From, req.Encoded = 5, false
	if err := s.Send(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if bodies[0] != bodies[1] || !strings.HasSuffix(bodies[0], bodies[2]) || strings.Count(bodies[2], `"id":"`) != 5 {
		t.Errorf("attempts differ:\n%s\n%s\n%s", bodies[0], bodies[1], bodies[2])
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	for _, gzip := range []bool{false, true} {
		o := Options{URL: "http://127.0.0.1:1", Gzip: gzip, Documents: documents()}
		o.Documents.ID = "id"
		s := newSink(t, o)
		req := sinktest.Request(1000)
		sc := s.scratch.Get()
		s.scratch.New = func() any { return sc } // the race detector empties pools at random
		if n := testing.AllocsPerRun(50, func() {
			if err := s.encode(req); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("gzip %t: %v allocations for 1000 records", gzip, n)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	f(Options{}, "no absolute http or https URL")
	f(Options{URL: "http://u:hunter2@h/", Documents: documents()}, "move them to basic_auth")
	f(Options{URL: "http://h/"}, "the line has no name")
	f(Options{URL: "http://h/", Documents: documents(), Client: httpclient.Options{BearerTokenFile: "/nonexistent"}}, "no such file")
}
