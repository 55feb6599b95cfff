package httpjson

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"log_capturer/internal/httpclient"
	"log_capturer/internal/sinks/httpjson/httpjsontest"
	"log_capturer/internal/sinks/sinktest"
)

// A check gives the destination nothing, and says what is wrong as far as it can
// be told.
func TestCheck(t *testing.T) {
	f := func(status int, want string) {
		t.Helper()
		asked := 0
		server := sinktest.StartServer(t, sinktest.Protocol{Serve: func(r *sinktest.HTTPRequest) sinktest.Answer {
			asked++
			if r.Method != http.MethodOptions || len(r.Body) > 0 || r.URL.Path != "/ingest" || r.URL.RawQuery != "a=b" {
				return sinktest.Answer{Violation: fmt.Sprintf("%s %s with %q", r.Method, r.URL, r.Body)}
			}
			return sinktest.Answer{Status: status}
		}}, nil)
		defer server.Close()
		err := newSink(t, Options{URL: server.URL() + "/ingest?a=b", Gzip: true}).Check(t.Context())
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%d: %s, want %q", status, got, want)
		}
		if v := server.Violations(); len(v) > 0 || asked != 1 {
			t.Errorf("%d requests, violations %q", asked, v)
		}
	}
	f(200, "")
	f(204, "")
	f(405, "") // it takes posts alone
	f(501, "")
	f(401, "check the sink's credentials")
	f(404, "check the path of the sink's url")
	f(301, "redirects are not followed")
	f(503, "503")

	server := sinktest.StartServer(t, httpjsontest.Protocol(sinktest.PlainNames), nil)
	server.SetToken("right")
	err := newSink(t, Options{URL: server.URL() + "/ingest?a=b", Client: httpclient.Options{BearerToken: "wrong"}}).Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "check the sink's credentials") {
		t.Errorf("with a wrong token: %v", err)
	}
	server.Close()
	if err := newSink(t, Options{URL: server.URL()}).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "options to http://127.0.0.1") {
		t.Errorf("with nobody there: %v", err)
	}
}
