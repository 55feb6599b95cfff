package lokitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
)

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// post pushes a protobuf body and returns the answer; no status means that the
// connection ended without one.
func post(ctx context.Context, s *Server, push string) (status int, text string) {
	transport := &http.Transport{DisableKeepAlives: true}
	body := snappy.Encode(nil, []byte(push))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+pushPath, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header = protobufHeader()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, strings.TrimSpace(string(content))
}

// entryAt builds an entry of the given second.
func entryAt(second byte, line string) string {
	return field(2, field(1, "\x08"+string([]byte{second})), field(2, line))
}

func TestServerStores(t *testing.T) {
	var seen []string
	s := start(t, Options{Keep: true, Deduplicate: true, OnEntry: func(labels string, ts int64, line []byte, meta []Pair) {
		seen = append(seen, fmt.Sprintf("%s %d %s %v", labels, ts, line, meta))
	}})
	push := field(1, labels, entryAt(1, "a"), entryAt(2, "b"), entryAt(1, "a"))
	for range 2 {
		if status, text := post(t.Context(), s, push); status != http.StatusNoContent || text != "" {
			t.Errorf("answer %d %q", status, text)
		}
	}
	want := Stats{Requests: 2, Pushes: 2, Entries: 2, Duplicates: 4, LineBytes: 2}
	if got := s.Stats(); got != want || len(s.Entries()) != 2 {
		t.Errorf("stats %+v, want %+v; %d entries", got, want, len(s.Entries()))
	}
	if got := fmt.Sprint(seen); got != `[{a="b"} 1000000000 a [] {a="b"} 2000000000 b []]` {
		t.Errorf("OnEntry saw %s", got)
	}
}

func TestServerRefusesAsLokiDoes(t *testing.T) {
	f := func(l Limits, push string, wantStatus int, want string, wantEntries int) {
		t.Helper()
		s := start(t, Options{Limits: l})
		status, text := post(t.Context(), s, push)
		if status != wantStatus || text != want || s.Stats().Entries != wantEntries {
			t.Errorf("answer %d %q with %d stored, want %d %q with %d", status, text, s.Stats().Entries, wantStatus, want, wantEntries)
		}
	}
	long := `Max entry size '3' bytes exceeded for stream '{a="b"}' while adding an entry with length '4' bytes`
	f(Limits{MaxLineBytes: 3}, field(1, labels, entryAt(1, "abcd"), entryAt(1, "abc")), 400, long, 1)
	f(Limits{MaxLineBytes: 3}, field(1, labels, entryAt(1, "abcd"), entryAt(1, "abc"), entryAt(2, "efgh")), 400, "2 errors like: "+long, 1)
	f(Limits{MaxLineBytes: 3, Oldest: time.Unix(5, 0)}, field(1, labels, entryAt(4, "abcd"), entryAt(5, "abcd")), 400,
		"1 errors like: "+long+`; 1 errors like: entry for stream '{a="b"}' has timestamp too old: 1970-01-01T00:00:04Z, oldest acceptable timestamp is: 1970-01-01T00:00:05Z`, 0)

	behind := "entry with timestamp 1970-01-01 00:00:01 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 1970-01-01T00:00:04Z',\n" +
		`user 'fake', total ignored: 1 out of 2 for stream: {a="b"}`
	two := field(1, labels, entryAt(9, "new"), entryAt(1, "old"))
	f(Limits{MaxBehind: 5 * time.Second}, two, 400, behind, 1)
	// Another stream after it hides it.
	f(Limits{MaxBehind: 5 * time.Second}, two+field(1, field(1, `{a="c"}`), entryAt(1, "fine")), 204, "", 2)
}

func TestServerNotesViolations(t *testing.T) {
	s := start(t, Options{})
	if status, _ := post(t.Context(), s, "nonsense"); status != http.StatusBadRequest {
		t.Errorf("answer %d", status)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(httpGet(t, s.URL()+"/ready"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if v := s.Violations(); len(v) != 2 || !strings.Contains(v[1], `path "/ready"`) {
		t.Errorf("violations %q", v)
	}
}

func httpGet(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestFaults(t *testing.T) {
	push := field(1, labels, entryAt(1, "a"))
	f := func(fault Fault, wantStatus, wantEntries int) {
		t.Helper()
		s := start(t, Options{Fault: func(n int, _ *http.Request) (Fault, bool) { return fault, n == 0 }})
		status, text := post(t.Context(), s, push)
		if status != wantStatus || s.Stats().Entries != wantEntries {
			t.Errorf("%+v: answer %d %q with %d stored, want %d with %d", fault, status, text, s.Stats().Entries, wantStatus, wantEntries)
		}
		if status, text := post(t.Context(), s, push); status != http.StatusNoContent {
			t.Errorf("the push after the fault: %d %q", status, text)
		}
	}
	f(Fault{}, 500, 0)
	f(Fault{Status: 429}, 429, 0)
	f(Fault{Status: 503, Store: true}, 503, 1)
	f(Fault{Status: 413, Early: true}, 413, 0)
	f(Fault{CutBody: true}, 0, 0)
	f(Fault{CutAnswer: true}, 0, 0)
	f(Fault{CutAnswer: true, Store: true}, 0, 1)
}

func TestCloseEndsWhatHangs(t *testing.T) {
	s, err := Start(Options{Fault: func(int, *http.Request) (Fault, bool) { return Fault{Hang: true}, true }})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		post(context.Background(), s, field(1, labels, entryAt(1, "a")))
	}()
	for deadline := time.Now().Add(10 * time.Second); s.Stats().Requests == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the push never arrived")
		}
	}
	s.Close()
	<-done
}
