package cli

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// destinations are a host that speaks what the sinks speak over HTTP, and a Kafka
// broker. They count what they are given.
type destinations struct {
	url, broker string
	taken       atomic.Int64
}

func startDestinations(t *testing.T) *destinations {
	t.Helper()
	d := &destinations{}
	answer := func(w http.ResponseWriter, status int, text string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // the client may be gone
	}
	mux := http.NewServeMux()
	// given counts the bytes of a request, but for those of an empty one.
	given := func(r *http.Request, empty string) {
		content := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if content, err = gzip.NewReader(r.Body); err != nil {
				content = strings.NewReader(err.Error())
			}
		}
		if body, err := io.ReadAll(content); err != nil || string(body) != empty {
			d.taken.Add(1)
		}
	}
	mux.HandleFunc("POST /_bulk", func(w http.ResponseWriter, r *http.Request) {
		given(r, "\n")
		if r.Header.Get("Authorization") != "ApiKey good" {
			answer(w, http.StatusUnauthorized, "{}")
			return
		}
		answer(w, http.StatusBadRequest, `{"error":{"type":"action_request_validation_exception","reason":"no requests added"},"status":400}`)
	})
	mux.HandleFunc("POST /_security/user/_has_privileges", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, `{"has_all_requested":true}`)
	})
	mux.HandleFunc("POST /services/collector/event", func(w http.ResponseWriter, r *http.Request) {
		given(r, "")
		if r.Header.Get("Authorization") != "Splunk good" {
			answer(w, http.StatusForbidden, `{"text":"Invalid token","code":4}`)
			return
		}
		answer(w, http.StatusBadRequest, `{"text":"No data","code":5}`)
	})
	mux.HandleFunc("POST /v1/logs", func(_ http.ResponseWriter, r *http.Request) { given(r, "") })
	mux.HandleFunc("POST /lines", func(_ http.ResponseWriter, r *http.Request) { given(r, "nothing is right") })
	mux.HandleFunc("OPTIONS /slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "logs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.JoinGroup, kmsg.CreateTopics} {
		cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			d.taken.Add(1)
			return nil, nil, false
		})
	}
	d.url, d.broker = server.URL, cluster.ListenAddrs()[0]
	return d
}

// nothing sees that the destinations were given nothing: nothing taken.
func (d *destinations) nothing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || fmt.Sprint(args) != "[taken]" {
		ts.Fatalf("usage: nothing taken")
	}
	if n := d.taken.Load(); n > 0 {
		ts.Fatalf("%d requests gave the destinations something", n)
	}
}
