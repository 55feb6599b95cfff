package otlp

import (
	"strings"
	"testing"

	"log_capturer/internal/httpclient"
	"log_capturer/internal/sinks/otlp/otlptest"
	"log_capturer/internal/sinks/sinktest"
)

// A check exports nothing, and meets with what an export would.
func TestCheck(t *testing.T) {
	for _, protocol := range []Protocol{HTTP, GRPC} {
		for _, gzip := range []bool{false, true} {
			spoken := otlptest.HTTP
			if protocol == GRPC {
				spoken = otlptest.GRPC
			}
			server := sinktest.StartServer(t, spoken, nil)
			f := func(url, token, want string) {
				t.Helper()
				err := newSink(t, Options{URL: url, Protocol: protocol, Gzip: gzip, Client: httpclient.Options{BearerToken: token}}).Check(t.Context())
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s, gzip %t: %v, want %q", protocol, gzip, err, want)
				}
			}
			f(server.URL(), "", "")
			if server.Requests() != 1 || len(server.Lines()) != 0 {
				t.Errorf("%s: %d requests, lines %v", protocol, server.Requests(), server.Lines())
			}
			server.SetToken("right")
			f(server.URL(), "right", "")
			f(server.URL(), "wrong", "check the sink's credentials")
			server.SetToken("")
			if v := server.Violations(); len(v) > 0 {
				t.Errorf("%s: violations %q", protocol, v)
			}
			other := sinktest.StartServer(t, sinktest.Protocol{
				Serve: func(*sinktest.HTTPRequest) sinktest.Answer { return sinktest.Answer{Status: 404} }, HTTP2: protocol == GRPC,
			}, nil)
			f(other.URL(), "", "check the path of the sink's url")
			other.Close()
			f(other.URL(), "", "post to http://127.0.0.1")
			server.Close()
		}
	}
}
