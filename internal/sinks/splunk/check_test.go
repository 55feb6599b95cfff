package splunk

import (
	"strings"
	"testing"
	"time"

	"log_capturer/internal/httpclient"
	"log_capturer/internal/sinks/sinktest"
	"log_capturer/internal/sinks/splunk/splunktest"
)

// A check sends no event, and says what HEC's own words mean.
func TestCheck(t *testing.T) {
	f := func(c *splunktest.Collector, o Options, want string) {
		t.Helper()
		server := c.Start(t, nil)
		defer server.Close()
		server.SetToken("right")
		if o.URL == "" {
			o.URL = server.URL()
		}
		if o.Client.BearerToken == "" {
			o.Client.BearerToken = "right"
		}
		o.Client.TokenScheme, o.PollInterval, o.Gzip = "Splunk", time.Millisecond, true
		err := newSink(t, o).Check(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
		if v := server.Violations(); len(v) > 0 || len(server.Lines()) > 0 {
			t.Errorf("violations %q, lines %v", v, server.Lines())
		}
	}
	f(&splunktest.Collector{}, Options{}, "")
	f(&splunktest.Collector{Raw: true}, Options{Endpoint: Raw}, "")
	f(&splunktest.Collector{Acknowledges: true}, Options{Acknowledge: true}, "")
	f(&splunktest.Collector{}, Options{Acknowledge: true}, "indexer acknowledgement is off for the token")
	f(&splunktest.Collector{}, Options{Client: httpclient.Options{BearerToken: "wrong"}}, "Splunk does not know the token")
	answers := func(status int, body, want string) {
		t.Helper()
		server := sinktest.StartServer(t, sinktest.Protocol{Serve: func(*sinktest.HTTPRequest) sinktest.Answer {
			return sinktest.Answer{Status: status, Body: body}
		}}, nil)
		defer server.Close()
		f(&splunktest.Collector{}, Options{URL: server.URL()}, want)
	}
	answers(403, `{"text":"Token disabled","code":1}`, "enable it in Splunk")
	answers(503, `{"text":"Server is busy","code":9}`, "503")
	answers(400, `{"text":"Data channel is missing","code":10}`, "drops the channel's header")
	answers(200, "hello", "this is no answer of an event collector")
	answers(404, "", "check the path of the sink's url")
}
