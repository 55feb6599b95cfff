package elasticsearch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"log_capturer/internal/httpclient"
	"log_capturer/internal/sinks/sinktest"
)

// checked is a cluster as a check meets it.
type checked struct {
	// empty is the answer to a bulk request without documents.
	empty sinktest.Answer
	// secured says that the cluster can tell of rights, and may are the indices
	// that the credentials may write to.
	secured bool
	may     []string
}

func (c *checked) serve(r *sinktest.HTTPRequest) sinktest.Answer {
	switch r.URL.Path {
	case "/base/_bulk":
		if r.Method != http.MethodPost || string(r.Body) != "\n" || r.Header.Get("Content-Type") != "application/x-ndjson" {
			return sinktest.Answer{Violation: fmt.Sprintf("%s %s with %q", r.Method, r.URL, r.Body)}
		}
		return c.empty
	case "/base/_security/user/_has_privileges":
		var asked struct {
			Index []struct{ Names, Privileges []string }
		}
		if err := json.Unmarshal(r.Body, &asked); err != nil || len(asked.Index) != 1 || len(asked.Index[0].Names) != 1 ||
			!slices.Equal(asked.Index[0].Privileges, []string{"create_doc"}) || r.Header.Get("Content-Type") != "application/json" {
			return sinktest.Answer{Violation: fmt.Sprintf("asked for %q", r.Body)}
		}
		if !c.secured {
			return sinktest.Answer{Status: 405, Body: `{"error":"Incorrect HTTP method for uri"}`}
		}
		return sinktest.Answer{Body: fmt.Sprintf(`{"username":"u","has_all_requested":%t,"cluster":{},"index":{}}`, slices.Contains(c.may, asked.Index[0].Names[0]))}
	}
	return sinktest.Answer{Violation: fmt.Sprintf("%s %s", r.Method, r.URL)}
}

// A check indexes nothing, and says what is wrong with a host, the credentials
// or their rights.
func TestCheck(t *testing.T) {
	refusal := func(kind, reason string) sinktest.Answer {
		return sinktest.Answer{Status: 400, Body: fmt.Sprintf(`{"error":{"root_cause":[],"type":%q,"reason":%q},"status":400}`, kind, reason)}
	}
	nothing := refusal("action_request_validation_exception", "Validation Failed: 1: no requests added;")
	f := func(c checked, index, want string) {
		t.Helper()
		server := sinktest.StartServer(t, sinktest.Protocol{
			Serve:      c.serve,
			Authorized: func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "ApiKey "+token },
		}, nil)
		defer server.Close()
		server.SetToken("key")
		err := newSink(t, Options{
			URLs: []string{server.URL() + "/base"}, Index: index, Pipeline: "p", Gzip: true,
			Client: httpclient.Options{BearerToken: "key", TokenScheme: "ApiKey"},
		}).Check(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
		if v := server.Violations(); len(v) > 0 || len(server.Lines()) > 0 {
			t.Errorf("violations %q, lines %v", v, server.Lines())
		}
	}
	may := []string{"logs-shop-default"}
	f(checked{empty: nothing}, "logs-shop-default", "")
	f(checked{empty: nothing, secured: true, may: may}, "logs-shop-default", "")
	f(checked{empty: nothing, secured: true, may: may}, "logs-other-default", "give their role the privilege create_doc on it")
	f(checked{empty: nothing, secured: true}, "logs-{compose_project}", "") // it depends on the record
	f(checked{empty: refusal("parse_exception", "request body is required")}, "logs", "")
	f(checked{empty: sinktest.Answer{Body: `{"took":0,"errors":false,"items":[]}`}}, "logs", "") // others that speak it
	f(checked{empty: refusal("illegal_argument_exception", "pipeline with id [p] does not exist")}, "logs", "check the sink's urls and pipeline")
	f(checked{empty: sinktest.Answer{Status: 400, Body: "what?"}}, "logs", "a bulk request is not understood there")
	f(checked{empty: sinktest.Answer{Body: "hello"}}, "logs", "check the sink's urls")
	f(checked{empty: sinktest.Answer{Status: 401}}, "logs", "check the sink's credentials")
	f(checked{empty: sinktest.Answer{Status: 404}}, "logs", "check the path of the sink's url")

	// Every host is asked, and the one that does not answer is named.
	c := checked{empty: nothing}
	up := sinktest.StartServer(t, sinktest.Protocol{Serve: c.serve}, nil)
	defer up.Close()
	down := sinktest.StartServer(t, sinktest.Protocol{Serve: c.serve}, nil)
	down.Close()
	err := newSink(t, Options{URLs: []string{up.URL() + "/base", down.URL() + "/base"}, Index: "logs"}).Check(t.Context())
	if _, host, _ := strings.Cut(down.URL(), "//"); err == nil || !strings.HasPrefix(err.Error(), host+": ") {
		t.Errorf("with a host that is down: %v", err)
	}
}
